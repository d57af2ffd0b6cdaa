//! `fgmf train`.

use crate::arguments::{Arguments, Train};
use crate::commands::memory::check_training;
use crate::commands::shared::{ended_without, percent, threat_on};
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::data::{DataRequest, Dataset, Split, load_part};
use fgmf::defend::{KWtaParams, ResizePadParams, SgamParams};
use fgmf::train::{
    GivenModel, MaskAugmentParams, ObjectiveConfig, Optimiser, Progress, Run, Schedule,
    TrainConfig, fit_from, training_bytes,
};
use fgmf_net::Network;
use fgmf_net::zoo::{Activation, Architecture};
use serde::Deserialize;
use std::path::Path;

pub(crate) fn run(global: &Arguments, a: &Train) -> Result<Outcome> {
    let config = match &a.config {
        Some(path) => from_file(path)?,
        None => from_flags(a)?,
    };
    config.check()?;
    let wanted = DataRequest::new(config.limit, None);
    let data = load_part(&config.data, Split::Train, &wanted)?;
    for note in data.notes() {
        console::say(false, &format!("note: {note}"));
    }
    threat_on(config.norm, config.eps, data.shape())?;
    let threads = rayon::current_num_threads();
    let least = || Ok(training_bytes(&config, None, &data, threads)?);
    check_training(a.memory, least)?;
    let (net, run) = train(global, &config, None, &data, &a.out, "training")?;
    for note in &run.notes {
        console::say(false, &format!("note: {note}"));
    }
    if global.json {
        console::result(&serde_json::to_string_pretty(&run)?)?;
    } else {
        let accuracy = percent(run.clean_train_accuracy.value);
        console::result(&format!(
            "{}: {} parameters, {} epochs of {}, {accuracy} of its {} clean training \
                images right\n{}",
            run.config.network(),
            net.parameter_count(),
            run.config.epochs,
            run.config.objective.name(),
            run.n,
            a.out.join("model.onnx").display(),
        ))?;
    }
    Ok(ended_without(data.left_out()))
}

/// [`fit_from`] with a progress bar.
pub(super) fn train(
    global: &Arguments,
    config: &TrainConfig,
    start: Option<&GivenModel>,
    data: &Dataset,
    folder: &Path,
    label: &str,
) -> Result<(Network, Run)> {
    let steps = data.len().div_ceil(config.batch);
    let bar = console::bar(global.quiet, config.epochs * steps, label);
    let mut lines = 0;
    let mut watch = |p: &Progress<'_>| {
        let parts: Vec<String> = p
            .parts
            .iter()
            .map(|(name, v)| format!("{name} {v:.3}"))
            .collect();
        let text = format!(
            "epoch {}/{}  {}  accuracy {}",
            p.epoch,
            p.epochs,
            parts.join("  "),
            percent(p.accuracy)
        );
        bar.set_length((p.epochs * p.steps) as u64);
        bar.set_position(((p.epoch - 1) * p.steps + p.step) as u64);
        bar.set_message(text.clone());
        // Without a terminal there is no bar: a line an epoch instead.
        if bar.is_hidden() && p.step == p.steps && p.epoch > lines {
            lines = p.epoch;
            console::say(global.quiet, &format!("{label}: {text}"));
        }
    };
    let done = fit_from(config, start, data, folder, &mut watch)?;
    bar.finish_and_clear();
    Ok(done)
}

/// Settings of a file: those of the record of a run, or settings alone. A byte-order mark, which
/// some editors write, is passed over.
fn from_file(path: &Path) -> Result<TrainConfig> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let refused = |e: serde_json::Error| {
        Error::record(path, format!("expected training settings, found {e}"))
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // A record is told by its key; both are then read from the text, whose errors have a place.
    let record = serde_json::from_str::<RecordedRun>(text);
    match record {
        Ok(record) => Ok(record.config),
        Err(e) if e.is_data() && !text.contains("\"config\"") => {
            Ok(serde_json::from_str(text).map_err(refused)?)
        }
        Err(e) => Err(refused(e).into()),
    }
}

/// The part of a run.json that a run can be made of again.
#[derive(Deserialize)]
struct RecordedRun {
    config: TrainConfig,
}

fn from_flags(a: &Train) -> Result<TrainConfig> {
    let architecture = Architecture::parse(&a.arch).map_err(Error::from)?;
    let mut objective = ObjectiveConfig::parse(&a.objective)?;
    let takes = ["temperature", "teacher"].iter().all(|f| objective.has(f));
    if !takes && (a.temperature.is_some() || a.teacher.is_some()) {
        let expected = "distillation with --temperature and --teacher";
        return Err(Error::parameter("objective", expected, objective.name()).into());
    }
    if let Some(temperature) = a.temperature {
        objective = objective.with("temperature", temperature)?;
    }
    if let Some(path) = &a.teacher {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        objective = objective
            .with("teacher_sha256", fgmf_record::hash::sha256(&bytes))?
            .with("teacher", path.display().to_string())?;
    }
    let mut config = TrainConfig::new(
        a.data.as_deref().unwrap_or_default(),
        architecture,
        objective,
        a.eps,
    );
    config.activation = Some(match a.activation.as_str() {
        "relu" => Activation::Relu,
        "gelu" => Activation::Gelu,
        "softplus" => Activation::Softplus,
        other => {
            return Err(Error::parameter("activation", "relu, gelu or softplus", other).into());
        }
    });
    config.optimiser = match a.optimiser.as_str() {
        "adamw" => Optimiser::adamw(),
        "sgd" => Optimiser::sgd(),
        other => return Err(Error::parameter("optimiser", "adamw or sgd", other).into()),
    };
    if a.optimiser == "sgd" {
        config.learning_rate = 0.05;
    }
    config.schedule = match a.schedule.as_str() {
        "cyclic" => Schedule::Cyclic,
        "cosine" => Schedule::Cosine,
        other => return Err(Error::parameter("schedule", "cyclic or cosine", other).into()),
    };
    config.sgam = a.sgam.then(SgamParams::default);
    config.k_wta = a.k_wta.map(|share| KWtaParams { share });
    config.resize_pad = a.resize_pad.map(|least| ResizePadParams { least });
    config.mask_augment = a.mask_augment.map(|patch| MaskAugmentParams {
        patch,
        patches: 1,
        masks: a.masks,
        fill: a.fill.clone(),
    });
    config.norm = a.norm.parse()?;
    config.eps_warmup = a.eps_warmup.unwrap_or(config.eps_warmup);
    config.limit = a.limit;
    config.seed = a.seed;
    config.epochs = a.epochs.unwrap_or(config.epochs);
    config.batch = a.batch.unwrap_or(config.batch);
    config.learning_rate = a.lr.unwrap_or(config.learning_rate);
    Ok(config)
}
