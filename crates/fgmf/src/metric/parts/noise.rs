//! Uniform noise on images, and the settings of the metrics that ask what it does to maps.

use crate::error::{Error, Result};
use crate::explain::subject::{Draw, Subject};
use crate::metric::parts::checked::check_samples;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// Settings of the metrics that touch images with noise; each has its own defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseParams {
    /// Largest change of a value.
    pub radius: f64,
    /// Draws.
    pub samples: usize,
}

impl NoiseParams {
    /// These settings, if they are in range.
    pub(crate) fn checked(self) -> Result<Self> {
        check_noise(self.radius, self.samples)?;
        Ok(self)
    }
}

pub(crate) fn check_noise(radius: f64, samples: usize) -> Result<()> {
    check_samples(samples)?;
    if radius.is_finite() && radius > 0.0 {
        Ok(())
    } else {
        Err(Error::parameter(
            "radius",
            "a finite number above 0",
            radius,
        ))
    }
}

/// Draw `round` of uniform noise on every image.
pub(crate) fn noisy(subject: &Subject<'_>, radius: f64, round: usize) -> Tensor {
    let size: usize = subject.shape().iter().product();
    subject.changed(|i| {
        let mut rng = subject.stream(Draw::Noise, round, i);
        (0..size)
            .map(|_| radius * f64::from(rng.symmetric()))
            .collect()
    })
}
