//! ONNX in and out: fixtures of PyTorch exports, round trips, refused and damaged files.

mod cases;
mod composed;
mod damage;
mod external;
mod fuzz;
mod hostile;
mod images;
mod imports;
mod outputs;
#[allow(
    dead_code,
    reason = "the reader knows more of the format than the tests use"
)]
#[path = "../../src/onnx/proto.rs"]
mod proto;
mod quantised;
mod refusals;
mod tiny;
mod whole;
mod widened;

use fgmf_net::head::CrossEntropy;
use fgmf_net::{LossGradients, Network, Precision, Rules, Session, Tensor, onnx};
use std::path::PathBuf;

const FIXTURES: [&str; 10] = [
    "cnn_bn",
    "concat_resize",
    "convnext_dynamo",
    "depthwise",
    "maths",
    "maths_dynamo",
    "resnet",
    "timm_vit",
    "vit",
    "vit_dynamo",
];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/onnx")
        .join(name)
}

fn fixture(name: &str) -> Network {
    onnx::read(&path(&format!("{name}.onnx"))).unwrap()
}

struct Expected {
    images: Tensor,
    labels: Vec<usize>,
    logits: Vec<f64>,
    loss: Vec<f64>,
    gradient: Vec<f64>,
}

fn expected(name: &str) -> Expected {
    let text = std::fs::read_to_string(path(&format!("{name}.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = |key: &str| {
        json[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    let whole = |key: &str| {
        json[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap() as usize)
            .collect::<Vec<_>>()
    };
    let images = Tensor::new(
        &whole("input_shape"),
        numbers("input").iter().map(|&v| v as f32).collect(),
    );
    Expected {
        images,
        labels: whole("labels"),
        logits: numbers("logits"),
        loss: numbers("loss"),
        gradient: numbers("input_gradient"),
    }
}

fn run(net: Network, e: &Expected, precision: Precision) -> LossGradients {
    let net = Session::new(net);
    net.loss_gradients(
        &e.images.cast(precision),
        &CrossEntropy::labels(&e.labels),
        &[net.input()],
        &Rules::exact(),
    )
    .unwrap()
}

fn farthest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| (a - b).abs().max(m))
}

#[test]
fn fixtures_agree_with_onnx_runtime_and_pytorch() {
    for name in FIXTURES {
        let (net, e) = (fixture(name), expected(name));
        let nodes = net.nodes().len();
        let found = run(net, &e, Precision::F32);
        let logits = farthest(&found.logits.to_f64(), &e.logits);
        let largest = e.gradient.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let gradient = farthest(&found.gradients[0].to_f64(), &e.gradient) / largest;
        let loss = farthest(&found.losses, &e.loss);
        println!(
            "{name}: {nodes} nodes, logits {logits:.1e}, gradient {gradient:.1e}, loss {loss:.1e}"
        );
        assert!(
            logits < 1e-4 && gradient < 1e-4 && loss < 1e-4,
            "{name}: logits {logits}, gradient {gradient}, loss {loss}"
        );
    }
}

#[test]
fn double_precision_agrees_with_single() {
    for name in FIXTURES {
        let (net, e) = (fixture(name), expected(name));
        let (single, double) = (
            run(net.clone(), &e, Precision::F32),
            run(net.cast(Precision::F64), &e, Precision::F64),
        );
        let logits = farthest(&single.logits.to_f64(), &double.logits.to_f64());
        let largest = e.gradient.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let gradient =
            farthest(&single.gradients[0].to_f64(), &double.gradients[0].to_f64()) / largest;
        assert!(
            logits < 1e-4 && gradient < 1e-4,
            "{name}: logits {logits}, gradient {gradient}"
        );
    }
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_f32().iter().map(|v| v.to_bits()).collect()
}

fn trainable(net: &Network) -> Vec<&str> {
    net.trainable()
        .iter()
        .map(|&id| net.value(id).name.as_str())
        .collect()
}

/// What is written reads back as the same network, and is then written as the same bytes.
fn assert_round_trips(net: &Network, images: &Tensor) {
    let bytes = onnx::to_bytes(net).unwrap();
    let back = onnx::from_bytes(&bytes).unwrap();
    assert_eq!(back.name, net.name);
    assert_eq!(back.metadata, net.metadata);
    assert_eq!(trainable(&back), trainable(net));
    let nodes = |n: &Network| {
        n.nodes()
            .iter()
            .map(|node| (node.name.clone(), node.op.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(nodes(&back), nodes(net));
    let logits = |net: &Network| Session::new(net.clone()).logits(images).unwrap();
    assert_eq!(bits(&logits(&back)), bits(&logits(net)));
    assert!(
        onnx::to_bytes(&back).unwrap() == bytes,
        "written twice, the bytes differ"
    );
}

#[test]
fn fixtures_round_trip() {
    for name in FIXTURES {
        let mut net = fixture(name);
        net.metadata
            .insert("classes".to_owned(), "zero, one % two\n".to_owned());
        assert_round_trips(&net, &expected(name).images);
        let first = net.trainable()[0];
        net.set_trainable(first, false);
        assert_round_trips(&net, &expected(name).images);
    }
}

#[test]
fn only_single_precision_has_a_file() {
    let net = fixture("cnn_bn");
    assert!(
        onnx::to_bytes(&net.cast(Precision::F64))
            .unwrap_err()
            .to_string()
            .contains("f32")
    );
}

#[test]
fn parameters_train_by_where_they_are_used() {
    let net = fixture("cnn_bn");
    let frozen = net.values().iter().filter(|v| {
        matches!(
            v.source,
            fgmf_net::Source::Parameter {
                trainable: false,
                ..
            }
        )
    });
    let frozen: Vec<&str> = frozen.map(|v| v.name.as_str()).collect();
    assert!(
        !frozen.is_empty() && frozen.iter().all(|n| n.contains("running_")),
        "{frozen:?}"
    );
    assert_eq!(trainable(&net).len(), 13);

    let net = fixture("timm_vit");
    let names = trainable(&net);
    assert!(
        [
            "cls_token",
            "pos_embed",
            "blocks.0.norm1.weight",
            "onnx::MatMul_233",
            "head.bias"
        ]
        .iter()
        .all(|n| names.contains(n))
    );
    assert!(
        !names
            .iter()
            .any(|n| n.contains("Constant") || n.contains("Sqrt")),
        "{names:?}"
    );
}
