//! What logits say: the class named, and whether that is an error. One definition for clean and
//! attacked images.

use fgmf_net::Tensor;

/// Whether each row of logits puts some class other than the label at least as high as it. A row
/// that is not finite counts as misclassified.
pub fn misclassified(logits: &Tensor, labels: &[usize]) -> Vec<bool> {
    let k = logits.shape()[1];
    let wrong = |(z, &y): (&[f32], &usize)| {
        z.iter()
            .enumerate()
            .any(|(i, &v)| v.is_nan() || (i != y && v >= z[y]))
    };
    logits
        .to_f32()
        .chunks_exact(k)
        .zip(labels)
        .map(wrong)
        .collect()
}

/// Class with the largest logit, the first of equals, one a row.
pub fn predictions(logits: &Tensor) -> Vec<usize> {
    let k = logits.shape()[1];
    logits.to_f32().chunks_exact(k).map(argmax).collect()
}

/// Position of the largest value, the first of equals.
pub(crate) fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    let larger = |best, i| if values[i] > values[best] { i } else { best };
    (1..values.len()).fold(0, larger)
}

/// Probabilities of one row of logits: exp(z_i − max z) / Σ_j exp(z_j − max z).
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = logits.iter().map(|v| (v - top).exp()).collect();
    let total: f64 = e.iter().sum();
    e.iter().map(|v| v / total).collect()
}
