//! How the pictures of a data set become images of one shape.

use crate::data::picture::{
    StillImage, read_image_of, read_image_scaled, read_image_to_fit, read_like,
};
use crate::data::scaling::Scaling;
use crate::error::{Error, Result};
use std::path::Path;

/// What is done with pictures of another size than a model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// They are refused.
    #[default]
    Refused,
    /// They are cut to the middle, resized, made grey or coloured: [`read_image_to_fit`].
    Middle,
    /// They are scaled as the files of the model say: [`read_image_scaled`].
    Scaled {
        /// How.
        scaling: Scaling,
        /// Whether pictures are scaled, too, that have the size of the model's images already.
        all: bool,
    },
}

/// The image of `[channels, height, width]` in a file; other pictures are made to fit as `fit`
/// says.
///
/// # Errors
/// Those of [`read_image_of`], [`read_image_to_fit`] or [`read_image_scaled`].
pub fn read_picture(path: &Path, shape: [usize; 3], fit: Fit) -> Result<StillImage> {
    match fit {
        Fit::Refused => read_image_of(path, shape),
        _ => Recipe { shape, fit }.read(path, ""),
    }
}

/// How a picture file is read: the same file gives the same bytes each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// `[channels, height, width]` of what comes out.
    pub(crate) shape: [usize; 3],
    /// What is done with pictures of another shape.
    pub(crate) fit: Fit,
}

impl Recipe {
    /// Bytes of an image.
    pub(crate) fn area(&self) -> usize {
        self.shape.iter().product()
    }

    /// The image of a file.
    ///
    /// # Errors
    /// Those of reading a picture; [`Error::Data`] when it has another shape and is not made to
    /// fit, with the reason why this shape is wanted.
    pub(crate) fn read(&self, path: &Path, reason: &str) -> Result<StillImage> {
        match self.fit {
            Fit::Middle => return read_image_to_fit(path, self.shape),
            Fit::Scaled { scaling, all: true } => {
                return read_image_scaled(path, self.shape, &scaling);
            }
            _ => {}
        }
        let image = read_like(path, Some(self.shape))?;
        if image.shape == self.shape {
            return Ok(image);
        }
        if let Fit::Scaled { scaling, .. } = self.fit {
            return read_image_scaled(path, self.shape, &scaling);
        }
        let expected = format!("{} {reason}", size(self.shape));
        Err(Error::data(path, expected, size(image.shape)))
    }
}

fn size([c, h, w]: [usize; 3]) -> String {
    let kind = match c {
        1 => "grey".to_owned(),
        3 => "RGB".to_owned(),
        c => format!("{c} channels"),
    };
    format!("{w}x{h} pixels (width x height), {kind}")
}
