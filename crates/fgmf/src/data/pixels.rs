//! The pixels of a data set: held in memory, or left in the files that they come from.

use crate::data::limits::DECODED;
use crate::data::recipe::Recipe;
use crate::error::{Error, Result};
use crate::hash::{hexadecimal, sha256};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Pixels of images of one shape, as bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Pixels {
    /// `[n, channels, height, width]`.
    Held(Vec<u8>),
    /// One picture file an image, decoded whenever it is asked for.
    Stored(StoredPixels),
}

/// Picture files, with digests of what they held when the data set was opened.
#[derive(Clone)]
pub(crate) struct StoredPixels {
    recipe: Recipe,
    pictures: Vec<StoredPicture>,
    /// The hash of a data set up to its labels; see [`Pixels::hash`].
    hash: Sha256,
}

/// A file, and the SHA-256 of its image as it is used.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredPicture {
    path: PathBuf,
    digest: [u8; 32],
}

impl StoredPicture {
    /// A file that was decoded to these bytes.
    pub(crate) fn new(path: PathBuf, bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes).into();
        Self { path, digest }
    }
}

/// The hash is made of the rest.
impl PartialEq for StoredPixels {
    fn eq(&self, other: &Self) -> bool {
        self.recipe == other.recipe && self.pictures == other.pictures
    }
}

impl Eq for StoredPixels {}

/// The beginning of the hash of a data set: `n`, channels, height, width (64-bit little-endian).
pub(crate) fn hash_of_sizes(n: usize, shape: [usize; 3]) -> Sha256 {
    let mut hash = Sha256::new();
    for side in [&[n], &shape[..]].concat() {
        hash.update((side as u64).to_le_bytes());
    }
    hash
}

impl StoredPixels {
    /// Pictures whose bytes, in this order, were added to `hash`, which began as that of as many.
    pub(crate) fn new(recipe: Recipe, pictures: Vec<StoredPicture>, hash: Sha256) -> Self {
        Self {
            recipe,
            pictures,
            hash,
        }
    }

    /// Pictures of which no hash is known: each is decoded once more.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub(crate) fn hashed(recipe: Recipe, pictures: Vec<StoredPicture>) -> Result<Self> {
        let hash = hash_of_sizes(pictures.len(), recipe.shape);
        let mut stored = Self::new(recipe, pictures, hash);
        let rows: Vec<usize> = (0..stored.pictures.len()).collect();
        for rows in rows.chunks(at_once(stored.recipe.area())) {
            for bytes in stored.read(rows)? {
                stored.hash.update(&bytes);
            }
        }
        Ok(stored)
    }

    /// Bytes of the images at `rows`, decoded on all threads.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Data`] when a file is no longer what it was when the data set
    /// was opened; that of the first such file in `rows`.
    fn read(&self, rows: &[usize]) -> Result<Vec<Vec<u8>>> {
        let one = |&i: &usize| {
            let StoredPicture { path, digest } = &self.pictures[i];
            let image = self.recipe.read(path, "as when the run began")?;
            if Sha256::digest(&image.bytes)[..] != digest[..] {
                let expected = "the picture that was here when the run began";
                return Err(Error::data(path, expected, "another one"));
            }
            Ok(image.bytes)
        };
        let read: Vec<Result<Vec<u8>>> = rows.par_iter().map(one).collect();
        read.into_iter().collect()
    }
}

/// Images of so many bytes that are decoded before they are used; bounds memory, changes no result.
pub(crate) fn at_once(area: usize) -> usize {
    (DECODED / area.max(1)).max(1)
}

impl Pixels {
    /// Whether these are `n` images of `area` bytes; else how many bytes or pictures there are.
    pub(crate) fn check(&self, n: usize, area: Option<usize>) -> std::result::Result<(), String> {
        match self {
            Self::Held(bytes) if area.and_then(|a| a.checked_mul(n)) != Some(bytes.len()) => {
                Err(format!("{} bytes", bytes.len()))
            }
            Self::Stored(s) if s.pictures.len() != n || Some(s.recipe.area()) != area => Err(
                format!("{} pictures of {}", s.pictures.len(), s.recipe.area()),
            ),
            _ => Ok(()),
        }
    }

    /// The images at `rows`, one after the other, as values `byte / 255`.
    ///
    /// # Errors
    /// Those of [`StoredPixels::read`]; none of pixels that are held.
    pub(crate) fn values(&self, rows: &[usize], area: usize) -> Result<Vec<f32>> {
        let mut out = Vec::with_capacity(rows.len() * area);
        let mut put = |bytes: &[u8]| out.extend(bytes.iter().map(|&b| f32::from(b) / 255.0));
        match self {
            Self::Held(bytes) => rows.iter().for_each(|i| put(&bytes[i * area..][..area])),
            Self::Stored(stored) => {
                for rows in rows.chunks(at_once(area)) {
                    stored.read(rows)?.iter().for_each(|bytes| put(bytes));
                }
            }
        }
        Ok(out)
    }

    /// Hex SHA-256 of the bytes of image `i`.
    pub(crate) fn image_sha256(&self, i: usize, area: usize) -> String {
        match self {
            Self::Held(bytes) => sha256(&bytes[i * area..][..area]),
            Self::Stored(stored) => hexadecimal(&stored.pictures[i].digest),
        }
    }

    /// The hash of a data set of `n` images of this shape up to its labels: sizes, then bytes.
    pub(crate) fn hash(&self, n: usize, shape: [usize; 3]) -> Sha256 {
        match self {
            Self::Held(bytes) => hash_of_sizes(n, shape).chain_update(bytes),
            Self::Stored(stored) => stored.hash.clone(),
        }
    }

    /// Keeps the first `n` images. What is stored is decoded once more, for its hash.
    ///
    /// # Errors
    /// Those of [`StoredPixels::read`]; none of pixels that are held.
    pub(crate) fn truncate(&mut self, n: usize, area: usize) -> Result<()> {
        match self {
            Self::Held(bytes) => bytes.truncate(n * area),
            Self::Stored(stored) => {
                let kept = stored.pictures[..n].to_vec();
                *stored = StoredPixels::hashed(stored.recipe, kept)?;
            }
        }
        Ok(())
    }
}
