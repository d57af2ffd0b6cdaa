//! Gradient norm: the clean cross-entropy, and the dual norm of its gradient in the image.
//!
//! With g = ∇L(x, y), the objective is the mean over the batch of
//!
//! J = a L(x, y) + b eps ‖g‖*,
//!
//! where ‖·‖* is the dual of the norm of the threat (L1 for a threat in Linf), so that eps ‖g‖* is
//! how much the loss can grow in the ball to first order. With v = eps s(g) held, where s is the
//! direction of steepest ascent, eps ‖g‖* = ⟨v, g⟩, and its gradient in the weights is that of
//! (L(x + h v) − L(x − h v)) / 2h up to an error of h²: two more rows a step, and no derivative
//! of a derivative. On the small network of `parity/objectives.py` a step differs from that of
//! two derivatives by 0.2% at h = 0.1 and by 0.01% at h = 0.02.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `clean` | 0.8 | weight a, 0 or more |
//! | `weight` | 1.2 | weight b, 0 or more |
//! | `step` | 0.1 | h in radii, above 0, at most 1 |
//!
//! Cost: 11 passes an example (2 for g, 3 for each of three rows).
//!
//! Differences from the authors' code: (1) slopes are differences, where theirs differentiate
//! twice; in a network of rectifiers a row may stand on the other side of a kink; (2) v comes from
//! a pass with batch normalisation in evaluation mode; (3) b does not grow over the first epochs:
//! the radius does (`eps_warmup`); (4) x ± h v is not clipped to the bounds of an image; (5) for a
//! threat in L1 the norm is the mean of the largest hundredth of |g|. Their pixels are divided by
//! a deviation and so is their eps, which leaves eps ‖g‖* as it is here.
//!
//! The method is published with smooth activations; with rectifiers it fails on large networks.
//! Reference: `rodriguez2024`.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::settings::{complete, read};
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, check_difference, check_weight,
    finish,
};
use crate::train::parts::rows::mean_at;
use crate::train::parts::slope::{Scalar, SlopeTerms};
use fgmf_net::Session;
use fgmf_net::head::CrossEntropy;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "grad-norm",
    line: "Minimises clean cross-entropy and the norm of its gradient in the image.",
    revision: 1,
    reference: "rodriguez2024",
    example: r#"{"weight": 1.2}"#,
    build: ObjectiveBuild {
        complete: complete::<GradNormParams>,
        make: |settings| Ok(Box::new(read::<GradNormParams>(settings)?.check()?)),
    },
}];

/// Settings of [`GradNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradNormParams {
    /// Weight of the clean cross-entropy.
    pub clean: f64,
    /// Weight of the norm.
    pub weight: f64,
    /// Step of differences in radii.
    pub step: f64,
}

impl Default for GradNormParams {
    fn default() -> Self {
        Self {
            clean: 0.8,
            weight: 1.2,
            step: 0.1,
        }
    }
}

impl GradNormParams {
    /// The checked objective.
    pub fn check(self) -> Result<GradNorm> {
        check_weight("clean", self.clean, 0.0)?;
        check_weight("weight", self.weight, 0.0)?;
        check_difference(self.step)?;
        Ok(GradNorm { params: self })
    }
}

/// Gradient norm; see the module.
#[derive(Clone, Debug)]
pub struct GradNorm {
    params: GradNormParams,
}

impl GradNorm {
    /// v = eps s(g) of each image, end to end.
    fn directions(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<Vec<f32>> {
        let head = CrossEntropy::labels(&batch.labels);
        let at = Oracle::new(net).loss_gradient(&batch.x, &head)?;
        let mut v = at.gradient.to_f32();
        let (size, eps) = (v.len() / batch.len().max(1), context.threat.eps() as f32);
        for v in v.chunks_exact_mut(size) {
            context.threat.steepest(v);
            v.iter_mut().for_each(|v| *v *= eps);
        }
        Ok(v)
    }

    fn step_along(
        &self,
        net: &Session,
        batch: &Batch,
        directions: &[f32],
        context: &StepContext<'_>,
    ) -> Result<Step> {
        let GradNormParams {
            clean,
            weight,
            step,
        } = self.params;
        let x = batch.x.to_f32();
        let size = x.len() / batch.len().max(1);
        let mut terms = SlopeTerms::new(&batch.labels, 3);
        for (x, v) in x.chunks_exact(size).zip(directions.chunks_exact(size)) {
            terms.value(Scalar::CrossEntropy, x, clean);
            terms.slope(Scalar::CrossEntropy, x, v, step, weight);
        }
        let run = terms.step(net, batch, context)?;
        let parts = vec![
            ("cross-entropy", mean_at(&run.losses, 3, 0)),
            ("weighted gradient norm", terms.mean(&run.losses, 1..3)),
        ];
        Ok(finish(run, &batch.labels, parts))
    }
}

impl Objective for GradNorm {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let directions = self.directions(net, batch, context)?;
        self.step_along(net, batch, &directions, context)
    }

    fn attacks(&self) -> bool {
        false
    }

    fn rows(&self) -> usize {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parts::checks::{batch, context, gradient_matches, net, threat};

    #[test]
    fn objective_gradient_matches_differences() {
        let (net, batch, threat) = (net(), batch(4), threat());
        let context = context(&threat);
        let objective = GradNormParams::default().check().unwrap();
        let v = objective.directions(&net, &batch, &context).unwrap();
        gradient_matches(&net, |net| {
            let step = objective.step_along(net, &batch, &v, &context).unwrap();
            let value = 0.8 * step.parts[0].1 + step.parts[1].1;
            (step, value)
        });
    }

    /// A linear network of two classes, z = (2 x₀ − x₁, 0): g = (p − 1)(2, −1), exactly.
    #[test]
    fn the_norm_is_that_of_the_gradient() {
        let net =
            fgmf_testkit::toys::linear(&[vec![2.0, -1.0], vec![0.0; 2]], &[0.0; 2], [1, 1, 2]);
        let net = net.cast(fgmf_net::Precision::F32);
        let batch = Batch {
            x: fgmf_net::Tensor::new(&[1, 1, 1, 2], vec![0.5f32, 0.25]),
            labels: vec![0],
            index: vec![0],
        };
        let threat = threat();
        let objective = GradNormParams::default().check().unwrap();
        let step = objective.step(&net, &batch, &context(&threat)).unwrap();
        let p = 1.0 / (1.0 + (-0.75f64).exp());
        let expected = 1.2 * 0.1 * 3.0 * (1.0 - p);
        let found = step.parts[1].1;
        assert!(
            (found - expected).abs() < 1e-4 * expected,
            "{found}, {expected}"
        );
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |params: GradNormParams| params.check().unwrap_err().to_string();
        let base = GradNormParams::default;
        assert!(
            refused(GradNormParams {
                clean: -1.0,
                ..base()
            })
            .contains("`clean`")
        );
        let weight = f64::NAN;
        assert!(refused(GradNormParams { weight, ..base() }).contains("`weight`"));
        assert!(
            refused(GradNormParams {
                step: 0.0,
                ..base()
            })
            .contains("`step`")
        );
    }
}
