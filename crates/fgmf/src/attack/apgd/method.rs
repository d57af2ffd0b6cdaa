//! Auto-PGD (Croce & Hein 2020): projected gradient ascent with momentum that sets its own step
//! size; the L1 form (Croce & Hein 2021) is in `apgd_l1.rs`.
//!
//! z = Π(xₜ + η s(∇L)), xₜ₊₁ = Π(xₜ + ¾ (z − xₜ) + ¼ (xₜ − xₜ₋₁)), the first step without momentum;
//! η starts at 2 eps. At checkpoints (after 22% of the steps, then at intervals that shrink by 3%
//! down to 6%) η is halved and the search goes back to its best point if the loss rose in at most ρ
//! = ¾ of the steps since the last one, or if neither η nor the best loss has changed since then.
//!
//! With a targeted loss there is a search for each of the classes that score highest after the
//! label, in that order. An example leaves the batch with its first adversarial point; otherwise
//! the point of the largest loss is returned. Of a model that answers at random every step is made,
//! and the adversarial point of the largest loss is returned.
//!
//! Cost: at most `steps + 1` forward and `steps` backward passes an example, restart and target
//! (and one forward pass to rank the targets).
//!
//! Differences from the paper and its code: (1) the search stops at success, which changes no
//! success; (2) before its first step the loss counts as 0 when rises are counted, as in the code
//! (the paper: the loss at the start); (3) starts are uniform in the ball (the code: Linf scaled so
//! that one value is at eps, L2 on the sphere).

use crate::attack::apgd::checkpoints::{Walk, intervals, phases};
use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, Start, SuiteName, WhiteBox, images,
};
use crate::attack::loss::{AttackLoss, ranked};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::answer::misclassified;
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "apgd",
    line: "Follows the gradient with momentum and halves its own step size.",
    revision: 1,
    reference: "croce2020",
    example: r#"{"steps": 10, "restarts": 2, "loss": "dlr"}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::White(Box::new(
                read::<ApgdParams>(settings)?.check()?,
            )))
        },
        names: &[
            SuiteName {
                name: "apgd-ce",
                settings: |norm, classes| {
                    in_suite(AttackLoss::CrossEntropy, plain(norm), norm, classes)
                },
                inside: Some(|norm, classes| in_suite(AttackLoss::CrossEntropy, 1, norm, classes)),
            },
            SuiteName {
                name: "apgd-dlr",
                settings: |norm, classes| in_suite(AttackLoss::Dlr, plain(norm), norm, classes),
                inside: Some(|norm, classes| in_suite(AttackLoss::Dlr, 1, norm, classes)),
            },
            SuiteName {
                name: "apgd-t",
                settings: |norm, classes| in_suite(AttackLoss::TargetedDlr, 1, norm, classes),
                inside: None,
            },
            SuiteName {
                name: "apgd-ce-5",
                settings: |norm, classes| in_suite(AttackLoss::CrossEntropy, 5, norm, classes),
                inside: None,
            },
            SuiteName {
                name: "apgd-dlr-5",
                settings: |norm, classes| in_suite(AttackLoss::Dlr, 5, norm, classes),
                inside: None,
            },
        ],
        wrapper: None,
    },
}];

/// Settings in suites: AutoAttack's.
fn in_suite(loss: AttackLoss, restarts: usize, norm: Norm, classes: usize) -> serde_json::Value {
    let targets = if norm == Norm::L1 { 5 } else { 9 };
    serde_json::json!(ApgdParams {
        loss: loss.for_classes(classes),
        restarts,
        targets: targets.min(classes.saturating_sub(1)).max(1),
        ..ApgdParams::default()
    })
}

/// Restarts of the plain attack: L1 is the norm where one search is too few (Croce & Hein 2021).
fn plain(norm: Norm) -> usize {
    if norm == Norm::L1 { 5 } else { 1 }
}

/// Settings of [`Apgd`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 100 | 1 to 100,000 |
/// | `restarts` | 1 | 1 to 10,000 |
/// | `loss` | cross-entropy | |
/// | `targets` | 9 | 1 to 10,000; more than there are other classes means all |
/// | `rho` | 0.75 | 0 to 1 |
/// | `start` | random | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApgdParams {
    /// Steps of each search.
    pub steps: usize,
    /// Searches (for each target, if the loss has one).
    pub restarts: usize,
    /// What is increased.
    pub loss: AttackLoss,
    /// Target classes, if the loss has one.
    pub targets: usize,
    /// Share of rising steps below which the step size is halved.
    pub rho: f64,
    /// Where a search starts.
    pub start: Start,
}

impl Default for ApgdParams {
    fn default() -> Self {
        Self {
            steps: 100,
            restarts: 1,
            loss: AttackLoss::CrossEntropy,
            targets: 9,
            rho: 0.75,
            start: Start::Random,
        }
    }
}

impl ApgdParams {
    /// The checked attack.
    pub fn check(self) -> Result<Apgd> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        for (name, value) in [("restarts", self.restarts), ("targets", self.targets)] {
            if !(1..=10_000).contains(&value) {
                return Err(Error::parameter(name, "1 to 10000", value));
            }
        }
        if !(0.0..=1.0).contains(&self.rho) {
            return Err(Error::parameter("rho", "0 to 1", self.rho));
        }
        Ok(Apgd { params: self })
    }
}

/// Checked Auto-PGD.
#[derive(Clone, Debug)]
pub struct Apgd {
    params: ApgdParams,
}

/// What is known of one example over all searches.
struct Best {
    x: Vec<f32>,
    /// Whether `x` is adversarial, and its loss.
    worth: (bool, f64),
    ending: Ending,
}

/// What was found at a point.
struct Seen<'a> {
    loss: f64,
    broken: bool,
    /// Not at the last point of a search.
    gradient: Option<&'a [f32]>,
    first: bool,
}

impl Best {
    /// Takes in what was found at the walk's point; whether the walk goes on.
    fn observe(&mut self, walk: &mut Walk<'_>, seen: &Seen<'_>, phase: &Phase) -> bool {
        let &Seen {
            loss,
            broken,
            gradient,
            first,
        } = seen;
        if phase.counts && (broken, loss) > self.worth {
            self.worth = (broken, loss);
            self.x.copy_from_slice(&walk.x);
        }
        if phase.counts && broken && phase.leaves {
            self.ending = Ending::Converged;
            return false;
        }
        if gradient.is_some_and(|g| g.iter().any(|v| !v.is_finite())) {
            self.ending = Ending::NonFinite;
            return false;
        }
        if first && gradient.is_some_and(|g| g.iter().all(|v| *v == 0.0)) {
            self.ending = Ending::ZeroGradient;
        }
        walk.observe(loss, gradient, first);
        true
    }
}

/// A stretch of a search at one radius.
struct Phase {
    threat: ThreatModel,
    steps: usize,
    /// Whether adversarial points found here are successes.
    counts: bool,
    /// Whether an example leaves with its first success.
    leaves: bool,
}

/// What all searches share.
#[derive(Clone, Copy)]
struct Task<'a> {
    model: &'a dyn Gradients,
    batch: &'a Batch,
    clean: &'a [f32],
    threat: &'a ThreatModel,
    seed: u64,
}

impl Apgd {
    fn start(
        &self,
        task: &Task<'_>,
        threat: &ThreatModel,
        round: u64,
        row: usize,
        origin: &[f32],
    ) -> Vec<f32> {
        let mut rng = Stream::new(
            task.seed,
            Purpose::AttackStart,
            round,
            task.batch.index[row],
        );
        match (self.params.start, threat.norm()) {
            (Start::Clean, _) => origin.to_vec(),
            (Start::Random, Norm::L1) => {
                let mut x: Vec<f32> = origin.iter().map(|o| o + rng.normal()).collect();
                threat.project(origin, &mut x);
                x
            }
            (Start::Random, Norm::Linf | Norm::L2) => threat.random_start(origin, &mut rng),
        }
    }

    /// One search over the examples that still stand, towards the class `goals[row]` where the loss
    /// has a target.
    fn search(
        &self,
        task: &Task<'_>,
        round: u64,
        goals: &[usize],
        best: &mut [Best],
    ) -> Result<()> {
        let size = task.clean.len() / task.batch.len();
        let origin = |row: usize| &task.clean[row * size..(row + 1) * size];
        let phases = phases(task.threat.norm(), self.params.steps);
        let widest = task.threat.with_eps(phases[0].0 * task.threat.eps())?;
        let standing = (0..best.len()).filter(|&row| best[row].ending != Ending::Converged);
        let mut points: Vec<(usize, Vec<f32>)> = standing
            .map(|row| (row, self.start(task, &widest, round, row, origin(row))))
            .collect();
        for (number, &(factor, steps)) in phases.iter().enumerate() {
            let threat = task.threat.with_eps(factor * task.threat.eps())?;
            let walk = |(row, mut x): (usize, Vec<f32>)| {
                threat.project(origin(row), &mut x);
                Walk::new(row, origin(row), x, &threat)
            };
            let mut walks: Vec<Walk<'_>> = points.drain(..).map(walk).collect();
            // Points of a wider ball are no successes.
            let phase = Phase {
                threat,
                steps,
                counts: number + 1 == phases.len(),
                leaves: task.model.settles(),
            };
            self.phase(task, &phase, goals, &mut walks, best)?;
            points = walks.into_iter().map(|w| (w.row, w.best)).collect();
        }
        Ok(())
    }

    /// Steps at one radius. What is broken or not finite leaves `walks`; what counts is written to
    /// `best`.
    fn phase(
        &self,
        task: &Task<'_>,
        phase: &Phase,
        goals: &[usize],
        walks: &mut Vec<Walk<'_>>,
        best: &mut [Best],
    ) -> Result<()> {
        let Phase { threat, steps, .. } = phase;
        let mut intervals = intervals(threat.norm(), *steps);
        let mut interval = intervals.next().unwrap_or(*steps);
        let mut next_check = interval;
        for step in 0..=*steps {
            if walks.is_empty() {
                break;
            }
            let x = images(task.batch, walks.iter().map(|w| w.x.as_slice()));
            let labels: Vec<usize> = walks.iter().map(|w| task.batch.labels[w.row]).collect();
            let targets: Vec<usize> = if goals.is_empty() {
                Vec::new()
            } else {
                walks.iter().map(|w| goals[w.row]).collect()
            };
            let head = self.params.loss.head(&labels, &targets);
            let (losses, logits, gradients) = if step == *steps {
                let logits = task.model.logits(&x)?;
                (
                    head.evaluate(&logits.clone().into(), 0..walks.len()).0,
                    logits,
                    None,
                )
            } else {
                let at = task.model.loss_gradient(&x, head.as_ref())?;
                (at.losses, at.logits, Some(at.gradient))
            };
            let broken = misclassified(&logits, &labels);
            let gradients = gradients.as_ref().map(|g| g.values::<f32>());
            let mut rows = 0..;
            walks.retain_mut(|walk| {
                let j = rows.next().unwrap_or(0);
                let gradient = gradients
                    .as_ref()
                    .map(|g| &g[j * walk.x.len()..(j + 1) * walk.x.len()]);
                let seen = Seen {
                    loss: losses[j],
                    broken: broken[j],
                    gradient,
                    first: step == 0,
                };
                best[walk.row].observe(walk, &seen, phase)
            });
            if step == *steps {
                break;
            }
            let check = step == next_check;
            walks.par_iter_mut().for_each(|walk| {
                if check {
                    walk.checkpoint(interval, self.params.rho, threat);
                }
                walk.advance(threat, step == 0);
            });
            if check {
                interval = intervals.next().unwrap_or(*steps);
                next_check += interval;
            }
        }
        Ok(())
    }

    /// For each search the target of every row; nothing for a loss without target.
    fn goals(&self, task: &Task<'_>) -> Result<Vec<Vec<usize>>> {
        if !self.params.loss.targeted() {
            return Ok(vec![Vec::new()]);
        }
        let k = task.model.classes();
        let logits = task.model.logits(&task.batch.x)?.to_f64();
        let others = |(z, &y): (&[f64], &usize)| {
            ranked(z)
                .into_iter()
                .filter(|&c| c != y)
                .collect::<Vec<_>>()
        };
        let orders: Vec<Vec<usize>> = logits
            .chunks_exact(k)
            .zip(&task.batch.labels)
            .map(others)
            .collect();
        Ok((0..self.params.targets.min(k - 1))
            .map(|t| orders.iter().map(|o| o[t]).collect())
            .collect())
    }

    fn searches(&self, task: &Task<'_>, best: &mut [Best]) -> Result<()> {
        for (t, goals) in self.goals(task)?.iter().enumerate() {
            for restart in 0..self.params.restarts {
                self.search(
                    task,
                    (t * self.params.restarts + restart) as u64,
                    goals,
                    best,
                )?;
            }
        }
        Ok(())
    }
}

impl WhiteBox for Apgd {
    fn id(&self) -> &'static str {
        match self.params.loss {
            AttackLoss::CrossEntropy | AttackLoss::ErrorProbability => "apgd-ce",
            AttackLoss::Margin | AttackLoss::CappedMargin | AttackLoss::Dlr => "apgd-dlr",
            AttackLoss::TargetedMargin | AttackLoss::TargetedDlr => "apgd-t",
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
        self.params.loss.check_classes(model.classes())?;
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len().max(1);
        let fresh = |x: &[f32]| Best {
            x: x.to_vec(),
            worth: (false, f64::NEG_INFINITY),
            ending: Ending::StepsExhausted,
        };
        let mut best: Vec<Best> = clean.chunks_exact(size).map(fresh).collect();
        match self.searches(
            &Task {
                model,
                batch,
                clean: &clean,
                threat,
                seed,
            },
            &mut best,
        ) {
            Err(Error::Budget { .. }) => {
                let open = best.iter_mut().filter(|b| b.ending != Ending::Converged);
                open.for_each(|b| b.ending = Ending::BudgetExhausted);
            }
            other => other?,
        }
        best.iter_mut()
            .filter(|b| b.worth.0)
            .for_each(|b| b.ending = Ending::Converged);
        let x = images(batch, best.iter().map(|b| b.x.as_slice()));
        Ok(Candidate {
            x,
            endings: best.iter().map(|b| b.ending).collect(),
        })
    }
}
