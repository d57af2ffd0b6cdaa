//! Loss heads: functions of the logits, with their own cotangent.

use super::network::ValueId;
use super::op::Unary;
use crate::dual::Dual;
use crate::tensor::{Precision, Tensor};
use std::ops::Range;

/// A loss on logits, one value an example. Attacks increase it, training decreases it.
pub trait Head: Sync {
    /// Values and the cotangent of their sum, for the rows `examples` of the whole batch; `logits`
    /// is `[len, k]`. Panics if the head was made for fewer examples.
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual);

    /// Rows that belong together; chunks of a training step are cut between groups only.
    fn group(&self) -> usize {
        1
    }

    /// Values inside the graph that carry further losses; used by training only.
    fn auxiliary_values(&self) -> Vec<ValueId> {
        Vec::new()
    }

    /// Cotangents of [`Head::auxiliary_values`], given these values for the rows `examples`.
    fn auxiliary(&self, _values: &[Tensor], _examples: Range<usize>) -> Vec<Tensor> {
        Vec::new()
    }
}

fn rows(matrix: impl Iterator<Item = Vec<f64>>, k: usize, precision: Precision) -> Dual {
    let values: Vec<f64> = matrix.flatten().collect();
    Tensor::new(&[values.len() / k, k], values)
        .cast(precision)
        .into()
}

fn one_hot(k: usize, classes: impl Iterator<Item = usize>, precision: Precision) -> Dual {
    let row = |c: usize| (0..k).map(|i| if i == c { 1.0 } else { 0.0 }).collect();
    rows(classes.map(row), k, precision)
}

fn log_probabilities(z: &Dual) -> Dual {
    let shifted = z.sub(&z.value.max(1).into());
    shifted.sub(&Unary::Log.run(&Unary::Exp.run(&shifted, 0).sum(&[1]), 0))
}

/// −Σ t log softmax(z), with targets t that are one-hot or any distribution. Cotangent softmax(z) −
/// t.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    targets: Targets,
}

#[derive(Clone, Debug)]
enum Targets {
    Labels(Vec<usize>),
    Soft(Tensor),
}

impl CrossEntropy {
    /// Against class labels, one an example.
    pub fn labels(labels: &[usize]) -> Self {
        Self {
            targets: Targets::Labels(labels.to_vec()),
        }
    }

    /// Against distributions, `[n, k]`, rows summing to one.
    pub fn soft(targets: Tensor) -> Self {
        Self {
            targets: Targets::Soft(targets),
        }
    }
}

impl Head for CrossEntropy {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let k = logits.shape()[1];
        let targets = match &self.targets {
            Targets::Labels(y) => one_hot(k, y[examples].iter().copied(), logits.precision()),
            Targets::Soft(t) => t
                .rows(examples.start, examples.len())
                .cast(logits.precision())
                .into(),
        };
        let log_p = log_probabilities(logits);
        let losses = targets.mul(&log_p).sum(&[1]).neg().value.to_f64();
        (losses, Unary::Exp.run(&log_p, 0).sub(&targets))
    }
}

/// z_c for one class an example: what explanations explain.
#[derive(Clone, Debug)]
pub struct Logit {
    classes: Vec<usize>,
}

impl Logit {
    /// One class an example.
    pub fn new(classes: &[usize]) -> Self {
        Self {
            classes: classes.to_vec(),
        }
    }
}

impl Head for Logit {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let mask = one_hot(
            logits.shape()[1],
            self.classes[examples].iter().copied(),
            logits.precision(),
        );
        (logits.mul(&mask).sum(&[1]).value.to_f64(), mask)
    }
}

/// max_{i≠y} z_i − z_y: positive exactly where the example is misclassified (Carlini & Wagner
/// 2017).
#[derive(Clone, Debug)]
pub struct Margin {
    labels: Vec<usize>,
}

impl Margin {
    /// One label an example.
    pub fn new(labels: &[usize]) -> Self {
        Self {
            labels: labels.to_vec(),
        }
    }
}

/// Class with the largest logit other than `y`; the first of equals.
pub fn runner_up(z: &[f64], y: usize) -> usize {
    let others = (0..z.len()).filter(|&i| i != y);
    others.fold(
        usize::from(y == 0),
        |best, i| if z[i] > z[best] { i } else { best },
    )
}

impl Head for Margin {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let k = logits.shape()[1];
        let z = logits.value.to_f64();
        let row = |(z, &y): (&[f64], &usize)| {
            let other = runner_up(z, y);
            (0..k)
                .map(|i| f64::from(u8::from(i == other)) - f64::from(u8::from(i == y)))
                .collect()
        };
        let direction = rows(
            z.chunks_exact(k).zip(&self.labels[examples]).map(row),
            k,
            logits.precision(),
        );
        (logits.mul(&direction).sum(&[1]).value.to_f64(), direction)
    }
}
