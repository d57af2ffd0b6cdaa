//! Small files that name large sizes: refused or read at once, never a panic or an abort.

use super::proto::*;
use super::tiny::{
    bytes, classifier, floats, int_attribute, ints, ints_attribute, model, node, weight, with,
};
use fgmf_net::{Error, Network, onnx};

/// What a file is read as. Work that such a file decides without a bound would hang the tests.
#[track_caller]
fn soon(bytes: &[u8]) -> Result<Network, Error> {
    onnx::from_bytes(bytes)
}

#[track_caller]
fn refused(what: &str, model: &ModelProto, wanted: [&str; 2]) {
    let reason = soon(&bytes(model)).unwrap_err().to_string();
    for part in wanted {
        assert!(reason.contains(part), "{what}: {reason}");
    }
}

fn hostile(name: &str) -> Vec<u8> {
    let file = format!(
        "{}/tests/fixtures/hostile/{name}.onnx",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(file).unwrap()
}

#[test]
fn pads_and_spacings_that_make_copies_of_terabytes_are_refused() {
    let read = soon(&hostile("crash_conv_pad_dilation"));
    let Err(Error::Node { reason, .. }) = read else {
        panic!("a node is wrong")
    };
    assert!(reason.contains("copied numbers"), "{reason}");
    let conv = |attributes| {
        let conv = with("Conv x w -> f", attributes);
        classifier(vec![conv], vec![weight("w", &[2, 2, 3, 3])])
    };
    let far = 1 << 20;
    let pads = || ints_attribute("pads", &[far; 4]);
    let spaced = vec![pads(), ints_attribute("dilations", &[far; 2])];
    refused("spaced", &conv(spaced), ["`f`", "copied numbers"]);
    let step = vec![
        ints_attribute("pads", &[1000; 4]),
        ints_attribute("strides", &[1 << 40; 2]),
    ];
    refused("a step", &conv(step), ["`f`", "step of at most"]);
    let transposed = vec![
        pads(),
        ints_attribute("dilations", &[far; 2]),
        ints_attribute("strides", &[1, 1]),
    ];
    let transposed = with("ConvTranspose x w -> f", transposed);
    let model = classifier(vec![transposed], vec![weight("w", &[2, 2, 3, 3])]);
    refused("transposed", &model, ["`f`", "copied numbers"]);
}

/// What is far apart but small runs: a window spaced for large images on a small one.
#[test]
fn spaced_windows_on_small_images_are_read() {
    let wide = vec![
        ints_attribute("pads", &[36; 4]),
        ints_attribute("dilations", &[36; 2]),
    ];
    let model = classifier(
        vec![with("Conv x w -> f", wide)],
        vec![weight("w", &[2, 2, 3, 3])],
    );
    soon(&bytes(&model)).unwrap();
}

#[test]
fn windows_longer_than_any_image_are_refused() {
    for (operator, size) in [("MaxPool", 1 << 32), ("AveragePool", 1 << 40)] {
        let pool = |kernel: i64, stride: i64| {
            let attributes = vec![
                ints_attribute("kernel_shape", &[kernel; 2]),
                ints_attribute("strides", &[stride; 2]),
                ints_attribute("pads", &[kernel - 1; 4]),
            ];
            classifier(
                vec![with(&format!("{operator} x -> f"), attributes)],
                vec![],
            )
        };
        refused(operator, &pool(size, size), ["`f`", "window of at most"]);
        refused(operator, &pool(1 << 14, 1), ["`f`", "values"]);
    }
    // One cell, and taps at every second one.
    let mut flat = model(
        vec![
            with(
                "MaxPool x -> f",
                vec![
                    ints_attribute("kernel_shape", &[1 << 40, 1]),
                    ints_attribute("dilations", &[2, 1]),
                    ints_attribute("pads", &[(1 << 40) - 1, 0, (1 << 40) - 1, 0]),
                    ints_attribute("strides", &[1 << 20, 1]),
                ],
            ),
            node("Flatten f -> flat"),
            node("Gemm flat head -> y"),
        ],
        vec![weight("head", &[2, 3])],
    );
    flat.graph.as_mut().unwrap().input = vec![super::tiny::value("x", &[0, 2, 1, 1])];
    refused("blind windows", &flat, ["`f`", "window of at most"]);
}

#[test]
fn windows_that_overlap_almost_everywhere_are_refused() {
    let attributes = vec![
        ints_attribute("kernel_shape", &[512; 2]),
        ints_attribute("pads", &[256; 4]),
    ];
    let mut large = classifier(vec![with("AveragePool x -> f", attributes)], vec![]);
    large.graph.as_mut().unwrap().input = vec![super::tiny::value("x", &[0, 2, 1024, 1024])];
    refused("overlaps", &large, ["`f`", "steps of a plane's windows"]);
}

#[test]
fn positions_are_not_copied_for_every_node() {
    let mut nodes = vec![
        with(
            "ConstantOfShape size -> zeros",
            vec![AttributeProto {
                name: "value".to_owned(),
                t: Some(ints("", &[0])),
                r#type: 4,
                ..Default::default()
            }],
        ),
        node("Identity x -> g0"),
    ];
    for i in 0..1000 {
        let gather = format!("Gather g{i} zeros -> h{i}");
        nodes.push(with(&gather, vec![int_attribute("axis", 3)]));
        let slice = format!("Slice h{i} zero six three -> g{}", i + 1);
        nodes.push(node(&slice));
    }
    nodes.push(node("Identity g1000 -> f"));
    let stored = vec![
        ints("size", &[1 << 20]),
        ints("zero", &[0]),
        ints("six", &[6]),
        ints("three", &[3]),
    ];
    refused(
        "positions",
        &classifier(nodes, stored),
        ["`h", "of constants in all"],
    );
}

#[test]
fn constants_are_not_compared_for_ever() {
    let many = " big".repeat(100_000);
    let nodes = vec![
        node("ConstantOfShape size -> big"),
        node(&format!("Max{many} -> most")),
        node("ReduceMean x -> mean"),
        node("Add x most -> f"),
    ];
    let stored = vec![ints("size", &[1 << 20])];
    refused(
        "Max",
        &classifier(nodes, stored),
        ["`most`", "at most 16 constants"],
    );
    let hollow = TensorProto {
        name: "hollow".to_owned(),
        dims: vec![1 << 28, 0],
        data_type: dtype::INT64,
        ..Default::default()
    };
    let nodes = vec![
        node("Concat hollow hollow -> twice"),
        node("Reshape x twice -> f"),
    ];
    let mut model = classifier(nodes, vec![hollow]);
    let graph = model.graph.as_mut().unwrap();
    graph.node[0].attribute = vec![int_attribute("axis", 1)];
    refused("hollow", &model, ["`twice`", "of constants in all"]);
}

#[test]
fn values_and_nodes_have_a_budget_for_the_whole_file() {
    let mut nodes = vec![node("Expand x size -> g0")];
    nodes.extend((0..40).map(|i| node(&format!("Relu g{i} -> g{}", i + 1))));
    nodes.push(node("Slice g40 zero one axis -> cut"));
    nodes.push(node("Identity cut -> f"));
    let mut large = classifier(
        nodes,
        vec![
            ints("size", &[1, 2, 1 << 22, 6]),
            ints("zero", &[0]),
            ints("one", &[1]),
            ints("axis", &[2]),
        ],
    );
    large.graph.as_mut().unwrap().input = vec![super::tiny::value("x", &[0, 2, 1, 6])];
    refused("values", &large, ["`g", "values of one image"]);

    let mut nodes = vec![node("Identity x -> g0")];
    nodes.extend((0..1 << 16).map(|i| node(&format!("Relu g{i} -> g{}", i + 1))));
    nodes.push(node("Identity g65536 -> f"));
    refused(
        "nodes",
        &classifier(nodes, vec![]),
        ["at most 65536 nodes", "found"],
    );
}

/// The search for spelled GELU looks at a few nodes around each `Erf` and `Tanh`, whatever hangs
/// together with them.
#[test]
fn the_search_for_gelu_does_not_grow_faster_than_the_file() {
    let _ = soon(&hostile("slow_gelu_search"));
    let mut nodes = vec![node("Add one one -> c0")];
    nodes.extend((0..30).map(|i| node(&format!("Mul c{i} c{i} -> c{}", i + 1))));
    nodes.push(node("Identity x -> g0"));
    for i in 0..4000 {
        nodes.push(node(&format!("Mul g{i} c30 -> a{i}")));
        nodes.push(node(&format!("Add a{i} g{i} -> b{i}")));
        nodes.push(node(&format!("Tanh b{i} -> t{i}")));
        nodes.push(node(&format!("Mul t{i} g{i} -> g{}", i + 1)));
    }
    nodes.push(node("Identity g4000 -> f"));
    let _ = soon(&bytes(&classifier(
        nodes,
        vec![floats("one", &[1], &[1.0])],
    )));
}

/// A value that is made from itself is refused, and the search for spelled GELU does not follow it
/// for ever.
#[test]
fn a_value_made_from_itself_is_refused() {
    let erf: &[&str] = &["Erf x -> b", "Add b c -> c", "Mul x c -> f"];
    let tanh: &[&str] = &[
        "Tanh x -> b",
        "Mul d b -> c",
        "Add c x -> d",
        "Add d x -> f",
    ];
    for lines in [erf, tanh] {
        let nodes = lines.iter().map(|l| node(l)).collect();
        assert!(soon(&bytes(&classifier(nodes, vec![]))).is_err());
    }
}
