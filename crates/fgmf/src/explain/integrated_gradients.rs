//! Integrated Gradients (Sundararajan et al. 2017) of the target logit.
//!
//! φ = (x − x₀) · Σₖ wₖ ∇f(x₀ + aₖ (x − x₀)), with (aₖ, wₖ) the Gauss-Legendre rule on `[0, 1]`,
//! which is Captum's default. With enough steps Σφ = f(x) − f(x₀); the relative difference is the
//! completeness gap.
//!
//! Values in logits, signed, channels summed. Cost: `steps` forward and backward passes and one
//! forward pass an image, and one forward pass a call for the baseline.
//!
//! Differences from the paper: (1) Gauss-Legendre instead of a Riemann sum; (2) one constant
//! baseline, 0 (black) by default. Pixels that equal the baseline get nothing, whatever the model
//! makes of them: choose another baseline for dark objects on light ground.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{calls, four, images, plain, target_logits};
use crate::explain::parts::map;
use crate::explain::parts::quadrature::gauss_legendre;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::Tensor;
use fgmf_net::head::Logit;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "integrated-gradients",
    line: "Adds up gradients on the way from a plain image to the image.",
    revision: 1,
    reference: "sundararajan2017",
    example: r#"{"steps": 16, "baseline": 0.5}"#,
    build: |settings, _| {
        Ok(Box::new(
            read::<IntegratedGradientsParams>(settings)?.check()?,
        ))
    },
}];

/// Settings of [`IntegratedGradients`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 32 | 1 to 1,000 |
/// | `baseline` | 0 (black) | finite, in input units |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntegratedGradientsParams {
    /// Points on the path.
    pub steps: usize,
    /// Value of every pixel of the reference image.
    pub baseline: f64,
}

impl Default for IntegratedGradientsParams {
    fn default() -> Self {
        Self {
            steps: 32,
            baseline: 0.0,
        }
    }
}

impl IntegratedGradientsParams {
    /// The checked method.
    pub fn check(self) -> Result<IntegratedGradients> {
        if !(1..=1000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 1000", self.steps));
        }
        if !self.baseline.is_finite() {
            return Err(Error::parameter(
                "baseline",
                "a finite number",
                self.baseline,
            ));
        }
        Ok(IntegratedGradients {
            rule: gauss_legendre(self.steps),
            params: self,
        })
    }
}

/// Checked Integrated Gradients.
#[derive(Clone, Debug)]
pub struct IntegratedGradients {
    params: IntegratedGradientsParams,
    rule: Vec<(f64, f64)>,
}

impl IntegratedGradients {
    /// Mean gradient along the path, one image after another.
    fn mean_gradients(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        cap: usize,
    ) -> Result<Vec<f64>> {
        let (values, steps, x0) = (x.to_f64(), self.rule.len(), self.params.baseline);
        let size = values.len() / targets.len();
        let mut sums = vec![0.0; values.len()];
        for call in calls(targets.len() * steps, cap) {
            let mut path = vec![0.0; call.len() * size];
            path.par_chunks_mut(size)
                .zip(call.clone())
                .for_each(|(point, item)| {
                    let (a, image) = (self.rule[item % steps].0, &values[item / steps * size..]);
                    point
                        .iter_mut()
                        .zip(image)
                        .for_each(|(p, v)| *p = x0 + a * (v - x0));
                });
            let classes: Vec<usize> = call.clone().map(|item| targets[item / steps]).collect();
            let gradient = model
                .loss_gradient(&images(x, path), &Logit::new(&classes))?
                .gradient
                .to_f64();
            // An image's gradients in the order of the path.
            sums.par_chunks_mut(size).enumerate().for_each(|(i, sum)| {
                for item in (i * steps).max(call.start)..((i + 1) * steps).min(call.end) {
                    let (weight, g) = (
                        self.rule[item % steps].1,
                        &gradient[(item - call.start) * size..],
                    );
                    sum.iter_mut()
                        .zip(g)
                        .for_each(|(sum, g)| *sum += weight * g);
                }
            });
        }
        Ok(sums)
    }

    /// f(x) − f(x₀), one an image.
    fn differences(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        cap: usize,
    ) -> Result<Vec<f64>> {
        let baseline = model
            .logits(&Tensor::full(
                x.rows(0, 1).shape(),
                self.params.baseline,
                x.precision(),
            ))?
            .to_f64();
        let logits = target_logits(model, x, targets, cap)?;
        Ok(targets
            .iter()
            .zip(logits)
            .map(|(&y, z)| z - baseline[y])
            .collect())
    }
}

impl Explainer for IntegratedGradients {
    fn id(&self) -> &'static str {
        "integrated-gradients"
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
        let [_, _, h, w] = four(x);
        let slopes = self.mean_gradients(model, x, targets, context.cap)?;
        let differences = self.differences(model, x, targets, context.cap)?;
        let values = x.to_f64();
        let size = values.len() / targets.len();
        let one = |i: usize| {
            let terms = values[i * size..][..size]
                .iter()
                .zip(&slopes[i * size..])
                .map(|(v, g)| (v - self.params.baseline) * g);
            let map = map::channel_sum(&terms.collect::<Vec<f64>>(), h * w);
            // A logit that does not change leaves nothing to be relative to.
            let gap =
                (map.iter().sum::<f64>() - differences[i]).abs() / differences[i].abs().max(1e-6);
            Attribution {
                completeness_gap: Some(gap),
                ..plain(self.id(), targets[i], [h, w], &map, true)
            }
        };
        Ok((0..targets.len()).map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    fn run(net: &fgmf_net::Session, x: &Tensor, steps: usize, baseline: f64) -> Attribution {
        let method = IntegratedGradientsParams { steps, baseline }
            .check()
            .unwrap();
        explain(&method, &Oracle::new(net), x, &[0], &Context::default())
            .unwrap()
            .swap_remove(0)
    }

    #[test]
    fn linear_networks_are_explained_exactly() {
        let weights = toy::spread(32, 1);
        let net = toy::linear(&[weights.clone(), vec![0.5; 32]], [2, 4, 4]);
        let x = toy::images([1, 2, 4, 4], 2);
        for (steps, x0) in [(1, 0.0), (5, 0.25)] {
            let map = run(&net, &x, steps, x0);
            for (i, v) in map.values.values.iter().enumerate() {
                let exact: f64 = [i, i + 16]
                    .iter()
                    .map(|&j| weights[j] * (x.to_f64()[j] - x0))
                    .sum();
                assert!((f64::from(*v) - exact).abs() < 1e-6 && map.signed);
            }
            assert!(
                map.completeness_gap.unwrap() < 1e-12,
                "{:?}",
                map.completeness_gap
            );
        }
    }

    /// z = Σ w x³ has slope 3 w x²: two points integrate it exactly, one does not.
    #[test]
    fn two_points_are_exact_on_a_cubic() {
        let weights = toy::spread(16, 3);
        let net = toy::cubic(&weights, [1, 4, 4]);
        let x = toy::images([1, 1, 4, 4], 4);
        let map = run(&net, &x, 2, 0.0);
        for ((v, w), x) in map.values.values.iter().zip(&weights).zip(x.to_f64()) {
            assert!((f64::from(*v) - w * x.powi(3)).abs() < 1e-7);
        }
        assert!(
            map.completeness_gap.unwrap() < 1e-12
                && run(&net, &x, 1, 0.0).completeness_gap.unwrap() > 1e-3
        );
    }

    #[test]
    fn cost_is_as_documented_and_parameters_are_checked() {
        let net = toy::linear(&[vec![1.0; 16], vec![0.0; 16]], [1, 4, 4]);
        let oracle = Oracle::new(&net);
        let method = IntegratedGradientsParams {
            steps: 6,
            baseline: 0.0,
        }
        .check()
        .unwrap();
        explain(
            &method,
            &oracle,
            &toy::images([3, 1, 4, 4], 1),
            &[0, 1, 0],
            &Context::default(),
        )
        .unwrap();
        assert_eq!(
            (oracle.passes().forward, oracle.passes().backward),
            (3 * 7 + 1, 18)
        );
        for bad in [
            IntegratedGradientsParams {
                steps: 0,
                baseline: 0.0,
            },
            IntegratedGradientsParams {
                steps: 1,
                baseline: f64::NAN,
            },
        ] {
            assert!(bad.check().is_err());
        }
        assert!(serde_json::from_str::<IntegratedGradientsParams>(r#"{"step": 3}"#).is_err());
    }
}
