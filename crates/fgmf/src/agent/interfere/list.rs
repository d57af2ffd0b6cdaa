//! Interferences by name.

use crate::agent::interfere::base::Interference;
use crate::agent::interfere::gradient::{GradientAttack, GradientLoss};
use crate::agent::interfere::noise::ViewNoise;
use crate::error::{Error, Result};
use crate::model::Gradients;

/// Steps of an attack along gradients.
const STEPS: usize = 10;

/// Names of the interferences within a ball.
pub fn interferences() -> [&'static str; 3] {
    ["noise", "pgd-kl", "pgd-margin"]
}

/// An interference with its usual settings: 10 steps, one start.
///
/// # Errors
/// [`Error::Parameter`] for an unknown name; it lists those that are known.
pub fn interference<'m>(
    name: &str,
    model: &'m dyn Gradients,
) -> Result<Box<dyn Interference + 'm>> {
    let along = |loss| GradientAttack::new(model, loss, STEPS, 1);
    match name {
        "noise" => Ok(Box::new(ViewNoise)),
        "pgd-kl" => Ok(Box::new(along(GradientLoss::Divergence)?)),
        "pgd-margin" => Ok(Box::new(along(GradientLoss::Margin)?)),
        _ => Err(Error::parameter("attack", interferences().join(", "), name)),
    }
}
