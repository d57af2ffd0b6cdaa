//! `fgmf agents`, as a user runs it: a tiny team is trained, played, attacked and explained.

use super::{ok, refused, run, text};
use serde_json::Value;

const ENV: &str = "overcooked:cramped_room";

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "agents",
        "train",
        "--env",
        ENV,
        "--steps",
        "512",
        "--lanes",
        "8",
        "--length",
        "32",
        "--network",
        "dense",
        "--quiet",
        "--out",
        out,
    ];
    fixed.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn a_team_is_trained_played_attacked_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(folder.path());
    let said = ok(&train(out, &[]));
    assert!(
        said.contains("best mean return") && said.contains("actor.onnx"),
        "{said}"
    );
    let record = std::fs::read_to_string(folder.path().join("run.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["log"].as_array().unwrap().len(), 2);
    // The same command finds it done; another one is refused.
    assert_eq!(ok(&train(out, &[])), said);
    let other = refused(&train(out, &["--seed", "1"]));
    assert!(other.contains("another config.seed"), "{other}");

    let model = folder.path().join("actor.onnx");
    let model = text(&model);
    let played = ok(&["agents", "evaluate", model, "-n", "2", "--json"]);
    let played: Value = serde_json::from_str(&played).unwrap();
    let names = [0, 1, 2].map(|i| played[i]["name"].as_str().unwrap().to_owned());
    assert_eq!(names, ["sampled", "greedy", "random"]);
    assert_eq!(played[0]["episodes"][0]["steps"], 400);

    let attack = [
        "agents",
        "attack",
        model,
        "--attacks",
        "noise,pgd-margin",
        "-n",
        "1",
        "--greedy",
        "--quiet",
        "--out",
        out,
    ];
    assert!(ok(&attack).contains("pgd-margin"));
    let record = std::fs::read_to_string(folder.path().join("agents-attack.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["played"].as_array().unwrap().len(), 4);
    assert_eq!(record["played"][3]["episodes"][0]["attacked"], 400);
    // A team that earns nothing has no normalised return, so no threshold holds.
    let failed = run(&[&attack[..], &["--min-return", "0.5"]].concat());
    assert_eq!(failed.status.code(), Some(1));

    ok(&[
        "agents", "explain", model, "--attack", "noise", "--frames", "2", "--quiet", "--out", out,
    ]);
    let page = std::fs::read_to_string(folder.path().join("strip.html")).unwrap();
    assert!(page.contains("Team consensus") && page.contains("Step "));
}

#[test]
fn what_does_not_fit_is_named() {
    assert!(ok(&["agents", "list"]).contains("pursuit"));
    let folder = tempfile::tempdir().unwrap();
    let out = text(folder.path());
    let said = refused(&["agents", "train", "--env", "chess", "--out", out]);
    assert!(
        said.contains("overcooked:cramped_room") && said.contains("chess"),
        "{said}"
    );
    let said = refused(&[
        "agents", "train", "--env", ENV, "--steps", "0", "--out", out,
    ]);
    assert!(said.contains("steps"), "{said}");
    ok(&train(out, &[]));
    let model = folder.path().join("actor.onnx");
    let model = text(&model);
    let said = refused(&["agents", "evaluate", model, "--env", "pursuit", "-n", "1"]);
    assert!(
        said.contains("[3, 7, 7]") && said.contains("[26, 4, 5]"),
        "{said}"
    );
    let said = refused(&[
        "agents", "attack", model, "--agents", "3", "-n", "1", "--quiet", "--out", out,
    ]);
    assert!(said.contains("agents") && said.contains('3'), "{said}");
    let said = refused(&[
        "agents",
        "explain",
        model,
        "--attack",
        "noise",
        "--victims",
        "2",
        "--quiet",
        "--out",
        out,
    ]);
    assert!(said.contains("victims"), "{said}");
}
