use super::*;
use fgmf_testkit::corrupt::corruptions;
use image::{DynamicImage, GrayImage, Rgb, RgbImage};
use std::fs;
use tempfile::{TempDir, tempdir};

fn grey(side: u32, value: u8) -> DynamicImage {
    GrayImage::from_fn(side, 2, |x, y| image::Luma([value + (y * side + x) as u8])).into()
}

fn save(dir: &TempDir, name: &str, image: &DynamicImage) -> PathBuf {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(&path).unwrap();
    path
}

fn load(dir: &TempDir, split: Split) -> Result<Dataset> {
    crate::data::source::load(dir.path().to_str().unwrap(), split)
}

fn refused(dir: &TempDir, split: Split) -> String {
    load(dir, split).unwrap_err().to_string()
}

#[test]
fn one_folder_is_split_by_every_fifth_file() {
    let dir = tempdir().unwrap();
    for i in 0..12 {
        save(&dir, &format!("b/{i:02}.png"), &grey(3, i));
    }
    save(&dir, "a/x.PNG", &grey(3, 100));
    fs::write(dir.path().join("a/.hidden"), "").unwrap();
    fs::create_dir(dir.path().join(".cache")).unwrap();
    let (train, test) = (
        load(&dir, Split::Train).unwrap(),
        load(&dir, Split::Test).unwrap(),
    );
    assert_eq!(
        (train.classes(), train.class_counts()),
        (&["a".to_owned(), "b".to_owned()][..], vec![1, 10])
    );
    assert_eq!(
        (test.classes(), test.class_counts()),
        (train.classes(), vec![0, 2])
    );
    assert!(test.notes()[0].contains("1 of 5 files of a class is for testing"));
    assert_eq!(
        (test.shape(), test.image(1).unwrap()[1]),
        ([1, 2, 3], 10.0 / 255.0)
    );
    assert_eq!(train.image(0).unwrap()[5..], [105.0 / 255.0]);
    fs::remove_dir_all(dir.path().join("b")).unwrap();
    for split in [Split::Train, Split::Test] {
        let one = load(&dir, split).unwrap();
        assert_eq!((one.len(), one.labels()), (1, &[0][..]));
        assert!(one.notes()[0].contains("no class has 5 files, so all are for testing"));
    }
}

#[test]
fn two_folders_share_their_classes() {
    let dir = tempdir().unwrap();
    save(&dir, "train/a/1.png", &grey(3, 1));
    save(&dir, "train/c/1.png", &grey(3, 2));
    assert!(refused(&dir, Split::Test).contains("a folder `test`, found only the other split"));
    save(&dir, "test/b/1.png", &grey(3, 3));
    save(&dir, "test/c/1.png", &grey(3, 4));
    let (train, test) = (
        load(&dir, Split::Train).unwrap(),
        load(&dir, Split::Test).unwrap(),
    );
    assert_eq!(
        (train.labels(), test.labels(), test.classes().len()),
        (&[0, 2][..], &[1, 2][..], 3)
    );
    save(&dir, "dog/1.png", &grey(3, 1));
    assert!(
        refused(&dir, Split::Train)
            .contains("only the folders `train` and `test`, found also `dog`")
    );
}

/// Two of ten classes are the labels 2 and 7 of the model, not 0 and 1.
#[test]
fn a_subset_of_the_classes_keeps_the_labels_of_the_model() {
    let dir = tempdir().unwrap();
    save(&dir, "test/seven/1.png", &grey(3, 1));
    save(&dir, "test/two/1.png", &grey(3, 2));
    let names = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    ]
    .map(str::to_owned);
    let mut data = load(&dir, Split::Test).unwrap();
    data.relabel(Some(&names), 10).unwrap();
    assert_eq!((data.labels(), data.classes()), (&[7, 2][..], &names[..]));
    let mut data = load(&dir, Split::Test).unwrap();
    assert!(data.relabel(None, 10).is_err());
    data.relabel(None, 2).unwrap();
    assert_eq!(data.labels(), [0, 1]);
    for folder in ["seven", "two"] {
        let path = dir.path().join("test");
        let number = if folder == "two" { "2" } else { "7" };
        fs::rename(path.join(folder), path.join(number)).unwrap();
    }
    let mut data = load(&dir, Split::Test).unwrap();
    data.relabel(None, 10).unwrap();
    assert_eq!(data.labels(), [2, 7]);
    assert_eq!(data.classes()[7], "7");
}

/// Of ten folders a limit of 24 takes two or three images each, and decodes no other.
#[test]
fn a_limit_is_spread_over_the_folders_before_decoding() {
    let dir = tempdir().unwrap();
    for class in 0..10 {
        for i in 0..12 {
            save(
                &dir,
                &format!("test/{class}/{i:02}.png"),
                &grey(3, 9 * class + i),
            );
        }
    }
    let path = dir.path().to_str().unwrap();
    let part = |limit, shape| {
        crate::data::source::load_part(path, Split::Test, &DataRequest::new(limit, shape))
    };
    let some = part(Some(24), None).unwrap();
    assert!(some.class_counts().iter().all(|&n| n == 2 || n == 3));
    assert_eq!(some.chosen(), Some(SPREAD));
    let whole = part(None, None).unwrap();
    assert_eq!((whole.chosen(), whole.labels()[11]), (None, 0));
    let labels: Vec<usize> = (0..120).map(|i| i / 12).collect();
    let first = spread(&labels, 1)[0];
    for (i, label) in labels.iter().enumerate().filter(|(i, _)| *i != first) {
        let name = format!("test/{label}/{:02}.png", i % 12);
        fs::write(dir.path().join(name), "no image").unwrap();
    }
    let one = part(Some(1), Some([1, 2, 3])).unwrap();
    assert_eq!(one.image(0).unwrap(), whole.image(first).unwrap());
    let message = part(Some(1), Some([3, 2, 3])).unwrap_err().to_string();
    assert!(
        message.contains("expected 3x2 pixels (width x height), RGB as the model takes"),
        "{message}"
    );
    assert!(
        part(Some(0), None)
            .unwrap_err()
            .to_string()
            .contains("`limit`")
    );
}

/// One file in ten may be bad: damaged, or of another size. It is left out, named, and the others
/// keep their labels. One more, and the first is refused.
#[test]
fn a_few_bad_files_are_left_out() {
    let dir = tempdir().unwrap();
    for i in 0..20 {
        let class = ["a", "b"][i as usize % 2];
        save(&dir, &format!("train/{class}/{i:02}.png"), &grey(3, i));
    }
    let whole = load(&dir, Split::Train).unwrap();
    assert!(whole.left_out().is_empty());
    fs::write(dir.path().join("train/a/00.png"), "text").unwrap();
    save(&dir, "train/b/03.png", &grey(4, 3));
    let part = load(&dir, Split::Train).unwrap();
    assert_eq!((part.len(), part.class_counts()), (18, vec![9, 9]));
    let kept: Vec<usize> = (1..20).filter(|&i| i != 11).collect();
    for (i, &other) in kept.iter().enumerate() {
        assert_eq!(
            (part.image(i).unwrap(), part.label(i)),
            (whole.image(other).unwrap(), whole.label(other))
        );
    }
    let [text, wide] = part.left_out() else {
        panic!("{:?}", part.left_out());
    };
    assert!(text.contains("00.png: expected a whole PNG"), "{text}");
    assert!(wide.contains("03.png: expected 3x2 pixels"), "{wide}");
    fs::write(dir.path().join("train/b/05.png"), "text").unwrap();
    assert!(refused(&dir, Split::Train).contains("00.png: expected a whole PNG"));
}

#[test]
fn odd_files_are_named() {
    let dir = tempdir().unwrap();
    save(&dir, "a/1.png", &grey(3, 1));
    let odd = save(&dir, "a/2.png", &grey(4, 1));
    let message = refused(&dir, Split::Train);
    assert!(
        message.contains("2.png: expected 3x2 pixels (width x height), grey like")
            && message.ends_with("found 4x2 pixels (width x height), grey"),
        "{message}"
    );
    RgbImage::new(3, 2).save(&odd).unwrap();
    assert!(refused(&dir, Split::Train).ends_with("found 3x2 pixels (width x height), RGB"));
    fs::write(&odd, "GIF89a").unwrap();
    assert!(
        refused(&dir, Split::Train)
            .contains("2.png: expected a whole PNG, JPEG or WebP image, found a GIF picture")
    );
    fs::write(&odd, "text").unwrap();
    assert!(refused(&dir, Split::Train).contains("found another kind of file"));
    fs::remove_file(&odd).unwrap();
    for (name, part) in [
        (
            "a/notes.txt",
            "notes.txt: expected an image (png, jpg, jpeg, webp), found another kind of file",
        ),
        (
            "readme",
            "readme: expected `train`, `test` or class folders here, found a file",
        ),
    ] {
        fs::write(dir.path().join(name), "").unwrap();
        let message = refused(&dir, Split::Train);
        assert!(message.contains(part), "{message}");
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    fs::create_dir(dir.path().join("a/sub")).unwrap();
    assert!(
        refused(&dir, Split::Train)
            .contains("sub: expected an image (png, jpg, jpeg, webp), found a folder")
    );
    fs::create_dir(dir.path().join("B")).unwrap();
    assert!(
        refused(&dir, Split::Train)
            .contains("B: expected a class folder with images, found an empty folder")
    );
}

#[test]
fn damaged_files_never_panic() {
    let dir = tempdir().unwrap();
    for name in ["a/x.png", "a/x.jpg"] {
        let path = save(
            &dir,
            name,
            &RgbImage::from_fn(9, 7, |x, y| Rgb([x as u8 * 20, y as u8 * 30, 77])).into(),
        );
        for (_, bytes) in corruptions(&fs::read(&path).unwrap(), 13, 400) {
            fs::write(&path, bytes).unwrap();
            let _ = load(&dir, Split::Train);
        }
        fs::remove_file(&path).unwrap();
    }
}
