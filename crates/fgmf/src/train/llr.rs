//! LLR: the clean cross-entropy, how far the loss is from linear at the worst point of the ball,
//! and how steep it is towards there.
//!
//! With g = ∇L(x, y) and the deviation E(d) = L(x + d, y) − L(x, y) − ⟨d, g⟩, the objective is the
//! mean over the batch of
//!
//! J = L(x, y) + λ |E(d)| + μ |⟨d, g⟩|,
//!
//! where d is the end of `steps` steps d ← Π(d + α s(∇|E(d)|)) from a random point of the ball. Π
//! projects onto ball and bounds, s is the direction of steepest ascent of the norm (the sign in
//! Linf), and α is `step_size` radii. d is held, and ⟨d, g⟩ is taken as
//! (L(x + h d) − L(x − h d)) / 2h, so that its gradient in the weights needs no derivative of a
//! derivative; the error falls as h².
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `deviation` | 4 | λ, 0 or more |
//! | `slope` | 3 | μ, 0 or more |
//! | `steps` | 10 | 1 to 1,000 |
//! | `step_size` | 0.25 | α in radii, above 0 |
//! | `step` | 0.1 | h in units of d, above 0, at most 1 |
//!
//! Cost: `2 steps + 14` passes an example (2 for g, 3 for each of four rows).
//!
//! Differences from the authors' code: (1) slopes are differences, where theirs differentiate
//! twice; (2) the search takes steps of a fixed size, where theirs follow Adam; (3) λ and μ are
//! those of the paper (their code has 2 L + 4 (|E| + 0.3 |⟨d, g⟩|)); (4) the search sees batch
//! normalisation in evaluation mode; (5) x ± h d is not clipped to the bounds of an image. The
//! method is published with softplus activations. Reference: `qin2019`.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::settings::{complete, read};
use crate::train::base::{
    Attacked, Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, attacked_step,
    check_difference, check_weight, finish, mean,
};
use crate::train::parts::rows::{Weighed, mean_at, step_on_rows};
use crate::train::parts::search::{Search, starts};
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "llr",
    line: "Minimises clean cross-entropy and how far the loss is from linear in the ball.",
    revision: 1,
    reference: "qin2019",
    example: r#"{"steps": 2}"#,
    build: ObjectiveBuild {
        complete: complete::<LlrParams>,
        make: |settings| Ok(Box::new(read::<LlrParams>(settings)?.check()?)),
    },
}];

/// Settings of [`Llr`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlrParams {
    /// Weight of the deviation from linear.
    pub deviation: f64,
    /// Weight of the slope.
    pub slope: f64,
    /// Steps of the search.
    pub steps: usize,
    /// Length of a step in radii.
    pub step_size: f64,
    /// Step of differences in units of d.
    pub step: f64,
}

impl Default for LlrParams {
    fn default() -> Self {
        Self {
            deviation: 4.0,
            slope: 3.0,
            steps: 10,
            step_size: 0.25,
            step: 0.1,
        }
    }
}

impl LlrParams {
    /// The checked objective.
    pub fn check(self) -> Result<Llr> {
        check_weight("deviation", self.deviation, 0.0)?;
        check_weight("slope", self.slope, 0.0)?;
        check_difference(self.step)?;
        let search = Search {
            steps: self.steps,
            step_size: self.step_size,
        };
        search.check()?;
        Ok(Llr { params: self })
    }
}

/// LLR; see the module.
#[derive(Clone, Debug)]
pub struct Llr {
    params: LlrParams,
}

impl Llr {
    /// E(d) and ⟨d, g⟩ of the losses at x, x + d, x + h d, x − h d.
    fn terms(&self, losses: &[f64]) -> (f64, f64) {
        let slope = (losses[2] - losses[3]) / (2.0 * self.params.step);
        (losses[1] - losses[0] - slope, slope)
    }
}

impl Attacked for Llr {
    fn points(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Tensor> {
        let threat = context.threat;
        let (oracle, head) = (Oracle::new(net), CrossEntropy::labels(&batch.labels));
        let at = oracle.loss_gradient(&batch.x, &head)?;
        let (clean, own) = (batch.x.to_f32(), at.gradient.to_f32());
        let size = clean.len() / batch.len().max(1);
        let alpha = (self.params.step_size * threat.eps()) as f32;
        let mut x = starts(batch, context, |x, rng| threat.random_start(x, rng));
        for _ in 0..self.params.steps {
            let there = oracle.loss_gradient(&Tensor::new(batch.x.shape(), x.clone()), &head)?;
            let mut g = there.gradient.to_f32();
            for (i, x) in x.chunks_exact_mut(size).enumerate() {
                let of = i * size..(i + 1) * size;
                let (g, origin, own) = (&mut g[of.clone()], &clean[of.clone()], &own[of]);
                let linear = x.iter().zip(origin).zip(own);
                let linear: f64 = linear.map(|((x, o), g)| f64::from((x - o) * g)).sum();
                let sign = (there.losses[i] - at.losses[i] - linear).signum() as f32;
                g.iter_mut()
                    .zip(own)
                    .for_each(|(g, own)| *g = sign * (*g - own));
                threat.steepest(g);
                x.iter_mut().zip(g).for_each(|(v, d)| *v += alpha * *d);
                threat.project(origin, x);
            }
        }
        Ok(Tensor::new(batch.x.shape(), x))
    }

    fn step_at(
        &self,
        net: &Session,
        batch: &Batch,
        points: &Tensor,
        context: &StepContext<'_>,
    ) -> Result<Step> {
        let LlrParams {
            deviation,
            slope,
            step,
            ..
        } = self.params;
        let (clean, far) = (batch.x.to_f32(), points.to_f32());
        let along = |h: f64| -> Vec<f32> {
            let pairs = clean.iter().zip(&far);
            pairs.map(|(x, end)| x + h as f32 * (end - x)).collect()
        };
        let (ahead, behind) = (along(step), along(-step));
        let rows: [&[f32]; 4] = [&clean, &far, &ahead, &behind];
        let head = Weighed {
            labels: &batch.labels,
            group: 4,
            weigh: |_: usize, losses: &[f64]| {
                let (bend, steep) = self.terms(losses);
                let bend = deviation * bend.signum();
                let difference = (slope * steep.signum() - bend) / (2.0 * step);
                vec![1.0 - bend, bend, difference, -difference]
            },
        };
        let run = step_on_rows(net, &rows, &head, 0, batch, context)?;
        let both = run.losses.chunks_exact(4).map(|losses| self.terms(losses));
        let (bends, slopes): (Vec<f64>, Vec<f64>) = both.map(|(e, s)| (e.abs(), s.abs())).unzip();
        let parts = vec![
            ("cross-entropy", mean_at(&run.losses, 4, 0)),
            ("deviation from linear", mean(&bends)),
            ("slope", mean(&slopes)),
        ];
        Ok(finish(run, &batch.labels, parts))
    }
}

impl Objective for Llr {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        attacked_step(self, net, batch, context)
    }

    fn attacked(&self) -> Option<&dyn Attacked> {
        Some(self)
    }

    fn attacks(&self) -> bool {
        false
    }

    fn rows(&self) -> usize {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parts::checks::{
        attacked_gradient_matches, batch, context, net, points_stay_inside, threat,
    };

    #[test]
    fn objective_gradient_matches_differences() {
        let llr = LlrParams::default().check().unwrap();
        attacked_gradient_matches(&llr, |p| p[0].1 + 4.0 * p[1].1 + 3.0 * p[2].1);
    }

    #[test]
    fn points_stay_inside_and_raise_the_deviation() {
        let llr = LlrParams::default().check().unwrap();
        points_stay_inside(&llr);
        let (net, batch, threat) = (net(), batch(6), threat());
        let context = context(&threat);
        let deviation = |points: &Tensor| {
            let step = llr.step_at(&net, &batch, points, &context).unwrap();
            step.parts[1].1
        };
        let start = starts(&batch, &context, |x, rng| threat.random_start(x, rng));
        let before = deviation(&Tensor::new(batch.x.shape(), start));
        let after = deviation(&llr.points(&net, &batch, &context).unwrap());
        assert!(after > 2.0 * before, "{before}, {after}");
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |params: LlrParams| params.check().unwrap_err().to_string();
        let base = LlrParams::default;
        let deviation = -1.0;
        assert!(
            refused(LlrParams {
                deviation,
                ..base()
            })
            .contains("`deviation`")
        );
        let slope = f64::NAN;
        assert!(refused(LlrParams { slope, ..base() }).contains("`slope`"));
        assert!(refused(LlrParams { steps: 0, ..base() }).contains("`steps`"));
        assert!(
            refused(LlrParams {
                step: 0.0,
                ..base()
            })
            .contains("`step`")
        );
    }
}
