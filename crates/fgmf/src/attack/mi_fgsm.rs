//! Momentum iterative FGSM: accumulated gradients, whose points carry over to other models better
//! than PGD's.
//!
//! gₜ₊₁ = μ gₜ + ∇L(xₜ) / ‖∇L(xₜ)‖₁; xₜ₊₁ = Π(xₜ + (eps / T) s(gₜ₊₁)), from the image, L the
//! cross-entropy, s the direction of steepest ascent in the threat's norm (the sign for Linf).
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 10 | T, 1 to 100,000 |
//! | `decay` | 1 | μ in [0, 1] |
//!
//! Cost: at most `steps + 1` forward and `steps` backward passes an example.
//!
//! Differences from the paper: (1) an example ends at its first adversarial point. Reference:
//! `dong2018`.

use crate::attack::ascent::{OwnGradients, Rule, Seen, ascend, or_budget};
use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, SuiteName, WhiteBox, images,
};
use crate::attack::loss::AttackLoss;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "mi-fgsm",
    line: "Follows accumulated gradients, which carry over to other models.",
    revision: 1,
    reference: "dong2018",
    example: r#"{"steps": 5}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::White(Box::new(
                read::<MiFgsmParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "mi-fgsm",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`MiFgsm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MiFgsmParams {
    /// Steps.
    pub steps: usize,
    /// Share of the accumulated gradient that is kept.
    pub decay: f64,
}

impl Default for MiFgsmParams {
    fn default() -> Self {
        Self {
            steps: 10,
            decay: 1.0,
        }
    }
}

impl MiFgsmParams {
    /// The checked attack.
    pub fn check(self) -> Result<MiFgsm> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        if !(0.0..=1.0).contains(&self.decay) {
            return Err(Error::parameter("decay", "0 to 1", self.decay));
        }
        Ok(MiFgsm { params: self })
    }
}

/// Checked momentum iterative FGSM.
#[derive(Clone, Debug)]
pub struct MiFgsm {
    params: MiFgsmParams,
}

/// One example of the search.
struct Carried<'a> {
    origin: &'a [f32],
    x: Vec<f32>,
    momentum: Vec<f32>,
    ending: Ending,
}

/// Steps along gathered gradients.
struct Momentum<'a> {
    threat: &'a ThreatModel,
    alpha: f32,
    decay: f32,
    settles: bool,
}

impl Rule<Carried<'_>> for Momentum<'_> {
    /// The last point counts, whatever came before: of a model that one answer does not settle it
    /// is the one that all gradients led to.
    fn judge(&self, state: &mut Carried<'_>, _: &[f32], seen: Seen) -> bool {
        let done = seen.broken && (seen.last || self.settles);
        if done {
            state.ending = Ending::Converged;
        }
        !done
    }

    fn advance(
        &self,
        state: &mut Carried<'_>,
        point: &mut [f32],
        slope: &mut [f32],
        step: usize,
    ) -> bool {
        let length = Norm::L1.of(slope.iter().map(|&v| f64::from(v)));
        if !length.is_finite() {
            state.ending = Ending::NonFinite;
            return false;
        }
        if step == 0 && length == 0.0 {
            state.ending = Ending::ZeroGradient;
        }
        let scale = 1.0 / length.max(f64::MIN_POSITIVE);
        let gathered = state.momentum.iter_mut().zip(&*slope);
        gathered.for_each(|(m, &g)| *m = self.decay * *m + (f64::from(g) * scale) as f32);
        slope.copy_from_slice(&state.momentum);
        self.threat.steepest(slope);
        let moves = point.iter_mut().zip(&*slope);
        moves.for_each(|(v, d)| *v += self.alpha * d);
        self.threat.project(state.origin, point);
        state.x.copy_from_slice(point);
        true
    }
}

impl WhiteBox for MiFgsm {
    fn id(&self) -> &'static str {
        "mi-fgsm"
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
        let size = (clean.len() / batch.len().max(1)).max(1);
        let fresh = |origin| Carried {
            origin,
            x: <[f32]>::to_vec(origin),
            momentum: vec![0.0; size],
            ending: Ending::StepsExhausted,
        };
        let mut states: Vec<Carried<'_>> = clean.chunks_exact(size).map(fresh).collect();
        let rows: Vec<usize> = (0..batch.len()).collect();
        let source = OwnGradients {
            model,
            loss: AttackLoss::CrossEntropy,
            labels: &batch.labels,
            targets: &[],
        };
        let rule = Momentum {
            threat,
            alpha: (threat.eps() / self.params.steps as f64) as f32,
            decay: self.params.decay as f32,
            settles: model.settles(),
        };
        let (shape, steps) = (batch.x.shape(), self.params.steps);
        let starts = clean.clone();
        let search = ascend(&source, &rule, shape, steps, &rows, starts, &mut states);
        let endings = states.iter_mut().map(|s| &mut s.ending);
        or_budget(search, endings, |e| e != Ending::Converged)?;
        Ok(Candidate {
            x: images(batch, states.iter().map(|s| s.x.as_slice())),
            endings: states.iter().map(|s| s.ending).collect(),
        })
    }
}
