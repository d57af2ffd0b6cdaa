//! Models as users have them: how images are prepared for them, what lies beside them, what they
//! say of pictures.

use super::{ok, refused, text};
use fgmf::data::EMBEDDED;
use fgmf::input::{Preprocessing, preprocessed};
use fgmf_net::{Network, onnx};
use fgmf_record::{AttackRecord, PredictionRecord};
use std::path::{Path, PathBuf};

fn fixture() -> Network {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    onnx::read(&crates.join("fgmf/tests/fixtures/autoattack/standard.onnx")).unwrap()
}

/// Images as bytes.
pub(super) fn bytes() -> Preprocessing {
    Preprocessing {
        scale: 255.0,
        ..Preprocessing::none(1)
    }
}

/// The fixture as if trained elsewhere, on bytes.
pub(super) fn of_bytes(folder: &Path) -> PathBuf {
    let front = Preprocessing {
        scale: 1.0 / 255.0,
        ..Preprocessing::none(1)
    };
    let mut net = preprocessed(&fixture(), &front).unwrap();
    net.metadata.remove("fgmf.objective");
    net.metadata.remove("fgmf.classes");
    let path = folder.join("bytes.onnx");
    std::fs::write(&path, onnx::to_bytes(&net).unwrap()).unwrap();
    path
}

pub(super) fn predicted(model: &Path, more: &[&str]) -> PredictionRecord {
    let words = [
        "predict",
        text(model),
        "--data",
        EMBEDDED,
        "--json",
        "--quiet",
    ];
    serde_json::from_str(&ok(&[&words[..], more].concat())).unwrap()
}

/// A forgotten setting stops a run with the flags that mend it; those flags, and a file beside the
/// model, give the figure of the network itself.
#[test]
fn a_forgotten_setting_is_an_error_and_is_found_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = of_bytes(folder.path());
    let words = ["predict", text(&model), "--data", EMBEDDED];
    let message = refused(&words);
    assert!(
        message.contains("as with --scale 255 --mean 0 --std 1") && message.contains("--as-it-is"),
        "{message}"
    );
    let plain = folder.path().join("plain.onnx");
    std::fs::write(&plain, onnx::to_bytes(&fixture()).unwrap()).unwrap();
    let right = predicted(&plain, &[]).accuracy.unwrap();
    let stated = predicted(&model, &["--scale", "255"]);
    assert_eq!(stated.accuracy.unwrap(), right);
    assert!(
        predicted(&model, &["--as-it-is"])
            .accuracy
            .unwrap()
            .accuracy
            < 0.2
    );
    let config = r#"{"do_rescale": false, "do_normalize": false}"#;
    std::fs::write(folder.path().join("preprocessor_config.json"), config).unwrap();
    let classes: Vec<String> = (0..10).map(|i| format!("kind {i}")).collect();
    std::fs::write(folder.path().join("labels.txt"), classes.join("\n")).unwrap();
    let found = predicted(&model, &[]);
    assert_eq!(found.accuracy.unwrap(), right);
    assert_eq!(found.model.preprocessing, Some(bytes()));
    assert_eq!(found.images[0].top[0].name.as_deref(), Some("kind 9"));
    let said = ok(&["info", text(&model)]);
    assert!(
        said.contains("--scale 255") && said.contains("kind 9"),
        "{said}"
    );
}

/// The radius is in pixels whatever the model takes: the same images fall as on the bare network.
/// Another preparation is another run.
#[test]
fn a_radius_stays_in_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let model = of_bytes(folder.path());
    let plain = folder.path().join("plain.onnx");
    std::fs::write(&plain, onnx::to_bytes(&fixture()).unwrap()).unwrap();
    let out = folder.path().join("out");
    let attack = |model: &Path, out: &Path, scale: &str| {
        let words = ["attack", text(model), "--data", EMBEDDED, "--limit", "60"];
        let more = ["--suite", "fgsm", "--eps", "0.05", "--json", "--quiet"];
        let last = ["--scale", scale, "--out", text(out)];
        [&words[..], &more, &last]
            .concat()
            .iter()
            .map(|w| w.to_string())
            .collect::<Vec<_>>()
    };
    let words = |all: &[String]| -> AttackRecord {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        serde_json::from_str(&ok(&all)).unwrap()
    };
    let on_bytes = words(&attack(&model, &out, "255"));
    let bare = words(&attack(&plain, &folder.path().join("plain"), "1"));
    assert_eq!(on_bytes.clean, bare.clean);
    assert!(on_bytes.overall.robust_accuracy < 0.5);
    let gap = on_bytes.overall.robust_accuracy - bare.overall.robust_accuracy;
    assert!(gap.abs() <= 1.0 / 60.0, "{gap}");
    assert_eq!(on_bytes.model.preprocessing, Some(bytes()));
    let other = attack(&model, &out, "254");
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let message = refused(&other);
    assert!(message.contains("model.preprocessing"), "{message}");
}

/// Pictures of any size, single and in folders; scores before a softmax; logits as a file.
#[test]
fn pictures_are_classified() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let (soft, picture) = (fixtures.join("soft.onnx"), fixtures.join("i8.png"));
    let record: PredictionRecord =
        serde_json::from_str(&ok(&["predict", text(&soft), text(&picture), "--json"])).unwrap();
    let best = &record.images[0].top[0];
    assert!((best.probability - 0.686).abs() < 5e-4, "{best:?}");
    assert_eq!(record.scores_before.as_deref(), Some("Softmax"));
    let plain = folder.path().join("plain.onnx");
    std::fs::write(&plain, onnx::to_bytes(&fixture()).unwrap()).unwrap();
    let class = folder.path().join("pictures/test/Bag");
    std::fs::create_dir_all(&class).unwrap();
    let grey = image::GrayImage::from_fn(60, 40, |x, y| image::Luma([(4 * x + y) as u8]));
    grey.save(class.join("a.png")).unwrap();
    let data = folder.path().join("pictures");
    let words = ["predict", text(&plain), "--data", text(&data), "--quiet"];
    assert!(refused(&words).contains("28x28 pixels"));
    let out = folder.path().join("out");
    let more = ["--resize", "--out", text(&out)];
    ok(&[&words[..], &more].concat());
    let record = std::fs::read(out.join("predictions.json")).unwrap();
    let record: PredictionRecord = serde_json::from_slice(&record).unwrap();
    assert_eq!(record.images[0].label, Some(8));
    let bytes = std::fs::read(out.join("logits.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(bytes.len(), 8 + header + 4 * 10);
    let stored = &bytes[8 + header + 4 * record.images[0].class..][..4];
    let logit = f64::from(f32::from_le_bytes(stored.try_into().unwrap()));
    assert_eq!(logit.to_bits(), record.images[0].top[0].logit.to_bits());
}
