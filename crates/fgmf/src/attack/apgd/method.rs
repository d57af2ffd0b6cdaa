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

use crate::attack::apgd::checkpoints::{ApgdWalk, checks, phases};
use crate::attack::ascent::{Best, OwnGradients, Rule, Seen, ascend, or_budget};
use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, Start, SuiteName, WhiteBox,
};
use crate::attack::loss::{AttackLoss, ranked};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
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

/// A stretch of a search at one radius.
struct Phase {
    threat: ThreatModel,
    steps: usize,
    /// Whether adversarial points found here are successes.
    counts: bool,
    /// Whether an example leaves with its first success.
    leaves: bool,
    /// By step: the number of steps since the last checkpoint, where there is one.
    checks: Vec<Option<usize>>,
    rho: f64,
}

/// An example's way through a search, and what is known of it over all searches.
type BestOnTheWay<'w, 'b> = (ApgdWalk<'w>, &'b mut Best);

impl Rule<BestOnTheWay<'_, '_>> for Phase {
    fn judge(&self, (walk, best): &mut BestOnTheWay<'_, '_>, point: &[f32], seen: Seen) -> bool {
        walk.loss = seen.loss;
        walk.goes_on = !self.counts || best.judge(point, seen, self.leaves);
        if walk.goes_on && seen.last {
            walk.observe(None, seen.step == 0);
        }
        walk.goes_on
    }

    fn advance(
        &self,
        (walk, best): &mut BestOnTheWay<'_, '_>,
        point: &mut [f32],
        slope: &mut [f32],
        step: usize,
    ) -> bool {
        walk.goes_on = best.follows(slope, step);
        if walk.goes_on {
            walk.observe(Some(slope), step == 0);
            if let Some(interval) = self.checks[step] {
                walk.checkpoint(interval, self.rho, &self.threat);
            }
            walk.advance(&self.threat, step == 0);
            point.copy_from_slice(&walk.x);
        }
        walk.goes_on
    }
}

/// What all searches share.
#[derive(Clone, Copy)]
struct ApgdTask<'a> {
    model: &'a dyn Gradients,
    batch: &'a Batch,
    clean: &'a [f32],
    threat: &'a ThreatModel,
    seed: u64,
}

impl Apgd {
    fn start(
        &self,
        task: &ApgdTask<'_>,
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
        task: &ApgdTask<'_>,
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
                ApgdWalk::new(row, origin(row), x, &threat)
            };
            let walks: Vec<ApgdWalk<'_>> = points.drain(..).map(walk).collect();
            // Points of a wider ball are no successes.
            let phase = Phase {
                checks: checks(threat.norm(), steps),
                threat,
                steps,
                counts: number + 1 == phases.len(),
                leaves: task.model.settles(),
                rho: self.params.rho,
            };
            points = self.phase(task, phase, goals, walks, best)?;
        }
        Ok(())
    }

    /// Steps at one radius.
    fn phase(
        &self,
        task: &ApgdTask<'_>,
        phase: Phase,
        goals: &[usize],
        walks: Vec<ApgdWalk<'_>>,
        best: &mut [Best],
    ) -> Result<Vec<(usize, Vec<f32>)>> {
        let rows: Vec<usize> = walks.iter().map(|w| w.row).collect();
        let starts = walks
            .iter()
            .map(|w| w.x.as_slice())
            .collect::<Vec<_>>()
            .concat();
        let mut next = rows.iter().copied().peekable();
        let best = best.iter_mut().enumerate();
        let best = best.filter_map(|(i, b)| next.next_if_eq(&i).map(|_| b));
        let mut states: Vec<(ApgdWalk<'_>, &mut Best)> = walks.into_iter().zip(best).collect();
        let source = OwnGradients {
            model: task.model,
            loss: self.params.loss,
            labels: &task.batch.labels,
            targets: goals,
        };
        let (shape, steps) = (task.batch.x.shape(), phase.steps);
        ascend(&source, &phase, shape, steps, &rows, starts, &mut states)?;
        let left = states.into_iter().filter(|(walk, _)| walk.goes_on);
        Ok(left.map(|(walk, _)| (walk.row, walk.best)).collect())
    }

    /// For each search the target of every row; nothing for a loss without target.
    fn goals(&self, task: &ApgdTask<'_>) -> Result<Vec<Vec<usize>>> {
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

    fn searches(&self, task: &ApgdTask<'_>, best: &mut [Best]) -> Result<()> {
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
            AttackLoss::CrossEntropy
            | AttackLoss::NegativeCrossEntropy
            | AttackLoss::ErrorProbability => "apgd-ce",
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
        self.params.loss.check_classes(model.classes())?;
        let clean = batch.x.to_f32();
        let mut best = Best::of(batch);
        let task = ApgdTask {
            model,
            batch,
            clean: &clean,
            threat,
            seed: seed.value(),
        };
        let search = self.searches(&task, &mut best);
        let endings = best.iter_mut().map(|b| &mut b.ending);
        or_budget(search, endings, |e| e != Ending::Converged)?;
        Ok(Best::candidate(batch, &best))
    }
}
