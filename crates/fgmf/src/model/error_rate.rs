//! How often a model errs at a point.

use crate::error::Result;
use crate::model::access::Scores;
use crate::model::answer::misclassified;
use fgmf_net::Tensor;

/// Answers that judge a point of a model that answers at random. One answer would be luck.
const ANSWERS: usize = 10;

/// Share of answers that are wrong, one an image, in `[0, 1]`. A model that draws nothing is asked
/// once, one that answers at random 10 times.
pub fn error_rate(model: &dyn Scores, x: &Tensor, labels: &[usize]) -> Result<Vec<f64>> {
    let answers = if model.draws() { ANSWERS } else { 1 };
    let mut wrong = vec![0usize; labels.len()];
    for _ in 0..answers {
        for (count, w) in wrong
            .iter_mut()
            .zip(misclassified(&model.logits(x)?, labels))
        {
            *count += usize::from(w);
        }
    }
    Ok(wrong
        .into_iter()
        .map(|count| count as f64 / answers as f64)
        .collect())
}

/// Whether a model that errs at this rate is broken there: more often wrong than right.
pub fn breaks(rate: f64) -> bool {
    rate > 0.5
}
