//! Tokens of transformers laid over the image: registers, images that are not square, grids that
//! have to be given. The right maps are of `parity/token_maps.py`, which names layers and grids by
//! hand.

use fgmf::explain::{Attribution, Context, LayerKind, choose_layer, explain, with_parameters};
use fgmf::model::Oracle;
use fgmf_net::op::{Flatten, Gemm, LayerNorm, Op, Reshape};
use fgmf_net::{Builder, Precision, Session, Tensor, onnx};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokens")
}

fn model(name: &str) -> Session {
    let net = onnx::read(&folder().join(format!("{name}.onnx"))).unwrap();
    Session::new(net.cast(Precision::F64))
}

fn image(net: &Session) -> Tensor {
    let [c, h, w] = net.image_shape();
    let value = |i| (i * 29 % 97) as f64 / 96.0;
    Tensor::new(&[1, c, h, w], (0..c * h * w).map(value).collect())
}

fn map(net: &Session, method: &str, parameters: Value, class: usize) -> fgmf::Result<Attribution> {
    let method = with_parameters(method, parameters).unwrap();
    let x = image(net);
    let found = explain(
        method.as_ref(),
        &Oracle::new(net),
        &x,
        &[class],
        &Context::default(),
    );
    Ok(found?.swap_remove(0))
}

fn numbers(values: &Value) -> Vec<f64> {
    let values = values.as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn learned_tokens_are_dropped_and_grids_follow_the_image() {
    let record = std::fs::read_to_string(folder().join("maps.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    for (name, case) in record.as_object().unwrap() {
        let net = model(name);
        let layer = choose_layer(&net).unwrap();
        let grid = numbers(&case["grid"]);
        let kind = LayerKind::Tokens {
            h: grid[0] as usize,
            w: grid[1] as usize,
            prefix: case["prefix"].as_u64().unwrap() as usize,
        };
        let norm = "/n.1/LayerNormalization_output_0";
        assert_eq!((layer.name.as_str(), layer.kind), (norm, kind), "{name}");
        let class = case["target"].as_u64().unwrap() as usize;
        for method in ["grad-cam", "attention-rollout"] {
            let found = map(&net, method, json!({}), class).unwrap().values.values;
            let right = numbers(&case[method]);
            assert_eq!(found.len(), right.len());
            for (a, b) in found.iter().zip(right) {
                let a = f64::from(*a);
                assert!((a - b).abs() < 1e-6, "{name}, {method}: {a} for {b}");
            }
        }
    }
}

#[test]
fn any_value_of_tokens_can_be_named() {
    let net = model("vit_reg");
    for name in ["/n.0/LayerNormalization_output_0", "/Add_3_output_0"] {
        let found = map(&net, "grad-cam", json!({ "layer": name }), 1).unwrap();
        assert_eq!(found.layer.as_deref(), Some(name));
    }
}

/// Six tokens of a square image: 1 x 6, 2 x 3, 3 x 2 or 6 x 1.
fn six_tokens() -> Session {
    let mut b = Builder::new("six", "image", [1, 6, 6]).unwrap();
    let parameter = |b: &mut Builder, name: &str, shape: &[usize]| {
        let n: usize = shape.iter().product();
        let values = (0..n).map(|i| (i * 37 % 61) as f64 / 61.0 - 0.4).collect();
        b.parameter(name, Tensor::new::<f64>(shape, values), true)
            .unwrap()
    };
    let x = b.input();
    let shape = vec![0, 6, 6];
    let rows = Op::Reshape(Reshape { shape });
    let tokens = b.node("tokens", rows, &[x]).unwrap();
    let scale = parameter(&mut b, "scale", &[6]);
    let norm = Op::LayerNorm(LayerNorm {
        axis: -1,
        epsilon: 1e-5,
    });
    let norm = b.node("norm", norm, &[tokens, scale]).unwrap();
    let (w, c) = (
        parameter(&mut b, "weight", &[2, 36]),
        parameter(&mut b, "bias", &[2]),
    );
    let flat = Op::Flatten(Flatten { axis: 1 });
    let flat = b.node("flat", flat, &[norm]).unwrap();
    let logits = b.node("logits", Op::Gemm(Gemm::DENSE), &[flat, w, c]);
    Session::new(b.finish(logits.unwrap()).unwrap())
}

#[test]
fn a_grid_that_is_not_known_is_asked_for() {
    let net = six_tokens();
    let told = map(&net, "grad-cam", json!({}), 0).unwrap_err().to_string();
    for part in ["6 tokens at `norm`", "--grid RxC", "6 to 6"] {
        assert!(told.contains(part), "{told}");
    }
    let found = map(&net, "grad-cam", json!({ "token_grid": [2, 3] }), 0).unwrap();
    let other = map(&net, "grad-cam", json!({ "token_grid": [3, 2] }), 0).unwrap();
    assert_eq!(found.layer.as_deref(), Some("norm"));
    assert_ne!(found.values, other.values);
    let bad = map(&net, "grad-cam", json!({ "token_grid": [2, 4] }), 0).unwrap_err();
    assert!(bad.to_string().contains("2 x 4"), "{bad}");
}
