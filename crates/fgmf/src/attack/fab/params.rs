//! Settings of FAB; what they do is written in `method.rs`.

use serde::{Deserialize, Serialize};

/// Settings of [`Fab`](crate::attack::Fab).
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 100 | 1 to 100,000 |
/// | `restarts` | 1 | 1 to 10,000; the first starts at the image, others at random within eps / 2 |
/// | `targets` | 9 | 1 to 10,000, or none (untargeted); at most all other classes |
/// | `alpha_max` | 0.1 | 0 to 1 |
/// | `eta` | 1.05 | 1 to 2 |
/// | `beta` | 0.9 | above 0, below 1 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FabParams {
    /// Steps of each search.
    pub steps: usize,
    /// Searches for each target.
    pub restarts: usize,
    /// Target classes; none for the untargeted form.
    pub targets: Option<usize>,
    /// Largest weight of the image's own projection.
    pub alpha_max: f64,
    /// Overshoot.
    pub eta: f64,
    /// Share of the way from the image at which a search goes on after an adversarial point.
    pub beta: f64,
}

impl Default for FabParams {
    fn default() -> Self {
        Self {
            steps: 100,
            restarts: 1,
            targets: Some(9),
            alpha_max: 0.1,
            eta: 1.05,
            beta: 0.9,
        }
    }
}
