//! Adversarial images that a suite found, by example.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Images of a file, one after another as little-endian `f32`.
#[derive(Debug)]
pub(crate) struct ImageFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl ImageFile {
    /// An image of `count` numbers that begins at byte `at`.
    fn read(&self, at: u64, count: usize) -> Result<Vec<f32>> {
        let mut bytes = vec![0; 4 * count];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(Error::io(&self.path))?;
        Ok(numbers(&bytes))
    }
}

/// Where an image is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the file, from this byte on.
    Stored(u64),
    /// Here.
    Held(Vec<f32>),
}

/// The adversarial images of a suite. Those that its state holds are read from there, one by one;
/// it must not be removed before.
#[derive(Debug)]
pub struct FoundImages {
    file: Option<ImageFile>,
    size: usize,
    places: BTreeMap<usize, Place>,
}

impl FoundImages {
    /// None yet, of `size` numbers each.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            file: None,
            size,
            places: BTreeMap::new(),
        }
    }

    /// What was [stored](Place::Stored) is in this file.
    pub(crate) fn stored_in(&mut self, file: ImageFile) {
        self.file = Some(file);
    }

    /// An image of an example, in the place of an earlier one.
    pub(crate) fn put(&mut self, example: usize, place: Place) {
        self.places.insert(example, place);
    }

    /// The image of an example; `None` where nothing broke it.
    pub fn get(&self, example: usize) -> Result<Option<Vec<f32>>> {
        match (self.places.get(&example), &self.file) {
            (Some(Place::Held(image)), _) => Ok(Some(image.clone())),
            (Some(Place::Stored(at)), Some(file)) => file.read(*at, self.size).map(Some),
            (Some(Place::Stored(_)), None) => Err(Error::mismatch(
                "read adversarial images",
                "the file they are stored in",
                "none",
            )),
            (None, _) => Ok(None),
        }
    }
}

/// Little-endian bytes as numbers.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<f32> {
    let all = bytes.as_chunks::<4>().0.iter();
    all.map(|b| f32::from_le_bytes(*b)).collect()
}

/// Numbers as little-endian bytes.
pub(crate) fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|v| v.to_le_bytes()).collect()
}
