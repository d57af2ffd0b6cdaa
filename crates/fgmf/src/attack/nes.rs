//! Gradients estimated from scores (natural evolution strategies, Ilyas et al. 2018), followed like
//! PGD's.
//!
//! ĝ = (1 / 2σP) Σₚ (m(x + σ uₚ) − m(x − σ uₚ)) uₚ over P pairs, u standard normal, m the margin
//! max_{i≠y} z_i − z_y; xₜ₊₁ = Π(xₜ + α s(ĝ)) from the image, s the direction of steepest ascent in
//! the threat's norm.
//!
//! Where the model serves maps beside its scores, the map of the point is a prior: the first two
//! pairs are spent along it and along its signs, and what they and the others say is joined with
//! the factors of least squared error (`parts/estimate.rs`; after the prior-guided estimates of
//! `cheng2019`).
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 40 | 1 to 100,000 |
//! | `pairs` | 25 | P, 1 to 100,000 |
//! | `sigma` | 0.01 | σ above 0, as a share of the value range |
//! | `step_size` | none: 2.5 eps / steps | α above 0, in input units |
//!
//! Cost: at most `steps · (2 pairs + 1) + 1` forward passes an example.
//!
//! Differences from the paper: (1) the margin in place of the probability of a target class; (2) a
//! fixed step length, no plateau rule; (3) an example ends at its first adversarial iterate.
//! Reference: `ilyas2018`.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Seed, SuiteName,
};
use crate::attack::parts::estimate::{Estimate, follow};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::rng::Stream;
use crate::settings::read;
use crate::threat::ThreatModel;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "nes",
    line: "Estimates gradients from scores along random directions.",
    revision: 1,
    reference: "ilyas2018",
    example: r#"{"steps": 3, "pairs": 4}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::Black(Box::new(
                read::<NesParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "nes",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`Nes`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NesParams {
    /// Steps.
    pub steps: usize,
    /// Pairs of queries for each estimate.
    pub pairs: usize,
    /// Length of the differences, as a share of the value range.
    pub sigma: f64,
    /// Length of a step in the threat's norm.
    pub step_size: Option<f64>,
}

impl Default for NesParams {
    fn default() -> Self {
        Self {
            steps: 40,
            pairs: 25,
            sigma: 0.01,
            step_size: None,
        }
    }
}

impl NesParams {
    /// The checked attack.
    pub fn check(self) -> Result<Nes> {
        for (name, value) in [("steps", self.steps), ("pairs", self.pairs)] {
            if !(1..=100_000).contains(&value) {
                return Err(Error::parameter(name, "1 to 100000", value));
            }
        }
        for (name, value) in [("sigma", Some(self.sigma)), ("step_size", self.step_size)] {
            if let Some(v) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                return Err(Error::parameter(name, "a finite number above 0", v));
            }
        }
        Ok(Nes { params: self })
    }
}

/// Checked natural evolution strategies.
#[derive(Clone, Debug)]
pub struct Nes {
    params: NesParams,
}

impl BlackBox for Nes {
    fn id(&self) -> &'static str {
        "nes"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        seed: Seed,
    ) -> Result<Candidate> {
        let seed = seed.value();
        let [lo, hi] = threat.bounds();
        let alpha = self
            .params
            .step_size
            .unwrap_or(2.5 * threat.eps() / self.params.steps as f64) as f32;
        let how = Estimate {
            pairs: self.params.pairs,
            sigma: (self.params.sigma * (hi - lo)) as f32,
            draw: Stream::normal,
        };
        follow(
            model,
            batch,
            (self.params.steps, how, seed),
            threat,
            &|_, origin, _, g, x| {
                threat.drop_blocked(x, g);
                threat.steepest(g);
                x.iter_mut()
                    .zip(g.iter())
                    .for_each(|(v, d)| *v += alpha * d);
                threat.project(origin, x);
            },
        )
    }
}
