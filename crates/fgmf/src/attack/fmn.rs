//! FMN, fast minimum-norm attack: steps along the gradient inside a ball whose radius closes in on
//! the boundary, in any norm p.
//!
//! With m the margin max_{i≠y} z_i − z_y at x₀ + δ, g = ∇m and q dual to p: the radius becomes
//! - ‖δ‖_p + |m| / ‖g‖_q, the distance of the linearised boundary, until a point is adversarial;
//! - then min((1 − γₜ) ε, ‖δ*‖_p) if this one is, δ* the nearest found, and (1 + γₜ) ε if it is
//!   not;
//!
//! δ ← Π_ε(δ + αₜ g / ‖g‖₂), in the bounds. αₜ falls from `step` to a hundredth of it and γₜ from
//! `gamma` to 0.001 along a cosine. The nearest adversarial point counts.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 100 | 1 to 100,000 |
//! | `step` | 1 | first length of a step (Euclidean), above 0, in input units |
//! | `gamma` | 0.05 | γ₀ in (0, 1) |
//!
//! Cost: `steps` forward and backward passes an example. The sealed entry counts an example as
//! broken if the nearest point lies in the threat's ball; with a ball that holds every image it
//! measures distances.
//!
//! Differences from the paper: (1) Π is onto ball and bounds at once for L1; (2) no start from
//! another attack's point; (3) until a point is adversarial the radius grows by γₜ at least: bounds
//! can keep the linearised boundary out of reach. Reference: `pintor2021`.

use crate::attack::ascent::or_budget;
use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, SuiteName, WhiteBox, images,
};
use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::answer::misclassified;
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
use fgmf_net::head::Margin;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "fmn",
    line: "Follows the gradient in a ball whose radius closes in on the boundary.",
    revision: 1,
    reference: "pintor2021",
    example: r#"{"steps": 10}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::White(Box::new(
                read::<FmnParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "fmn",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`Fmn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FmnParams {
    /// Steps.
    pub steps: usize,
    /// First length of a step.
    pub step: f64,
    /// First rate of change of the radius.
    pub gamma: f64,
}

impl Default for FmnParams {
    fn default() -> Self {
        Self {
            steps: 100,
            step: 1.0,
            gamma: 0.05,
        }
    }
}

impl FmnParams {
    /// The checked attack.
    pub fn check(self) -> Result<Fmn> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        if !(self.step.is_finite() && self.step > 0.0) {
            return Err(Error::parameter(
                "step",
                "a finite number above 0",
                self.step,
            ));
        }
        if !(self.gamma > 0.0 && self.gamma < 1.0) {
            return Err(Error::parameter("gamma", "between 0 and 1", self.gamma));
        }
        Ok(Fmn { params: self })
    }
}

/// Checked FMN.
#[derive(Clone, Debug)]
pub struct Fmn {
    params: FmnParams,
}

/// One example of the search.
struct FmnWalker<'a> {
    row: usize,
    origin: &'a [f32],
    x: Vec<f32>,
    radius: f64,
    nearest: Option<(f64, Vec<f32>)>,
    kept: Kept,
    ending: Ending,
}

/// Lengths of a step's rates.
#[derive(Clone, Copy)]
struct Rates {
    alpha: f64,
    gamma: f64,
}

impl FmnWalker<'_> {
    /// Takes in margin and gradient at the point, and moves.
    fn advance(
        &mut self,
        margin: f64,
        adversarial: bool,
        g: &[f32],
        threat: &ThreatModel,
        rates: Rates,
        first: bool,
    ) -> Result<()> {
        let norm = threat.norm();
        let distance = threat.distance(self.origin, &self.x);
        let seen = (adversarial, margin);
        self.kept.offer(threat, self.origin, &self.x, seen);
        if adversarial {
            if self.nearest.as_ref().is_none_or(|n| distance <= n.0) {
                self.nearest = Some((distance, self.x.clone()));
            }
            self.ending = Ending::Converged;
        }
        let values = || g.iter().map(|&v| f64::from(v));
        let (length, slope) = (Norm::L2.of(values()), norm.dual().of(values()));
        if !margin.is_finite() || !length.is_finite() {
            self.ending = if self.nearest.is_some() {
                Ending::Converged
            } else {
                Ending::NonFinite
            };
            return Ok(());
        }
        if first && length == 0.0 {
            self.ending = Ending::ZeroGradient;
        }
        self.radius = match &self.nearest {
            Some((nearest, _)) if adversarial => ((1.0 - rates.gamma) * self.radius).min(*nearest),
            Some(_) => (1.0 + rates.gamma) * self.radius,
            // Where bounds cut the step the linearised boundary can stay out of reach; the radius
            // must not stand still.
            None => {
                (distance + margin.abs() / slope.max(1e-12)).max((1.0 + rates.gamma) * self.radius)
            }
        }
        .min(threat.reach(self.origin));
        let scale = rates.alpha / length.max(1e-12);
        self.x
            .iter_mut()
            .zip(g)
            .for_each(|(x, &g)| *x += (scale * f64::from(g)) as f32);
        threat
            .with_eps(self.radius)?
            .project(self.origin, &mut self.x);
        Ok(())
    }
}

impl Fmn {
    fn search(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        walkers: &mut [FmnWalker<'_>],
    ) -> Result<()> {
        for t in 0..self.params.steps {
            let mut active: Vec<&mut FmnWalker<'_>> = walkers
                .iter_mut()
                .filter(|w| w.ending != Ending::NonFinite)
                .collect();
            if active.is_empty() {
                break;
            }
            let x = images(batch, active.iter().map(|w| w.x.as_slice()));
            let labels: Vec<usize> = active.iter().map(|w| batch.labels[w.row]).collect();
            let at = model.loss_gradient(&x, &Margin::new(&labels))?;
            let broken = misclassified(&at.logits, &labels);
            let gradient = at.gradient.to_f32();
            let fall = |from: f64, to: f64| {
                to + (from - to)
                    * (1.0 + (std::f64::consts::PI * t as f64 / self.params.steps as f64).cos())
                    / 2.0
            };
            let rates = Rates {
                alpha: fall(self.params.step, self.params.step / 100.0),
                gamma: fall(self.params.gamma, 0.001),
            };
            let size = gradient.len() / active.len();
            active
                .par_iter_mut()
                .enumerate()
                .try_for_each(|(j, walker)| {
                    walker.advance(
                        at.losses[j],
                        broken[j],
                        &gradient[j * size..(j + 1) * size],
                        threat,
                        rates,
                        t == 0,
                    )
                })?;
        }
        Ok(())
    }
}

impl WhiteBox for Fmn {
    fn id(&self) -> &'static str {
        "fmn"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        _: Seed,
    ) -> Result<Candidate> {
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len().max(1);
        let fresh = |(row, origin): (usize, _)| {
            let x = <[f32]>::to_vec(origin);
            FmnWalker {
                row,
                origin,
                x,
                radius: 0.0,
                nearest: None,
                kept: Kept::new(model),
                ending: Ending::StepsExhausted,
            }
        };
        let mut walkers: Vec<FmnWalker<'_>> =
            clean.chunks_exact(size).enumerate().map(fresh).collect();
        let search = self.search(model, batch, threat, &mut walkers);
        let open = walkers.iter_mut().filter(|w| w.nearest.is_none());
        or_budget(search, open.map(|w| &mut w.ending), |_| true)?;
        let endings = walkers.iter().map(|w| w.ending).collect();
        let nearest = |w: FmnWalker<'_>| {
            let nearest = w.nearest.map(|n| n.1);
            let found = w.kept.point().or(nearest);
            found.unwrap_or_else(|| w.origin.to_vec())
        };
        let points: Vec<Vec<f32>> = walkers.into_iter().map(nearest).collect();
        Ok(Candidate {
            x: images(batch, points.iter().map(Vec::as_slice)),
            endings,
        })
    }
}
