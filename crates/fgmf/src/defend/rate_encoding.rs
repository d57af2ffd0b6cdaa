//! Rate encoding of the images at each query (Sharmin et al. 2020, the discrete input of spiking
//! networks, on the input alone). Planted: what the network sees is a count of random spikes, so
//! that small changes drown in the draw, and a lucky draw counts as robustness.
//!
//! x' = (1/T) Σₜ bₜ, bₜ = 1 with probability x and else 0, drawn anew for each of T steps, pixel,
//! query and example; images in `[0, 1]`, `[c, h, w]`. x' has T + 1 levels, mean x and variance
//! x (1 − x) / T.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 16 | T in 1 to 1,024 |
//!
//! Goes around it: the mean gradient of many draws, [`super::Averaged`], each draw taken for its
//! mean, whose derivative is 1.
//!
//! Differences from the paper: (1) the network behind sees the rate, not T frames of spikes, and
//! has no spiking neurons; (2) it is not trained on encoded images. Reference: `sharmin2020`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::error::{Error, Result};
use crate::model::transform::Transform;
use crate::rng::Stream;
use crate::settings::read;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "rate-encoding",
    line: "Turns each pixel into a count of random spikes at each query.",
    revision: 1,
    reference: "sharmin2020",
    example: r#"{"steps": 8}"#,
    build: |settings| {
        Ok(Defence::Served(Box::new(
            read::<RateEncodingParams>(settings)?.check()?,
        )))
    },
}];

/// Settings of [`RateEncoding`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateEncodingParams {
    /// Draws of a pixel.
    pub steps: u32,
}

impl Default for RateEncodingParams {
    fn default() -> Self {
        Self { steps: 16 }
    }
}

impl RateEncodingParams {
    /// The checked transform.
    pub fn check(self) -> Result<RateEncoding> {
        if !(1..=1024).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 1,024", self.steps));
        }
        Ok(RateEncoding { params: self })
    }
}

/// Checked rate encoding.
#[derive(Clone, Debug)]
pub struct RateEncoding {
    params: RateEncodingParams,
}

impl Transform for RateEncoding {
    fn id(&self) -> &'static str {
        "rate-encoding"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn apply(&self, image: &[f32], _: [usize; 3], rng: &mut Stream) -> Vec<f32> {
        let steps = self.params.steps;
        let mut rate = |v: &f32| {
            let spikes = (0..steps).filter(|_| rng.unit() < *v).count();
            spikes as f32 / steps as f32
        };
        image.iter().map(&mut rate).collect()
    }

    fn pull_back(&self, cotangent: &[f32], _: [usize; 3], _: &mut Stream) -> Vec<f32> {
        cotangent.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    /// Black and white stay; levels are whole counts; over 4,000 draws mean and variance are x and
    /// x (1 − x) / T within five standard errors.
    #[test]
    fn counts_have_the_mean_and_variance_of_their_pixel() {
        let (image, draws) = ([0.0f32, 0.1, 0.5, 0.83, 1.0], 4000);
        for steps in [1, 7, 16] {
            let transform = RateEncodingParams { steps }.check().unwrap();
            let mut sums = [[0.0f64; 2]; 5];
            for draw in 0..draws {
                let mut rng = Stream::new(3, Purpose::Evaluation, draw, 0);
                let seen = transform.apply(&image, [1, 1, 5], &mut rng);
                for (sum, v) in sums.iter_mut().zip(seen) {
                    let count = f64::from(v) * f64::from(steps);
                    assert!((count - count.round()).abs() < 1e-5, "{count}");
                    sum[0] += f64::from(v);
                    sum[1] += f64::from(v).powi(2);
                }
            }
            for (x, [sum, square]) in image.iter().zip(sums) {
                let (x, n) = (f64::from(*x), draws as f64);
                let variance = x * (1.0 - x) / f64::from(steps);
                let mean = sum / n;
                assert!((mean - x).abs() <= 5.0 * (variance / n).sqrt() + 1e-9);
                let found = square / n - mean * mean;
                // The fourth moment of a share is at most a quarter, so that this is wide enough.
                assert!((found - variance).abs() <= 5.0 * (0.25 / n).sqrt() * variance.sqrt());
            }
        }
    }

    #[test]
    fn bad_settings_are_refused() {
        for steps in [0, 1025] {
            assert!(RateEncodingParams { steps }.check().is_err());
        }
    }
}
