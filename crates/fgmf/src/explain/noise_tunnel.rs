//! Noise tunnel: any explainer, averaged over noisy copies of the image. SmoothGrad (Smilkov et al.
//! 2017), its squared form (Hooker et al. 2019) and VarGrad (Adebayo et al. 2018) around the signed
//! gradient.
//!
//! With M_s the inner map at x + N(0, σ²), s = 1 … S: `mean` Σ M_s / S; `square` Σ M_s² / S;
//! `variance` Σ M_s² / S − (Σ M_s / S)².
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `samples` | 25 | 1 to 10,000 |
//! | `sigma` | 0.15 | 0 or more, in input units |
//! | `moment` | `mean` (`smooth-grad`), `square` (`square-grad`), `variance` (`var-grad`) | |
//! | `inner` | `saliency`, signed | id and parameters of any explainer |
//!
//! The mean has the sign and unit of the inner map; the other two are divided by their largest
//! value, in `[0, 1]`. Cost: `samples` times the inner method's. Noise comes from the streams
//! (seed, explanation, sample, index of the image); the inner method gets a seed of its own for
//! each sample. A map is withheld where the inner method withholds more than half of its maps.
//!
//! Differences from the papers: (1) the average is taken of maps `[h, w]`, after the inner method
//! has joined the channels; (2) σ is absolute: 0.15 of images in `[0, 1]` (the paper: 10 to 20% of
//! the range); (3) noisy images are not clipped.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod, Inner, Make};
use crate::explain::parts::ask::{four, images, plain};
use crate::explain::parts::map;
use crate::model::access::Gradients;
use crate::rng::{Purpose, Stream};
use crate::settings::read_over;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[
    ExplainerMethod {
        id: "smooth-grad",
        line: "Averages the maps of noisy copies of the image.",
        revision: 1,
        reference: "smilkov2017",
        example: r#"{"samples": 4, "inner": {"id": "gradient-x-input"}}"#,
        build: |settings, make| tunnel(Moment::Mean, settings, make),
    },
    ExplainerMethod {
        id: "square-grad",
        line: "Averages the squared maps of noisy copies of the image.",
        revision: 1,
        reference: "hooker2019",
        example: r#"{"samples": 4, "sigma": 0.1}"#,
        build: |settings, make| tunnel(Moment::Square, settings, make),
    },
    ExplainerMethod {
        id: "var-grad",
        line: "Takes the variance of the maps of noisy copies of the image.",
        revision: 1,
        reference: "adebayo2018",
        example: r#"{"samples": 4, "sigma": 0.1}"#,
        build: |settings, make| tunnel(Moment::Variance, settings, make),
    },
];

/// What is taken of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Their mean.
    Mean,
    /// The mean of their squares.
    Square,
    /// Their variance (divided by the number of samples).
    Variance,
}

/// Settings of [`NoiseTunnel`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseTunnelParams {
    /// Noisy copies.
    pub samples: usize,
    /// Deviation of the noise.
    pub sigma: f64,
    /// What is taken of their maps.
    pub moment: Moment,
    /// The explainer.
    pub inner: Inner,
}

impl Default for NoiseTunnelParams {
    fn default() -> Self {
        let inner = Inner {
            id: "saliency".into(),
            parameters: serde_json::json!({ "signed": true }),
        };
        Self {
            samples: 25,
            sigma: 0.15,
            moment: Moment::Mean,
            inner,
        }
    }
}

impl NoiseTunnelParams {
    /// The checked wrapper.
    pub fn check(self, make: &Make) -> Result<NoiseTunnel> {
        let inner = make(&self.inner)?;
        self.around(inner)
    }

    /// The checked wrapper around an explainer that exists already. It does not look at `inner`.
    pub fn around(self, inner: Box<dyn Explainer>) -> Result<NoiseTunnel> {
        if !(1..=10_000).contains(&self.samples) {
            return Err(Error::parameter("samples", "1 to 10000", self.samples));
        }
        if !(self.sigma >= 0.0 && self.sigma.is_finite()) {
            return Err(Error::parameter("sigma", "0 or more", self.sigma));
        }
        Ok(NoiseTunnel {
            params: self,
            inner,
        })
    }
}

/// The wrapper that takes `moment` unless the settings name another.
fn tunnel(moment: Moment, settings: serde_json::Value, make: &Make) -> Result<Box<dyn Explainer>> {
    let default = NoiseTunnelParams {
        moment,
        ..NoiseTunnelParams::default()
    };
    Ok(Box::new(read_over(&default, settings)?.check(make)?))
}

/// An explainer behind noise.
pub struct NoiseTunnel {
    params: NoiseTunnelParams,
    inner: Box<dyn Explainer>,
}

impl NoiseTunnel {
    fn noisy(&self, x: &Tensor, sample: u64, seed: u64, names: &[u64]) -> Tensor {
        let mut values = x.to_f64();
        let size = values.len() / x.shape()[0];
        for (image, &name) in values.chunks_exact_mut(size).zip(names) {
            let mut stream = Stream::new(seed, Purpose::Explanation, sample, name);
            image
                .iter_mut()
                .for_each(|v| *v += self.params.sigma * f64::from(stream.normal()));
        }
        images(x, values)
    }

    fn moment(&self, first: f64, second: f64) -> f64 {
        match self.params.moment {
            Moment::Mean => first,
            Moment::Square => second,
            // Rounding may leave less than nothing of maps that are all alike; NaN stays.
            Moment::Variance if second - first * first < 0.0 => 0.0,
            Moment::Variance => second - first * first,
        }
    }
}

impl Explainer for NoiseTunnel {
    fn id(&self) -> &'static str {
        match self.params.moment {
            Moment::Mean => "smooth-grad",
            Moment::Square => "square-grad",
            Moment::Variance => "var-grad",
        }
    }

    fn parameters(&self) -> serde_json::Value {
        let NoiseTunnelParams {
            samples,
            sigma,
            moment,
            ..
        } = &self.params;
        let inner =
            serde_json::json!({ "id": self.inner.id(), "parameters": self.inner.parameters() });
        serde_json::json!({ "samples": samples, "sigma": sigma, "moment": moment, "inner": inner })
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>> {
        let ([_, _, h, w], n, samples) = (four(x), targets.len(), self.params.samples);
        let names = context.names_of(x);
        let (mut first, mut second) = (vec![0.0; n * h * w], vec![0.0; n * h * w]);
        let mut withheld: Vec<(usize, Option<String>)> = vec![(0, None); n];
        let (mut layer, mut signed) = (None, false);
        for sample in 0..samples as u64 {
            let found = self.inner.attribute(
                model,
                &self.noisy(x, sample, context.seed, &names),
                targets,
                &Context {
                    names: Some(&names),
                    ..context.redrawn(sample)
                },
            )?;
            if found.len() != n || found.iter().any(|a| a.values.values.len() != h * w) {
                return Err(Error::mismatch(
                    "noise tunnel",
                    format!("{n} maps of {h}x{w} from {}", self.inner.id()),
                    found.len(),
                ));
            }
            for (i, a) in found.into_iter().enumerate() {
                for (j, v) in a.values.values.iter().map(|&v| f64::from(v)).enumerate() {
                    first[i * h * w + j] += v / samples as f64;
                    second[i * h * w + j] += v * v / samples as f64;
                }
                if let Some(reason) = a.withheld {
                    withheld[i] = (withheld[i].0 + 1, Some(reason));
                }
                (layer, signed) = (a.layer, a.signed);
            }
        }
        let one = |(i, (count, reason)): (usize, (usize, Option<String>))| {
            let at = i * h * w..(i + 1) * h * w;
            let values: Vec<f64> = first[at.clone()]
                .iter()
                .zip(&second[at])
                .map(|(&m, &s)| self.moment(m, s))
                .collect();
            let mean = self.params.moment == Moment::Mean;
            let values = if mean {
                values
            } else {
                map::by_largest(&values)
            };
            Attribution {
                layer: layer.clone(),
                withheld: reason.filter(|_| 2 * count > samples),
                ..plain(self.id(), targets[i], [h, w], &values, mean && signed)
            }
        };
        Ok(withheld.into_iter().enumerate().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::base::image_names;
    use crate::explain::list::make;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    fn run(params: NoiseTunnelParams, net: &fgmf_net::Session, x: &Tensor) -> Attribution {
        explain(
            &params.check(&make).unwrap(),
            &Oracle::new(net),
            x,
            &[0],
            &Context::default(),
        )
        .unwrap()
        .swap_remove(0)
    }

    /// z = w · x: the gradient is w whatever the noise; its square is w² and its variance 0.
    #[test]
    fn linear_gradients_do_not_feel_the_noise() {
        let w = toy::spread(16, 1);
        let net = toy::linear(&[w.clone(), vec![0.0; 16]], [1, 4, 4]);
        let x = toy::images([1, 1, 4, 4], 2);
        let of = |moment| {
            run(
                NoiseTunnelParams {
                    samples: 5,
                    moment,
                    ..NoiseTunnelParams::default()
                },
                &net,
                &x,
            )
        };
        let largest = w.iter().fold(0.0f64, |m, w| m.max(w * w));
        let (mean, square, variance) = (of(Moment::Mean), of(Moment::Square), of(Moment::Variance));
        assert!(
            mean.signed
                && !square.signed
                && (mean.method, square.method, variance.method)
                    == ("smooth-grad", "square-grad", "var-grad")
        );
        for (i, w) in w.iter().enumerate() {
            assert!((f64::from(mean.values.values[i]) - w).abs() < 1e-6);
            assert!((f64::from(square.values.values[i]) - w * w / largest).abs() < 1e-6);
        }
        // Of the variance nothing but rounding is left, which division by the largest value would
        // show; undivided it is 0.
        let tunnel = NoiseTunnelParams {
            moment: Moment::Variance,
            ..NoiseTunnelParams::default()
        }
        .check(&make)
        .unwrap();
        assert!(
            tunnel.moment(0.5, 0.25 - 1e-17).abs() < 1e-16
                && variance
                    .values
                    .values
                    .iter()
                    .all(|v| (0.0..=1.0).contains(v))
        );
    }

    /// z = Σ w x³: the gradient at x + e is 3 w (x + e)², with the very noise of the streams.
    #[test]
    fn moments_match_the_formula_sample_by_sample() {
        let w = toy::spread(16, 1);
        let net = toy::cubic(&w, [1, 4, 4]);
        let x = toy::images([1, 1, 4, 4], 2);
        let params = |moment| NoiseTunnelParams {
            samples: 8,
            sigma: 0.2,
            moment,
            ..NoiseTunnelParams::default()
        };
        let gradients: Vec<Vec<f64>> = (0..8)
            .map(|s| {
                let mut stream = Stream::new(0, Purpose::Explanation, s, image_names(&x)[0]);
                w.iter()
                    .zip(x.to_f64())
                    .map(|(w, x)| 3.0 * w * (x + 0.2 * f64::from(stream.normal())).powi(2))
                    .collect()
            })
            .collect();
        let mean =
            |f: &dyn Fn(f64) -> f64, i: usize| gradients.iter().map(|g| f(g[i])).sum::<f64>() / 8.0;
        let first: Vec<f64> = (0..16).map(|i| mean(&|v| v, i)).collect();
        let variance: Vec<f64> = (0..16)
            .map(|i| mean(&|v| (v - first[i]).powi(2), i))
            .collect();
        let largest = variance.iter().fold(0.0f64, |m, v| m.max(*v));
        let (found, spread) = (
            run(params(Moment::Mean), &net, &x),
            run(params(Moment::Variance), &net, &x),
        );
        for i in 0..16 {
            assert!((f64::from(found.values.values[i]) - first[i]).abs() < 1e-6);
            assert!((f64::from(spread.values.values[i]) - variance[i] / largest).abs() < 1e-5);
        }
    }

    #[test]
    fn no_noise_is_the_inner_method_and_any_method_fits() {
        let net = toy::quadrant([2, 16, 16]);
        let x = toy::images([1, 2, 16, 16], 3);
        for id in ["grad-cam", "gradient-x-input", "pgca"] {
            let inner = Inner {
                id: id.into(),
                parameters: serde_json::json!({}),
            };
            let wrapped = run(
                NoiseTunnelParams {
                    samples: 1,
                    sigma: 0.0,
                    inner,
                    ..NoiseTunnelParams::default()
                },
                &net,
                &x,
            );
            let seed = Stream::new(0, Purpose::Explanation, 0, u64::MAX).below(u64::MAX);
            let method = crate::explain::list::by_id(id).unwrap();
            let bare = explain(
                method.as_ref(),
                &Oracle::new(&net),
                &x,
                &[0],
                &Context {
                    seed,
                    ..Context::default()
                },
            )
            .unwrap()
            .swap_remove(0);
            assert_eq!(
                (
                    wrapped.values,
                    wrapped.layer,
                    wrapped.signed,
                    wrapped.withheld
                ),
                (bare.values, bare.layer, bare.signed, bare.withheld)
            );
        }
        let unknown = Inner {
            id: "tea-leaves".into(),
            parameters: serde_json::json!({}),
        };
        assert!(
            NoiseTunnelParams {
                inner: unknown,
                ..NoiseTunnelParams::default()
            }
            .check(&make)
            .is_err()
        );
        assert!(
            NoiseTunnelParams {
                samples: 0,
                ..NoiseTunnelParams::default()
            }
            .check(&make)
            .is_err()
        );
        assert!(
            NoiseTunnelParams {
                sigma: f64::NAN,
                ..NoiseTunnelParams::default()
            }
            .check(&make)
            .is_err()
        );
    }
}
