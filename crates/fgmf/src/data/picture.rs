//! One image file: PNG or JPEG to bytes.

use crate::data::files;
use crate::data::limits::MAX_SIDE;
use crate::error::{Error, Result};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::path::Path;

/// Longest image file, in bytes, and most bytes its decoder may ask for.
const MAX_IMAGE: u64 = 256 << 20;

/// Reads one PNG or JPEG file: channels (1 grey, 3 RGB), height, width, and bytes `[channels,
/// height, width]`.
///
/// The format is told by content, not by name. Alpha is dropped, 16 bits are reduced to 8, palettes
/// become RGB; a turn asked for by EXIF is not made.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Data`] when it is not a whole PNG or JPEG
/// image, or is larger than 256 MiB or 16384 pixels a side.
pub fn read_image(path: &Path) -> Result<(usize, usize, usize, Vec<u8>)> {
    let ([c, h, w], bytes) = read_like(path, None)?;
    Ok((c, h, w, bytes))
}

/// [`read_image`] that goes no further than the header, and gives no bytes, when the shape is not
/// `like`.
pub(crate) fn read_like(path: &Path, like: Option<[usize; 3]>) -> Result<([usize; 3], Vec<u8>)> {
    let bytes = files::read(path, MAX_IMAGE)?;
    let wrong = |found: String| Error::data(path, "a whole PNG or JPEG image", found);
    let refused = |error: image::ImageError| wrong(error.to_string());
    let format =
        image::guess_format(&bytes).map_err(|_| wrong("another kind of file".to_owned()))?;
    match format {
        ImageFormat::Png => {}
        ImageFormat::Jpeg if jpeg_ends(&bytes) => {}
        ImageFormat::Jpeg => return Err(wrong("a JPEG file without its end".to_owned())),
        other => return Err(wrong(format!("a file of kind {other:?}"))),
    }
    let mut limits = Limits::default();
    limits.max_image_width = u32::try_from(MAX_SIDE).ok();
    limits.max_image_height = limits.max_image_width;
    limits.max_alloc = Some(MAX_IMAGE);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let decoder = reader.into_decoder().map_err(refused)?;
    limits.reserve(decoder.total_bytes()).map_err(refused)?;
    let (width, height) = decoder.dimensions();
    let channels = if decoder.color_type().has_color() {
        3
    } else {
        1
    };
    let shape = [channels, height as usize, width as usize];
    if shape.contains(&0) {
        return Err(wrong(format!("{width}x{height} pixels")));
    }
    if like.is_some_and(|like| like != shape) {
        return Ok((shape, Vec::new()));
    }
    let image = DynamicImage::from_decoder(decoder).map_err(refused)?;
    if channels == 1 {
        return Ok((shape, image.into_luma8().into_raw()));
    }
    let stored = image.into_rgb8().into_raw();
    let mut planes = Vec::with_capacity(stored.len());
    for channel in 0..channels {
        planes.extend(stored.iter().skip(channel).step_by(channels));
    }
    Ok((shape, planes))
}

/// The decoder fills a cut JPEG with grey and says nothing. Scan data cannot hold the end marker,
/// so a whole file has one after its last start-of-scan marker.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use image::{LumaA, Rgb, RgbImage, Rgba};
    use tempfile::{TempDir, tempdir};

    use super::*;

    fn save(dir: &TempDir, name: &str, image: &DynamicImage) -> PathBuf {
        let path = dir.path().join(name);
        image.save(&path).unwrap();
        path
    }

    #[test]
    fn alpha_is_dropped_and_sixteen_bits_become_eight() {
        let dir = tempdir().unwrap();
        let read = |image: DynamicImage| read_image(&save(&dir, "x.png", &image)).unwrap();
        let rgba = image::RgbaImage::from_fn(2, 1, |x, _| Rgba([x as u8, 10, 20, 0]));
        assert_eq!(read(rgba.into()), (3, 1, 2, vec![0, 1, 10, 10, 20, 20]));
        let grey = image::ImageBuffer::from_pixel(1, 2, LumaA([40_u8, 0]));
        assert_eq!(
            read(DynamicImage::ImageLumaA8(grey)),
            (1, 2, 1, vec![40, 40])
        );
        let deep = image::ImageBuffer::from_pixel(1, 1, Rgb([0_u16, 0x8080, 0xffff]));
        assert_eq!(
            read(DynamicImage::ImageRgb16(deep)),
            (3, 1, 1, vec![0, 0x80, 0xff])
        );
    }

    #[test]
    fn cut_files_are_refused() {
        let dir = tempdir().unwrap();
        for name in ["x.png", "x.jpg"] {
            let path = save(
                &dir,
                name,
                &RgbImage::from_fn(16, 16, |x, y| Rgb([x as u8 * 9, y as u8 * 7, 3])).into(),
            );
            let bytes = fs::read(&path).unwrap();
            assert_eq!(read_image(&path).unwrap().3.len(), 3 * 16 * 16);
            // What follows the pixels of a PNG, its 12-byte end chunk, is not needed.
            for end in 0..bytes.len() - 12 {
                fs::write(&path, &bytes[..end]).unwrap();
                assert!(
                    read_image(&path).is_err(),
                    "{name} cut to {end} of {}",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn a_lying_header_is_refused_before_memory_is_taken() {
        let dir = tempdir().unwrap();
        let path = save(&dir, "x.png", &RgbImage::new(2, 2).into());
        let mut bytes = fs::read(&path).unwrap();
        for side in [12_000_u32, 100_000, u32::MAX >> 1] {
            bytes[16..20].copy_from_slice(&side.to_be_bytes());
            bytes[20..24].copy_from_slice(&side.to_be_bytes());
            let mut crc = flate2::Crc::new();
            crc.update(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
            fs::write(&path, &bytes).unwrap();
            let message = read_image(&path).unwrap_err().to_string();
            assert!(
                message.contains("imit") || message.contains("emory"),
                "{side}: {message}"
            );
        }
    }
}
