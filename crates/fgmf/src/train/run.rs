//! What a training leaves: its record, its log, its model, and how a finished one is known again.

use crate::data::batch::batch_of;
use crate::data::dataset::Dataset;
use crate::error::{Error, Result};
use crate::record::{BuildRecord, EpochRecord, Proportion};
use crate::store::build::build;
use crate::store::{atomic, model};
use crate::train::checkpoint::BestNetwork;
use crate::train::config::TrainConfig;
use crate::train::given::GivenModel;
use crate::train::validation::KeptEpoch;
use fgmf_net::{Network, Session};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Images judged at a time.
const CALL: usize = 256;

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
    /// Training examples, without those held out.
    pub n: usize,
    /// Hash of `model.onnx`.
    pub model_sha256: String,
    /// One record an epoch.
    pub log: Vec<EpochRecord>,
    /// Accuracy of the saved network on the clean training images.
    pub clean_train_accuracy: Proportion,
    /// Which network was kept, if images were held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptEpoch>,
    /// What a user should know of the saved file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a run has come to.
pub(super) struct Ended<'a> {
    pub(super) config: &'a TrainConfig,
    pub(super) start: Option<&'a GivenModel>,
    pub(super) data: &'a Dataset,
    /// The images that trained.
    pub(super) rows: &'a [usize],
    pub(super) data_sha256: String,
    pub(super) log: Vec<EpochRecord>,
    pub(super) best: Option<BestNetwork>,
}

impl Ended<'_> {
    /// Saves the network and the record, then drops the resume file.
    pub(super) fn finish(self, folder: &Path, last: Network) -> Result<(Network, Run)> {
        let file = folder.join("model.onnx");
        let kept = self.best.as_ref().map(|b| b.kept);
        let net = self.best.map_or(last, |b| b.net);
        let mut notes: Vec<String> = collapse(&self.log).into_iter().collect();
        notes.extend(recoveries(&self.log));
        // The saved file is what is judged, so that what is returned is what a reader of it gets.
        let (net, model_sha256) = match self.start {
            Some(start) => {
                let hardened = start.hardened(&net, self.config)?;
                notes.extend(hardened.notes);
                atomic::write(&file, &hardened.bytes)?;
                start.reread(&file)?
            }
            None => {
                model::write_model(&file, &net)?;
                model::read_model(&file)?
            }
        };
        let net = Session::new(net);
        let mut correct = 0;
        for rows in self.rows.chunks(CALL) {
            let batch = batch_of(self.data, rows)?;
            correct += crate::model::answer::predictions(&net.logits(&batch.x)?)
                .iter()
                .zip(&batch.labels)
                .filter(|(p, y)| p == y)
                .count();
        }
        let run = Run {
            version: env!("CARGO_PKG_VERSION").into(),
            build: build(),
            config: self.config.clone(),
            data_sha256: self.data_sha256,
            n: self.rows.len(),
            model_sha256,
            log: self.log,
            clean_train_accuracy: Proportion::new(correct, self.rows.len()),
            kept,
            notes,
        };
        let path = folder.join("run.json");
        let json = serde_json::to_vec_pretty(&run).map_err(|e| Error::record(&path, e))?;
        atomic::write(&path, &json)?;
        atomic::remove(&folder.join("resume.safetensors"))?;
        Ok((net.into_network(), run))
    }
}

/// Says in which epoch the training first collapsed, and what a user can do.
fn collapse(log: &[EpochRecord]) -> Option<String> {
    let first = log
        .iter()
        .find(|e| e.monitor.is_some_and(|m| m.collapsed))?;
    let robust = first.monitor.map_or(0.0, |m| m.robust);
    Some(format!(
        "catastrophic overfitting in epoch {}: {:.0}% right under the search of the objective, \
            {:.0}% under PGD; the network only looks robust to that search, so give it more steps",
        first.epoch,
        100.0 * first.train_accuracy,
        100.0 * robust,
    ))
}

/// Names the epochs that collapsed and were trained again.
fn recoveries(log: &[EpochRecord]) -> Option<String> {
    let again = |e: &&EpochRecord| e.monitor.is_some_and(|m| m.recovered);
    let epochs: Vec<String> = log
        .iter()
        .filter(again)
        .map(|e| e.epoch.to_string())
        .collect();
    (!epochs.is_empty()).then(|| {
        format!(
            "catastrophic overfitting was taken back in epoch {}: trained again with PGD, so that \
                its cost is that of both",
            epochs.join(", ")
        )
    })
}

/// The run in `folder`, if it is done and is this one.
pub(super) fn finished(
    config: &TrainConfig,
    start: Option<&GivenModel>,
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
    let (net, sha256) = match start {
        Some(start) => start.reread(&file)?,
        None => model::read_model(&file)?,
    };
    if sha256 != run.model_sha256 {
        return Err(Error::record(
            &file,
            "expected the model that run.json was written for, found another file",
        ));
    }
    Ok(Some((net, run)))
}

/// Writes the log so far, a line an epoch.
pub(super) fn write_log(folder: &Path, log: &[EpochRecord]) -> Result<()> {
    let path = folder.join("log.jsonl");
    let lines = log
        .iter()
        .map(serde_json::to_string)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::record(&path, e))?;
    atomic::write(&path, (lines.join("\n") + "\n").as_bytes())
}
