//! Attention rollout (Abnar & Zuidema 2020), for transformers: how attention carries each patch to
//! the answer.
//!
//! Â_l = ½ (mean over heads of A_l + I), rows summing to one; rollout = Â_L … Â_2 Â_1. The map is
//! the row of the token that the answer is read from, or the mean of several (of all where patches
//! are averaged), laid over
//! the image, resampled (bilinear) and stretched to `[0, 1]`.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `token_grid` | none: by rule | rows and columns of tokens, 1 or more each |
//!
//! Values in `[0, 1]`. Cost: one forward and one backward pass (of which the values
//! are used) an image.
//!
//! Differences from the paper: (1) the rows, where there is no class token. A network without
//! attention, or whose layers attend to different tokens, is refused.
//!
//! Known limits: it does not know the class. Whatever is explained, the map is the same;
//! `transformer-attribution` uses gradients.

use crate::error::Result;
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{four, plain};
use crate::explain::parts::attention::{Attention, identity, product};
use crate::explain::parts::layer::check_grid;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::head::Logit;
use fgmf_net::{Rules, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "attention-rollout",
    line: "Follows the attention of a transformer from the image to the answer.",
    revision: 1,
    reference: "abnar2020",
    example: "{}",
    build: |settings, _| Ok(Box::new(read::<AttentionRolloutParams>(settings)?.check()?)),
}];

/// Settings of [`AttentionRollout`]; the table is at the top of the method's page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionRolloutParams {
    /// Rows and columns of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_grid: Option<[usize; 2]>,
}

impl AttentionRolloutParams {
    /// The method. Whether it applies shows when it meets a network.
    pub fn check(self) -> Result<AttentionRollout> {
        check_grid(self.token_grid)?;
        Ok(AttentionRollout { params: self })
    }
}

/// Attention rollout.
#[derive(Clone, Debug)]
pub struct AttentionRollout {
    params: AttentionRolloutParams,
}

/// The product of the layers' attention, first layer first; `heads` holds every `[t, t]` of a
/// layer.
fn rollout(layers: &[Vec<f64>], t: usize) -> Vec<f64> {
    let mut flow = identity(t);
    for heads in layers {
        let count = heads.len() / (t * t);
        let mut mixed = identity(t);
        heads
            .iter()
            .enumerate()
            .for_each(|(i, a)| mixed[i % (t * t)] += a / count as f64);
        for row in mixed.chunks_exact_mut(t) {
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= total);
        }
        flow = product(&mixed, &flow, t);
    }
    flow
}

impl Explainer for AttentionRollout {
    fn id(&self) -> &'static str {
        "attention-rollout"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        _: &Context,
    ) -> Result<Vec<Attribution>> {
        let attention =
            Attention::of(model.network(), "attention rollout", self.params.token_grid)?;
        let ([_, _, h, w], n) = (four(x), targets.len());
        let run = model.features(x, &Logit::new(targets), &attention.layers, &Rules::exact())?;
        let layers: Vec<Vec<Vec<f64>>> = run.values.iter().map(|v| attention.heads(v, n)).collect();
        let one = |(i, &target): (usize, &usize)| {
            let of_image: Vec<Vec<f64>> = layers.iter().map(|l| l[i].clone()).collect();
            let flow = rollout(&of_image, attention.tokens);
            plain(
                self.id(),
                target,
                [h, w],
                &attention.map(&flow, [h, w]),
                false,
            )
        };
        Ok(targets.iter().enumerate().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    /// Two layers of one and of two heads, by hand.
    #[test]
    fn matches_a_hand_value() {
        let flow = rollout(
            &[
                vec![1.0, 0.0, 1.0, 0.0],
                vec![0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0],
            ],
            2,
        );
        // Layers: [[1, 0], [½, ½]] and ½ ([[½, ½], [0, 1]] + I) = [[¾, ¼], [0, 1]].
        let expected = [0.75 + 0.125, 0.125, 0.5, 0.5];
        assert!(
            flow.iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12),
            "{flow:?}"
        );
    }

    #[test]
    fn a_network_without_attention_is_refused() {
        let net = toy::linear(&[vec![1.0; 64], vec![0.0; 64]], [1, 8, 8]);
        let told = explain(
            &AttentionRolloutParams::default().check().unwrap(),
            &Oracle::new(&net),
            &toy::images([1, 1, 8, 8], 1),
            &[0],
            &Context::default(),
        )
        .unwrap_err();
        assert!(told.to_string().contains("attention"), "{told}");
    }
}
