//! A model of a report that shows models side by side.

use crate::record::{EpochRecord, ModelFile};
use crate::train::Run;
use fgmf_net::Session;

/// A model of a report, and how it came to be.
pub struct ReportModel {
    /// Key in the records.
    pub id: &'static str,
    /// As shown to people.
    pub title: &'static str,
    /// The network: images from 0 to 1 in, logits out.
    pub net: Session,
    /// Architecture, or the name of the graph.
    pub architecture: String,
    /// Objective, with what is inside it; empty where it is not known.
    pub objective: String,
    /// Its file, seen from the report.
    pub file: String,
    /// Hash of that file.
    pub sha256: String,
    /// Training log; empty where it is not known.
    pub log: Vec<EpochRecord>,
    /// Every setting of training.
    pub settings: serde_json::Value,
}

impl ReportModel {
    /// The outcome of a run that lies in `file`, seen from the report.
    pub fn of_run(
        (id, title): (&'static str, &'static str),
        net: Session,
        run: &Run,
        file: String,
    ) -> Self {
        let config = &run.config;
        let fresh = config.architecture.map(|a| a.name().to_owned());
        Self {
            id,
            title,
            architecture: fresh.unwrap_or_else(|| net.name.clone()),
            net,
            objective: config.objective.title(),
            file,
            sha256: run.model_sha256.clone(),
            log: run.log.clone(),
            settings: serde_json::json!(config),
        }
    }

    /// A model as it was given.
    pub fn given(
        (id, title): (&'static str, &'static str),
        net: Session,
        file: &ModelFile,
    ) -> Self {
        Self {
            id,
            title,
            architecture: net.name.clone(),
            net,
            objective: String::new(),
            file: file.file.clone(),
            sha256: file.sha256.clone(),
            log: Vec::new(),
            settings: serde_json::json!(file),
        }
    }
}
