//! Layer-wise relevance propagation (Bach et al. 2015): the target logit is handed back layer by
//! layer, R at the image is the map.
//!
//! `lrp-epsilon`: R_i = Σ_j z_ij / (y_j + ε sign y_j) R_j with z_ij = w_ij x_i and y_j the layer's
//! output. `lrp-alpha-beta`: R_i = Σ_j (α z_ij⁺ / z_j⁺ − β z_ij⁻ / z_j⁻) R_j with sums z_j± over
//! inputs and bias, β = α − 1. Between layers: rectifiers and other elementwise functions pass
//! relevance on; maximum pooling gives it to the largest; a product of two values that depend on
//! the image gives half to each; attention weights, divisors and the deviation of a layer
//! normalisation are constants (Ali et al. 2022). Biases keep their share, so Σ R is the logit only
//! without them. Channels are summed.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `epsilon` (`lrp-epsilon`) | 10⁻⁶ | 10⁻¹² to 10⁶, in units of a layer's outputs |
//! | `alpha` (`lrp-alpha-beta`) | 2 | 1 to 10 |
//!
//! Values in logits, signed. Cost: one forward and one backward pass an image; the αβ rule runs
//! each layer with weights nine times.
//!
//! Differences from the paper: (1) one rule for all layers, no composite; (2) batch normalisation
//! right behind a layer is part of it under αβ and a layer of its own under ε, as in Captum; a
//! normalisation of the image in front is a layer, too, so that black pixels get nothing; (3) rules
//! for attention. Read with care: with ε → 0 the ε rule is gradient times input wherever
//! activations are rectifiers (Ancona et al. 2018).

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{four, input_gradients, plain};
use crate::explain::parts::map;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::Tensor;
use fgmf_net::rule::{LinearRule, relevance};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[
    ExplainerMethod {
        id: "lrp-epsilon",
        line: "Hands the score back layer by layer, in proportion to what each input gave.",
        revision: 1,
        reference: "bach2015",
        example: r#"{"epsilon": 0.001}"#,
        build: |settings, _| Ok(Box::new(read::<LrpEpsilonParams>(settings)?.check()?)),
    },
    ExplainerMethod {
        id: "lrp-alpha-beta",
        line: "Hands the score back layer by layer, with what speaks for and against apart.",
        revision: 1,
        reference: "bach2015",
        example: r#"{"alpha": 1.5}"#,
        build: |settings, _| Ok(Box::new(read::<LrpAlphaBetaParams>(settings)?.check()?)),
    },
];

/// Settings of `lrp-epsilon`; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LrpEpsilonParams {
    /// What keeps small outputs from large relevance.
    pub epsilon: f64,
}

impl Default for LrpEpsilonParams {
    fn default() -> Self {
        Self { epsilon: 1e-6 }
    }
}

impl LrpEpsilonParams {
    /// The checked method.
    pub fn check(self) -> Result<Lrp> {
        if !(1e-12..=1e6).contains(&self.epsilon) {
            return Err(Error::parameter("epsilon", "1e-12 to 1e6", self.epsilon));
        }
        Ok(Lrp {
            rule: LinearRule::Epsilon(self.epsilon),
        })
    }
}

/// Settings of `lrp-alpha-beta`; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LrpAlphaBetaParams {
    /// Weight of what speaks for the class; β = α − 1 is the weight of what speaks against it.
    pub alpha: f64,
}

impl Default for LrpAlphaBetaParams {
    fn default() -> Self {
        Self { alpha: 2.0 }
    }
}

impl LrpAlphaBetaParams {
    /// The checked method.
    pub fn check(self) -> Result<Lrp> {
        if !(1.0..=10.0).contains(&self.alpha) {
            return Err(Error::parameter("alpha", "1 to 10", self.alpha));
        }
        Ok(Lrp {
            rule: LinearRule::AlphaBeta {
                alpha: self.alpha,
                beta: self.alpha - 1.0,
            },
        })
    }
}

/// Checked relevance propagation.
#[derive(Clone, Copy, Debug)]
pub struct Lrp {
    rule: LinearRule,
}

impl Explainer for Lrp {
    fn id(&self) -> &'static str {
        match self.rule {
            LinearRule::Epsilon(_) => "lrp-epsilon",
            LinearRule::AlphaBeta { .. } => "lrp-alpha-beta",
        }
    }

    fn parameters(&self) -> serde_json::Value {
        match self.rule {
            LinearRule::Epsilon(epsilon) => serde_json::json!(LrpEpsilonParams { epsilon }),
            LinearRule::AlphaBeta { alpha, .. } => serde_json::json!(LrpAlphaBetaParams { alpha }),
        }
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        _: &Context,
    ) -> Result<Vec<Attribution>> {
        let [_, _, h, w] = four(x);
        let values = x.to_f64();
        let quotients = input_gradients(model, x, targets, &relevance(model.network(), self.rule))?;
        let one = |((c, x), &target): ((Vec<f64>, &[f64]), &usize)| {
            let r: Vec<f64> = c.iter().zip(x).map(|(c, x)| c * x).collect();
            plain(
                self.id(),
                target,
                [h, w],
                &map::channel_sum(&r, h * w),
                true,
            )
        };
        Ok(quotients
            .into_iter()
            .zip(values.chunks_exact(values.len() / targets.len()))
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

    fn run(method: &dyn Explainer, net: &fgmf_net::Session, x: &Tensor) -> Vec<f64> {
        let map = explain(method, &Oracle::new(net), x, &[0], &Context::default())
            .unwrap()
            .swap_remove(0);
        assert!(map.signed && map.method == method.id());
        map.values.values.iter().map(|v| f64::from(*v)).collect()
    }

    /// One layer: ε with z = Σ w x gives w x · z / (z + ε sign z); αβ gives shares of the positive
    /// and the negative terms.
    #[test]
    fn one_layer_by_hand() {
        let w = toy::spread(16, 1);
        let net = toy::linear(&[w.clone(), vec![0.0; 16]], [1, 4, 4]);
        let x = toy::images([1, 1, 4, 4], 2);
        let terms: Vec<f64> = w.iter().zip(x.to_f64()).map(|(w, x)| w * x).collect();
        let z: f64 = terms.iter().sum();
        let damped = run(
            &LrpEpsilonParams { epsilon: 0.5 }.check().unwrap(),
            &net,
            &x,
        );
        assert!(
            damped
                .iter()
                .zip(&terms)
                .all(|(r, t)| (r - t * z / (z + 0.5 * z.signum())).abs() < 1e-6)
        );
        let [up, down] =
            [1.0, -1.0].map(|s: f64| terms.iter().filter(|t| s * **t > 0.0).sum::<f64>());
        let shares = run(
            &LrpAlphaBetaParams { alpha: 2.0 }.check().unwrap(),
            &net,
            &x,
        );
        let expected = |t: f64| {
            if t > 0.0 {
                2.0 * t / up * z
            } else {
                -t / down * z
            }
        };
        assert!(
            shares
                .iter()
                .zip(&terms)
                .all(|(r, t)| (r - expected(*t)).abs() < 1e-5),
            "{shares:?}"
        );
    }

    #[test]
    fn rectified_networks_without_bias_are_complete() {
        let net = toy::conv_dense(
            &toy::spread(54, 3),
            3,
            &[toy::spread(108, 4), toy::spread(108, 5)],
            [2, 6, 6],
        );
        let x = toy::images([1, 2, 6, 6], 6);
        let z = net.logits(&x).unwrap().to_f64()[0];
        for method in [
            LrpEpsilonParams::default().check().unwrap(),
            LrpAlphaBetaParams { alpha: 1.0 }.check().unwrap(),
        ] {
            let sum: f64 = run(&method, &net, &x).iter().sum();
            assert!(
                (sum - z).abs() < 1e-4 * z.abs(),
                "{}: {sum} against {z}",
                method.id()
            );
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        for epsilon in [0.0, -1.0, f64::NAN] {
            assert!(LrpEpsilonParams { epsilon }.check().is_err());
        }
        for alpha in [0.5, 11.0, f64::NAN] {
            assert!(LrpAlphaBetaParams { alpha }.check().is_err());
        }
    }
}
