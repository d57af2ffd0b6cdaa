//! The loss on interval bounds beside that of another objective.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::record::Norm;
use crate::train::base::{Step, StepContext, mean};
use crate::train::parts::around::front;
use fgmf_net::bound::IntervalBounds;
use fgmf_net::head::CrossEntropy;
use fgmf_net::{ParameterGradients, Session, Tensor};
use std::sync::{Mutex, PoisonError};

/// What logs call the loss on bounds.
const PART: &str = "cross-entropy of bounds";

/// (1 − α) L + α M: L is another objective, and M the mean of log Σ_j exp(−m_j) over the first
/// `share` of the batch, with m_j a lower bound of z_y − z_j over the box of an image, m_y = 0.
/// M is above the cross-entropy of every image of the box. Where ∇M is longer than ∇L, it is cut to
/// that length.
#[derive(Debug)]
pub(crate) struct BoundedLoss {
    weight: f64,
    share: f64,
    /// The bounds of the last network, which take over the weights of the next step.
    kept: Mutex<Option<IntervalBounds>>,
}

impl BoundedLoss {
    /// With α and a share that are in range.
    pub(crate) fn new(weight: f64, share: f64) -> Self {
        Self {
            weight,
            share,
            kept: Mutex::new(None),
        }
    }

    /// The step on (1 − α) L + α M, given that on L. M is a part of it.
    pub(crate) fn add(
        &self,
        mut step: Step,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<Step> {
        let run = self.evaluate(net, batch, context)?;
        let [own, bounded] = [&step.gradients, &run.gradients].map(|g| length(g));
        let share = self.weight * (own / bounded).min(1.0);
        for (g, bounded) in step.gradients.iter_mut().zip(&run.gradients) {
            let weighed = bounded.affine(share, 0.0);
            *g = g.affine(1.0 - self.weight, 0.0).add(&weighed);
        }
        step.parts.push((PART, mean(&run.losses)));
        Ok(step)
    }

    /// M of each image, and the gradient of its mean.
    pub(crate) fn evaluate(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<ParameterGradients> {
        let norm = context.threat.norm();
        if norm != Norm::Linf {
            return Err(Error::parameter("norm", "linf, for bounds", norm));
        }
        let batch = front(batch, self.share);
        let [lower, upper] = context.threat.boxes(&batch.x);
        let head = CrossEntropy::labels(&batch.labels);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bounds = match kept.take() {
            Some(mut bounds) if bounds.are_of(net) => {
                bounds.refresh(net)?;
                bounds
            }
            _ => IntervalBounds::margins(net)?,
        };
        let run = bounds.parameter_gradients(net, &lower, &upper, &batch.labels, &head)?;
        *kept = Some(bounds);
        Ok(run)
    }
}

/// Euclidean length of all arrays as one.
fn length(gradients: &[Tensor]) -> f64 {
    gradients.iter().map(|g| g.dot(g)).sum::<f64>().sqrt()
}
