//! Objectives: what a training step minimises. Standard training and adversarial training live
//! here; SCOR-PIO has its own file.

use crate::attack::loss::AttackLoss;
use crate::attack::pgd::{PgdParams, Start};
use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients as _;
use crate::model::answer::predictions;
use crate::model::oracle::Oracle;
use crate::threat::ThreatModel;
use crate::train::salience::Salience;
use fgmf_net::ParameterGradients;
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::{Dual, Mode, Session, Tensor, ValueId};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a step knows besides its examples.
pub struct Context<'a> {
    /// Threat trained against.
    pub threat: &'a ThreatModel,
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Salient pixels and mask targets of the whole training set, if the run keeps them.
    pub salience: Option<&'a Salience>,
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
}

/// A training objective.
pub trait Objective: Sync {
    /// Its gradient on a batch. Attacks inside run with batch normalisation in evaluation mode, the
    /// step itself in training mode on the images it ends with.
    fn step(&self, net: &Session, batch: &Batch, context: &Context<'_>) -> Result<Step>;

    /// Whether the run must keep salient pixels, how many epochs they last, and how they are found.
    fn salience(&self) -> Option<super::salience::SalienceSource> {
        None
    }
}

/// Weight gradients of `head` on `x`, with SGAM's teacher beside it if the network has a mask to
/// teach. `repeat` is the number of rows that each example of `batch` has in `x`.
pub(super) fn step_on(
    net: &Session,
    x: &Tensor,
    head: &dyn Head,
    batch: &Batch,
    repeat: usize,
    context: &Context<'_>,
) -> Result<ParameterGradients> {
    let taught = context
        .salience
        .and_then(|s| s.teacher())
        .zip(net.find(crate::defend::sgam::SALIENCY));
    Ok(match taught {
        Some((teacher, at)) => {
            let rows: Vec<u64> = batch
                .index
                .iter()
                .flat_map(|&i| std::iter::repeat_n(i, repeat))
                .collect();
            let [_, h, w] = net.image_shape();
            let head = Taught {
                inner: head,
                at,
                targets: teacher.rows(&rows, h, w),
                weight: teacher.weight,
            };
            net.parameter_gradients(x, &head, Mode::Train)?
        }
        None => net.parameter_gradients(x, head, Mode::Train)?,
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
        vec![self.at]
    }

    fn auxiliary(&self, values: &[Tensor], examples: Range<usize>) -> Vec<Tensor> {
        let pixels = values[0].len() / examples.len().max(1);
        let target = self.targets.rows(examples.start, examples.len());
        vec![
            values[0]
                .sub(&target)
                .affine(self.weight / pixels as f64, 0.0),
        ]
    }
}

pub(super) fn finish(
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
    }
}

pub(super) fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len().max(1) as f64
}

/// Cross-entropy on clean images.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

impl Objective for Standard {
    fn step(&self, net: &Session, batch: &Batch, context: &Context<'_>) -> Result<Step> {
        let run = step_on(
            net,
            &batch.x,
            &CrossEntropy::labels(&batch.labels),
            batch,
            1,
            context,
        )?;
        let loss = mean(&run.losses);
        Ok(finish(run, &batch.labels, vec![("cross-entropy", loss)]))
    }
}

/// Settings of [`PgdAt`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 7 | 1 to 1,000 |
/// | `step_size` | 0.25 | in radii, above 0 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PgdAtParams {
    /// Attack steps.
    pub steps: usize,
    /// Length of a step as a share of the radius.
    pub step_size: f64,
}

impl Default for PgdAtParams {
    fn default() -> Self {
        Self {
            steps: 7,
            step_size: 0.25,
        }
    }
}

/// Adversarial training (Madry et al. 2018): cross-entropy at the end of a PGD search from a random
/// start.
///
/// Cost: `2 steps + 3` passes an example, where a standard step costs 3. Unlike the attack of the
/// same name the search is not stopped at the first success: the step wants the largest loss.
#[derive(Clone, Debug)]
pub struct PgdAt {
    params: PgdAtParams,
}

impl PgdAt {
    /// Checked settings.
    pub fn new(params: PgdAtParams) -> Result<Self> {
        let attack = PgdParams {
            steps: params.steps,
            step_size: Some(params.step_size),
            restarts: 1,
            start: Start::Random,
            loss: AttackLoss::CrossEntropy,
        };
        attack.check()?;
        Ok(Self { params })
    }
}

impl Objective for PgdAt {
    fn step(&self, net: &Session, batch: &Batch, context: &Context<'_>) -> Result<Step> {
        let oracle = Oracle::new(net);
        let head = CrossEntropy::labels(&batch.labels);
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len();
        let alpha = (self.params.step_size * context.threat.eps()) as f32;
        let mut x: Vec<f32> = Vec::with_capacity(clean.len());
        for (origin, &index) in clean.chunks_exact(size).zip(&batch.index) {
            let mut rng = crate::rng::Stream::new(
                context.seed,
                crate::rng::Purpose::Training,
                context.epoch,
                index,
            );
            x.extend(context.threat.random_start(origin, &mut rng));
        }
        for _ in 0..self.params.steps {
            let at = oracle.loss_gradient(&Tensor::new(batch.x.shape(), x.clone()), &head)?;
            let mut g = at.gradient.to_f32();
            for ((x, g), origin) in x
                .chunks_exact_mut(size)
                .zip(g.chunks_exact_mut(size))
                .zip(clean.chunks_exact(size))
            {
                context.threat.steepest(g);
                x.iter_mut().zip(g).for_each(|(v, d)| *v += alpha * *d);
                context.threat.project(origin, x);
            }
        }
        let run = step_on(
            net,
            &Tensor::new(batch.x.shape(), x),
            &head,
            batch,
            1,
            context,
        )?;
        let loss = mean(&run.losses);
        Ok(finish(
            run,
            &batch.labels,
            vec![("attacked cross-entropy", loss)],
        ))
    }
}
