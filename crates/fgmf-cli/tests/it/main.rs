//! Integration tests of the binary, run as a user runs it.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails should fail the test"
)]

mod amortise;
mod audit;
mod black_box;
mod calibrated;
mod certify;
mod commands;
mod corrupt;
mod faults;
mod harden;
mod inputs;
mod kill;
mod maps;
mod memory;
mod opened;
mod prepared;
mod served;
mod supply;
mod teams;
mod verdict;

use std::path::Path;
use std::process::{Command, Output};

/// The binary with these arguments.
fn fgmf(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fgmf"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    fgmf(arguments).output().unwrap()
}

fn ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Exit 2, a message that begins with `error:`, nothing on standard output, no panic.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert!(
        text.starts_with("error:") && !text.contains("panicked"),
        "{arguments:?}: {text}"
    );
    assert!(output.stdout.is_empty(), "{arguments:?}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `attack.json` without what a clock decides.
fn attack_record(folder: &Path) -> serde_json::Value {
    let mut record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("attack.json")).unwrap()).unwrap();
    for row in record["attacks"].as_array_mut().unwrap() {
        row["seconds"] = 0.into();
    }
    record
}

/// A small model trained for a moment, for the tests that need some model.
fn small_model(folder: &Path) -> std::path::PathBuf {
    ok(&[
        "train",
        "--data",
        "fashion-mnist-mini",
        "--limit",
        "256",
        "--objective",
        "standard",
        "--epochs",
        "2",
        "--quiet",
        "--out",
        text(folder),
    ]);
    folder.join("model.onnx")
}
