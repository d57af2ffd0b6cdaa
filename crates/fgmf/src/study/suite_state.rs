//! What a suite has done so far, on disk.
//!
//! A journal has a line for each attack on each block, with the digest of its images. Beside it
//! (extension `f32`) stand the adversarial images of those lines, as little-endian numbers in the
//! order of the lines. An attack that was cut short leaves a torn line, or images without a line.
//! Both are dropped on opening.

use crate::error::{Error, Result};
use crate::hash::{Hash, sha256};
use crate::record::{BuildRecord, ExampleRecord, Passes};
use crate::store::journal::Journal;
use crate::store::{atomic, disk};
use crate::study::found::{FoundImages, ImageFile, bytes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufReader, Read};
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
    /// The images that broke examples.
    pub(crate) found: FoundImages,
}

/// The open files, and what they held.
pub(crate) struct StateFile {
    journal: Journal,
    images: ImageFile,
    /// Bytes of images.
    used: u64,
    known: BTreeMap<(usize, usize), (Part, u64)>,
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
        let mut stored = atomic::open_if_there(&images_path)?.map(BufReader::new);
        let size = 4 * image.iter().product::<usize>() as u64;
        let (mut known, mut used) = (BTreeMap::new(), 0);
        let journal = Journal::open(path, header, |(part, digest): (Part, String)| {
            // An image at a time: there may be as many as there are examples.
            let length = size * part.broken.len() as u64;
            let mut hash = Hash::default();
            let copied = stored.as_mut().map_or(Ok(0), |stored| {
                std::io::copy(&mut stored.by_ref().take(length), &mut hash)
            });
            if copied.map_err(|e| e.to_string())? < length {
                return Ok(false);
            }
            if hash.finish() != digest {
                return Err("its images have another digest".to_owned());
            }
            known.insert((part.block, part.entry), (part, used));
            used += length;
            Ok(true)
        })?;
        if stored.is_none() {
            atomic::write(&images_path, &[])?;
        }
        let file = disk::append(&images_path).map_err(Error::io(&images_path))?;
        disk::cut(&file, used).map_err(Error::io(&images_path))?;
        Ok(Self {
            journal,
            images: ImageFile {
                file,
                path: images_path,
            },
            used,
            known,
        })
    }

    /// What an attack did to a block, if it is known, and the byte at which its images begin; it
    /// can be taken once.
    pub(crate) fn take(&mut self, block: usize, entry: usize) -> Option<(Part, u64)> {
        self.known.remove(&(block, entry))
    }

    /// Adds a finished attack: the images first, so that a line never lacks them. They begin at the
    /// byte handed back.
    pub(crate) fn append(&mut self, part: &Part, images: &[f32]) -> Result<u64> {
        let bytes = bytes(images);
        disk::put(&mut self.images.file, &bytes)
            .and_then(|()| disk::sync(&self.images.file))
            .map_err(Error::io(&self.images.path))?;
        self.journal.append(&(part, sha256(&bytes)))?;
        let begin = self.used;
        self.used += bytes.len() as u64;
        Ok(begin)
    }

    /// The file of images; nothing is added any more.
    pub(crate) fn into_images(self) -> ImageFile {
        self.images
    }
}
