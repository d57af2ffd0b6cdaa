//! Forms that exporters use, on models small enough to know the answer.

use super::assert_round_trips;
use super::proto::*;
use super::tiny::*;
use fgmf_net::op::Op;
use fgmf_net::{Dim, Session, Tensor, onnx};

fn images(n: usize) -> Tensor {
    Tensor::new(
        &[n, 2, 4, 6],
        (0..n * 48)
            .map(|i| ((i * 29 + 7) % 41) as f32 / 20.0 - 1.0)
            .collect(),
    )
}

#[track_caller]
fn imported(model: &ModelProto) -> Session {
    let net = onnx::from_bytes(&bytes(model)).unwrap();
    assert_round_trips(&net, &images(2));
    Session::new(net)
}

/// Shape of `f`, of one image, and its values for two.
#[track_caller]
fn feature(nodes: Vec<NodeProto>, stored: Vec<TensorProto>) -> (Vec<Dim>, Vec<f32>) {
    let net = imported(&classifier(nodes, stored));
    let f = net.find("f").unwrap();
    (
        net.value(f).shape.clone(),
        net.values_at(&images(2), &[f]).unwrap()[0].to_f32(),
    )
}

#[track_caller]
fn size(nodes: Vec<NodeProto>, stored: Vec<TensorProto>) -> Vec<Dim> {
    feature(nodes, stored).0
}

fn maps(h: usize, w: usize) -> Vec<Dim> {
    vec![Dim::Batch(1), Dim::Fixed(2), Dim::Fixed(h), Dim::Fixed(w)]
}

#[test]
fn windows_become_explicit() {
    let conv = |auto: &str| {
        with(
            "Conv x w -> f",
            vec![
                text_attribute("auto_pad", auto),
                ints_attribute("strides", &[2, 1]),
            ],
        )
    };
    let w = || vec![weight("w", &[2, 2, 2, 4])];
    for (auto, out, pads) in [
        ("VALID", maps(2, 3), [0; 4]),
        ("SAME_UPPER", maps(2, 6), [0, 1, 0, 2]),
        ("SAME_LOWER", maps(2, 6), [0, 2, 0, 1]),
    ] {
        let net = imported(&classifier(vec![conv(auto)], w()));
        assert_eq!(net.value(net.find("f").unwrap()).shape, out);
        let Op::Conv(c) = &net.nodes()[0].op else {
            panic!("a convolution")
        };
        assert_eq!(c.pads, pads, "{auto}");
    }
    let pool = |auto: &str| {
        with(
            "MaxPool x -> f",
            vec![
                text_attribute("auto_pad", auto),
                ints_attribute("kernel_shape", &[3, 3]),
                ints_attribute("strides", &[2, 2]),
            ],
        )
    };
    assert_eq!(size(vec![pool("SAME_UPPER")], vec![]), maps(2, 3));
    assert_eq!(size(vec![pool("VALID")], vec![]), maps(1, 2));
    let ceil = |h: i64| {
        with(
            "MaxPool x -> f",
            vec![
                int_attribute("ceil_mode", 1),
                ints_attribute("kernel_shape", &[h, 2]),
                ints_attribute("strides", &[3, 2]),
            ],
        )
    };
    for (h, rows, up) in [(1, 2, false), (2, 2, true)] {
        let net = imported(&classifier(vec![ceil(h)], vec![]));
        assert_eq!(net.value(net.find("f").unwrap()).shape, maps(rows, 3));
        let Op::MaxPool(p) = &net.nodes()[0].op else {
            panic!("a pool")
        };
        assert_eq!(p.0.ceil, up, "written only where it counts");
    }
    let up = |extra| {
        with(
            "ConvTranspose x w -> f",
            vec![ints_attribute("strides", &[2, 2]), extra],
        )
    };
    assert_eq!(
        size(
            vec![up(text_attribute("auto_pad", "SAME_UPPER"))],
            vec![weight("w", &[2, 2, 3, 3])]
        ),
        maps(8, 12)
    );
    assert_eq!(
        size(
            vec![up(ints_attribute("output_shape", &[7, 13]))],
            vec![weight("w", &[2, 2, 3, 3])]
        ),
        maps(7, 13)
    );
    assert_eq!(
        size(
            vec![up(ints_attribute("output_padding", &[1, 0]))],
            vec![weight("w", &[2, 2, 3, 3])]
        ),
        maps(10, 13)
    );
}

#[test]
fn bounds_come_as_inputs_minima_and_maxima() {
    let x = images(2).to_f32();
    let (low, high) = (
        || floats("low", &[], &[-0.25]),
        || floats("high", &[], &[0.5]),
    );
    let clipped: Vec<f32> = x.iter().map(|v| v.clamp(-0.25, 0.5)).collect();
    assert_eq!(
        feature(vec![node("Clip x low high -> f")], vec![low(), high()]).1,
        clipped
    );
    assert_eq!(
        feature(
            vec![node("Max low x -> a"), node("Min a high -> f")],
            vec![low(), high()]
        )
        .1,
        clipped
    );
    assert_eq!(
        feature(vec![node("Clip x _ high -> f")], vec![high()]).1,
        x.iter().map(|v| v.min(0.5)).collect::<Vec<_>>()
    );
    assert_eq!(
        feature(vec![node("Clip x high low -> f")], vec![low(), high()]).1,
        vec![-0.25; x.len()]
    );
    assert_eq!(feature(vec![node("Clip x -> f")], vec![]).1, x);
}

#[test]
fn constants_come_in_many_forms() {
    let x = images(2).to_f32();
    let halves: Vec<f32> = x.iter().map(|v| v * 0.5).collect();
    let constant = |a: AttributeProto| vec![with("Constant -> c", vec![a]), node("Mul x c -> f")];
    let float = AttributeProto {
        name: "value_float".to_owned(),
        f: Some(0.5),
        r#type: kind::FLOAT,
        ..Default::default()
    };
    assert_eq!(feature(constant(float), vec![]).1, halves);
    let list = AttributeProto {
        name: "value_floats".to_owned(),
        floats: vec![0.5],
        ..Default::default()
    };
    assert_eq!(feature(constant(list), vec![]).1, halves);
    let typed = |t: TensorProto| {
        constant(AttributeProto {
            name: "value".to_owned(),
            t: Some(t),
            ..Default::default()
        })
    };
    let base = |data_type| TensorProto {
        data_type,
        ..Default::default()
    };
    assert_eq!(
        feature(
            typed(TensorProto {
                raw_data: 0.5f32.to_le_bytes().to_vec(),
                ..base(dtype::FLOAT)
            }),
            vec![]
        )
        .1,
        halves
    );
    assert_eq!(
        feature(
            typed(TensorProto {
                double_data: vec![0.5],
                ..base(dtype::DOUBLE)
            }),
            vec![]
        )
        .1,
        halves
    );
    assert_eq!(
        feature(
            typed(TensorProto {
                int32_data: vec![0x3800],
                ..base(dtype::FLOAT16)
            }),
            vec![]
        )
        .1,
        halves
    );
    assert_eq!(
        feature(
            typed(TensorProto {
                raw_data: vec![0x00, 0x3f],
                ..base(dtype::BFLOAT16)
            }),
            vec![]
        )
        .1,
        halves
    );
    // Integers divide towards zero.
    let int = |name: &str, v: i64| {
        with(
            &format!("Constant -> {name}"),
            vec![int_attribute("value_int", v)],
        )
    };
    let cast = with("Cast q -> r", vec![int_attribute("to", 1)]);
    let quotient = vec![
        int("a", 5),
        int("b", -2),
        node("Div a b -> q"),
        cast,
        node("Mul x r -> f"),
    ];
    assert_eq!(
        feature(quotient, vec![]).1,
        x.iter().map(|v| v * -2.0).collect::<Vec<_>>()
    );
    let half = TensorProto {
        dims: vec![2, 1, 1],
        int32_data: vec![0xbc01, 0x0001],
        name: "w".to_owned(),
        ..base(dtype::FLOAT16)
    };
    let values = feature(vec![node("Mul x w -> f")], vec![half]).1;
    let scales = [-(1.0 + 2f32.powi(-10)), 2f32.powi(-24)];
    assert_eq!(
        values,
        (0..96)
            .map(|i| x[i] * scales[i / 24 % 2])
            .collect::<Vec<_>>()
    );
}

#[test]
fn shapes_follow_the_batch() {
    // View to [n, 2, 24], written with the batch size read from the image, and back.
    let nodes = |target: &str| {
        vec![
            with(
                "Shape x -> n",
                vec![int_attribute("start", 0), int_attribute("end", 1)],
            ),
            with(
                &format!("Concat {target} -> s"),
                vec![int_attribute("axis", 0)],
            ),
            node("Reshape x s -> v"),
            node("Shape x -> all"),
            node("Reshape v all -> f"),
        ]
    };
    for (target, stored) in [
        ("n rest", vec![ints("rest", &[2, 24])]),
        ("n rest", vec![ints("rest", &[-1, 24])]),
        ("n rest", vec![ints("rest", &[0, -1])]),
    ] {
        let (shape, values) = feature(nodes(target), stored);
        assert_eq!((shape, values), (maps(4, 6), images(2).to_f32()));
    }
    // Two heads beside the batch: [n, 2, …] to [2 n, …] and back.
    let merge = vec![
        node("Shape x -> s"),
        node("Gather s zero -> n"),
        node("Mul n two -> nn"),
        with("Concat nn rest -> t", vec![int_attribute("axis", 0)]),
        node("Reshape x t -> m"),
        node("Relu m -> r"),
        node("Reshape r s -> f"),
    ];
    let (shape, values) = feature(
        merge,
        vec![ints("zero", &[0]), ints("two", &[2]), ints("rest", &[24])],
    );
    assert_eq!(
        (shape, values),
        (
            maps(4, 6),
            images(2).to_f32().iter().map(|v| v.max(0.0)).collect()
        )
    );
    // A token repeated for each image, and zeros made for the batch.
    let token = || vec![weight("t", &[1, 2, 1, 1]), ints("rest", &[2, 4, 6])];
    let expand = vec![
        with("Shape x -> n", vec![int_attribute("end", 1)]),
        with("Concat n rest -> s", vec![int_attribute("axis", 0)]),
        node("Expand t s -> e"),
        node("ConstantOfShape s -> z"),
        node("Add e z -> a"),
        node("Add x a -> f"),
    ];
    assert_eq!(size(expand, token()), maps(4, 6));
}

#[test]
fn a_fixed_batch_is_the_batch() {
    let mut m = model(
        vec![node("Reshape x s -> v"), node("Gemm v w -> y")],
        vec![ints("s", &[1, 48]), weight("w", &[48, 3])],
    );
    m.graph.as_mut().unwrap().input = vec![value("x", &[1, 2, 4, 6])];
    let net = imported(&m);
    assert_eq!(net.logits(&images(5)).unwrap().shape(), [5, 3]);
    let stored = vec![ints("s", &[2, 24]), weight("w", &[24, 3])];
    let mut m = model(
        vec![node("Reshape x s -> v"), node("Gemm v w -> y")],
        stored,
    );
    m.graph.as_mut().unwrap().input = vec![value("x", &[1, 2, 4, 6])];
    let error = onnx::from_bytes(&bytes(&m)).unwrap_err().to_string();
    assert!(error.contains("found [2n, 3]"), "{error}");
}

#[test]
fn pieces_and_positions() {
    let x = images(2).to_f32();
    let axis = |a| int_attribute("axis", a);
    let (shape, values) = feature(
        vec![with(
            "Split x -> f g",
            vec![axis(3), int_attribute("num_outputs", 2)],
        )],
        vec![],
    );
    assert_eq!(shape, maps(4, 3));
    assert_eq!(values[..3], x[..3]);
    assert_eq!(
        size(
            vec![with("Split x s -> f g", vec![axis(-1)])],
            vec![ints("s", &[1, 5])]
        ),
        maps(4, 1)
    );
    let cut = vec![node("Slice x s e a t -> f")];
    let stored = vec![
        ints("s", &[-1, 0]),
        ints("e", &[i64::MIN, i64::MAX]),
        ints("a", &[3, 2]),
        ints("t", &[-2, 3]),
    ];
    let (shape, values) = feature(cut, stored);
    assert_eq!(shape, maps(2, 3));
    assert_eq!(values[..6], [x[5], x[3], x[1], x[23], x[21], x[19]]);
    let (shape, values) = feature(
        vec![with("Gather x i -> f", vec![axis(-1)])],
        vec![ints("i", &[-1, 0])],
    );
    assert_eq!((shape, &values[..2]), (maps(4, 2), &[x[5], x[0]][..]));
    let (shape, values) = feature(
        vec![with(
            "TopK x k -> f i",
            vec![axis(3), int_attribute("sorted", 0)],
        )],
        vec![ints("k", &[2])],
    );
    let mut row = x[..6].to_vec();
    row.sort_by(|a, b| b.total_cmp(a));
    assert_eq!((shape, &values[..2]), (maps(4, 2), &row[..2]));
    let pad = vec![node("Pad x p v a -> f")];
    let (shape, values) = feature(
        pad,
        vec![
            ints("p", &[1, -2, 0, 1]),
            floats("v", &[], &[9.0]),
            ints("a", &[2, -1]),
        ],
    );
    assert_eq!(shape, maps(5, 5));
    assert_eq!(
        values[..10],
        [9.0, 9.0, 9.0, 9.0, 9.0, x[2], x[3], x[4], x[5], 9.0]
    );
}

#[test]
fn reductions_powers_and_passing_on() {
    let x = images(2).to_f32();
    let mean = |line: &str, mut a: Vec<AttributeProto>| {
        a.push(int_attribute("keepdims", 1));
        with(line, a)
    };
    let by_input = size(
        vec![mean("ReduceMean x a -> f", vec![])],
        vec![ints("a", &[-1])],
    );
    let by_attribute = size(
        vec![mean(
            "ReduceMean x -> f",
            vec![ints_attribute("axes", &[3])],
        )],
        vec![],
    );
    assert_eq!((by_input, by_attribute), (maps(4, 1), maps(4, 1)));
    assert_eq!(
        feature(
            vec![mean(
                "ReduceSum x -> f",
                vec![int_attribute("noop_with_empty_axes", 1)]
            )],
            vec![]
        )
        .1,
        x
    );
    let exponent = TensorProto {
        dims: vec![],
        ..ints("e", &[2])
    };
    assert_eq!(
        feature(vec![node("Pow x e -> f")], vec![exponent]).1,
        x.iter().map(|v| v * v).collect::<Vec<_>>()
    );
    let passed = vec![
        node("Dropout x r -> d mask"),
        with("Cast d -> c", vec![int_attribute("to", 1)]),
        node("Identity c -> f"),
    ];
    assert_eq!(feature(passed, vec![floats("r", &[], &[0.3])]).1, x);
    // A shared weight reaches the product through an identity and a transposition, and still
    // trains.
    let through = vec![
        node("Identity head2 -> h"),
        node("Transpose h -> t"),
        node("GlobalAveragePool x -> p"),
        node("Flatten p -> q"),
        node("MatMul q t -> y"),
    ];
    let net = imported(&model(through, vec![weight("head2", &[3, 2])]));
    assert_eq!(super::trainable(&net), ["head2"]);
}

#[test]
fn what_trains_can_be_stated() {
    let mut m = classifier(
        vec![node("Mul x s -> a"), node("Add a b -> f")],
        vec![
            floats("s", &[1], &[2.0]),
            weight("b", &[2, 1, 1]),
            weight("spare", &[2]),
        ],
    );
    assert_eq!(super::trainable(&imported(&m)), ["b", "head"]);
    m.metadata_props.push(StringStringEntryProto {
        key: "fgmf.frozen".to_owned(),
        value: "head,b".to_owned(),
    });
    let net = imported(&m);
    assert_eq!(super::trainable(&net), ["s"]);
    assert!(net.metadata.is_empty());
}

const ERF: [&str; 5] = [
    "Div x root2 -> a",
    "Erf a -> b",
    "Add b one -> c",
    "Mul x c -> d",
    "Mul d half -> f",
];
const TANH: [&str; 8] = [
    "Pow x three -> a",
    "Mul a small -> b",
    "Add x b -> c",
    "Mul c scale -> d",
    "Tanh d -> e",
    "Add one e -> g",
    "Mul half x -> h",
    "Mul h g -> f",
];

fn spelled(lines: &[&str]) -> ModelProto {
    let number = |name, v| floats(name, &[], &[v]);
    let numbers = [
        ("root2", std::f32::consts::SQRT_2),
        ("root_half", std::f32::consts::FRAC_1_SQRT_2),
        ("one", 1.0),
        ("half", 0.5),
        ("third", 0.333),
        ("three", 3.0),
        ("small", 0.044715),
        ("scale", 0.797_884_6),
    ];
    classifier(
        lines.iter().map(|l| node(l)).collect(),
        numbers.iter().map(|&(n, v)| number(n, v)).collect(),
    )
}

/// Operators before the pooling.
#[track_caller]
fn read_as(model: &ModelProto) -> Vec<&'static str> {
    let names: Vec<_> = imported(model)
        .nodes()
        .iter()
        .map(|n| n.op.name())
        .collect();
    names
        .into_iter()
        .take_while(|&n| n != "GlobalAveragePool")
        .collect()
}

/// By its power series.
fn erf(x: f64) -> f64 {
    let term = |power: &mut f64, n: u32| {
        let now = *power;
        *power *= -x * x / f64::from(n + 1);
        Some(now / f64::from(2 * n + 1))
    };
    std::f64::consts::FRAC_2_SQRT_PI * (0..60).scan(x, term).sum::<f64>()
}

#[test]
fn spelled_gelu_is_one_node() {
    let first = [
        "Mul x half -> h",
        "Mul x root_half -> a",
        "Erf a -> b",
        "Add one b -> c",
        "Mul h c -> f",
    ];
    let last = [
        "Mul root_half x -> a",
        "Erf a -> b",
        "Add b one -> c",
        "Mul c half -> d",
        "Mul d x -> f",
    ];
    let cubed = ["Mul x x -> q", "Mul x q -> a"]
        .iter()
        .chain(&TANH[1..])
        .copied()
        .collect::<Vec<_>>();
    let gelu = |v: f64| 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2));
    let tanh =
        |v: f64| 0.5 * v * (1.0 + (0.797_884_560_802_865_4 * (v + 0.044_715 * v.powi(3))).tanh());
    type Form<'a> = (&'a [&'a str], &'a dyn Fn(f64) -> f64);
    let forms: [Form<'_>; 5] = [
        (&ERF, &gelu),
        (&first, &gelu),
        (&last, &gelu),
        (&TANH, &tanh),
        (&cubed, &tanh),
    ];
    for (lines, exact) in forms {
        let model = spelled(lines);
        assert_eq!(read_as(&model), ["Gelu"], "{lines:?}");
        let net = imported(&model);
        assert_eq!(net.value(net.nodes()[0].outputs[0]).name, "f");
        let found = net
            .values_at(&images(2), &[net.find("f").unwrap()])
            .unwrap()
            .swap_remove(0)
            .to_f64();
        let x = images(2).to_f64();
        assert!(
            x.iter()
                .zip(&found)
                .all(|(&x, y)| (exact(x) - y).abs() < 1e-6),
            "{lines:?}"
        );
    }
    // One behind the other, with numbers from nodes.
    let twice = [
        "Div x root2 -> a",
        "Erf a -> b",
        "Add b one -> c",
        "Mul x c -> d",
        "Mul d half -> u",
        "Div u root2 -> i",
        "Erf i -> j",
        "Add j one -> k",
        "Mul u k -> l",
        "Mul l half -> f",
    ];
    assert_eq!(read_as(&spelled(&twice)), ["Gelu", "Gelu"]);
    let half = AttributeProto {
        name: "value_float".to_owned(),
        f: Some(0.5),
        r#type: kind::FLOAT,
        ..Default::default()
    };
    let mut model = spelled(&ERF[..4]);
    model.graph.as_mut().unwrap().node.splice(
        4..4,
        [with("Constant -> p", vec![half]), node("Mul d p -> f")],
    );
    assert_eq!(read_as(&model), ["Gelu"]);
}

#[test]
fn what_is_not_gelu_stays_as_it_is() {
    let other = |at: usize, line: &'static str| {
        let mut lines = ERF;
        lines[at] = line;
        spelled(&lines)
    };
    // Other numbers; a value within that something else reads.
    for model in [
        other(4, "Mul d third -> f"),
        other(0, "Div x one -> a"),
        other(3, "Mul c c -> d"),
    ] {
        assert!(read_as(&model).contains(&"Erf"));
    }
    assert_eq!(read_as(&spelled(&["Erf x -> f"])), ["Erf"]);
    let mut read_elsewhere = ERF.to_vec();
    read_elsewhere[4] = "Mul d half -> z";
    read_elsewhere.push("Add z c -> f");
    assert_eq!(
        read_as(&spelled(&read_elsewhere)),
        ["Div", "Erf", "Add", "Mul", "Mul", "Add"]
    );
    // The file says that one of the numbers trains.
    let mut model = spelled(&ERF);
    let frozen = |names: &str| StringStringEntryProto {
        key: "fgmf.frozen".to_owned(),
        value: names.to_owned(),
    };
    model.metadata_props = vec![frozen("root2,one")];
    assert!(read_as(&model).contains(&"Erf"));
    model.metadata_props = vec![frozen("root2,one,half")];
    assert_eq!(read_as(&model), ["Gelu"]);
}

/// The plain model for images whose channels come last, with these sizes `[h, w, c]`.
fn channels_last(sizes: [i64; 3], nodes: Vec<NodeProto>) -> ModelProto {
    let mut m = classifier(nodes, vec![]);
    let input = &mut m.graph.as_mut().unwrap().input[0];
    let tensor = input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    let dims = &mut tensor.shape.as_mut().unwrap().dim;
    for (dim, size) in dims[1..].iter_mut().zip(sizes) {
        dim.value = Some(Size::Value(size));
    }
    m
}

/// Files with channels last take the same images as others, and give the same logits as a graph
/// without the turn that they begin with.
#[test]
fn channels_may_come_last() {
    let turn = || {
        with(
            "Transpose x -> t",
            vec![ints_attribute("perm", &[0, 3, 1, 2])],
        )
    };
    let nodes = |from: &str| vec![node(&format!("Relu {from} -> f"))];
    let mut first = channels_last([3, 9, 8], nodes("x"));
    let mut last = channels_last([9, 8, 3], [vec![turn()], nodes("t")].concat());
    for m in [&mut first, &mut last] {
        m.graph.as_mut().unwrap().initializer[0] = weight("head", &[3, 3]);
    }
    let x = Tensor::new(
        &[2, 3, 9, 8],
        (0..432)
            .map(|i| ((i * 29 + 7) % 41) as f32 / 20.0 - 1.0)
            .collect(),
    );
    let logits = |m: &ModelProto| {
        let net = imported_of(m);
        assert_eq!(net.image_shape(), [3, 9, 8]);
        Session::new(net).logits(&x).unwrap().to_f32()
    };
    assert_eq!(logits(&first), logits(&last));
    let notes = |m: &ModelProto| imported_of(m).notes;
    assert!(notes(&first).is_empty() && notes(&last)[0].contains("channels last"));
    // Only what cannot be rows or columns is a number of channels, or what a node moves.
    for (sizes, last) in [
        ([28, 28, 1], true),
        ([32, 48, 3], true),
        ([1, 28, 28], false),
        ([3, 28, 1], false),
        ([28, 28, 2], false),
    ] {
        let mut m = channels_last(
            sizes,
            vec![node("Flatten x -> flat0"), node("Relu flat0 -> g")],
        );
        let g = m.graph.as_mut().unwrap();
        g.node.truncate(2);
        g.output[0].name = "g".to_owned();
        let net = onnx::from_bytes(&bytes(&m)).unwrap();
        let order = if last { [2, 0, 1] } else { [0, 1, 2] };
        assert_eq!(
            net.image_shape(),
            order.map(|i| sizes[i] as usize),
            "{sizes:?}"
        );
        // The file flattens in its own order.
        let n: usize = net.image_shape().iter().product();
        let x = Tensor::new(
            &[&[1][..], &net.image_shape()].concat(),
            (0..n).map(|i| i as f32).collect(),
        );
        let found = Session::new(net).logits(&x).unwrap().to_f32();
        let expected = if last {
            (n as i64 / sizes[2]) as f32 * (sizes[2] - 1) as f32
        } else {
            1.0
        };
        let at = if last { sizes[2] as usize - 1 } else { 1 };
        assert!(
            (found[at] - expected).abs() < 1e-6,
            "{sizes:?}: {}",
            found[at]
        );
    }
}

fn imported_of(m: &ModelProto) -> fgmf_net::Network {
    onnx::from_bytes(&bytes(m)).unwrap()
}

/// One score is the difference of two logits; a sigmoid at the end is left out.
#[test]
fn one_score_is_two_classes() {
    let two = classifier(vec![node("Relu x -> f")], vec![]);
    let one = |more: Option<NodeProto>| {
        let mut m = classifier(vec![node("Relu x -> f")], vec![]);
        let g = m.graph.as_mut().unwrap();
        g.initializer[0] = weight("head", &[2, 1]);
        if let Some(more) = more {
            g.output[0].name.clone_from(&more.output[0]);
            g.node.push(more);
        }
        m
    };
    let name = two.graph.as_ref().unwrap().output[0].name.clone();
    let plain = imported_of(&one(None));
    let squashed = imported_of(&one(Some(node(&format!("Sigmoid {name} -> p")))));
    let z = plain.find(&name).unwrap();
    assert!(plain.notes[0].contains("one score"));
    let x = images(2);
    let of = |net: fgmf_net::Network| Session::new(net).logits(&x).unwrap();
    let score = Session::new(plain.clone()).values_at(&x, &[z]).unwrap()[0].to_f32();
    let expected = vec![0.0, score[0], 0.0, score[1]];
    assert_eq!(of(plain).to_f32(), expected);
    assert_eq!(of(squashed).to_f32(), expected);
}
