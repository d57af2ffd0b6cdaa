//! The training loop.

use crate::data::dataset::Dataset;
use crate::data::labelling::CLASSES_KEY;
use crate::defend;
use crate::error::{Error, Result};
use crate::record::{EpochRecord, MonitorRecord, ValidationRecord};
use crate::rng::{Purpose, Stream};
use crate::store::atomic;
use crate::store::folder::Folder;
use crate::train::checkpoint;
use crate::train::checkpoint::{BestNetwork, Checkpoint};
use crate::train::config::TrainConfig;
use crate::train::given::GivenModel;
use crate::train::run::{Ended, Run, finished, write_log};
use crate::train::stepper::Stepper;
use fgmf_net::zoo::{self, ZooConfig};
use fgmf_net::{Network, Session};
use std::path::Path;
use std::time::Instant;

/// Images looked at together for their mean and deviation.
const CALL: usize = 64;

/// What a watcher of the loop is told after every step.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Epoch, from 1.
    pub epoch: usize,
    /// All epochs.
    pub epochs: usize,
    /// Step of the epoch, from 1.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Means of the objective's parts so far in this epoch.
    pub parts: &'a [(String, f64)],
    /// Accuracy so far in this epoch, on the images as trained on.
    pub accuracy: f64,
}

/// A fresh network for this data: normalised by the data's mean and deviation, with
/// k-winners-take-all and SGAM if asked for.
pub(super) fn fresh_network(config: &TrainConfig, data: &Dataset) -> Result<Network> {
    let (Some(architecture), Some(activation)) = (config.architecture, config.activation) else {
        let expected = "the model to start from";
        return Err(Error::mismatch("train", expected, "its settings alone"));
    };
    let (mean, deviation) = statistics(data)?;
    let shape = ZooConfig {
        architecture,
        activation,
        image: data.shape(),
        classes: data.classes().len(),
        mean,
        deviation,
        seed: config.seed,
    };
    let mut net = zoo::build(&shape)?;
    net.metadata
        .insert(CLASSES_KEY.into(), data.classes().join("\n"));
    net.metadata
        .insert("fgmf.objective".into(), config.objective.name().into());
    if let Some(k_wta) = &config.k_wta {
        net = defend::with_k_wta(&net, k_wta)?;
    }
    match &config.sgam {
        Some(sgam) => defend::with_sgam(&net, sgam, config.seed),
        None => Ok(net),
    }
}

/// Mean and deviation of each channel over at most 1,000 images, rounded to 4 digits so that they
/// print as they are.
fn statistics(data: &Dataset) -> Result<(Vec<f64>, Vec<f64>)> {
    let [c, h, w] = data.shape();
    let n = data.len().min(1000);
    let rows: Vec<usize> = (0..n).collect();
    // The mean over all pixels of what `of` makes of a value of a channel.
    let mean_of = |of: &dyn Fn(usize, f64) -> f64| -> Result<Vec<f64>> {
        let mut sums = vec![0.0; c];
        for rows in rows.chunks(CALL) {
            for (at, plane) in data.images(rows)?.chunks_exact(h * w).enumerate() {
                let values = plane.iter().map(|&v| of(at % c, f64::from(v)));
                sums[at % c] = values.fold(sums[at % c], |sum, v| sum + v);
            }
        }
        Ok(sums.into_iter().map(|s| s / (n * h * w) as f64).collect())
    };
    let mean = mean_of(&|_, v| v)?;
    let variance = mean_of(&|channel, v| (v - mean[channel]).powi(2))?;
    let round = |v: f64| (v * 1e4).round() / 1e4;
    let deviation = variance.iter().map(|v| round(v.sqrt()).max(1e-2));
    Ok((
        mean.iter().map(|&m| round(m)).collect(),
        deviation.collect(),
    ))
}

/// Trains a fresh network, or goes on training it, in `folder`: writes `model.onnx`, `run.json` and
/// `log.jsonl`, and keeps `resume.safetensors` until it is done. Killed and called again with the
/// same settings it goes on from the last finished epoch, to the same bytes. A run that is done is
/// returned as it is.
pub fn fit(
    config: &TrainConfig,
    data: &Dataset,
    folder: &Path,
    watch: &mut dyn FnMut(&Progress<'_>),
) -> Result<(Network, Run)> {
    fit_from(config, None, data, folder, watch)
}

/// [`fit`] that goes on from a model: `start` is what `config.start` names. What is written is that
/// model's own file with other numbers, and what is returned is the network that images from 0 to 1
/// go into.
pub fn fit_from(
    config: &TrainConfig,
    start: Option<&GivenModel>,
    data: &Dataset,
    folder: &Path,
    watch: &mut dyn FnMut(&Progress<'_>),
) -> Result<(Network, Run)> {
    let stepper = Stepper::new(config, data)?;
    let _claim = Folder::claim(folder)?;
    let data_sha256 = data.sha256();
    let resume = folder.join("resume.safetensors");
    if let Some(done) = finished(config, start, &data_sha256, folder)? {
        // A kill may have come between the record and this.
        atomic::remove(&resume)?;
        return Ok(done);
    }
    let fresh = match start {
        Some(start) => start.network().clone(),
        None => fresh_network(config, data)?,
    };
    let [rows, held] = match &config.validation {
        Some(validation) => validation.split(data)?,
        None => [(0..data.len()).collect(), Vec::new()],
    };
    let judge = |net: &Session| -> Result<Option<ValidationRecord>> {
        let judged = config
            .validation
            .as_ref()
            .map(|v| v.judge(net, (data, &held), &stepper.threat, config.seed));
        judged.transpose()
    };
    // The state after the last epoch that was written, or the one that comes before the first.
    let kept = || -> Result<Checkpoint> {
        if let Some(state) = checkpoint::load(&resume, config, &data_sha256, &fresh, data.len())? {
            return Ok(state);
        }
        let before = judge(&Session::new(fresh.clone()))?;
        let best = before.map(|v| BestNetwork::first(fresh.clone(), v));
        Ok(Checkpoint {
            best,
            ..Checkpoint::new(fresh.clone())
        })
    };
    let mut state = kept()?;
    if !state.log.is_empty() {
        // A kill may have come between the checkpoint and the log.
        write_log(folder, &state.log)?;
    }
    for epoch in state.log.len()..config.epochs {
        let started = Instant::now();
        let mut seen = train_epoch(&stepper, &mut state, &rows, epoch, watch)?;
        let mut monitor = stepper.look(&state.net, epoch + 1, seen.accuracy)?;
        if monitor.is_some_and(|m| m.collapsed)
            && let Some(rescue) = stepper.rescue()?
        {
            state = kept()?;
            seen = train_epoch(&rescue, &mut state, &rows, epoch, watch)?;
            let found = rescue.look(&state.net, epoch + 1, seen.accuracy)?;
            monitor = found.map(|found| MonitorRecord {
                recovered: true,
                ..found
            });
        }
        let validation = match config.validation {
            None => None,
            Some(_) => {
                let net = match config.ema {
                    Some(_) => state.optimiser.average.clone(),
                    None => (*state.net).clone(),
                };
                let net = Session::new(net);
                let judged = judge(&net)?;
                if let (Some(best), Some(judged)) = (&mut state.best, judged) {
                    best.improve(epoch + 1, judged, || net.into_network());
                }
                judged
            }
        };
        state.log.push(EpochRecord {
            epoch: epoch + 1,
            learning_rate: seen.rate,
            parts: seen.parts,
            train_accuracy: seen.accuracy,
            seconds: started.elapsed().as_secs_f64(),
            validation,
            monitor,
        });
        checkpoint::save(&resume, config, &data_sha256, &state)?;
        write_log(folder, &state.log)?;
    }
    let net = if config.ema.is_some() {
        state.optimiser.average
    } else {
        state.net.into_network()
    };
    let ended = Ended {
        config,
        start,
        data,
        rows: &rows,
        data_sha256,
        log: state.log,
        best: state.best,
    };
    ended.finish(folder, net)
}

/// What an epoch saw.
struct EpochSeen {
    /// Means of the objective's parts.
    parts: Vec<(String, f64)>,
    /// Share right, as trained on.
    accuracy: f64,
    /// Learning rate at the end.
    rate: f64,
}

/// One pass over the examples at `rows`, in the order of `epoch` (from 0).
fn train_epoch(
    stepper: &Stepper<'_>,
    state: &mut Checkpoint,
    rows: &[usize],
    epoch: usize,
    watch: &mut dyn FnMut(&Progress<'_>),
) -> Result<EpochSeen> {
    let config = stepper.config;
    stepper.refresh(state, epoch)?;
    let order = Stream::new(config.seed, Purpose::Shuffle, epoch as u64, 0).permutation(rows.len());
    let order: Vec<usize> = order.into_iter().map(|i| rows[i]).collect();
    let steps = rows.len().div_ceil(config.batch);
    let (mut correct, mut count) = (0, 0);
    let mut seen = EpochSeen {
        parts: Vec::new(),
        accuracy: 0.0,
        rate: 0.0,
    };
    for (i, chosen) in order.chunks(config.batch).enumerate() {
        let done = (epoch * steps + i) as f64 / (config.epochs * steps) as f64;
        let step = stepper.step(state, chosen, epoch as u64, done)?;
        if let Some((part, v)) = step.odd() {
            let found = format!("{part} {v} in epoch {}", epoch + 1);
            let found = format!("{found}; try a smaller learning rate");
            return Err(Error::mismatch("training", "a finite loss", found));
        }
        average_parts(&mut seen.parts, &step.parts, count, chosen.len());
        count += chosen.len();
        correct += step.correct;
        seen.accuracy = correct as f64 / count as f64;
        seen.rate = step.rate;
        watch(&Progress {
            epoch: epoch + 1,
            epochs: config.epochs,
            step: i + 1,
            steps,
            parts: &seen.parts,
            accuracy: seen.accuracy,
        });
    }
    Ok(seen)
}

fn average_parts(
    total: &mut Vec<(String, f64)>,
    new: &[(&'static str, f64)],
    seen: usize,
    n: usize,
) {
    if total.is_empty() {
        total.extend(new.iter().map(|(name, _)| ((*name).to_owned(), 0.0)));
    }
    for ((_, mean), (_, value)) in total.iter_mut().zip(new) {
        *mean = (*mean * seen as f64 + value * n as f64) / (seen + n) as f64;
    }
}
