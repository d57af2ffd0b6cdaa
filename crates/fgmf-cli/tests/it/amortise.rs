//! `fgmf amortise` as a user runs it.

use super::{ok, refused, small_model, text};
use std::path::Path;

fn amortise<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "amortise",
        text(model),
        "--data",
        "fashion-mnist-mini",
        "--limit",
        "96",
        "--epochs",
        "2",
        "--eps",
        "0.1",
        "--judge",
        "10",
        "--quiet",
        "--out",
        text(out),
    ];
    [&usual[..], more].concat()
}

/// The model answers as before and explains itself, in a gallery and beside its teacher; again in
/// the same folder nothing is computed.
#[test]
fn a_model_learns_to_draw_its_maps() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (small_model(folder.path()), folder.path().join("out"));
    let shown = ok(&amortise(&model, &out, &["--width", "8"]));
    assert!(shown.contains("maps of 10 test images"), "{shown}");
    let drawing = out.join("model.onnx");
    assert!(shown.contains(text(&drawing)), "{shown}");
    assert_eq!(ok(&amortise(&model, &out, &["--width", "8"])), shown);

    let answers = |model: &Path, to: &str| {
        let to = folder.path().join(to);
        let data = ["--data", "fashion-mnist-mini", "--limit", "10"];
        let words = ["predict", text(model), "--out", text(&to), "--quiet"];
        ok(&[&words[..], &data].concat());
        std::fs::read(to.join("logits.safetensors")).unwrap()
    };
    assert_eq!(answers(&model, "before"), answers(&drawing, "after"));

    let maps = folder.path().join("maps");
    let words = [
        "explain",
        text(&drawing),
        "--methods",
        "sgam",
        "--out",
        text(&maps),
    ];
    let data = ["--data", "fashion-mnist-mini", "-n", "2", "--quiet"];
    ok(&[&words[..], &data].concat());
    assert!(maps.join("gallery.html").exists());
}

#[test]
fn what_cannot_be_taught_or_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (small_model(folder.path()), folder.path().join("out"));
    for (more, named) in [
        (&["--teacher", "sgam"][..], "sgam"),
        (&["--cells", "0"], "cells"),
        (&["--width", "0"], "width"),
        (&["--settings", r#"{"saliency": {}}"#], "saliency"),
        (&["--teacher", "attention-rollout"], "attention"),
    ] {
        let words = amortise(&model, &out, more);
        let message = refused(&words);
        assert!(message.contains(named), "{more:?}: {message}");
    }
    // A model without maps of its own names the command that makes them.
    let maps = folder.path().join("maps");
    let words = [
        "explain",
        text(&model),
        "--methods",
        "sgam",
        "--out",
        text(&maps),
    ];
    let data = ["--data", "fashion-mnist-mini", "-n", "1", "--quiet"];
    let message = refused(&[&words[..], &data].concat());
    assert!(message.contains("fgmf amortise"), "{message}");
}
