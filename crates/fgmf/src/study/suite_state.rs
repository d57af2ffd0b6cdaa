//! What a suite has done so far, on disk: a header line, then a JSON line for each attack on each
//! block, and beside it (extension `f32`) the adversarial images of those lines, as little-endian
//! numbers in the order of the lines. An attack that was cut short leaves a torn line or images
//! without a line; both are dropped on opening.

use crate::error::{Error, Result};
use crate::record::Passes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// First line: what the rest belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) model_sha256: String,
    pub(crate) data_sha256: String,
    pub(crate) threat: crate::record::ThreatRecord,
    pub(crate) seed: u64,
    pub(crate) version: String,
    pub(crate) block: usize,
    pub(crate) suite: Vec<(String, serde_json::Value)>,
}

/// What one attack did to one block: a line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    /// First example of the block.
    pub(crate) block: usize,
    /// Position of the attack in the suite.
    pub(crate) entry: usize,
    pub(crate) attempted: usize,
    pub(crate) broken: Vec<Broken>,
    /// Positions in the block of examples whose gradient was exactly 0 at the start.
    pub(crate) flat: Vec<usize>,
    /// Of examples whose loss or gradient was not finite.
    pub(crate) non_finite: Vec<usize>,
    pub(crate) passes: Passes,
    pub(crate) seconds: f64,
}

/// An example that was broken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Broken {
    /// Position in the block.
    pub(crate) row: usize,
    pub(crate) distance: f64,
}

/// The open files, and what they held.
pub(crate) struct StateFile {
    lines: File,
    images: File,
    path: PathBuf,
    known: BTreeMap<(usize, usize), (Part, Vec<f32>)>,
}

fn images_path(path: &Path) -> PathBuf {
    path.with_extension("f32")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(Error::io(path)),
    }
}

/// Deletes the state of a run that is done.
pub fn remove(path: &Path) -> Result<()> {
    [path.to_owned(), images_path(path)]
        .iter()
        .try_for_each(|file| match std::fs::remove_file(file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(file)(e)),
            _ => Ok(()),
        })
}

impl StateFile {
    /// Opens or starts the state at `path`; an error if it belongs to another run.
    pub(crate) fn open(path: &Path, header: &Header, image: [usize; 3]) -> Result<Self> {
        let refused = |what: &str, found: &dyn std::fmt::Display| {
            Error::record(
                path,
                format!(
                    "expected {what}, found {found}; choose another folder or delete the \
                        file to start over"
                ),
            )
        };
        let text = String::from_utf8(read(path)?)
            .map_err(|e| refused("the state of an attack run", &e))?;
        let bytes = read(&images_path(path))?;
        let size = 4 * image.iter().product::<usize>();
        // A kill can cut the last line short; what has no end of line was not finished.
        let mut lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        let mut kept = serde_json::to_string(header).map_err(|e| Error::record(path, e))? + "\n";
        let (mut known, mut used) = (BTreeMap::new(), 0);
        if let Some(first) = lines.next() {
            let found: Header = serde_json::from_str(first)
                .map_err(|e| refused("the state of an attack run", &e))?;
            if found != *header {
                return Err(refused(
                    "the state of this run",
                    &"one with another model, data or settings",
                ));
            }
            for line in lines {
                let part: Part =
                    serde_json::from_str(line).map_err(|e| refused("a finished attack", &e))?;
                let end = used + size * part.broken.len();
                let Some(images) = bytes.get(used..end) else {
                    break;
                };
                let values = images
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect();
                kept.push_str(line);
                used = end;
                known.insert((part.block, part.entry), (part, values));
            }
        }
        crate::store::atomic::write_atomically(&images_path(path), &bytes[..used])?;
        crate::store::atomic::write_atomically(path, kept.as_bytes())?;
        let append = |path: &Path| {
            OpenOptions::new()
                .append(true)
                .open(path)
                .map_err(Error::io(path))
        };
        Ok(Self {
            lines: append(path)?,
            images: append(&images_path(path))?,
            path: path.into(),
            known,
        })
    }

    /// What an attack did to a block, if it is known; it can be taken once.
    pub(crate) fn take(&mut self, block: usize, entry: usize) -> Option<(Part, Vec<f32>)> {
        self.known.remove(&(block, entry))
    }

    /// Adds a finished attack: the images first, so that a line never lacks them.
    pub(crate) fn append(&mut self, part: &Part, images: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = images.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.images
            .write_all(&bytes)
            .and_then(|()| self.images.sync_data())
            .map_err(Error::io(&images_path(&self.path)))?;
        let line = serde_json::to_string(part).map_err(|e| Error::record(&self.path, e))? + "\n";
        self.lines
            .write_all(line.as_bytes())
            .and_then(|()| self.lines.sync_data())
            .map_err(Error::io(&self.path))
    }
}
