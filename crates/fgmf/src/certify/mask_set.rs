//! Masks that hide every place of the patches.
//!
//! Of a side of W pixels, a patch of p and n masks along it: the stride is s = ⌈(W − p + 1) / n⌉,
//! the mask m = p + s − 1 pixels, and masks begin at 0, s, 2s, … while they fit, and at W − m. The
//! first place of the patch in a stretch of s places begins with the mask and the last ends with
//! it, so each place lies in a mask. Rows and columns are the same for themselves.
//!
//! Against k patches a mask is a union of k of these rectangles, each union of k different ones.
//! Each of the k places lies in a rectangle; where two lie in the same one, any other fills up the
//! union.
//!
//! Reference: Xiang, Mahloujifar & Mittal 2022 (arXiv 2108.09135), section 3.2 and the part on
//! several patches.

use crate::error::{Error, Result};
use crate::record::{MaskSetRecord, Rectangle};
use crate::threat::PatchThreat;

/// Most masks of a set; a proof asks for half of their square.
const MOST: usize = 4096;

/// Masks of which one hides all patches, wherever they are.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskSet {
    image: [usize; 2],
    per_axis: usize,
    stride: [usize; 2],
    size: [usize; 2],
    masks: Vec<Vec<Rectangle>>,
}

impl MaskSet {
    /// The masks against a threat on images of that height and width, `per_axis` along each axis
    /// or as many as there are places.
    ///
    /// # Errors
    /// No mask along an axis, a patch larger than the image, or more than 4096 masks.
    pub fn covering(image: [usize; 2], threat: &PatchThreat, per_axis: usize) -> Result<Self> {
        let patch = threat.size();
        if per_axis == 0 || per_axis > image[0].max(image[1]) {
            let expected = format!("1 to {}", image[0].max(image[1]));
            return Err(Error::parameter("masks", expected, per_axis));
        }
        if (0..2).any(|a| patch[a] > image[a]) {
            let expected = format!("a patch of at most {}x{}", image[0], image[1]);
            return Err(Error::mismatch("masks", expected, format!("{patch:?}")));
        }
        let stride = [0, 1].map(|a| (image[a] - patch[a] + 1).div_ceil(per_axis));
        let size = [0, 1].map(|a| (patch[a] + stride[a] - 1).min(image[a]));
        let along = |a: usize| {
            let last = image[a] - size[a];
            let mut starts: Vec<usize> = (0..=last).step_by(stride[a]).collect();
            if !last.is_multiple_of(stride[a]) {
                starts.push(last);
            }
            starts
        };
        let columns = along(1);
        let rectangles: Vec<Rectangle> = along(0)
            .into_iter()
            .flat_map(|top| columns.iter().map(move |&left| (top, left)))
            .map(|(top, left)| Rectangle {
                top,
                left,
                height: size[0],
                width: size[1],
            })
            .collect();
        Ok(Self {
            image,
            per_axis,
            stride,
            size,
            masks: unions(&rectangles, threat.count().min(rectangles.len()))?,
        })
    }

    /// Height and width of the images.
    pub fn image(&self) -> [usize; 2] {
        self.image
    }

    /// The masks, each as the rectangles that it hides.
    pub fn masks(&self) -> &[Vec<Rectangle>] {
        &self.masks
    }

    /// Number of masks.
    pub fn len(&self) -> usize {
        self.masks.len()
    }

    /// Whether there is no mask, which no set has.
    pub fn is_empty(&self) -> bool {
        self.masks.is_empty()
    }

    /// Pairs of masks, a mask with itself among them.
    pub fn pairs(&self) -> usize {
        self.len() * (self.len() + 1) / 2
    }

    /// For a report.
    pub fn record(&self) -> MaskSetRecord {
        MaskSetRecord {
            per_axis: self.per_axis,
            stride: self.stride,
            size: self.size,
            masks: self.len(),
            pairs: self.pairs(),
        }
    }
}

/// Every choice of `count` different rectangles, in the order of their first, then second, …
fn unions(rectangles: &[Rectangle], count: usize) -> Result<Vec<Vec<Rectangle>>> {
    let mut out: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..count {
        let mut longer = Vec::new();
        for chosen in &out {
            for i in chosen.last().map_or(0, |last| last + 1)..rectangles.len() {
                if longer.len() == MOST {
                    let n = rectangles.len();
                    let expected = format!("so few that at most {MOST} masks hide all patches");
                    let found = format!("{n} rectangles for each patch");
                    return Err(Error::parameter("masks", expected, found));
                }
                longer.push([&chosen[..], &[i]].concat());
            }
        }
        out = longer;
    }
    let of = |chosen: Vec<usize>| chosen.into_iter().map(|i| rectangles[i]).collect();
    Ok(out.into_iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(image: [usize; 2], patch: [usize; 2], count: usize, per_axis: usize) -> MaskSet {
        let threat = PatchThreat::new(patch, count, [0.0, 1.0], image).unwrap();
        MaskSet::covering(image, &threat, per_axis).unwrap()
    }

    /// The paper's numbers for Fashion-MNIST's size: 36 masks of 8 x 8, four pixels apart.
    #[test]
    fn six_masks_an_axis_on_28_pixels() {
        let s = set([28, 28], [5, 5], 1, 6);
        assert_eq!(
            (s.stride, s.size, s.len(), s.pairs()),
            ([4; 2], [8; 2], 36, 666)
        );
        let tops: Vec<usize> = s.masks().iter().step_by(6).map(|m| m[0].top).collect();
        assert_eq!(tops, [0, 4, 8, 12, 16, 20]);
    }

    /// By brute force: a mask covers each place of each patch, on all small images and patches.
    #[test]
    fn every_place_of_every_patch_is_hidden() {
        for h in 1..=7 {
            for w in [1, 4, 7] {
                for (p, q) in (1..=h).flat_map(|p| (1..=w).map(move |q| (p, q))) {
                    for n in 1..=h.max(w) {
                        let threat = PatchThreat::new([p, q], 1, [0.0, 1.0], [h, w]).unwrap();
                        let s = MaskSet::covering([h, w], &threat, n).unwrap();
                        for at in 0..threat.places([h, w]) {
                            let place = threat.place([h, w], at);
                            let hides = |m: &Vec<Rectangle>| m.iter().any(|r| r.covers(&place));
                            assert!(s.masks().iter().any(hides), "{place:?} of {s:?}");
                        }
                        for r in s.masks().iter().flatten() {
                            assert!(r.top + r.height <= h && r.left + r.width <= w);
                        }
                    }
                }
            }
        }
    }

    /// The same for two and three patches on all combinations of places.
    #[test]
    fn all_patches_are_hidden_at_once() {
        for (count, n) in [(2, 1), (2, 2), (2, 3), (3, 2)] {
            let threat = PatchThreat::new([2, 1], count, [0.0, 1.0], [5, 4]).unwrap();
            let s = MaskSet::covering([5, 4], &threat, n).unwrap();
            let places = threat.places([5, 4]);
            for all in 0..places.pow(count as u32) {
                let digit = |k: usize| all / places.pow(k as u32) % places;
                let places: Vec<_> = (0..count).map(|k| threat.place([5, 4], digit(k))).collect();
                let hides = |m: &Vec<Rectangle>| {
                    let hidden = |p: &Rectangle| m.iter().any(|r| r.covers(p));
                    places.iter().all(hidden)
                };
                assert!(s.masks().iter().any(hides), "{places:?}");
            }
        }
        assert_eq!(set([28, 28], [5, 5], 2, 3).len(), 36);
    }

    #[test]
    fn sets_that_cannot_be_are_refused() {
        let threat = PatchThreat::new([5, 5], 2, [0.0, 1.0], [28, 28]).unwrap();
        for n in [0, 29, 24] {
            assert!(MaskSet::covering([28, 28], &threat, n).is_err(), "{n}");
        }
        assert!(MaskSet::covering([4, 4], &threat, 2).is_err());
    }
}
