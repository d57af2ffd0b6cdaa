//! GradientSHAP (Lundberg & Lee 2017; Erion et al. 2021 as expected gradients): Integrated
//! Gradients averaged over reference images.
//!
//! φ = mean over samples s of (x̃ − b_s) ∇z(b_s + a_s (x̃ − b_s)), x̃ = x + N(0, σ²), b_s a
//! reference image drawn at random, a_s in `[0, 1]`. In the limit Σφ = z(x) − mean of z over the
//! references. Channels are summed.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `samples` | 32 | 1 to 10,000 |
//! | `levels` | 0, ½, 1 | 1 to 1,000 finite grey levels of reference images |
//! | `sigma` | 0 | 0 or more, in input units |
//!
//! Values in logits, signed; the completeness gap says how far the samples are from the limit.
//! Cost: `samples` forward and backward passes and one forward pass an image, and one forward pass
//! a reference image a call.
//!
//! Differences from Captum's implementation: (1) a_s = (s + u) / S with u uniform, one in each of S
//! equal parts of the path, instead of S independent draws: the same mean with less variance; (2)
//! the references are gone through in turn, in an order drawn for each image, so that each is used
//! as often as every other; (3) 32 samples instead of 5; (4) grey references where no images are
//! given.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{calls, four, images, plain, target_logits};
use crate::explain::parts::background::Background;
use crate::explain::parts::map;
use crate::model::access::Gradients;
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use fgmf_net::Tensor;
use fgmf_net::head::Logit;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "gradient-shap",
    line: "Averages Integrated Gradients over reference images.",
    revision: 1,
    reference: "erion2021",
    example: r#"{"samples": 8, "levels": [0.0, 1.0]}"#,
    build: |settings, _| Ok(Box::new(read::<GradientShapParams>(settings)?.check()?)),
}];

/// Settings of [`GradientShap`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientShapParams {
    /// Samples.
    pub samples: usize,
    /// Grey levels of the reference images.
    pub levels: Vec<f64>,
    /// Deviation of the noise on the image.
    pub sigma: f64,
}

impl Default for GradientShapParams {
    fn default() -> Self {
        Self {
            samples: 32,
            levels: vec![0.0, 0.5, 1.0],
            sigma: 0.0,
        }
    }
}

impl GradientShapParams {
    /// The checked method.
    pub fn check(self) -> Result<GradientShap> {
        if !(1..=10_000).contains(&self.samples) {
            return Err(Error::parameter("samples", "1 to 10000", self.samples));
        }
        if !(self.sigma >= 0.0 && self.sigma.is_finite()) {
            return Err(Error::parameter("sigma", "0 or more", self.sigma));
        }
        Ok(GradientShap {
            background: Background::levels(&self.levels)?,
            params: self,
        })
    }
}

/// Checked GradientSHAP.
#[derive(Clone, Debug)]
pub struct GradientShap {
    params: GradientShapParams,
    background: Background,
}

/// One sample of an image.
struct ShapDraw {
    reference: usize,
    a: f64,
    noise: Vec<f64>,
}

impl GradientShap {
    /// References given as images `[m, c, h, w]` instead of grey levels.
    pub fn with_background(self, given: Tensor) -> Result<Self> {
        Ok(Self {
            background: Background::images(given)?,
            ..self
        })
    }

    /// Every sample of the image of that name.
    fn draws(&self, references: usize, size: usize, seed: u64, name: u64) -> Vec<ShapDraw> {
        let (mut stream, samples, sigma) = (
            Stream::new(seed, Purpose::Explanation, 0, name),
            self.params.samples,
            self.params.sigma,
        );
        let mut order = stream.permutation(references);
        // Path parts in random order, so that no reference has the same part of the path each time.
        let parts = stream.permutation(samples);
        let one = |s: usize| {
            if s > 0 && s.is_multiple_of(references) {
                order = stream.permutation(references);
            }
            let a = (parts[s] as f64 + f64::from(stream.unit())) / samples as f64;
            let noise = if sigma > 0.0 {
                (0..size)
                    .map(|_| sigma * f64::from(stream.normal()))
                    .collect()
            } else {
                Vec::new()
            };
            ShapDraw {
                reference: order[s % references],
                a,
                noise,
            }
        };
        (0..samples).map(one).collect()
    }
}

impl Explainer for GradientShap {
    fn id(&self) -> &'static str {
        "gradient-shap"
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
        let names = context.names_of(x);
        let ([_, c, h, w], samples) = (four(x), self.params.samples);
        let references = self.background.like(x)?;
        let (values, b, m, size) = (
            x.to_f64(),
            references.to_f64(),
            references.shape()[0],
            c * h * w,
        );
        let mut draws: (usize, Vec<ShapDraw>) = (usize::MAX, Vec::new());
        let mut sums = vec![0.0; values.len()];
        for call in calls(targets.len() * samples, context.cap) {
            let (mut path, mut differences) = (
                Vec::with_capacity(call.len() * size),
                Vec::with_capacity(call.len() * size),
            );
            for item in call.clone() {
                let image = item / samples;
                if draws.0 != image {
                    draws = (image, self.draws(m, size, context.seed, names[image]));
                }
                let ShapDraw {
                    reference,
                    a,
                    noise,
                } = &draws.1[item % samples];
                for i in 0..size {
                    let (x, b) = (
                        values[image * size + i] + noise.get(i).unwrap_or(&0.0),
                        b[reference * size + i],
                    );
                    path.push(b + a * (x - b));
                    differences.push(x - b);
                }
            }
            let classes: Vec<usize> = call.clone().map(|item| targets[item / samples]).collect();
            let g = model
                .loss_gradient(&images(x, path), &Logit::new(&classes))?
                .gradient
                .to_f64();
            for (at, (g, d)) in g.iter().zip(&differences).enumerate() {
                let image = (call.start + at / size) / samples;
                sums[image * size + at % size] += g * d / samples as f64;
            }
        }
        let after = target_logits(model, x, targets, context.cap)?;
        let k = model.classes();
        let mut before = vec![0.0; k];
        for call in calls(m, context.cap) {
            let logits = model
                .logits(&references.rows(call.start, call.len()))?
                .to_f64();
            logits
                .iter()
                .enumerate()
                .for_each(|(i, z)| before[i % k] += z / m as f64);
        }
        let one = |(i, &target): (usize, &usize)| {
            let map = map::channel_sum(&sums[i * size..][..size], h * w);
            let difference = after[i] - before[target];
            let gap = (map.iter().sum::<f64>() - difference).abs() / difference.abs().max(1e-6);
            Attribution {
                completeness_gap: Some(gap),
                ..plain(self.id(), target, [h, w], &map, true)
            }
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

    fn run(params: GradientShapParams, net: &fgmf_net::Session, x: &Tensor) -> Attribution {
        explain(
            &params.check().unwrap(),
            &Oracle::new(net),
            x,
            &[0],
            &Context {
                cap: 7,
                ..Context::default()
            },
        )
        .unwrap()
        .swap_remove(0)
    }

    /// z = w · x: every sample is exact, φ = w (x − mean reference) when each is used as often.
    #[test]
    fn linear_networks_are_explained_exactly() {
        let w = toy::spread(32, 1);
        let net = toy::linear(&[w.clone(), vec![0.5; 32]], [2, 4, 4]);
        let x = toy::images([1, 2, 4, 4], 2);
        let oracle = Oracle::new(&net);
        let method = GradientShapParams {
            samples: 6,
            ..GradientShapParams::default()
        }
        .check()
        .unwrap();
        let map = explain(&method, &oracle, &x, &[0], &Context::default())
            .unwrap()
            .swap_remove(0);
        assert_eq!(
            (oracle.passes().forward, oracle.passes().backward),
            (6 + 1 + 3, 6)
        );
        for (i, v) in map.values.values.iter().enumerate() {
            let exact: f64 = [i, i + 16]
                .iter()
                .map(|&j| w[j] * (x.to_f64()[j] - 0.5))
                .sum();
            assert!((f64::from(*v) - exact).abs() < 1e-6 && map.signed);
        }
        assert!(map.completeness_gap.unwrap() < 1e-12);
        let given = method
            .with_background(toy::images([2, 2, 4, 4], 9))
            .unwrap();
        let map = explain(&given, &Oracle::new(&net), &x, &[0], &Context::default())
            .unwrap()
            .swap_remove(0);
        assert!(map.completeness_gap.unwrap() < 1e-9);
    }

    /// z = Σ w x³ and black: the limit is Integrated Gradients, w x³; a path cut in parts comes
    /// close.
    #[test]
    fn many_samples_approach_integrated_gradients() {
        let w = toy::spread(16, 3);
        let net = toy::cubic(&w, [1, 4, 4]);
        let x = toy::images([1, 1, 4, 4], 4);
        let map = run(
            GradientShapParams {
                samples: 400,
                levels: vec![0.0],
                sigma: 0.0,
            },
            &net,
            &x,
        );
        // In each of S parts the error is at most the rise of 3 w x³ a² over the part, half of that
        // on average: 6 w x³ / S.
        for ((v, w), x) in map.values.values.iter().zip(&w).zip(x.to_f64()) {
            assert!((f64::from(*v) - w * x.powi(3)).abs() < 6.0 * w.abs() / 400.0);
        }
        assert!(map.completeness_gap.unwrap() < 0.02);
        let noisy = run(
            GradientShapParams {
                samples: 400,
                levels: vec![0.0],
                sigma: 0.1,
            },
            &net,
            &x,
        );
        assert_ne!(noisy.values, map.values);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let d = GradientShapParams::default;
        for bad in [
            GradientShapParams { samples: 0, ..d() },
            GradientShapParams {
                levels: vec![],
                ..d()
            },
            GradientShapParams {
                levels: vec![f64::NAN],
                ..d()
            },
            GradientShapParams { sigma: -1.0, ..d() },
        ] {
            assert!(bad.check().is_err());
        }
    }
}
