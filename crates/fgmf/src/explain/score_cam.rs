//! Score-CAM (Wang et al. 2020): channels weighted by what the model says of the image seen through
//! them, without gradients.
//!
//! At a feature map A `[d, h, w]`: M_d = A_d resampled to the image (bilinear, half-pixel centres)
//! and stretched to `[0, 1]`; s_d = z(x ∘ M_d), z the target logit; w = softmax(s) over channels;
//! map = max(0, Σ_d w_d A_d), resampled and stretched to `[0, 1]`. Tokens `[t, d]` are laid out as
//! a map first, without class, distillation and register tokens.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `layer` | none: chosen by rule | name of a value of the graph, `[n, c, h, w]` or `[n, t, d]` |
//! | `token_grid` | none: by rule | rows and columns of tokens, 1 or more each |
//!
//! Values in `[0, 1]`; a map that is the same everywhere becomes zeros. Cost: 1 + d forward passes
//! and one backward pass (of which the values are used) an image.
//!
//! Differences from the paper: (1) the layer is chosen by rule ([`super::choose_layer`]) unless
//! named; (2) the score of a black image is not subtracted: the softmax does not see it. From
//! `pytorch-grad-cam`: (3) masks are resampled with half-pixel centres, as in the authors' code,
//! not with aligned corners; (4) a channel that is the same everywhere masks everything, without
//! 10⁻⁸ in the divisor.

use crate::error::Result;
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::four;
use crate::explain::parts::layer::layer_of;
use crate::explain::parts::perturbation::Score;
use crate::explain::parts::{cam, map};
use crate::model::access::Gradients;
use crate::model::answer::softmax;
use crate::settings::read;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "score-cam",
    line: "Weights the channels of a late layer by the score of the image seen through them.",
    revision: 1,
    reference: "wang2020",
    example: "{}",
    build: |settings, _| Ok(Box::new(read::<ScoreCamParams>(settings)?.check()?)),
}];

/// Settings of [`ScoreCam`]; the table is at the top of the method's page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreCamParams {
    /// Value of the graph to read.
    pub layer: Option<String>,
    /// Rows and columns of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_grid: Option<[usize; 2]>,
}

impl ScoreCamParams {
    /// The checked method. Whether the layer exists shows when it meets a network.
    pub fn check(self) -> Result<ScoreCam> {
        cam::check_layer(self.layer.as_ref(), self.token_grid)?;
        Ok(ScoreCam { params: self })
    }
}

/// Checked Score-CAM.
#[derive(Clone, Debug)]
pub struct ScoreCam {
    params: ScoreCamParams,
}

impl Explainer for ScoreCam {
    fn id(&self) -> &'static str {
        "score-cam"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>> {
        let p = &self.params;
        let layer = layer_of(model.network(), p.layer.as_deref(), p.token_grid)?;
        let ([_, _, h, w], from) = (four(x), layer.kind.size());
        let positions = from[0] * from[1];
        let readings = cam::read(model, x, targets, &layer, context.cap)?;
        let channels = readings.first().map_or(0, |r| r.values.len() / positions);
        let mask = |image: usize, d: usize, pixels: &mut [f64]| {
            let m = map::min_max(&map::upsample(
                &readings[image].values[d * positions..][..positions],
                from,
                [h, w],
            ));
            pixels
                .iter_mut()
                .enumerate()
                .for_each(|(i, v)| *v *= m[i % (h * w)]);
        };
        let scores = Score::Logit.of_variants(model, x, targets, channels, context.cap, mask)?;
        let one = |(i, scores): (usize, Vec<f64>)| {
            let raw = cam::weighted(&readings[i].values, softmax(&scores).into_iter(), positions);
            cam::stretched(
                self,
                &layer,
                x,
                targets[i],
                &map::upsample(&raw, from, [h, w]),
            )
        };
        Ok(scores.into_iter().enumerate().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    #[test]
    fn weights_are_a_softmax_that_does_not_overflow() {
        let w = softmax(&[1000.0, 1000.0 + 3f64.ln()]);
        assert!((w[0] - 0.25).abs() < 1e-12 && (w[1] - 0.75).abs() < 1e-12);
    }

    /// Channel by channel, image by image, without batches.
    #[test]
    fn matches_the_formula() {
        let (channels, size) = (3, 36);
        let weights = vec![
            toy::spread(channels * size, 2),
            toy::spread(channels * size, 3),
        ];
        let net = toy::conv_dense(
            &toy::spread(channels * 18, 1),
            channels,
            &weights,
            [2, 6, 6],
        );
        let x = toy::images([1, 2, 6, 6], 4);
        let a = net
            .values_at(&x, &[net.find("act").unwrap()])
            .unwrap()
            .swap_remove(0)
            .to_f64();
        let oracle = Oracle::new(&net);
        let method = ScoreCamParams::default().check().unwrap();
        let map = explain(
            &method,
            &oracle,
            &x,
            &[1],
            &Context {
                cap: 2,
                ..Context::default()
            },
        )
        .unwrap()
        .swap_remove(0);
        assert_eq!((oracle.passes().forward, oracle.passes().backward), (4, 1));
        let stretch = |v: &[f64]| {
            let (lo, hi) = v
                .iter()
                .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            v.iter()
                .map(|v| if hi > lo { (v - lo) / (hi - lo) } else { 0.0 })
                .collect::<Vec<f64>>()
        };
        let scores: Vec<f64> = (0..channels)
            .map(|d| {
                let m = stretch(&a[d * size..][..size]);
                let masked: Vec<f64> = x
                    .to_f64()
                    .iter()
                    .enumerate()
                    .map(|(i, v)| v * m[i % size])
                    .collect();
                net.logits(&Tensor::new(&[1, 2, 6, 6], masked))
                    .unwrap()
                    .to_f64()[1]
            })
            .collect();
        let total: f64 = scores.iter().map(|s| s.exp()).sum();
        let raw: Vec<f64> = (0..size)
            .map(|i| {
                (0..channels)
                    .map(|d| scores[d].exp() / total * a[d * size + i])
                    .sum::<f64>()
                    .max(0.0)
            })
            .collect();
        assert!(
            map.values
                .values
                .iter()
                .zip(stretch(&raw))
                .all(|(v, e)| (f64::from(*v) - e).abs() < 1e-6)
        );
    }
}
