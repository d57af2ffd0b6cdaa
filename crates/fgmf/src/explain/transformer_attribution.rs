//! Transformer attribution (Chefer et al. 2021): attention weighted by its gradient, carried
//! through the layers.
//!
//! With A_l the attention of layer l and z the target logit: Ā_l = mean over heads of max(0,
//! ∂z/∂A_l ∘ A_l); R_0 = I, R_l = R_{l−1} + Ā_l R_{l−1}. The map is the
//! row of R of the token that the answer is read from, or the mean of several (of all where patches
//! are averaged), laid over the image, resampled
//! (bilinear) and stretched to `[0, 1]`.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `token_grid` | none: by rule | rows and columns of tokens, 1 or more each |
//!
//! Values in `[0, 1]`. Cost: one forward and one backward pass an image.
//!
//! Differences: the rule is that of the authors' ICCV paper for self-attention. Their CVPR paper
//! takes the LRP relevance of A_l in place of A_l; the ICCV paper drops it for the attention
//! itself. (1) The rows, where there is no class token. A network without attention, or whose
//! layers attend to different tokens, is refused.

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
    id: "transformer-attribution",
    line: "Weights the attention of a transformer by its gradient on the way to the answer.",
    revision: 1,
    reference: "chefer2021",
    example: "{}",
    build: |settings, _| {
        Ok(Box::new(
            read::<TransformerAttributionParams>(settings)?.check()?,
        ))
    },
}];

/// Settings of [`TransformerAttribution`]; the table is at the top of the method's page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerAttributionParams {
    /// Rows and columns of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_grid: Option<[usize; 2]>,
}

impl TransformerAttributionParams {
    /// The method. Whether it applies shows when it meets a network.
    pub fn check(self) -> Result<TransformerAttribution> {
        check_grid(self.token_grid)?;
        Ok(TransformerAttribution { params: self })
    }
}

/// Transformer attribution.
#[derive(Clone, Debug)]
pub struct TransformerAttribution {
    params: TransformerAttributionParams,
}

/// R from attention and gradients, `[heads, t, t]` a layer, first layer first.
fn relevance(layers: &[(Vec<f64>, Vec<f64>)], t: usize) -> Vec<f64> {
    let mut r = identity(t);
    for (a, g) in layers {
        let count = a.len() / (t * t);
        let mut mean = vec![0.0; t * t];
        for (i, (a, g)) in a.iter().zip(g).enumerate() {
            // Not `max`, which would turn NaN into 0 unseen.
            mean[i % (t * t)] += if a * g < 0.0 {
                0.0
            } else {
                a * g / count as f64
            };
        }
        let added = product(&mean, &r, t);
        r.iter_mut().zip(added).for_each(|(r, a)| *r += a);
    }
    r
}

impl Explainer for TransformerAttribution {
    fn id(&self) -> &'static str {
        "transformer-attribution"
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
        let attention = Attention::of(
            model.network(),
            "transformer attribution",
            self.params.token_grid,
        )?;
        let ([_, _, h, w], n) = (four(x), targets.len());
        let run = model.features(x, &Logit::new(targets), &attention.layers, &Rules::exact())?;
        let of = |t: &[Tensor]| t.iter().map(|v| attention.heads(v, n)).collect::<Vec<_>>();
        let (values, gradients) = (of(&run.values), of(&run.gradients));
        let one = |(i, &target): (usize, &usize)| {
            let layers: Vec<_> = values
                .iter()
                .zip(&gradients)
                .map(|(a, g)| (a[i].clone(), g[i].clone()))
                .collect();
            let r = relevance(&layers, attention.tokens);
            plain(self.id(), target, [h, w], &attention.map(&r, [h, w]), false)
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

    /// Two layers; the second has two heads, one of which speaks against.
    #[test]
    fn matches_a_hand_value() {
        let first = (vec![0.5, 0.5, 1.0, 0.0], vec![2.0, -2.0, 0.5, 1.0]);
        let second = (
            vec![0.0, 1.0, 0.5, 0.5, 1.0, 0.0, 0.0, 1.0],
            vec![1.0, 2.0, -4.0, 0.0, -1.0, 1.0, 1.0, 3.0],
        );
        // Ā_1 = [[1, 0], [½, 0]], R_1 = [[2, 0], [½, 1]]; Ā_2 = [[0, 1], [0, 1½]].
        let expected = [2.5, 1.0, 1.25, 2.5];
        let r = relevance(&[first, second], 2);
        assert!(
            r.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{r:?}"
        );
        assert!(relevance(&[(vec![f64::NAN], vec![1.0])], 1)[0].is_nan());
    }

    #[test]
    fn a_network_without_attention_is_refused() {
        let net = toy::linear(&[vec![1.0; 64], vec![0.0; 64]], [1, 8, 8]);
        let told = explain(
            &TransformerAttributionParams::default().check().unwrap(),
            &Oracle::new(&net),
            &toy::images([1, 1, 8, 8], 1),
            &[0],
            &Context::default(),
        )
        .unwrap_err();
        assert!(told.to_string().contains("attention"), "{told}");
    }
}
