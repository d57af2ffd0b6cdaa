//! Searches inside a training step: a start for each image, and steps of steepest ascent from it.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use crate::train::base::StepContext;
use fgmf_net::head::Head;
use fgmf_net::{Session, Tensor};

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Number of steps.
    pub(crate) steps: usize,
    /// Length of a step in radii.
    pub(crate) step_size: f64,
}

impl Search {
    /// An error unless there are 1 to 1,000 steps, each longer than 0.
    pub(crate) fn check(&self) -> Result<()> {
        if !(1..=1000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 1,000", self.steps));
        }
        if !(self.step_size.is_finite() && self.step_size > 0.0) {
            let expected = "a finite number above 0";
            return Err(Error::parameter("step_size", expected, self.step_size));
        }
        Ok(())
    }

    /// Where `steps` steps x ← Π(x + α s(∇L(x))) on `head` end, from `start`. Π projects onto ball
    /// and bounds, s is the direction of steepest ascent of the norm, α is `step_size` radii.
    /// The start itself is not projected.
    pub(crate) fn ascend(
        &self,
        net: &Session,
        clean: &Tensor,
        start: Vec<f32>,
        head: &dyn Head,
        threat: &ThreatModel,
    ) -> Result<Tensor> {
        self.ascend_by(net, clean, start, head, threat, |origin, x| {
            threat.project(origin, x);
        })
    }

    /// [`Search::ascend`] with another way to bring a point back: `bring(image, point)`.
    pub(crate) fn ascend_by(
        &self,
        net: &Session,
        clean: &Tensor,
        start: Vec<f32>,
        head: &dyn Head,
        threat: &ThreatModel,
        bring: impl Fn(&[f32], &mut [f32]),
    ) -> Result<Tensor> {
        let oracle = Oracle::new(net);
        let origins = clean.to_f32();
        let size = origins.len() / clean.shape()[0].max(1);
        let alpha = (self.step_size * threat.eps()) as f32;
        let mut x = start;
        for _ in 0..self.steps {
            let at = oracle.loss_gradient(&Tensor::new(clean.shape(), x.clone()), head)?;
            let mut g = at.gradient.to_f32();
            for ((x, g), origin) in x
                .chunks_exact_mut(size)
                .zip(g.chunks_exact_mut(size))
                .zip(origins.chunks_exact(size))
            {
                threat.steepest(g);
                x.iter_mut().zip(g).for_each(|(v, d)| *v += alpha * *d);
                bring(origin, x);
            }
        }
        Ok(Tensor::new(clean.shape(), x))
    }
}

/// A start for each image of the batch, end to end: `draw(image, stream)`, where the stream is that
/// of the example in this epoch.
pub(crate) fn starts(
    batch: &Batch,
    context: &StepContext<'_>,
    mut draw: impl FnMut(&[f32], &mut Stream) -> Vec<f32>,
) -> Vec<f32> {
    let clean = batch.x.to_f32();
    let size = clean.len() / batch.len().max(1);
    let mut all = Vec::with_capacity(clean.len());
    for (origin, &index) in clean.chunks_exact(size.max(1)).zip(&batch.index) {
        let mut rng = Stream::new(context.seed, Purpose::Training, context.epoch, index);
        all.extend(draw(origin, &mut rng));
    }
    all
}

/// The image with normal noise of deviation 0.001: where TRADES and MART start.
pub(crate) fn nearby(origin: &[f32], rng: &mut Stream) -> Vec<f32> {
    origin.iter().map(|v| v + 1e-3 * rng.normal()).collect()
}
