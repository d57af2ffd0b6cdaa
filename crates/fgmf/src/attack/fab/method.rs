//! Fast Adaptive Boundary attack (Croce & Hein 2020a): the nearest point of another class, by
//! projections onto linear models of the decision boundary.
//!
//! At x the boundary towards class c is taken for the plane z_c − z_y + ∇(z_c − z_y) · (x' − x) =
//! 0; among the classes c tried, the one whose plane is nearest. With d and d₀ the least changes
//! that take x and the image x₀ onto it within the bounds (`fab_projection.rs`), the next point is
//! (1 − α)(x + η d) + α (x₀ + η d₀) with α = min(‖d‖ / (‖d‖ + ‖d₀‖), α_max). Where it is
//! adversarial it is noted if no other was nearer, and the search goes on from x₀ + β (x − x₀). η =
//! 1.05, α_max = 0.1, β = 0.9.
//!
//! Targeted (FAB-T): one search for each of the classes that score highest after the label, in that
//! order, each with one gradient a step. Untargeted: one search with a gradient for every other
//! class a step.
//!
//! Cost of a step, for each search: one backward pass (for every class tried) and one or two
//! forward passes. Whether a point is adversarial is asked with a forward pass where the point
//! before was, together with the next gradient where it was not.
//!
//! Differences from the paper and its code: (1) a search ends with the first adversarial point
//! within eps, since an attack at a given radius asks for no less; (2) the nearest point found is
//! handed back even from outside the ball, to be projected and judged.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, SuiteName, WhiteBox, images,
};
use crate::attack::fab::params::FabParams;
use crate::attack::fab::walk::{FabTask, FabWalk, Next};
use crate::attack::loss::Difference;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::answer::misclassified;
use crate::settings::read;
use crate::threat::ThreatModel;
use fgmf_net::head::{Head, Margin};
use rayon::prelude::*;

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "fab",
    line: "Projects onto linear models of the boundary to find the nearest point of another class.",
    revision: 1,
    reference: "croce2020a",
    example: r#"{"steps": 6, "restarts": 2, "targets": null}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::White(Box::new(
                read::<FabParams>(settings)?.check()?,
            )))
        },
        names: &[
            SuiteName {
                name: "fab-t",
                settings: |_, classes| in_suite(Some(9), 1, classes),
                inside: None,
            },
            SuiteName {
                name: "fab-5",
                settings: |_, classes| in_suite(None, 5, classes),
                inside: None,
            },
        ],
        wrapper: None,
    },
}];

/// Settings in suites: AutoAttack's.
fn in_suite(targets: Option<usize>, restarts: usize, classes: usize) -> serde_json::Value {
    serde_json::json!(FabParams {
        targets: targets.map(|t| t.min(classes.saturating_sub(1)).max(1)),
        restarts,
        ..FabParams::default()
    })
}

impl FabParams {
    /// The checked attack.
    pub fn check(self) -> Result<Fab> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        for (name, value) in [
            ("restarts", self.restarts),
            ("targets", self.targets.unwrap_or(1)),
        ] {
            if !(1..=10_000).contains(&value) {
                return Err(Error::parameter(name, "1 to 10000", value));
            }
        }
        if !(0.0..=1.0).contains(&self.alpha_max) {
            return Err(Error::parameter("alpha_max", "0 to 1", self.alpha_max));
        }
        if !(1.0..=2.0).contains(&self.eta) {
            return Err(Error::parameter("eta", "1 to 2", self.eta));
        }
        if !(self.beta > 0.0 && self.beta < 1.0) {
            return Err(Error::parameter("beta", "above 0, below 1", self.beta));
        }
        Ok(Fab { params: self })
    }
}

/// Checked FAB.
#[derive(Clone, Debug)]
pub struct Fab {
    params: FabParams,
}

impl Fab {
    /// Verdicts alone: a forward pass of the walks that want no more.
    fn verdicts(&self, task: &FabTask<'_>, walks: &mut [FabWalk<'_>]) -> Result<()> {
        let mut asking: Vec<&mut FabWalk<'_>> = walks
            .iter_mut()
            .filter(|w| w.next == Next::Verdict)
            .collect();
        if asking.is_empty() {
            return Ok(());
        }
        let x = images(task.batch, asking.iter().map(|w| w.x.as_slice()));
        let labels: Vec<usize> = asking.iter().map(|w| task.batch.labels[w.row]).collect();
        let logits = task.model.logits(&x)?;
        let broken = misclassified(&logits, &labels);
        let (margins, _) = Margin::new(&labels).evaluate(&logits.into(), 0..labels.len());
        for ((walk, broken), margin) in asking.iter_mut().zip(broken).zip(margins) {
            walk.offer(task.threat, (broken, margin));
            walk.judged(&self.params, task, broken);
        }
        Ok(())
    }

    /// Planes, and a step of every walk whose point is not adversarial.
    fn planes(&self, task: &FabTask<'_>, walks: &mut [FabWalk<'_>]) -> Result<()> {
        let p = &self.params;
        let mut asking: Vec<&mut FabWalk<'_>> = walks
            .iter_mut()
            .filter(|w| w.next != Next::Verdict)
            .collect();
        if asking.is_empty() {
            return Ok(());
        }
        let (mut points, mut labels, mut targets, mut starts) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for walk in &asking {
            starts.push(points.len());
            for c in walk.classes(p) {
                points.push(walk.x.as_slice());
                labels.push(task.batch.labels[walk.row]);
                targets.push(walk.others[c]);
            }
        }
        let size = points[0].len();
        let x = images(task.batch, points.into_iter());
        let at = task
            .model
            .loss_gradient(&x, &Difference::new(&labels, &targets))?;
        let broken = misclassified(&at.logits, &labels);
        let gradients = at.gradient.values::<f32>();
        asking.par_iter_mut().zip(starts).for_each(|(walk, start)| {
            if walk.next == Next::VerdictAndPlanes {
                if broken[start] {
                    return walk.judged(p, task, true);
                }
                walk.crossing = false;
            }
            let rows = start..start + walk.classes(p).len();
            let margin = at.losses[rows.clone()].iter().copied();
            let margin = margin.fold(f64::NEG_INFINITY, f64::max);
            walk.offer(task.threat, (broken[start], margin));
            walk.advance(
                p,
                task,
                &at.losses[rows.clone()],
                &gradients[rows.start * size..rows.end * size],
            );
        });
        Ok(())
    }

    /// All searches of all walks; those that end leave and are written to `out`.
    fn run<'a>(
        &self,
        task: &FabTask<'_>,
        walks: &mut Vec<FabWalk<'a>>,
        out: &mut [Option<FabWalk<'a>>],
    ) -> Result<()> {
        while !walks.is_empty() {
            self.verdicts(task, walks)?;
            for walk in walks.extract_if(.., |w| w.ending.is_some()) {
                let row = walk.row;
                out[row] = Some(walk);
            }
            self.planes(task, walks)?;
        }
        Ok(())
    }
}

impl WhiteBox for Fab {
    fn id(&self) -> &'static str {
        if self.params.targets.is_some() {
            "fab-t"
        } else {
            "fab"
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
        if model.classes() < 2 {
            return Err(Error::mismatch("FAB", "2 classes or more", model.classes()));
        }
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len().max(1);
        let half = threat.with_eps(0.5 * threat.eps())?;
        let task = FabTask {
            model,
            batch,
            threat,
            half: &half,
            seed,
        };
        let scores = model.logits(&batch.x)?.to_f64();
        let walk = |(row, (origin, z)): (usize, (_, &[f64]))| {
            FabWalk::new(model, row, origin, z, batch.labels[row])
        };
        let mut walks: Vec<FabWalk<'_>> = clean
            .chunks_exact(size)
            .zip(scores.chunks_exact(model.classes()))
            .enumerate()
            .map(walk)
            .collect();
        let mut done = std::iter::repeat_with(|| None)
            .take(batch.len())
            .collect::<Vec<_>>();
        match self.run(&task, &mut walks, &mut done) {
            Err(Error::Budget { .. }) => walks.drain(..).for_each(|mut walk| {
                let row = walk.row;
                walk.ending.get_or_insert(Ending::BudgetExhausted);
                done[row] = Some(walk);
            }),
            other => other?,
        }
        let done: Vec<FabWalk<'_>> = done.into_iter().flatten().collect();
        let endings = done.iter().map(|w| w.ending);
        let endings = endings.map(|e| e.unwrap_or(Ending::StepsExhausted));
        let endings = endings.collect();
        let point = |w: FabWalk<'_>| w.kept.point().unwrap_or(w.nearest);
        let points: Vec<Vec<f32>> = done.into_iter().map(point).collect();
        Ok(Candidate {
            x: images(batch, points.iter().map(Vec::as_slice)),
            endings,
        })
    }
}
