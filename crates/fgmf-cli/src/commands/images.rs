//! Images that a model is asked about: single files, or the first of a data set.

use crate::arguments::Inputs;
use crate::commands::shared::data_for;
use crate::console;
use crate::console::one_line;
use anyhow::Result;
use fgmf::Error;
use fgmf::data::{Dataset, Fit, StillImage, read_picture};
use fgmf_net::{Network, Tensor};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

pub(crate) enum Images {
    Files(Pictures),
    Data(Box<Dataset>),
}

/// Single files that can be read, and those that cannot.
pub(crate) struct Pictures {
    paths: Vec<PathBuf>,
    fit: Fit,
    left_out: Vec<String>,
}

impl Pictures {
    /// Reads every file once, so that a bad one is known before the work begins. An error if
    /// all are bad.
    fn check(&mut self, net: &Network) -> Result<()> {
        let mut first = None;
        for path in std::mem::take(&mut self.paths) {
            match self.read(net, &path) {
                Ok(image) => {
                    for note in &image.notes {
                        let path = one_line(&path.to_string_lossy());
                        console::say(false, &format!("note: {path}: {note}"));
                    }
                    self.paths.push(path);
                }
                Err(error) => {
                    self.left_out.push(error.to_string());
                    first = first.or(Some(error));
                }
            }
        }
        match first {
            Some(error) if self.paths.is_empty() => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn read(&self, net: &Network, path: &Path) -> fgmf::Result<StillImage> {
        read_picture(path, net.image_shape(), self.fit)
    }
}

impl Images {
    pub(crate) fn new(
        inputs: &Inputs,
        limit: Option<usize>,
        fit: Fit,
        net: &Network,
    ) -> Result<Self> {
        let Some(data) = &inputs.data else {
            if let Some(folder) = inputs.images.iter().find(|path| path.is_dir()) {
                let expected = "a picture, as a folder of them goes to --data";
                return Err(Error::data(folder, expected, "a folder").into());
            }
            return Ok(Self::Files(Pictures {
                paths: inputs.images.clone(),
                fit,
                left_out: Vec::new(),
            }));
        };
        let data = data_for(net, data, &inputs.split, limit, fit)?;
        Ok(Self::Data(Box::new(data)))
    }

    /// Leaves out files that cannot be read; to be called once nothing else can be refused.
    pub(crate) fn check(&mut self, net: &Network) -> Result<()> {
        match self {
            Self::Files(files) => files.check(net),
            Self::Data(_) => Ok(()),
        }
    }

    /// The data set, if the images are of one.
    pub(crate) fn data(&self) -> Option<&Dataset> {
        match self {
            Self::Files(_) => None,
            Self::Data(data) => Some(data),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Files(files) => files.paths.len(),
            Self::Data(data) => data.len(),
        }
    }

    /// Images `start..start + n` as one batch.
    pub(crate) fn batch(&self, net: &Network, start: usize, n: usize) -> Result<Tensor> {
        let [c, h, w] = net.image_shape();
        let values = match self {
            Self::Files(files) => {
                let mut values = Vec::new();
                for path in &files.paths[start..start + n] {
                    let bytes = files.read(net, path)?.bytes;
                    values.extend(bytes.iter().map(|&b| f32::from(b) / 255.0));
                }
                values
            }
            Self::Data(data) => data.images(&(start..start + n).collect::<Vec<_>>())?,
        };
        Ok(Tensor::new(&[n, c, h, w], values))
    }

    pub(crate) fn name(&self, i: usize) -> String {
        match self {
            Self::Files(files) => files.paths[i].display().to_string(),
            Self::Data(data) => format!("{}, {} image {i}", data.name(), data.split()),
        }
    }

    pub(crate) fn truth(&self, i: usize) -> Option<usize> {
        match self {
            Self::Files(_) => None,
            Self::Data(data) => Some(data.label(i)),
        }
    }

    /// Files that could not be read, each with the reason.
    pub(crate) fn left_out(&self) -> Vec<String> {
        match self {
            Self::Files(files) => files.left_out.clone(),
            Self::Data(data) => data.left_out().to_vec(),
        }
    }

    /// Begins of file names, one an image: the folder and name of the file in letters that neither
    /// a file system nor an address minds, each once.
    pub(crate) fn stems(&self) -> Vec<String> {
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
            Self::Files(files) => files.paths.iter().map(|p| unique(stem(p))).collect(),
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
        let files = Pictures {
            paths: paths.to_vec(),
            fit: Fit::Refused,
            left_out: Vec::new(),
        };
        let stems = Images::Files(files).stems();
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
