//! What the verdict of an attack says of models that gradients say little about.

use super::{fgmf, ok, text};
use fgmf::data::EMBEDDED;
use fgmf_record::{AttackRecord, Level};
use std::path::{Path, PathBuf};

/// A file of `parity/small_files.py`.
fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join(name)
}

fn attacked(model: &str, limit: &str, more: &[&str], out: &Path) -> AttackRecord {
    let model = fixture(model);
    let words = [
        "attack",
        text(&model),
        "--data",
        EMBEDDED,
        "--limit",
        limit,
        "--as-it-is",
    ];
    let rest = [
        "--suite",
        "quick",
        "--eps",
        "0.05",
        "--json",
        "--quiet",
        "--out",
        text(out),
    ];
    serde_json::from_str(&ok(&[&words[..], &rest, more].concat())).unwrap()
}

/// A model that is wrong on every image is not called trustworthy, and a threshold on the verdict
/// fails.
#[test]
fn a_model_that_has_nothing_right_gives_nothing_to_judge() {
    let folder = tempfile::tempdir().unwrap();
    let size = ["--input-size", "28"];
    let record = attacked("free_size.onnx", "4", &size, folder.path());
    assert_eq!((record.clean.accuracy, record.clean.n), (0.0, 4));
    assert_eq!(record.verdict.level, Level::Suspicious);
    let flag = &record.verdict.flags[0];
    assert_eq!(flag.id, "nothing-right");
    assert!(flag.advice.contains("nothing to judge"), "{}", flag.advice);
    assert_eq!(flag.evidence["examples"], 4);
    let model = fixture("free_size.onnx");
    let other = folder.path().join("again");
    let words = [
        "attack",
        text(&model),
        "--data",
        EMBEDDED,
        "--limit",
        "4",
        "--as-it-is",
    ];
    let rest = [
        "--suite",
        "quick",
        "--fail-on-masking",
        "--quiet",
        "--out",
        text(&other),
    ];
    let output = fgmf(&[&words[..], &size, &rest].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("nothing to judge"), "{said}");
    // With images that are right the sign is not there.
    let record = attacked("free_size.onnx", "60", &size, &folder.path().join("more"));
    assert!(record.clean.accuracy > 0.0);
    assert!(record.verdict.flags.iter().all(|f| f.id != "nothing-right"));
}

/// A quantised network is attacked, and the verdict says what its gradients are.
#[test]
fn gradients_that_go_straight_through_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let record = attacked("quantised.onnx", "60", &[], folder.path());
    assert!(record.clean.accuracy > 0.0);
    assert!(record.overall.robust_accuracy < record.clean.accuracy);
    let flags = &record.verdict.flags;
    let flag = flags.iter().find(|f| f.id == "straight-through").unwrap();
    assert!(
        flag.advice.contains("by scores and by labels"),
        "{}",
        flag.advice
    );
    assert!(!flag.conclusive && record.verdict.level != Level::Trustworthy);
}
