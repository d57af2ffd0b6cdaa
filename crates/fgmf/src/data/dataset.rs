//! One split of labelled images.

use crate::data::labelling::labels_of;
use crate::data::pixels::Pixels;
use crate::error::{Error, Result};
use crate::hash::hexadecimal;
use crate::record::Split;
use sha2::Digest;
use std::fmt;

/// Labelled images of one split, all of one shape, never empty.
///
/// Images are held in memory, or are decoded anew from their files whenever they are asked for
/// ([`DataRequest::held`](super::DataRequest)). Then a file that changed is an error, never another
/// image.
#[derive(Clone, PartialEq, Eq)]
pub struct Dataset {
    name: String,
    split: Split,
    classes: Vec<String>,
    shape: [usize; 3],
    pixels: Pixels,
    labels: Vec<usize>,
    /// Whether labels are positions of folders instead of numbers in a file.
    by_folder: bool,
    chosen: Option<&'static str>,
    notes: Vec<String>,
    left_out: Vec<String>,
}

impl Dataset {
    /// From `pixels` laid out `[n, channels, height, width]`, `shape` = `[channels, height,
    /// width]`, and one label per image.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there is no image or no class, a side of `shape` is 0, `pixels` is
    /// not `n * channels * height * width` long, or a label is not below the number of classes.
    pub fn new(
        name: impl Into<String>,
        split: Split,
        classes: Vec<String>,
        shape: [usize; 3],
        pixels: Vec<u8>,
        labels: Vec<usize>,
    ) -> Result<Self> {
        Self::of_pixels(name, split, classes, shape, Pixels::Held(pixels), labels)
    }

    /// [`new`](Self::new) of pixels that may be in files.
    pub(crate) fn of_pixels(
        name: impl Into<String>,
        split: Split,
        classes: Vec<String>,
        shape: [usize; 3],
        pixels: Pixels,
        labels: Vec<usize>,
    ) -> Result<Self> {
        let wrong =
            |expected: String, found: String| Err(Error::mismatch("data set", expected, found));
        if labels.is_empty() || classes.is_empty() {
            let found = format!("{} images, {} classes", labels.len(), classes.len());
            return wrong("at least one image and one class".into(), found);
        }
        if shape.contains(&0) {
            return wrong(
                "channels, height and width of at least 1".into(),
                format!("{shape:?}"),
            );
        }
        let [c, h, w] = shape;
        let area = c.checked_mul(h).and_then(|a| a.checked_mul(w));
        if let Err(found) = pixels.check(labels.len(), area) {
            let expected = format!("{} images of {c}x{h}x{w} bytes", labels.len());
            return wrong(expected, found);
        }
        if let Some((image, label)) = labels
            .iter()
            .enumerate()
            .find(|&(_, &label)| label >= classes.len())
        {
            return wrong(
                format!("labels below {}", classes.len()),
                format!("label {label} on image {image}"),
            );
        }
        Ok(Self {
            name: name.into(),
            split,
            classes,
            shape,
            pixels,
            labels,
            by_folder: false,
            chosen: None,
            notes: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// With labels that are positions in a list of folders; [`relabel`](Self::relabel) gives them
    /// a model's meaning.
    pub(crate) fn by_folder(mut self) -> Self {
        self.by_folder = true;
        self
    }

    /// With how its images were chosen, and what was done to them while they were read.
    pub(crate) fn with_facts(mut self, chosen: Option<&'static str>, notes: Vec<String>) -> Self {
        (self.chosen, self.notes) = (chosen, notes);
        self
    }

    /// Without these files, each of which has its error.
    pub(crate) fn without(mut self, left_out: Vec<Error>) -> Self {
        self.left_out = left_out.iter().map(Error::to_string).collect();
        self
    }

    /// Files that were left out because they could not be read, or were not like the others: file,
    /// what was expected, what was found.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// How the images were chosen among those of the split; `None` for all, or for the first.
    pub fn chosen(&self) -> Option<&str> {
        self.chosen
    }

    /// What was done to some of the images while they were read, such as turning them upright.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Gives images from class folders the labels of a model with this many `classes` and, where
    /// it carries them, these `names`. Other data keeps its labels, which are numbers in its files.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when a folder is no class of the model, when a model without names has
    /// another number of classes than there are folders, or when other data has more classes than
    /// the model.
    pub fn relabel(&mut self, names: Option<&[String]>, classes: usize) -> Result<()> {
        if !self.by_folder {
            if self.classes.len() > classes {
                let (expected, found) = (format!("at most {classes} classes"), self.classes.len());
                return Err(Error::mismatch("match model and data", expected, found));
            }
            return Ok(());
        }
        let of_folder = labels_of(&self.classes, names, classes)?;
        let mut renamed: Vec<String> = match names {
            Some(names) => names.to_vec(),
            None => (0..classes).map(|label| label.to_string()).collect(),
        };
        if names.is_none() {
            for (&label, folder) in of_folder.iter().zip(&self.classes) {
                renamed[label].clone_from(folder);
            }
        }
        for label in &mut self.labels {
            *label = of_folder[*label];
        }
        self.classes = renamed;
        // The labels are now those of the model, and another model may read them as they are.
        self.by_folder = false;
        Ok(())
    }

    /// Number of images, at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// `[channels, height, width]` of every image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Class names; a label is an index into them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// [`EMBEDDED`](super::EMBEDDED), or the name of the folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which split this is.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Labels in file order, each below `classes().len()`.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Label of image `i`.
    ///
    /// # Panics
    /// When `i >= len()`, as indexing a slice does.
    pub fn label(&self, i: usize) -> usize {
        self.labels[i]
    }

    /// Bytes of an image.
    fn area(&self) -> usize {
        self.shape.iter().product()
    }

    /// Image `i` as `[channels, height, width]` values `byte / 255` in `[0, 1]`.
    ///
    /// # Errors
    /// As [`images`](Self::images).
    ///
    /// # Panics
    /// When `i >= len()`, as indexing a slice does.
    pub fn image(&self, i: usize) -> Result<Vec<f32>> {
        self.images(&[i])
    }

    /// The images at `indices`, in that order, one after the other: `[indices.len(), channels,
    /// height, width]` in `[0, 1]`.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Data`] when images are not held in memory and a file is no longer
    /// what it was when the data set was opened.
    ///
    /// # Panics
    /// When an index is `>= len()`, as indexing a slice does.
    pub fn images(&self, indices: &[usize]) -> Result<Vec<f32>> {
        for &i in indices {
            assert!(i < self.len(), "image {i} of a data set of {}", self.len());
        }
        self.pixels.values(indices, self.area())
    }

    /// Hex SHA-256 of the bytes of image `i`, as they were when the data set was opened.
    ///
    /// # Panics
    /// When `i >= len()`, as indexing a slice does.
    pub fn image_sha256(&self, i: usize) -> String {
        self.pixels.image_sha256(i, self.area())
    }

    /// Keeps the first `limit` images in file order; a `limit` above [`len`](Self::len) keeps all.
    ///
    /// # Errors
    /// [`Error::Parameter`] when `limit` is 0. As [`images`](Self::images), because images that are
    /// not held are decoded once more, for their hash.
    pub fn truncate(&mut self, limit: usize) -> Result<()> {
        if limit == 0 {
            return Err(Error::parameter("limit", "at least 1", 0));
        }
        if limit < self.len() {
            self.pixels.truncate(limit, self.area())?;
            self.labels.truncate(limit);
        }
        Ok(())
    }

    /// Hex SHA-256 of `n`, channels, height, width (64-bit little-endian), the pixels, and the
    /// labels (64-bit little-endian). Images that are not held were hashed when the data set was
    /// opened.
    pub fn sha256(&self) -> String {
        let mut hash = self.pixels.hash(self.len(), self.shape);
        for &label in &self.labels {
            hash.update((label as u64).to_le_bytes());
        }
        hexadecimal(&hash.finalize())
    }

    /// Number of images of each class, in the order of [`classes`](Self::classes); sums to
    /// [`len`](Self::len).
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            counts[label] += 1;
        }
        counts
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [c, h, w] = self.shape;
        write!(
            f,
            "Dataset({}, {}, {} images of {c}x{h}x{w})",
            self.name,
            self.split,
            self.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_are_checked() {
        let make = |classes: usize, shape, pixels: usize, labels: &[usize]| {
            let classes = (0..classes).map(|class| class.to_string()).collect();
            let pixels = vec![255; pixels];
            Dataset::new("d", Split::Test, classes, shape, pixels, labels.to_vec())
        };
        for (made, part) in [
            (make(2, [1, 1, 1], 0, &[]), "found 0 images, 2 classes"),
            (make(0, [1, 1, 1], 1, &[0]), "found 1 images, 0 classes"),
            (make(2, [1, 0, 1], 0, &[0]), "at least 1, found [1, 0, 1]"),
            (
                make(2, [1, 2, 3], 11, &[0, 1]),
                "2 images of 1x2x3 bytes, found 11",
            ),
            (make(2, [usize::MAX, 2, 3], 11, &[0, 1]), "found 11 bytes"),
            (make(2, [1, 2, 3], 12, &[0, 2]), "found label 2 on image 1"),
        ] {
            let message = made.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }

        let mut data = make(3, [1, 2, 3], 18, &[2, 0, 2]).unwrap();
        assert_eq!(
            (data.len(), data.class_counts(), data.label(0)),
            (3, vec![1, 0, 2], 2)
        );
        assert_eq!(data.images(&[2, 0]).unwrap(), vec![1.0; 12]);
        let whole = data.sha256();
        data.truncate(7).unwrap();
        assert_eq!((data.len(), data.sha256()), (3, whole.clone()));
        data.truncate(1).unwrap();
        let first = data.images(&[0]).unwrap();
        assert_eq!((data.labels(), first.len()), (&[2][..], 6));
        assert_ne!(data.sha256(), whole);
        let message = data.truncate(0).unwrap_err().to_string();
        assert_eq!(message, "parameter `limit`: expected at least 1, found 0");
        // Python: sha256(pack("<4Q", 1, 1, 2, 3) + b"\xff" * 6 + pack("<Q", 2))
        assert!(
            data.sha256()
                .starts_with("ace28487ebfe23550c49951f4b7d1197")
        );
    }
}
