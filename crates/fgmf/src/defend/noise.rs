//! Additive noise on the images at each query (Liu et al. 2018, on the input alone). Planted: an
//! attacker's gradient belongs to a noise that is gone at the next query, and a lucky draw counts
//! as robustness.
//!
//! x' = x + σ u, u standard normal, drawn anew for each query and example; `[c, h, w]` each.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `deviation` | 0.1 | σ in [0, 1], in pixel units |
//!
//! Goes around it: the mean gradient of many draws, [`super::Averaged`].
//!
//! Differences from the paper: (1) noise on the image only, not before each convolution, and on a
//! network that was not trained with it. Reference: `liu2018`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::error::{Error, Result};
use crate::model::transform::Transform;
use crate::rng::Stream;
use crate::settings::read;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "additive-noise",
    line: "Adds noise to the image at each query.",
    revision: 1,
    reference: "liu2018",
    example: r#"{"deviation": 0.05}"#,
    build: |settings| {
        Ok(Defence::Served(Box::new(
            read::<AdditiveNoiseParams>(settings)?.check()?,
        )))
    },
}];

/// Settings of [`AdditiveNoise`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdditiveNoiseParams {
    /// Standard deviation, in pixel units.
    pub deviation: f64,
}

impl Default for AdditiveNoiseParams {
    fn default() -> Self {
        Self { deviation: 0.1 }
    }
}

impl AdditiveNoiseParams {
    /// The checked transform.
    pub fn check(self) -> Result<AdditiveNoise> {
        if !(0.0..=1.0).contains(&self.deviation) {
            return Err(Error::parameter("deviation", "0 to 1", self.deviation));
        }
        Ok(AdditiveNoise { params: self })
    }
}

/// Checked additive noise.
#[derive(Clone, Debug)]
pub struct AdditiveNoise {
    params: AdditiveNoiseParams,
}

impl Transform for AdditiveNoise {
    fn id(&self) -> &'static str {
        "additive-noise"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn apply(&self, image: &[f32], _: [usize; 3], rng: &mut Stream) -> Vec<f32> {
        let sigma = self.params.deviation as f32;
        image.iter().map(|v| v + sigma * rng.normal()).collect()
    }

    fn pull_back(&self, cotangent: &[f32], _: [usize; 3], _: &mut Stream) -> Vec<f32> {
        cotangent.to_vec()
    }
}
