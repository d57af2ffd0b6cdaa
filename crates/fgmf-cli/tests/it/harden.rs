//! A model of a user's own goes in, and a hardened one comes out.

use super::prepared::{bytes, of_bytes, predicted};
use super::{fgmf, ok, run, text};
use fgmf::data::EMBEDDED;
use fgmf::train::Run;
use fgmf_net::onnx;
use fgmf_record::ReportRecord;
use serde::Deserialize;
use std::path::Path;
use std::process::Stdio;

#[derive(Deserialize)]
struct Said {
    run: Run,
    report: Option<ReportRecord>,
}

fn words<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let first = ["harden", text(model), "--data", EMBEDDED, "--out"];
    let usual = [text(out), "--limit", "500", "--epochs", "3", "--quiet"];
    [&first[..], &usual, more].concat()
}

/// The error, which may stand behind notes.
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

/// One command: the file keeps its graph, withstands more, needs no flag, and the page shows it
/// beside the given one.
#[test]
fn a_given_file_comes_back_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let given = of_bytes(folder.path());
    let config = r#"{"do_rescale": false, "do_normalize": false}"#;
    std::fs::write(folder.path().join("preprocessor_config.json"), config).unwrap();
    let out = folder.path().join("out");
    let more = ["--eps", "0.05", "--judge", "60", "--json"];
    let said: Said = serde_json::from_str(&ok(&words(&given, &out, &more))).unwrap();
    let kept = said.run.kept.unwrap();
    assert!(
        kept.validation.robust.count > kept.before.robust.count,
        "{kept:?}"
    );
    let models = said.report.unwrap().models;
    let titles: Vec<&str> = models.iter().map(|m| m.title.as_str()).collect();
    assert_eq!(titles, ["Hardened", "As given"]);
    let attacked = |i: usize| {
        let at = |eps: f64| models[i].curve.iter().find(|p| (p.eps - eps).abs() < 1e-9);
        assert_eq!(at(0.0).unwrap().robust, models[i].clean);
        at(0.05).unwrap().robust.count
    };
    assert!(
        attacked(0) > attacked(1) + 5,
        "{} {}",
        attacked(0),
        attacked(1)
    );
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for model in &models {
        let loss = model.clean_loss.unwrap();
        assert!(
            loss > 0.0 && page.contains(&format!("cross-entropy {loss:.3}")),
            "{loss}"
        );
    }
    assert!(page.contains("is the model that came in") && page.contains("held out, attacked"));
    assert!(page.contains("--scale 1 --mean 0 --std 1") || page.contains("--scale 255"));

    let hardened = out.join("model.onnx");
    let nodes = |path: &Path| {
        let net = onnx::read(path).unwrap();
        net.nodes()
            .iter()
            .map(|n| n.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(nodes(&given), nodes(&hardened));
    // What the file says of itself is used wherever it lies.
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("m.onnx");
    std::fs::copy(&hardened, &moved).unwrap();
    let found = predicted(&moved, &[]);
    assert_eq!(found.model.preprocessing, Some(bytes()));
    assert!(found.accuracy.unwrap().accuracy > 0.6);

    // The same command again trains nothing; another one is refused.
    let before = std::fs::read(&hardened).unwrap();
    let again: Said = serde_json::from_str(&ok(&words(&given, &out, &more))).unwrap();
    assert!(again.run == said.run && std::fs::read(&hardened).unwrap() == before);
    let other = ["--eps", "0.04", "--judge", "0"];
    assert!(refused(&words(&given, &out, &other)).contains("choose another folder"));
}

#[test]
fn what_cannot_be_hardened_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let given = of_bytes(folder.path());
    let out = folder.path().join("out");
    let scale = ["--scale", "255", "--eps", "0.05", "--judge", "0"];
    let with = |more: &[&'static str]| refused(&words(&given, &out, &[&scale[..], more].concat()));
    let frozen = with(&["--freeze", "no-such-array*"]);
    assert!(
        frozen.contains("`freeze`") && frozen.contains("such as"),
        "{frozen}"
    );
    assert!(with(&["--freeze", "*"]).contains("none does"));
    assert!(with(&["--shift", "29"]).contains("the smaller side"));
    assert!(with(&["--validation", "0.9"]).contains("validation.share"));
    assert!(with(&["--memory", "20"]).contains("`memory`"));
    // A forgotten preparation is found before anything is trained.
    let message = refused(&words(&given, &out, &["--eps", "0.05"]));
    assert!(message.contains("--scale 255"), "{message}");
    assert!(!out.join("model.onnx").exists() && !out.join("run.json").exists());
}

#[test]
fn a_killed_hardening_ends_like_an_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let given = of_bytes(folder.path());
    let more = ["--scale", "255", "--eps", "0.05", "--judge", "40"];
    let whole = folder.path().join("whole");
    let started = std::time::Instant::now();
    ok(&words(&given, &whole, &more));
    let usual = started.elapsed();
    let broken = folder.path().join("broken");
    let arguments = words(&given, &broken, &more);
    let mut hits = 0;
    for share in 1..=8 {
        let mut child = fgmf(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(usual * share / 12);
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        hits += 1;
    }
    assert!(hits > 0, "no kill hit the run");
    ok(&arguments);
    let read = |name: &str| [&whole, &broken].map(|to| std::fs::read(to.join(name)).unwrap());
    for name in ["model.onnx", "rate.json"] {
        let [a, b] = read(name);
        assert!(a == b, "{name} after {hits} kills");
    }
    let curves = read("report.json").map(|json| {
        let report: ReportRecord = serde_json::from_slice(&json).unwrap();
        let models = report.models.into_iter();
        (models.map(|m| m.curve).collect::<Vec<_>>(), report.cases)
    });
    assert!(curves[0] == curves[1], "figures after {hits} kills");
}
