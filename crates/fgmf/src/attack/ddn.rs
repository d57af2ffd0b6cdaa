//! DDN, decoupled direction and norm: a minimum-norm L2 attack that steps along the gradient and
//! sets the length apart from it.
//!
//! gₜ = αₜ ∇L(xₜ) / ‖∇L(xₜ)‖₂, δ ← δ + gₜ, L the cross-entropy; the radius εₜ₊₁ = (1 − γ) εₜ if xₜ
//! is adversarial, (1 + γ) εₜ if not; δ ← εₜ₊₁ δ / ‖δ‖₂, clipped to the bounds. αₜ falls from 1 to
//! 0.01 along a cosine. The nearest adversarial point counts.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 100 | 1 to 100,000 |
//! | `gamma` | 0.05 | γ in (0, 1) |
//! | `first` | 1 | ε₀ above 0, in input units |
//!
//! Cost: `steps` forward and backward passes an example.
//!
//! Differences from the paper: (1) no rounding to 256 levels; (2) the search is in L2 whatever the
//! threat's norm. Reference: `rony2019`.

use crate::attack::ascent::or_budget;
use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, SuiteName, WhiteBox,
};
use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::answer::misclassified;
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
use fgmf_net::Tensor;
use fgmf_net::head::CrossEntropy;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "ddn",
    line: "Steps along the gradient and sets the distance apart from the direction.",
    revision: 1,
    reference: "rony2019",
    example: r#"{"steps": 10}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::White(Box::new(
                read::<DdnParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "ddn",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`Ddn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DdnParams {
    /// Steps.
    pub steps: usize,
    /// How fast the radius changes.
    pub gamma: f64,
    /// First radius.
    pub first: f64,
}

impl Default for DdnParams {
    fn default() -> Self {
        Self {
            steps: 100,
            gamma: 0.05,
            first: 1.0,
        }
    }
}

impl DdnParams {
    /// The checked attack.
    pub fn check(self) -> Result<Ddn> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        if !(self.gamma > 0.0 && self.gamma < 1.0) {
            return Err(Error::parameter("gamma", "between 0 and 1", self.gamma));
        }
        if !(self.first.is_finite() && self.first > 0.0) {
            return Err(Error::parameter(
                "first",
                "a finite number above 0",
                self.first,
            ));
        }
        Ok(Ddn { params: self })
    }
}

/// Checked DDN.
#[derive(Clone, Debug)]
pub struct Ddn {
    params: DdnParams,
}

/// One example of the search.
struct DdnWalker {
    delta: Vec<f64>,
    radius: f64,
    best: Option<(f64, Vec<f32>)>,
    kept: Kept,
    ending: Ending,
}

impl Ddn {
    fn search(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        walkers: &mut [DdnWalker],
    ) -> Result<()> {
        let [lo, hi] = threat.bounds();
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len();
        for t in 0..self.params.steps {
            let active: Vec<usize> = (0..batch.len())
                .filter(|&i| walkers[i].ending != Ending::NonFinite)
                .collect();
            if active.is_empty() {
                break;
            }
            let part = batch.select(&active);
            let point = |&i: &usize| {
                clean[i * size..(i + 1) * size]
                    .iter()
                    .zip(&walkers[i].delta)
                    .map(|(x, d)| (f64::from(*x) + d) as f32)
                    .collect::<Vec<f32>>()
            };
            let points: Vec<Vec<f32>> = active.iter().map(point).collect();
            let at = model.loss_gradient(
                &Tensor::new::<f32>(part.x.shape(), points.concat()),
                &CrossEntropy::labels(&part.labels),
            )?;
            let broken = misclassified(&at.logits, &part.labels);
            let gradient = at.gradient.to_f64();
            let alpha = 0.01
                + 0.99 * (1.0 + (std::f64::consts::PI * t as f64 / self.params.steps as f64).cos())
                    / 2.0;
            for (j, (&i, point)) in active.iter().zip(points).enumerate() {
                let (walker, g) = (&mut walkers[i], &gradient[j * size..(j + 1) * size]);
                let length = Norm::L2.of(g.iter().copied());
                let seen = (broken[j], at.losses[j]);
                let origin = &clean[i * size..(i + 1) * size];
                walker.kept.offer(threat, origin, &point, seen);
                if broken[j] {
                    let distance = Norm::L2.of(walker.delta.iter().copied());
                    if walker.best.as_ref().is_none_or(|b| distance < b.0) {
                        walker.best = Some((distance, point));
                    }
                    walker.ending = Ending::Converged;
                }
                if !length.is_finite() {
                    walker.ending = if walker.best.is_some() {
                        Ending::Converged
                    } else {
                        Ending::NonFinite
                    };
                    continue;
                }
                if t == 0 && length == 0.0 {
                    walker.ending = Ending::ZeroGradient;
                }
                walker
                    .delta
                    .iter_mut()
                    .zip(g)
                    .for_each(|(d, g)| *d += alpha * g / length.max(f64::MIN_POSITIVE));
                walker.radius *= if broken[j] {
                    1.0 - self.params.gamma
                } else {
                    1.0 + self.params.gamma
                };
                let scale = walker.radius / Norm::L2.of(walker.delta.iter().copied()).max(1e-12);
                for (d, &x) in walker
                    .delta
                    .iter_mut()
                    .zip(&clean[i * size..(i + 1) * size])
                {
                    *d = (f64::from(x) + *d * scale).clamp(lo, hi) - f64::from(x);
                }
            }
        }
        Ok(())
    }
}

impl WhiteBox for Ddn {
    fn id(&self) -> &'static str {
        "ddn"
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
        let fresh = |_| DdnWalker {
            delta: vec![0.0; size],
            radius: self.params.first,
            best: None,
            kept: Kept::new(model),
            ending: Ending::StepsExhausted,
        };
        let mut walkers: Vec<DdnWalker> = (0..batch.len()).map(fresh).collect();
        let search = self.search(model, batch, threat, &mut walkers);
        let open = walkers.iter_mut().filter(|w| w.best.is_none());
        or_budget(search, open.map(|w| &mut w.ending), |_| true)?;
        let endings = walkers.iter().map(|w| w.ending).collect();
        let nearest = |(w, x): (DdnWalker, &[f32])| {
            let nearest = w.best.map(|b| b.1);
            w.kept.point().or(nearest).unwrap_or_else(|| x.to_vec())
        };
        let x = walkers
            .into_iter()
            .zip(clean.chunks_exact(size))
            .flat_map(nearest)
            .collect();
        Ok(Candidate {
            x: Tensor::new::<f32>(batch.x.shape(), x),
            endings,
        })
    }
}
