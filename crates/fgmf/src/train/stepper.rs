//! One step of a training: a batch, its gradient, and what follows it.

use crate::data::batch::{Batch, batch_of};
use crate::data::dataset::Dataset;
use crate::defend::resize_pad::{ResizePad, ResizePadParams};
use crate::error::Result;
use crate::model::transform::Transform as _;
use crate::record::MonitorRecord;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use crate::train::augment::{Shifted, each_image};
use crate::train::base::{Objective, StepContext};
use crate::train::checkpoint::Checkpoint;
use crate::train::config::TrainConfig;
use crate::train::displaced::Displacements;
use crate::train::mask_augment::MaskDraws;
use crate::train::monitor::MonitorParams;
use crate::train::optimise::clip;
use crate::train::salience::Salience;
use fgmf_net::op::Op;
use fgmf_net::{Session, Tensor};

/// What steps need beside the state that they change.
pub(super) struct Stepper<'a> {
    /// Settings of the run.
    pub(super) config: &'a TrainConfig,
    data: &'a Dataset,
    objective: Box<dyn Objective>,
    transform: Option<ResizePad>,
    masks: Option<MaskDraws>,
    /// The threat trained against, at its full radius.
    pub(super) threat: ThreatModel,
}

/// What a step did.
pub(super) struct Made {
    pub(super) parts: Vec<(&'static str, f64)>,
    /// Examples classified correctly as they were trained on.
    pub(super) correct: usize,
    /// Learning rate.
    pub(super) rate: f64,
}

impl Made {
    /// The first part of the objective that is not finite.
    pub(super) fn odd(&self) -> Option<(&'static str, f64)> {
        self.parts.iter().copied().find(|(_, v)| !v.is_finite())
    }

    /// Takes a further replay of the same batch into the means, which count `replays` so far.
    fn follow(&mut self, next: Made, replays: usize) {
        let n = replays as f64;
        for ((_, mean), (_, value)) in self.parts.iter_mut().zip(&next.parts) {
            *mean = (*mean * n + value) / (n + 1.0);
        }
        self.correct = next.correct;
    }
}

impl<'a> Stepper<'a> {
    /// Checked settings.
    pub(super) fn new(config: &'a TrainConfig, data: &'a Dataset) -> Result<Self> {
        let (threat, objective) = config.check()?;
        config.augment.check(data.shape())?;
        let resize_pad = config.resize_pad.clone();
        let masks = config.mask_augment.as_ref();
        Ok(Self {
            config,
            data,
            objective,
            transform: resize_pad.map(ResizePadParams::check).transpose()?,
            masks: masks.map(|m| m.check(data.shape())).transpose()?,
            threat,
        })
    }

    /// What trains an epoch again that ended in a collapse, where the run is to recover.
    pub(super) fn rescue(&self) -> Result<Option<Self>> {
        let Some(objective) = self.config.monitor.as_ref().map(MonitorParams::rescue) else {
            return Ok(None);
        };
        let rescue = |objective| -> Result<Self> {
            Ok(Self {
                objective: Box::new(objective),
                ..Self::new(self.config, self.data)?
            })
        };
        objective?.map(rescue).transpose()
    }

    /// The radius when a share `done` of the run is behind.
    pub(super) fn threat_at(&self, done: f64) -> Result<ThreatModel> {
        let config = self.config;
        let grown = if done < config.eps_warmup {
            done / config.eps_warmup
        } else {
            1.0
        };
        self.threat.with_eps(config.eps * grown)
    }

    /// Looks at the network after `epoch` (from 1), in which a share `right` was right.
    pub(super) fn look(
        &self,
        net: &Session,
        epoch: usize,
        right: f64,
    ) -> Result<Option<MonitorRecord>> {
        let config = self.config;
        let Some(monitor) = &config.monitor else {
            return Ok(None);
        };
        let done = epoch as f64 / config.epochs as f64;
        // Before, the radius grew while the epoch ran.
        let full = (epoch - 1) as f64 / config.epochs as f64 >= config.eps_warmup;
        let trained = (full && self.objective.attacks()).then_some(right);
        let threat = self.threat_at(done)?;
        monitor
            .look(net, self.data, &threat, (config.seed, epoch), trained)
            .map(Some)
    }

    /// Explains anew what is due before `epoch`.
    pub(super) fn refresh(&self, state: &mut Checkpoint, epoch: usize) -> Result<()> {
        Salience::refresh(
            &mut state.salience,
            (self.config.seed, epoch),
            self.objective.salience().as_ref(),
            self.config.sgam.as_ref(),
            &state.net,
            self.data,
        )
    }

    /// As many steps on the examples at `rows` as the objective replays a batch, when a share
    /// `done` of the run is behind. Parts are means over the replays, and what counts as right is
    /// that of the last.
    pub(super) fn step(
        &self,
        state: &mut Checkpoint,
        rows: &[usize],
        epoch: u64,
        done: f64,
    ) -> Result<Made> {
        let mut made = self.replay(state, rows, epoch, done)?;
        for replays in 1..self.objective.replays() {
            if made.odd().is_some() {
                break;
            }
            let next = self.replay(state, rows, epoch, done)?;
            made.follow(next, replays);
        }
        Ok(made)
    }

    /// One step on the examples at `rows`.
    fn replay(
        &self,
        state: &mut Checkpoint,
        rows: &[usize],
        epoch: u64,
        done: f64,
    ) -> Result<Made> {
        let config = self.config;
        let mut batch = batch_of(self.data, rows)?;
        let moves = self.move_images(&mut batch, epoch);
        let displacement = self.displacement(state, &batch, &moves);
        let context = StepContext {
            threat: &self.threat_at(done)?,
            seed: config.seed,
            epoch,
            salience: state.salience.as_ref(),
            displacement: displacement.as_ref(),
            carried: &state.carried,
        };
        let mut step = self.objective.step(&state.net, &batch, &context)?;
        if let (Some(kept), Some(ends)) = (&mut state.displacements, &step.displacement) {
            match moves.as_slice() {
                [] => kept.set(&batch.index, ends),
                moves => {
                    let (shape, ends) = (self.data.shape(), ends.to_f32());
                    let rows = ends.chunks_exact(shape.iter().product());
                    for ((&image, moved), row) in batch.index.iter().zip(moves).zip(rows) {
                        kept.set_row(image, &moved.undo(row, shape));
                    }
                }
            }
        }
        if !step.carried.is_empty() {
            state.carried = std::mem::take(&mut step.carried);
        }
        if let Some(limit) = config.gradient_clip {
            clip(&mut step.gradients, limit);
        }
        let rate = config.learning_rate * config.schedule.at(done);
        state
            .optimiser
            .apply(&mut state.net, &step.gradients, &config.optimiser, rate)?;
        update_statistics(&mut state.net, &step.statistics)?;
        state
            .optimiser
            .follow(&state.net, config.ema.unwrap_or(0.0))?;
        Ok(Made {
            parts: step.parts,
            correct: step.correct,
            rate,
        })
    }

    /// What the search of each image starts from, moved as the image is, if it is kept.
    fn displacement(
        &self,
        state: &mut Checkpoint,
        batch: &Batch,
        moves: &[Shifted],
    ) -> Option<Tensor> {
        if !self.objective.keeps_displacements() {
            return None;
        }
        let shape = self.data.shape();
        let kept = state
            .displacements
            .get_or_insert_with(|| Displacements::new(self.data.len(), shape.iter().product()));
        let mut rows = Vec::with_capacity(batch.x.len());
        for (i, &image) in batch.index.iter().enumerate() {
            let row = kept.row(image);
            match moves.get(i) {
                Some(moved) => rows.extend(moved.apply(&row, shape)),
                None => rows.extend(row),
            }
        }
        Some(Tensor::new(batch.x.shape(), rows))
    }

    /// Moves and masks each image of a batch as this epoch draws; how it is moved, if images are
    /// mirrored or shifted. Masks come last: they hide places of the image that the network sees.
    fn move_images(&self, batch: &mut Batch, epoch: u64) -> Vec<Shifted> {
        let (augment, transform) = (&self.config.augment, &self.transform);
        if augment.is_none() && transform.is_none() && self.masks.is_none() {
            return Vec::new();
        }
        let mut moves = Vec::new();
        each_image(batch, |image, shape, index| {
            let mut rng = Stream::new(self.config.seed, Purpose::Augmentation, epoch, index);
            let moved = match augment.is_none() {
                true => image.to_vec(),
                false => {
                    let drawn = augment.draw(&mut rng);
                    moves.push(drawn);
                    drawn.apply(image, shape)
                }
            };
            let mut seen = match transform {
                Some(transform) => transform.apply(&moved, shape, &mut rng),
                None => moved,
            };
            if let Some(masks) = &self.masks {
                masks.apply(&mut seen, &mut rng);
            }
            seen
        });
        moves
    }
}

/// Moves running statistics towards the batch's: r ← m r + (1 − m) b with ONNX's momentum m.
fn update_statistics(net: &mut Session, statistics: &[(usize, Tensor, Tensor)]) -> Result<()> {
    for (node, mean, variance) in statistics {
        let node = net.nodes()[*node].clone();
        let Op::BatchNorm(norm) = &node.op else {
            continue;
        };
        for (id, batch) in [(node.inputs[3], mean), (node.inputs[4], variance)] {
            let Some(old) = net.parameter(id) else {
                continue;
            };
            let new = old
                .affine(norm.momentum, 0.0)
                .add(&batch.affine(1.0 - norm.momentum, 0.0));
            net.set_parameter(id, new)?;
        }
    }
    Ok(())
}
