//! Pictures and maps to PNG.

use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::colormap::{self, Rgb};
use crate::error::{Error, Result};
use fgmf_record::MapRecord;

/// 8-bit colour pixels, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

impl Picture {
    /// Columns.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// A grey or colour image whose values run from `bounds[0]` (black) to `bounds[1]` (white).
    ///
    /// # Errors
    /// The map has no 1 or 3 channels, no pixels, a value that is not finite, or another number of
    /// values.
    pub(crate) fn of_image(image: &MapRecord, bounds: [f64; 2]) -> Result<Self> {
        let plane = checked(image)?;
        let channel = |c: usize, i: usize| level(image.values[c * plane + i], bounds);
        let pixels = (0..plane).map(|i| {
            if image.channels == 3 {
                [0, 1, 2].map(|c| channel(c, i))
            } else {
                [channel(0, i); 3]
            }
        });
        Ok(Self {
            width: image.width,
            height: image.height,
            pixels: pixels.collect(),
        })
    }

    /// A map drawn with [`colormap::sequential`] between `range[0]` and `range[1]`; channels are
    /// averaged.
    ///
    /// # Errors
    /// As [`Picture::of_image`].
    pub(crate) fn of_map(map: &MapRecord, range: [f32; 2]) -> Result<Self> {
        let map = averaged(map)?;
        let width = range[1] - range[0];
        let colour = |&v: &f32| {
            colormap::sequential(if width > 0.0 {
                (v - range[0]) / width
            } else {
                0.5
            })
        };
        Ok(Self {
            width: map.width,
            height: map.height,
            pixels: map.values.iter().map(colour).collect(),
        })
    }

    /// A signed map drawn with [`colormap::diverging`] from `-scale` to `scale`
    /// ([`colormap::signed_scale`]), and that scale; channels are averaged.
    ///
    /// # Errors
    /// As [`Picture::of_image`].
    pub(crate) fn of_signed(map: &MapRecord) -> Result<(Self, f32)> {
        let scale = colormap::signed_scale(&averaged(map)?.values);
        Ok((Self::of_signed_to(map, scale)?, scale))
    }

    /// [`Picture::of_signed`] with the scale given, so that several maps can be compared.
    ///
    /// # Errors
    /// As [`Picture::of_image`].
    pub(crate) fn of_signed_to(map: &MapRecord, scale: f32) -> Result<Self> {
        let map = averaged(map)?;
        let colour = |&v: &f32| colormap::diverging(if scale > 0.0 { v / scale } else { 0.0 });
        Ok(Self {
            width: map.width,
            height: map.height,
            pixels: map.values.iter().map(colour).collect(),
        })
    }

    /// A map over the grey image. A map in `[0, 1]` covers the image the more the larger it is;
    /// with a scale the map is signed, covers the image by its size and takes its colour from the
    /// sign.
    ///
    /// # Errors
    /// As [`Picture::of_image`], or the two differ in rows or columns.
    pub(crate) fn overlay(
        image: &MapRecord,
        bounds: [f64; 2],
        map: &MapRecord,
        scale: Option<f32>,
    ) -> Result<Self> {
        let (image, map) = (averaged(image)?, averaged(map)?);
        if (image.height, image.width) != (map.height, map.width) {
            let found = format!(
                "{} x {} under a map of {} x {}",
                image.height, image.width, map.height, map.width
            );
            return Err(Error::new("overlay", "image and map of one size", found));
        }
        let pixels = image
            .values
            .iter()
            .zip(&map.values)
            .map(|(&below, &value)| {
                let (colour, alpha) = match scale.map(|s| value / s.max(f32::MIN_POSITIVE)) {
                    Some(share) => (colormap::diverging(share), 0.85 * share.abs().min(1.0)),
                    None => (
                        colormap::sequential(value),
                        0.35 + 0.5 * value.clamp(0.0, 1.0),
                    ),
                };
                let grey = f32::from(level(below, bounds));
                colour.map(|c| (alpha * f32::from(c) + (1.0 - alpha) * grey).round() as u8)
            });
        Ok(Self {
            width: image.width,
            height: image.height,
            pixels: pixels.collect(),
        })
    }

    #[cfg(test)]
    pub(crate) fn at(&self, [x, y]: [usize; 2]) -> Rgb {
        self.pixels[y * self.width + x]
    }

    /// One colour.
    pub(crate) fn filled([width, height]: [usize; 2], colour: Rgb) -> Self {
        Self {
            width,
            height,
            pixels: vec![colour; width * height],
        }
    }

    /// Draws `colour` over the pixel in column `x` and row `y`, covering it by `share`; nothing
    /// outside.
    pub(crate) fn blend(&mut self, [x, y]: [usize; 2], colour: Rgb, share: f32) {
        if x < self.width && y < self.height {
            let below = &mut self.pixels[y * self.width + x];
            *below = std::array::from_fn(|i| {
                (share * f32::from(colour[i]) + (1.0 - share) * f32::from(below[i])).round() as u8
            });
        }
    }

    /// Draws another picture with its upper left corner at `[x, y]`; what is outside is cut off.
    pub(crate) fn place(&mut self, other: &Self, [x, y]: [usize; 2]) {
        for (row, pixels) in other.pixels.chunks_exact(other.width).enumerate() {
            pixels
                .iter()
                .enumerate()
                .for_each(|(column, &colour)| self.blend([x + column, y + row], colour, 1.0));
        }
    }

    /// Every pixel as a square of `factor` pixels (at least 1).
    #[must_use]
    pub(crate) fn enlarged(&self, factor: usize) -> Self {
        let factor = factor.max(1);
        let (width, height) = (self.width * factor, self.height * factor);
        let at = |i: usize| self.pixels[(i / width / factor) * self.width + (i % width) / factor];
        Self {
            width,
            height,
            pixels: (0..width * height).map(at).collect(),
        }
    }

    /// The PNG file: one channel if every pixel is grey, three otherwise.
    ///
    /// # Errors
    /// The encoder refuses the size.
    pub(crate) fn png(&self) -> Result<Vec<u8>> {
        let refused =
            |found: &dyn std::fmt::Display| Error::new("PNG", "a size that PNG can hold", found);
        let side = |n: usize| u32::try_from(n).map_err(|_| refused(&n));
        let (width, height) = (side(self.width)?, side(self.height)?);
        let grey = self.pixels.iter().all(|[r, g, b]| r == g && g == b);
        let (bytes, colour): (Vec<u8>, _) = if grey {
            (
                self.pixels.iter().map(|p| p[0]).collect(),
                ExtendedColorType::L8,
            )
        } else {
            (self.pixels.concat(), ExtendedColorType::Rgb8)
        };
        let mut file = Cursor::new(Vec::new());
        PngEncoder::new_with_quality(&mut file, CompressionType::Best, FilterType::Adaptive)
            .write_image(&bytes, width, height, colour)
            .map_err(|error| refused(&error))?;
        Ok(file.into_inner())
    }
}

/// Pixels of one channel, after checking that the record is what it says.
fn checked(map: &MapRecord) -> Result<usize> {
    let plane = map.height.saturating_mul(map.width);
    if !matches!(map.channels, 1 | 3)
        || plane == 0
        || map.values.len() != plane.saturating_mul(map.channels)
    {
        let found = format!(
            "{} values for {} x {} x {}",
            map.values.len(),
            map.channels,
            map.height,
            map.width
        );
        return Err(Error::new(
            "picture",
            "1 or 3 channels with a value for every pixel",
            found,
        ));
    }
    match map.values.iter().filter(|v| !v.is_finite()).count() {
        0 => Ok(plane),
        bad => Err(Error::new(
            "picture",
            "finite values",
            format!("{bad} of {} not finite", map.values.len()),
        )),
    }
}

fn averaged(map: &MapRecord) -> Result<MapRecord> {
    let plane = checked(map)?;
    let mean =
        |i: usize| map.values.iter().skip(i).step_by(plane).sum::<f32>() / map.channels as f32;
    Ok(MapRecord {
        channels: 1,
        height: map.height,
        width: map.width,
        values: (0..plane).map(mean).collect(),
    })
}

fn level(value: f32, bounds: [f64; 2]) -> u8 {
    let width = (bounds[1] - bounds[0]).max(f64::MIN_POSITIVE);
    ((f64::from(value) - bounds[0]) / width * 255.0)
        .round()
        .clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(channels: usize, height: usize, width: usize, values: &[f32]) -> MapRecord {
        MapRecord {
            channels,
            height,
            width,
            values: values.to_vec(),
        }
    }

    fn decode(png: &[u8]) -> image::RgbImage {
        image::load_from_memory_with_format(png, image::ImageFormat::Png)
            .unwrap()
            .to_rgb8()
    }

    #[test]
    fn images_keep_their_size_and_levels() {
        let grey = Picture::of_image(&map(1, 1, 3, &[0.0, 0.5, 1.0]), [0.0, 1.0]).unwrap();
        let back = decode(&grey.png().unwrap());
        assert_eq!(
            (back.dimensions(), back.into_raw()),
            ((3, 1), vec![0, 0, 0, 128, 128, 128, 255, 255, 255])
        );
        let colour = Picture::of_image(&map(3, 1, 1, &[255.0, 0.0, 51.0]), [0.0, 255.0]).unwrap();
        assert_eq!(decode(&colour.png().unwrap()).into_raw(), vec![255, 0, 51]);
    }

    #[test]
    fn signed_maps_are_symmetric_about_the_neutral_colour() {
        let (picture, scale) = Picture::of_signed(&map(1, 1, 3, &[-0.2, 0.0, 0.2])).unwrap();
        assert!((scale - 0.2).abs() < 1e-6);
        assert_eq!(picture.pixels, [-1.0, 0.0, 1.0].map(colormap::diverging));
        let (flat, none) = Picture::of_signed(&map(1, 1, 2, &[0.0, 0.0])).unwrap();
        assert!(none.abs() < 1e-9 && flat.pixels == [colormap::diverging(0.0); 2]);
    }

    #[test]
    fn enlarging_repeats_pixels() {
        let picture = Picture::of_map(&map(1, 1, 2, &[0.0, 1.0]), [0.0, 1.0])
            .unwrap()
            .enlarged(2);
        let (a, b) = (colormap::sequential(0.0), colormap::sequential(1.0));
        assert_eq!(
            (picture.width(), picture.height(), picture.pixels),
            (4, 2, vec![a, a, b, b, a, a, b, b])
        );
    }

    #[test]
    fn records_that_are_not_pictures_are_refused() {
        for bad in [
            map(1, 2, 2, &[0.0; 3]),
            map(2, 1, 1, &[0.0; 2]),
            map(1, 0, 5, &[]),
            map(1, 1, 1, &[f32::NAN]),
        ] {
            assert!(Picture::of_image(&bad, [0.0, 1.0]).is_err(), "{bad:?}");
            assert!(
                Picture::of_map(&bad, [0.0, 1.0]).is_err() && Picture::of_signed(&bad).is_err(),
                "{bad:?}"
            );
        }
    }
}
