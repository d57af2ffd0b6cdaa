//! A kill and an error at every call that changes the disk, damaged state, two processes in a
//! folder: the same command afterwards ends like one that nobody disturbed, or is refused.
//!
//! `FGMF_DAMAGES` says how many times each file is damaged, and `FGMF_PAIRS` how many times two
//! processes are started and killed (few without them).

use crate::{fgmf, small_model, text};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

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
fn undisturbed(command: &[&str], folder: &Path, kinds: &[&str], at_least: u64) {
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
    for what in kinds {
        let mut calls = 1;
        loop {
            let out = folder.join(format!("{what}-{calls}"));
            let broken = run(&out, Some(format!("{what}:{calls}")));
            if broken.status.success() {
                break;
            }
            if *what != "kill" {
                let said = String::from_utf8_lossy(&broken.stderr).into_owned();
                assert_eq!(broken.status.code(), Some(2), "call {calls}: {said}");
                assert!(said.starts_with("error:"), "call {calls}: {said}");
                assert_eq!(said.contains("this is a bug"), *what == "panic", "{said}");
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
const TRAINING: [&str; 6] = ["--objective", "standard", "--limit", "64", "--epochs", "2"];
const EVALUATION: [&str; 6] = [
    "-n",
    "70",
    "--explainers",
    "saliency,grad-cam",
    "--metrics",
    "sparseness",
];

#[test]
fn training_at_every_call() {
    let folder = tempfile::tempdir().unwrap();
    undisturbed(
        &[&["train"], &DATA[..], &TRAINING].concat(),
        folder.path(),
        &["kill", "error", "panic"],
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
        "8",
        "--eps",
        "0.02",
        "--curve",
        "0.01",
    ];
    let command = [&["attack", text(&model)], &DATA[..], &settings].concat();
    undisturbed(&command, folder.path(), &["kill", "error"], 30);
}

#[test]
fn evaluation_at_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let command = [&["evaluate", text(&model)], &DATA[..], &EVALUATION].concat();
    undisturbed(&command, folder.path(), &["kill", "error"], 12);
}

/// The number that a variable of the environment gives.
fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |n| n.parse().unwrap())
}

/// A few numbers that look random.
fn draws(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed | 1), |s| {
        let mut s = s ^ (s << 13);
        s ^= s >> 7;
        Some(s ^ (s << 17))
    })
}

/// The command is killed late, what it kept is damaged in many ways, and the command runs again: it
/// is refused with the file's name, or ends like one that nobody disturbed.
#[allow(clippy::print_stdout, reason = "figures for whoever raises the counts")]
fn damaged_state(command: &[&str], folder: &Path, kept: &[&str], kill_at: u64, how_many: usize) {
    let reference = folder.join("reference");
    let run = |out: &Path, kill: bool| {
        let mut made = fgmf(&[command, &["--quiet", "--out", text(out)]].concat());
        if kill {
            made.env("FGMF_FAULT", format!("kill:{kill_at}"));
        }
        made.output().unwrap()
    };
    assert!(run(&reference, false).status.success());
    let expected = contents(&reference);
    let killed = folder.join("killed");
    assert!(!run(&killed, true).status.success());
    let state: Vec<(String, Vec<u8>)> = std::fs::read_dir(&killed)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| {
            let name = p.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&p).unwrap())
        })
        .collect();
    let (mut refused, mut same) = (0, 0);
    for name in kept {
        let (_, bytes) = state.iter().find(|(n, _)| n == name).unwrap();
        assert!(!bytes.is_empty(), "{name}");
        for (number, draw) in draws(bytes.len() as u64)
            .skip(20)
            .take(number("FGMF_DAMAGES", how_many))
            .enumerate()
        {
            let mut damaged = bytes.clone();
            let at = draw as usize % bytes.len();
            match number % 4 {
                0 | 1 => damaged[at] ^= 1 << ((draw >> 40) % 8),
                2 => damaged[at] = b'0' + (draw >> 40) as u8 % 10,
                _ => damaged.truncate(at),
            }
            let out = folder.join("damaged");
            std::fs::create_dir(&out).unwrap();
            for (other, bytes) in &state {
                let bytes = if other == name { &damaged } else { bytes };
                std::fs::write(out.join(other), bytes).unwrap();
            }
            let again = run(&out, false);
            if again.status.success() {
                let found = contents(&out);
                assert!(
                    found == expected,
                    "{name}, damage {number} at byte {at}: another result"
                );
                same += 1;
            } else {
                let said = String::from_utf8_lossy(&again.stderr).into_owned();
                assert_eq!(again.status.code(), Some(2), "{name}: {said}");
                assert!(said.starts_with("error:"), "{said}");
                let stem = name.split('.').next().unwrap();
                assert!(said.contains(stem), "{name}: {said}");
                refused += 1;
            }
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
    println!("{kept:?}: {refused} refused, {same} the same");
    assert!(refused > 0, "{same} the same, none refused");
}

#[test]
fn damaged_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let command = [&["train"], &DATA[..], &TRAINING].concat();
    damaged_state(&command, folder.path(), &["resume.safetensors"], 14, 60);
}

#[test]
fn damaged_attacks() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let settings = ["--suite", "fgsm,mi-fgsm", "--limit", "24", "--eps", "0.1"];
    let command = [&["attack", text(&model)], &DATA[..], &settings].concat();
    let kept = ["attack.state.jsonl", "attack.state.f32"];
    damaged_state(&command, folder.path(), &kept, 22, 40);
}

#[test]
fn damaged_curves() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let settings = ["--suite", "fgsm,mi-fgsm", "--limit", "24", "--eps", "0.1"];
    let curve = ["--curve", "0.05,0.07"];
    let command = [&["attack", text(&model)], &DATA[..], &settings, &curve].concat();
    let kept = ["attack.state.radius-0.jsonl", "attack.state.radius-0.f32"];
    damaged_state(&command, folder.path(), &kept, 46, 20);
}

#[test]
fn damaged_evaluations() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let command = [&["evaluate", text(&model)], &DATA[..], &EVALUATION].concat();
    damaged_state(&command, folder.path(), &["evaluation.state.jsonl"], 14, 60);
}

/// Two processes start in one folder, both are killed at some moment, and the command runs again.
#[allow(clippy::print_stdout, reason = "figures for whoever raises the counts")]
fn pairs(command: &[&str], folder: &Path) {
    let reference = folder.join("reference");
    let start = |out: &Path| {
        let mut made = fgmf(&[command, &["--quiet", "--out", text(out)]].concat());
        made.stdout(Stdio::null()).stderr(Stdio::piped());
        made.spawn().unwrap()
    };
    let begun = std::time::Instant::now();
    assert!(start(&reference).wait().unwrap().success());
    let usual = begun.elapsed();
    let expected = contents(&reference);
    let (mut used, mut killed) = (0, 0);
    for draw in draws(7).skip(20).take(number("FGMF_PAIRS", 4)) {
        let out = folder.join("pair");
        let mut both = [start(&out), start(&out)];
        // At any moment of a run that has both cores for itself, which this one has not.
        std::thread::sleep(usual.mul_f64((draw >> 40) as f64 / (1_u64 << 24) as f64));
        for process in &mut both {
            killed += usize::from(process.try_wait().unwrap().is_none());
            process.kill().unwrap();
        }
        for process in both {
            let ended = process.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            let refused = ended.status.code() == Some(2) && said.contains("found one in use");
            used += usize::from(refused);
            let well = ended.status.success() || ended.status.code().is_none();
            assert!(well || refused, "{said}");
        }
        let last = start(&out).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&last.stderr).into_owned();
        assert!(last.status.success(), "{said}");
        assert!(contents(&out) == expected, "another result");
        std::fs::remove_dir_all(&out).unwrap();
    }
    println!("{}: {killed} killed, {used} refused", command[0]);
    assert!(killed > 0 && used > 0, "{killed} killed, {used} refused");
}

#[test]
fn two_processes_killed_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let train = ["--objective", "standard", "--limit", "512", "--epochs", "6"];
    let attack = ["--suite", "quick", "--limit", "64", "--eps", "0.1"];
    let model = text(&model);
    for (name, command) in [
        ("train", [&["train"], &DATA[..], &train].concat()),
        ("attack", [&["attack", model], &DATA[..], &attack].concat()),
        (
            "evaluate",
            [&["evaluate", model], &DATA[..], &EVALUATION].concat(),
        ),
    ] {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        pairs(&command, &folder);
    }
}

/// A run that was begun on portable code is not continued on another instruction set.
#[test]
fn a_run_moved_between_instruction_sets_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let attack = ["--suite", "fgsm,mi-fgsm", "--limit", "24", "--eps", "0.1"];
    let attack = [&["attack", text(&model)], &DATA[..], &attack].concat();
    let evaluate = [&["evaluate", text(&model)], &DATA[..], &EVALUATION].concat();
    let train = [&["train"], &DATA[..], &TRAINING].concat();
    for (command, kill_at) in [(train, 14), (attack, 22), (evaluate, 14)] {
        let out = folder.path().join(command[0]);
        let words = [&command[..], &["--quiet", "--out", text(&out)]].concat();
        let on = |isa: &str| {
            let mut made = fgmf(&words);
            made.env("FGMF_ISA", isa);
            made
        };
        let begun = on("portable")
            .env("FGMF_FAULT", format!("kill:{kill_at}"))
            .output();
        assert!(!begun.unwrap().status.success(), "{}", command[0]);
        // A processor that knows only portable code goes on; every other one has been asked before.
        if fgmf_net::instruction_set() != "portable" {
            let said = crate::refused(&words);
            assert!(said.contains("instruction"), "{said}");
        }
        assert!(on("portable").output().unwrap().status.success());
    }
}

/// Of two processes in one folder one works, and the other is refused.
#[test]
fn one_process_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = [
        "--objective",
        "standard",
        "--limit",
        "512",
        "--epochs",
        "40",
    ];
    let command = [
        &["train"],
        &DATA[..],
        &settings,
        &["--quiet", "--out", text(&out)],
    ]
    .concat();
    let mut first = fgmf(&command).spawn().unwrap();
    while !out.join("resume.safetensors").exists() {
        assert!(
            first.try_wait().unwrap().is_none(),
            "too fast for this test"
        );
        std::thread::yield_now();
    }
    let said = crate::refused(&command);
    assert!(said.contains("found one in use"), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
    let short = [
        "--objective",
        "standard",
        "--limit",
        "512",
        "--epochs",
        "41",
    ];
    let other = [
        &["train"],
        &DATA[..],
        &short,
        &["--quiet", "--out", text(&out)],
    ]
    .concat();
    // The claim ends with its process; the state is that of another run.
    assert!(crate::refused(&other).contains("other settings"));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let full = || std::fs::File::create("/dev/full").unwrap();
    let run = |arguments: &[&str]| fgmf(arguments);
    let output = run(&["info", text(&model)])
        .stdout(full())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: standard output"), "{said}");
    // Where errors cannot be told, the exit code tells.
    let status = run(&["info", "absent.onnx"]).stderr(full()).status();
    assert_eq!(status.unwrap().code(), Some(2));
    // A reader who has seen enough is no error.
    let mut child = run(&["info", text(&model), "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
