//! How explainers ask a model: calls of bounded size, gradients and logits of targets, plain maps.

use crate::error::Result;
use crate::explain::base::Attribution;
use crate::model::access::Gradients;
use crate::record::MapRecord;
use fgmf_net::head::Logit;
use fgmf_net::{Rules, Tensor};
use std::ops::Range;

/// `0..count` in pieces of at most `cap`.
pub(crate) fn calls(count: usize, cap: usize) -> impl Iterator<Item = Range<usize>> {
    let cap = cap.max(1);
    (0..count)
        .step_by(cap)
        .map(move |start| start..(start + cap).min(count))
}

/// A batch of images of the shape and precision of `like`, from values in `f64`.
pub(crate) fn images(like: &Tensor, values: Vec<f64>) -> Tensor {
    let [_, c, h, w] = four(like);
    Tensor::new(&[values.len() / (c * h * w).max(1), c, h, w], values).cast(like.precision())
}

/// Sizes of `x [n, c, h, w]`.
pub(crate) fn four(x: &Tensor) -> [usize; 4] {
    let at = |i: usize| x.shape().get(i).copied().unwrap_or(1);
    [at(0), at(1), at(2), at(3)]
}

pub(crate) fn map_record([height, width]: [usize; 2], values: &[f64]) -> MapRecord {
    MapRecord {
        channels: 1,
        height,
        width,
        values: values.iter().map(|&v| v as f32).collect(),
    }
}

/// An attribution without layer, agreement, gap or remark.
pub(crate) fn plain(
    method: &'static str,
    target: usize,
    size: [usize; 2],
    values: &[f64],
    signed: bool,
) -> Attribution {
    Attribution {
        values: map_record(size, values),
        target,
        method,
        signed,
        completeness_gap: None,
        layer: None,
        layer_reason: None,
        agreement: None,
        disagreement: None,
        note: None,
        withheld: None,
    }
}

/// Gradient of the target logit in each image, or what backward rules make of it.
pub(crate) fn input_gradients(
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    rules: &Rules,
) -> Result<Vec<Vec<f64>>> {
    let head = Logit::new(targets);
    let g = if rules.is_exact() {
        model.loss_gradient(x, &head)?.gradient
    } else {
        model
            .features(x, &head, &[model.network().input()], rules)?
            .gradients
            .swap_remove(0)
    };
    Ok(g.to_f64()
        .chunks_exact((g.len() / targets.len()).max(1))
        .map(<[f64]>::to_vec)
        .collect())
}

/// Target logit of each image.
pub(crate) fn target_logits(
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    cap: usize,
) -> Result<Vec<f64>> {
    let k = model.classes();
    let mut out = Vec::with_capacity(targets.len());
    for call in calls(targets.len(), cap) {
        let logits = model.logits(&x.rows(call.start, call.len()))?.to_f64();
        out.extend(
            targets[call]
                .iter()
                .enumerate()
                .map(|(i, &y)| logits[i * k + y]),
        );
    }
    Ok(out)
}
