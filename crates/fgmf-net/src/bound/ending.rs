//! What the last values of a bound network are, and losses on the worst logits they leave open.

use crate::dual::Dual;
use crate::graph::head::Head;
use crate::tensor::Tensor;
use std::ops::Range;

/// What the last values of a bound network are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// `[n, 2 k]`: lower ends of the k logits, then upper ends.
    Logits(usize),
    /// `[n, k k]`: lower ends of z_i − z_j at i k + j.
    Differences(usize),
}

impl Ending {
    /// k.
    pub(super) fn classes(self) -> usize {
        match self {
            Self::Logits(k) | Self::Differences(k) => k,
        }
    }

    /// The upper bound of z_j − z_y is the value at the first place, if there is one, less that at
    /// the second.
    fn places(self, label: usize, other: usize) -> (Option<usize>, usize) {
        match self {
            Self::Logits(k) => (Some(k + other), label),
            Self::Differences(k) => (None, label * k + other),
        }
    }

    /// Upper bounds of z_j − z_y, `[n, k]`, for a label y a row; 0 at j = y.
    pub(super) fn worst(self, ends: &Tensor, labels: &[usize]) -> Tensor {
        let (k, values) = (self.classes(), ends.to_f64());
        let width = (values.len() / labels.len().max(1)).max(1);
        let mut worst = Vec::with_capacity(labels.len() * k);
        for (row, &y) in values.chunks_exact(width).zip(labels) {
            worst.extend((0..k).map(|j| match self.places(y, j) {
                _ if j == y => 0.0,
                (Some(above), below) => row[above] - row[below],
                (None, below) => -row[below],
            }));
        }
        Tensor::new(&[labels.len(), k], worst).cast(ends.precision())
    }

    /// The cotangent of the last values, given that of [`Self::worst`].
    fn pull(self, ends: &Tensor, labels: &[usize], cotangent: &Tensor) -> Tensor {
        let k = self.classes();
        let mut pulled = vec![0.0; ends.len()];
        let width = (pulled.len() / labels.len().max(1)).max(1);
        let rows = cotangent.to_f64();
        for ((row, g), &y) in pulled
            .chunks_exact_mut(width)
            .zip(rows.chunks_exact(k))
            .zip(labels)
        {
            for j in (0..k).filter(|&j| j != y) {
                let (above, below) = self.places(y, j);
                row[below] -= g[j];
                if let Some(above) = above {
                    row[above] += g[j];
                }
            }
        }
        Tensor::new(ends.shape(), pulled).cast(ends.precision())
    }
}

/// A loss on the worst logits, as a loss on the last values of a bound network.
pub(super) struct WorstCase<'a> {
    pub(super) ending: Ending,
    pub(super) labels: &'a [usize],
    pub(super) inner: &'a dyn Head,
}

impl Head for WorstCase<'_> {
    fn evaluate(&self, ends: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let labels = &self.labels[examples.clone()];
        let worst = self.ending.worst(&ends.value, labels);
        let (losses, cotangent) = self.inner.evaluate(&worst.into(), examples);
        let pulled = self.ending.pull(&ends.value, labels, &cotangent.value);
        (losses, pulled.into())
    }
}
