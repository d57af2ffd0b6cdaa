//! Value normalisation: the value head learns returns of mean 0 and deviation 1.

use crate::error::Result;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

/// Least deviation that is divided by.
const LEAST: f64 = 1e-2;
/// Share of the past that an update keeps.
const KEPT: f64 = 0.95;

/// Running mean and deviation of returns. An update moves the value head's weights so that its
/// answers, in the units of returns, stay what they were (PopArt, van Hasselt et al. 2016): w ← w
/// σ/σ′ and b ← (σ b + μ − μ′)/σ′.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReturnScale {
    mean: f64,
    square: f64,
    /// Weight of what was seen so far, in `[0, 1)`; the averages are divided by it.
    seen: f64,
}

impl ReturnScale {
    fn moments(&self) -> (f64, f64) {
        if self.seen <= 0.0 {
            return (0.0, 1.0);
        }
        let mean = self.mean / self.seen;
        let variance = (self.square / self.seen - mean * mean).max(0.0);
        (mean, variance.sqrt().max(LEAST))
    }

    /// A return in the units of the value head.
    pub(crate) fn normalised(&self, value: f64) -> f64 {
        let (mean, deviation) = self.moments();
        (value - mean) / deviation
    }

    /// An answer of the value head in the units of returns.
    pub(crate) fn restored(&self, value: f64) -> f64 {
        let (mean, deviation) = self.moments();
        mean + deviation * value
    }

    /// Takes in a batch of returns, and moves the value head of `net` along.
    pub(crate) fn update(&mut self, returns: &[f64], net: &mut Session) -> Result<()> {
        let n = returns.len().max(1) as f64;
        let mean = returns.iter().sum::<f64>() / n;
        let square = returns.iter().map(|r| r * r).sum::<f64>() / n;
        let (old, old_deviation) = self.moments();
        self.mean = KEPT * self.mean + (1.0 - KEPT) * mean;
        self.square = KEPT * self.square + (1.0 - KEPT) * square;
        self.seen = KEPT * self.seen + (1.0 - KEPT);
        let (new, new_deviation) = self.moments();
        let scale = old_deviation / new_deviation;
        for (name, shift) in [
            ("value.weight", 0.0),
            ("value.bias", (old - new) / new_deviation),
        ] {
            let Some(id) = net.find(name) else { continue };
            let moved = net.parameter(id).map(|w| {
                let values = w.to_f32().into_iter();
                let values = values.map(|v| (f64::from(v) * scale + shift) as f32);
                Tensor::new::<f32>(w.shape(), values.collect())
            });
            if let Some(moved) = moved {
                net.set_parameter(id, moved)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::base::Environment;
    use crate::agent::learn::config::PolicyKind;
    use crate::agent::learn::network::actor_critic;
    use crate::agent::toy::Marks;

    #[test]
    fn returns_become_standard_and_answers_stay() {
        let spec = Marks::new(0).spec().clone();
        let mut net = Session::new(actor_critic(&spec, PolicyKind::Dense, 3).unwrap());
        let x = spec.scaled(&[1, 1, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0]);
        let mut scale = ReturnScale::default();
        let value = |net: &Session, s: &ReturnScale| {
            s.restored(f64::from(net.logits(&x).unwrap().to_f32()[4]))
        };
        let before = value(&net, &scale);
        let returns = [10.0, 14.0, 12.0, 12.0];
        scale.update(&returns, &mut net).unwrap();
        assert!((value(&net, &scale) - before).abs() < 1e-4);
        let made: Vec<f64> = returns.iter().map(|r| scale.normalised(*r)).collect();
        assert!(made.iter().sum::<f64>().abs() < 1e-9);
        assert!((made.iter().map(|v| v * v).sum::<f64>() / 4.0 - 1.0).abs() < 1e-9);
        assert!((scale.restored(made[1]) - 14.0).abs() < 1e-9);
        scale.update(&[0.0, 1.0], &mut net).unwrap();
        assert!((value(&net, &scale) - before).abs() < 1e-4);
    }
}
