//! What an objective is, and what the objectives share: a step on images, SGAM's teacher beside it.

use crate::data::batch::Batch;
use crate::defend::sgam::SALIENCY;
use crate::error::{Error, Result};
use crate::explain::base::Inner;
use crate::method::Method;
use crate::model::answer::predictions;
use crate::settings::Ordered;
use crate::threat::ThreatModel;
use crate::train::salience::{Salience, SalienceSource};
use fgmf_net::ParameterGradients;
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::{Dual, Mode, Session, Tensor, ValueId};
use std::ops::Range;

/// What a step knows besides its examples.
pub struct StepContext<'a> {
    /// Threat trained against.
    pub threat: &'a ThreatModel,
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Salient pixels and mask targets of the whole training set, if the run keeps them.
    pub salience: Option<&'a Salience>,
    /// Where the search of each image of the batch ended when it was visited last, less the image,
    /// in units of the radius, `[n, c, h, w]`; zeros at first. None if the run keeps none.
    pub displacement: Option<&'a Tensor>,
    /// What the step before left for this one in [`Step::carried`]; empty at first.
    pub carried: &'a [f64],
}

/// Outcome of a step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Gradient of the objective in every trainable parameter.
    pub gradients: Vec<Tensor>,
    /// Batch statistics seen, by node.
    pub statistics: Vec<(usize, Tensor, Tensor)>,
    /// Named parts of the objective, means over the batch.
    pub parts: Vec<(&'static str, f64)>,
    /// Examples classified correctly as they were trained on.
    pub correct: usize,
    /// What [`StepContext::displacement`] will be when these images are visited next.
    pub displacement: Option<Tensor>,
    /// What [`StepContext::carried`] will be at the next step; empty leaves it as it is.
    pub carried: Vec<f64>,
}

/// A training objective.
pub trait Objective: Sync {
    /// Its gradient on a batch. Attacks inside run with batch normalisation in evaluation mode, the
    /// step itself in training mode on the images it ends with.
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step>;

    /// Whether the run must keep salient pixels, how many epochs they last, and how they are found.
    fn salience(&self) -> Option<SalienceSource> {
        None
    }

    /// Whether it trains on attacked images, so that its accuracy is one under attack.
    fn attacks(&self) -> bool {
        true
    }

    /// Rows of a step for each example, 1 or more.
    fn rows(&self) -> usize {
        1
    }

    /// Copies of the network that a step makes.
    fn copies(&self) -> usize {
        0
    }

    /// Whether the run must keep where searches ended, from one visit of an image to the next.
    fn keeps_displacements(&self) -> bool {
        false
    }

    /// Steps in a row on each batch, 1 or more.
    fn replays(&self) -> usize {
        1
    }

    /// Who teaches the network's own maps, if the objective changes those and nothing else.
    fn teaches_map(&self) -> Option<&Inner> {
        None
    }

    /// The objective as one that finds points first, if it is.
    fn attacked(&self) -> Option<&dyn Attacked> {
        None
    }

    /// Hands the objective the one inside it, which its setting `inner` names. An error unless it
    /// is made to go around another.
    fn take(&mut self, _inner: Box<dyn Objective>) -> Result<()> {
        Err(Error::parameter(
            "inner",
            "no objective inside this one",
            "one",
        ))
    }
}

/// An objective that searches for points and then takes its gradient there. What goes around an
/// objective, and what compares it with another implementation, hands in the points.
pub trait Attacked: Sync {
    /// The points, `[n, c, h, w]`, one for each image of the batch.
    fn points(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Tensor>;

    /// The objective's gradient on a batch, with the points given.
    fn step_at(
        &self,
        net: &Session,
        batch: &Batch,
        points: &Tensor,
        context: &StepContext<'_>,
    ) -> Result<Step>;
}

/// How an objective is made.
pub(crate) struct ObjectiveBuild {
    /// All its settings, in the order of its record; reads no file.
    pub(crate) complete: fn(serde_json::Value) -> Result<Ordered>,
    /// The checked objective.
    pub(crate) make: fn(serde_json::Value) -> Result<Box<dyn Objective>>,
}

/// An objective's entry in the list.
pub(crate) type ObjectiveMethod = Method<ObjectiveBuild>;

/// Weight gradients of `head` on `x`, with SGAM's teacher beside it if the network has a mask to
/// teach. `repeat` is the number of rows that each example of `batch` has in `x`.
pub(crate) fn step_on(
    net: &Session,
    x: &Tensor,
    head: &dyn Head,
    batch: &Batch,
    repeat: usize,
    context: &StepContext<'_>,
) -> Result<ParameterGradients> {
    taught(net, head, batch, repeat, context, |head| {
        Ok(net.parameter_gradients(x, head, Mode::Train)?)
    })
}

/// [`step_on`] with a row for each example, and the gradient in the images beside it.
pub(crate) fn step_on_with_images(
    net: &Session,
    x: &Tensor,
    head: &dyn Head,
    batch: &Batch,
    context: &StepContext<'_>,
) -> Result<(ParameterGradients, Tensor)> {
    taught(net, head, batch, 1, context, |head| {
        Ok(net.parameter_and_image_gradients(x, head, Mode::Train)?)
    })
}

/// What `run` makes of `head`, with SGAM's teacher beside it if there is one.
fn taught<T>(
    net: &Session,
    head: &dyn Head,
    batch: &Batch,
    repeat: usize,
    context: &StepContext<'_>,
    run: impl FnOnce(&dyn Head) -> Result<T>,
) -> Result<T> {
    let teacher = context.salience.and_then(|s| s.teacher());
    let Some((teacher, at)) = teacher.zip(net.find(SALIENCY)) else {
        return run(head);
    };
    let rows = |&i: &u64| std::iter::repeat_n(i, repeat);
    let rows: Vec<u64> = batch.index.iter().flat_map(rows).collect();
    let [_, h, w] = net.image_shape();
    run(&Taught {
        inner: head,
        at,
        targets: teacher.rows(&rows, h, w),
        weight: teacher.weight,
    })
}

/// A head plus `weight / 2 · mean (s − target)²` on the saliency map of the mask layer.
struct Taught<'a> {
    inner: &'a dyn Head,
    at: ValueId,
    targets: Tensor,
    weight: f64,
}

impl Head for Taught<'_> {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        self.inner.evaluate(logits, examples)
    }

    fn group(&self) -> usize {
        self.inner.group()
    }

    fn auxiliary_values(&self) -> Vec<ValueId> {
        let mut all = self.inner.auxiliary_values();
        all.push(self.at);
        all
    }

    fn auxiliary(&self, values: &[Tensor], examples: Range<usize>) -> Vec<Tensor> {
        let Some((map, inner)) = values.split_last() else {
            return Vec::new();
        };
        let mut all = self.inner.auxiliary(inner, examples.clone());
        let pixels = map.len() / examples.len().max(1);
        let target = self.targets.rows(examples.start, examples.len());
        all.push(map.sub(&target).affine(self.weight / pixels as f64, 0.0));
        all
    }
}

pub(crate) fn finish(
    run: ParameterGradients,
    labels: &[usize],
    parts: Vec<(&'static str, f64)>,
) -> Step {
    let correct = predictions(&run.logits)
        .iter()
        .zip(labels)
        .filter(|(p, y)| p == y)
        .count();
    Step {
        gradients: run.gradients,
        statistics: run.statistics,
        parts,
        correct,
        displacement: None,
        carried: Vec::new(),
    }
}

pub(crate) fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len().max(1) as f64
}

/// The step on the cross-entropy at given points.
pub(crate) fn cross_entropy_at(
    net: &Session,
    batch: &Batch,
    points: &Tensor,
    context: &StepContext<'_>,
) -> Result<Step> {
    let head = CrossEntropy::labels(&batch.labels);
    let run = step_on(net, points, &head, batch, 1, context)?;
    let loss = mean(&run.losses);
    let parts = vec![("attacked cross-entropy", loss)];
    Ok(finish(run, &batch.labels, parts))
}

/// The step of an objective that finds its points itself.
pub(crate) fn attacked_step(
    objective: &dyn Attacked,
    net: &Session,
    batch: &Batch,
    context: &StepContext<'_>,
) -> Result<Step> {
    let points = objective.points(net, batch, context)?;
    objective.step_at(net, batch, &points, context)
}

/// An error unless `value` is a finite number of at least `least`.
pub(crate) fn check_weight(name: &'static str, value: f64, least: f64) -> Result<()> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    let expected = format!("a finite number, {least} or more");
    Err(Error::parameter(name, expected, value))
}

/// An error unless `step`, by which differences take the place of derivatives, is above 0 and at
/// most 1 radius.
pub(crate) fn check_difference(step: f64) -> Result<()> {
    if step > 0.0 && step <= 1.0 {
        return Ok(());
    }
    Err(Error::parameter("step", "above 0, at most 1", step))
}
