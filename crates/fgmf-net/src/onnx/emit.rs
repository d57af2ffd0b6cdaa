//! From operators to nodes of operator set 20.

use super::messages::{float, int, ints, text};
use super::proto::{AttributeProto, NodeProto};
use super::window::{ratio, rounds_up, scaled};
use super::writer::Writer;
use crate::graph::op::{Conv, Expand, Op, Resize, SliceAxis, Unary, Window};
use crate::graph::{Dim, Node};
use fgmf_kernels::{Coordinates, NearestRounding, ResizeMode};

/// Appends a node and the constants that it needs.
pub(super) fn node_messages(w: &mut Writer<'_>, node: &Node) -> Result<(), String> {
    let output = node
        .outputs
        .first()
        .map(|&id| w.value(id).name.clone())
        .unwrap_or_default();
    let named = |what: &str| format!("{output}/{what}");
    let list = |w: &mut Writer<'_>, what: &str, values: &[i64]| {
        w.ints(named(what), &[values.len()], values)
    };
    let mut input: Vec<String> = node
        .inputs
        .iter()
        .map(|&id| w.value(id).name.clone())
        .collect();
    let mut attribute = Vec::new();
    match &node.op {
        Op::Unary(Unary::LeakyRelu { alpha } | Unary::Elu { alpha }) => {
            attribute.push(float("alpha", *alpha))
        }
        Op::Unary(Unary::HardSigmoid { alpha, beta }) => {
            attribute.extend([float("alpha", *alpha), float("beta", *beta)])
        }
        Op::Unary(Unary::GeluTanh) => attribute.push(text("approximate", "tanh")),
        Op::Unary(Unary::Clip { min, max }) => {
            let bound = |w: &mut Writer<'_>, what: &str, v: f64, none: f64| {
                if v.total_cmp(&none).is_eq() {
                    String::new()
                } else {
                    w.floats(named(what), &[], &[v as f32])
                }
            };
            input.extend([
                bound(w, "min", *min, f64::NEG_INFINITY),
                bound(w, "max", *max, f64::INFINITY),
            ]);
            while input.last().is_some_and(String::is_empty) {
                input.pop();
            }
        }
        Op::Unary(Unary::Quantize { scale, min, max }) => {
            return quantise(w, node, [*scale, *min, *max], (input, output));
        }
        Op::Unary(_) | Op::Binary(_) | Op::PRelu(_) | Op::MatMul(_) | Op::GlobalAveragePool(_) => {}
        Op::Conv(c) => attribute = convolution(c, &weight_kernel(w, node)?),
        Op::ConvTranspose(c) => {
            attribute = convolution(&c.conv, &weight_kernel(w, node)?);
            attribute.push(ints("output_padding", &c.output_padding.map(|v| v as i64)));
        }
        Op::Gemm(g) => {
            let flag = |name: &str, on: bool| int(name, i64::from(on));
            attribute.extend([
                float("alpha", g.alpha),
                float("beta", g.beta),
                flag("transA", g.trans_a),
                flag("transB", g.trans_b),
            ]);
        }
        Op::BatchNorm(b) => {
            attribute.extend([float("epsilon", b.epsilon), float("momentum", b.momentum)])
        }
        Op::LayerNorm(l) => attribute.extend([int("axis", l.axis), float("epsilon", l.epsilon)]),
        Op::Softmax(s) => attribute.push(int("axis", s.axis)),
        Op::MaxPool(p) => attribute = window(&p.0, rows_and_columns(w, node)?),
        Op::AveragePool(p) => {
            attribute = window(&p.window, rows_and_columns(w, node)?);
            attribute.push(int("count_include_pad", i64::from(p.count_include_pad)));
        }
        Op::Resize(r) => attribute = resize(w, r, &named, node, &mut input)?,
        Op::Reduce(r) => {
            input.push(list(w, "axes", &r.axes));
            attribute.push(int("keepdims", i64::from(r.keep)));
            if r.axes.is_empty() {
                attribute.push(int("noop_with_empty_axes", 1));
            }
        }
        Op::Reshape(r) => input.push(list(w, "shape", &r.shape)),
        Op::Flatten(f) => attribute.push(int("axis", f.axis)),
        Op::Squeeze(s) => input.push(list(w, "axes", &s.axes)),
        Op::Unsqueeze(u) => input.push(list(w, "axes", &u.axes)),
        Op::Transpose(t) => attribute.push(ints(
            "perm",
            &t.perm.iter().map(|&p| p as i64).collect::<Vec<_>>(),
        )),
        Op::Concat(c) => attribute.push(int("axis", c.axis)),
        Op::Split(s) => {
            input.push(list(
                w,
                "split",
                &s.sizes.iter().map(|&s| s as i64).collect::<Vec<_>>(),
            ));
            attribute.push(int("axis", s.axis));
        }
        Op::Slice(s) => {
            let mut part = |what: &str, of: &dyn Fn(&SliceAxis) -> i64| {
                input.push(list(w, what, &s.axes.iter().map(of).collect::<Vec<_>>()))
            };
            part("starts", &|s| s.start as i64);
            part("ends", &end);
            part("axes", &|s| s.axis as i64);
            part("steps", &|s| s.step);
        }
        Op::Gather(g) => {
            let index: Vec<i64> = g.index.iter().map(|&i| i as i64).collect();
            input.push(w.ints(named("indices"), &g.index_shape, &index));
            attribute.push(int("axis", g.axis));
        }
        Op::Expand(e) => {
            input.truncate(1);
            input.push(expand_shape(w, e, &named, node)?);
        }
        Op::Pad(p) => {
            let amounts: Vec<i64> = p
                .pads
                .iter()
                .map(|a| a.0)
                .chain(p.pads.iter().map(|a| a.1))
                .collect();
            input.push(list(w, "pads", &amounts));
            input.push(w.floats(named("value"), &[], &[p.value as f32]));
        }
        Op::TopK(t) => {
            input.push(list(w, "k", &[t.k as i64]));
            attribute.push(int("axis", t.axis));
        }
    }
    let mut output: Vec<String> = node
        .outputs
        .iter()
        .map(|&id| w.value(id).name.clone())
        .collect();
    if matches!(node.op, Op::TopK(_)) {
        // The standard has no file without the positions.
        output.push(w.fresh(named("indices")));
    }
    w.push(NodeProto {
        input,
        output,
        name: node.name.clone(),
        op_type: node.op.name().to_owned(),
        attribute,
        domain: String::new(),
    });
    Ok(())
}

/// A pair around a zero point, of which the second only takes that away.
fn quantise(
    w: &mut Writer<'_>,
    node: &Node,
    [scale, min, max]: [f64; 3],
    (mut input, output): (Vec<String>, String),
) -> Result<(), String> {
    if !(0.0..=255.0).contains(&-min) || (max - min - 255.0).abs() > 0.0 {
        return Err(format!(
            "expected numbers of 8 bits, as operator set 20 has them, found {min} to {max}"
        ));
    }
    let named = |what: &str| format!("{output}/{what}");
    let scale = w.floats(named("scale"), &[], &[scale as f32]);
    let zero = w.byte(named("zero"), -min as u8);
    let one = w.floats(named("one"), &[], &[1.0]);
    let quantised = w.fresh(named("quantised"));
    input.extend([scale, zero.clone()]);
    let mut first = plain("QuantizeLinear", input, &quantised, vec![]);
    first.name.clone_from(&node.name);
    w.push(first);
    w.push(plain(
        "DequantizeLinear",
        vec![quantised, one, zero],
        &output,
        vec![],
    ));
    Ok(())
}

/// One step past the last position; what lies before the first one is far below zero, so that it is
/// not counted from the end.
fn end(s: &SliceAxis) -> i64 {
    let last = s.start as i64 + (s.count as i64 - 1) * s.step;
    match last + s.step.signum() {
        -1 => -i64::MAX,
        end => end,
    }
}

/// Name of the target shape; where it holds the batch size, that is taken from the images.
fn expand_shape(
    w: &mut Writer<'_>,
    e: &Expand,
    named: &dyn Fn(&str) -> String,
    node: &Node,
) -> Result<String, String> {
    if let Some(&batch) = node.inputs.get(1)
        && w.value(batch).shape.first() != Some(&Dim::Batch(1))
    {
        return Err("expected a second input whose first axis is the batch".to_owned());
    }
    let mut parts = Vec::new();
    for run in e.shape.chunk_by(|a, b| a.is_some() && b.is_some()) {
        let name = if run.contains(&None) {
            let name = w.fresh(named("batch"));
            let image = w.value(w.net.input()).name.clone();
            w.push(plain(
                "Shape",
                vec![image],
                &name,
                vec![int("start", 0), int("end", 1)],
            ));
            name
        } else {
            let sizes: Vec<i64> = run.iter().flatten().map(|&d| d as i64).collect();
            w.ints(named("sizes"), &[sizes.len()], &sizes)
        };
        parts.push(name);
    }
    if let [only] = parts.as_slice() {
        return Ok(only.clone());
    }
    if parts.is_empty() {
        return Ok(w.ints(named("sizes"), &[0], &[]));
    }
    let name = w.fresh(named("shape"));
    w.push(plain("Concat", parts, &name, vec![int("axis", 0)]));
    Ok(name)
}

fn plain(
    operator: &str,
    input: Vec<String>,
    output: &str,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        input,
        output: vec![output.to_owned()],
        name: output.to_owned(),
        op_type: operator.to_owned(),
        attribute,
        domain: String::new(),
    }
}

fn resize(
    w: &mut Writer<'_>,
    r: &Resize,
    named: &dyn Fn(&str) -> String,
    node: &Node,
    input: &mut Vec<String>,
) -> Result<Vec<AttributeProto>, String> {
    let size = rows_and_columns(w, node)?;
    let (mode, rounding) = match r.mode {
        ResizeMode::Linear => ("linear", None),
        ResizeMode::Cubic => ("cubic", None),
        ResizeMode::Nearest(NearestRounding::RoundPreferFloor) => {
            ("nearest", Some("round_prefer_floor"))
        }
        ResizeMode::Nearest(NearestRounding::RoundPreferCeil) => {
            ("nearest", Some("round_prefer_ceil"))
        }
        ResizeMode::Nearest(NearestRounding::Floor) => ("nearest", Some("floor")),
        ResizeMode::Nearest(NearestRounding::Ceil) => ("nearest", Some("ceil")),
    };
    let coordinates = match r.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
    };
    let mut attribute = vec![
        text("mode", mode),
        text("coordinate_transformation_mode", coordinates),
    ];
    attribute.extend(rounding.map(|r| text("nearest_mode", r)));
    let scale = r.scale.map(|s| s as f32);
    // Runtimes disagree on the precision of size × scale, so scales are written where that does not
    // matter.
    let exact = |i: usize| (size[i] as f64 * f64::from(scale[i])).floor() as usize == r.size[i];
    let by_scales = [0, 1]
        .iter()
        .all(|&i| scaled(size[i], scale[i]) == r.size[i]);
    let by_sizes =
        ratio(r.size, size).map(|s| s as f32).map(f32::to_bits) == scale.map(f32::to_bits);
    if by_scales && (!by_sizes || exact(0) && exact(1)) {
        input.extend([
            String::new(),
            w.floats(named("scales"), &[4], &[1.0, 1.0, scale[0], scale[1]]),
        ]);
    } else if by_sizes {
        attribute.push(ints("axes", &[2, 3]));
        input.extend([
            String::new(),
            String::new(),
            w.ints(named("sizes"), &[2], &r.size.map(|s| s as i64)),
        ]);
    } else {
        return Err(format!(
            "expected scales that lead from {size:?} to {:?}, found {:?}",
            r.size, r.scale
        ));
    }
    Ok(attribute)
}

/// Spatial size of the first input.
fn rows_and_columns(w: &Writer<'_>, node: &Node) -> Result<[usize; 2], String> {
    match w.value(node.inputs[0]).shape[2..] {
        [Dim::Fixed(height), Dim::Fixed(width)] => Ok([height, width]),
        _ => Err("expected fixed rows and columns".to_owned()),
    }
}

fn weight_kernel(w: &Writer<'_>, node: &Node) -> Result<[i64; 2], String> {
    match w.value(node.inputs[1]).shape[2..] {
        [Dim::Fixed(h), Dim::Fixed(w)] => Ok([h as i64, w as i64]),
        _ => Err("expected a kernel of fixed size".to_owned()),
    }
}

fn convolution(c: &Conv, kernel: &[i64; 2]) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", kernel),
        ints("strides", &c.stride.map(|v| v as i64)),
        ints("pads", &c.pads.map(|v| v as i64)),
        ints("dilations", &c.dilation.map(|v| v as i64)),
        int("group", c.groups as i64),
    ]
}

fn window(p: &Window, size: [usize; 2]) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", &p.kernel.map(|v| v as i64)),
        ints("strides", &p.stride.map(|v| v as i64)),
        ints("pads", &p.pads.map(|v| v as i64)),
        ints("dilations", &p.dilation.map(|v| v as i64)),
        int("ceil_mode", i64::from(rounds_up(p, size))),
    ]
}
