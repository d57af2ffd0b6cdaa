//! Rules of single nodes that others are made of.

use super::base::BackwardRule;
use crate::dual::Dual;
use crate::graph::op::{Local, Op};

/// Treats all inputs but one as constants: an attacker's frozen mask.
#[derive(Clone, Copy, Debug)]
pub struct OnlyInput(pub usize);

impl BackwardRule for OnlyInput {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let wanted: Vec<bool> = local
            .wanted
            .iter()
            .enumerate()
            .map(|(i, &w)| w && i == self.0)
            .collect();
        op.operator().backward(&Local {
            wanted: &wanted,
            ..*local
        })
    }
}

/// Passes the cotangent straight to one input of the same shape, as if the node were the identity
/// in it (BPDA, Athalye et al. 2018). An input of another shape gets nothing.
#[derive(Clone, Copy, Debug)]
pub struct StraightThrough(pub usize);

impl BackwardRule for StraightThrough {
    fn backward(&self, _: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let g = local.g();
        let pass =
            |(i, x): (usize, &&Dual)| (i == self.0 && x.shape() == g.shape()).then(|| g.clone());
        local.inputs.iter().enumerate().map(pass).collect()
    }
}

/// Multiplies what the derivative passes to one input by `offset + scale · gate`, where the gate is
/// another input of the same node: SGAM's backward gate. It changes gradients and nothing else, so
/// it is obfuscation by construction; it exists to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// The input whose cotangent is gated.
    pub input: usize,
    /// The input that gates, broadcast.
    pub gate: usize,
    /// Factor of the gate.
    pub scale: f64,
    /// What is added to it.
    pub offset: f64,
}

impl BackwardRule for Gate {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let mut out = op.operator().backward(local);
        let gate = local.inputs[self.gate].affine(self.scale, self.offset);
        if let Some(g) = out.get_mut(self.input).and_then(Option::take) {
            out[self.input] = Some(g.mul(&gate));
        }
        out
    }
}

/// The derivative. A node with this rule runs by itself, as one with any other rule does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Derivative;

impl BackwardRule for Derivative {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        op.operator().backward(local)
    }
}
