//! Folders of images, radii, odd pictures, and folders of results that are used again.

use super::{ok, refused, run, small_model, text};
use fgmf::data::{EMBEDDED, Split, load};
use std::path::{Path, PathBuf};

/// `n` test images of each of these classes, in folders named by them.
fn class_folders(dir: &Path, classes: &[&str], n: usize) -> PathBuf {
    let data = load(EMBEDDED, Split::Test).unwrap();
    let out = dir.join("pictures");
    for class in classes {
        let folder = out.join("test").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        let label = data.classes().iter().position(|name| name == class);
        let rows = (0..data.len()).filter(|&i| Some(data.label(i)) == label);
        for i in rows.take(n) {
            let bytes: Vec<u8> = data.image(i).iter().map(|v| (v * 255.0) as u8).collect();
            let grey = image::GrayImage::from_raw(28, 28, bytes).unwrap();
            grey.save(folder.join(format!("{i:04}.png"))).unwrap();
        }
    }
    out
}

fn attack<'a>(model: &'a str, data: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "attack", model, "--data", data, "--out", out, "--suite", "fgsm",
    ];
    [&usual, more].concat()
}

/// Two of ten classes keep the labels of the model, and a limit takes some images of each.
#[test]
fn class_folders_are_matched_by_name_and_limits_are_spread() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let data = class_folders(folder.path(), &["Trouser", "Bag"], 12);
    let out = folder.path().join("out");
    let arguments = attack(
        text(&model),
        text(&data),
        text(&out),
        &["--limit", "8", "--json"],
    );
    let record: fgmf_record::AttackRecord = serde_json::from_str(&ok(&arguments)).unwrap();
    assert_eq!((record.data.classes.len(), record.data.n), (10, 8));
    assert!(record.data.chosen.is_some());
    // As labels 0 and 1 the images would be wrong but for accidents.
    assert!(record.clean.accuracy >= 0.5, "{}", record.clean.accuracy);
    std::fs::rename(data.join("test/Bag"), data.join("test/cat")).unwrap();
    let message = refused(&attack(text(&model), text(&data), text(&out), &[]));
    assert!(
        message.contains("Ankle boot") && message.contains("it does not know cat"),
        "{message}"
    );
    assert!(ok(&["info", text(&model)]).contains("classes     10: T-shirt/top, Trouser"));
    // The record of embedded data has no new key.
    let other = folder.path().join("other");
    let arguments = attack(
        text(&model),
        EMBEDDED,
        text(&other),
        &["--limit", "4", "--json"],
    );
    assert!(!ok(&arguments).contains("\"chosen\""));
}

#[test]
fn radii_are_fractions_and_no_larger_than_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let out = folder.path().join("out");
    let with = |more: &[&'static str]| {
        let all = [&["--limit", "4", "--json"], more].concat();
        attack(text(&model), EMBEDDED, text(&out), &all)
            .iter()
            .map(|&s| s.to_owned())
            .collect::<Vec<_>>()
    };
    let refuse = |more: &[&'static str]| {
        let arguments = with(more);
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let message = refuse(&["--eps", "8"]);
    assert!(
        message.contains("`eps`: expected at most 1, the largest linf distance of two images")
            && message.contains("8/255 is what papers write as 8"),
        "{message}"
    );
    assert!(refuse(&["--curve", "0.1,2"]).contains("8/255"));
    assert!(refuse(&["--eps", "29", "--norm", "l2"]).contains("at most 28"));
    assert!(refuse(&["--eps", "8/x"]).contains("such as 0.03 or 8/255"));
    let arguments = with(&["--eps", "8/255"]);
    let printed = ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let record: fgmf_record::AttackRecord = serde_json::from_str(&printed).unwrap();
    assert_eq!(record.threat.eps.to_bits(), (8.0_f64 / 255.0).to_bits());
    let wide = [
        "train",
        "--data",
        EMBEDDED,
        "--limit",
        "8",
        "--eps",
        "8",
        "--out",
        text(&out),
    ];
    assert!(refused(&wide).contains("8/255"));
}

/// A model that gives every image the class 0.
fn constant_model(folder: &Path, shape: [usize; 3]) -> PathBuf {
    let mut bias = [0.0; 10];
    bias[0] = 1.0;
    let weights = vec![vec![0.0; shape.iter().product()]; 10];
    let net = fgmf_testkit::toys::linear(&weights, &bias, shape);
    let model = folder.join("constant.onnx");
    fgmf::store::write_model(&model, &net.cast(fgmf_net::Precision::F32)).unwrap();
    model
}

/// The decoder panics on a palette of 16 bytes. That is an error of the file, and no bug.
#[test]
fn a_picture_that_breaks_its_decoder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = constant_model(folder.path(), [3, 7, 9]);
    let picture = folder.path().join("palette.png");
    let bytes = include_bytes!("../../../fgmf/tests/fixtures/palette_length.png");
    std::fs::write(&picture, bytes).unwrap();
    let out = folder.path().join("out");
    let usual = ["explain", text(&model), text(&picture), "--out", text(&out)];
    let message = refused(&[&usual[..], &["--methods", "saliency"]].concat());
    assert!(
        message.contains("palette.png: expected a whole PNG or JPEG image"),
        "{message}"
    );
    assert!(!message.contains("bug"), "{message}");
}

/// What the second run into a folder did not write is gone, and other people's files are not.
#[test]
fn a_folder_of_explanations_can_be_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let data = class_folders(folder.path(), &["Bag"], 2);
    let out = folder.path().join("out");
    let mut pictures: Vec<PathBuf> = std::fs::read_dir(data.join("test/Bag"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pictures.sort();
    let explain = |picture: &Path, method: &str| {
        let (model, picture) = (text(&model), text(picture));
        let usual = ["explain", model, picture, "--metrics", "none", "--quiet"];
        ok(&[&usual[..], &["--methods", method, "--out", text(&out)]].concat());
    };
    explain(&pictures[0], "saliency");
    let theirs = out.join("maps/theirs.png");
    std::fs::write(&theirs, "").unwrap();
    explain(&pictures[1], "grad-cam");
    let names = |part: &str| {
        let mut names: Vec<String> = std::fs::read_dir(out.join(part))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let stem = format!("Bag-{}", pictures[1].file_stem().unwrap().to_str().unwrap());
    assert_eq!(names("pages"), [format!("{stem}.png")]);
    assert_eq!(
        names("maps"),
        [
            format!("{stem}.grad-cam.clean.json"),
            format!("{stem}.grad-cam.clean.png"),
            "theirs.png".to_owned()
        ]
    );
}

#[test]
fn a_model_at_chance_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let model = constant_model(folder.path(), [1, 28, 28]);
    let out = folder.path().join("out");
    let said = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let arguments = attack(
        text(&model),
        EMBEDDED,
        text(&out),
        &["--limit", "60", "--quiet"],
    );
    let text_of = said(&arguments);
    assert!(
        text_of.contains("no better than chance among 10 classes")
            && text_of.contains("value range"),
        "{text_of}"
    );
    let out = folder.path().join("few");
    let arguments = attack(
        text(&model),
        EMBEDDED,
        text(&out),
        &["--limit", "40", "--quiet"],
    );
    assert!(!said(&arguments).contains("chance"));
    let out = folder.path().join("evaluated");
    let judged = [
        "--explainers",
        "saliency",
        "--metrics",
        "sparseness",
        "-n",
        "60",
    ];
    let usual = [
        "evaluate",
        text(&model),
        "--data",
        EMBEDDED,
        "--out",
        text(&out),
        "--quiet",
    ];
    let text_of = said(&[&usual[..], &judged].concat());
    assert!(text_of.contains("no better than chance"), "{text_of}");
}
