//! What an evaluation has done, kept so that it can go on: a line a block.

use crate::error::Result;
use crate::hash::sha256;
use crate::metric::base::MetricValues;
use crate::record::BuildRecord;
use crate::store::build::build;
use crate::store::journal::Journal;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// First line: what the rest belongs to.
#[derive(Serialize)]
pub(crate) struct EvaluationHeader<'a, J> {
    /// Version of the library.
    pub(crate) version: &'a str,
    pub(crate) build: BuildRecord,
    /// Explainers, metrics, inputs and seeds.
    pub(crate) job: &'a J,
    /// SHA-256 of the logits on every input, which stand for model and images.
    pub(crate) logits: String,
}

impl<'a, J: Serialize> EvaluationHeader<'a, J> {
    pub(crate) fn new(job: &'a J, logits: &[Vec<f64>]) -> Self {
        let bytes = logits.iter().flatten().flat_map(|v| v.to_le_bytes());
        Self {
            version: env!("CARGO_PKG_VERSION"),
            build: build(),
            job,
            logits: sha256(&bytes.collect::<Vec<u8>>()),
        }
    }
}

/// Blocks done so far, and the journal that keeps them.
pub(crate) struct EvaluationState {
    done: HashMap<String, MetricValues>,
    journal: Option<Journal>,
}

impl EvaluationState {
    /// Reads what an earlier run of the same job left; an error if the file is of another job.
    pub(crate) fn open(path: Option<&Path>, header: &impl Serialize) -> Result<Self> {
        let mut done = HashMap::new();
        let open = |path: &Path| {
            Journal::open(path, header, |(key, values)| {
                done.insert(key, values);
                Ok(true)
            })
        };
        let journal = path.map(open).transpose()?;
        Ok(Self { done, journal })
    }

    /// The scores of a block, if they are known.
    pub(crate) fn get(&mut self, key: &str) -> Option<MetricValues> {
        self.done.remove(key)
    }

    /// Keeps the scores of a block.
    pub(crate) fn put(&mut self, key: &str, scores: &MetricValues) -> Result<()> {
        let journal = self.journal.as_mut();
        journal.map_or(Ok(()), |j| j.append(&(key, scores)))
    }
}
