//! What an audit has done, kept so that it can go on: a line a stage.

use crate::error::{Error, Result};
use crate::store::journal::Journal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Stages that are done, and the journal that keeps them.
pub(crate) struct Stages {
    path: PathBuf,
    journal: Journal,
    done: BTreeMap<String, Value>,
}

impl Stages {
    /// Opens or starts the state at `path`; an error if it belongs to another audit.
    pub(crate) fn open(path: &Path, header: &impl Serialize) -> Result<Self> {
        let mut done = BTreeMap::new();
        let journal = Journal::open(path, header, |(name, value): (String, Value)| {
            done.insert(name, value);
            Ok(true)
        })?;
        Ok(Self {
            path: path.into(),
            journal,
            done,
        })
    }

    /// What a stage gave: from the state, or made now and kept. Both come by way of JSON, so they
    /// are the same.
    pub(crate) fn of<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let wrong = |e: serde_json::Error| Error::record(&self.path, format!("`{name}`: {e}"));
        if let Some(value) = self.done.get(name) {
            return serde_json::from_value(value.clone()).map_err(wrong);
        }
        let value = serde_json::to_value(make()?).map_err(wrong)?;
        self.journal.append(&(name, &value))?;
        serde_json::from_value(value).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.state.jsonl");
        let mut stages = Stages::open(&path, &"header").unwrap();
        assert_eq!(
            stages.of("a", || Ok(vec![0.1, 1e-300])).unwrap(),
            [0.1, 1e-300]
        );
        drop(stages);
        let mut stages = Stages::open(&path, &"header").unwrap();
        let never = || Err(Error::mismatch("stage", "no call", "a call"));
        assert_eq!(stages.of::<Vec<f64>>("a", never).unwrap(), [0.1, 1e-300]);
        assert!(stages.of::<u8>("a", || Ok(1)).is_err(), "another type");
        drop(stages);
        assert!(Stages::open(&path, &"another").is_err());
    }
}
