//! `kill -9` at any moment, then the same command again: the same result as a run that was left alone.

use super::{attack_record, fgmf, ok, text};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Moments spread over 20 to 700 ms, the same in every run.
fn moment(i: u64) -> Duration {
    Duration::from_millis(20 + (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 680)
}

/// Starts the command and kills it at a moment, again and again, until it ends by itself; returns the number of kills that
/// hit a running process.
fn until_done(arguments: &[&str], first: u64) -> u64 {
    let mut kills = 0;
    for attempt in 0..400 {
        let mut child = fgmf(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment(first + attempt));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{arguments:?} failed");
            return kills;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        // Every few kills one run is left alone, so that slow machines end too.
        if kills % 12 == 0 {
            ok(arguments);
            return kills;
        }
    }
    panic!("{arguments:?} never ended");
}

fn run_record(folder: &Path) -> serde_json::Value {
    let mut run: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("run.json")).unwrap()).unwrap();
    for epoch in run["log"].as_array_mut().unwrap() {
        epoch["seconds"] = 0.into();
    }
    run
}

#[test]
fn killed_training_and_attack_end_like_unbroken_ones() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fn train(out: &str) -> Vec<&str> {
        vec![
            "train",
            "--data",
            "fashion-mnist-mini",
            "--objective",
            "scor-pio",
            "--sgam",
            "--limit",
            "1024",
            "--epochs",
            "8",
            "--quiet",
            "--out",
            out,
        ]
    }
    let whole = at("whole");
    ok(&train(text(&whole)));
    let mut kills = 0;
    let mut round = 0;
    while kills < 10 {
        let broken = at(&format!("broken{round}"));
        kills += until_done(&train(text(&broken)), 1000 * round);
        assert!(
            std::fs::read(whole.join("model.onnx")).unwrap() == std::fs::read(broken.join("model.onnx")).unwrap(),
            "model after {kills} kills"
        );
        assert!(run_record(&whole) == run_record(&broken), "record after {kills} kills");
        round += 1;
        assert!(round < 50, "the process is always done before it can be killed");
    }

    let model = whole.join("model.onnx");
    fn attack<'a>(model: &'a str, out: &'a str) -> Vec<&'a str> {
        vec!["attack", model, "--data", "fashion-mnist-mini", "--suite", "quick", "--limit", "1000", "--quiet", "--out", out]
    }
    let whole = at("attack");
    ok(&attack(text(&model), text(&whole)));
    let (mut kills, mut round) = (0, 0);
    while kills < 10 {
        let broken = at(&format!("attack{round}"));
        kills += until_done(&attack(text(&model), text(&broken)), 7000 + 1000 * round);
        assert!(attack_record(&whole) == attack_record(&broken), "attack after {kills} kills");
        round += 1;
        assert!(round < 50, "the process is always done before it can be killed");
    }
}
