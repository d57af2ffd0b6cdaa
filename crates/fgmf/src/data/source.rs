//! A data set by name or path: which reader fits.

use crate::data::dataset::Dataset;
use crate::data::request::DataRequest;
use crate::data::{cifar, embedded, files, folder, idx};
use crate::error::{Error, Result};
use crate::record::Split;
use std::path::Path;

/// Name of the data set that is part of the library.
pub const EMBEDDED: &str = embedded::NAME;

/// Loads one split of `source`: [`EMBEDDED`], or a folder whose kind is found by what is in it.
///
/// - IDX (MNIST and its kin): `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte.gz` and so on.
///   Class names come from `classes.txt`, one a line; without it they are the numbers.
/// - CIFAR-10 binary: `data_batch_1.bin` to `data_batch_5.bin` for `train`, `test_batch.bin` for
///   `test`. Class names come from `batches.meta.txt`; without it they are the official ones.
/// - Image folder in two splits: `train/CLASS/*` and `test/CLASS/*`, png, jpg, jpeg or webp. The
///   classes are those of both splits, sorted by name.
/// - Image folder in one: `CLASS/*`. Of each class the 5th, 10th, 15th, ... file by name is `test`,
///   the others are `train`.
///
/// Hidden files are ignored. `./fashion-mnist-mini` is a folder of that name.
///
/// # Errors
/// [`Error::Data`] when the folder is of no or of several kinds, or a file is not what it claims to
/// be; [`Error::Io`] when the system refuses to read it.
pub fn load(source: &str, split: Split) -> Result<Dataset> {
    load_part(source, split, &DataRequest::default())
}

/// [`load`] of what is wanted only. No other image is decoded, and of files that hold many images
/// the rest is not read, so it is not checked either.
///
/// # Errors
/// As [`load`]; [`Error::Parameter`] when the limit is 0; [`Error::Mismatch`] or [`Error::Data`]
/// when the images have another shape than is wanted.
pub fn load_part(source: &str, split: Split, wanted: &DataRequest) -> Result<Dataset> {
    wanted.check()?;
    read(source, split, wanted)
}

fn read(source: &str, split: Split, wanted: &DataRequest) -> Result<Dataset> {
    if source == EMBEDDED {
        return embedded::load(split, wanted);
    }
    let dir = Path::new(source);
    if !dir.is_dir() {
        let found = if dir.exists() {
            "a file"
        } else {
            "nothing of that name"
        };
        return Err(Error::data(
            dir,
            format!("a folder, or the name `{EMBEDDED}`"),
            found,
        ));
    }
    let entries = files::entries(dir)?;
    let has = |test: &dyn Fn(&files::FileEntry) -> bool| entries.iter().any(test);
    let idx = has(&|entry| !entry.is_dir && idx::is_name(&entry.name));
    let cifar = has(&|entry| !entry.is_dir && cifar::is_name(&entry.name));
    let kinds = "IDX files, CIFAR-10 binary files, or folders of images";
    match (idx, cifar) {
        (true, true) => Err(Error::data(
            dir,
            format!("one of {kinds}"),
            "both IDX and CIFAR-10 files",
        )),
        (true, false) => idx::load(dir, &entries, split, wanted),
        (false, true) => cifar::load(dir, split, wanted),
        (false, false) if has(&|entry| entry.is_dir) => folder::load(dir, &entries, split, wanted),
        (false, false) => {
            let found = match entries.first() {
                Some(entry) => format!("{} other files, such as `{}`", entries.len(), entry.name),
                None => "an empty folder".to_owned(),
            };
            Err(Error::data(dir, kinds, found))
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::{TempDir, tempdir};

    use super::*;

    /// A folder of empty files.
    fn folder(names: &[&str]) -> TempDir {
        let dir = tempdir().unwrap();
        for name in names {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        dir
    }

    fn refused(names: &[&str]) -> String {
        load(folder(names).path().to_str().unwrap(), Split::Train)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn splits_are_named() {
        for split in [Split::Train, Split::Test] {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
            assert_eq!(
                serde_json::to_string(&split).unwrap(),
                format!("\"{split}\"")
            );
        }
        let message = "Train".parse::<Split>().unwrap_err().to_string();
        assert_eq!(
            message,
            "parameter `split`: expected `train` or `test`, found `Train`"
        );
    }

    #[test]
    fn sources_are_told_apart() {
        let message = load("no-such-place", Split::Train).unwrap_err().to_string();
        assert_eq!(
            message,
            "no-such-place: expected a folder, or the name `fashion-mnist-mini`, \
             found nothing of that name"
        );
        let dir = folder(&["file"]);
        let message = load(dir.path().join("file").to_str().unwrap(), Split::Train)
            .unwrap_err()
            .to_string();
        assert!(message.contains("found a file"), "{message}");
        assert!(refused(&[]).contains("an empty folder"));
        assert!(refused(&[".hidden"]).contains("an empty folder"));
        assert!(refused(&["readme.md"]).contains("1 other files, such as `readme.md`"));
        let both = ["test_batch.bin", "train-images-idx3-ubyte"];
        assert!(refused(&both).contains("both IDX and CIFAR-10"));
        assert_eq!(load(EMBEDDED, Split::Test).unwrap().name(), EMBEDDED);
    }
}
