//! `kill -9` at any moment, then the same command again: the same result as a run that was left
//! alone.

use super::{attack_record, fgmf, ok, small_model, text};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Moments spread over a run that takes as long as `whole`, from a twentieth of it on: the same
/// shares of it everywhere.
fn moment(i: u64, whole: Duration) -> Duration {
    let share = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 1000;
    whole.mul_f64(0.05 + share as f64 / 1000.0)
}

/// Runs the command to its end; how long it took.
pub(super) fn timed(arguments: &[&str]) -> Duration {
    let started = Instant::now();
    ok(arguments);
    started.elapsed()
}

/// Starts the command and kills it at a moment, again and again, until it ends by itself; returns
/// the number of kills that hit a running process. Unbroken it takes about as long as `whole`.
pub(super) fn until_done(arguments: &[&str], first: u64, whole: Duration) -> u64 {
    let mut kills = 0;
    for attempt in 0..400 {
        let mut child = fgmf(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment(first + attempt, whole));
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
    let mut run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("run.json")).unwrap()).unwrap();
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
    let took = timed(&train(text(&whole)));
    let mut kills = 0;
    let mut round = 0;
    while kills < 10 {
        let broken = at(&format!("broken{round}"));
        kills += until_done(&train(text(&broken)), 1000 * round, took);
        assert!(
            std::fs::read(whole.join("model.onnx")).unwrap()
                == std::fs::read(broken.join("model.onnx")).unwrap(),
            "model after {kills} kills"
        );
        assert!(
            run_record(&whole) == run_record(&broken),
            "record after {kills} kills"
        );
        round += 1;
        assert!(
            round < 50,
            "the process is always done before it can be killed"
        );
    }

    let model = whole.join("model.onnx");
    fn attack<'a>(model: &'a str, out: &'a str) -> Vec<&'a str> {
        vec![
            "attack",
            model,
            "--data",
            "fashion-mnist-mini",
            "--suite",
            "quick",
            "--limit",
            "1000",
            "--quiet",
            "--out",
            out,
        ]
    }
    let whole = at("attack");
    let took = timed(&attack(text(&model), text(&whole)));
    let (mut kills, mut round) = (0, 0);
    while kills < 10 {
        let broken = at(&format!("attack{round}"));
        kills += until_done(
            &attack(text(&model), text(&broken)),
            7000 + 1000 * round,
            took,
        );
        assert!(
            attack_record(&whole) == attack_record(&broken),
            "attack after {kills} kills"
        );
        round += 1;
        assert!(
            round < 50,
            "the process is always done before it can be killed"
        );
    }
}

/// AutoAttack killed again and again, each time a little later: what was done is kept, attack by
/// attack, and the end is that of a run that was left alone, to the byte.
#[test]
fn killed_autoattack_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(&folder.path().join("model"));
    let attack = |out: &'static str| {
        let out = folder.path().join(out);
        let flags = [
            "--data",
            "fashion-mnist-mini",
            "--suite",
            "standard",
            "--eps",
            "0.05",
            "--limit",
            "300",
            "--quiet",
            "--out",
        ];
        let arguments: Vec<String> = ["attack", text(&model)]
            .into_iter()
            .chain(flags)
            .map(str::to_owned)
            .chain([text(&out).to_owned()])
            .collect();
        (out, arguments)
    };
    let (whole, arguments) = attack("whole");
    let started = std::time::Instant::now();
    ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let usual = started.elapsed();
    let (broken, arguments) = attack("broken");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let state = broken.join("attack.state.jsonl");
    let done =
        || std::fs::read_to_string(&state).map_or(0, |s| s.lines().count().saturating_sub(1));
    let (mut kept, mut ended) = (vec![0], false);
    for share in 1..=8 {
        let mut child = fgmf(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(usual * share / 12);
        ended = child.try_wait().unwrap().is_some();
        if ended {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kept.push(done());
    }
    assert!(
        kept.windows(2).all(|w| w[0] <= w[1]),
        "a kill lost finished attacks: {kept:?}"
    );
    assert!(
        kept.iter().any(|&n| (1..8).contains(&n)),
        "no kill hit the suite midway: {kept:?}"
    );
    if !ended {
        ok(&arguments);
    }
    assert!(
        attack_record(&whole) == attack_record(&broken),
        "after kills with {kept:?} attacks done"
    );
    let images = |folder: &Path| std::fs::read(folder.join("adversarial.safetensors")).unwrap();
    assert!(
        images(&whole) == images(&broken),
        "adversarial images differ"
    );
    assert!(!state.exists(), "the state of a run that is done was left");
}
