//! Changes of images that nobody chose to do harm: what cameras, codecs and number formats do.
//!
//! Images are `[c, h, w]` with values from 0 to 1, and stay so.
//!
//! | id | x' |
//! | --- | --- |
//! | `noise-s` | clip(x + s N(0, 1)), drawn for each image by its position in the data |
//! | `blur-s` | Gaussian blur of deviation s pixels, each channel by itself |
//! | `brighter-b`, `darker-b` | clip(x ± b) |
//! | `contrast-k` | clip(½ + k (x − ½)) |
//! | `jpeg-q` | 8 bits a channel, saved as JPEG of quality q, and read again |
//! | `half-size` | means of 2 x 2 pixels, and linear interpolation back |
//! | `float16` | each value rounded to the nearest half-precision number, ties to even |

use crate::error::{Error, Result};
use crate::image::blur::Blur;
use crate::rng::{Purpose, Stream};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};

/// A change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Noise(f32),
    Blur(f64),
    Shift(f32),
    Contrast(f32),
    Jpeg(u8),
    HalfSize,
    Float16,
}

/// A change with its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Corruption {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    change: Change,
}

const fn of(id: &'static str, what: &'static str, change: Change) -> Corruption {
    Corruption { id, what, change }
}

/// All of them. The strengths are those that a viewer sees and a person reads through.
const ALL: [Corruption; 11] = [
    of(
        "noise-0.05",
        "Gaussian noise, deviation 0.05",
        Change::Noise(0.05),
    ),
    of(
        "noise-0.1",
        "Gaussian noise, deviation 0.1",
        Change::Noise(0.1),
    ),
    of(
        "blur-1",
        "Gaussian blur, deviation 1 pixel",
        Change::Blur(1.0),
    ),
    of(
        "blur-2",
        "Gaussian blur, deviation 2 pixels",
        Change::Blur(2.0),
    ),
    of("brighter-0.2", "0.2 brighter", Change::Shift(0.2)),
    of("darker-0.2", "0.2 darker", Change::Shift(-0.2)),
    of("contrast-0.5", "half the contrast", Change::Contrast(0.5)),
    of("jpeg-50", "saved as JPEG, quality 50", Change::Jpeg(50)),
    of("jpeg-10", "saved as JPEG, quality 10", Change::Jpeg(10)),
    of("half-size", "half the size and back", Change::HalfSize),
    of(
        "float16",
        "values rounded to half precision",
        Change::Float16,
    ),
];

/// The changes of these ids, or all for none.
///
/// # Errors
/// [`Error::Parameter`] names an id that is none.
pub(crate) fn corruptions(ids: Option<&[String]>) -> Result<Vec<Corruption>> {
    let Some(ids) = ids else {
        return Ok(ALL.to_vec());
    };
    let find = |id: &String| {
        let found = ALL.iter().find(|c| c.id == id.as_str()).copied();
        let known = || ALL.iter().map(|c| c.id).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| Error::parameter("resilience", known(), id))
    };
    ids.iter().map(find).collect()
}

impl Corruption {
    /// Whether it exists for images of this shape: JPEG knows one channel or three.
    pub(crate) fn fits(&self, [c, ..]: [usize; 3]) -> bool {
        !matches!(self.change, Change::Jpeg(_)) || c == 1 || c == 3
    }

    /// The changed image of example `index`.
    pub(crate) fn apply(
        &self,
        image: &[f32],
        shape: [usize; 3],
        (seed, index): (u64, u64),
    ) -> Result<Vec<f32>> {
        let each = |f: &dyn Fn(f32) -> f32| -> Vec<f32> {
            image.iter().map(|&v| f(v).clamp(0.0, 1.0)).collect()
        };
        let [_, h, w] = shape;
        Ok(match self.change {
            Change::Noise(s) => {
                let mut draws = Stream::new(seed, Purpose::Evaluation, u64::MAX, index);
                let noisy = image.iter().map(|v| v + s * draws.normal());
                noisy.map(|v| v.clamp(0.0, 1.0)).collect()
            }
            Change::Blur(s) => {
                let blurred = image.chunks_exact(h * w).flat_map(|plane| {
                    let plane: Vec<f64> = plane.iter().map(|&v| f64::from(v)).collect();
                    Blur::whole([s; 2]).of(&plane, [h, w])
                });
                blurred.map(|v| v.clamp(0.0, 1.0) as f32).collect()
            }
            Change::Shift(by) => each(&|v| v + by),
            Change::Contrast(k) => each(&|v| 0.5 + k * (v - 0.5)),
            Change::Jpeg(quality) => jpeg(image, shape, quality)?,
            Change::HalfSize => {
                let planes = image.chunks_exact(h * w);
                planes.flat_map(|plane| half_size(plane, [h, w])).collect()
            }
            Change::Float16 => each(&half),
        })
    }
}

/// The nearest number of 11 significant bits with an exponent of −14 or more.
fn half(v: f32) -> f32 {
    if v <= 0.0 || !v.is_finite() {
        return v;
    }
    // The exponent as it is stored: no rounding of a logarithm.
    let exponent = ((v.to_bits() >> 23) as i32 - 127).max(-14);
    let step = 2f32.powi(exponent - 10);
    (v / step).round_ties_even() * step
}

fn jpeg(image: &[f32], [c, h, w]: [usize; 3], quality: u8) -> Result<Vec<f32>> {
    let cannot = |e: &dyn std::fmt::Display| Error::mismatch("save as JPEG", "an image", e);
    let area = h * w;
    let byte = |v: f32| (255.0 * v).round() as u8;
    let bytes: Vec<u8> = (0..area)
        .flat_map(|p| (0..c).map(move |k| byte(image[k * area + p])))
        .collect();
    let side = |n: usize| u32::try_from(n).map_err(|e| cannot(&e));
    let kind = if c == 1 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality)
        .encode(&bytes, side(w)?, side(h)?, kind)
        .map_err(|e| cannot(&e))?;
    let read = image::load_from_memory_with_format(&file, ImageFormat::Jpeg);
    let read = read.map_err(|e| cannot(&e))?;
    let bytes = if c == 1 {
        read.into_luma8().into_raw()
    } else {
        read.into_rgb8().into_raw()
    };
    let value = |k: usize, p: usize| f32::from(bytes[p * c + k]) / 255.0;
    Ok((0..c)
        .flat_map(|k| (0..area).map(move |p| (k, p)))
        .map(|(k, p)| value(k, p))
        .collect())
}

/// Means of 2 x 2 pixels, of those that exist, and linear interpolation between their centres.
fn half_size(plane: &[f32], [h, w]: [usize; 2]) -> Vec<f32> {
    let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
    let mean = |i: usize, j: usize| {
        let inside = (2 * i..h.min(2 * i + 2)).flat_map(|y| {
            let row = 2 * j..w.min(2 * j + 2);
            row.map(move |x| plane[y * w + x])
        });
        let (n, sum) = inside.fold((0u8, 0.0), |(n, sum), v| (n + 1, sum + v));
        sum / f32::from(n)
    };
    let small: Vec<f32> = (0..rows * columns)
        .map(|k| mean(k / columns, k % columns))
        .collect();
    // Where pixel i lies among the means: the one before, the one behind, and how far between.
    let between = |i: usize, n: usize| {
        let at = ((i as f32 - 0.5) / 2.0).clamp(0.0, (n - 1) as f32);
        let before = at.floor() as usize;
        (before, (before + 1).min(n - 1), at - before as f32)
    };
    let value = |k: usize| {
        let ((y0, y1, fy), (x0, x1, fx)) = (between(k / w, rows), between(k % w, columns));
        let row = |y: usize| small[y * columns + x0] * (1.0 - fx) + small[y * columns + x1] * fx;
        (row(y0) * (1.0 - fy) + row(y1) * fy).clamp(0.0, 1.0)
    };
    (0..h * w).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(id: &str) -> Corruption {
        corruptions(Some(&[id.to_owned()])).unwrap()[0]
    }

    /// Half precision of 0.1 is 1638.4 steps of 2⁻¹⁴, rounded to 1638; 1/3 is 1365.33 of 2⁻¹².
    #[test]
    fn half_precision_of_known_numbers() {
        for (v, expected) in [
            (0.1f32, 1638.0 / 16384.0),
            (1.0 / 3.0, 1365.0 / 4096.0),
            (1.0, 1.0),
            (0.0, 0.0),
            (0.75, 0.75),
            // Half of the least number is a tie with 0, and a little more is not.
            (2f32.powi(-25), 0.0),
            (2f32.powi(-25) * 1.01, 2f32.powi(-24)),
        ] {
            assert_eq!(half(v).to_bits(), expected.to_bits(), "{v}");
        }
    }

    #[test]
    fn a_plain_image_stays_plain() {
        let shape = [3, 5, 7];
        let grey = vec![0.5f32; 105];
        for id in ["blur-1", "blur-2", "contrast-0.5", "half-size", "float16"] {
            let out = find(id).apply(&grey, shape, (0, 0)).unwrap();
            assert!(out.iter().all(|v| (v - 0.5).abs() < 1e-6), "{id}: {out:?}");
        }
        let brighter = find("brighter-0.2").apply(&grey, shape, (0, 0)).unwrap();
        assert!(brighter.iter().all(|v| (v - 0.7).abs() < 1e-6));
    }

    /// A ramp keeps its middle: the mean of two neighbours, and the way back between them.
    #[test]
    fn half_the_size_of_a_ramp() {
        let out = half_size(&[0.0, 0.2, 0.4, 0.6], [1, 4]);
        for (found, expected) in out.iter().zip([0.1, 0.2, 0.4, 0.5]) {
            assert!((found - expected).abs() < 1e-6, "{out:?}");
        }
    }

    #[test]
    fn every_change_keeps_range_and_place_and_is_the_same_twice() {
        for shape in [[1, 9, 8], [3, 8, 9]] {
            let n = shape.iter().product::<usize>();
            let image: Vec<f32> = (0..n).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
            for c in corruptions(None).unwrap() {
                let out = c.apply(&image, shape, (3, 5)).unwrap();
                assert_eq!(out.len(), n, "{}", c.id);
                assert!(out.iter().all(|v| (0.0..=1.0).contains(v)), "{}", c.id);
                assert_ne!(out, image, "{}", c.id);
                assert_eq!(out, c.apply(&image, shape, (3, 5)).unwrap(), "{}", c.id);
            }
        }
        let noise = |index| {
            find("noise-0.1")
                .apply(&[0.5; 16], [1, 4, 4], (3, index))
                .unwrap()
        };
        assert_ne!(noise(1), noise(2));
    }

    #[test]
    fn jpeg_of_high_quality_is_near() {
        let image: Vec<f32> = (0..256).map(|i| (i / 16 + i % 16) as f32 / 30.0).collect();
        let out = jpeg(&image, [1, 16, 16], 95).unwrap();
        let far = image
            .iter()
            .zip(&out)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(far < 0.03, "{far}");
        assert!(!find("jpeg-10").fits([4, 8, 8]) && find("jpeg-10").fits([1, 8, 8]));
    }

    #[test]
    fn an_unknown_id_is_refused() {
        let error = corruptions(Some(&["fog".to_owned()]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("fog") && error.contains("blur-1"), "{error}");
    }
}
