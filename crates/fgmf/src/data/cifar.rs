//! CIFAR-10, binary version: files of records, each one label byte and 3072 pixel bytes (`[3, 32,
//! 32]`: red, green, blue).

use crate::data::dataset::Dataset;
use crate::data::files;
use crate::data::limits::MAX_BYTES;
use crate::data::request::DataRequest;
use crate::error::{Error, Result};
use crate::record::Split;
use std::path::Path;

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;

const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const TEST: [&str; 1] = ["test_batch.bin"];
const NAMES: &str = "batches.meta.txt";

const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// Whether a file of this name makes its folder a CIFAR-10 folder.
pub(crate) fn is_name(name: &str) -> bool {
    TRAIN.contains(&name) || TEST.contains(&name)
}

/// Loads the wanted part of all five training files, or of the test file. A file may hold any
/// number of records; none may be missing.
pub(crate) fn load(dir: &Path, split: Split, wanted: &DataRequest) -> Result<Dataset> {
    wanted.check_shape(SHAPE)?;
    let classes = match files::names(&dir.join(NAMES))? {
        Some(names) => names,
        None => CLASSES.map(str::to_owned).to_vec(),
    };
    let batches: &[&str] = match split {
        Split::Train => &TRAIN,
        Split::Test => &TEST,
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for batch in batches {
        let path = dir.join(batch);
        if !path.exists() {
            return Err(Error::data(
                &path,
                format!("the CIFAR-10 {split} file `{batch}`"),
                "no such file",
            ));
        }
        let stored = files::length(&path)?;
        if stored == 0 || stored % RECORD as u64 != 0 {
            let expected = format!("one or more records of {RECORD} bytes");
            return Err(Error::data(&path, expected, format!("{stored} bytes")));
        }
        let records = usize::try_from(stored / RECORD as u64).unwrap_or(usize::MAX);
        let left = wanted.of(labels.len().saturating_add(records)) - labels.len();
        let room = MAX_BYTES.saturating_sub(pixels.len() as u64);
        let bytes = files::read_first(&path, left as u64 * RECORD as u64, room)?;
        for (index, record) in bytes.as_chunks::<RECORD>().0.iter().enumerate() {
            let [label, image @ ..] = record;
            if usize::from(*label) >= classes.len() {
                let expected = format!("labels below {}", classes.len());
                return Err(Error::data(
                    &path,
                    expected,
                    format!("label {label} in record {index}"),
                ));
            }
            labels.push(usize::from(*label));
            pixels.extend_from_slice(image);
        }
    }
    Dataset::new(files::name_of(dir), split, classes, SHAPE, pixels, labels)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fgmf_testkit::corrupt::corruptions;
    use tempfile::{TempDir, tempdir};

    use super::*;

    const ALL: DataRequest = DataRequest {
        limit: None,
        fit: crate::data::recipe::Fit::Refused,
        shape: None,
        held: None,
    };

    /// Batch `i` holds two images: label `i`, all bytes `i`; label 9, all bytes 255.
    fn folder() -> TempDir {
        let dir = tempdir().unwrap();
        for (i, name) in (0_u8..).zip(TRAIN.iter().chain(&TEST)) {
            let records = [
                [&[i][..], &[i; PIXELS]].concat(),
                [&[9][..], &[255; PIXELS]].concat(),
            ];
            fs::write(dir.path().join(name), records.concat()).unwrap();
        }
        dir
    }

    fn refused(dir: &TempDir) -> String {
        load(dir.path(), Split::Train, &ALL)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn round_trip() {
        let dir = folder();
        let data = super::super::load(dir.path().to_str().unwrap(), Split::Train).unwrap();
        assert_eq!(
            (data.shape(), data.labels()),
            (SHAPE, &[0, 9, 1, 9, 2, 9, 3, 9, 4, 9][..])
        );
        assert_eq!(
            (data.image(4).unwrap(), data.image(5).unwrap()),
            (vec![2.0 / 255.0; PIXELS], vec![1.0; PIXELS])
        );
        assert_eq!(data.classes()[9], "truck");
        let names: String = ('a'..='j').map(|name| format!("{name}\n")).collect();
        fs::write(dir.path().join(NAMES), names + "\n").unwrap();
        let data = load(dir.path(), Split::Test, &ALL).unwrap();
        assert_eq!(
            (data.labels(), data.classes()[5].as_str()),
            (&[5, 9][..], "f")
        );
    }

    /// The second file has a label that is too large in its second record.
    #[test]
    fn no_more_is_read_than_is_wanted() {
        let dir = folder();
        let path = dir.path().join(TRAIN[1]);
        let mut bytes = fs::read(&path).unwrap();
        bytes[RECORD] = 10;
        fs::write(&path, bytes).unwrap();
        let some = |limit, shape| load(dir.path(), Split::Train, &DataRequest::new(limit, shape));
        let three = some(Some(3), Some(SHAPE)).unwrap();
        assert_eq!(three.labels(), [0, 9, 1]);
        assert_eq!(three.image(2).unwrap(), [1.0 / 255.0; PIXELS]);
        assert!(some(Some(4), None).is_err() && some(None, None).is_err());
        let message = some(Some(3), Some([1, 28, 28])).unwrap_err().to_string();
        assert!(
            message.contains("[1, 28, 28] (c, h, w), found [3, 32, 32]"),
            "{message}"
        );
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let dir = folder();
        fs::write(dir.path().join(NAMES), "only\n").unwrap();
        assert!(
            refused(&dir)
                .contains("data_batch_1.bin: expected labels below 1, found label 9 in record 1")
        );
        fs::remove_file(dir.path().join(NAMES)).unwrap();
        fs::write(dir.path().join(TRAIN[3]), [0; RECORD + 1]).unwrap();
        assert!(refused(&dir).contains(
            "data_batch_4.bin: expected one or more records of 3073 bytes, found 3074 bytes"
        ));
        fs::write(dir.path().join(TRAIN[3]), []).unwrap();
        assert!(refused(&dir).contains("found 0 bytes"));
        fs::remove_file(dir.path().join(TRAIN[3])).unwrap();
        assert!(
            refused(&dir)
                .contains("the CIFAR-10 train file `data_batch_4.bin`, found no such file")
        );
        fs::create_dir(dir.path().join(TRAIN[3])).unwrap();
        assert!(refused(&dir).contains("a regular file"));
    }

    #[test]
    fn damaged_files_never_panic() {
        let dir = folder();
        let path = dir.path().join(TEST[0]);
        for (_, bytes) in corruptions(&fs::read(&path).unwrap(), 12, 200) {
            fs::write(&path, bytes).unwrap();
            let _ = load(dir.path(), Split::Test, &ALL);
        }
    }
}
