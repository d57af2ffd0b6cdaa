//! What logits say: the class named, and whether that is an error. One definition for clean and
//! attacked images.

use fgmf_net::Tensor;

/// Whether each row of logits names no class: its largest values are equal, or one is not finite.
pub fn undecided(logits: &Tensor) -> Vec<bool> {
    let k = logits.shape()[1];
    let none = |z: &[f32]| {
        let top = z[argmax(z)];
        let bad = z.iter().any(|v| !v.is_finite());
        bad || z.iter().filter(|v| **v >= top).count() > 1
    };
    logits.to_f32().chunks_exact(k).map(none).collect()
}

/// Whether each row of logits puts some class other than the label at least as high as it. A row
/// with a value that is no number counts as misclassified, and so does one whose largest values are
/// equal. What is not misclassified is right, clean and attacked.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One definition of right for clean and attacked images.
    #[test]
    fn equal_or_missing_scores_are_no_answer() {
        let nan = f32::NAN;
        let rows: [(&[f32; 3], bool, bool); 6] = [
            (&[2.0, 1.0, 0.0], false, false),
            (&[1.0, 2.0, 0.0], true, false),
            (&[1.0, 1.0, 0.0], true, true),
            (&[0.0, 0.0, 0.0], true, true),
            (&[2.0, nan, 0.0], true, true),
            (&[2.0, 1.0, f32::NEG_INFINITY], false, true),
        ];
        for (z, wrong, none) in rows {
            let logits = Tensor::new(&[1, 3], z.to_vec());
            assert_eq!(misclassified(&logits, &[0]), [wrong], "{z:?}");
            assert_eq!(undecided(&logits), [none], "{z:?}");
        }
    }
}
