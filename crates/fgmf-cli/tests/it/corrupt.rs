//! Damaged files of every kind a user can hand over: exit 2 and a message, or a result where the
//! damage cannot be seen (a changed weight or pixel is still a weight or a pixel); never a panic.

use super::{refused, run, small_model, text};
use fgmf::train::{ObjectiveConfig, TrainConfig};
use fgmf_net::zoo::Architecture;
use fgmf_testkit::corrupt::corruptions;
use std::path::Path;

const EACH: usize = 64;

/// Runs the command on each damaged variant written to `path`; returns how many were refused.
fn survive(original: &[u8], path: &Path, arguments: &[&str]) -> usize {
    let mut count = 0;
    for (what, damaged) in corruptions(original, 5, EACH) {
        std::fs::write(path, damaged).unwrap();
        let output = run(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!message.contains("panicked"), "{what}: {message}");
        match output.status.code() {
            Some(0) => {}
            Some(2) => {
                assert!(
                    message.starts_with("error:")
                        && message.contains(path.file_name().unwrap().to_str().unwrap()),
                    "{what}: {message}"
                );
                count += 1;
            }
            other => panic!("{what}: exit {other:?}: {message}"),
        }
    }
    count
}

#[test]
fn damaged_models_images_labels_and_settings() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = small_model(&at("model"));
    let out = at("out");

    let onnx = at("damaged.onnx");
    let n = survive(
        &std::fs::read(&model).unwrap(),
        &onnx,
        &["info", text(&onnx)],
    );
    assert!(n >= EACH / 4, "only {n} damaged models were refused");

    let data = fgmf::data::load("fashion-mnist-mini", fgmf::data::Split::Test).unwrap();
    let bytes: Vec<u8> = data
        .image(0)
        .unwrap()
        .iter()
        .map(|v| (v * 255.0).round() as u8)
        .collect();
    let png = at("damaged.png");
    fgmf_testkit::images::write_grey_png(&png, 28, 28, &bytes);
    let n = survive(
        &std::fs::read(&png).unwrap(),
        &png,
        &[
            "explain",
            text(&model),
            text(&png),
            "--method",
            "grad-cam-pp",
            "--quiet",
            "--out",
            text(&out),
        ],
    );
    assert!(n >= EACH / 2, "only {n} damaged images were refused");

    let idx = at("idx");
    std::fs::create_dir_all(&idx).unwrap();
    let images: Vec<u8> = [0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 28, 0, 0, 0, 28]
        .into_iter()
        .chain((0..4).flat_map(|_| bytes.clone()))
        .collect();
    let labels = [0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 2, 9];
    for (name, good) in [
        ("t10k-images-idx3-ubyte", images.as_slice()),
        ("t10k-labels-idx1-ubyte", &labels),
    ] {
        std::fs::write(idx.join("t10k-images-idx3-ubyte"), &images).unwrap();
        std::fs::write(idx.join("t10k-labels-idx1-ubyte"), labels).unwrap();
        let arguments = [
            "attack",
            text(&model),
            "--data",
            text(&idx),
            "--suite",
            "quick",
            "--quiet",
            "--out",
            text(&out),
        ];
        assert!(
            run(&arguments).status.success(),
            "the undamaged files are read"
        );
        let mut refusals = 0;
        for (what, damaged) in corruptions(good, 5, EACH) {
            std::fs::write(idx.join(name), damaged).unwrap();
            let output = run(&arguments);
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                matches!(output.status.code(), Some(0 | 2)) && !message.contains("panicked"),
                "{name}, {what}: {message}"
            );
            refusals += usize::from(output.status.code() == Some(2));
        }
        assert!(
            refusals >= EACH / 3,
            "only {refusals} damaged {name} were refused"
        );
    }

    // The data of the settings does not exist, so that even settings that survive the damage end at
    // once.
    let objective = ObjectiveConfig::parse("scor-pio").unwrap();
    let settings = serde_json::to_vec_pretty(&TrainConfig::new(
        text(&at("no-data")),
        Architecture::CnnTiny,
        objective,
        0.1,
    ))
    .unwrap();
    let path = at("settings.json");
    for (_, damaged) in corruptions(&settings, 5, EACH) {
        std::fs::write(&path, damaged).unwrap();
        refused(&[
            "train",
            "--config",
            text(&path),
            "--quiet",
            "--out",
            text(&out),
        ]);
    }
}
