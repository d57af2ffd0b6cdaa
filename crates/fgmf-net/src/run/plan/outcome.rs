//! What a chunk leaves behind.

use crate::graph::ValueId;
use crate::graph::op::Mode;
use crate::tensor::Tensor;

/// What a plan is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purpose {
    pub(crate) mode: Mode,
    /// Values to hand out.
    pub(crate) values: Vec<ValueId>,
    /// Values and parameters whose gradient is wanted.
    pub(crate) gradients: Vec<ValueId>,
    /// Nodes whose backward rule is replaced; they run as they are.
    pub(crate) ruled: Vec<usize>,
}

/// What one chunk computed.
pub(crate) struct Outcome {
    pub(crate) values: Vec<Tensor>,
    /// In the order of the purpose.
    pub(crate) gradients: Vec<Tensor>,
    /// Mean and biased variance of each training batch normalisation and the number of values
    /// behind them, by node.
    pub(crate) statistics: Vec<Statistics>,
}

pub(crate) struct Statistics {
    pub(crate) node: usize,
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
    pub(crate) count: usize,
}

impl Statistics {
    /// Node, and mean and unbiased variance times `weight`, as a training step hands them on.
    pub(crate) fn weighted(&self, weight: f64) -> (usize, Tensor, Tensor) {
        let array = |v: &[f64], by: f64| {
            Tensor::new(
                &[v.len()],
                v.iter().map(|&v| (v * by) as f32).collect::<Vec<f32>>(),
            )
        };
        (
            self.node,
            array(&self.mean, weight),
            array(&self.variance, weight * unbiased(self.count)),
        )
    }
}

/// What a biased variance of `count` values is multiplied with.
pub(crate) fn unbiased(count: usize) -> f64 {
    count as f64 / (count as f64 - 1.0).max(1.0)
}
