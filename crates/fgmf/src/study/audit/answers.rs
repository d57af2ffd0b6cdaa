//! What the model answers: on clean images, on changed ones, and on what is no image.

use crate::data::batch::batch_of;
use crate::error::Result;
use crate::model::answer::{misclassified, predictions, undecided};
use crate::study::audit::corruption::Corruption;
use crate::study::audit::job::{AuditJob, ScoredNet};
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// Images in a model call.
const CALL: usize = 256;

/// Images that are asked about with a value that is no number.
const BROKEN: usize = 16;

/// The answers to all images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) predicted: Vec<usize>,
    pub(crate) right: Vec<bool>,
    /// Probability of the class named, 0 to 1.
    pub(crate) confidence: Vec<f64>,
}

/// The answers to all images, changed or as they are.
pub(crate) fn answers(
    job: &AuditJob<'_>,
    scored: &ScoredNet,
    change: Option<&Corruption>,
    watch: &mut dyn FnMut(usize),
) -> Result<Answered> {
    let mut out = Answered {
        predicted: Vec::new(),
        right: Vec::new(),
        confidence: Vec::new(),
    };
    let shape = job.data.shape();
    let size = shape.iter().product::<usize>();
    let all: Vec<usize> = (0..job.data.len()).collect();
    for rows in all.chunks(CALL.min(job.cap.max(1))) {
        let mut batch = batch_of(job.data, rows)?;
        if let Some(change) = change {
            let mut values = Vec::with_capacity(batch.x.len());
            for (image, &i) in batch.x.to_f32().chunks_exact(size).zip(rows) {
                values.extend(change.apply(image, shape, (job.policy.seed, i as u64))?);
            }
            batch.x = Tensor::new::<f32>(batch.x.shape(), values);
        }
        let logits = job.net.logits(&batch.x)?;
        let wrong = misclassified(&logits, &batch.labels);
        out.predicted.extend(predictions(&logits));
        out.right.extend(wrong.into_iter().map(|w| !w));
        let scores = scored.session(job.net).logits(&batch.x)?.to_f64();
        let confidence = scores.chunks_exact(job.net.classes());
        out.confidence
            .extend(confidence.map(|z| scored.confidence(z)));
        watch(out.right.len());
    }
    Ok(out)
}

/// Whether a caller can notice that an image held a value that is no number: the model refuses it,
/// or names no class. One answer an image and value, for NaN and infinity in its middle.
pub(crate) fn non_finite(job: &AuditJob<'_>) -> Result<Vec<bool>> {
    let rows: Vec<usize> = (0..job.data.len().min(BROKEN)).collect();
    let [c, h, w] = job.data.shape();
    let middle = (h / 2) * w + w / 2;
    let mut noticed = Vec::new();
    for value in [f32::NAN, f32::INFINITY] {
        for &row in &rows {
            let mut image = job.data.image(row)?;
            image[middle] = value;
            let answer = job.net.logits(&Tensor::new::<f32>(&[1, c, h, w], image));
            noticed.push(answer.map_or(true, |logits| undecided(&logits) == [true]));
        }
    }
    Ok(noticed)
}
