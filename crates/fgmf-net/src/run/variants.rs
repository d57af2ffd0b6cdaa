//! Variants of images that differ from them inside one window of pixels.

use super::plan::Kept;
use super::session::{Identity, Session};
use crate::error::{Error, Result};
use crate::tensor::{Precision, Tensor};
use std::ops::Range;

/// Images with their feature maps, which variants of them share outside of what a window reaches.
/// They belong to the session that made them, and to the weights that it had.
#[derive(Debug)]
pub struct Surroundings {
    kept: Kept,
    made_by: Identity,
}

impl Surroundings {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.kept.images()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Session {
    /// Computes images `[n, c, h, w]` in single precision and keeps what [`Self::window_logits`]
    /// needs of them: every feature map.
    pub fn surroundings(&self, x: &Tensor) -> Result<Surroundings> {
        self.check_images(x)?;
        if x.precision() != Precision::F32 {
            return Err(Error::call("variants of images", "images in F32", "F64"));
        }
        Ok(Surroundings {
            kept: Kept::new(self, &self.cpu.cache, x)?,
            made_by: self.identity().clone(),
        })
    }

    /// Logits `[n, k]` of variants of images: variant i is image `owner[i]` of `base` with the
    /// pixels of `window` (rows, columns) replaced by `patches[i]`, `[n, c, rows, columns]`. As
    /// from [`Self::logits`] on the whole variants but for rounding.
    ///
    /// An error if another session made `base`, if a parameter has changed since, if the window is
    /// empty or not inside the images, or if a size does not fit.
    pub fn window_logits(
        &self,
        base: &Surroundings,
        window: &[Range<usize>; 2],
        owner: &[usize],
        patches: &Tensor,
    ) -> Result<Tensor> {
        self.identity().check("variants of images", &base.made_by)?;
        let [c, h, w] = self.image_shape();
        let shape = [owner.len(), c, window[0].len(), window[1].len()];
        if window[0].is_empty() || window[1].is_empty() || window[0].end > h || window[1].end > w {
            return Err(Error::call(
                "variants of images",
                format!("a window inside {h} rows and {w} columns"),
                format!("{window:?}"),
            ));
        }
        if owner.is_empty() || patches.shape() != shape || patches.precision() != Precision::F32 {
            return Err(Error::call(
                "variants of images",
                format!("patches of shape {shape:?} in F32"),
                format!("{:?}", patches.shape()),
            ));
        }
        if let Some(image) = owner.iter().find(|&&i| i >= base.len()) {
            return Err(Error::call(
                "variants of images",
                format!("images below {}", base.len()),
                image,
            ));
        }
        let arenas = &self.cpu.cache.arenas;
        Ok(base.kept.logits(self, arenas, window, owner, patches))
    }
}
