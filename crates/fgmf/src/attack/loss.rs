//! Losses that attacks follow, as heads with their own cotangents: difference of two logits, and
//! the difference of logits ratio (DLR), which does not change when the logits are scaled (Croce &
//! Hein 2020).
//!
//! With z₍₁₎ ≥ z₍₂₎ ≥ … the sorted logits, y the label and t a target:
//!
//! - negative cross-entropy −L: down the served loss
//! - difference z_t − z_y; capped margin min(max_{i≠y} z_i − z_y, 1); probability of an error 1 −
//!   e^{z_y} / Σ e^{z_i}
//! - DLR (max_{i≠y} z_i − z_y) / (z₍₁₎ − z₍₃₎ + 10⁻¹²), for 3 classes or more
//! - targeted DLR (z_t − z_y) / (z₍₁₎ − (z₍₃₎ + z₍₄₎) / 2 + 10⁻¹²), for 4 classes or more

use crate::error::{Error, Result};
use fgmf_net::Tensor;
use fgmf_net::dual::Dual;
use fgmf_net::head::{CrossEntropy, Head, Margin, runner_up};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What an attack increases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttackLoss {
    /// Cross-entropy with the label.
    CrossEntropy,
    /// Its negative: an attacker who thinks that the served loss is turned round.
    NegativeCrossEntropy,
    /// Largest other logit minus the label's.
    Margin,
    /// Difference of logits ratio; 3 classes or more.
    Dlr,
    /// The margin, at most 1: for models that answer at random, where answers that are wrong
    /// already should not count further.
    CappedMargin,
    /// Probability of an error, 1 − softmax(z)_y: for models that answer at random, whose mean of
    /// it is close to how often they err.
    ErrorProbability,
    /// A target's logit minus the label's.
    TargetedMargin,
    /// Difference of logits ratio towards a target; 4 classes or more.
    TargetedDlr,
}

impl AttackLoss {
    /// Whether it heads for a target class.
    pub fn targeted(self) -> bool {
        matches!(self, Self::TargetedMargin | Self::TargetedDlr)
    }

    /// The loss itself, or where there are too few classes for it the margin that it normalises.
    #[must_use]
    pub fn for_classes(self, classes: usize) -> Self {
        match self {
            Self::Dlr if classes < 3 => Self::Margin,
            Self::TargetedDlr if classes < 4 => Self::TargetedMargin,
            other => other,
        }
    }

    /// An error if there are too few classes.
    pub(crate) fn check_classes(self, classes: usize) -> Result<()> {
        if self.for_classes(classes) == self {
            return Ok(());
        }
        let least = if self == Self::Dlr {
            "3 classes or more (or the loss `margin`)"
        } else {
            "4 classes or more (or `targeted-margin`)"
        };
        Err(Error::mismatch(
            "difference of logits ratio",
            least,
            classes,
        ))
    }

    /// The loss for examples with these labels and, if it is targeted, targets.
    pub(crate) fn head(self, labels: &[usize], targets: &[usize]) -> Box<dyn Head> {
        match self {
            Self::CrossEntropy => Box::new(CrossEntropy::labels(labels)),
            Self::NegativeCrossEntropy => Box::new(Negative(CrossEntropy::labels(labels))),
            Self::Margin => Box::new(Margin::new(labels)),
            Self::CappedMargin => Box::new(Capped(Margin::new(labels))),
            Self::ErrorProbability => Box::new(ErrorProbability {
                entropy: CrossEntropy::labels(labels),
                labels: labels.to_vec(),
            }),
            Self::Dlr => Box::new(Dlr::new(labels)),
            Self::TargetedMargin => Box::new(Difference::new(labels, targets)),
            Self::TargetedDlr => Box::new(TargetedDlr::new(labels, targets)),
        }
    }
}

/// A loss with its sign changed.
struct Negative<H>(H);

impl<H: Head> Head for Negative<H> {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let (losses, cotangent) = self.0.evaluate(logits, examples);
        (losses.into_iter().map(|l| -l).collect(), cotangent.neg())
    }
}

/// A row of `width` zeros but for these entries, which add up where they meet.
fn row(width: usize, entries: &[(usize, f64)]) -> Vec<f64> {
    let mut out = vec![0.0; width];
    entries.iter().for_each(|&(i, v)| out[i] += v);
    out
}

/// A constant of the precision and shape of the logits, one row an example.
fn directions(logits: &Dual, rows: impl Iterator<Item = Vec<f64>>) -> Dual {
    Tensor::new(logits.shape(), rows.flatten().collect::<Vec<f64>>())
        .cast(logits.precision())
        .into()
}

/// Value and cotangent of (logits · n) / (logits · d + 10⁻¹²) for constant directions n and d.
fn ratio(logits: &Dual, n: &Dual, d: &Dual) -> (Vec<f64>, Dual) {
    let below = logits.mul(d).sum(&[1]).affine(1.0, 1e-12);
    let value = logits.mul(n).sum(&[1]).div(&below);
    (value.value.to_f64(), n.sub(&d.mul(&value)).div(&below))
}

/// Classes by falling logit, the first of equals first.
pub(crate) fn ranked(z: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|&a, &b| z[b].total_cmp(&z[a]));
    order
}

/// min(m, 1) for the margin m.
struct Capped(Margin);

impl Head for Capped {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let (margins, cotangent) = self.0.evaluate(logits, examples);
        let open = margins
            .iter()
            .map(|&m| f64::from(u8::from(m < 1.0)))
            .collect::<Vec<f64>>();
        let open = Tensor::new(&[margins.len(), 1], open).cast(logits.precision());
        (
            margins.into_iter().map(|m| m.min(1.0)).collect(),
            cotangent.mul(&open.into()),
        )
    }
}

/// 1 − p_y; its cotangent is p_y times that of the cross-entropy, p − e_y.
struct ErrorProbability {
    entropy: CrossEntropy,
    labels: Vec<usize>,
}

impl Head for ErrorProbability {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let (_, cotangent) = self.entropy.evaluate(logits, examples.clone());
        let own = directions(
            logits,
            examples.map(|e| row(logits.shape()[1], &[(self.labels[e], 1.0)])),
        );
        let right = cotangent.mul(&own).sum(&[1]).affine(1.0, 1.0);
        (
            right.value.to_f64().into_iter().map(|p| 1.0 - p).collect(),
            cotangent.mul(&right),
        )
    }
}

/// z_t − z_y.
#[derive(Clone, Debug)]
pub struct Difference {
    labels: Vec<usize>,
    targets: Vec<usize>,
}

impl Difference {
    /// One label and one target an example.
    pub fn new(labels: &[usize], targets: &[usize]) -> Self {
        Self {
            labels: labels.to_vec(),
            targets: targets.to_vec(),
        }
    }
}

impl Head for Difference {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let k = logits.shape()[1];
        let n = directions(
            logits,
            examples.map(|e| row(k, &[(self.targets[e], 1.0), (self.labels[e], -1.0)])),
        );
        (logits.mul(&n).sum(&[1]).value.to_f64(), n)
    }
}

/// Difference of logits ratio: in [−1, 1], positive where the example is misclassified. Panics on
/// fewer than 3 classes.
#[derive(Clone, Debug)]
pub struct Dlr {
    labels: Vec<usize>,
}

impl Dlr {
    /// One label an example.
    pub fn new(labels: &[usize]) -> Self {
        Self {
            labels: labels.to_vec(),
        }
    }
}

impl Head for Dlr {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let k = logits.shape()[1];
        let z = logits.value.to_f64();
        let rows = || z.chunks_exact(k).zip(&self.labels[examples.clone()]);
        let n = directions(
            logits,
            rows().map(|(z, &y)| row(k, &[(runner_up(z, y), 1.0), (y, -1.0)])),
        );
        let d = directions(
            logits,
            rows().map(|(z, _)| {
                let order = ranked(z);
                row(k, &[(order[0], 1.0), (order[2], -1.0)])
            }),
        );
        ratio(logits, &n, &d)
    }
}

/// Difference of logits ratio towards a target. Panics on fewer than 4 classes.
#[derive(Clone, Debug)]
pub struct TargetedDlr {
    difference: Difference,
}

impl TargetedDlr {
    /// One label and one target an example.
    pub fn new(labels: &[usize], targets: &[usize]) -> Self {
        Self {
            difference: Difference::new(labels, targets),
        }
    }
}

impl Head for TargetedDlr {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let k = logits.shape()[1];
        let (_, n) = self.difference.evaluate(logits, examples);
        let z = logits.value.to_f64();
        let d = directions(
            logits,
            z.chunks_exact(k).map(|z| {
                let order = ranked(z);
                row(k, &[(order[0], 1.0), (order[2], -0.5), (order[3], -0.5)])
            }),
        );
        ratio(logits, &n, &d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// softmax(ln 3, 0) = (¾, ¼): the error has probability ¼ or ¾, with slope p (1 − p) in both
    /// logits.
    #[test]
    fn probability_of_an_error() {
        let logits: Dual = Tensor::new(&[2, 2], vec![3f64.ln(), 0.0, 3f64.ln(), 0.0]).into();
        let head = AttackLoss::ErrorProbability.head(&[0, 1], &[]);
        let (losses, cotangent) = head.evaluate(&logits, 0..2);
        let close = |a: &[f64], b: &[f64]| {
            assert!(
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12),
                "{a:?} and {b:?}"
            )
        };
        close(&losses, &[0.25, 0.75]);
        close(
            &cotangent.value.to_f64(),
            &[-0.1875, 0.1875, 0.1875, -0.1875],
        );
    }
}
