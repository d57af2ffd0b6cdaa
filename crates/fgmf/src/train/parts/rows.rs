//! Steps on several rows for each example: how rows are put together.

use fgmf_net::{Dual, ParameterGradients, Tensor};

/// Rows of an example stand together: the first of each array, then the second of each, and so on.
/// `shape` is that of one array, `[n, c, h, w]`.
pub(crate) fn interleaved(arrays: &[&[f32]], shape: &[usize]) -> Tensor {
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
