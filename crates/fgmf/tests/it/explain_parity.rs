//! Maps beside those of Captum, pytorch-grad-cam and Zennit, on a network with batch normalisation,
//! a small ResNet and a small vision transformer. The fixtures are made by
//! `parity/explain_maps.py`.

use fgmf::explain::{Attribution, Context, explain, with_parameters};
use fgmf::model::Oracle;
use fgmf_net::{Session, Tensor, onnx};
use serde_json::{Value, json};
use std::path::Path;

struct Fixture {
    net: Session,
    x: Tensor,
    targets: Vec<usize>,
    record: Value,
}

fn fixture(name: &str) -> Fixture {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/explain");
    let record: Value = serde_json::from_str(
        &std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap(),
    )
    .unwrap();
    let whole = |key: &str| {
        record[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap() as usize)
            .collect::<Vec<_>>()
    };
    let x = Tensor::new(
        &whole("input_shape"),
        numbers(&record, "input")
            .iter()
            .map(|&v| v as f32)
            .collect(),
    );
    Fixture {
        net: Session::new(onnx::read(&folder.join(format!("{name}.onnx"))).unwrap()),
        x,
        targets: whole("targets"),
        record,
    }
}

fn numbers(record: &Value, key: &str) -> Vec<f64> {
    record[key]
        .as_array()
        .unwrap_or_else(|| panic!("the fixture has no {key}"))
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

/// The settings that the script used.
fn parameters(method: &str) -> Value {
    match method {
        "integrated-gradients" => json!({ "steps": 12, "baseline": 0.25 }),
        "occlusion" => json!({ "patch": 5, "stride": 3, "fill": 0.25 }),
        "kernel-shap" => json!({ "grid": [2, 3], "samples": 62, "fill": 0.25 }),
        "deep-lift" => json!({ "baseline": 0.25 }),
        "lrp-epsilon" => json!({ "epsilon": 1e-9 }),
        _ => json!({}),
    }
}

/// What the method does to a map that has no sign, done to the reference.
fn stretched(method: &str, map: &[f64]) -> Vec<f64> {
    let (lo, hi) = map
        .iter()
        .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    match method {
        "saliency" => map.iter().map(|v| v / hi).collect(),
        "grad-cam"
        | "grad-cam-pp"
        | "layer-cam"
        | "score-cam"
        | "attention-rollout"
        | "transformer-attribution" => map.iter().map(|v| (v - lo) / (hi - lo)).collect(),
        _ => map.to_vec(),
    }
}

/// Largest difference, relative to the largest value of the reference, of the worst image.
fn gap(f: &Fixture, method: &str) -> f64 {
    let explainer = with_parameters(method, parameters(method)).unwrap();
    let maps = explain(
        explainer.as_ref(),
        &Oracle::new(&f.net),
        &f.x,
        &f.targets,
        &Context::default(),
    )
    .unwrap();
    let reference = numbers(&f.record, method);
    let size = reference.len() / maps.len();
    let one = |(map, reference): (&Attribution, &[f64])| {
        let reference = stretched(method, reference);
        let largest = reference.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        map.values
            .values
            .iter()
            .zip(&reference)
            .fold(0.0f64, |m, (a, b)| m.max((f64::from(*a) - b).abs()))
            / largest
    };
    maps.iter()
        .zip(reference.chunks_exact(size))
        .map(one)
        .fold(0.0, f64::max)
}

/// Every method of a fixture within the tolerance; reports all that are not.
fn check(name: &str, methods: &[&str]) {
    let f = fixture(name);
    let kept: Vec<&String> = f
        .record
        .as_object()
        .unwrap()
        .keys()
        .filter(|k| !["origin", "input", "input_shape", "targets"].contains(&k.as_str()))
        .collect();
    assert_eq!(kept.len(), methods.len(), "the fixture holds {kept:?}");
    let wrong: Vec<String> = methods
        .iter()
        .map(|m| (m, gap(&f, m)))
        .filter(|(_, g)| g.is_nan() || *g >= 1e-4)
        .map(|(m, g)| format!("{m}: {g:.1e}"))
        .collect();
    assert!(wrong.is_empty(), "{name}: {}", wrong.join(", "));
}

const EVERYWHERE: [&str; 8] = [
    "saliency",
    "gradient-x-input",
    "integrated-gradients",
    "occlusion",
    "kernel-shap",
    "grad-cam",
    "grad-cam-pp",
    "layer-cam",
];

#[test]
fn cnn() {
    check(
        "cnn",
        &[
            &EVERYWHERE[..],
            &[
                "guided-backprop",
                "lrp-epsilon",
                "lrp-alpha-beta",
                "score-cam",
            ],
        ]
        .concat(),
    );
}

#[test]
fn resnet() {
    check(
        "resnet",
        &[
            &EVERYWHERE[..],
            &[
                "guided-backprop",
                "deep-lift",
                "deep-shap",
                "lrp-epsilon",
                "score-cam",
            ],
        ]
        .concat(),
    );
}

#[test]
fn vit() {
    check(
        "vit",
        &[
            &EVERYWHERE[..],
            &["attention-rollout", "transformer-attribution"],
        ]
        .concat(),
    );
}
