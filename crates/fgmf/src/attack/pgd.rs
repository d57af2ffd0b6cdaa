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

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, Start, SuiteName, WhiteBox,
};
use crate::attack::loss::AttackLoss;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::answer::misclassified;
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
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

/// What a search is about.
#[derive(Clone, Copy)]
struct Task<'a> {
    batch: &'a Batch,
    threat: &'a ThreatModel,
    seed: u64,
}

/// An example that still stands, at one step.
struct Row<'a> {
    best: &'a mut Best,
    point: &'a mut [f32],
    /// The gradient; none after the last step.
    direction: Option<&'a mut [f32]>,
}

/// What is known of one example during the search.
struct Best {
    x: Vec<f32>,
    /// Whether `x` is adversarial, and its loss.
    worth: (bool, f64),
    ending: Ending,
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

    /// One search over the rows of `best` that still stand; `best` is updated in place.
    fn search(
        &self,
        model: &dyn Gradients,
        task: &Task<'_>,
        restart: u64,
        best: &mut [Best],
    ) -> Result<()> {
        let Task {
            batch,
            threat,
            seed,
        } = *task;
        let clean = batch.x.values::<f32>();
        let size = clean.len() / batch.len();
        let origin = |i: usize| &clean[i * size..(i + 1) * size];
        let start = |&i: &usize| match self.params.start {
            Start::Clean => origin(i).to_vec(),
            Start::Random => threat.random_start(
                origin(i),
                &mut Stream::new(seed, Purpose::AttackStart, restart, batch.index[i]),
            ),
        };
        let mut active: Vec<usize> = (0..batch.len())
            .filter(|&i| best[i].ending != Ending::Converged)
            .collect();
        let mut points = active.par_iter().map(start).collect::<Vec<_>>().concat();
        let alpha = self.step_size(threat) as f32;
        let leaves = model.settles();
        for step in 0..=self.params.steps {
            if active.is_empty() {
                break;
            }
            let mut shape = batch.x.shape().to_vec();
            shape[0] = active.len();
            let x = Tensor::new(&shape, points);
            let labels: Vec<usize> = active.iter().map(|&i| batch.labels[i]).collect();
            let (losses, logits, gradient) = if step == self.params.steps {
                let logits = model.logits(&x)?;
                let (losses, _) = self
                    .params
                    .loss
                    .head(&labels, &[])
                    .evaluate(&logits.clone().into(), 0..active.len());
                (losses, logits, None)
            } else {
                let at = model.loss_gradient(&x, self.params.loss.head(&labels, &[]).as_ref())?;
                (at.losses, at.logits, Some(at.gradient))
            };
            points = x.into_f32();
            let broken = misclassified(&logits, &labels);
            let mut gradient = gradient.map(Tensor::into_f32);
            let directions: Vec<Option<&mut [f32]>> = match &mut gradient {
                Some(all) => all.chunks_exact_mut(size).map(Some).collect(),
                None => active.iter().map(|_| None).collect(),
            };
            // Whether the example at `j` of the active ones goes on.
            let visit = |(
                j,
                Row {
                    best,
                    point,
                    direction,
                },
            ): (usize, Row<'_>)| {
                if (broken[j], losses[j]) > best.worth {
                    best.worth = (broken[j], losses[j]);
                    best.x.copy_from_slice(point);
                }
                if broken[j] && leaves {
                    best.ending = Ending::Converged;
                    return false;
                }
                let Some(g) = direction else { return true };
                if !g.iter().fold(true, |all, v| all & v.is_finite()) {
                    best.ending = Ending::NonFinite;
                    return false;
                }
                if step == 0 && g.iter().all(|v| *v == 0.0) {
                    best.ending = Ending::ZeroGradient;
                }
                threat.drop_blocked(point, g);
                threat.steepest(g);
                point.iter_mut().zip(&*g).for_each(|(v, d)| *v += alpha * d);
                threat.project(origin(active[j]), point);
                true
            };
            let mut next = active.iter().copied().peekable();
            let standing = best
                .iter_mut()
                .enumerate()
                .filter_map(|(i, best)| next.next_if_eq(&i).map(|_| best));
            let rows: Vec<Row<'_>> = standing
                .zip(points.chunks_exact_mut(size))
                .zip(directions)
                .map(|((best, point), direction)| Row {
                    best,
                    point,
                    direction,
                })
                .collect();
            let stays: Vec<bool> = rows.into_par_iter().enumerate().map(visit).collect();
            let left: Vec<usize> = (0..active.len()).filter(|&j| stays[j]).collect();
            for (to, &from) in left.iter().enumerate().filter(|(to, from)| to != *from) {
                points.copy_within(from * size..(from + 1) * size, to * size);
            }
            points.truncate(left.len() * size);
            active = left.into_iter().map(|j| active[j]).collect();
        }
        Ok(())
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
        let seed = seed.value();
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len().max(1);
        self.params.loss.check_classes(model.classes())?;
        let fresh = |x: &[f32]| Best {
            x: x.to_vec(),
            worth: (false, f64::NEG_INFINITY),
            ending: Ending::StepsExhausted,
        };
        let mut best: Vec<Best> = clean.chunks_exact(size).map(fresh).collect();
        let task = Task {
            batch,
            threat,
            seed,
        };
        for restart in 0..self.params.restarts {
            match self.search(model, &task, restart as u64, &mut best) {
                Err(Error::Budget { .. }) => {
                    let open = best.iter_mut().filter(|b| b.ending != Ending::Converged);
                    open.for_each(|b| b.ending = Ending::BudgetExhausted);
                    break;
                }
                other => other?,
            }
        }
        let endings = best
            .iter()
            .map(|b| {
                if b.worth.0 {
                    Ending::Converged
                } else {
                    b.ending
                }
            })
            .collect();
        let x = best.into_iter().flat_map(|b| b.x).collect();
        Ok(Candidate {
            x: Tensor::new::<f32>(batch.x.shape(), x),
            endings,
        })
    }
}
