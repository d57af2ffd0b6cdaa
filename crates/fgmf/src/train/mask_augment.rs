//! Training images under masks, as a defended model will be asked about them.
//!
//! Two masks of the set that hides a patch are drawn for each image in each epoch, each mask as
//! likely as another, and hidden together. They may be the same. The fill is that of the proofs
//! ([`BlindFill`]), so that training and proofs see the same kind of image.
//!
//! Reference: Xiang, Mahloujifar & Mittal 2022 (arXiv 2108.09135), which trains with masks at
//! random places (Cutout, DeVries & Taylor 2017).

use crate::certify::{BlindFill, MaskSet};
use crate::error::Result;
use crate::record::Rectangle;
use crate::rng::Stream;
use crate::threat::PatchThreat;
use serde::{Deserialize, Serialize};

/// Which masks are drawn.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `patch` | | rows and columns, 1 to the image's |
/// | `patches` | 1 | 1 to 4 |
/// | `masks` | 6 | along each axis, 1 to the larger side |
/// | `fill` | `0.5` | a number in input units, or `outside` |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskAugmentParams {
    /// Size of the patch that the masks hide.
    pub patch: [usize; 2],
    /// Patches at once.
    #[serde(default = "one")]
    pub patches: usize,
    /// Masks along each axis.
    #[serde(default = "six")]
    pub masks: usize,
    /// What stands in the place of hidden pixels.
    #[serde(default = "grey")]
    pub fill: String,
}

fn one() -> usize {
    1
}

fn six() -> usize {
    6
}

fn grey() -> String {
    "0.5".to_owned()
}

impl MaskAugmentParams {
    /// The masks on images of that shape.
    ///
    /// # Errors
    /// A field out of its range.
    pub fn check(&self, [_, h, w]: [usize; 3]) -> Result<MaskDraws> {
        let threat = PatchThreat::new(self.patch, self.patches, [0.0, 1.0], [h, w])?;
        Ok(MaskDraws {
            masks: MaskSet::covering([h, w], &threat, self.masks)?,
            fill: self.fill.parse()?,
        })
    }
}

/// Checked masks.
#[derive(Clone, Debug)]
pub struct MaskDraws {
    masks: MaskSet,
    fill: BlindFill,
}

impl MaskDraws {
    /// Hides two masks of an image `[c, h, w]`.
    pub(super) fn apply(&self, image: &mut [f32], rng: &mut Stream) {
        let mut draw = || &self.masks.masks()[rng.below(self.masks.len() as u64) as usize];
        let both: Vec<Rectangle> = [draw(), draw()].into_iter().flatten().copied().collect();
        self.fill.hide(image, self.masks.image(), &both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use std::collections::BTreeSet;

    /// What is drawn is what two masks of the set hide, and all pairs come up.
    #[test]
    fn each_draw_hides_two_masks_of_the_set() {
        let params = MaskAugmentParams {
            patch: [2, 2],
            patches: 1,
            masks: 2,
            fill: "2".into(),
        };
        let draws = params.check([1, 5, 5]).unwrap();
        let image: Vec<f32> = (0..25).map(|i| i as f32 / 25.0).collect();
        let hidden = |x: &[f32]| x.iter().map(|v| *v > 1.5).collect::<Vec<bool>>();
        let masks = draws.masks.masks();
        let mut expected = BTreeSet::new();
        for (i, a) in masks.iter().enumerate() {
            for b in &masks[i..] {
                let mut x = image.clone();
                draws.fill.hide(&mut x, [5, 5], a.iter().chain(b));
                expected.insert(hidden(&x));
            }
        }
        let mut seen = BTreeSet::new();
        for i in 0..400 {
            let mut x = image.clone();
            draws.apply(&mut x, &mut Stream::new(0, Purpose::Augmentation, 0, i));
            assert!(
                x.iter()
                    .zip(&image)
                    .all(|(v, o)| *v > 1.5 || v.to_bits() == o.to_bits())
            );
            seen.insert(hidden(&x));
        }
        assert_eq!(seen, expected);
        assert_eq!(expected.len(), 4 * 5 / 2);
    }

    #[test]
    fn settings_are_checked_and_have_defaults() {
        let read = |text: &str| serde_json::from_str::<MaskAugmentParams>(text);
        let params = read(r#"{"patch": [5, 5]}"#).unwrap();
        assert_eq!(
            (params.masks, params.patches, &params.fill[..]),
            (6, 1, "0.5")
        );
        assert_eq!(params.check([1, 28, 28]).unwrap().masks.len(), 36);
        assert!(params.check([1, 4, 28]).is_err() && read(r#"{"patch": [5, 5], "x": 1}"#).is_err());
        let blurred = MaskAugmentParams {
            fill: "blur".into(),
            ..params
        };
        assert!(blurred.check([1, 28, 28]).is_err());
    }
}
