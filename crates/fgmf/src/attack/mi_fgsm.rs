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

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, SuiteName, WhiteBox,
};
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

impl MiFgsm {
    fn search(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        x: &mut [f32],
        endings: &mut [Ending],
    ) -> Result<()> {
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len();
        let mut momentum = vec![0.0f32; clean.len()];
        let alpha = (threat.eps() / self.params.steps as f64) as f32;
        let mut active: Vec<usize> = (0..batch.len()).collect();
        for step in 0..=self.params.steps {
            if active.is_empty() {
                break;
            }
            let part = batch.select(&active);
            let points = active
                .iter()
                .flat_map(|&i| x[i * size..(i + 1) * size].to_vec())
                .collect();
            let points = Tensor::new::<f32>(part.x.shape(), points);
            let head = CrossEntropy::labels(&part.labels);
            let (logits, gradient) = if step == self.params.steps {
                (model.logits(&points)?, None)
            } else {
                let at = model.loss_gradient(&points, &head)?;
                (at.logits, Some(at.gradient.to_f32()))
            };
            for (j, (&i, broken)) in active
                .iter()
                .zip(misclassified(&logits, &part.labels))
                .enumerate()
            {
                let here = i * size..(i + 1) * size;
                if broken && (gradient.is_none() || model.settles()) {
                    endings[i] = Ending::Converged;
                    continue;
                }
                let Some(g) = gradient.as_ref().map(|g| &g[j * size..(j + 1) * size]) else {
                    continue;
                };
                let length = Norm::L1.of(g.iter().map(|&v| f64::from(v)));
                if !length.is_finite() {
                    endings[i] = Ending::NonFinite;
                    continue;
                }
                if step == 0 && length == 0.0 {
                    endings[i] = Ending::ZeroGradient;
                }
                let scale = 1.0 / length.max(f64::MIN_POSITIVE);
                let kept = self.params.decay as f32;
                momentum[here.clone()]
                    .iter_mut()
                    .zip(g)
                    .for_each(|(m, &g)| *m = kept * *m + (f64::from(g) * scale) as f32);
                let mut direction = momentum[here.clone()].to_vec();
                threat.steepest(&mut direction);
                x[here.clone()]
                    .iter_mut()
                    .zip(&direction)
                    .for_each(|(v, d)| *v += alpha * d);
                threat.project(&clean[here.clone()], &mut x[here]);
            }
            active.retain(|&i| !matches!(endings[i], Ending::Converged | Ending::NonFinite));
        }
        Ok(())
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
        let mut x = batch.x.to_f32();
        let mut endings = vec![Ending::StepsExhausted; batch.len()];
        match self.search(model, batch, threat, &mut x, &mut endings) {
            Err(Error::Budget { .. }) => {
                endings
                    .iter_mut()
                    .filter(|e| **e != Ending::Converged)
                    .for_each(|e| *e = Ending::BudgetExhausted);
            }
            other => other?,
        }
        Ok(Candidate {
            x: Tensor::new(batch.x.shape(), x),
            endings,
        })
    }
}
