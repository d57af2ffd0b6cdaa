//! Settings of PGCA; what they do is written in `pgca.rs`.

use super::perturbation::Score;
use super::pgca::Pgca;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`Pgca`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `layer` | none: chosen by rule | name of a value of the graph |
/// | `grid` | none: chosen by rule | rows and columns of cells, each 1 to 256 and at most the image's side |
/// | `score` | logit | logit, log-probability |
/// | `zero` | true | at least one fill in all |
/// | `noise_draws` | 2 | 0 to 100 |
/// | `noise_mean` | 0 | finite, input units |
/// | `noise_sigma` | 0.25 | 0 or more and finite, input units |
/// | `percentiles` | 1, 99 | 0 to 100, increasing |
/// | `kappa` | 1 | 0 to 100 |
/// | `flat` | 10⁻⁶ | 0 to 1, deviation of G relative to its maximum |
/// | `rho_min` | 0.2 | −1 to 1 |
/// | `rho_show` | 0 | −1 to 1 |
/// | `contrast_quantile` | 0.8 | 0 to 1 |
/// | `contrast_width` | 0.25 | 0 to 100, interquartile ranges |
/// | `gamma` | 1 | 0.1 to 10 |
/// | `smoothing` | 0.5 | 0 to 8, sides of a cell |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PgcaParams {
    /// Value of the graph for Grad-CAM++.
    pub layer: Option<String>,
    /// Rows and columns of cells.
    pub grid: Option<[usize; 2]>,
    /// What falls.
    pub score: Score,
    /// Whether zero is one of the fills.
    pub zero: bool,
    /// Noise fills.
    pub noise_draws: usize,
    /// Mean of the noise.
    pub noise_mean: f64,
    /// Deviation of the noise.
    pub noise_sigma: f64,
    /// Percentiles that become 0 and 1.
    pub percentiles: [f64; 2],
    /// Weight of balance between P and G.
    pub kappa: f64,
    /// Relative deviation at and below which G counts as flat.
    pub flat: f64,
    /// Agreement below which P stands alone.
    pub rho_min: f64,
    /// Agreement below which the map is withheld.
    pub rho_show: f64,
    /// Quantile of C at the middle of the sigmoid.
    pub contrast_quantile: f64,
    /// Width of the sigmoid.
    pub contrast_width: f64,
    /// Exponent after the sigmoid.
    pub gamma: f64,
    /// Deviation of the smoothing.
    pub smoothing: f64,
}

impl Default for PgcaParams {
    fn default() -> Self {
        Self {
            layer: None,
            grid: None,
            score: Score::Logit,
            zero: true,
            noise_draws: 2,
            noise_mean: 0.0,
            noise_sigma: 0.25,
            percentiles: [1.0, 99.0],
            kappa: 1.0,
            flat: 1e-6,
            rho_min: 0.2,
            rho_show: 0.0,
            contrast_quantile: 0.8,
            contrast_width: 0.25,
            gamma: 1.0,
            smoothing: 0.5,
        }
    }
}

impl PgcaParams {
    /// The checked method. Whether layer and grid fit shows when it meets a network.
    pub fn check(self) -> Result<Pgca> {
        let ranges = [
            ("noise_mean", self.noise_mean, [f64::MIN, f64::MAX]),
            ("noise_sigma", self.noise_sigma, [0.0, f64::MAX]),
            ("percentiles", self.percentiles[0], [0.0, 100.0]),
            ("percentiles", self.percentiles[1], [0.0, 100.0]),
            ("kappa", self.kappa, [0.0, 100.0]),
            ("flat", self.flat, [0.0, 1.0]),
            ("rho_min", self.rho_min, [-1.0, 1.0]),
            ("rho_show", self.rho_show, [-1.0, 1.0]),
            ("contrast_quantile", self.contrast_quantile, [0.0, 1.0]),
            ("contrast_width", self.contrast_width, [0.0, 100.0]),
            ("gamma", self.gamma, [0.1, 10.0]),
            ("smoothing", self.smoothing, [0.0, 8.0]),
        ];
        for (name, value, [lo, hi]) in ranges {
            // NaN is in no range.
            if !(value >= lo && value <= hi) {
                return Err(Error::parameter(name, format!("{lo} to {hi}"), value));
            }
        }
        if self.percentiles[0] >= self.percentiles[1] {
            return Err(Error::parameter("percentiles", "the smaller first", format!("{:?}", self.percentiles)));
        }
        if self.noise_draws > 100 {
            return Err(Error::parameter("noise_draws", "0 to 100", self.noise_draws));
        }
        if !self.zero && self.noise_draws == 0 {
            return Err(Error::parameter("noise_draws", "1 or more if `zero` is off", 0));
        }
        if self.layer.as_deref() == Some("") {
            return Err(Error::parameter("layer", "a name", "nothing"));
        }
        match self.grid {
            Some(grid) if grid.iter().any(|side| !(1..=256).contains(side)) => {
                Err(Error::parameter("grid", "1 to 256 cells a side", format!("{grid:?}")))
            }
            _ => Ok(Pgca { params: self }),
        }
    }
}
