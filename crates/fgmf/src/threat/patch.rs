//! Patches: an attacker may replace whole rectangles of an image by anything within the bounds.
//!
//! The threat of `count` patches of `size` holds every image that differs from the original inside
//! `count` rectangles of that size. The rectangles lie inside the image and may overlap.

use crate::error::{Error, Result};
use crate::record::{PatchThreatRecord, Rectangle};
use crate::rng::Stream;

/// Most patches of a threat.
const MOST: usize = 4;

/// A checked threat of patches. It is no ball, so that no attack on a ball can be given one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatchThreat {
    size: [usize; 2],
    count: usize,
    bounds: [f64; 2],
}

impl PatchThreat {
    /// `count` patches of `size` (rows, columns), 1 to 4 of them, with values in `bounds`, on
    /// images of that height and width.
    ///
    /// # Errors
    /// A side that is 0 or larger than the image's, a count out of range, or bounds that do not
    /// increase.
    pub fn new(
        size: [usize; 2],
        count: usize,
        bounds: [f64; 2],
        [h, w]: [usize; 2],
    ) -> Result<Self> {
        let fits = (1..=h).contains(&size[0]) && (1..=w).contains(&size[1]);
        if !fits {
            let expected = format!("1 to {h} rows and 1 to {w} columns");
            let found = format!("{}x{}", size[0], size[1]);
            return Err(Error::parameter("patch", expected, found));
        }
        if !(1..=MOST).contains(&count) {
            return Err(Error::parameter("patches", format!("1 to {MOST}"), count));
        }
        if !(bounds.iter().all(|b| b.is_finite()) && bounds[0] < bounds[1]) {
            let expected = "two finite numbers, the smaller first";
            return Err(Error::parameter("bounds", expected, format!("{bounds:?}")));
        }
        Ok(Self {
            size,
            count,
            bounds,
        })
    }

    /// Side of the largest square that covers at most this share of an image, at least 1 pixel.
    ///
    /// # Errors
    /// A share that is not above 0 and at most 1.
    pub fn side_of_share(share: f64, [h, w]: [usize; 2]) -> Result<usize> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::parameter("patch", "a share above 0, up to 1", share));
        }
        let side = (share * (h * w) as f64).sqrt().floor() as usize;
        Ok(side.clamp(1, h.min(w)))
    }

    /// Rows and columns of a patch.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Number of patches.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Smallest and largest value of an image.
    pub fn bounds(&self) -> [f64; 2] {
        self.bounds
    }

    /// For a report.
    pub fn record(&self) -> PatchThreatRecord {
        PatchThreatRecord {
            size: self.size,
            count: self.count,
            bounds: self.bounds,
        }
    }

    /// Number of places of one patch on an image of that height and width.
    pub fn places(&self, image: [usize; 2]) -> usize {
        let [rows, columns] = self.room(image);
        rows * columns
    }

    /// Places along each axis.
    fn room(&self, [h, w]: [usize; 2]) -> [usize; 2] {
        [h + 1 - self.size[0], w + 1 - self.size[1]]
    }

    /// Place `at` of [`PatchThreat::places`]; places count row by row.
    pub fn place(&self, image: [usize; 2], at: usize) -> Rectangle {
        let columns = self.room(image)[1];
        Rectangle {
            top: at / columns,
            left: at % columns,
            height: self.size[0],
            width: self.size[1],
        }
    }

    /// A random place, all equally likely.
    pub fn random_place(&self, image: [usize; 2], rng: &mut Stream) -> Rectangle {
        self.place(image, rng.below(self.places(image) as u64) as usize)
    }

    /// An error unless these are places of at most `count` patches on such an image.
    pub fn check_places(&self, [h, w]: [usize; 2], places: &[Rectangle]) -> Result<()> {
        let inside = |p: &Rectangle| {
            [p.height, p.width] == self.size && p.top + p.height <= h && p.left + p.width <= w
        };
        if places.len() <= self.count && places.iter().all(inside) {
            return Ok(());
        }
        let [rows, columns] = self.size;
        let expected = format!(
            "at most {} places of {rows}x{columns} in an image of {h}x{w}",
            self.count
        );
        Err(Error::mismatch("patch", expected, format!("{places:?}")))
    }

    /// Brings `x [c, h, w]` into the threat with its patches at `places`: outside of them it is the
    /// original, inside it is cut to the bounds. A value that is no number becomes the original.
    pub fn project(&self, origin: &[f32], x: &mut [f32], [h, w]: [usize; 2], places: &[Rectangle]) {
        let [lo, hi] = self.bounds.map(|b| b as f32);
        for (i, (v, &o)) in x.iter_mut().zip(origin).enumerate() {
            let (row, column) = (i % (h * w) / w, i % w);
            let free = places.iter().any(|p| p.holds(row, column)) && !v.is_nan();
            *v = if free { v.clamp(lo, hi) } else { o };
        }
    }

    /// Fills the patch at `place` with independent values, uniform in the bounds.
    pub fn random_content(
        &self,
        x: &mut [f32],
        [h, w]: [usize; 2],
        place: &Rectangle,
        rng: &mut Stream,
    ) {
        let [lo, hi] = self.bounds.map(|b| b as f32);
        for plane in x.chunks_exact_mut(h * w) {
            for row in place.rows() {
                let line = &mut plane[row * w..][place.columns()];
                line.iter_mut()
                    .for_each(|v| *v = lo + (hi - lo) * rng.unit());
            }
        }
    }

    /// Whether `x` can be made of `origin` by `count` patches: what differs lies in so many
    /// rectangles, and is in the bounds.
    pub fn contains(&self, origin: &[f32], x: &[f32], [h, w]: [usize; 2]) -> bool {
        let [lo, hi] = self.bounds.map(|b| b as f32);
        let mut differs = vec![false; h * w];
        for (i, (o, v)) in origin.iter().zip(x).enumerate() {
            let same = o.to_bits() == v.to_bits();
            if !same && !(lo..=hi).contains(v) {
                return false;
            }
            differs[i % (h * w)] |= !same;
        }
        self.covered(&differs, [h, w], self.count)
    }

    /// Whether `left` patches cover what differs. The first pixel that differs is in the top row of
    /// all that do, so the patch over it may begin there; its columns are tried one after another.
    fn covered(&self, differs: &[bool], [h, w]: [usize; 2], left: usize) -> bool {
        let Some(first) = differs.iter().position(|d| *d) else {
            return true;
        };
        if left == 0 {
            return false;
        }
        let [height, width] = self.size;
        let top = (first / w).min(h - height);
        let most = (first % w).min(w - width);
        let least = (first % w + 1).saturating_sub(width);
        for start in least..=most {
            let mut rest = differs.to_vec();
            for row in top..top + height {
                rest[row * w + start..row * w + start + width].fill(false);
            }
            if self.covered(&rest, [h, w], left - 1) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    const BOUNDS: [f64; 2] = [0.0, 1.0];

    fn threat(size: [usize; 2], count: usize) -> PatchThreat {
        PatchThreat::new(size, count, BOUNDS, [7, 9]).unwrap()
    }

    #[test]
    fn places_are_all_inside_and_all_different() {
        let t = threat([2, 4], 1);
        let places: Vec<Rectangle> = (0..t.places([7, 9])).map(|k| t.place([7, 9], k)).collect();
        assert_eq!(places.len(), 6 * 6);
        let inside = |p: &Rectangle| t.check_places([7, 9], std::slice::from_ref(p)).is_ok();
        assert!(places.iter().all(inside));
        let all: std::collections::BTreeSet<_> = places.iter().map(|p| (p.top, p.left)).collect();
        assert_eq!(all.len(), 36);
    }

    /// A projected image is in the threat, and stays as it is under a second projection.
    #[test]
    fn projections_lie_in_the_threat() {
        let mut rng = Stream::new(0, Purpose::AttackStart, 0, 0);
        for count in 1..=3 {
            let t = threat([3, 2], count);
            for _ in 0..50 {
                let origin: Vec<f32> = (0..2 * 63).map(|_| rng.unit()).collect();
                let mut x: Vec<f32> = (0..2 * 63).map(|_| 3.0 * rng.symmetric()).collect();
                x[5] = f32::NAN;
                let places: Vec<_> = (0..count)
                    .map(|_| t.random_place([7, 9], &mut rng))
                    .collect();
                t.project(&origin, &mut x, [7, 9], &places);
                assert!(t.contains(&origin, &x, [7, 9]));
                let again = x.clone();
                t.project(&origin, &mut x, [7, 9], &places);
                assert_eq!(x, again);
            }
        }
    }

    #[test]
    fn what_needs_a_larger_patch_or_one_more_is_not_in_the_threat() {
        let origin = vec![0.5f32; 63];
        let changed = |pixels: &[[usize; 2]]| {
            let mut x = origin.clone();
            pixels.iter().for_each(|[r, c]| x[r * 9 + c] = 1.0);
            x
        };
        let inside = |size, count, pixels: &[[usize; 2]]| {
            threat(size, count).contains(&origin, &changed(pixels), [7, 9])
        };
        assert!(inside([2, 2], 1, &[[6, 8]]) && inside([2, 2], 1, &[]));
        assert!(inside([2, 2], 1, &[[3, 4], [4, 3]]));
        assert!(!inside([2, 2], 1, &[[3, 4], [4, 2]]) && inside([2, 2], 2, &[[3, 4], [4, 2]]));
        // The patch over the first pixel must reach to the left for the others to fit into one.
        assert!(inside([2, 3], 2, &[[1, 4], [2, 2], [1, 5], [2, 7]]));
        assert!(!inside([2, 3], 2, &[[1, 4], [2, 2], [1, 7], [6, 0]]));
        let mut outside = origin.clone();
        outside[0] = 1.5;
        assert!(!threat([2, 2], 1).contains(&origin, &outside, [7, 9]));
    }

    #[test]
    fn parameters_are_checked() {
        let new = |size, count| PatchThreat::new(size, count, BOUNDS, [7, 9]);
        assert!(new([7, 9], 1).is_ok() && new([8, 1], 1).is_err() && new([0, 1], 1).is_err());
        assert!(new([1, 1], 0).is_err() && new([1, 1], 5).is_err());
        assert!(PatchThreat::new([1, 1], 1, [1.0, 0.0], [7, 9]).is_err());
        assert_eq!(PatchThreat::side_of_share(0.03, [28, 28]).unwrap(), 4);
        assert_eq!(PatchThreat::side_of_share(1e-9, [28, 28]).unwrap(), 1);
        assert!(PatchThreat::side_of_share(0.0, [28, 28]).is_err());
    }
}
