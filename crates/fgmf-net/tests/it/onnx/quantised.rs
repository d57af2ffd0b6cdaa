//! Quantised networks in the QDQ form, held to ONNX Runtime (`parity/quantised.py`).

use super::path;
use super::tiny::{bytes, floats, model, node};
use fgmf_net::head::CrossEntropy;
use fgmf_net::op::{Op, Unary};
use fgmf_net::{Network, Precision, Rules, Session, Tensor, onnx};

/// Images and logits of ONNX Runtime.
fn expected(name: &str) -> (Tensor, Vec<f32>) {
    let text = std::fs::read_to_string(path(&format!("{name}.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = |key: &str| -> Vec<f32> {
        let list = json[key].as_array().unwrap().iter();
        list.map(|v| v.as_f64().unwrap() as f32).collect()
    };
    let shape: Vec<usize> = numbers("input_shape").iter().map(|&v| v as usize).collect();
    (Tensor::new(&shape, numbers("input")), numbers("logits"))
}

fn read(name: &str) -> Network {
    onnx::read(&path(&format!("{name}.onnx"))).unwrap()
}

fn rounds(net: &Network) -> usize {
    let is = |op: &Op| matches!(op, Op::Unary(Unary::Quantize { .. }));
    net.nodes().iter().filter(|n| is(&n.op)).count()
}

/// The gradient of the sum of cross-entropies.
fn gradient(net: &Session, x: &Tensor, n: usize) -> Vec<f32> {
    let head = CrossEntropy::labels(&vec![0; n]);
    let found = net.loss_gradients(x, &head, &[net.input()], &Rules::exact());
    found.unwrap().gradients[0].to_f32()
}

/// To the bit: zero points, a scale a channel, ties. Where integers are pooled in between, a plan
/// takes zero point and scale in one step, which may round otherwise in the last bit.
#[test]
fn quantised_values_are_those_of_onnx_runtime() {
    let (x, logits) = expected("qdq_values");
    let net = read("qdq_values");
    assert_eq!(rounds(&net), 5);
    let found = Session::new(net).logits(&x).unwrap().to_f32();
    assert_eq!(found.len(), 4 * 68);
    for (found, logits) in found.chunks(68).zip(logits.chunks(68)) {
        for (i, (a, b)) in found.iter().zip(logits).enumerate() {
            let pooled = (48..52).contains(&i);
            let bits = |v: f32| (v + 0.0).to_bits();
            assert!(
                bits(*a).abs_diff(bits(*b)) <= u32::from(pooled),
                "{i}: {a} {b}"
            );
        }
    }
}

/// Weights are numbers again, activations are rounded, in plans and in the walk.
#[test]
fn a_quantised_network_computes_as_onnx_runtime() {
    let (x, logits) = expected("qdq_cnn");
    let net = read("qdq_cnn");
    assert!(rounds(&net) > 3, "{}", rounds(&net));
    assert!(
        net.find("w1").is_none(),
        "weights of floating-point numbers"
    );
    let session = Session::new(net.clone());
    for found in [
        session.logits(&x).unwrap().to_f32(),
        Session::new(net.cast(Precision::F64))
            .logits(&x.cast(Precision::F64))
            .unwrap()
            .to_f32(),
    ] {
        for (a, b) in found.iter().zip(&logits) {
            assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} {b}");
        }
    }
    let g = gradient(&session, &x, 4);
    assert!(g.iter().all(|v| v.is_finite()) && g.iter().any(|v| v.abs() > 1e-4));
}

/// The gradient is that of the same network without rounding, at what is not cut off.
#[test]
fn the_gradient_goes_straight_through() {
    let head = floats(
        "head",
        &[48, 3],
        &(0..144).map(|i| (i % 7) as f32 / 7.0).collect::<Vec<_>>(),
    );
    let scale = floats("s", &[], &[0.01]);
    let tail = ["Flatten y1 -> f", "Gemm f head -> y"];
    let rounded = ["QuantizeLinear x s -> q", "DequantizeLinear q s -> y1"];
    let build = |nodes: &[&str]| {
        let nodes = nodes.iter().chain(&tail).map(|line| node(line)).collect();
        let net = onnx::from_bytes(&bytes(&model(nodes, vec![head.clone(), scale.clone()])));
        Session::new(net.unwrap())
    };
    let (with, without) = (build(&rounded), build(&["Identity x -> y1"]));
    // On the grid, so that values are equal; 2.56 is beyond 255 steps of 0.01.
    let x = Tensor::new(
        &[1, 2, 4, 6],
        (0..48).map(|i| i as f32 * 0.05).collect::<Vec<_>>(),
    );
    let (a, b) = (gradient(&with, &x, 1), gradient(&without, &x, 1));
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let far = Tensor::full(&[1, 2, 4, 6], 2.9, Precision::F32);
    assert!(gradient(&with, &far, 1).iter().all(|v| *v == 0.0));
    assert!(gradient(&without, &far, 1).iter().any(|v| *v != 0.0));
}

/// What is written reads as the same network, and is written the same again.
#[test]
fn quantised_networks_are_written_and_read_again() {
    for name in ["qdq_cnn", "qdq_values"] {
        let (x, _) = expected(name);
        let net = read(name);
        let first = onnx::to_bytes(&net).unwrap();
        let again = onnx::from_bytes(&first).unwrap();
        assert_eq!(rounds(&again), rounds(&net), "{name}");
        assert_eq!(onnx::to_bytes(&again).unwrap(), first, "{name}");
        let logits = |net: Network| Session::new(net).logits(&x).unwrap().to_f32();
        assert_eq!(logits(again), logits(net), "{name}");
    }
}

#[test]
fn operators_of_integers_and_odd_scales_are_refused() {
    let error = onnx::read(&path("qlinear.onnx")).unwrap_err().to_string();
    assert!(
        error.contains("QLinear") && error.contains("quant_format=QDQ"),
        "{error}"
    );
    assert!(error.contains("black box"), "{error}");
    let refused = |scale: &[f32], dims: &[i64]| {
        let nodes = [
            "QuantizeLinear x s -> q",
            "DequantizeLinear q s -> f",
            "Flatten f -> y",
        ];
        let nodes = nodes.iter().map(|line| node(line)).collect();
        let made = model(nodes, vec![floats("s", dims, scale)]);
        onnx::from_bytes(&bytes(&made)).unwrap_err().to_string()
    };
    assert!(refused(&[0.0], &[]).contains("scales above 0, found 0"));
    assert!(refused(&[f32::NAN], &[]).contains("found NaN"));
    assert!(refused(&[0.1; 3], &[3]).contains("3 numbers along axis 1, found 2"));
}
