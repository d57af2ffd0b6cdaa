//! Guided backpropagation (Springenberg et al. 2015): the gradient with negative cotangents dropped
//! at every rectifier.
//!
//! At y = max(0, x): m_x = max(0, m_y) where x > 0, else 0; derivatives elsewhere. map = Σ over
//! channels of m at the image.
//!
//! No parameters. Values in logits per input unit, signed. Cost: one forward and one backward pass
//! an image.
//!
//! Differences from the paper: (1) activations that resemble a rectifier (LeakyReLU, PReLU, ELU,
//! GELU, softplus, HardSwish, a clip to `[0, …]`) are guided, too: what their derivative passes
//! back is cut at 0. Captum and `pytorch-grad-cam` guide ReLU only. (2) A network without such an
//! activation is refused.
//!
//! Known limits: the map hardly depends on the class or on the weights of late layers (Adebayo et
//! al. 2018). Read it as a picture of edges that the network can see.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{four, input_gradients, plain};
use crate::explain::parts::map;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::Tensor;
use fgmf_net::rule::Guided;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "guided-backprop",
    line: "Follows the gradient back and drops what speaks against a unit.",
    revision: 1,
    reference: "springenberg2015",
    example: "{}",
    build: |settings, _| Ok(Box::new(read::<GuidedBackpropParams>(settings)?.check()?)),
}];

/// Settings of [`GuidedBackprop`]: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuidedBackpropParams {}

impl GuidedBackpropParams {
    /// The method.
    pub fn check(self) -> Result<GuidedBackprop> {
        Ok(GuidedBackprop)
    }
}

/// Guided backpropagation.
#[derive(Clone, Copy, Debug)]
pub struct GuidedBackprop;

impl Explainer for GuidedBackprop {
    fn id(&self) -> &'static str {
        "guided-backprop"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(GuidedBackpropParams {})
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        _: &Context,
    ) -> Result<Vec<Attribution>> {
        let rules = Guided::everywhere(model.network());
        if rules.is_exact() {
            return Err(Error::mismatch(
                "guided backpropagation",
                "a network with ReLU or an activation like it",
                "none",
            ));
        }
        let [_, _, h, w] = four(x);
        let one = |(g, &target): (Vec<f64>, &usize)| {
            plain(
                self.id(),
                target,
                [h, w],
                &map::channel_sum(&g, h * w),
                true,
            )
        };
        Ok(input_gradients(model, x, targets, &rules)?
            .into_iter()
            .zip(targets)
            .map(one)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    /// One convolution, a rectifier, a dense layer: only positive weights of open units come
    /// through, index by index.
    #[test]
    fn matches_the_formula() {
        let (c, side) = (3, 6);
        let (kernel, weights) = (
            toy::spread(c * 9, 1),
            vec![toy::spread(c * 36, 2), toy::spread(c * 36, 3)],
        );
        let net = toy::conv_dense(&kernel, c, &weights, [1, side, side]);
        let x = toy::images([1, 1, side, side], 4);
        let a = net
            .values_at(&x, &[net.find("act").unwrap()])
            .unwrap()
            .swap_remove(0)
            .to_f64();
        let map = explain(
            &GuidedBackprop,
            &Oracle::new(&net),
            &x,
            &[1],
            &Context::default(),
        )
        .unwrap()
        .swap_remove(0)
        .values
        .values;
        let mut expected = vec![0.0; 36];
        for d in 0..c {
            for (i, j) in (0..36).map(|p| (p / side, p % side)) {
                let at = d * 36 + i * side + j;
                let m = if a[at] > 0.0 {
                    weights[1][at].max(0.0)
                } else {
                    0.0
                };
                for (k, l) in (0..9).map(|p| (p / 3, p % 3)) {
                    let (row, column) = (i + k, j + l);
                    if (1..=side).contains(&row) && (1..=side).contains(&column) {
                        expected[(row - 1) * side + column - 1] += m * kernel[d * 9 + k * 3 + l];
                    }
                }
            }
        }
        assert!(
            map.iter()
                .zip(&expected)
                .all(|(v, e)| (f64::from(*v) - e).abs() < 1e-6),
            "{map:?} against {expected:?}"
        );
    }

    #[test]
    fn nothing_to_guide_is_an_error() {
        let net = toy::linear(&[vec![1.0; 16], vec![0.0; 16]], [1, 4, 4]);
        let told = explain(
            &GuidedBackprop,
            &Oracle::new(&net),
            &toy::images([1, 1, 4, 4], 1),
            &[0],
            &Context::default(),
        )
        .unwrap_err();
        assert!(told.to_string().contains("ReLU"));
    }
}
