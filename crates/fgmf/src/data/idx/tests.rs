use crate::data::dataset::Dataset;
use crate::data::request::DataRequest;
use crate::data::source::{load, load_part};
use crate::error::Result;
use crate::record::Split;
use fgmf_testkit::corrupt::corruptions;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// Two images of 2x3 and their labels.
const IMAGES: [u8; 28] = [
    0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6,
];
const LABELS: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 3, 1];

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn load_dir(dir: &Path, split: Split) -> Result<Dataset> {
    load(dir.to_str().unwrap(), split)
}

/// The message of the error that loading the training split of these files gives.
fn refused(files: &[(&str, &[u8])]) -> String {
    load_dir(folder(files).path(), Split::Train)
        .unwrap_err()
        .to_string()
}

/// Both packed and not, loading these two files is refused with a message that holds `part`.
fn says(images: &[u8], labels: &[u8], part: &str) {
    let (packed_images, packed_labels) = (gzip(images), gzip(labels));
    for (images, labels) in [(images, labels), (&packed_images, &packed_labels)] {
        let message = refused(&[("train-images.idx", images), ("train-labels.idx", labels)]);
        assert!(message.contains(part), "`{part}` is not in {message}");
    }
}

fn changed(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn idx_files_round_trip_under_every_name() {
    for (split, images, labels) in [
        (
            Split::Train,
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
        ),
        (
            Split::Train,
            "train-images.idx3-ubyte",
            "train-labels.idx1-ubyte",
        ),
        (
            Split::Test,
            "t10k-images-idx3-ubyte",
            "t10k-labels.idx1-ubyte",
        ),
        (Split::Test, "test-images-idx3-ubyte", "test-labels.idx"),
    ] {
        let plain = folder(&[(images, &IMAGES), (labels, &LABELS)]);
        let packed = folder(&[
            (&format!("{images}.gz"), &gzip(&IMAGES)),
            (&format!("{labels}.gz"), &gzip(&LABELS)),
        ]);
        for dir in [plain, packed] {
            let data = load_dir(dir.path(), split).unwrap();
            assert_eq!(
                (data.shape(), data.labels(), data.classes().len()),
                ([1, 2, 3], &[3, 1][..], 4)
            );
            assert_eq!(data.image(0).unwrap(), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
            assert_eq!(
                data.name(),
                dir.path().file_name().unwrap().to_str().unwrap()
            );
        }
    }
}

/// The file ends, or its packed form is damaged, behind the images that are wanted; and images of
/// 16,384 x 16,384 are refused by their header.
#[test]
fn no_more_is_read_than_is_wanted() {
    let part = |images: &[u8], wanted: &DataRequest| {
        let files = [
            ("test-images.idx", images),
            ("test-labels.idx", &LABELS[..]),
        ];
        load_part(folder(&files).path().to_str().unwrap(), Split::Test, wanted)
    };
    let one = DataRequest::new(Some(1), Some([1, 2, 3]));
    let mut packed = gzip(&IMAGES);
    let end = packed.len() - 8;
    packed[end..].fill(0xff);
    for images in [&IMAGES[..], &packed] {
        let data = part(images, &one).unwrap();
        assert_eq!((data.labels(), data.classes().len()), (&[3][..], 4));
        assert_eq!(data.image(0).unwrap(), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    }
    assert!(part(&packed, &DataRequest::default()).is_err());
    let huge = changed(&IMAGES, 8, &[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    for images in [gzip(&huge), huge] {
        let message = part(&images, &one).unwrap_err().to_string();
        let expected = "[1, 2, 3] (c, h, w), found [1, 16384, 16384]";
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn idx_classes_are_those_of_both_splits_or_of_the_list() {
    let mut files: Vec<(&str, &[u8])> = vec![
        ("train-images.idx", &IMAGES),
        ("train-labels.idx", &LABELS),
        ("test-labels.idx", &[0, 0, 8, 1, 0, 0, 0, 1, 9]),
    ];
    assert_eq!(
        load_dir(folder(&files).path(), Split::Train)
            .unwrap()
            .classes()
            .len(),
        10
    );
    files.push(("classes.txt", b"a\n\nb \r\nc\nd\n"));
    assert_eq!(
        load_dir(folder(&files).path(), Split::Train)
            .unwrap()
            .classes(),
        ["a", "b", "c", "d"]
    );
    files[3].1 = b"a\nb\n";
    assert!(refused(&files).contains("labels below 2, the names in classes.txt, found label 3"));
    files[3].1 = b"\n";
    assert!(refused(&files).contains("class names, one a line, found none"));
    files[3].1 = &[0xff, 0xfe];
    assert!(refused(&files).contains("class names in UTF-8"));
}

#[test]
fn idx_errors_say_what_is_wrong() {
    let part = "IDX magic number 2049 of labels, found 2051: these look like images";
    says(&LABELS, &IMAGES, part);
    says(
        &IMAGES,
        &[0, 0, 8, 1, 0, 0, 0, 3, 3, 1, 1],
        "2 labels, as many as images in",
    );
    let bad = |images: &[u8], part: &str| says(images, &LABELS, part);
    bad(
        &LABELS,
        "2051 of images, found 2049: these look like labels",
    );
    bad(
        &changed(&IMAGES, 0, b"what"),
        "found 2003329396 (0x77686174)",
    );
    bad(b"", "an IDX file of images, found 0 bytes");
    bad(&IMAGES[..9], "a header of 16 bytes, found 9 bytes");
    let part = "12 bytes after the header, as it says with sizes [2, 2, 3], found 11 bytes";
    bad(&IMAGES[..27], part);
    bad(&[&IMAGES[..], &[0]].concat(), "12 bytes after the header");
    bad(&changed(&IMAGES, 7, &[3]), "18 bytes after the header");
    bad(&changed(&IMAGES, 7, &[1]), "6 bytes after the header");
    bad(&changed(&IMAGES, 4, &[0; 4]), "at least one of the images");
    bad(
        &changed(&IMAGES, 8, &[0xff; 8]),
        "sides of 1 to 16384 pixels",
    );
    let part = "at most 4294967296 bytes, found sizes [4294967295, 2, 3]";
    bad(&changed(&IMAGES, 4, &[0xff; 4]), part);
}

#[test]
fn idx_files_that_are_missing_or_there_twice() {
    assert!(
        refused(&[("train-labels-idx1-ubyte", &LABELS)])
            .contains("`train-images-idx3-ubyte` or that with .gz, found no such file")
    );
    assert!(refused(&[("train-images-idx3-ubyte", &IMAGES)]).contains("`train-labels-idx1-ubyte`"));
    let twice: [(&str, &[u8]); 3] = [
        ("train-labels.idx", &LABELS),
        ("train-labels-idx1-ubyte.gz", &LABELS),
        ("train-images.idx", &IMAGES),
    ];
    assert!(refused(&twice).contains(
        "one file of train labels, found `train-labels-idx1-ubyte.gz` and `train-labels.idx`"
    ));
    let twins: [(&str, &[u8]); 3] = [
        ("train-labels.idx", &LABELS),
        ("train-labels.idx.gz", b"not read"),
        ("train-images.idx.gz", &IMAGES),
    ];
    assert_eq!(
        load_dir(folder(&twins).path(), Split::Train).unwrap().len(),
        2
    );
}

#[test]
fn packed_files_that_are_cut_or_bombs() {
    let packed = gzip(&IMAGES);
    let labels: (&str, &[u8]) = ("train-labels.idx", &LABELS);
    for end in 2..packed.len() {
        let message = refused(&[("train-images.idx.gz", &packed[..end]), labels]);
        assert!(message.contains("a whole gzip file"), "{end}: {message}");
    }
    let message = refused(&[
        ("train-images.idx.gz", &[&packed[..], b"tail"].concat()),
        labels,
    ]);
    assert!(message.contains("a whole gzip file"), "{message}");
    let message = refused(&[
        (
            "train-images.idx.gz",
            &changed(&packed, packed.len() - 8, &[0; 4]),
        ),
        labels,
    ]);
    assert!(message.contains("a whole gzip file"), "{message}");
    // Says little, holds 64 MiB.
    let bomb = gzip(&[&IMAGES[..], &vec![0; 64 << 20]].concat());
    assert!(refused(&[("train-images.idx.gz", &bomb), labels]).contains("found more bytes"));
    // Says 512 MiB, holds nothing.
    let liar = gzip(&changed(&IMAGES, 4, &[0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4, 0]));
    assert!(refused(&[("train-images.idx.gz", &liar), labels]).contains("too short to hold them"));
}

#[test]
fn damaged_idx_files_never_panic() {
    for (suffix, pack) in [("", false), (".gz", true)] {
        let [images, labels] =
            [&IMAGES[..], &LABELS].map(|bytes| if pack { gzip(bytes) } else { bytes.to_vec() });
        let names = [
            format!("train-images-idx3-ubyte{suffix}"),
            format!("train-labels-idx1-ubyte{suffix}"),
        ];
        let dir = folder(&[(&names[0], &images), (&names[1], &labels)]);
        for (name, original) in names.iter().zip([&images, &labels]) {
            for (_, bytes) in corruptions(original, 11, 400) {
                fs::write(dir.path().join(name), bytes).unwrap();
                let _ = load_dir(dir.path(), Split::Train);
            }
            fs::write(dir.path().join(name), original).unwrap();
        }
    }
}
