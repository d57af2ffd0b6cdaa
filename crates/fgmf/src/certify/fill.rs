//! Fills that do not look at what they hide.
//!
//! A proof needs that a masked image is the same whatever stood under the mask. A blurred or
//! painted-over image is not: the patch shows through. So a [`BlindFill`] is handed the pixels
//! that stay visible, and nothing else.

use crate::error::{Error, Result};
use crate::record::Rectangle;
use std::fmt;
use std::str::FromStr;

/// What stands in the place of hidden pixels. No value of this type can depend on what it hides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlindFill(FillSource);

#[derive(Clone, Copy, Debug, PartialEq)]
enum FillSource {
    /// One value.
    Constant(f32),
    /// The mean of the visible pixels of the channel; 0 where none is visible.
    Outside,
}

impl BlindFill {
    /// One value in every channel, in input units.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn constant(value: f64) -> Result<Self> {
        if !(value as f32).is_finite() {
            return Err(Error::parameter("fill", "a finite number", value));
        }
        Ok(Self(FillSource::Constant(value as f32)))
    }

    /// The mean of the visible pixels, each channel its own.
    pub fn outside() -> Self {
        Self(FillSource::Outside)
    }

    /// The value of a channel, of whose pixels these are visible.
    fn value(&self, visible: impl Iterator<Item = f32>) -> f32 {
        match self.0 {
            FillSource::Constant(value) => value,
            FillSource::Outside => {
                let (sum, n) =
                    visible.fold((0.0f64, 0usize), |(s, n), v| (s + f64::from(v), n + 1));
                (sum / n.max(1) as f64) as f32
            }
        }
    }

    /// Hides rectangles of an image `[c, h, w]`.
    pub(crate) fn hide<'r>(
        &self,
        image: &mut [f32],
        [h, w]: [usize; 2],
        rectangles: impl IntoIterator<Item = &'r Rectangle>,
    ) {
        let mut hidden = vec![false; h * w];
        for r in rectangles {
            r.rows()
                .for_each(|row| hidden[row * w..][r.columns()].fill(true));
        }
        for plane in image.chunks_exact_mut(h * w) {
            let pixels = plane.iter().zip(&hidden);
            let value = self.value(pixels.filter(|(_, hidden)| !**hidden).map(|(v, _)| *v));
            let pixels = plane.iter_mut().zip(&hidden);
            pixels
                .filter(|(_, hidden)| **hidden)
                .for_each(|(v, _)| *v = value);
        }
    }
}

impl fmt::Display for BlindFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FillSource::Constant(value) => value.fmt(f),
            FillSource::Outside => "outside".fmt(f),
        }
    }
}

impl FromStr for BlindFill {
    type Err = Error;

    /// A number, or `outside`.
    fn from_str(text: &str) -> Result<Self> {
        if text == "outside" {
            return Ok(Self::outside());
        }
        let refused = || Error::parameter("fill", "a finite number or `outside`", text);
        Self::constant(text.parse().map_err(|_| refused())?).map_err(|_| refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    fn fills() -> [BlindFill; 3] {
        let constant = |v| BlindFill::constant(v).unwrap();
        [constant(0.0), constant(0.25), BlindFill::outside()]
    }

    /// What a proof rests on: two images that differ under the masks alone become the same bits,
    /// also where one of them holds no numbers there.
    #[test]
    fn masked_images_do_not_depend_on_what_was_hidden() {
        let mut rng = Stream::new(1, Purpose::Evaluation, 0, 0);
        let (h, w) = (6, 7);
        for fill in fills() {
            for _ in 0..100 {
                let mut rectangle = || {
                    let [top, left] = [h, w].map(|side| rng.below(side as u64) as usize);
                    Rectangle {
                        top,
                        left,
                        height: 1 + rng.below((h - top) as u64) as usize,
                        width: 1 + rng.below((w - left) as u64) as usize,
                    }
                };
                let masks = [rectangle(), rectangle()];
                let mut one: Vec<f32> = (0..2 * h * w).map(|_| rng.unit()).collect();
                let mut other = one.clone();
                for (i, v) in other.iter_mut().enumerate() {
                    let (row, column) = (i % (h * w) / w, i % w);
                    if masks.iter().any(|m| m.holds(row, column)) {
                        *v = if rng.unit() < 0.2 {
                            f32::NAN
                        } else {
                            9.0 * rng.symmetric()
                        };
                    }
                }
                let before = one.clone();
                fill.hide(&mut one, [h, w], &masks);
                fill.hide(&mut other, [h, w], &masks);
                let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&one), bits(&other), "{fill}");
                for (i, (v, b)) in one.iter().zip(&before).enumerate() {
                    let (row, column) = (i % (h * w) / w, i % w);
                    let hidden = masks.iter().any(|m| m.holds(row, column));
                    assert!(hidden || v.to_bits() == b.to_bits());
                }
            }
        }
    }

    #[test]
    fn the_mean_is_that_of_the_visible_pixels_of_the_channel() {
        let mut image = [1.0, 2.0, 3.0, 9.0, 0.0, 0.5, 1.0, 9.0];
        let corner = Rectangle {
            top: 1,
            left: 1,
            height: 1,
            width: 1,
        };
        BlindFill::outside().hide(&mut image, [2, 2], [&corner]);
        assert_eq!(image[..], [1.0, 2.0, 3.0, 2.0, 0.0, 0.5, 1.0, 0.5]);
        let all = Rectangle {
            top: 0,
            left: 0,
            height: 2,
            width: 2,
        };
        BlindFill::outside().hide(&mut image, [2, 2], [&all]);
        assert_eq!(image[..], [0.0; 8]);
    }

    #[test]
    fn fills_are_written_as_they_are_read() {
        for fill in fills() {
            assert_eq!(fill.to_string().parse::<BlindFill>().unwrap(), fill);
        }
        for text in ["blur", "", "nan", "inf", "1e99"] {
            assert!(text.parse::<BlindFill>().is_err(), "{text}");
        }
    }
}
