//! DeepFool: walks to the nearest boundary of the network's linearisation, again and again.
//!
//! At xₜ, for each class j ≠ y: w_j = ∇z_j − ∇z_y, f_j = z_j − z_y; the nearest boundary is that of
//! l = argmin |f_j| / ‖w_j‖_q, and the step (|f_l| + 10⁻⁴) / ‖w_l‖_q · r, with r the unit vector of
//! the threat's norm p along w_l (w / ‖w‖₂ for L2, sign w for Linf) and q dual to p. The point is
//! x₀ + (1 + η) Σ steps, in the bounds.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 50 | 1 to 100,000 |
//! | `overshoot` | 0.02 | η, 0 or more |
//!
//! Cost: at most `k (steps + 1)` forward and backward passes an example, k the number of classes.
//!
//! Differences from the paper: (1) y is the true label, which the examples attacked have; (2) an L1
//! threat is searched in L2. Reference: `moosavi2016`.

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
use fgmf_net::head::{Head, Logit, Margin};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "deepfool",
    line: "Walks to the nearest boundary of the linearised network, again and again.",
    revision: 1,
    reference: "moosavi2016",
    example: r#"{"steps": 5}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::White(Box::new(
                read::<DeepFoolParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "deepfool",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`DeepFool`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepFoolParams {
    /// Steps.
    pub steps: usize,
    /// How far beyond the boundary, as a share of the way.
    pub overshoot: f64,
}

impl Default for DeepFoolParams {
    fn default() -> Self {
        Self {
            steps: 50,
            overshoot: 0.02,
        }
    }
}

impl DeepFoolParams {
    /// The checked attack.
    pub fn check(self) -> Result<DeepFool> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        if !(self.overshoot.is_finite() && self.overshoot >= 0.0) {
            return Err(Error::parameter(
                "overshoot",
                "a finite number, 0 or more",
                self.overshoot,
            ));
        }
        Ok(DeepFool { params: self })
    }
}

/// Checked DeepFool.
#[derive(Clone, Debug)]
pub struct DeepFool {
    params: DeepFoolParams,
}

/// The step to the nearest boundary of the linearisation; `None` where no class has a finite one.
fn step(logits: &[f64], gradients: &[&[f64]], label: usize, norm: Norm) -> Option<Vec<f64>> {
    let dual = if norm == Norm::Linf {
        Norm::L1
    } else {
        Norm::L2
    };
    let toward = |j: usize| {
        let w: Vec<f64> = gradients[j]
            .iter()
            .zip(gradients[label])
            .map(|(a, b)| a - b)
            .collect();
        let length = dual.of(w.iter().copied());
        let distance = (logits[j] - logits[label]).abs() / length;
        (distance.is_finite()).then_some((distance, length, w))
    };
    let nearest = (0..logits.len())
        .filter(|&j| j != label)
        .filter_map(toward)
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let (distance, length, w) = nearest?;
    let size = distance + 1e-4 / length;
    let sign = |v: &f64| if *v == 0.0 { 0.0 } else { v.signum() };
    Some(
        w.iter()
            .map(|v| {
                size * if norm == Norm::Linf {
                    sign(v)
                } else {
                    v / length
                }
            })
            .collect(),
    )
}

impl DeepFool {
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
        let [lo, hi] = threat.bounds();
        let goes_on = !model.settles();
        let mut kept: Vec<Kept> = endings.iter().map(|_| Kept::new(model)).collect();
        let mut total = vec![0.0f64; clean.len()];
        let mut active: Vec<usize> = (0..batch.len()).collect();
        for t in 0..=self.params.steps {
            if active.is_empty() {
                break;
            }
            let gather = |active: &[usize], x: &[f32]| {
                active
                    .iter()
                    .flat_map(|&i| x[i * size..(i + 1) * size].to_vec())
                    .collect::<Vec<f32>>()
            };
            let part = batch.select(&active);
            let logits = model.logits(&Tensor::new::<f32>(part.x.shape(), gather(&active, x)))?;
            let broken = misclassified(&logits, &part.labels);
            if goes_on {
                let rows = 0..active.len();
                let (margins, _) = Margin::new(&part.labels).evaluate(&logits.into(), rows);
                for (j, &i) in active.iter().enumerate() {
                    let here = i * size..(i + 1) * size;
                    let seen = (broken[j], margins[j]);
                    kept[i].offer(threat, &clean[here.clone()], &x[here], seen);
                }
            }
            for (&i, broken) in active.iter().zip(broken) {
                if broken && !goes_on {
                    endings[i] = Ending::Converged;
                }
            }
            active.retain(|&i| endings[i] == Ending::StepsExhausted);
            if active.is_empty() || t == self.params.steps {
                break;
            }
            let part = batch.select(&active);
            let points = Tensor::new::<f32>(part.x.shape(), gather(&active, x));
            let (mut logits, mut gradients) = (Vec::new(), Vec::new());
            for class in 0..model.classes() {
                let at = model.loss_gradient(&points, &Logit::new(&vec![class; active.len()]))?;
                logits.push(at.losses);
                gradients.push(at.gradient.to_f64());
            }
            for (j, &i) in active.iter().enumerate() {
                let z: Vec<f64> = logits.iter().map(|l| l[j]).collect();
                let g: Vec<&[f64]> = gradients
                    .iter()
                    .map(|g| &g[j * size..(j + 1) * size])
                    .collect();
                let Some(r) = step(&z, &g, part.labels[j], threat.norm()) else {
                    let flat = g.iter().all(|g| g.iter().all(|v| *v == 0.0));
                    endings[i] = if flat {
                        Ending::ZeroGradient
                    } else {
                        Ending::NonFinite
                    };
                    continue;
                };
                for (k, r) in r.iter().enumerate() {
                    let at = i * size + k;
                    total[at] += r;
                    let moved = f64::from(clean[at]) + (1.0 + self.params.overshoot) * total[at];
                    x[at] = moved.clamp(lo, hi) as f32;
                }
            }
            active.retain(|&i| endings[i] == Ending::StepsExhausted);
        }
        for (row, kept) in x.chunks_exact_mut(size).zip(kept) {
            if let Some(point) = kept.point() {
                row.copy_from_slice(&point);
            }
        }
        Ok(())
    }
}

impl WhiteBox for DeepFool {
    fn id(&self) -> &'static str {
        "deepfool"
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
        let search = self.search(model, batch, threat, &mut x, &mut endings);
        or_budget(search, endings.iter_mut(), |e| e == Ending::StepsExhausted)?;
        Ok(Candidate {
            x: Tensor::new(batch.x.shape(), x),
            endings,
        })
    }
}
