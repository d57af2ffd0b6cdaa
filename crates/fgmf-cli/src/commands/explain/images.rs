//! Images to be explained: single files, or the first of a data set.

use crate::arguments::Explain;
use crate::commands::shared::data_for;
use crate::console;
use crate::console::one_line;
use anyhow::Result;
use fgmf::data::{Dataset, read_image_of};
use fgmf_net::{Network, Tensor};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

pub(super) enum Images<'a> {
    Files(&'a [PathBuf]),
    Data(Dataset),
}

impl<'a> Images<'a> {
    pub(super) fn new(a: &'a Explain, net: &Network) -> Result<Self> {
        let Some(data) = &a.data else {
            return Ok(Self::Files(&a.images));
        };
        Ok(Self::Data(data_for(net, data, &a.split, Some(a.limit))?))
    }

    /// The data set, if the images are of one.
    pub(super) fn data(&self) -> Option<&Dataset> {
        match self {
            Self::Files(_) => None,
            Self::Data(data) => Some(data),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Files(paths) => paths.len(),
            Self::Data(data) => data.len(),
        }
    }

    /// Images `start..start + n` as one batch.
    pub(super) fn batch(&self, net: &Network, start: usize, n: usize) -> Result<Tensor> {
        let [c, h, w] = net.image_shape();
        let values = match self {
            Self::Files(paths) => paths[start..start + n]
                .iter()
                .map(|p| file(net, p))
                .collect::<Result<Vec<_>>>()?
                .concat(),
            Self::Data(data) => data.images(&(start..start + n).collect::<Vec<_>>()),
        };
        Ok(Tensor::new(&[n, c, h, w], values))
    }

    pub(super) fn name(&self, i: usize) -> String {
        match self {
            Self::Files(paths) => paths[i].display().to_string(),
            Self::Data(data) => format!("{}, {} image {i}", data.name(), data.split()),
        }
    }

    pub(super) fn truth(&self, i: usize) -> Option<usize> {
        match self {
            Self::Files(_) => None,
            Self::Data(data) => Some(data.label(i)),
        }
    }

    /// Begins of file names, one an image: the folder and name of the file in letters that neither
    /// a file system nor an address minds, each once.
    pub(super) fn stems(&self) -> Vec<String> {
        let mut taken = HashSet::new();
        let mut unique = |stem: String| {
            let numbered = (2..).map(|k| format!("{stem}-{k}"));
            // Compared in one case: some file systems know only one.
            std::iter::once(stem.clone())
                .chain(numbered)
                .find(|s| taken.insert(s.to_lowercase()))
                .unwrap_or(stem)
        };
        match self {
            Self::Files(paths) => paths.iter().map(|p| unique(stem(p))).collect(),
            Self::Data(data) => (0..data.len())
                .map(|i| format!("{}-{i:05}", data.split()))
                .collect(),
        }
    }
}

fn stem(path: &Path) -> String {
    let name = path
        .file_stem()
        .map_or_else(|| "image".into(), |s| s.to_string_lossy().into_owned());
    let folder = path
        .parent()
        .and_then(Path::file_name)
        .map(|f| f.to_string_lossy().into_owned() + "-");
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let stem: String = (folder.unwrap_or_default() + &name)
        .chars()
        .map(plain)
        .take(100)
        .collect();
    // A leading dot hides a file.
    stem.trim_start_matches('.').to_owned()
}

fn file(net: &Network, path: &Path) -> Result<Vec<f32>> {
    let image = read_image_of(path, net.image_shape())?;
    for note in &image.notes {
        console::say(
            false,
            &format!("note: {}: {note}", one_line(&path.to_string_lossy())),
        );
    }
    let bytes = image.bytes.iter();
    Ok(bytes.map(|&b| f32::from(b) / 255.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_safe_and_unique() {
        let paths = [
            "a/x.png",
            "b/a/x.jpg",
            "A/X.png",
            "a b/<s>#?%\"é.png",
            "..",
            "plain.png",
            "a/x-2.png",
        ]
        .map(PathBuf::from);
        let stems = Images::Files(&paths).stems();
        assert_eq!(
            stems,
            [
                "a-x",
                "a-x-2",
                "A-X-3",
                "a_b-_s______",
                "image",
                "plain",
                "a-x-2-2"
            ]
        );
    }
}
