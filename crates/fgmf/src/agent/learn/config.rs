//! Settings of a team's training.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Network of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// Dense 64, dense 64.
    Dense,
    /// Two 3x3 convolutions of 32, dense 64.
    #[default]
    Conv,
}

/// Every setting of a run.
///
/// The defaults are those of JaxMARL's IPPO for Overcooked (Rutherford et al. 2023), with value
/// normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamConfig {
    /// Environment by name.
    pub env: String,
    /// Network.
    pub network: PolicyKind,
    /// Steps of the environment in all, rounded up to whole iterations.
    pub steps: u64,
    /// Environments side by side.
    pub lanes: usize,
    /// Steps of each in an iteration.
    pub length: usize,
    /// Passes over an iteration's samples.
    pub epochs: usize,
    /// Parts of these samples, one update each.
    pub minibatches: usize,
    /// Learning rate at the start; it falls to 0 linearly.
    pub learning_rate: f64,
    /// γ in `[0, 1]`.
    pub gamma: f64,
    /// λ in `[0, 1]`.
    pub lambda: f64,
    /// ε of ratios and values, above 0.
    pub clip: f64,
    /// Weight of the entropy.
    pub entropy: f64,
    /// Weight of the value's error.
    pub value: f64,
    /// Largest norm of a gradient.
    pub gradient_clip: f64,
    /// Share of the run over which shaped rewards fall from full weight to 0, in `[0, 1]`.
    pub shaping: f64,
    /// Iterations between evaluations.
    pub evaluate_every: usize,
    /// Episodes of an evaluation.
    pub evaluation_episodes: usize,
    /// Seed of everything.
    pub seed: u64,
}

impl TeamConfig {
    /// The defaults for an environment.
    pub fn new(env: &str) -> Self {
        Self {
            env: env.to_owned(),
            network: PolicyKind::default(),
            steps: 2_000_000,
            lanes: 64,
            length: 256,
            epochs: 4,
            minibatches: 16,
            learning_rate: 5e-4,
            gamma: 0.99,
            lambda: 0.95,
            clip: 0.2,
            entropy: 0.01,
            value: 0.5,
            gradient_clip: 0.5,
            shaping: 0.5,
            evaluate_every: 6,
            evaluation_episodes: 20,
            seed: 0,
        }
    }

    /// Iterations of the run.
    pub fn iterations(&self) -> usize {
        let each = (self.lanes * self.length) as u64;
        self.steps.div_ceil(each.max(1)) as usize
    }

    /// An error for a setting out of its range.
    ///
    /// # Errors
    /// [`Error::Parameter`] that names the setting.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("lanes", self.lanes),
            ("length", self.length),
            ("epochs", self.epochs),
            ("minibatches", self.minibatches),
            ("evaluate_every", self.evaluate_every),
            ("evaluation_episodes", self.evaluation_episodes),
        ] {
            if !(1..=1_000_000).contains(&value) {
                return Err(Error::parameter(name, "1 to 1,000,000", value));
            }
        }
        if !(1..=1_000_000_000_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 10^12", self.steps));
        }
        for (name, value) in [
            ("gamma", self.gamma),
            ("lambda", self.lambda),
            ("shaping", self.shaping),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::parameter(name, "0 to 1", value));
            }
        }
        for (name, value, least) in [
            ("learning_rate", self.learning_rate, f64::MIN_POSITIVE),
            ("clip", self.clip, f64::MIN_POSITIVE),
            ("gradient_clip", self.gradient_clip, f64::MIN_POSITIVE),
            ("entropy", self.entropy, 0.0),
            ("value", self.value, 0.0),
        ] {
            if !(value.is_finite() && value >= least) {
                let expected = if least > 0.0 { "above 0" } else { "0 or more" };
                return Err(Error::parameter(
                    name,
                    format!("a finite number, {expected}"),
                    value,
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        assert!(TeamConfig::new("marks").check().is_ok());
        type Spoil = fn(&mut TeamConfig);
        let broken: [(&str, Spoil); 5] = [
            ("lanes", |c| c.lanes = 0),
            ("gamma", |c| c.gamma = 1.5),
            ("clip", |c| c.clip = 0.0),
            ("learning_rate", |c| c.learning_rate = f64::NAN),
            ("steps", |c| c.steps = 0),
        ];
        for (name, spoil) in broken {
            let mut config = TeamConfig::new("marks");
            spoil(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert_eq!(TeamConfig::new("marks").iterations(), 123);
    }
}
