//! Backward rules: what a node passes back instead of its derivative.
//!
//! The default is the true derivative. Everything that bends gradients on purpose (a mask frozen by an attacker, a
//! straight-through step past a layer that has no gradient, guided backpropagation) is a rule on a node, not another
//! network.

use crate::dual::Dual;
use crate::op::{Local, Op, Unary};
use std::collections::HashMap;
use std::sync::Arc;

/// Replaces the backward step of a node.
pub trait BackwardRule: Send + Sync {
    /// Cotangents for the node's inputs; `None` where none is wanted or none is passed.
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>>;
}

/// Rules by node; nodes without one use their derivative.
#[derive(Clone, Default)]
pub struct Rules(HashMap<usize, Arc<dyn BackwardRule>>);

impl Rules {
    /// True derivatives everywhere.
    pub fn exact() -> Self {
        Self::default()
    }

    /// Sets the rule of one node.
    pub fn set(&mut self, node: usize, rule: Arc<dyn BackwardRule>) {
        self.0.insert(node, rule);
    }

    /// The nodes that have a rule, in ascending order.
    pub(crate) fn nodes(&self) -> Vec<usize> {
        let mut nodes: Vec<usize> = self.0.keys().copied().collect();
        nodes.sort_unstable();
        nodes
    }

    pub(crate) fn get(&self, node: usize) -> Option<&dyn BackwardRule> {
        self.0.get(&node).map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Treats all inputs but one as constants: an attacker's frozen mask.
#[derive(Clone, Copy, Debug)]
pub struct OnlyInput(pub usize);

impl BackwardRule for OnlyInput {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let wanted: Vec<bool> = local.wanted.iter().enumerate().map(|(i, &w)| w && i == self.0).collect();
        op.operator().backward(&Local { wanted: &wanted, ..*local })
    }
}

/// Passes the cotangent straight to one input of the same shape, as if the node were the identity in it (BPDA, Athalye et
/// al. 2018). An input of another shape gets nothing.
#[derive(Clone, Copy, Debug)]
pub struct StraightThrough(pub usize);

impl BackwardRule for StraightThrough {
    fn backward(&self, _: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let g = local.g();
        let pass = |(i, x): (usize, &&Dual)| (i == self.0 && x.shape() == g.shape()).then(|| g.clone());
        local.inputs.iter().enumerate().map(pass).collect()
    }
}

/// Multiplies what the derivative passes to one input by `offset + scale · gate`, where the gate is another input of the
/// same node: SGAM's backward gate. It changes gradients and nothing else, so it is obfuscation by construction; it
/// exists to be measured.
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

/// Guided backpropagation (Springenberg et al. 2015) for rectifiers: negative cotangents are dropped as well.
#[derive(Clone, Copy, Debug)]
pub struct Guided;

impl BackwardRule for Guided {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let exact = op.operator().backward(local);
        exact.into_iter().map(|d| d.map(|d| Unary::Relu.run(&d, 0))).collect()
    }
}
