//! SPSA (Uesato et al. 2018): gradients estimated along random signs, followed by Adam.
//!
//! ĝ = (1 / 2σP) Σₚ (m(x + σ vₚ) − m(x − σ vₚ)) vₚ over P pairs, each value of v is −1 or 1, m the
//! margin max_{i≠y} z_i − z_y; x is moved up ĝ by Adam (β 0.9 and 0.999) and projected, from the
//! image.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 40 | 1 to 100,000 |
//! | `pairs` | 64 | P, 1 to 100,000 |
//! | `sigma` | 0.01 | σ above 0, as a share of the value range |
//! | `rate` | 0.01 | Adam's step length, above 0, as a share of the value range |
//!
//! Cost: at most `steps · (2 pairs + 1) + 1` forward passes an example.
//!
//! Differences from the paper: (1) 128 queries a step instead of up to 8192; (2) an example ends at
//! its first adversarial iterate. Reference: `uesato2018`.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Seed, SuiteName,
};
use crate::attack::parts::estimate::{Estimate, follow};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::settings::read;
use crate::threat::ThreatModel;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "spsa",
    line: "Estimates gradients from scores along random signs and follows them with Adam.",
    revision: 1,
    reference: "uesato2018",
    example: r#"{"steps": 3, "pairs": 4}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::Black(Box::new(
                read::<SpsaParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "spsa",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`Spsa`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpsaParams {
    /// Steps.
    pub steps: usize,
    /// Pairs of queries for each estimate.
    pub pairs: usize,
    /// Length of the differences, as a share of the value range.
    pub sigma: f64,
    /// Step length of Adam, as a share of the value range.
    pub rate: f64,
}

impl Default for SpsaParams {
    fn default() -> Self {
        Self {
            steps: 40,
            pairs: 64,
            sigma: 0.01,
            rate: 0.01,
        }
    }
}

impl SpsaParams {
    /// The checked attack.
    pub fn check(self) -> Result<Spsa> {
        for (name, value) in [("steps", self.steps), ("pairs", self.pairs)] {
            if !(1..=100_000).contains(&value) {
                return Err(Error::parameter(name, "1 to 100000", value));
            }
        }
        for (name, value) in [("sigma", self.sigma), ("rate", self.rate)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::parameter(name, "a finite number above 0", value));
            }
        }
        Ok(Spsa { params: self })
    }
}

/// Checked SPSA.
#[derive(Clone, Debug)]
pub struct Spsa {
    params: SpsaParams,
}

impl BlackBox for Spsa {
    fn id(&self) -> &'static str {
        "spsa"
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
        let rate = (self.params.rate * (hi - lo)) as f32;
        let how = Estimate {
            pairs: self.params.pairs,
            sigma: (self.params.sigma * (hi - lo)) as f32,
            draw: |rng| rng.symmetric().signum(),
        };
        follow(
            model,
            batch,
            (self.params.steps, how, seed),
            threat,
            &|t, origin, memory, g, x| {
                memory.mean.resize(x.len(), 0.0);
                memory.square.resize(x.len(), 0.0);
                let (a, b) = (
                    1.0 - 0.9f32.powi(t as i32 + 1),
                    1.0 - 0.999f32.powi(t as i32 + 1),
                );
                let means = memory.mean.iter_mut().zip(&mut memory.square);
                for ((v, g), (m, s)) in x.iter_mut().zip(g.iter()).zip(means) {
                    *m = 0.9 * *m + 0.1 * g;
                    *s = 0.999 * *s + 0.001 * g * g;
                    *v += rate * (*m / a) / ((*s / b).sqrt() + 1e-8);
                }
                threat.project(origin, x);
            },
        )
    }
}
