//! `fgmf attack --served` as a user runs it.

use super::kill::{timed, until_done};
use super::{ok, refused, small_model, text};
use fgmf_record::LeakageRecord;
use std::path::Path;

fn served<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "attack",
        text(model),
        "--data",
        "fashion-mnist-mini",
        "--limit",
        "40",
        "--queries-per-image",
        "60",
        "--quiet",
        "--out",
        text(out),
    ];
    [&usual[..], more].concat()
}

const SALIENCY: [&str; 4] = ["--served", "maps", "--served-explainer", "saliency"];

fn record(out: &Path) -> LeakageRecord {
    serde_json::from_slice(&std::fs::read(out.join("leakage.json")).unwrap()).unwrap()
}

/// Scores, maps in several forms, and their record; attacks without maps are the same in both.
#[test]
fn maps_are_held_against_scores_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(&folder.path().join("model"));
    let (alone, maps) = (folder.path().join("scores"), folder.path().join("maps"));
    let shown = ok(&served(&model, &alone, &["--served", "scores"]));
    assert!(
        shown.contains("evolution") && !shown.contains("faithfulness"),
        "{shown}"
    );
    let forms = ["--map-side", "full,7", "--map-bits", "exact,2"];
    let shown = ok(&served(&model, &maps, &[&SALIENCY[..], &forms].concat()));
    let head = "side 7, bits 2, positive: 98 bits\nfaithfulness";
    assert!(
        shown.contains(head) && shown.contains("over image for a map"),
        "{shown}"
    );
    assert!(shown.lines().all(|l| l.chars().count() <= 100), "{shown}");
    let (alone, maps) = (record(&alone), record(&maps));
    assert_eq!((alone.leaks.len(), alone.explainer.is_none()), (0, true));
    assert_eq!((maps.forms.len(), maps.leaks.len()), (4, 4));
    assert_eq!(
        maps.leaks.iter().map(|l| l.bits_served).max(),
        Some(28 * 28 * 32)
    );
    assert_eq!(
        (&alone.blind, &alone.by_image),
        (&maps.blind, &maps.by_image)
    );
    assert_ne!(maps.blind, maps.by_image);
    assert_eq!(maps.images.len(), maps.clean.count);
    for image in &maps.images {
        assert_eq!((image.guided.len(), image.faithfulness.len()), (4, 5));
        let all = image.guided.iter().flatten().chain(&image.blind).flatten();
        assert!(all.clone().all(|&q| (1..=60).contains(&q)), "{image:?}");
    }
    // The whole map is its own form, but for the signs, of which saliency has none.
    let leak = &maps.leaks[0];
    assert_eq!(Some(leak.faithfulness), maps.faithfulness);
}

#[test]
fn a_killed_run_ends_like_an_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(&folder.path().join("model"));
    let whole = folder.path().join("whole");
    let took = timed(&served(&model, &whole, &SALIENCY));
    let (mut kills, mut round) = (0, 0);
    while kills < 4 {
        let broken = folder.path().join(format!("broken{round}"));
        kills += until_done(&served(&model, &broken, &SALIENCY), 1000 * round, took);
        let read = |out: &Path| std::fs::read(out.join("leakage.json")).unwrap();
        assert!(read(&whole) == read(&broken), "after {kills} kills");
        assert!(!broken.join("leakage.state.jsonl").exists());
        round += 1;
        assert!(
            round < 50,
            "the process is always done before it can be killed"
        );
    }
    // The same run again is the same; another one does not overwrite it.
    ok(&served(&model, &whole, &SALIENCY));
    let other = [&SALIENCY[..], &["--map-bits", "2"]].concat();
    let message = refused(&served(&model, &whole, &other));
    assert!(message.contains("another forms"), "{message}");
}

/// The mask of a layer is served where there is one.
#[test]
fn a_mask_is_served_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(&folder.path().join("model"));
    let out = folder.path().join("out");
    let mask = ["--served", "mask", "--suite", "square"];
    let message = refused(&served(&model, &out, &mask));
    assert!(message.contains("SGAM mask layer"), "{message}");
    let masked = folder.path().join("masked");
    ok(&[
        "train",
        "--data",
        "fashion-mnist-mini",
        "--limit",
        "256",
        "--objective",
        "standard",
        "--sgam",
        "--epochs",
        "1",
        "--quiet",
        "--out",
        text(&masked),
    ]);
    let model = masked.join("model.onnx");
    ok(&served(&model, &out, &mask));
    let record = record(&out);
    assert_eq!(record.served, "mask");
    assert_eq!(record.explainer.unwrap().id, "sgam-mask");
    assert_eq!(record.leaks[0].bits_served, 588);
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(&folder.path().join("model"));
    let out = folder.path().join("out");
    let maps = ["--served", "maps"];
    for (more, part) in [
        (&["--served", "labels"][..], "scores"),
        (&["--map-side", "7"], "--served"),
        (&["--served", "scores", "--map-side", "7"], "map-side"),
        (
            &["--served", "mask", "--served-explainer", "rise"],
            "served-explainer",
        ),
        (
            &[&maps[..], &["--served-explainer", "magic"]].concat(),
            "magic",
        ),
        (
            &[&maps[..], &["--map-side", "wide"]].concat(),
            "a number, or `full`",
        ),
        (&[&maps[..], &["--map-side", "0"]].concat(), "side"),
        (&[&maps[..], &["--map-bits", "9"]].concat(), "1 to 8"),
        (
            &[&maps[..], &["--map-bits", "3,3"]].concat(),
            "every form once",
        ),
        (
            &[&maps[..], &["--map-sign", "both"]].concat(),
            "signed, unsigned or positive",
        ),
        (&[&maps[..], &["--map-budget", "0"]].concat(), "map-budget"),
        (
            &[&maps[..], &["--suite", "standard"]].concat(),
            "square, nes, spsa, evolution",
        ),
        (&[&maps[..], &["--curve", "0.1"]].concat(), "curve"),
        (
            &[&maps[..], &["--fail-on-masking"]].concat(),
            "fail-on-masking",
        ),
    ] {
        let message = refused(&served(&model, &out, more));
        assert!(message.contains(part), "{more:?}: {message}");
    }
    let zero = served(&model, &out, &maps).into_iter();
    let zero: Vec<&str> = zero.map(|w| if w == "60" { "0" } else { w }).collect();
    assert!(refused(&zero).contains("queries-per-image"));
}
