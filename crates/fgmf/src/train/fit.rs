//! The training loop.

use crate::data::batch::{Batch, batch_of};
use crate::data::dataset::Dataset;
use crate::data::labelling::CLASSES_KEY;
use crate::defend;
use crate::defend::resize_pad::ResizePadParams;
use crate::error::{Error, Result};
use crate::model::transform::Transform;
use crate::record::{BuildRecord, EpochRecord, Proportion};
use crate::rng::{Purpose, Stream};
use crate::store::build::build;
use crate::store::folder::Folder;
use crate::store::{atomic, model};
use crate::train::base::StepContext;
use crate::train::checkpoint;
use crate::train::checkpoint::Checkpoint;
use crate::train::config::TrainConfig;
use crate::train::optimise::{OptimiserState, clip};
use crate::train::salience::Salience;
use fgmf_net::op::Op;
use fgmf_net::zoo::{self, ZooConfig};
use fgmf_net::{Network, Session, Tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

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

/// A finished run: `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    #[serde(default)]
    pub build: BuildRecord,
    /// Every setting.
    pub config: TrainConfig,
    /// Hash of the training data.
    pub data_sha256: String,
    /// Training examples.
    pub n: usize,
    /// Hash of `model.onnx`.
    pub model_sha256: String,
    /// One record an epoch.
    pub log: Vec<EpochRecord>,
    /// Accuracy of the saved network on the clean training images.
    pub clean_train_accuracy: Proportion,
}

/// A fresh network for this data: normalised by the data's mean and deviation, with
/// k-winners-take-all and SGAM if asked for.
pub(super) fn fresh_network(config: &TrainConfig, data: &Dataset) -> Result<Network> {
    let (mean, deviation) = statistics(data);
    let shape = ZooConfig {
        architecture: config.architecture,
        activation: config.activation,
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
fn statistics(data: &Dataset) -> (Vec<f64>, Vec<f64>) {
    let [c, h, w] = data.shape();
    let images: Vec<Vec<f32>> = (0..data.len().min(1000)).map(|i| data.image(i)).collect();
    let round = |v: f64| (v * 1e4).round() / 1e4;
    let of = |channel: usize| {
        let values = images
            .iter()
            .flat_map(|x| &x[channel * h * w..(channel + 1) * h * w])
            .map(|&v| f64::from(v));
        let n = (images.len() * h * w) as f64;
        let mean = values.clone().sum::<f64>() / n;
        let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        (round(mean), round(variance.sqrt()).max(1e-2))
    };
    (0..c).map(of).unzip()
}

/// Trains, or goes on training, in `folder`: writes `model.onnx`, `run.json` and `log.jsonl`, and
/// keeps `resume.safetensors` until it is done. Killed and called again with the same settings it
/// goes on from the last finished epoch, to the same bytes. A run that is done is returned as it
/// is.
pub fn fit(
    config: &TrainConfig,
    data: &Dataset,
    folder: &Path,
    watch: &mut dyn FnMut(&Progress<'_>),
) -> Result<(Network, Run)> {
    let (threat, objective) = config.check()?;
    let transform = config
        .resize_pad
        .clone()
        .map(ResizePadParams::check)
        .transpose()?;
    let _claim = Folder::claim(folder)?;
    let data_sha256 = data.sha256();
    let resume = folder.join("resume.safetensors");
    if let Some(done) = finished(config, &data_sha256, folder)? {
        // A kill may have come between the record and this.
        atomic::remove(&resume)?;
        return Ok(done);
    }
    let fresh = fresh_network(config, data)?;
    let [_, h, w] = data.shape();
    let mut state =
        checkpoint::load(&resume, config, &data_sha256, &fresh, h * w)?.unwrap_or_else(|| {
            Checkpoint {
                optimiser: OptimiserState::new(&fresh),
                net: Session::new(fresh),
                salience: None,
                log: Vec::new(),
            }
        });
    if !state.log.is_empty() {
        // A kill may have come between the checkpoint and the log.
        write_log(folder, &state.log)?;
    }
    let source = objective.salience();
    let steps = data.len().div_ceil(config.batch);
    for epoch in state.log.len()..config.epochs {
        let started = Instant::now();
        Salience::refresh(
            &mut state.salience,
            (config.seed, epoch),
            source.as_ref(),
            config.sgam.as_ref(),
            &state.net,
            data,
        )?;
        let order =
            Stream::new(config.seed, Purpose::Shuffle, epoch as u64, 0).permutation(data.len());
        let (mut parts, mut correct, mut seen, mut rate): (Vec<(String, f64)>, usize, usize, f64) =
            (Vec::new(), 0, 0, 0.0);
        for (i, rows) in order.chunks(config.batch).enumerate() {
            let mut batch = batch_of(data, rows);
            if let Some(transform) = &transform {
                transform_batch(&mut batch, transform, config.seed, epoch as u64);
            }
            let done = (epoch * steps + i) as f64 / (config.epochs * steps) as f64;
            let threat = threat.with_eps(
                config.eps
                    * if done < config.eps_warmup {
                        done / config.eps_warmup
                    } else {
                        1.0
                    },
            )?;
            let context = StepContext {
                threat: &threat,
                seed: config.seed,
                epoch: epoch as u64,
                salience: state.salience.as_ref(),
            };
            let mut step = objective.step(&state.net, &batch, &context)?;
            if let Some(limit) = config.gradient_clip {
                clip(&mut step.gradients, limit);
            }
            rate = config.learning_rate * config.schedule.at(done);
            state
                .optimiser
                .apply(&mut state.net, &step.gradients, &config.optimiser, rate)?;
            update_statistics(&mut state.net, &step.statistics)?;
            state
                .optimiser
                .follow(&state.net, config.ema.unwrap_or(0.0))?;
            average_parts(&mut parts, &step.parts, seen, batch.len());
            seen += batch.len();
            correct += step.correct;
            if parts.iter().any(|(_, v)| !v.is_finite()) {
                let found = format!(
                    "{parts:?} in epoch {}; try a smaller learning rate",
                    epoch + 1
                );
                return Err(Error::mismatch("training", "a finite loss", found));
            }
            let accuracy = correct as f64 / seen as f64;
            watch(&Progress {
                epoch: epoch + 1,
                epochs: config.epochs,
                step: i + 1,
                steps,
                parts: &parts,
                accuracy,
            });
        }
        let seconds = started.elapsed().as_secs_f64();
        state.log.push(EpochRecord {
            epoch: epoch + 1,
            learning_rate: rate,
            parts,
            train_accuracy: correct as f64 / seen as f64,
            seconds,
        });
        checkpoint::save(&resume, config, &data_sha256, &state)?;
        write_log(folder, &state.log)?;
    }
    let net = if config.ema.is_some() {
        state.optimiser.average
    } else {
        state.net.into_network()
    };
    finish(config, data, data_sha256, folder, net, state.log)
}

/// Each image as the transform draws it in this epoch.
fn transform_batch(batch: &mut Batch, transform: &dyn Transform, seed: u64, epoch: u64) {
    let shape @ [c, h, w] = std::array::from_fn(|axis| batch.x.shape()[axis + 1]);
    let one = |(image, &index): (&[f32], &u64)| {
        transform.apply(
            image,
            shape,
            &mut Stream::new(seed, Purpose::Augmentation, epoch, index),
        )
    };
    let seen: Vec<f32> = batch
        .x
        .to_f32()
        .chunks_exact(c * h * w)
        .zip(&batch.index)
        .flat_map(one)
        .collect();
    batch.x = Tensor::new(batch.x.shape(), seen);
}

/// Saves the network and the record, then drops the resume file.
fn finish(
    config: &TrainConfig,
    data: &Dataset,
    data_sha256: String,
    folder: &Path,
    net: Network,
    log: Vec<EpochRecord>,
) -> Result<(Network, Run)> {
    let file = folder.join("model.onnx");
    model::write_model(&file, &net)?;
    // The saved file is what is judged, so that what is returned is what a reader of the file gets.
    let (net, model_sha256) = model::read_model(&file)?;
    let net = Session::new(net);
    let mut correct = 0;
    let indices: Vec<usize> = (0..data.len()).collect();
    for rows in indices.chunks(1024) {
        let batch = batch_of(data, rows);
        correct += crate::model::answer::predictions(&net.logits(&batch.x)?)
            .iter()
            .zip(&batch.labels)
            .filter(|(p, y)| p == y)
            .count();
    }
    let run = Run {
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        config: config.clone(),
        data_sha256,
        n: data.len(),
        model_sha256,
        log,
        clean_train_accuracy: Proportion::new(correct, data.len()),
    };
    let path = folder.join("run.json");
    let json = serde_json::to_vec_pretty(&run).map_err(|e| Error::record(&path, e))?;
    atomic::write(&path, &json)?;
    atomic::remove(&folder.join("resume.safetensors"))?;
    Ok((net.into_network(), run))
}

/// The run in `folder`, if it is done and is this one.
fn finished(
    config: &TrainConfig,
    data_sha256: &str,
    folder: &Path,
) -> Result<Option<(Network, Run)>> {
    let (path, file) = (folder.join("run.json"), folder.join("model.onnx"));
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let run: Run = serde_json::from_str(&text).map_err(|e| Error::record(&path, e))?;
    if run.config != *config || run.data_sha256 != data_sha256 {
        return Err(Error::record(
            &path,
            "expected this run, found a finished run with other settings or data; choose \
                another folder",
        ));
    }
    let (net, sha256) = model::read_model(&file)?;
    if sha256 != run.model_sha256 {
        return Err(Error::record(
            &file,
            "expected the model that run.json was written for, found another file",
        ));
    }
    Ok(Some((net, run)))
}

fn write_log(folder: &Path, log: &[EpochRecord]) -> Result<()> {
    let path = folder.join("log.jsonl");
    let lines = log
        .iter()
        .map(serde_json::to_string)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::record(&path, e))?;
    atomic::write(&path, (lines.join("\n") + "\n").as_bytes())
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
