//! Backward rules: what a node passes back instead of its derivative.
//!
//! The default is the true derivative. Everything that bends gradients on purpose (a mask frozen by
//! an attacker, a straight-through step past a layer that has no gradient, guided backpropagation)
//! is a rule on a node, not another network.

mod relevance;
mod rescale;

use crate::dual::Dual;
use crate::network::{Network, Node, ValueId};
use crate::op::{Local, Op, Unary};
use std::collections::HashMap;
use std::sync::Arc;

pub use relevance::{LinearRule, relevance};
pub use rescale::Rescaling;

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

    /// These rules, and `others` for the nodes that have one there.
    #[must_use]
    pub fn overlaid(&self, others: &Self) -> Self {
        let all = self.0.iter().chain(&others.0);
        Self(all.map(|(&node, rule)| (node, rule.clone())).collect())
    }

    /// Whether every node uses its derivative.
    pub fn is_exact(&self) -> bool {
        self.0.is_empty()
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

/// Guided backpropagation (Springenberg et al. 2015) for rectifiers: negative cotangents are
/// dropped as well.
#[derive(Clone, Copy, Debug)]
pub struct Guided;

impl Guided {
    /// This rule on every node that is a rectifier or a smooth relative of one (ReLU, LeakyReLU,
    /// PReLU, ELU, GELU, softplus, HardSwish), on a clip to `[0, …]`, and nowhere else.
    pub fn everywhere(net: &Network) -> Rules {
        let rectifies = |op: &Op| match op {
            Op::PRelu(_) => true,
            Op::Unary(Unary::Clip { min, .. }) => *min >= 0.0,
            Op::Unary(u) => matches!(
                u,
                Unary::Relu
                    | Unary::LeakyRelu { .. }
                    | Unary::Elu { .. }
                    | Unary::Gelu
                    | Unary::GeluTanh
                    | Unary::Softplus
                    | Unary::HardSwish
            ),
            _ => false,
        };
        let mut rules = Rules::exact();
        for (i, _) in net
            .nodes()
            .iter()
            .enumerate()
            .filter(|(_, n)| rectifies(&n.op))
        {
            rules.set(i, Arc::new(Self));
        }
        rules
    }
}

impl BackwardRule for Guided {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let exact = op.operator().backward(local);
        exact
            .into_iter()
            .map(|d| d.map(|d| Unary::Relu.run(&d, 0)))
            .collect()
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

/// Which values depend on the image, by value.
fn image_dependent(net: &Network) -> Vec<bool> {
    let mut depends = vec![false; net.values().len()];
    depends[net.input().0] = true;
    for node in net.nodes() {
        if node.inputs.iter().any(|id| depends[id.0]) {
            node.outputs.iter().for_each(|id| depends[id.0] = true);
        }
    }
    depends
}

/// Positions of a node's inputs that depend on the image.
fn moving(node: &Node, depends: &[bool]) -> Vec<usize> {
    (0..node.inputs.len())
        .filter(|&i| depends[node.inputs[i].0])
        .collect()
}

/// The only node that reads a value, if there is one and the value is not the logits.
fn only_reader(net: &Network, id: ValueId) -> Option<usize> {
    let mut readers = net
        .nodes()
        .iter()
        .enumerate()
        .filter(|(_, n)| n.inputs.contains(&id));
    match (readers.next(), readers.next()) {
        (Some((i, _)), None) if id != net.output() => Some(i),
        _ => None,
    }
}
