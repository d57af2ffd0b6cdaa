//! What an evaluation has done, kept so that it can go on: a line a block, the first line saying of
//! which run.

use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::metric::base::MetricValues;
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Blocks done so far, and the file that keeps them.
pub(crate) struct State {
    done: HashMap<String, MetricValues>,
    file: Option<(PathBuf, std::fs::File)>,
}

impl State {
    /// Reads what an earlier run of the same job left; starts anew if the file is of another job. A
    /// last line that was cut off is dropped.
    pub(crate) fn open(path: Option<&Path>, job: &impl Serialize) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self {
                done: HashMap::new(),
                file: None,
            });
        };
        let bytes = serde_json::to_vec(job).map_err(|e| Error::record(path, e))?;
        let name = sha256(&bytes);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(path)(e)),
        };
        let mut lines = text.lines();
        let mut done = HashMap::new();
        if lines.next() == Some(name.as_str()) {
            done.extend(
                lines.map_while(|l| serde_json::from_str::<(String, MetricValues)>(l).ok()),
            );
        }
        let mut kept = name + "\n";
        let mut keys: Vec<&String> = done.keys().collect();
        keys.sort();
        for key in keys {
            kept.push_str(&line(path, key, &done[key])?);
        }
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, kept)
            .and_then(|()| std::fs::rename(&temporary, path))
            .map_err(Error::io(path))?;
        let file = std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(Error::io(path))?;
        Ok(Self {
            done,
            file: Some((path.to_owned(), file)),
        })
    }

    /// The scores of a block, if they are known.
    pub(crate) fn get(&mut self, key: &str) -> Option<MetricValues> {
        self.done.remove(key)
    }

    /// Keeps the scores of a block.
    pub(crate) fn put(&mut self, key: &str, scores: &MetricValues) -> Result<()> {
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let text = line(path, key, scores)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.flush())
            .map_err(Error::io(path))
    }
}

fn line(path: &Path, key: &str, scores: &MetricValues) -> Result<String> {
    Ok(serde_json::to_string(&(key, scores)).map_err(|e| Error::record(path, e))? + "\n")
}
