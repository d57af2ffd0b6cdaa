//! `fgmf certify` as a user runs it.

use super::{ok, refused, run, small_model, text};
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_record::{BracketRecord, CertifyRecord, Proof};
use std::path::Path;

fn certify<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "certify",
        text(model),
        "--data",
        "fashion-mnist-mini",
        "--limit",
        "20",
        "--quiet",
        "--out",
        text(out),
    ];
    [&usual[..], more].concat()
}

fn record(out: &Path) -> CertifyRecord {
    serde_json::from_slice(&std::fs::read(out.join("certify.json")).unwrap()).unwrap()
}

/// A network trained with masks is proved, attacked, and written down; thresholds and refusals.
#[test]
fn a_network_is_proved_and_attacked() {
    let folder = tempfile::tempdir().unwrap();
    let trained = folder.path().join("trained");
    ok(&[
        "train",
        "--data",
        "fashion-mnist-mini",
        "--limit",
        "512",
        "--objective",
        "standard",
        "--mask-augment",
        "3x3",
        "--masks",
        "4",
        "--fill",
        "0",
        "--epochs",
        "2",
        "--quiet",
        "--out",
        text(&trained),
    ]);
    let model = trained.join("model.onnx");
    let run_json = std::fs::read_to_string(trained.join("run.json")).unwrap();
    assert!(run_json.contains("mask_augment"));
    let out = folder.path().join("out");
    let quick = r#"{"patch-pgd": {"steps": 4, "places": 2, "tried": 20},
        "patch-search": {"queries": 20}, "patch-universal": {"steps": 3, "places": 2}}"#;
    let sizes = ["--patch", "3x3", "--masks", "4", "--fill", "0"];
    let attacked = [&sizes[..], &["--settings", quick, "--attack"]].concat();
    let shown = ok(&certify(&model, &out, &attacked));
    assert!(
        shown.contains("proved right") && shown.contains("proved and fallen: 0"),
        "{shown}"
    );
    let found = record(&out);
    assert_eq!((found.images.len(), found.masks.masks), (20, 16));
    assert_eq!(found.masks.pairs, 136);
    let right = found.images.iter().filter(|i| i.proof == Proof::Right);
    assert_eq!(right.count(), found.proved_right.count);
    assert!(found.proved_right.count <= found.proved_detected.count);
    let attack = found.attack.unwrap();
    assert_eq!(attack.attacks.len(), 3);
    assert!(attack.contradictions.is_empty());
    assert!(found.images.iter().all(|i| i.patched.is_some()));
    let page = std::fs::read_to_string(out.join("certify.html")).unwrap();
    assert!(page.contains("Proofs against patches") && page.contains("data:image/png"));
    assert!(!out.join("certify.state.jsonl").exists());

    // The same run again; another one is refused there, and a threshold that fails is exit 1.
    ok(&certify(&model, &out, &attacked));
    let told = refused(&certify(&model, &out, &["--patch", "4x4"]));
    assert!(told.contains("another"), "{told}");
    let other = folder.path().join("other");
    let low = [&sizes[..], &["--min-proved", "1"]].concat();
    let output = run(&certify(&model, &other, &low));
    assert_eq!(output.status.code(), Some(1));
    assert!(record(&other).attack.is_none());
}

#[test]
fn what_cannot_be_proved_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let out = folder.path().join("out");
    for (more, expected) in [
        (vec!["--patch", "29x2"], "1 to 28 rows"),
        (vec!["--patch", "5x5", "--masks", "0"], "1 to 28"),
        (vec!["--patch", "5x5", "--fill", "blur"], "`outside`"),
        (vec!["--patch", "5x5", "--patches", "9"], "1 to 4"),
        (vec!["--patch", "5x5", "--patches", "3"], "so few"),
        (vec!["--patch", "5x5", "--min-proved", "2"], "0 to 1"),
    ] {
        let told = refused(&certify(&model, &out, &more));
        assert!(told.contains(expected), "{more:?}: {told}");
    }
}

/// A network trained on bounds is proved and attacked on the same ball.
#[test]
fn a_bracket_is_proved_and_attacked() {
    let folder = tempfile::tempdir().unwrap();
    let trained = folder.path().join("trained");
    ok(&[
        "train",
        "--data",
        "fashion-mnist-mini",
        "--limit",
        "512",
        "--objective",
        "ibp",
        "--eps",
        "0.02",
        "--epochs",
        "3",
        "--quiet",
        "--out",
        text(&trained),
    ]);
    let model = trained.join("model.onnx");
    let log = std::fs::read_to_string(trained.join("log.jsonl")).unwrap();
    assert!(log.contains("cross-entropy of bounds"), "{log}");
    let out = folder.path().join("out");
    let ball = ["--threat", "linf", "--eps", "0.002"];
    let shown = ok(&certify(&model, &out, &ball));
    assert!(
        shown.contains("proved right (ibp)") && shown.contains("proved and fallen: 0"),
        "{shown}"
    );
    let found: BracketRecord =
        serde_json::from_slice(&std::fs::read(out.join("certify.json")).unwrap()).unwrap();
    assert_eq!((found.images.len(), found.attacks.len()), (20, 2));
    let right = found.images.iter().filter(|i| i.proof == Proof::Right);
    assert_eq!(right.count(), found.proved.count);
    assert!(found.proved.count > 0 && found.proved.count <= found.attacked.count);
    let above = |i: &fgmf_record::BracketImage| i.margin.is_some_and(|m| m > 0.0);
    assert!(
        found
            .images
            .iter()
            .all(|i| i.proof != Proof::Right || above(i))
    );
    assert!(found.contradictions.is_empty());
    let page = std::fs::read_to_string(out.join("certify.html")).unwrap();
    assert!(page.contains("Proved and attacked") && page.contains("data:image/png"));
    for state in ["certify.state.jsonl", "attack.state.jsonl"] {
        assert!(!out.join(state).exists());
    }

    // The same run again; another one is refused there, and a threshold that fails is exit 1.
    ok(&certify(&model, &out, &ball));
    let told = refused(&certify(
        &model,
        &out,
        &["--threat", "linf", "--eps", "0.1"],
    ));
    assert!(told.contains("another"), "{told}");
    let wide = folder.path().join("wide");
    let low = ["--threat", "linf", "--eps", "0.5", "--min-proved", "0.5"];
    let output = run(&certify(&model, &wide, &low));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_ball_that_cannot_be_proved_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let vit = folder.path().join("vit.onnx");
    let net = build(&ZooConfig {
        architecture: Architecture::VitTiny,
        activation: Activation::Relu,
        image: [1, 28, 28],
        classes: 10,
        mean: vec![0.5],
        deviation: vec![0.5],
        seed: 0,
    });
    std::fs::write(&vit, fgmf_net::onnx::to_bytes(&net.unwrap()).unwrap()).unwrap();
    let out = folder.path().join("out");
    for (model, more, expected) in [
        (&model, vec!["--threat", "linf", "--patch", "5x5"], "`eps`"),
        (&model, vec!["--eps", "0.1"], "linf"),
        (
            &model,
            vec!["--threat", "linf", "--eps", "0.1", "--masks", "4"],
            "--masks",
        ),
        (
            &model,
            vec!["--threat", "linf", "--eps", "0.1", "--suite", "none"],
            "none",
        ),
        (
            &vit,
            vec!["--threat", "linf", "--eps", "0.1"],
            "LayerNormalization",
        ),
    ] {
        let told = refused(&certify(model, &out, &more));
        assert!(told.contains(expected), "{more:?}: {told}");
    }
}
