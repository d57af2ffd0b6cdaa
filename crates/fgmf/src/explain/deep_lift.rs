//! DeepLIFT with the rescale rule (Shrikumar et al. 2017): contributions to the difference from a
//! reference image.
//!
//! With Δv = v(x) − v(reference), each node hands back multipliers so that Σ m_in Δin = Σ m_out
//! Δout: Δy / Δx at an elementwise function, the derivative at whatever is linear. map = Σ over
//! channels of m Δx, and Σ map = z(x) − z(reference), the difference of the target logits; the
//! completeness gap is what rounding leaves of that.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `baseline` | 0 (black) | finite, in input units: the reference is an image of this value |
//!
//! Values in logits, signed. Cost: one forward and one backward pass an image, and one of each a
//! call for the reference.
//!
//! Differences from the paper: (1) rules for products of two values that depend on the image
//! (attention, masks, gates), for division, softmax and layer normalisation, which the paper does
//! not have; all keep the sum exactly ([`fgmf_net::rule::Rescaling`]). Captum passes these by
//! derivative, which does not. (2) Maximum pooling keeps the sum, also where windows overlap;
//! Captum keeps one share of those, and loses the sum behind a rectifier, as its own convergence
//! delta shows. (3) Where Δx is below 10⁻³ of x (10⁻⁵ in double precision), the derivative half-way
//! stands in for the quotient of rounded differences; the paper takes the derivative at x below
//! 10⁻⁷, Captum below 10⁻¹⁰. (4) No rule of reveal-cancel.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::four;
use crate::explain::parts::contribution::{attribution, contributions};
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "deep-lift",
    line: "Hands the difference from a reference image back layer by layer.",
    revision: 1,
    reference: "shrikumar2017",
    example: r#"{"baseline": 0.5}"#,
    build: |settings, _| Ok(Box::new(read::<DeepLiftParams>(settings)?.check()?)),
}];

/// Settings of [`DeepLift`]; the table is at the top of the method's page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepLiftParams {
    /// Value of every pixel of the reference image.
    pub baseline: f64,
}

impl DeepLiftParams {
    /// The checked method. Whether a network has a rule for every node shows when it meets one.
    pub fn check(self) -> Result<DeepLift> {
        if !self.baseline.is_finite() {
            return Err(Error::parameter(
                "baseline",
                "a finite number",
                self.baseline,
            ));
        }
        Ok(DeepLift { params: self })
    }
}

/// Checked DeepLIFT.
#[derive(Clone, Debug)]
pub struct DeepLift {
    params: DeepLiftParams,
}

impl Explainer for DeepLift {
    fn id(&self) -> &'static str {
        "deep-lift"
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
        let [_, c, h, w] = four(x);
        let reference = Tensor::full(&[1, c, h, w], self.params.baseline, x.precision());
        let found = contributions(model, x, targets, &reference)?;
        Ok(found
            .iter()
            .zip(targets)
            .map(|(sum, &target)| attribution(self.id(), target, [h, w], sum))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    /// Index by index: z = Σ_d Σ_p w_dp max(0, (k_d * x)_p), Δ against a constant reference.
    #[test]
    fn matches_the_rescale_rule_on_one_hidden_layer() {
        let (c, side, base) = (3, 6, 0.4);
        let (kernel, weights) = (
            toy::spread(c * 9, 1),
            vec![toy::spread(c * 36, 2), toy::spread(c * 36, 3)],
        );
        let net = toy::conv_dense(&kernel, c, &weights, [1, side, side]);
        let x = toy::images([1, 1, side, side], 4);
        let v = x.to_f64();
        let method = DeepLiftParams { baseline: base }.check().unwrap();
        let oracle = Oracle::new(&net);
        let map = explain(&method, &oracle, &x, &[1], &Context::default())
            .unwrap()
            .swap_remove(0);
        assert_eq!((oracle.passes().forward, oracle.passes().backward), (2, 2));
        let mut expected = vec![0.0; 36];
        for d in 0..c {
            for p in 0..36 {
                let taps: Vec<(usize, f64)> = (0..9)
                    .filter_map(|t| {
                        let (row, column) = (
                            (p / side + t / 3).checked_sub(1)?,
                            (p % side + t % 3).checked_sub(1)?,
                        );
                        (row < side && column < side)
                            .then_some((row * side + column, kernel[d * 9 + t]))
                    })
                    .collect();
                let (y, y0) = taps
                    .iter()
                    .fold((0.0, 0.0), |(y, y0), (q, k)| (y + k * v[*q], y0 + k * base));
                let m = if f64::abs(y - y0) < 1e-12 {
                    f64::from(u8::from(y > 0.0))
                } else {
                    (y.max(0.0) - y0.max(0.0)) / (y - y0)
                };
                taps.iter().for_each(|(q, k)| {
                    expected[*q] += weights[1][d * 36 + p] * m * k * (v[*q] - base)
                });
            }
        }
        assert!(
            map.values
                .values
                .iter()
                .zip(&expected)
                .all(|(v, e)| (f64::from(*v) - e).abs() < 1e-6),
            "{map:?} against {expected:?}"
        );
        assert!(map.completeness_gap.unwrap() < 1e-9 && map.signed);
    }

    #[test]
    fn linear_networks_are_explained_exactly() {
        let w = toy::spread(32, 1);
        let net = toy::linear(&[w.clone(), vec![0.5; 32]], [2, 4, 4]);
        let x = toy::images([1, 2, 4, 4], 2);
        let method = DeepLiftParams { baseline: 0.25 }.check().unwrap();
        let map = explain(&method, &Oracle::new(&net), &x, &[0], &Context::default())
            .unwrap()
            .swap_remove(0);
        for (i, v) in map.values.values.iter().enumerate() {
            let exact: f64 = [i, i + 16]
                .iter()
                .map(|&j| w[j] * (x.to_f64()[j] - 0.25))
                .sum();
            assert!((f64::from(*v) - exact).abs() < 1e-6);
        }
        assert!(DeepLiftParams { baseline: f64::NAN }.check().is_err());
    }
}
