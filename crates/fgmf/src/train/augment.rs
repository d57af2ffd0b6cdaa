//! Training images mirrored and shifted at random.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::rng::Stream;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// What is drawn for each image in each epoch, as usual for photographs.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `flip` | off | left and right change places in half of the draws |
/// | `shift` | 0 | pixels, at most the smaller side; what comes in from outside is black |
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentParams {
    /// Whether images are mirrored.
    pub flip: bool,
    /// Farthest shift along each axis, in pixels: the crop of a padded image.
    pub shift: usize,
}

impl AugmentParams {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, [_, h, w]: [usize; 3]) -> Result<()> {
        if self.shift <= h.min(w) {
            return Ok(());
        }
        let expected = format!("at most {}, the smaller side", h.min(w));
        Err(Error::parameter("augment.shift", expected, self.shift))
    }

    /// One image `[c, h, w]`.
    pub(super) fn apply(&self, image: &[f32], [_, h, w]: [usize; 3], rng: &mut Stream) -> Vec<f32> {
        let flip = self.flip && rng.sign() > 0.0;
        let mut shift = || {
            let reach = 2 * self.shift as u64 + 1;
            rng.below(reach) as isize - self.shift as isize
        };
        let (down, right) = (shift(), shift());
        let source = |to: usize, by: isize, side: usize| {
            to.checked_add_signed(-by).filter(|&from| from < side)
        };
        let mut out = Vec::with_capacity(image.len());
        for plane in image.chunks_exact(h * w) {
            for y in 0..h {
                let row = source(y, down, h).map(|from| &plane[from * w..][..w]);
                out.extend((0..w).map(|x| {
                    let from = row.zip(source(x, right, w));
                    from.map_or(0.0, |(row, x)| row[if flip { w - 1 - x } else { x }])
                }));
            }
        }
        out
    }
}

/// Each image of the batch as `one` makes it; `one` has the image, its shape `[c, h, w]` and its
/// position in the data.
pub(super) fn each_image(batch: &mut Batch, one: impl Fn(&[f32], [usize; 3], u64) -> Vec<f32>) {
    let shape @ [c, h, w] = std::array::from_fn(|axis| batch.x.shape()[axis + 1]);
    let images = batch.x.to_f32();
    let rows = images.chunks_exact(c * h * w).zip(&batch.index);
    let seen: Vec<f32> = rows.flat_map(|(x, &index)| one(x, shape, index)).collect();
    batch.x = Tensor::new(batch.x.shape(), seen);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn draws(params: &AugmentParams, image: &[f32], shape: [usize; 3]) -> Vec<Vec<f32>> {
        let draw = |i: u64| {
            let mut rng = Stream::new(0, Purpose::Augmentation, 0, i);
            params.apply(image, shape, &mut rng)
        };
        (0..200).map(draw).collect()
    }

    #[test]
    fn images_are_mirrored_or_not_and_shifted_within_reach() {
        let image = [1.0, 2.0, 3.0, 4.0];
        let flip = AugmentParams {
            flip: true,
            shift: 0,
        };
        let found = draws(&flip, &image, [1, 2, 2]);
        let turned = found.iter().filter(|x| **x == [2.0, 1.0, 4.0, 3.0]).count();
        let same = found.iter().filter(|x| **x == image).count();
        assert!(
            turned + same == 200 && (70..130).contains(&turned),
            "{turned}"
        );

        let shift = AugmentParams {
            flip: false,
            shift: 1,
        };
        let found = draws(&shift, &image, [1, 2, 2]);
        // 3 places down times 3 to the right.
        let expected: [[f32; 4]; 9] = [
            [1.0, 2.0, 3.0, 4.0],
            [0.0, 1.0, 0.0, 3.0],
            [2.0, 0.0, 4.0, 0.0],
            [0.0, 0.0, 1.0, 2.0],
            [3.0, 4.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
            [0.0, 0.0, 2.0, 0.0],
            [0.0, 3.0, 0.0, 0.0],
            [4.0, 0.0, 0.0, 0.0],
        ];
        for place in expected {
            assert!(found.iter().any(|x| *x == place), "{place:?}");
        }
        assert!(found.iter().all(|x| expected.iter().any(|e| *x == *e)));
        let none = AugmentParams::default();
        assert!(none.is_none() && draws(&none, &image, [2, 1, 2]).iter().all(|x| *x == image));
        assert!(shift.check([1, 1, 5]).is_ok());
        assert!(AugmentParams { shift: 3, ..none }.check([1, 2, 9]).is_err());
    }
}
