//! A kill and an error at every call that changes the disk: the same command afterwards ends like
//! one that nobody disturbed.

use crate::{fgmf, small_model, text};
use std::collections::BTreeMap;
use std::path::Path;

/// Leaves out what a clock decides.
fn timeless(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.remove("seconds");
            fields.values_mut().for_each(timeless);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(timeless),
        _ => {}
    }
}

/// Everything in a folder, by name, times left out.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        if !name.ends_with(".json") && !name.ends_with(".jsonl") {
            return (name, bytes);
        }
        let whole = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = if name.ends_with('l') {
            whole.lines().collect()
        } else {
            vec![&whole]
        };
        let timeless = lines.iter().map(|line| {
            let mut value = serde_json::from_str(line).unwrap();
            timeless(&mut value);
            value.to_string()
        });
        (name, timeless.collect::<Vec<_>>().join("\n").into_bytes())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// Disturbs the command at each of its calls. `at_least` calls there are.
fn undisturbed(command: &[&str], folder: &Path, at_least: u64) {
    let reference = folder.join("reference");
    let run = |out: &Path, fault: Option<String>| {
        let mut made =
            fgmf(&[command, &["--quiet", "--threads", "1", "--out", text(out)]].concat());
        if let Some(fault) = fault {
            made.env("FGMF_FAULT", fault);
        }
        made.output().unwrap()
    };
    assert!(run(&reference, None).status.success());
    let expected = contents(&reference);
    for what in ["kill", "error"] {
        let mut calls = 1;
        loop {
            let out = folder.join(format!("{what}-{calls}"));
            let broken = run(&out, Some(format!("{what}:{calls}")));
            if broken.status.success() {
                break;
            }
            if what == "error" {
                let said = String::from_utf8_lossy(&broken.stderr).into_owned();
                assert_eq!(broken.status.code(), Some(2), "call {calls}: {said}");
                assert!(said.starts_with("error:"), "call {calls}: {said}");
            }
            let again = run(&out, None);
            let said = String::from_utf8_lossy(&again.stderr).into_owned();
            assert!(again.status.success(), "{what} at call {calls}: {said}");
            let found = contents(&out);
            let names = |c: &BTreeMap<String, Vec<u8>>| c.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&found), names(&expected), "{what} at call {calls}");
            for (name, bytes) in &found {
                assert!(*bytes == expected[name], "{what} at call {calls}: {name}");
            }
            std::fs::remove_dir_all(&out).unwrap();
            calls += 1;
        }
        assert!(calls > at_least, "{calls} calls");
    }
}

const DATA: [&str; 2] = ["--data", "fashion-mnist-mini"];

#[test]
fn training_at_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--objective", "standard", "--limit", "64", "--epochs", "2"];
    undisturbed(
        &[&["train"], &DATA[..], &settings].concat(),
        folder.path(),
        20,
    );
}

#[test]
fn attack_at_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let settings = [
        "--suite",
        "fgsm,mi-fgsm",
        "--limit",
        "24",
        "--eps",
        "0.02",
        "--curve",
        "0.01",
    ];
    let command = [&["attack", text(&model)], &DATA[..], &settings].concat();
    undisturbed(&command, folder.path(), 30);
}

#[test]
fn evaluation_at_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let settings = [
        "-n",
        "70",
        "--explainers",
        "saliency,grad-cam",
        "--metrics",
        "sparseness",
    ];
    let command = [&["evaluate", text(&model)], &DATA[..], &settings].concat();
    undisturbed(&command, folder.path(), 12);
}
