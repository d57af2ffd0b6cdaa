//! How the pictures of a data set become images of one shape.

use crate::data::picture::{StillImage, read_image_to_fit, read_like};
use crate::error::{Error, Result};
use std::path::Path;

/// How a picture file is read: the same file gives the same bytes each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// `[channels, height, width]` of what comes out.
    pub(crate) shape: [usize; 3],
    /// Whether pictures of another shape are made to fit; else they are refused.
    pub(crate) fit: bool,
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
        if self.fit {
            return read_image_to_fit(path, self.shape);
        }
        let image = read_like(path, Some(self.shape))?;
        if image.shape == self.shape {
            return Ok(image);
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
