//! Walks a network forward and backward over [`Dual`]s, node by node. It gives values, gradients of
//! any value, Jacobian- and Hessian-vector products.

use crate::dual::{Dual, accumulate};
use crate::error::{Error, Result};
use crate::graph::op::{Local, Mode, Saved};
use crate::graph::{Network, Source, ValueId};
use crate::rule::Rules;

/// Everything one forward pass computed.
#[derive(Debug)]
pub struct Tape {
    values: Vec<Option<Dual>>,
    saved: Vec<Saved>,
}

impl Tape {
    /// A value of the forward pass. Panics for an id of another network.
    pub fn value(&self, id: ValueId) -> &Dual {
        self.values[id.0]
            .as_ref()
            .unwrap_or_else(|| unreachable!("a tape holds every value"))
    }

    /// What each node kept for the backward pass, by node.
    pub fn saved(&self) -> &[Saved] {
        &self.saved
    }
}

/// Forward pass over one chunk, `x [n, c, h, w]`. With a tangent on `x`, every value carries
/// its Jacobian-vector product.
pub(super) fn forward(net: &Network, x: &Dual, mode: Mode) -> Tape {
    let source = |s: &Source| match s {
        Source::Input => Some(x.clone()),
        Source::Parameter { tensor, .. } => Some(tensor.clone().into()),
        Source::Node { .. } => None,
    };
    let mut values: Vec<Option<Dual>> = net.values().iter().map(|v| source(&v.source)).collect();
    let mut all_saved = Vec::with_capacity(net.nodes().len());
    for node in net.nodes() {
        let inputs: Vec<&Dual> = node
            .inputs
            .iter()
            .filter_map(|id| values[id.0].as_ref())
            .collect();
        let (outputs, saved) = node.op.operator().forward(&inputs, mode);
        for (id, y) in node.outputs.iter().zip(outputs) {
            values[id.0] = Some(y);
        }
        all_saved.push(saved);
    }
    Tape {
        values,
        saved: all_saved,
    }
}

/// Backward pass: pulls the cotangents of some values back to the `wanted` values. Only nodes
/// between the two run; `rules` may replace the derivative of single nodes. A wanted value that
/// nothing depends on gets zeros.
pub(super) fn backward(
    net: &Network,
    tape: &Tape,
    cotangents: Vec<(ValueId, Dual)>,
    wanted: &[ValueId],
    rules: &Rules,
) -> Result<Vec<Dual>> {
    let mut needed = vec![false; net.values().len()];
    for id in wanted {
        needed[id.0] = true;
    }
    for node in net.nodes() {
        if node.inputs.iter().any(|id| needed[id.0]) {
            node.outputs.iter().for_each(|id| needed[id.0] = true);
        }
    }
    let mut arrived: Vec<Option<Dual>> = vec![None; net.values().len()];
    for (id, g) in cotangents {
        if g.shape() != tape.value(id).shape() {
            return Err(Error::call(
                "backward",
                format!("a cotangent of shape {:?}", tape.value(id).shape()),
                format!("{:?}", g.shape()),
            ));
        }
        accumulate(&mut arrived[id.0], g);
    }
    for (index, node) in net.nodes().iter().enumerate().rev() {
        let active = node.inputs.iter().any(|id| needed[id.0])
            && node.outputs.iter().any(|id| arrived[id.0].is_some());
        if !active {
            continue;
        }
        let inputs: Vec<&Dual> = node.inputs.iter().map(|&id| tape.value(id)).collect();
        let outputs: Vec<Dual> = node
            .outputs
            .iter()
            .map(|&id| tape.value(id).clone())
            .collect();
        let g: Vec<Option<Dual>> = node
            .outputs
            .iter()
            .map(|id| take_or_keep(&mut arrived, *id, wanted))
            .collect();
        let asked: Vec<bool> = node.inputs.iter().map(|id| needed[id.0]).collect();
        let local = Local {
            inputs: &inputs,
            outputs: &outputs,
            saved: &tape.saved[index],
            cotangents: &g,
            wanted: &asked,
        };
        let pulled = match rules.get(index) {
            Some(rule) => rule.backward(&node.op, &local),
            None => node.op.operator().backward(&local),
        };
        for (id, d) in node.inputs.iter().zip(pulled) {
            if let Some(d) = d.filter(|_| needed[id.0]) {
                accumulate(&mut arrived[id.0], d);
            }
        }
    }
    let result = |id: &ValueId| {
        arrived[id.0]
            .clone()
            .unwrap_or_else(|| tape.value(*id).value.zeros_like().into())
    };
    Ok(wanted.iter().map(result).collect())
}

/// A cotangent is used once, unless it was asked for.
fn take_or_keep(arrived: &mut [Option<Dual>], id: ValueId, wanted: &[ValueId]) -> Option<Dual> {
    if wanted.contains(&id) {
        arrived[id.0].clone()
    } else {
        arrived[id.0].take()
    }
}
