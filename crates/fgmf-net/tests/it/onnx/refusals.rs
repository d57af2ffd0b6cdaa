//! What cannot be read says why, naming what is to blame.

use super::proto::*;
use super::tiny::*;
use fgmf_net::{Error, ExportFault, onnx};

#[track_caller]
fn assert_refused(model: &ModelProto, parts: &[&str]) {
    let error = onnx::from_bytes(&bytes(model))
        .expect_err("refused")
        .to_string();
    assert!(
        parts.iter().all(|p| error.contains(p)),
        "expected {parts:?}, found: {error}"
    );
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn plain() -> ModelProto {
    classifier(vec![node("Relu x -> f")], vec![])
}

#[test]
fn unsupported_operators_and_domains_are_named() {
    for operator in ["If", "Loop", "NonZero", "Scan", "LSTM", "GRU"] {
        assert_refused(
            &classifier(vec![node(&format!("{operator} x -> f"))], vec![]),
            &["`f`", operator, "not supported"],
        );
    }
    let mut foreign = classifier(vec![node("Relu x -> f")], vec![]);
    graph(&mut foreign).node[0].domain = "com.example".to_owned();
    graph(&mut foreign).node[0].name = "odd".to_owned();
    assert_refused(&foreign, &["`odd`", "Relu", "com.example"]);
}

#[test]
fn operator_sets_have_a_range() {
    for version in [-1, 0, 6, 25] {
        let mut m = plain();
        m.opset_import[0].version = Some(version);
        assert_refused(&m, &["7 to 24", &version.to_string()]);
    }
    for version in 7..=24 {
        let mut m = plain();
        m.opset_import[0].version = Some(version);
        onnx::from_bytes(&bytes(&m)).unwrap();
    }
    let mut m = plain();
    m.opset_import.clear();
    assert_refused(&m, &["operator set"]);
}

/// In a file of single precision, a cast to half precision and back rounds, which hides gradients;
/// where the file computes in half precision, it is the same number here.
#[test]
fn rounding_by_casts_is_named() {
    let cast = |line: &str, to: i32| with(line, vec![int_attribute("to", i64::from(to))]);
    let there = cast("Cast x -> h", dtype::FLOAT16);
    let back = cast("Cast h -> f", dtype::FLOAT);
    let rounds = classifier(vec![there.clone(), back], vec![]);
    assert_refused(&rounds, &["`h`", "Cast", "float16", "rounds"]);
    let half = TensorProto {
        data_type: dtype::FLOAT16,
        int32_data: vec![0x3c00],
        float_data: Vec::new(),
        ..floats("w", &[1], &[1.0])
    };
    let computes = vec![
        there,
        node("Mul h w -> m"),
        cast("Cast m -> f", dtype::FLOAT),
    ];
    let net = onnx::from_bytes(&bytes(&classifier(computes, vec![half]))).unwrap();
    assert!(net.notes[0].contains("float16"), "{:?}", net.notes);
}

#[test]
fn the_graph_must_be_sorted_and_complete() {
    assert_refused(
        &classifier(vec![node("Relu a -> f")], vec![]),
        &["`f`", "Relu", "`a`", "nothing makes"],
    );
    assert_refused(
        &classifier(vec![node("Relu a -> f"), node("Relu x -> a")], vec![]),
        &["`f`", "`a`", "order"],
    );
    assert_refused(
        &classifier(vec![node("Add x b -> f"), node("Relu f -> b")], vec![]),
        &["`f`", "`b`", "cycle"],
    );
    assert_refused(
        &classifier(vec![node("Relu x -> f"), node("Tanh x -> f")], vec![]),
        &["`f`", "twice"],
    );
    assert_refused(
        &classifier(vec![node("Relu x -> f")], vec![weight("head", &[2, 3])]),
        &["`head`", "twice"],
    );
    let mut m = plain();
    graph(&mut m).output[0].name = "other".to_owned();
    assert_refused(&m, &["`other`"]);
    graph(&mut m).output.clear();
    assert_refused(&m, &["output"]);
    m.graph = None;
    assert_refused(&m, &["no graph"]);
}

#[test]
fn the_input_is_one_batch_of_float_images() {
    for (input, part) in [
        (vec![], "found 0"),
        (
            vec![value("x", &[0, 2, 4, 6]), value("z", &[0, 1])],
            "found 2",
        ),
        (vec![value("x", &[0, 2, 0, 6])], "[?, 2, ?, 6]"),
        (vec![value("x", &[0, 2, -3, 6])], "[?, 2, ?, 6]"),
        (vec![value("x", &[0, 48])], "[?, 48]"),
        (
            vec![ValueInfoProto {
                name: "x".to_owned(),
                r#type: None,
            }],
            "no tensor type",
        ),
    ] {
        let mut m = plain();
        graph(&mut m).input = input;
        assert_refused(&m, &[part]);
    }
    let mut m = plain();
    graph(&mut m).input[0]
        .r#type
        .as_mut()
        .unwrap()
        .tensor_type
        .as_mut()
        .unwrap()
        .elem_type = dtype::UINT8;
    assert_refused(&m, &["floating-point", "found uint8"]);
}

/// Each fault of an export is told from the others, by what is in the file.
#[test]
fn faults_of_an_export_are_told_apart() {
    let fault = |bytes: &[u8]| match onnx::from_bytes(bytes) {
        Err(Error::Export { fault, .. }) => Some(fault),
        _ => None,
    };
    assert_eq!(fault(&bytes(&plain())), None);
    let input = |change: &dyn Fn(&mut TensorTypeProto)| {
        let mut m = plain();
        let input = &mut graph(&mut m).input[0];
        change(input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap());
        bytes(&m)
    };
    for code in [dtype::INT32, dtype::BOOL, dtype::UINT8] {
        let whole = input(&|t| t.elem_type = code);
        assert_eq!(fault(&whole), Some(ExportFault::Precision));
    }
    for code in [dtype::FLOAT16, dtype::DOUBLE, dtype::BFLOAT16] {
        let other = input(&|t| t.elem_type = code);
        let net = onnx::from_bytes(&other).unwrap();
        assert!(
            net.notes[0].contains("computed in float32"),
            "{:?}",
            net.notes
        );
    }
    let mut m = plain();
    graph(&mut m).initializer[0].data_location = 1;
    assert_eq!(fault(&bytes(&m)), Some(ExportFault::ExternalData));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 44\n";
    assert_eq!(fault(pointer), Some(ExportFault::Pointer));
    let trains = |mode: i64| {
        let mut m = classifier(vec![node("BatchNormalization x s b m v -> f")], vec![]);
        graph(&mut m).node[0].attribute = vec![AttributeProto {
            name: "training_mode".to_owned(),
            i: Some(mode),
            r#type: 2,
            ..AttributeProto::default()
        }];
        fault(&bytes(&m))
    };
    assert_eq!(
        (trains(1), trains(0)),
        (Some(ExportFault::TrainingMode), None)
    );
}

#[test]
fn stored_arrays_must_be_inside_and_whole() {
    let broken = |change: &dyn Fn(&mut TensorProto)| {
        let mut m = plain();
        change(&mut graph(&mut m).initializer[0]);
        m
    };
    let entry = StringStringEntryProto {
        key: "location".to_owned(),
        value: "weights.bin".to_owned(),
    };
    assert_refused(
        &broken(&|t| t.external_data = vec![entry.clone()]),
        &["`head`", "external"],
    );
    assert_refused(&broken(&|t| t.data_location = 1), &["`head`", "external"]);
    assert_refused(&broken(&|t| t.dims = vec![2, 4]), &["`head`", "8 values"]);
    assert_refused(&broken(&|t| t.dims = vec![2, -3]), &["`head`", "negative"]);
    assert_refused(
        &broken(&|t| t.dims = vec![i64::MAX, i64::MAX]),
        &["`head`", "at most"],
    );
    assert_refused(
        &broken(&|t| t.dims = vec![1 << 40, 0, 1 << 40]),
        &["`head`", "at most"],
    );
    assert_refused(
        &broken(&|t| (t.dims, t.float_data) = (vec![0, 3], vec![])),
        &["`head`", "at least one number"],
    );
    assert_refused(
        &broken(&|t| (t.float_data, t.raw_data) = (vec![], vec![0; 23])),
        &["`head`", "24 bytes", "23"],
    );
    let mut m = plain();
    graph(&mut m).sparse_initializer.push(vec![]);
    assert_refused(&m, &["sparse"]);
}

#[test]
fn shapes_and_attributes_are_checked() {
    let conv = |attribute| with("Conv x w -> f", attribute);
    let w = || vec![weight("w", &[2, 2, 3, 3])];
    assert_refused(
        &classifier(
            vec![node("Conv x w -> f")],
            vec![weight("w", &[2, 5, 3, 3])],
        ),
        &["`f`", "Conv", "input channels"],
    );
    assert_refused(
        &classifier(vec![node("Conv x w -> f")], vec![weight("w", &[2, 2, 3])]),
        &["`f`", "2-D"],
    );
    assert_refused(
        &classifier(
            vec![conv(vec![ints_attribute("kernel_shape", &[5, 5])])],
            w(),
        ),
        &["kernel_shape", "[3, 3]"],
    );
    assert_refused(
        &classifier(
            vec![conv(vec![ints_attribute("pads", &[1, 1, -1, 1])])],
            w(),
        ),
        &["pads", "negative"],
    );
    assert_refused(
        &classifier(vec![conv(vec![ints_attribute("strides", &[1])])], w()),
        &["strides", "2-D"],
    );
    assert_refused(
        &classifier(vec![conv(vec![ints_attribute("strides", &[0, 1])])], w()),
        &["Conv", "stride"],
    );
    assert_refused(
        &classifier(vec![conv(vec![text_attribute("group", "two")])], w()),
        &["group", "integer"],
    );
    assert_refused(
        &classifier(vec![conv(vec![text_attribute("auto_pad", "SOMEHOW")])], w()),
        &["auto_pad", "SOMEHOW"],
    );
    assert_refused(
        &classifier(
            vec![conv(vec![ints_attribute("pads", &vec![0; 1000])])],
            w(),
        ),
        &["at most 16"],
    );
    assert_refused(
        &classifier(vec![node("Add x a -> f")], vec![weight("a", &[5])]),
        &["Add", "broadcast"],
    );
    assert_refused(
        &classifier(vec![node("Concat x x -> f")], vec![]),
        &["axis"],
    );
    assert_refused(
        &classifier(
            vec![node("BatchNormalization x a a -> f")],
            vec![weight("a", &[2])],
        ),
        &["5 inputs"],
    );
    assert_refused(
        &classifier(vec![node("MaxPool x -> f")], vec![]),
        &["MaxPool", "kernel_shape"],
    );
    let pool = with(
        "MaxPool x -> m i",
        vec![ints_attribute("kernel_shape", &[2, 2])],
    );
    assert_refused(
        &classifier(vec![pool, node("Add m i -> f")], vec![]),
        &["MaxPool", "first output", "`i`"],
    );
}

#[test]
fn constants_must_not_depend_on_the_image_or_the_batch() {
    assert_refused(
        &classifier(vec![node("Clip x x -> f")], vec![]),
        &["Clip", "depends on the image"],
    );
    assert_refused(
        &classifier(vec![node("Reshape x x -> f")], vec![]),
        &["Reshape", "depends on the image"],
    );
    assert_refused(
        &classifier(
            vec![
                node("Shape x -> s"),
                with("Cast s -> t", vec![int_attribute("to", 1)]),
                node("Mul x t -> f"),
            ],
            vec![],
        ),
        &["batch size"],
    );
    assert_refused(
        &classifier(vec![node("Shape x -> s"), node("Mul x s -> f")], vec![]),
        &["Mul", "integers"],
    );
    let constant = model(
        vec![node("Identity c -> y")],
        vec![floats("c", &[], &[1.0])],
    );
    assert_refused(&constant, &["depend on the image"]);
}

#[test]
fn examples_are_not_mixed() {
    let softmax = |axis| {
        classifier(
            vec![with("Softmax x -> f", vec![int_attribute("axis", axis)])],
            vec![],
        )
    };
    assert_refused(&softmax(0), &["batch axis"]);
    assert_refused(&softmax(-4), &["batch axis"]);
    onnx::from_bytes(&bytes(&softmax(1))).unwrap();
    assert_refused(
        &classifier(
            vec![with("Concat x x -> f", vec![int_attribute("axis", 0)])],
            vec![],
        ),
        &["batch axis"],
    );
    assert_refused(
        &classifier(vec![node("Gather x i -> f")], vec![ints("i", &[0, 1])]),
        &["batch axis"],
    );
    assert_refused(
        &classifier(vec![node("ReduceMean x -> f")], vec![]),
        &["batch axis"],
    );
    let top = |attributes| {
        classifier(
            vec![with("TopK x k -> f i", attributes)],
            vec![ints("k", &[1])],
        )
    };
    assert_refused(&top(vec![int_attribute("axis", 0)]), &["batch axis"]);
    assert_refused(&top(vec![int_attribute("largest", 0)]), &["largest"]);
    let slice = |start, end| {
        classifier(
            vec![node("Slice x s e a -> f")],
            vec![ints("s", &[start]), ints("e", &[end]), ints("a", &[0])],
        )
    };
    assert_refused(&slice(0, 1), &["batch axis"]);
    assert_refused(&slice(1, i64::MAX), &["batch axis"]);
    onnx::from_bytes(&bytes(&slice(0, i64::MAX))).unwrap();
}

#[test]
fn computed_constants_stay_small() {
    let fill = |shape: &[i64]| {
        classifier(
            vec![node("ConstantOfShape s -> c"), node("Mul x c -> f")],
            vec![ints("s", shape)],
        )
    };
    assert_refused(&fill(&[1 << 23]), &["ConstantOfShape", "at most"]);
    assert_refused(
        &fill(&[i64::MAX, i64::MAX]),
        &["ConstantOfShape", "at most"],
    );
    assert_refused(&fill(&[-1]), &["ConstantOfShape", "negative"]);
    let range = |limit: i64, step: i64| {
        let scalar = |name: &str, v: i64| TensorProto {
            dims: vec![],
            ..ints(name, &[v])
        };
        classifier(
            vec![node("Range a b c -> r"), node("Mul x r -> f")],
            vec![scalar("a", 0), scalar("b", limit), scalar("c", step)],
        )
    };
    assert_refused(&range(i64::MAX, 1), &["Range", "at most"]);
    assert_refused(&range(1, 0), &["Range"]);
    let mut many = vec![node("ConstantOfShape s -> c0")];
    many.extend((0..40).map(|i| node(&format!("Identity c{i} -> c{}", i + 1))));
    many.push(node("Mul x c40 -> f"));
    assert_refused(
        &classifier(many, vec![ints("s", &[1 << 20])]),
        &["Identity", "computed constants"],
    );
    let overflow = classifier(
        vec![node("Mul s s -> t"), node("Reshape x t -> f")],
        vec![ints("s", &[i64::MAX])],
    );
    assert_refused(&overflow, &["Mul", "overflow"]);
    let zero = classifier(
        vec![node("Div s z -> t"), node("Reshape x t -> f")],
        vec![ints("s", &[i64::MIN]), ints("z", &[0])],
    );
    assert_refused(&zero, &["Div", "divide"]);
}

#[test]
fn files_are_named() {
    let file = std::env::temp_dir().join(format!("fgmf-refused-{}.onnx", std::process::id()));
    std::fs::write(&file, bytes(&classifier(vec![node("If x -> f")], vec![]))).unwrap();
    let error = onnx::read(&file).unwrap_err();
    let fgmf_net::Error::File { source, .. } = &error else {
        panic!("{error}")
    };
    assert!(matches!(**source, fgmf_net::Error::Node { .. }));
    let text = error.to_string();
    assert!(
        text.contains("fgmf-refused") && text.contains("`f` (If)"),
        "{text}"
    );
    std::fs::write(&file, "no model at all").unwrap();
    assert!(onnx::read(&file).unwrap_err().to_string().contains("ONNX"));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(onnx::read(&file), Err(fgmf_net::Error::Io { .. })));
}
