//! Networks that read a decision from inner values, for an attacker who does not trust the scores.
//!
//! Whatever hides behind the last layer with weights (scores turned round, votes, squashed or
//! ranked scores) does not stand in the way of a linear readout of the values before it, fitted to
//! the classes that the model names. Whatever stands between the images and the first such layer
//! (ramps, roundings, folds, small chains) and gives an image much like its own is taken for the
//! identity. Both are what a transfer attack (`papernot2017`) and BPDA (`athalye2018`) do, with as
//! much of the model itself as can be kept.

use crate::error::{Error, Result};
use fgmf_net::op::{Concat, Flatten, Gemm, GlobalAveragePool, Op, Reduce, ReduceKind, Unary};
use fgmf_net::{Builder, Dim, Network, Node, Tensor, ValueId};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Most numbers that a readout takes from one value without pooling, and in all before rectifiers.
const MOST: usize = 1024;

/// Most cuts of a network that are read.
const CUTS: usize = 2;

/// Inputs of a node that are not stored arrays.
fn data(net: &Network, node: &Node) -> Vec<ValueId> {
    let stored = |id: &ValueId| net.parameter(*id).is_some();
    node.inputs
        .iter()
        .copied()
        .filter(|id| !stored(id))
        .collect()
}

/// Whether a node multiplies by stored weights.
fn weighted(net: &Network, node: &Node) -> bool {
    let kind = matches!(
        node.op,
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::MatMul(_)
    );
    kind && data(net, node).len() == 1
}

/// The values behind which a path to the output crosses `depth` layers with weights and no more.
fn behind(net: &Network, depth: usize) -> Vec<ValueId> {
    let mut open = vec![(net.output(), depth)];
    let (mut seen, mut cut) = (HashSet::new(), BTreeSet::new());
    while let Some((value, left)) = open.pop() {
        let Some(node) = net.producer(value).map(|i| &net.nodes()[i]) else {
            continue;
        };
        if !seen.insert((value, left)) {
            continue;
        }
        match (weighted(net, node), left) {
            (true, 0) => drop(cut.insert(value)),
            (crosses, _) => {
                let left = left - usize::from(crosses);
                open.extend(data(net, node).into_iter().map(|id| (id, left)));
            }
        }
    }
    cut.into_iter().collect()
}

/// Whether the output is this value, in another shape at most.
fn is_output(net: &Network, value: ValueId) -> bool {
    let mut at = net.output();
    while at != value {
        let Some(node) = net.producer(at).map(|i| &net.nodes()[i]) else {
            return false;
        };
        match node.op {
            Op::Unary(Unary::Identity)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_) => at = data(net, node)[0],
            _ => return false,
        }
    }
    true
}

/// Sets of inner values from which a decision can be read, the latest first, at most two: the
/// outputs of the last layers with weights on each path, then of those before them, and so on. A
/// set that is the output itself has nothing behind it and is left out.
pub fn cuts(net: &Network) -> Vec<Vec<ValueId>> {
    let mut out: Vec<Vec<ValueId>> = Vec::new();
    for depth in 0..=CUTS {
        let cut: Vec<ValueId> = behind(net, depth)
            .into_iter()
            .filter(|&id| width(net, id).is_some())
            .collect();
        let nothing = cut.is_empty() || matches!(cut[..], [id] if is_output(net, id));
        if !nothing && out.last() != Some(&cut) && out.len() < CUTS {
            out.push(cut);
        }
    }
    out
}

/// Numbers that a readout takes of a value; `None` where it has no shape of an example.
fn width(net: &Network, id: ValueId) -> Option<usize> {
    let [Dim::Batch(1), rest @ ..] = net.value(id).shape.as_slice() else {
        return None;
    };
    let sizes: Vec<usize> = rest
        .iter()
        .map(|d| match d {
            Dim::Fixed(d) => Some(*d),
            Dim::Batch(_) => None,
        })
        .collect::<Option<_>>()?;
    let all: usize = sizes.iter().product();
    match sizes[..] {
        [_] => Some(all),
        [_, channels] => Some(channels),
        [channels, _, _] => Some(if all <= MOST { all } else { channels }),
        _ => None,
    }
}

/// Images that layers with weights are the first to see, where what is in front of them is not
/// linear: `[n, c, h, w]`, of the shape of the images.
pub fn fronts(net: &Network) -> Vec<ValueId> {
    // Values that no layer with weights has touched, and whether they are linear in the images.
    let mut linear = HashMap::from([(net.input(), true)]);
    let mut fronts = BTreeSet::new();
    for node in net.nodes() {
        let inputs = data(net, node);
        let Some(all) = inputs
            .iter()
            .map(|id| linear.get(id).copied())
            .collect::<Option<Vec<bool>>>()
        else {
            continue;
        };
        if weighted(net, node) {
            let shape = |id| &net.value(id).shape;
            let bent = |id: &ValueId| !linear[id] && shape(*id) == shape(net.input());
            fronts.extend(inputs.iter().copied().filter(bent));
            continue;
        }
        let keeps = match node.op {
            Op::Unary(Unary::Identity | Unary::Neg)
            | Op::BatchNorm(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool(_)
            | Op::Resize(_)
            | Op::Reduce(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Transpose(_)
            | Op::Concat(_)
            | Op::Split(_)
            | Op::Slice(_)
            | Op::Gather(_)
            | Op::Expand(_)
            | Op::Pad(_) => true,
            Op::Binary(_) => inputs.len() == 1,
            _ => false,
        };
        let is = keeps && all.iter().all(|l| *l);
        linear.extend(node.outputs.iter().map(|id| (*id, is)));
    }
    fronts.into_iter().collect()
}

/// What a fitted readout multiplies and adds.
pub struct Readout {
    /// `[k, d]`.
    pub weights: Tensor,
    /// `[k]`.
    pub bias: Tensor,
}

/// The network up to a cut. Without a readout its output are the numbers to read, `[n, d]`: each
/// value of the cut flat (pooled over positions where it is large), and rectified. With one, its
/// output are the readout's scores, `[n, k]`. Values keep their names.
///
/// An error where the cut holds nothing that can be read.
pub fn read_at(net: &Network, cut: &[ValueId], readout: Option<&Readout>) -> Result<Network> {
    let mut b = Builder::new(&net.name, &net.value(net.input()).name, net.image_shape())?;
    let mut known = HashMap::from([(net.input(), b.input())]);
    let wanted = ancestors(net, cut);
    for node in net.nodes() {
        if !node.outputs.iter().any(|id| wanted.contains(id)) {
            continue;
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            if let (Some(stored), false) = (net.parameter(*id), known.contains_key(id)) {
                let made = b.parameter(&net.value(*id).name, stored.clone(), false)?;
                known.insert(*id, made);
            }
            inputs.push(known[id]);
        }
        let names: Vec<String> = node
            .outputs
            .iter()
            .map(|id| net.value(*id).name.clone())
            .collect();
        let outputs = b.nodes(&node.name, node.op.clone(), &inputs, &names)?;
        known.extend(node.outputs.iter().copied().zip(outputs));
    }
    let mut parts = Vec::new();
    let mut total = 0;
    // The latest values come first where not all find room.
    for &id in cut.iter().rev() {
        let Some(width) = width(net, id).filter(|w| total == 0 || total + w <= MOST) else {
            continue;
        };
        total += width;
        let mut value = known[&id];
        if net.value(id).shape.len() == 3 {
            let mean = Reduce {
                kind: ReduceKind::Mean,
                axes: vec![1],
                keep: false,
            };
            value = add(&mut b, "readout.mean", Op::Reduce(mean), &[value])?;
        } else if net.value(id).shape.len() == 4 {
            let pooled = numbers(net, id) != width;
            if pooled {
                let op = Op::GlobalAveragePool(GlobalAveragePool);
                value = add(&mut b, "readout.pool", op, &[value])?;
            }
            value = add(
                &mut b,
                "readout.flat",
                Op::Flatten(Flatten { axis: 1 }),
                &[value],
            )?;
        }
        parts.push(value);
        parts.push(add(
            &mut b,
            "readout.relu",
            Op::Unary(Unary::Relu),
            &[value],
        )?);
    }
    if parts.is_empty() {
        return Err(Error::mismatch(
            "readout",
            "values that can be read",
            "none",
        ));
    }
    let mut out = add(&mut b, "readout", Op::Concat(Concat { axis: 1 }), &parts)?;
    if let Some(readout) = readout {
        let name = b.fresh("readout.weights");
        let weights = b.parameter(&name, readout.weights.clone(), false)?;
        let name = b.fresh("readout.bias");
        let bias = b.parameter(&name, readout.bias.clone(), false)?;
        let inputs = [out, weights, bias];
        out = add(&mut b, "readout.scores", Op::Gemm(Gemm::DENSE), &inputs)?;
    }
    Ok(b.finish(out)?)
}

fn add(b: &mut Builder, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
    let name = b.fresh(name);
    Ok(b.node(&name, op, inputs)?)
}

fn numbers(net: &Network, id: ValueId) -> usize {
    let fixed = |d: &Dim| match d {
        Dim::Fixed(d) => *d,
        Dim::Batch(_) => 1,
    };
    net.value(id).shape.iter().map(fixed).product()
}

/// The values that these rest on, and they themselves.
fn ancestors(net: &Network, of: &[ValueId]) -> HashSet<ValueId> {
    let mut open = of.to_vec();
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(
                net.producer(id)
                    .into_iter()
                    .flat_map(|i| net.nodes()[i].inputs.clone()),
            );
        }
    }
    seen
}
