//! IDX files (MNIST and its kin): a big-endian magic number, one 32-bit size per dimension, then
//! the bytes; plain or gzip.

mod decode;
mod part;
#[cfg(test)]
mod tests;

use crate::data::dataset::Dataset;
use crate::data::files;
use crate::data::idx::part::{IMAGES, IdxPart, LABELS};
use crate::data::request::DataRequest;
use crate::error::{Error, Result};
use crate::record::Split;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

pub(crate) use crate::data::idx::decode::{images, labels};

fn stem(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

/// Whether a file of this name makes its folder an IDX folder.
pub(crate) fn is_name(name: &str) -> bool {
    [Split::Train, Split::Test].into_iter().any(|split| {
        [IMAGES, LABELS]
            .iter()
            .any(|part| part.is_named(stem(name), split))
    })
}

/// The file of `part` of `split`; the plain one when it is there twice, plain and packed.
fn find(
    dir: &Path,
    entries: &[files::FileEntry],
    split: Split,
    part: &IdxPart,
) -> Result<Option<PathBuf>> {
    let mut named = entries
        .iter()
        .filter(|entry| !entry.is_dir && part.is_named(stem(&entry.name), split));
    let Some(first) = named.next() else {
        return Ok(None);
    };
    if let Some(other) = named.find(|other| stem(&other.name) != stem(&first.name)) {
        let found = format!("`{}` and `{}`", first.name, other.name);
        return Err(Error::data(
            dir,
            format!("one file of {} {}", split, part.word),
            found,
        ));
    }
    Ok(Some(first.path.clone()))
}

/// Loads the wanted part of a split. Class names come from `classes.txt`, or are the numbers up to
/// the largest label of either split.
pub(crate) fn load(
    dir: &Path,
    entries: &[files::FileEntry],
    split: Split,
    wanted: &DataRequest,
) -> Result<Dataset> {
    let path = |part: &IdxPart| {
        let prefix = if split == Split::Train {
            "train"
        } else {
            "t10k"
        };
        let name = format!(
            "`{prefix}-{}-idx{}-ubyte` or that with .gz",
            part.word, part.dims
        );
        find(dir, entries, split, part)?.ok_or_else(|| Error::data(dir, name, "no such file"))
    };
    let (images_path, labels_path) = (path(&IMAGES)?, path(&LABELS)?);
    let labels = open(&labels_path, decode::labels)?;
    let images = |path: &Path, file: BufReader<File>, stored: u64| {
        decode::images(path, file, stored, wanted)
    };
    let ([count, height, width], pixels) = open(&images_path, images)?;
    if count != labels.len() {
        let expected = format!(
            "{count} labels, as many as images in `{}`",
            images_path.display()
        );
        return Err(Error::data(&labels_path, expected, labels.len()));
    }
    let classes_path = dir.join("classes.txt");
    let classes = match files::names(&classes_path)? {
        Some(names) => names,
        None => {
            let other = if split == Split::Train {
                Split::Test
            } else {
                Split::Train
            };
            let more = match find(dir, entries, other, &LABELS)? {
                Some(path) => open(&path, decode::labels)?,
                None => Vec::new(),
            };
            let largest = labels.iter().chain(&more).max().copied().unwrap_or(0);
            (0..=largest).map(|class| class.to_string()).collect()
        }
    };
    if let Some(label) = labels
        .iter()
        .find(|&&label| usize::from(label) >= classes.len())
    {
        let expected = format!("labels below {}, the names in classes.txt", classes.len());
        return Err(Error::data(
            &labels_path,
            expected,
            format!("label {label}"),
        ));
    }
    let labels = labels.into_iter().map(usize::from);
    let labels = labels.take(wanted.of(count)).collect();
    Dataset::new(
        files::name_of(dir),
        split,
        classes,
        [1, height, width],
        pixels,
        labels,
    )
}

fn open<T>(path: &Path, parse: impl FnOnce(&Path, BufReader<File>, u64) -> Result<T>) -> Result<T> {
    let file = File::open(path).map_err(Error::io(path))?;
    let stored = file.metadata().map_err(Error::io(path))?.len();
    parse(path, BufReader::new(file), stored)
}
