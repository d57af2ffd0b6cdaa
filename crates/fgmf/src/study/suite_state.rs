//! What a suite has done so far, on disk.
//!
//! A journal has a line for each attack on each block, with the digest of its images. Beside it
//! (extension `f32`) stand the adversarial images of those lines, as little-endian numbers in the
//! order of the lines. An attack that was cut short leaves a torn line, or images without a line.
//! Both are dropped on opening.

use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::record::{BuildRecord, ExampleRecord, Passes};
use crate::store::journal::Journal;
use crate::store::{atomic, disk};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// First line: what the rest belongs to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SuiteHeader {
    pub(crate) model_sha256: String,
    pub(crate) data_sha256: String,
    pub(crate) threat: crate::record::ThreatRecord,
    pub(crate) seed: u64,
    pub(crate) version: String,
    pub(crate) build: BuildRecord,
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

/// What the attacks of a suite did, before anything is made of it.
pub(crate) struct Searched {
    pub(crate) parts: Vec<Part>,
    pub(crate) examples: Vec<ExampleRecord>,
    /// Examples for which the model names no class.
    pub(crate) undecided: Vec<u64>,
    /// The adversarial image where one was found, the clean image elsewhere.
    pub(crate) images: Vec<f32>,
}

/// The open files, and what they held.
pub(crate) struct StateFile {
    journal: Journal,
    images: File,
    images_path: PathBuf,
    known: BTreeMap<(usize, usize), (Part, Vec<f32>)>,
}

fn images_path(path: &Path) -> PathBuf {
    path.with_extension("f32")
}

/// Deletes the state of a run that is done.
pub fn remove(path: &Path) -> Result<()> {
    // The journal goes last: without it the images mean nothing.
    atomic::remove(&images_path(path))?;
    atomic::remove(path)
}

impl StateFile {
    /// Opens or starts the state at `path`; an error if it belongs to another run.
    pub(crate) fn open(path: &Path, header: &SuiteHeader, image: [usize; 3]) -> Result<Self> {
        let images_path = images_path(path);
        let bytes = atomic::read_if_there(&images_path)?.unwrap_or_default();
        let size = 4 * image.iter().product::<usize>();
        let (mut known, mut used) = (BTreeMap::new(), 0);
        let journal = Journal::open(path, header, |(part, digest): (Part, String)| {
            let end = used + size * part.broken.len();
            let Some(images) = bytes.get(used..end) else {
                return Ok(false);
            };
            if sha256(images) != digest {
                return Err("its images have another digest".to_owned());
            }
            let values = images.chunks_exact(4);
            let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            used = end;
            known.insert((part.block, part.entry), (part, values.collect()));
            Ok(true)
        })?;
        if used < bytes.len() || bytes.is_empty() {
            atomic::write(&images_path, &bytes[..used])?;
        }
        let images = disk::append(&images_path);
        Ok(Self {
            journal,
            images: images.map_err(Error::io(&images_path))?,
            images_path,
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
        disk::put(&mut self.images, &bytes)
            .and_then(|()| disk::sync(&self.images))
            .map_err(Error::io(&self.images_path))?;
        self.journal.append(&(part, sha256(&bytes)))
    }
}
