//! What a session asks of an engine: the values and gradients of one chunk of images.
//!
//! A session knows batches, losses and threads. An engine knows how a chunk is computed. The CPU
//! engine ([`super::cpu`]) is the only one so far.

use crate::dual::Dual;
use crate::error::Result;
use crate::graph::op::{Mode, Saved};
use crate::graph::{Network, ValueId};
use crate::rule::Rules;
use crate::tensor::{Precision, Tensor};

/// What chunks are run for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purpose {
    pub(crate) mode: Mode,
    /// Precision of the images.
    pub(crate) precision: Precision,
    /// Whether the images carry a direction, along which everything is differentiated.
    pub(crate) directed: bool,
    /// Values to hand out.
    pub(crate) values: Vec<ValueId>,
    /// Values and parameters whose gradient is wanted.
    pub(crate) gradients: Vec<ValueId>,
    /// Nodes whose backward rule is replaced.
    pub(crate) ruled: Vec<usize>,
}

impl Purpose {
    /// Evaluates plain images: no gradients, no rules.
    pub(crate) fn values(values: Vec<ValueId>, precision: Precision) -> Self {
        Self {
            mode: Mode::Evaluate,
            precision,
            directed: false,
            values,
            gradients: Vec::new(),
            ruled: Vec::new(),
        }
    }
}

/// What a chunk leaves behind.
pub(crate) struct Outcome {
    /// In the order of the purpose.
    pub(crate) values: Vec<Dual>,
    /// In the order of the purpose.
    pub(crate) gradients: Vec<Dual>,
    pub(crate) statistics: Vec<Statistics>,
}

/// Mean and biased variance of a batch normalisation that trains, and the number of values behind
/// them, for each channel.
pub(crate) struct Statistics {
    pub(crate) node: usize,
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
    pub(crate) count: usize,
}

impl Statistics {
    /// What a node kept, if these are statistics.
    pub(crate) fn of(node: usize, saved: &Saved) -> Option<Self> {
        let Saved::BatchStatistics {
            mean,
            variance,
            count,
        } = saved
        else {
            return None;
        };
        Some(Self {
            node,
            mean: mean.to_f64(),
            variance: variance.to_f64(),
            count: *count,
        })
    }

    /// Node, and mean and unbiased variance times `weight`, as a training step hands them on.
    pub(crate) fn weighted(&self, weight: f64, precision: Precision) -> (usize, Tensor, Tensor) {
        let array = |v: &[f64], by: f64| {
            let scaled: Vec<f64> = v.iter().map(|&v| v * by).collect();
            Tensor::new(&[v.len()], scaled).cast(precision)
        };
        (
            self.node,
            array(&self.mean, weight),
            array(&self.variance, weight * unbiased(self.count)),
        )
    }
}

/// What a biased variance of `count` values is multiplied with.
fn unbiased(count: usize) -> f64 {
    count as f64 / (count as f64 - 1.0).max(1.0)
}

/// Where the backward pass starts, given the purpose's values: values and their cotangents.
pub(crate) type Start<'s> = dyn FnMut(&[Dual]) -> Vec<(ValueId, Dual)> + 's;

/// Runs chunks of a network's images.
pub(crate) trait Engine {
    /// Gets ready for a purpose; called once for a batch.
    fn prepare<'e>(&'e self, net: &'e Network, purpose: Purpose) -> Result<Box<dyn Prepared + 'e>>;

    /// Takes back the memory of results that have been copied.
    fn reuse(&self, results: &mut dyn Iterator<Item = Tensor>);
}

/// An engine that is ready for one purpose. Chunks run on many threads at once.
pub(crate) trait Prepared: Sync {
    /// Images of a chunk of a batch of `n`, at most `most`. Changes no result.
    fn chunk(&self, n: usize, most: usize) -> usize;

    /// Runs a chunk `x` `[n, c, h, w]`. `start` is called once if a gradient is wanted, and not
    /// otherwise.
    fn run(&self, x: &Dual, rules: &Rules, start: &mut Start<'_>) -> Result<Outcome>;
}
