//! Gradients averaged over small noise (Tramèr et al. 2020), for any attack that follows gradients.
//!
//! ḡ(x) = 1/m Σⱼ ∇L(x + σ uⱼ), u standard normal, in the place of ∇L(x); losses and success are those of the point itself
//! ([`crate::defend::Smoothed`]). Where the loss is full of jumps (rounding, k-winners-take-all) the gradient at a point is that of one
//! of many small pieces, and the mean is that of the surface.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `deviation` | 0.03 | σ in [0, 1], in pixel units |
//! | `samples` | 10 | m, 1 to 10,000 |
//!
//! Cost: `samples` backward passes for each of the attack, and a forward pass more.
//!
//! Differences from the paper: (1) there noise is uniform in a small ball, and its width chosen by hand for each defence.
//! Reference: `tramer2020`.

use super::{Batch, Candidate, WhiteBox};
use crate::defend::{AdditiveNoise, AdditiveNoiseParams, Smoothed};
use crate::error::{Error, Result};
use crate::oracle::Gradients;
use crate::threat::ThreatModel;
use serde::{Deserialize, Serialize};

/// Settings of [`Smooth`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothParams {
    /// Standard deviation of the noise, in pixel units.
    pub deviation: f64,
    /// Gradients averaged.
    pub samples: usize,
}

impl Default for SmoothParams {
    fn default() -> Self {
        Self { deviation: 0.03, samples: 10 }
    }
}

impl SmoothParams {
    /// An attack that follows smoothed gradients.
    pub fn check<A: WhiteBox>(self, attack: A) -> Result<Smooth<A>> {
        if !(1..=10_000).contains(&self.samples) {
            return Err(Error::parameter("samples", "1 to 10000", self.samples));
        }
        let noise = AdditiveNoiseParams { deviation: self.deviation }.check()?;
        Ok(Smooth { attack, noise, params: self })
    }
}

/// An attack that follows smoothed gradients.
#[derive(Clone, Debug)]
pub struct Smooth<A> {
    attack: A,
    noise: AdditiveNoise,
    params: SmoothParams,
}

impl<A: WhiteBox> WhiteBox for Smooth<A> {
    fn id(&self) -> &'static str {
        self.attack.id()
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({ "smoothed": self.params, "attack": self.attack.parameters() })
    }

    fn perturb(&self, model: &dyn Gradients, batch: &Batch, threat: &ThreatModel, seed: u64) -> Result<Candidate> {
        let smoothed = Smoothed::new(model, &self.noise, self.params.samples, seed)?;
        self.attack.perturb(&smoothed, batch, threat, seed)
    }
}
