//! Guided backpropagation.

use super::base::{BackwardRule, Rules};
use crate::dual::Dual;
use crate::graph::Network;
use crate::graph::op::{Local, Op, Unary};
use std::sync::Arc;

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
