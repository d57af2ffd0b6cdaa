//! What is shown and said of maps: maps that found nothing, scores that are squashed, grids.

use super::{ok, refused, run, text};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    folder.join(name)
}

fn transformer() -> PathBuf {
    fixture("../../../fgmf/tests/fixtures/tokens/vit_reg.onnx")
}

fn explain<'a>(model: &'a Path, image: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let usual = ["explain", text(model), text(image), "--out", text(out)];
    [&usual[..], more].concat()
}

/// Every weight behind the pooled activations is negative, so Grad-CAM is 0 everywhere.
#[test]
fn a_map_without_any_place_is_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (model, image) = (fixture("neg.onnx"), fixture("i8.png"));
    for class in ["0", "1"] {
        let more = ["--methods", "grad-cam,saliency", "--class", class];
        let shown = ok(&explain(&model, &image, &out, &more));
        let line = |id: &str| {
            let found = shown.lines().find(|l| l.trim_start().starts_with(id));
            found.unwrap_or_default().to_owned()
        };
        let empty = line("grad-cam:");
        assert!(
            empty.ends_with("/Relu_output_0, withheld: nothing found for this class"),
            "{shown}"
        );
        assert!(!line("saliency:").contains("withheld"), "{shown}");
        let files: Vec<String> = std::fs::read_dir(out.join("maps"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let is = |end: &str| files.iter().any(|name| name.ends_with(end));
        assert!(
            is(".grad-cam.clean.json") && is(".grad-cam.clean.png"),
            "{files:?}"
        );
        assert!(is(".saliency.clean.png"), "{files:?}");
    }
}

/// ONNX Runtime gives 0.6855729 for class 1.
#[test]
fn a_model_that_ends_in_softmax_is_explained_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (model, image) = (fixture("soft.onnx"), fixture("i8.png"));
    let more = ["--methods", "saliency", "--metrics", "none"];
    let output = run(&explain(&model, &image, &out, &more));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("ends in Softmax"), "{told}");
    assert!(shown.contains("class 1 (68.6%)"), "{shown}");
    let record = std::fs::read_to_string(out.join("gallery.json")).unwrap();
    assert!(
        record.contains("explained is the value before Softmax"),
        "{record}"
    );
}

#[test]
fn grids_that_do_not_fit_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (model, image) = (transformer(), fixture("i12.png"));
    let with = |method: &'static str, grid: &'static str| {
        ["--methods", method, "--metrics", "none", "--grid", grid]
    };
    for method in ["grad-cam", "attention-rollout"] {
        ok(&explain(&model, &image, &out, &with(method, "3x3")));
        let told = refused(&explain(&model, &image, &out, &with(method, "2x2")));
        assert!(
            told.contains("2 x 2") && told.contains("9 tokens"),
            "{told}"
        );
    }
    let told = refused(&explain(&model, &image, &out, &with("saliency", "3x3")));
    assert!(told.contains("a method that looks at a layer"), "{told}");
    let told = ok(&["info", text(&model)]);
    assert!(told.contains("3 x 3 tokens behind 4 others"), "{told}");
}
