//! Folders of PNG and JPEG images, one folder a class.

#[cfg(test)]
mod tests;

use crate::data::dataset::Dataset;
use crate::data::files;
use crate::data::files::FileEntry;
use crate::data::limits::MAX_BYTES;
use crate::data::picture::{StillImage, read_like};
use crate::data::request::{DataRequest, SPREAD, spread};
use crate::error::{Error, Result};
use crate::record::Split;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Without split folders, every this many files of a class one is for testing.
const TEST_EVERY: usize = 5;
/// Bytes of pixels decoded before they are gathered; bounds memory, has no effect on the result.
const CHUNK: usize = 16 << 20;

/// Loads one split: `dir/{train,test}/CLASS/*`, or `dir/CLASS/*` with every 5th file of each class
/// for testing. Only the images of the `wanted` part are decoded.
pub(crate) fn load(
    dir: &Path,
    entries: &[FileEntry],
    split: Split,
    wanted: &DataRequest,
) -> Result<Dataset> {
    let is_split = |entry: &&FileEntry| Split::find(&entry.name).is_some();
    let halves = only_folders(entries, "`train`, `test` or class folders")?
        .iter()
        .filter(is_split);
    let one_folder = halves.clone().next().is_none();
    let (classes, mut files) = if one_folder {
        let mut files = Vec::new();
        for (label, class) in entries.iter().enumerate() {
            let paths = image_files(class)?.into_iter().enumerate();
            files.extend(
                paths
                    .filter(|(i, _)| is_test(*i) == (split == Split::Test))
                    .map(|(_, path)| (path, label)),
            );
        }
        (
            entries.iter().map(|class| class.name.clone()).collect(),
            files,
        )
    } else {
        if let Some(odd) = entries.iter().find(|entry| !is_split(entry)) {
            let found = format!(
                "also `{}`: is it a class, and what are `train` and `test` then?",
                odd.name
            );
            return Err(Error::data(
                dir,
                "only the folders `train` and `test`",
                found,
            ));
        }
        in_two(dir, halves, split)?
    };
    if files.is_empty() {
        let expected =
            format!("images for split {split} (1 of {TEST_EVERY} files of a class is for testing)");
        return Err(Error::data(dir, expected, "none"));
    }
    let mut chosen = None;
    if let Some(limit) = wanted.limit {
        let labels: Vec<usize> = files.iter().map(|(_, label)| *label).collect();
        let rows = spread(&labels, limit);
        chosen = (rows.len() < files.len()).then_some(SPREAD);
        files = rows.into_iter().map(|i| files[i].clone()).collect();
    }
    let (shape, pixels, mut notes) = read_all(&files, wanted.shape)?;
    if one_folder {
        notes.push(format!(
            "without folders `train` and `test`, 1 of {TEST_EVERY} files of a class is for testing"
        ));
    }
    let labels = files.into_iter().map(|(_, label)| label).collect();
    let data = Dataset::new(files::name_of(dir), split, classes, shape, pixels, labels)?;
    Ok(data.by_folder().with_facts(chosen, notes))
}

fn is_test(index: usize) -> bool {
    index % TEST_EVERY == TEST_EVERY - 1
}

type Labelled = (Vec<String>, Vec<(PathBuf, usize)>);

/// Classes of both splits, so that a label means the same in each, and the files of `split`.
fn in_two<'a>(
    dir: &Path,
    halves: impl Iterator<Item = &'a FileEntry>,
    split: Split,
) -> Result<Labelled> {
    let (mut names, mut wanted) = (BTreeSet::new(), None);
    for half in halves {
        let classes = files::entries(&half.path)?;
        only_folders(&classes, "class folders")?;
        names.extend(classes.iter().map(|class| class.name.clone()));
        if half.name == split.name() {
            wanted = Some(classes);
        }
    }
    let Some(wanted) = wanted else {
        return Err(Error::data(
            dir,
            format!("a folder `{split}`"),
            "only the other split",
        ));
    };
    let names: Vec<String> = names.into_iter().collect();
    let mut files = Vec::new();
    for class in &wanted {
        if let Ok(label) = names.binary_search(&class.name) {
            files.extend(image_files(class)?.into_iter().map(|path| (path, label)));
        }
    }
    if files.is_empty() {
        return Err(Error::data(
            &dir.join(split.name()),
            "class folders with images",
            "none",
        ));
    }
    Ok((names, files))
}

fn only_folders<'a>(entries: &'a [FileEntry], expected: &str) -> Result<&'a [FileEntry]> {
    match entries.iter().find(|entry| !entry.is_dir) {
        Some(file) => Err(Error::data(
            &file.path,
            format!("{expected} here"),
            "a file",
        )),
        None => Ok(entries),
    }
}

/// The images of a class, sorted by name; at least one.
fn image_files(class: &FileEntry) -> Result<Vec<PathBuf>> {
    let entries = files::entries(&class.path)?;
    if entries.is_empty() {
        return Err(Error::data(
            &class.path,
            "a class folder with images",
            "an empty folder",
        ));
    }
    let expected = "an image (png, jpg, jpeg)";
    for entry in &entries {
        if entry.is_dir {
            return Err(Error::data(&entry.path, expected, "a folder"));
        }
        let extension = entry
            .path
            .extension()
            .and_then(|end| end.to_str())
            .unwrap_or("")
            .to_ascii_lowercase();
        if !["png", "jpg", "jpeg"].contains(&extension.as_str()) {
            return Err(Error::data(&entry.path, expected, "another kind of file"));
        }
    }
    Ok(entries.into_iter().map(|entry| entry.path).collect())
}

/// Decodes in parallel, gathers in order: the first bad file is the one reported, whatever the
/// number of threads. Only images of the `wanted` shape, or of the first one's, are decoded.
fn read_all(
    files: &[(PathBuf, usize)],
    wanted: Option<[usize; 3]>,
) -> Result<([usize; 3], Vec<u8>, Vec<String>)> {
    let Some(((first, _), others)) = files.split_first() else {
        return Ok(([0; 3], Vec::new(), Vec::new()));
    };
    let like = |found: [usize; 3], path: &Path, shape: [usize; 3], reason: &str| {
        if found == shape {
            return Ok(());
        }
        let expected = format!("{} {reason}", size(shape));
        Err(Error::data(path, expected, size(found)))
    };
    let image = read_like(first, wanted)?;
    let shape = image.shape;
    if let Some(wanted) = wanted {
        like(shape, first, wanted, "as the model takes")?;
    }
    let area = image.bytes.len().max(1);
    if (area as u64).saturating_mul(files.len() as u64) > MAX_BYTES {
        let found = format!("{} images of {area} bytes", files.len());
        let expected = format!("at most {MAX_BYTES} bytes of pixels in all");
        return Err(Error::data(first, expected, found));
    }
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut pixels = Vec::with_capacity(area.saturating_mul(files.len()));
    let mut gather = |image: &StillImage| {
        pixels.extend_from_slice(&image.bytes);
        for note in &image.notes {
            *counts.entry(note).or_default() += 1;
        }
    };
    gather(&image);
    let reason = format!("like `{}`", first.display());
    for chunk in others.chunks((CHUNK / area).max(1)) {
        let images: Vec<_> = chunk
            .par_iter()
            .map(|(path, _)| read_like(path, Some(shape)))
            .collect();
        for (image, (path, _)) in images.into_iter().zip(chunk) {
            let image = image?;
            like(image.shape, path, shape, &reason)?;
            gather(&image);
        }
    }
    let n = files.len();
    let notes = counts
        .into_iter()
        .map(|(note, count)| format!("{count} of {n} images: {note}"))
        .collect();
    Ok((shape, pixels, notes))
}

fn size([c, h, w]: [usize; 3]) -> String {
    let kind = match c {
        1 => "grey".to_owned(),
        3 => "RGB".to_owned(),
        c => format!("{c} channels"),
    };
    format!("{w}x{h} pixels (width x height), {kind}")
}
