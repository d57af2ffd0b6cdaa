//! Projected gradient descent (Madry et al. 2018); with one step from the image itself it is FGSM
//! (Goodfellow et al. 2015).
//!
//! x₀ = image or a random point of the ball; xₜ₊₁ = Π(xₜ + α s(∇L(xₜ))), with s the direction of
//! steepest ascent in the threat's norm and Π the projection into ball and bounds. An example
//! leaves the batch once it is misclassified; the point with the largest loss is returned
//! otherwise. Of a model that answers at random every step is made, and the misclassified point of
//! the largest loss is returned.
//!
//! Cost: at most `restarts · (steps + 1)` forward and `restarts · steps` backward passes an
//! example.
//!
//! Differences from the paper: (1) success on any iterate counts, not on the last alone; (2) L1
//! steps move the largest hundredth of the coordinates; (3) coordinates that stand at a bound and
//! would leave it are left out of the direction.

use crate::attack::ascent::{Best, OwnGradients, Rule, Seen, ascend, or_budget};
use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, Start, SuiteName, WhiteBox,
};
use crate::attack::loss::AttackLoss;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use crate::threat::ThreatModel;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "pgd",
    line: "Follows the gradient in equal steps and stays in the ball.",
    revision: 2,
    reference: "madry2018",
    example: r#"{"steps": 5, "restarts": 2, "loss": "margin"}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::White(Box::new(
                read::<PgdParams>(settings)?.check()?,
            )))
        },
        names: &[
            SuiteName {
                name: "fgsm",
                settings: |_, _| serde_json::json!(PgdParams::fgsm()),
                inside: None,
            },
            SuiteName {
                name: "pgd-20",
                settings: |_, _| serde_json::json!({}),
                inside: None,
            },
            SuiteName {
                name: "pgd-down",
                settings: |_, _| serde_json::json!({"loss": "negative-cross-entropy", "steps": 50}),
                inside: None,
            },
        ],
        wrapper: None,
    },
}];

/// Settings of [`Pgd`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 20 | 1 to 100,000 |
/// | `step_size` | none: 2.5 eps / steps, or eps if there is one step | above 0, in input units |
/// | `restarts` | 1 | 1 to 10,000 |
/// | `start` | random | |
/// | `loss` | cross-entropy | one without a target |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PgdParams {
    /// Steps of each restart.
    pub steps: usize,
    /// Length of a step in the threat's norm.
    pub step_size: Option<f64>,
    /// Searches.
    pub restarts: usize,
    /// Where they start.
    pub start: Start,
    /// What they increase.
    pub loss: AttackLoss,
}

impl Default for PgdParams {
    fn default() -> Self {
        Self {
            steps: 20,
            step_size: None,
            restarts: 1,
            start: Start::Random,
            loss: AttackLoss::CrossEntropy,
        }
    }
}

impl PgdParams {
    /// One step of size eps from the image: FGSM.
    pub fn fgsm() -> Self {
        Self {
            steps: 1,
            start: Start::Clean,
            ..Self::default()
        }
    }

    /// The checked attack.
    pub fn check(self) -> Result<Pgd> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        if !(1..=10_000).contains(&self.restarts) {
            return Err(Error::parameter("restarts", "1 to 10000", self.restarts));
        }
        if let Some(s) = self.step_size.filter(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(Error::parameter("step_size", "a finite number above 0", s));
        }
        if self.loss.targeted() {
            return Err(Error::parameter(
                "loss",
                "a loss without a target",
                format!("{:?}", self.loss),
            ));
        }
        Ok(Pgd { params: self })
    }
}

/// Checked projected gradient descent.
#[derive(Clone, Debug)]
pub struct Pgd {
    params: PgdParams,
}

/// Steps of one length along the steepest direction.
struct Steps<'a> {
    threat: &'a ThreatModel,
    alpha: f32,
    settles: bool,
}

/// The best point of an example, and its image.
type BestOf<'a> = (&'a mut Best, &'a [f32]);

impl Rule<BestOf<'_>> for Steps<'_> {
    fn judge(&self, (best, _): &mut BestOf<'_>, point: &[f32], seen: Seen) -> bool {
        best.judge(point, seen, self.settles)
    }

    fn advance(
        &self,
        (best, origin): &mut BestOf<'_>,
        point: &mut [f32],
        slope: &mut [f32],
        step: usize,
    ) -> bool {
        if !best.follows(slope, step) {
            return false;
        }
        self.threat.drop_blocked(point, slope);
        self.threat.steepest(slope);
        let moves = point.iter_mut().zip(&*slope);
        moves.for_each(|(v, d)| *v += self.alpha * d);
        self.threat.project(origin, point);
        true
    }
}

impl Pgd {
    fn step_size(&self, threat: &ThreatModel) -> f64 {
        let one = if self.params.steps == 1 {
            threat.eps()
        } else {
            2.5 * threat.eps() / self.params.steps as f64
        };
        self.params.step_size.unwrap_or(one)
    }

    /// One search over the examples that still stand.
    fn search(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        (seed, restart): (u64, u64),
        best: &mut [Best],
    ) -> Result<()> {
        let clean = batch.x.values::<f32>();
        let size = clean.len() / batch.len();
        let (rows, mut states): (Vec<usize>, Vec<_>) = best
            .iter_mut()
            .zip(clean.chunks_exact(size))
            .enumerate()
            .filter(|(_, (best, _))| best.ending != Ending::Converged)
            .unzip();
        let start = |&i: &usize| {
            let origin = &clean[i * size..(i + 1) * size];
            let mut draws = Stream::new(seed, Purpose::AttackStart, restart, batch.index[i]);
            match self.params.start {
                Start::Clean => origin.to_vec(),
                Start::Random => threat.random_start(origin, &mut draws),
            }
        };
        let starts = rows.par_iter().map(start).collect::<Vec<_>>().concat();
        let source = OwnGradients {
            model,
            loss: self.params.loss,
            labels: &batch.labels,
            targets: &[],
        };
        let rule = Steps {
            threat,
            alpha: self.step_size(threat) as f32,
            settles: model.settles(),
        };
        let (shape, steps) = (batch.x.shape(), self.params.steps);
        ascend(&source, &rule, shape, steps, &rows, starts, &mut states)
    }
}

impl WhiteBox for Pgd {
    fn id(&self) -> &'static str {
        if self.params.steps == 1 && self.params.start == Start::Clean {
            "fgsm"
        } else {
            "pgd"
        }
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        seed: Seed,
    ) -> Result<Candidate> {
        self.params.loss.check_classes(model.classes())?;
        let mut best = Best::of(batch);
        for restart in 0..self.params.restarts {
            let draws = (seed.value(), restart as u64);
            let search = self.search(model, batch, threat, draws, &mut best);
            let endings = best.iter_mut().map(|b| &mut b.ending);
            if !or_budget(search, endings, |e| e != Ending::Converged)? {
                break;
            }
        }
        Ok(Best::candidate(batch, &best))
    }
}
