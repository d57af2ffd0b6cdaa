//! Folders of PNG, JPEG and WebP images, one folder a class.

#[cfg(test)]
mod tests;

use crate::data::dataset::Dataset;
use crate::data::files;
use crate::data::files::FileEntry;
use crate::data::limits::{HELD, MAX_BYTES};
use crate::data::picture::read_like;
use crate::data::pixels::{Pixels, StoredPicture, StoredPixels, at_once, hash_of_sizes};
use crate::data::recipe::Recipe;
use crate::data::request::{DataRequest, SPREAD, spread};
use crate::error::{Error, Result};
use crate::record::Split;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Without split folders, every this many files of a class one is for testing.
const TEST_EVERY: usize = 5;
/// Files that cannot be used are left out, up to 1 in this many: more is no accident.
const LEFT_OUT_OF: usize = 10;

/// Loads one split: `dir/{train,test}/CLASS/*`, or `dir/CLASS/*` with every 5th file of each class
/// for testing, or all for both where no class has 5. Only the images of the `wanted` part are
/// decoded. A few bad files are left out ([`Dataset::left_out`]).
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
    let mut cut = None;
    let (classes, mut files) = if one_folder {
        let classes: Vec<Vec<PathBuf>> = entries.iter().map(image_files).collect::<Result<_>>()?;
        // A few photos a class are for looking at, and would leave nothing to look at.
        let few = classes.iter().all(|paths| paths.len() < TEST_EVERY);
        cut = Some(if few {
            format!("no class has {TEST_EVERY} files, so all are for testing and for training")
        } else {
            format!("1 of {TEST_EVERY} files of a class is for testing")
        });
        let mut files = Vec::new();
        for (label, paths) in classes.into_iter().enumerate() {
            let paths = paths.into_iter().enumerate();
            files.extend(
                paths
                    .filter(|(i, _)| few || is_test(*i) == (split == Split::Test))
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
        return Err(Error::data(
            dir,
            format!("images for split {split}"),
            "none",
        ));
    }
    let mut chosen = None;
    if let Some(limit) = wanted.limit {
        let labels: Vec<usize> = files.iter().map(|(_, label)| *label).collect();
        let rows = spread(&labels, limit);
        chosen = (rows.len() < files.len()).then_some(SPREAD);
        let mut take = |i: usize| std::mem::take(&mut files[i]);
        files = rows.into_iter().map(&mut take).collect();
    }
    let (mut read, pixels) = read_all(&files, wanted)?;
    if let Some(cut) = cut {
        let note = format!("without folders `train` and `test`, {cut}");
        read.notes.push(note);
    }
    let name = files::name_of(dir);
    let data = Dataset::of_pixels(name, split, classes, read.shape, pixels, read.labels)?;
    let data = data.by_folder().with_facts(chosen, read.notes);
    Ok(data.without(read.left_out))
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
    let expected = "an image (png, jpg, jpeg, webp)";
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
        if !["png", "jpg", "jpeg", "webp"].contains(&extension.as_str()) {
            return Err(Error::data(&entry.path, expected, "another kind of file"));
        }
    }
    Ok(entries.into_iter().map(|entry| entry.path).collect())
}

/// What was read of the files of a folder.
#[derive(Default)]
struct Gathered {
    shape: [usize; 3],
    labels: Vec<usize>,
    notes: Vec<String>,
    left_out: Vec<Error>,
}

/// Pixels as they are gathered.
enum Store {
    Held(Vec<u8>),
    /// Pictures, with the hash of a data set of as many.
    Files(Vec<StoredPicture>, Sha256),
}

impl Store {
    fn put(&mut self, path: &Path, bytes: &[u8]) {
        match self {
            Self::Held(pixels) => pixels.extend_from_slice(bytes),
            Self::Files(pictures, hash) => {
                hash.update(bytes);
                pictures.push(StoredPicture::new(path.to_owned(), bytes));
            }
        }
    }

    /// The pixels of all, of which `expected` were to come.
    fn finish(self, recipe: Recipe, expected: usize) -> Result<Pixels> {
        match self {
            Self::Held(pixels) => Ok(Pixels::Held(pixels)),
            Self::Files(pictures, hash) if pictures.len() == expected => {
                let stored = StoredPixels::new(recipe, pictures, hash);
                Ok(Pixels::Stored(stored))
            }
            // The hash begins with the number of images, which files left out have changed.
            Self::Files(pictures, _) => StoredPixels::hashed(recipe, pictures).map(Pixels::Stored),
        }
    }
}

/// Decodes in parallel, gathers in order. Only images of the `wanted` shape, or of that of the
/// first that can be read, are taken, or pictures are made to fit. Files that are no such image are
/// left out.
///
/// # Errors
/// That of the first bad file, if more than 1 file in [`LEFT_OUT_OF`] is bad.
fn read_all(files: &[(PathBuf, usize)], wanted: &DataRequest) -> Result<(Gathered, Pixels)> {
    let allowed = files.len() / LEFT_OUT_OF;
    let mut all = Gathered::default();
    let bad = |error: Error, left_out: &mut Vec<Error>| {
        left_out.push(error);
        if left_out.len() > allowed {
            return Err(left_out.swap_remove(0));
        }
        Ok(())
    };
    // What the others must be like, and why.
    let mut like = wanted
        .shape
        .map(|shape| (shape, "as the model takes".to_owned()));
    let mut start = 0;
    while like.is_none() && start < files.len() {
        let (path, _) = &files[start];
        match read_like(path, None) {
            Ok(image) => like = Some((image.shape, format!("like `{}`", path.display()))),
            Err(error) => {
                bad(error, &mut all.left_out)?;
                start += 1;
            }
        }
    }
    let Some((shape, reason)) = like else {
        return Ok((all, Pixels::Held(Vec::new())));
    };
    all.shape = shape;
    let fit = wanted.fit;
    let recipe = Recipe { shape, fit };
    let (area, expected) = (recipe.area(), files.len() - start);
    let held = wanted.held.unwrap_or(HELD).min(MAX_BYTES);
    let mut store = if (area as u64).saturating_mul(expected as u64) > held {
        Store::Files(Vec::with_capacity(expected), hash_of_sizes(expected, shape))
    } else {
        Store::Held(Vec::with_capacity(area * expected))
    };
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for chunk in files[start..].chunks(at_once(area)) {
        let images: Vec<_> = chunk
            .par_iter()
            .map(|(path, _)| recipe.read(path, &reason))
            .collect();
        for (image, (path, label)) in images.into_iter().zip(chunk) {
            match image {
                Ok(image) => {
                    store.put(path, &image.bytes);
                    all.labels.push(*label);
                    for note in &image.notes {
                        *counts.entry(note).or_default() += 1;
                    }
                }
                Err(error) => bad(error, &mut all.left_out)?,
            }
        }
    }
    let n = all.labels.len();
    let counted = counts.into_iter();
    all.notes = counted
        .map(|(note, count)| format!("{count} of {n} images: {note}"))
        .collect();
    Ok((all, store.finish(recipe, expected)?))
}
