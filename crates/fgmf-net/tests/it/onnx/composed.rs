//! Operators that are put together from others, and forms of older and newer operator sets: values
//! are those of ONNX Runtime, gradients those of central differences in double precision.
//!
//! `parity/onnx_composed.py` made `composed.json` from the very models of this test, which
//! `FGMF_DUMP=FOLDER cargo test -p fgmf-net composed` writes.

mod cases;
mod text;

use super::proto::*;
use super::tiny::*;
use cases::CASES;
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::{Mode, Precision, Rules, Session, Tensor, onnx};
use fgmf_testkit::finite::{assert_close, gradient};
use std::collections::BTreeMap;
use text::Case;

/// Images without kinks: no two numbers are alike, none is zero. The script has the same.
fn images(precision: Precision) -> Tensor {
    let number = |i: usize| ((i * 29 + 7) % 97) as f64 / 41.0 - 1.13;
    Tensor::new(&[2, 2, 4, 6], (0..96).map(number).collect::<Vec<f64>>()).cast(precision)
}

fn expected() -> BTreeMap<String, Vec<f64>> {
    let path = super::path("composed.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn read(case: &Case) -> Session {
    let net = onnx::from_bytes(&bytes(&case.model()));
    Session::new(net.unwrap_or_else(|e| panic!("{}: {e}", case.name)))
}

#[test]
fn composed_operators_have_the_values_of_onnx_runtime() {
    if let Some(folder) = std::env::var_os("FGMF_DUMP") {
        for case in CASES {
            let path = std::path::Path::new(&folder).join(format!("{}.onnx", case.name));
            std::fs::write(path, bytes(&case.model())).unwrap();
        }
        return;
    }
    let mut all = expected();
    let refused = |case: &Case| onnx::from_bytes(&bytes(&case.model())).err();
    let refused = CASES
        .iter()
        .filter_map(|c| Some((c.name, refused(c)?.to_string())));
    assert_eq!(refused.collect::<Vec<_>>(), []);
    for case in CASES {
        let wanted = all.remove(case.name);
        let wanted = wanted.unwrap_or_else(|| panic!("{}: no expected values", case.name));
        let net = read(case);
        let found = net.logits(&images(Precision::F32)).unwrap();
        let wanted = Tensor::new(&[2, 3], wanted);
        assert_close(&found.cast(Precision::F64), &wanted, 1e-5, 1e-6, case.name);
        super::assert_round_trips(net.network(), &images(Precision::F32));
    }
    assert!(all.is_empty(), "without a case: {:?}", all.keys());
}

#[test]
fn composed_operators_have_gradients() {
    let head = CrossEntropy::labels(&[0, 2]);
    for case in CASES.iter().filter(|c| c.smooth) {
        let net = read(case).cast(Precision::F64);
        let x = images(Precision::F64);
        let loss = |x: &Tensor| -> f64 {
            let tape = net.forward(&x.clone().into(), Mode::Evaluate).unwrap();
            let logits = tape.value(net.output());
            head.evaluate(logits, 0..2).0.iter().sum()
        };
        let found = |net: &Session, x: &Tensor| {
            let made = net.loss_gradients(x, &head, &[net.input()], &Rules::exact());
            made.unwrap().gradients.remove(0)
        };
        let exact = found(&net, &x);
        assert_close(&exact, &gradient(loss, &x), 1e-6, 1e-9, case.name);
        let single = found(&read(case), &images(Precision::F32));
        assert_close(&single.cast(Precision::F64), &exact, 1e-3, 1e-6, case.name);
    }
}

/// `outer` calls `gate` twice, once with its own slope and once with that of the function.
#[test]
fn local_functions_stand_for_their_nodes() {
    let of = |name: &str, a: AttributeProto| AttributeProto {
        ref_attr_name: name.to_owned(),
        ..a
    };
    let number = |name: &str, v: f32| AttributeProto {
        name: name.to_owned(),
        f: Some(v),
        r#type: kind::FLOAT,
        ..Default::default()
    };
    let none = |name: &str| AttributeProto {
        f: None,
        ..number(name, 0.0)
    };
    let call = |line: &str, attribute: Vec<AttributeProto>| NodeProto {
        domain: "own".to_owned(),
        ..with(line, attribute)
    };
    let function =
        |name: &str, node: Vec<NodeProto>, defaults: Vec<AttributeProto>| FunctionProto {
            name: name.to_owned(),
            domain: "own".to_owned(),
            input: ["a", "b"].map(str::to_owned).to_vec(),
            output: vec!["c".to_owned()],
            node,
            attribute_proto: defaults,
        };
    let gate = vec![
        with("LeakyRelu a -> t", vec![of("slope", none("alpha"))]),
        node("Mul t b -> c"),
    ];
    let outer = vec![
        call("gate a b -> t", vec![number("slope", 0.5)]),
        call("gate t a -> c", vec![]),
    ];
    let stored = || vec![weight("w", &[6])];
    let mut m = classifier(vec![call("outer x w -> f", vec![])], stored());
    m.functions = vec![
        function("gate", gate, vec![number("slope", 0.3)]),
        function("outer", outer, vec![]),
    ];
    let plain = vec![
        with("LeakyRelu x -> t", vec![number("alpha", 0.5)]),
        node("Mul t w -> u"),
        with("LeakyRelu u -> v", vec![number("alpha", 0.3)]),
        node("Mul v x -> f"),
    ];
    let logits = |m: &ModelProto| {
        let net = Session::new(onnx::from_bytes(&bytes(m)).unwrap());
        net.logits(&images(Precision::F32)).unwrap().to_f32()
    };
    assert_eq!(logits(&m), logits(&classifier(plain, stored())));

    let again = vec![call("outer a b -> c", vec![])];
    m.functions[1] = function("outer", again, vec![]);
    let error = onnx::from_bytes(&bytes(&m)).unwrap_err().to_string();
    assert!(error.contains("call each other"), "{error}");
}

/// Half-precision numbers are read exactly: the file's are those of the single-precision file.
#[test]
fn half_precision_is_computed_in_single() {
    let bits = [0x3c00, 0xb800, 0x3555, 0x0001, 0x7bff, 0x8000];
    let values = [1.0, -0.5, 0.333_251_95, 5.960_464_5e-8, 65504.0, -0.0];
    let brain = [0x3f80, 0xbf00, 0x3eab, 0x3380, 0x4780, 0x8000];
    let wide = [1.0, -0.5, 0.333_984_38, 5.960_464_5e-8, 65536.0, -0.0];
    for (code, bits, values) in [
        (dtype::FLOAT16, bits, values),
        (dtype::BFLOAT16, brain, wide),
    ] {
        let half = TensorProto {
            data_type: code,
            int32_data: bits.to_vec(),
            float_data: Vec::new(),
            ..weight("w", &[6])
        };
        let read = |w: TensorProto| {
            let m = classifier(vec![node("Mul x w -> f")], vec![w]);
            let net = Session::new(onnx::from_bytes(&bytes(&m)).unwrap());
            net.logits(&images(Precision::F32)).unwrap().to_f32()
        };
        assert_eq!(read(half), read(floats("w", &[6], &values)));
    }
}

/// A row of zeros has the length 0 and, as the reference of differences has it, no slope.
#[test]
fn a_length_of_zero_has_no_slope() {
    let lengths = with("ReduceL2 x -> l", vec![ints_attribute("axes", &[3])]);
    let m = classifier(vec![lengths, node("Identity l -> f")], vec![]);
    let net = Session::new(onnx::from_bytes(&bytes(&m)).unwrap());
    let zeros = Tensor::new(&[1, 2, 4, 6], vec![0f32; 48]);
    let head = CrossEntropy::labels(&[0]);
    let made = net.loss_gradients(&zeros, &head, &[net.input()], &Rules::exact());
    let gradient = made.unwrap().gradients.remove(0).to_f32();
    assert!(gradient.iter().all(|v| *v == 0.0), "{gradient:?}");
}
