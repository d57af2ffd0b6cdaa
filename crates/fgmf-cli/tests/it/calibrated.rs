//! Maps that are shown with a promise, and calibrations that are refused.

use super::{ok, refused, run, small_model, text};
use fgmf_record::MapCalibrationRecord;
use std::path::Path;

const LEAST_SQUARES: &str = r#"{"pgca": {"fusion": "least-squares", "grid": [7, 7]}}"#;

fn calibrate<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "calibrate",
        text(model),
        "--data",
        "fashion-mnist-mini",
        "-n",
        "40",
        "--settings",
        LEAST_SQUARES,
        "--quiet",
        "--out",
        text(out),
    ];
    [&usual[..], more].concat()
}

fn explain<'a>(model: &'a Path, by: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "explain",
        text(model),
        "--data",
        "fashion-mnist-mini",
        "--split",
        "train",
        "-n",
        "8",
        "--metrics",
        "none",
        "--calibration",
        text(by),
        "--quiet",
        "--out",
        text(out),
    ];
    [&usual[..], more].concat()
}

fn read(path: &Path) -> MapCalibrationRecord {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn maps_are_shown_as_the_calibration_says() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let at = |name: &str| folder.path().join(name);
    let (all, none, out) = (at("all.json"), at("none.json"), at("out"));

    // No map is below −2, and every map is below 2.
    let shown = ok(&calibrate(&model, &all, &["--tau", "-2"]));
    let sentence = "Of the maps shown, at most 10% are bad (LeRF minus MoRF below -2) with \
                    probability 95%; for images like those of the calibration.";
    assert!(shown.ends_with(&format!("{sentence}\n")), "{shown}");
    let record = read(&all);
    let promise = record.promise.as_ref().unwrap();
    assert_eq!(
        (promise.shown, promise.bad, record.pairs.len()),
        (40, 0, 40)
    );
    assert!(record.pairs.iter().flatten().all(|p| p.agreement <= 1.0));
    let ended = run(&calibrate(&model, &none, &["--tau", "2"]));
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(told.contains("Nothing can be promised"), "{told}");

    // The same again is the same; another one does not go over it.
    let bytes = std::fs::read(&all).unwrap();
    ok(&calibrate(&model, &all, &["--tau", "-2", "--threads", "1"]));
    assert_eq!(std::fs::read(&all).unwrap(), bytes);
    let told = refused(&calibrate(&model, &all, &["--tau", "-1"]));
    assert!(told.contains("another tau"), "{told}");

    let same = ["--settings", LEAST_SQUARES];
    let shown = ok(&explain(&model, &all, &out, &same));
    assert!(
        shown.contains(sentence) && !shown.contains("withheld"),
        "{shown}"
    );
    let page = std::fs::read_to_string(out.join("gallery.html")).unwrap();
    assert!(page.contains("Of the maps shown, at most 10% are bad"));

    // A threshold in the middle withholds some.
    let mut half = record.clone();
    let mut agreements: Vec<f64> = record.pairs.iter().flatten().map(|p| p.agreement).collect();
    agreements.sort_by(f64::total_cmp);
    half.promise.as_mut().unwrap().threshold = agreements[20];
    let middle = at("half.json");
    std::fs::write(&middle, serde_json::to_vec(&half).unwrap()).unwrap();
    let shown = ok(&explain(&model, &middle, &out, &same));
    let withheld = shown.matches("withheld: agreement").count();
    assert!((1..8).contains(&withheld), "{shown}");

    // What the promise does not hold for is refused by name.
    let says = |by: &Path, more: &[&str], name: &str| {
        let told = refused(&explain(&model, by, &out, more));
        assert!(told.contains(name), "{told}");
    };
    says(&none, &same, "promise nothing");
    says(&all, &[], "explainer.parameters.fusion");
    says(
        &all,
        &[&same[..], &["--seed", "1"]].concat(),
        "another seed",
    );
    says(&all, &[&same[..], &["--class", "1"]].concat(), "`class`");
    says(
        &all,
        &[&same[..], &["--attack", "pgd"]].concat(),
        "`attack`",
    );
    says(&all, &["--methods", "pgca,saliency"], "`methods`");
    says(&at("missing.json"), &same, "missing.json");
    std::fs::write(at("torn.json"), &bytes[..bytes.len() / 2]).unwrap();
    says(&at("torn.json"), &same, "torn.json");
    half.model.sha256 = "ab".into();
    std::fs::write(&middle, serde_json::to_vec(&half).unwrap()).unwrap();
    says(&middle, &same, "model.sha256");

    // What cannot be asked for is refused before the model is read.
    for (flag, value) in [("--alpha", "0"), ("--delta", "1"), ("--start", "2")] {
        let told = refused(&calibrate(&at("no.onnx"), &at("no.json"), &[flag, value]));
        assert!(told.contains(&flag[2..]), "{told}");
    }
    let other = ["--method", "saliency", "--settings", "{}"];
    let usual = calibrate(&model, &none, &[]);
    let without: Vec<&str> = usual[..6].iter().chain(&usual[8..9]).copied().collect();
    let out = at("no.json");
    let told = refused(&[&without[..], &["--out", text(&out)], &other].concat());
    assert!(told.contains("how well its parts agree"), "{told}");
}
