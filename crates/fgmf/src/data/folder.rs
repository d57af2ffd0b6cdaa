//! Folders of PNG and JPEG images, one folder a class.

#[cfg(test)]
mod tests;

use crate::data::dataset::Dataset;
use crate::data::files;
use crate::data::files::FileEntry;
use crate::data::limits::MAX_BYTES;
use crate::data::picture::read_like;
use crate::error::{Error, Result};
use crate::record::Split;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Without split folders, every this many files of a class one is for testing.
const TEST_EVERY: usize = 5;
/// Bytes of pixels decoded before they are gathered; bounds memory, has no effect on the result.
const CHUNK: usize = 16 << 20;

/// Loads one split: `dir/{train,test}/CLASS/*`, or `dir/CLASS/*` with every 5th file of each class
/// for testing.
pub(crate) fn load(dir: &Path, entries: &[FileEntry], split: Split) -> Result<Dataset> {
    let is_split = |entry: &&FileEntry| Split::find(&entry.name).is_some();
    let halves = only_folders(entries, "`train`, `test` or class folders")?
        .iter()
        .filter(is_split);
    let (classes, files) = if halves.clone().next().is_none() {
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
    let (shape, pixels) = read_all(&files)?;
    let labels = files.into_iter().map(|(_, label)| label).collect();
    let data = Dataset::new(files::name_of(dir), split, classes, shape, pixels, labels)?;
    Ok(data.by_folder())
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

/// Decodes in parallel, gathers in order: the first bad file by name is the one reported, whatever
/// the number of threads. Only images of the first one's shape are decoded.
fn read_all(files: &[(PathBuf, usize)]) -> Result<([usize; 3], Vec<u8>)> {
    let Some(((first, _), others)) = files.split_first() else {
        return Ok(([0; 3], Vec::new()));
    };
    let (shape, mut pixels) = read_like(first, None)?;
    let area = pixels.len().max(1);
    if (area as u64).saturating_mul(files.len() as u64) > MAX_BYTES {
        let found = format!("{} images of {area} bytes", files.len());
        let expected = format!("at most {MAX_BYTES} bytes of pixels in all");
        return Err(Error::data(first, expected, found));
    }
    for chunk in others.chunks((CHUNK / area).max(1)) {
        let images: Vec<_> = chunk
            .par_iter()
            .map(|(path, _)| read_like(path, Some(shape)))
            .collect();
        for (image, (path, _)) in images.into_iter().zip(chunk) {
            let (found, bytes) = image?;
            if found != shape {
                let expected = format!("{} like `{}`", size(shape), first.display());
                return Err(Error::data(path, expected, size(found)));
            }
            pixels.extend_from_slice(&bytes);
        }
    }
    Ok((shape, pixels))
}

fn size([c, h, w]: [usize; 3]) -> String {
    let kind = if c == 1 { "grey" } else { "RGB" };
    format!("{w}x{h} pixels (width x height), {kind}")
}
