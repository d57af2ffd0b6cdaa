//! Numbers of 8 bits: `QuantizeLinear` and `DequantizeLinear`.
//!
//! What is quantised is q = min(max(round(x / scale) + zero, lowest), highest), the even one of
//! two; what is dequantised is (q − zero) · scale. Both are computed at once on constants, so that
//! weights become floating-point numbers. On values that depend on the image they are nodes of the
//! network whose derivative is straight-through (`Unary::Quantize`). Between a pair of them that
//! nothing else reads, numbers are counted from the zero point.

use super::array::{Array, Data};
use super::attributes::Attributes;
use super::export::type_name;
use super::messages::int;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, dtype};
use crate::graph::op::resolve_axis;
use std::collections::{HashMap, HashSet};

/// Attributes that [`mark`] sets: the element type that is quantised to, and whether numbers are
/// counted from the zero point.
pub(super) const TO: &str = "fgmf.to";
pub(super) const CENTRED: &str = "fgmf.centred";
/// What a pair becomes that only rounds.
pub(super) const ROUND: &str = "fgmf.Quantize";
/// Operators that compute on numbers of 8 bits.
const INTEGER: [&str; 4] = [
    "MatMulInteger",
    "ConvInteger",
    "DynamicQuantizeLinear",
    "DynamicQuantizeLSTM",
];

/// Smallest and largest number of an element type.
pub(super) fn range(code: i64) -> Result<[i64; 2], String> {
    match i32::try_from(code).unwrap_or(0) {
        dtype::UINT8 => Ok([0, 255]),
        dtype::INT8 => Ok([-128, 127]),
        dtype::UINT16 => Ok([0, 65_535]),
        dtype::INT16 => Ok([-32_768, 32_767]),
        other => Err(format!(
            "expected numbers of 8 or 16 bits to quantise to, found {}",
            type_name(other)
        )),
    }
}

/// What is said of an operator that computes on quantised numbers; `None` for others.
pub(super) fn refused(operator: &str) -> Option<String> {
    let integer = operator.starts_with("QLinear") || INTEGER.contains(&operator);
    integer.then(|| {
        "expected a quantised network in the QDQ form, whose operators are those of \
            floating-point numbers between QuantizeLinear and DequantizeLinear, found an operator \
            of integers (export it with quant_format=QDQ, or ask it as a black box through \
            examples/serve_onnx.py)"
            .to_owned()
    })
}

/// Writes down at each node what must be known of others: the element type, which stands at the
/// zero point, and whether a pair keeps its numbers to itself.
pub(super) fn mark(graph: &mut GraphProto) {
    for node in &mut graph.node {
        // ONNX Runtime writes them in its own domain for element types that the standard lacked.
        let known = matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear");
        if known && matches!(node.domain.as_str(), "com.microsoft" | "ai.onnx") {
            node.domain.clear();
        }
    }
    let quantises = |n: &NodeProto| {
        n.domain.is_empty()
            && matches!(
                n.op_type.as_str(),
                "QuantizeLinear" | "DequantizeLinear" | ROUND
            )
    };
    if !graph.node.iter().any(quantises) {
        return;
    }
    let mut types: HashMap<String, i64> = HashMap::new();
    let mut ones: HashSet<String> = HashSet::new();
    let stored = graph.initializer.iter().map(|t| (&t.name, t));
    let made = graph.node.iter().filter_map(|n| {
        let constant = n.attribute.iter().find_map(|a| a.t.as_ref());
        (n.op_type == "Constant").then(|| n.output.first().zip(constant))?
    });
    for (name, t) in stored.chain(made) {
        types.insert(name.clone(), i64::from(t.data_type));
        if is_one(t) {
            ones.insert(name.clone());
        }
    }
    for node in graph.node.iter().filter(|n| n.op_type == "Cast") {
        if let (Some(to), Some(output)) = (
            Attributes(&node.attribute).int("to").ok().flatten(),
            node.output.first(),
        ) {
            types.insert(output.clone(), to);
        }
    }
    let mut readers: HashMap<String, Vec<usize>> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for name in &node.input {
            readers.entry(name.clone()).or_default().push(i);
        }
    }
    let shown: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let own = |a: &AttributeProto| a.name != TO && a.name != CENTRED;
    let mut centred = HashSet::new();
    let mut rounds = Vec::new();
    for (i, node) in graph
        .node
        .iter_mut()
        .enumerate()
        .filter(|(_, n)| quantises(n))
    {
        node.attribute.retain(own);
        if node.op_type != "QuantizeLinear" {
            continue;
        }
        let stated = Attributes(&node.attribute)
            .int_or("output_dtype", 0)
            .unwrap_or(0);
        let zero = node.input.get(2).filter(|n| !n.is_empty());
        let to = match zero {
            Some(zero) => types.get(zero).copied().unwrap_or(stated),
            None if stated == 0 => i64::from(dtype::UINT8),
            None => stated,
        };
        node.attribute.push(int(TO, to));
        let Some(output) = node.output.first().filter(|o| !shown.contains(*o)) else {
            continue;
        };
        let by = readers.get(output).map(Vec::as_slice).unwrap_or_default();
        rounds.push((i, by.to_vec(), zero.cloned()));
    }
    for (i, by, zero) in rounds {
        let zero_of = |n: &NodeProto| n.input.get(2).filter(|n| !n.is_empty()).cloned();
        let pairs = |&j: &usize| {
            let n = &graph.node[j];
            n.op_type == "DequantizeLinear"
                && zero_of(n) == zero
                && n.input.first() != zero.as_ref()
        };
        if !by.is_empty() && by.iter().all(pairs) {
            centred.insert(i);
            centred.extend(by);
        }
    }
    for i in centred {
        graph.node[i].attribute.push(int(CENTRED, 1));
    }
    join(graph, &readers, &ones);
}

/// Puts one node in the place of a pair that only rounds: the second of them has scale 1.
fn join(graph: &mut GraphProto, readers: &HashMap<String, Vec<usize>>, ones: &HashSet<String>) {
    let centred = |n: &NodeProto| Attributes(&n.attribute).flag(CENTRED, false) == Ok(true);
    let mut gone = HashSet::new();
    for i in 0..graph.node.len() {
        let node = &graph.node[i];
        if node.op_type != "QuantizeLinear" || !centred(node) {
            continue;
        }
        let by = node.output.first().and_then(|o| readers.get(o));
        let Some(&[j]) = by.map(Vec::as_slice) else {
            continue;
        };
        let scale = graph.node[j].input.get(1);
        if scale.is_some_and(|s| ones.contains(s)) && j > i {
            let output = graph.node[j].output.clone();
            let node = &mut graph.node[i];
            (node.output, node.op_type) = (output, ROUND.to_owned());
            gone.insert(j);
        }
    }
    let mut at = 0..;
    graph
        .node
        .retain(|_| !at.next().is_some_and(|i| gone.contains(&i)));
}

/// Whether an array is the one number 1.
fn is_one(t: &TensorProto) -> bool {
    let small = t.dims.iter().all(|&d| d == 1) && t.data_type == dtype::FLOAT;
    small
        && Array::decode(t)
            .is_ok_and(|a| matches!(&a.data, Data::Float(v) if v.as_slice() == [1.0]))
}

/// How many numbers in a row of an array share a scale, of which `n` stand along `axis`; one holds
/// for all.
fn along(shape: &[usize], n: usize, axis: i64) -> Result<usize, String> {
    if n == 1 {
        return Ok(usize::MAX);
    }
    let axis = resolve_axis(axis, shape.len())?;
    if shape[axis] != n {
        return Err(format!(
            "expected a scale, or one for each of {} along axis {axis}, found {n}",
            shape[axis]
        ));
    }
    Ok(shape[axis + 1..].iter().product())
}

/// Which scale a number has.
fn which(i: usize, row: usize, n: usize) -> usize {
    if n == 1 { 0 } else { i / row.max(1) % n }
}

pub(super) fn check_scales(scales: &[f32]) -> Result<(), String> {
    match scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        Some(odd) => Err(format!("expected finite scales above 0, found {odd}")),
        None if scales.is_empty() => Err("expected a scale, found none".to_owned()),
        None => Ok(()),
    }
}

/// Zero points, one a scale; 0 where none are given.
pub(super) fn zeros_for(scales: &[f32], zeros: Option<&[i64]>) -> Result<Vec<i64>, String> {
    match zeros {
        None => Ok(vec![0; scales.len()]),
        Some(zeros) if zeros.len() == scales.len() => Ok(zeros.to_vec()),
        Some(zeros) => Err(format!(
            "expected as many zero points as scales, {}, found {}",
            scales.len(),
            zeros.len()
        )),
    }
}

/// The node on constants.
pub(super) fn fold(
    node: &NodeProto,
    x: &Array,
    scale: &Array,
    zero: Option<&Array>,
) -> Result<Array, String> {
    let a = Attributes(&node.attribute);
    a.require("block_size", 0)?;
    let scales = scale.to_floats();
    check_scales(&scales)?;
    let zeros = zeros_for(&scales, zero.map(Array::as_ints).transpose()?)?;
    let (n, row) = (
        scales.len(),
        along(&x.shape, scales.len(), a.int_or("axis", 1)?)?,
    );
    let of = |i: usize| {
        let at = which(i, row, n);
        (scales[at], zeros[at])
    };
    // Between a pair, numbers are counted from the zero point.
    let centred = a.flag(CENTRED, false)?;
    let data = match (node.op_type.as_str(), &x.data) {
        ("DequantizeLinear", Data::Int(q)) => {
            let value = |(i, &q): (usize, &i64)| {
                let (scale, zero) = of(i);
                q.saturating_sub(if centred { 0 } else { zero }) as f32 * scale
            };
            Data::Float(q.iter().enumerate().map(value).collect())
        }
        ("QuantizeLinear", Data::Float(x)) => {
            let [low, high] = range(a.int_or(TO, 0)?)?;
            let value = |(i, &x): (usize, &f32)| {
                let (scale, zero) = of(i);
                let r = ((x / scale).round_ties_even() as i64).saturating_add(zero);
                r.clamp(low, high) - if centred { zero } else { 0 }
            };
            Data::Int(x.iter().enumerate().map(value).collect())
        }
        _ => return Err("expected numbers to quantise, or quantised ones".to_owned()),
    };
    Ok(Array {
        shape: x.shape.clone(),
        data,
    })
}
