//! Attacks along the policy's own gradient, from a random start, on the planes that may change.

use crate::agent::interfere::base::{Interference, TeamMoment};
use crate::agent::interfere::noise::random_point;
use crate::error::{Error, Result};
use crate::model::{Gradients, argmax, softmax};
use fgmf_net::Tensor;
use fgmf_net::head::{CrossEntropy, Head, Margin};
use rayon::prelude::*;

/// What is increased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientLoss {
    /// KL(π(o) ‖ π(o + δ)), the maximal action difference of Zhang et al. 2020. Its gradient at δ =
    /// 0 is zero, so the start is random.
    Divergence,
    /// max_{j ≠ a} z_j − z_a of the greedy action a: positive where the action changes.
    Margin,
}

/// Projected gradient ascent.
///
/// x₀ is a random point of the ball. x_{i+1} = P(x_i + α s(g)), where g is the gradient of the loss
/// with zeros on closed planes, s the steepest direction of the norm and P the projection onto ball
/// and bounds. The step is α = 2.5 ε / steps. The point of the largest loss is kept, of `restarts`
/// starts. Costs `restarts` · (`steps` + 1) passes.
///
/// The settings are those of PGD for images (Madry et al. 2018).
pub struct GradientAttack<'m> {
    model: &'m dyn Gradients,
    loss: GradientLoss,
    steps: usize,
    restarts: usize,
}

impl<'m> GradientAttack<'m> {
    /// On this policy; `steps` and `restarts` 1 to 255.
    ///
    /// # Errors
    /// [`Error::Parameter`] for numbers out of their range.
    pub fn new(
        model: &'m dyn Gradients,
        loss: GradientLoss,
        steps: usize,
        restarts: usize,
    ) -> Result<Self> {
        for (name, value) in [("steps", steps), ("restarts", restarts)] {
            if !(1..=255).contains(&value) {
                return Err(Error::parameter(name, "1 to 255", value));
            }
        }
        Ok(Self {
            model,
            loss,
            steps,
            restarts,
        })
    }

    fn head(&self, clean: &Tensor) -> Result<Box<dyn Head>> {
        let logits = self.model.logits(clean)?;
        let k = self.model.classes();
        let rows = logits.to_f64();
        Ok(match self.loss {
            // The cross-entropy with targets π(o) is the divergence and a constant.
            GradientLoss::Divergence => {
                let p: Vec<f64> = rows.chunks_exact(k).flat_map(softmax).collect();
                let targets = Tensor::new(&[rows.len() / k, k], p);
                Box::new(CrossEntropy::soft(targets.cast(clean.precision())))
            }
            GradientLoss::Margin => {
                let greedy: Vec<usize> = rows.chunks_exact(k).map(argmax).collect();
                Box::new(Margin::new(&greedy))
            }
        })
    }
}

impl Interference for GradientAttack<'_> {
    fn id(&self) -> &'static str {
        match self.loss {
            GradientLoss::Divergence => "pgd-kl",
            GradientLoss::Margin => "pgd-margin",
        }
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({ "steps": self.steps, "restarts": self.restarts })
    }

    fn views(&self, at: &TeamMoment<'_>) -> Result<Tensor> {
        let Some(threat) = at.threat else {
            let expected = "a ball as the budget of an attack along gradients";
            return Err(Error::mismatch("interfere", expected, "none"));
        };
        let (shape, size) = (at.views.shape(), at.spec.size());
        let clean = at.views.to_f32();
        let head = self.head(at.views)?;
        let mut best = clean.clone();
        let mut largest = vec![f64::NEG_INFINITY; shape[0]];
        let mut keep = |x: &[f32], losses: &[f64]| {
            for (row, &loss) in losses.iter().enumerate().filter(|(_, l)| l.is_finite()) {
                if loss > largest[row] {
                    largest[row] = loss;
                    let part = row * size..(row + 1) * size;
                    best[part.clone()].copy_from_slice(&x[part]);
                }
            }
        };
        let rate = (2.5 * threat.eps() / self.steps as f64) as f32;
        for restart in 0..self.restarts {
            let starts = clean.chunks_exact(size).enumerate();
            let starts = starts.flat_map(|(row, o)| random_point(at, row, o, restart as u64));
            let mut x: Vec<f32> = starts.collect();
            for _ in 0..self.steps {
                let here = Tensor::new::<f32>(shape, x.clone());
                let found = self.model.loss_gradient(&here, head.as_ref())?;
                keep(&x, &found.losses);
                let mut slopes = found.gradient.into_f32();
                let rows = x
                    .par_chunks_exact_mut(size)
                    .zip(clean.par_chunks_exact(size));
                let rows = rows.zip(slopes.par_chunks_exact_mut(size));
                rows.for_each(|((x, clean), slope)| {
                    for (s, open) in slope.iter_mut().zip(at.open) {
                        *s = if *open && s.is_finite() { *s } else { 0.0 };
                    }
                    threat.drop_blocked(x, slope);
                    threat.steepest(slope);
                    x.iter_mut()
                        .zip(slope.iter())
                        .for_each(|(x, s)| *x += rate * s);
                    threat.project(clean, x);
                    for ((x, &o), open) in x.iter_mut().zip(clean).zip(at.open) {
                        *x = if *open { *x } else { o };
                    }
                });
            }
            let last = Tensor::new::<f32>(shape, x.clone());
            let logits = self.model.logits(&last)?;
            let (losses, _) = head.evaluate(&logits.into(), 0..shape[0]);
            keep(&x, &losses);
        }
        Ok(Tensor::new::<f32>(shape, best))
    }
}
