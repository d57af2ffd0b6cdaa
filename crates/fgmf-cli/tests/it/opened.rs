//! What a model file leaves open: which of its outputs gives the scores, how large its images are.

use super::prepared::predicted;
use super::{ok, run, text};
use fgmf::data::EMBEDDED;
use fgmf_record::PredictionRecord;
use std::path::{Path, PathBuf};

/// A file of `parity/small_files.py`, in a folder of its own.
fn copied(name: &str, folder: &Path) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let path = folder.join(name);
    std::fs::copy(fixtures.join(name), &path).unwrap();
    path
}

/// Exit 2, and what is said behind notes.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(
        output.stdout.is_empty() && !said.contains("panicked"),
        "{said}"
    );
    said.split("error:").nth(1).unwrap().to_owned()
}

fn sums(record: &PredictionRecord) -> f64 {
    record.images[0].top.iter().map(|c| c.probability).sum()
}

/// Without a flag the probabilities are taken; a name is taken, from `fgmf.toml` too, or refused.
#[test]
fn an_output_is_taken_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = copied("detector.onnx", folder.path());
    let usual = predicted(&model, &["--as-it-is"]);
    assert_eq!(usual.model.output, None);
    let stated = predicted(&model, &["--as-it-is", "--output", "prob"]);
    assert_eq!(stated.model.output.as_deref(), Some("prob"));
    assert_eq!(
        (usual.images.len(), sums(&usual)),
        (stated.images.len(), sums(&stated))
    );
    let words = ["predict", text(&model), "--data", EMBEDDED, "--output"];
    let message = refused(&[&words[..], &["boxes"]].concat());
    assert!(message.contains("4 classes"), "{message}");
    let message = refused(&[&words[..], &["scores"]].concat());
    assert!(
        message.contains("`boxes` [n, 4], `prob` [n, 10], found `scores`"),
        "{message}"
    );
    let said = ok(&["info", text(&model), "--output", "boxes"]);
    assert!(said.contains("classes     4"), "{said}");
    std::fs::write(folder.path().join("fgmf.toml"), "output = \"boxes\"").unwrap();
    assert!(ok(&["info", text(&model)]).contains("classes     4"));
    let said = ok(&["info", text(&model), "--output", "prob"]);
    assert!(said.contains("classes     10"), "{said}");
    std::fs::write(folder.path().join("fgmf.toml"), "output = 2").unwrap();
    assert!(refused(&["info", text(&model)]).contains("`output` as text, found 2"));
    let pipe = ["predict", "pipe:none", "--data", EMBEDDED, "--output", "x"];
    assert!(refused(&pipe).contains("output"));
}

/// Another output is another run.
#[test]
fn a_finished_run_of_another_output_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let model = copied("detector.onnx", folder.path());
    let out = folder.path().join("out");
    let words = [
        "attack",
        text(&model),
        "--data",
        EMBEDDED,
        "--limit",
        "8",
        "--as-it-is",
    ];
    let more = ["--suite", "fgsm", "--out", text(&out), "--quiet"];
    let all = [&words[..], &more].concat();
    ok(&all);
    let message = refused(&[&all[..], &["--output", "prob"]].concat());
    assert!(message.contains("another model.output"), "{message}");
}

/// A hardened file has every output that the given one has, and says which one was hardened.
#[test]
fn hardening_keeps_all_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let model = copied("detector.onnx", folder.path());
    for (more, boxes) in [(&[][..], true), (&["--sgam"][..], false)] {
        let out = folder.path().join(format!("out-{boxes}"));
        let words = [
            "harden",
            text(&model),
            "--data",
            EMBEDDED,
            "--limit",
            "64",
            "--lr",
            "0.01",
        ];
        let rest = [
            "--eps",
            "0.01",
            "--epochs",
            "1",
            "--judge",
            "0",
            "--quiet",
            "--as-it-is",
        ];
        let last = ["--output", "prob", "--out", text(&out)];
        let code = run(&[&words[..], &rest, &last, more].concat())
            .status
            .code();
        // 1 says that no epoch withstood more.
        assert!(code == Some(0) || code == Some(1), "{code:?}");
        let hardened = out.join("model.onnx");
        let files = fgmf_net::onnx::Files::read(&hardened).unwrap();
        assert_eq!(files.has_output("boxes"), boxes);
        let net = files.network().unwrap();
        assert_eq!(net.classes(), 10);
        let said = net
            .notes
            .iter()
            .any(|n| n.contains("`prob`, as the metadata"));
        assert_eq!(said, boxes, "{:?}", net.notes);
        // The same command goes on from what is there.
        let again = run(&[&words[..], &rest, &last, more].concat())
            .status
            .code();
        assert_eq!(again, code);
    }
}

/// A size is stated, or found beside the model; another one than the file fixes is refused.
#[test]
fn a_free_size_is_stated_or_found() {
    let folder = tempfile::tempdir().unwrap();
    let model = copied("free_size.onnx", folder.path());
    let info = |more: &[&str]| ok(&[&["info", text(&model)][..], more].concat());
    let message = refused(&["info", text(&model)]);
    assert!(
        message.contains("found shape [?, 1, ?, ?]") && message.contains("--input-size HxW"),
        "{message}"
    );
    assert!(info(&["--input-size", "28"]).contains("images      1x28x28"));
    assert!(info(&["--input-size", "20x36"]).contains("images      1x20x36"));
    for wrong in ["0", "28x", "large"] {
        let output = run(&["info", text(&model), "--input-size", wrong]);
        assert_eq!(output.status.code(), Some(2));
    }
    refused(&[
        "info",
        text(&model),
        "--input-size",
        "4000000000x4000000000",
    ]);
    let fixed = copied("detector.onnx", folder.path());
    let message = refused(&["info", text(&fixed), "--input-size", "32"]);
    assert!(
        message.contains("fixes, shape [?, 1, 28, 28], found 32x32"),
        "{message}"
    );
    ok(&["info", text(&fixed), "--input-size", "28"]);
    let stated = predicted(&model, &["--as-it-is", "--input-size", "28"]);
    assert_eq!(stated.model.input_size, Some([28, 28]));
    let config = r#"{"size": 28, "do_resize": true}"#;
    std::fs::write(folder.path().join("preprocessor_config.json"), config).unwrap();
    let found = predicted(&model, &["--as-it-is"]);
    assert_eq!(found.model.input_size, Some([28, 28]));
    let told = predicted(&fixed, &["--as-it-is", "--input-size", "28"]);
    assert_eq!(told.model.input_size, None);
    std::fs::write(folder.path().join("fgmf.toml"), "input_size = \"24x20\"").unwrap();
    assert!(info(&[]).contains("images      1x24x20"));
    std::fs::write(folder.path().join("fgmf.toml"), "input_size = 24").unwrap();
    assert!(info(&[]).contains("images      1x24x24"));
    assert!(info(&["--input-size", "28"]).contains("images      1x28x28"));
}

/// A hardened file leaves its size as free as it was, and says at which it was hardened.
#[test]
fn hardening_keeps_a_free_size() {
    let folder = tempfile::tempdir().unwrap();
    let model = copied("free_size.onnx", folder.path());
    let out = folder.path().join("out");
    let words = [
        "harden",
        text(&model),
        "--data",
        EMBEDDED,
        "--limit",
        "64",
        "--lr",
        "0.01",
    ];
    let rest = [
        "--eps",
        "0.01",
        "--epochs",
        "1",
        "--judge",
        "0",
        "--quiet",
        "--as-it-is",
    ];
    let last = ["--input-size", "28", "--out", text(&out)];
    let code = run(&[&words[..], &rest, &last].concat()).status.code();
    assert!(code == Some(0) || code == Some(1), "{code:?}");
    let hardened = out.join("model.onnx");
    let files = fgmf_net::onnx::Files::read(&hardened).unwrap();
    assert!(files.leaves_size_free());
    assert_eq!(files.network().unwrap().image_shape(), [1, 28, 28]);
}
