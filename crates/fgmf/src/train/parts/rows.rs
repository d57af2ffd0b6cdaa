//! Steps on several rows for each example: how rows are put together, and a head that
//! weighs them.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::train::base::{StepContext, step_on};
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::{Dual, ParameterGradients, Session, Tensor};
use std::ops::Range;

/// Rows of an example stand together: the first of each array, then the second of each, and so on.
/// `shape` is that of one array, `[n, c, h, w]`.
fn interleaved(arrays: &[&[f32]], shape: &[usize]) -> Tensor {
    let n = shape[0];
    let size = arrays[0].len() / n.max(1);
    let mut rows = Vec::with_capacity(arrays.len() * arrays[0].len());
    for i in 0..n {
        for array in arrays {
            rows.extend_from_slice(&array[i * size..(i + 1) * size]);
        }
    }
    let mut shape = shape.to_vec();
    shape[0] = n * arrays.len();
    Tensor::new(&shape, rows)
}

/// A step on the rows of `arrays`, put together by [`interleaved`], with the logits of the row
/// `answer` of each group.
pub(crate) fn step_on_rows(
    net: &Session,
    arrays: &[&[f32]],
    head: &dyn Head,
    answer: usize,
    batch: &Batch,
    context: &StepContext<'_>,
) -> Result<ParameterGradients> {
    let (group, rows) = (arrays.len(), interleaved(arrays, batch.x.shape()));
    let run = step_on(net, &rows, head, batch, group, context)?;
    Ok(answer_of(run, group, answer))
}

/// Keeps the logits of one row of each group, which are those that count as the example's answer.
pub(crate) fn answer_of(
    mut run: ParameterGradients,
    group: usize,
    at: usize,
) -> ParameterGradients {
    let rows: Vec<usize> = (at..run.losses.len()).step_by(group).collect();
    run.logits = run.logits.select(0, &rows);
    run
}

/// Mean of the losses at one row of each group.
pub(crate) fn mean_at(losses: &[f64], group: usize, at: usize) -> f64 {
    let n = losses.len() / group.max(1);
    losses.iter().skip(at).step_by(group).sum::<f64>() / n.max(1) as f64
}

/// Cotangents from rows of values, at the precision of the logits.
pub(crate) fn cotangent(rows: Vec<f64>, logits: &Dual) -> Dual {
    Tensor::new(logits.shape(), rows)
        .cast(logits.precision())
        .into()
}

/// Cross-entropies of the rows of a group, with weights that may depend on them:
/// `weigh(example, losses)` gives one weight a row, the derivative of the objective in that loss.
pub(crate) struct Weighed<'a, F> {
    pub(crate) labels: &'a [usize],
    pub(crate) group: usize,
    pub(crate) weigh: F,
}

impl<F: Fn(usize, &[f64]) -> Vec<f64> + Sync> Head for Weighed<'_, F> {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let first = examples.start / self.group;
        let labels: Vec<usize> = examples.map(|row| self.labels[row / self.group]).collect();
        let (losses, slope) = CrossEntropy::labels(&labels).evaluate(logits, 0..labels.len());
        // The mean over rows counts each row of a group as one of so many.
        let share = self.group as f64;
        let weights: Vec<f64> = losses
            .chunks_exact(self.group)
            .enumerate()
            .flat_map(|(i, group)| (self.weigh)(first + i, group))
            .map(|w| share * w)
            .collect();
        let weights = Tensor::new(&[weights.len(), 1], weights).cast(logits.precision());
        (losses, slope.mul(&weights.into()))
    }

    fn group(&self) -> usize {
        self.group
    }
}
