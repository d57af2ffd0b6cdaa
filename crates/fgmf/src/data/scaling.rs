//! Pictures scaled as Pillow scales them: with a filter as wide as what a new pixel covers.

use crate::data::limits::MAX_SIDE;
use crate::error::{Error, Result};

/// Bits behind the point of a weight, as in Pillow.
const BITS: u32 = 22;

/// How the values between pixels are found. Where a picture becomes smaller the filter is widened
/// by as much, so that every pixel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// `1 − |x|` for `|x| < 1`.
    Bilinear,
    /// Cubic convolution with a = −0.5 (Keys 1981), for `|x| < 2`.
    Bicubic,
}

impl std::str::FromStr for Interpolation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bilinear" => Ok(Self::Bilinear),
            "bicubic" => Ok(Self::Bicubic),
            other => {
                let (expected, found) = ("`bilinear` or `bicubic`", format!("`{other}`"));
                Err(Error::parameter("interpolation", expected, found))
            }
        }
    }
}

impl std::fmt::Display for Interpolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        })
    }
}

impl Interpolation {
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            _ => 0.0,
        }
    }
}

/// What a picture is scaled to before its middle is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaledTo {
    /// The shorter side to so many pixels, the longer one in proportion, rounded down.
    ShorterSide(usize),
    /// The size of the model's images, whatever the proportions.
    WholeImage,
}

/// How pictures are scaled, as the files of a model say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// To what.
    pub to: ScaledTo,
    /// With which filter.
    pub interpolation: Interpolation,
}

impl Scaling {
    /// The shorter side of a picture to `side / crop_pct`, rounded down as timm does it, where
    /// `side` is the shorter one of the model's images.
    ///
    /// # Errors
    /// [`Error::Parameter`] when `crop_pct` is not above 0 and at most 1, or asks for pictures of
    /// more than 16384 pixels.
    pub fn cropped(
        [_, height, width]: [usize; 3],
        crop_pct: f64,
        interpolation: Interpolation,
    ) -> Result<Self> {
        let shorter = (height.min(width) as f64 / crop_pct).floor();
        if !(crop_pct > 0.0 && crop_pct <= 1.0 && shorter <= MAX_SIDE as f64) {
            return Err(Error::parameter("crop_pct", "above 0, at most 1", crop_pct));
        }
        Ok(Self {
            to: ScaledTo::ShorterSide(shorter as usize),
            interpolation,
        })
    }

    /// In plain words.
    pub fn words(&self) -> String {
        let how = self.interpolation;
        match self.to {
            ScaledTo::ShorterSide(side) => {
                format!("scaled to a shorter side of {side} ({how}), then cut to their middle")
            }
            ScaledTo::WholeImage => format!("scaled to the size of the model's images ({how})"),
        }
    }
}

/// A plane of bytes.
pub(crate) struct Plane {
    pub(crate) bytes: Vec<u8>,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// The size that a picture of `[height, width]` is scaled to for images of `wanted`, and the corner
/// that is cut out of it: half of what is over, rounded to even. `None` where the longer side falls
/// short, or is too long to be held.
pub(crate) fn sizes(
    to: ScaledTo,
    [height, width]: [usize; 2],
    wanted: [usize; 2],
) -> Option<([usize; 2], [usize; 2])> {
    let scaled = match to {
        ScaledTo::WholeImage => wanted,
        ScaledTo::ShorterSide(side) => {
            let short = height.min(width).max(1);
            [height, width].map(|had| side * had / short)
        }
    };
    let fits = |i: usize| (wanted[i]..=4 * MAX_SIDE).contains(&scaled[i]);
    let over = |i: usize| ((scaled[i] - wanted[i]) as f64 / 2.0).round_ties_even() as usize;
    (fits(0) && fits(1)).then(|| (scaled, [over(0), over(1)]))
}

/// The part of a plane scaled to `scaled` that begins at `corner` and is of size `wanted`. Columns
/// first, then rows, each rounded to bytes, as Pillow does it.
pub(crate) fn scaled(
    plane: &Plane,
    interpolation: Interpolation,
    scaled: [usize; 2],
    corner: [usize; 2],
    wanted: [usize; 2],
) -> Vec<u8> {
    let columns = weights(interpolation, plane.width, scaled[1], corner[1], wanted[1]);
    let rows = weights(interpolation, plane.height, scaled[0], corner[0], wanted[0]);
    // Only rows that count.
    let first = rows.first().map_or(0, |w| w.first);
    let end = rows.last().map_or(0, |w| w.first + w.values.len());
    let mut narrow = Vec::with_capacity((end - first) * wanted[1]);
    for row in plane.bytes.chunks_exact(plane.width).take(end).skip(first) {
        narrow.extend(columns.iter().map(|w| w.sum(|i| row[i])));
    }
    let mut out = Vec::with_capacity(wanted[0] * wanted[1]);
    for row in &rows {
        out.extend((0..wanted[1]).map(|x| row.sum(|i| narrow[(i - first) * wanted[1] + x])));
    }
    out
}

/// What a new pixel takes from old ones.
struct Weights {
    first: usize,
    values: Vec<i32>,
}

impl Weights {
    fn sum(&self, old: impl Fn(usize) -> u8) -> u8 {
        let values = self.values.iter().enumerate();
        let sum = values.map(|(i, &w)| i64::from(w) * i64::from(old(self.first + i)));
        let half = 1_i64 << (BITS - 1);
        ((sum.sum::<i64>() + half) >> BITS).clamp(0, 255) as u8
    }
}

/// Weights of the new pixels `begin..begin + count` of a side of `had` pixels made `made`.
fn weights(
    interpolation: Interpolation,
    had: usize,
    made: usize,
    begin: usize,
    count: usize,
) -> Vec<Weights> {
    let scale = had as f64 / made as f64;
    let wide = scale.max(1.0);
    let support = interpolation.support() * wide;
    let one = |new: usize| {
        let centre = (new as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(had);
        let at = |old: usize| interpolation.at((old as f64 - centre + 0.5) * (1.0 / wide));
        let values: Vec<f64> = (first..end).map(at).collect();
        let sum: f64 = values.iter().sum();
        let fixed = |v: f64| (v / sum * f64::from(1 << BITS)).round() as i32;
        Weights {
            first,
            values: values.into_iter().map(fixed).collect(),
        }
    };
    (begin..begin + count).map(one).collect()
}
