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

    /// What is drawn for one image.
    pub(super) fn draw(&self, rng: &mut Stream) -> Shifted {
        let flip = self.flip && rng.sign() > 0.0;
        let mut shift = || {
            let reach = 2 * self.shift as u64 + 1;
            rng.below(reach) as isize - self.shift as isize
        };
        let (down, right) = (shift(), shift());
        Shifted { flip, down, right }
    }
}

/// How one image is mirrored, then shifted, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shifted {
    flip: bool,
    down: isize,
    right: isize,
}

impl Shifted {
    /// One image `[c, h, w]`, moved; what comes in from outside is 0.
    pub(super) fn apply(self, image: &[f32], shape: [usize; 3]) -> Vec<f32> {
        let Self { flip, down, right } = self;
        let turned = |x: usize, w: usize| if flip { w - 1 - x } else { x };
        gathered(image, shape, |[y, x], [h, w]| {
            let (y, x) = (source(y, down, h)?, source(x, right, w)?);
            Some([y, turned(x, w)])
        })
    }

    /// What was moved, moved back; what had left the image is 0.
    pub(super) fn undo(self, image: &[f32], shape: [usize; 3]) -> Vec<f32> {
        let Self { flip, down, right } = self;
        let turned = |x: usize, w: usize| if flip { w - 1 - x } else { x };
        gathered(image, shape, |[y, x], [h, w]| {
            Some([source(y, -down, h)?, source(turned(x, w), -right, w)?])
        })
    }
}

/// Where a pixel that is at `to` after a shift was before.
fn source(to: usize, by: isize, side: usize) -> Option<usize> {
    to.checked_add_signed(-by).filter(|&from| from < side)
}

/// An image `[c, h, w]` with each pixel taken from where `from` says, 0 where it says nothing.
fn gathered(
    image: &[f32],
    [_, h, w]: [usize; 3],
    from: impl Fn([usize; 2], [usize; 2]) -> Option<[usize; 2]>,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(image.len());
    for plane in image.chunks_exact(h * w) {
        for y in 0..h {
            let at = |x| from([y, x], [h, w]).map_or(0.0, |[y, x]| plane[y * w + x]);
            out.extend((0..w).map(at));
        }
    }
    out
}

/// Each image of the batch as `one` makes it; `one` has the image, its shape `[c, h, w]` and its
/// position in the data.
pub(super) fn each_image(
    batch: &mut Batch,
    mut one: impl FnMut(&[f32], [usize; 3], u64) -> Vec<f32>,
) {
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
            params.draw(&mut rng).apply(image, shape)
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
        let moves = AugmentParams {
            flip: true,
            shift: 2,
        };
        let wide: Vec<f32> = (1..=60).map(|v| v as f32).collect();
        for i in 0..50 {
            let drawn = moves.draw(&mut Stream::new(1, Purpose::Augmentation, 0, i));
            let back = drawn.undo(&drawn.apply(&wide, [2, 5, 6]), [2, 5, 6]);
            let same = |a: f32, b: f32| a.to_bits() == b.to_bits();
            let kept = back.iter().zip(&wide).filter(|(b, w)| same(**b, **w));
            let kept = kept.count();
            let lost = back.iter().filter(|b| same(**b, 0.0)).count();
            assert!(kept + lost == 60 && kept >= 2 * 3 * 4, "{drawn:?}");
        }
        let none = AugmentParams::default();
        assert!(none.is_none() && draws(&none, &image, [2, 1, 2]).iter().all(|x| *x == image));
        assert!(shift.check([1, 1, 5]).is_ok());
        assert!(AugmentParams { shift: 3, ..none }.check([1, 2, 9]).is_err());
    }
}
