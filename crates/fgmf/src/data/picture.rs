//! One image file: PNG, JPEG or WebP to bytes.

use crate::data::files;
use crate::data::limits::MAX_SIDE;
use crate::data::scaling::{Plane, Scaling, scaled, sizes};
use crate::error::{Error, Result};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::cell::Cell;
use std::io::Cursor;
use std::panic::catch_unwind;
use std::path::Path;

/// Longest image file, in bytes, and most bytes its decoder may ask for.
const MAX_IMAGE: u64 = 256 << 20;

const CROPPED: &str = "cut to its middle, for the proportions of the model's images";
const RESIZED: &str = "resized to the size of the model's images";
const SCALED: &str = "scaled for the model's images";
const CUT: &str = "cut to its middle, after it was scaled";
const GREYED: &str = "made grey";
const COLOURED: &str = "grey taken for all three colours";
const TURNED: &str = "turned upright, as the EXIF data of the file says";
const BLENDED: &str = "transparency blended over white";
const REDUCED: &str = "16 bits a channel reduced to 8";

/// One image file, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillImage {
    /// `[channels, height, width]`; 1 channel is grey, 3 are RGB.
    pub shape: [usize; 3],
    /// Bytes in that order.
    pub bytes: Vec<u8>,
    /// What was done to the stored picture.
    pub notes: Vec<&'static str>,
}

/// Reads one PNG, JPEG or WebP file.
///
/// The format is told by content, not by name. A turn asked for by EXIF is made, transparency is
/// blended over white, palettes and CMYK become RGB. A value v of 16 bits becomes v / 257, rounded.
/// Of an animation the first frame is read.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Data`] when it is not a whole PNG, JPEG or
/// WebP image, or is larger than 256 MiB or 16384 pixels a side.
pub fn read_image(path: &Path) -> Result<StillImage> {
    read_like(path, None)
}

/// [`read_image`] of an image that must be of this `[channels, height, width]`. The size that the
/// file states is checked before it is decoded.
///
/// # Errors
/// As [`read_image`]; [`Error::Data`] when the shape is another.
pub fn read_image_of(path: &Path, shape: [usize; 3]) -> Result<StillImage> {
    let image = read_like(path, Some(shape))?;
    if image.shape == shape {
        return Ok(image);
    }
    let text = |[c, h, w]: [usize; 3]| format!("{c}x{h}x{w}");
    let expected = format!("an image of {} (channels, rows, columns)", text(shape));
    Err(Error::data(path, expected, text(image.shape)))
}

/// [`read_image`] made to fit `[channels, height, width]`: cut to its middle where the proportions
/// differ, resized (bilinear, over as many pixels as each new one covers), and made grey (luma of
/// Rec. 709) or three equal colours. What was done is noted.
///
/// # Errors
/// As [`read_image`]; [`Error::Data`] when `shape` has no 1 or 3 channels.
pub fn read_image_to_fit(path: &Path, shape: [usize; 3]) -> Result<StillImage> {
    let image = read_like(path, None)?;
    check_channels(path, shape)?;
    Ok(fitted(image, shape))
}

/// Whether pictures can be made to fit images of this shape.
fn check_channels(path: &Path, [channels, height, width]: [usize; 3]) -> Result<()> {
    if matches!(channels, 1 | 3) && height.max(width) <= MAX_SIDE {
        return Ok(());
    }
    let expected = "a model of images with 1 or 3 channels, to make this picture fit";
    Err(Error::data(path, expected, format!("{channels} channels")))
}

/// [`read_image`] scaled for images of `[channels, height, width]`, and its middle cut out. Grey
/// and colours as in [`read_image_to_fit`]. What was done is noted.
///
/// # Errors
/// As [`read_image_to_fit`]; [`Error::Data`] when the scaled picture does not cover such an image.
pub fn read_image_scaled(path: &Path, shape: [usize; 3], scaling: &Scaling) -> Result<StillImage> {
    let image = read_like(path, None)?;
    let [channels, height, width] = shape;
    let [_, rows, columns] = image.shape;
    check_channels(path, shape)?;
    let Some((made, corner)) = sizes(scaling.to, [rows, columns], [height, width]) else {
        let expected = format!("a picture that covers {width}x{height} pixels");
        let found = format!("{columns}x{rows} pixels, {}", scaling.words());
        return Err(Error::data(path, expected, found));
    };
    let mut notes = image.notes;
    let stored = image.bytes.chunks_exact(rows * columns);
    let planes: Vec<Vec<u8>> = stored
        .map(|bytes| Plane {
            bytes: bytes.to_vec(),
            height: rows,
            width: columns,
        })
        .map(|plane| scaled(&plane, scaling.interpolation, made, corner, [height, width]))
        .collect();
    if made != [rows, columns] {
        notes.push(SCALED);
    }
    if made != [height, width] {
        notes.push(CUT);
    }
    let bytes = match (channels, planes.as_slice()) {
        (1, [red, green, blue]) => {
            notes.push(GREYED);
            let luma = |i: usize| {
                let [r, g, b] = [red[i], green[i], blue[i]].map(u32::from);
                ((2126 * r + 7152 * g + 722 * b) / 10_000) as u8
            };
            (0..red.len()).map(luma).collect()
        }
        (3, [grey]) => {
            notes.push(COLOURED);
            grey.repeat(3)
        }
        _ => planes.concat(),
    };
    Ok(StillImage {
        shape,
        bytes,
        notes,
    })
}

/// An image of another shape, with notes of what was done to it.
fn fitted(image: StillImage, [channels, height, width]: [usize; 3]) -> StillImage {
    let StillImage {
        shape: [had, rows, columns],
        bytes,
        mut notes,
    } = image;
    let plane = rows * columns;
    let value = |channel: usize, x: u32, y: u32| {
        let channel = if had == 1 { 0 } else { channel };
        bytes[channel * plane + y as usize * columns + x as usize]
    };
    let mut picture = DynamicImage::ImageRgb8(image::RgbImage::from_fn(
        columns as u32,
        rows as u32,
        |x, y| image::Rgb([0, 1, 2].map(|channel| value(channel, x, y))),
    ));
    // The largest part of the proportions wanted.
    let part = if columns * height > rows * width {
        [(rows * width / height).max(1), rows]
    } else {
        [columns, (columns * height / width).max(1)]
    };
    if part != [columns, rows] {
        let [w, h] = part.map(|side| side as u32);
        let corner = [(columns - part[0]) / 2, (rows - part[1]) / 2].map(|side| side as u32);
        picture = picture.crop_imm(corner[0], corner[1], w, h);
        notes.push(CROPPED);
    }
    if part != [width, height] {
        let filter = image::imageops::FilterType::Triangle;
        picture = picture.resize_exact(width as u32, height as u32, filter);
        notes.push(RESIZED);
    }
    notes.extend(match (had, channels) {
        (3, 1) => Some(GREYED),
        (1, 3) => Some(COLOURED),
        _ => None,
    });
    let stored = if channels == 1 {
        picture.into_luma8().into_raw()
    } else {
        picture.into_rgb8().into_raw()
    };
    StillImage {
        shape: [channels, height, width],
        bytes: planes(&stored, channels),
        notes,
    }
}

/// Pixels of interleaved channels as one plane after the other.
fn planes(stored: &[u8], channels: usize) -> Vec<u8> {
    let plane = |channel| stored.iter().skip(channel).step_by(channels);
    (0..channels).flat_map(plane).copied().collect()
}

/// [`read_image`] that goes no further than the header, and gives no bytes, when the shape is not
/// `like`.
pub(crate) fn read_like(path: &Path, like: Option<[usize; 3]>) -> Result<StillImage> {
    let bytes = files::read(path, MAX_IMAGE)?;
    let decoded = {
        let _mark = DecodingMark::set();
        catch_unwind(|| decode(bytes, like))
    };
    let decoded = decoded.unwrap_or_else(|_| Err("a file that its decoder fails on".to_owned()));
    decoded.map_err(|found| Error::data(path, "a whole PNG, JPEG or WebP image", found))
}

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is decoding an image. A panic is then caught and becomes an error of the
/// file, so a panic hook has nothing to say.
pub fn is_decoding() -> bool {
    DECODING.get()
}

/// Set while an image is decoded.
struct DecodingMark;

impl DecodingMark {
    fn set() -> Self {
        DECODING.set(true);
        Self
    }
}

impl Drop for DecodingMark {
    fn drop(&mut self) {
        DECODING.set(false);
    }
}

/// The image, or what was found in its place.
fn decode(bytes: Vec<u8>, like: Option<[usize; 3]>) -> std::result::Result<StillImage, String> {
    let refused = |error: image::ImageError| error.to_string();
    let format = image::guess_format(&bytes).map_err(|_| "another kind of file".to_owned())?;
    match format {
        ImageFormat::Png => {}
        ImageFormat::Jpeg if jpeg_ends(&bytes) => {}
        ImageFormat::Jpeg => return Err("a JPEG file without its end".to_owned()),
        ImageFormat::WebP if webp_ends(&bytes) => {}
        ImageFormat::WebP => return Err("a WebP file without its end".to_owned()),
        other => {
            let name = format!("{other:?}").to_uppercase();
            return Err(format!("a {name} picture"));
        }
    }
    let mut limits = Limits::default();
    limits.max_image_width = u32::try_from(MAX_SIDE).ok();
    limits.max_image_height = limits.max_image_width;
    limits.max_alloc = Some(MAX_IMAGE);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(refused)?;
    limits.reserve(decoder.total_bytes()).map_err(refused)?;
    let orientation = decoder.orientation().map_err(refused)?;
    let (mut width, mut height) = decoder.dimensions();
    if on_its_side(orientation) {
        (width, height) = (height, width);
    }
    let color = decoder.color_type();
    let channels = if color.has_color() { 3 } else { 1 };
    let shape = [channels, height as usize, width as usize];
    if shape.contains(&0) {
        return Err(format!("{width}x{height} pixels"));
    }
    let mut notes = Vec::new();
    if like.is_some_and(|like| like != shape) {
        let bytes = Vec::new();
        return Ok(StillImage {
            shape,
            bytes,
            notes,
        });
    }
    let mut image = DynamicImage::from_decoder(decoder).map_err(refused)?;
    if orientation != Orientation::NoTransforms {
        image.apply_orientation(orientation);
        notes.push(TURNED);
    }
    if color.bytes_per_pixel() == 2 * color.channel_count() {
        notes.push(REDUCED);
    }
    let stored = match (color.has_alpha(), channels) {
        (false, 1) => image.into_luma8().into_raw(),
        (false, _) => image.into_rgb8().into_raw(),
        (true, 1) => over_white::<1>(&image.into_luma_alpha8().into_raw(), &mut notes),
        (true, _) => over_white::<3>(&image.into_rgba8().into_raw(), &mut notes),
    };
    Ok(StillImage {
        shape,
        bytes: planes(&stored, channels),
        notes,
    })
}

/// Whether rows become columns.
fn on_its_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(
        orientation,
        Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH
    )
}

/// Pixels of `C` colours and an alpha, laid over white.
fn over_white<const C: usize>(stored: &[u8], notes: &mut Vec<&'static str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.len() / (C + 1) * C);
    let mut blended = false;
    for pixel in stored.chunks_exact(C + 1) {
        let alpha = u16::from(pixel[C]);
        blended |= alpha < 255;
        for &colour in &pixel[..C] {
            // At most 255 * 255; rounded to nearest.
            let sum = u16::from(colour) * alpha + 255 * (255 - alpha);
            out.push(((u32::from(sum) + 127) / 255) as u8);
        }
    }
    if blended {
        notes.push(BLENDED);
    }
    out
}

/// The decoder fills a cut JPEG with grey and says nothing. Scan data cannot hold the end marker,
/// so a whole file has one after its last start-of-scan marker.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

/// A WebP file states its length, which a cut one does not have.
fn webp_ends(bytes: &[u8]) -> bool {
    let stated = bytes.get(4..8).and_then(|b| b.first_chunk::<4>());
    stated.is_some_and(|b| u64::from(u32::from_le_bytes(*b)) + 8 <= bytes.len() as u64)
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

    fn facts(path: &Path) -> ([usize; 3], Vec<u8>, Vec<&'static str>) {
        let image = read_image(path).unwrap();
        (image.shape, image.bytes, image.notes)
    }

    #[test]
    fn alpha_is_blended_over_white_and_sixteen_bits_become_eight() {
        let dir = tempdir().unwrap();
        let read = |image: DynamicImage| facts(&save(&dir, "x.png", &image));
        let alpha = [0, 128, 255];
        let rgba =
            image::RgbaImage::from_fn(3, 1, |x, _| Rgba([x as u8, 10, 20, alpha[x as usize]]));
        // 1 * 128 / 255 + 127 = 127.5, 10: 132.02, 20: 137.04.
        let planes = vec![255, 128, 2, 255, 132, 10, 255, 137, 20];
        assert_eq!(read(rgba.into()), ([3, 1, 3], planes, vec![BLENDED]));
        let grey = image::ImageBuffer::from_pixel(1, 2, LumaA([40_u8, 0]));
        assert_eq!(
            read(DynamicImage::ImageLumaA8(grey)),
            ([1, 2, 1], vec![255, 255], vec![BLENDED])
        );
        let solid = image::ImageBuffer::from_pixel(1, 1, LumaA([40_u8, 255]));
        assert_eq!(
            read(DynamicImage::ImageLumaA8(solid)),
            ([1, 1, 1], vec![40], vec![])
        );
        let deep = image::ImageBuffer::from_pixel(1, 1, Rgb([0_u16, 0x8080, 0xffff]));
        assert_eq!(
            read(DynamicImage::ImageRgb16(deep)),
            ([3, 1, 1], vec![0, 0x80, 0xff], vec![REDUCED])
        );
    }

    /// TIFF data with nothing but an orientation.
    fn exif(orientation: u8) -> Vec<u8> {
        let tag = [0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
        [&b"II*\0\x08\0\0\0\x01\0"[..], &tag, &[0; 4]].concat()
    }

    /// A picture of 2 columns and 3 rows, stored as it is, with an orientation in the file.
    fn turned(dir: &TempDir, orientation: u8) -> PathBuf {
        let grey = image::GrayImage::from_fn(2, 3, |x, y| image::Luma([(10 * y + x) as u8]));
        let path = save(dir, "x.png", &grey.into());
        let bytes = fs::read(&path).unwrap();
        let chunk = [&b"eXIf"[..], &exif(orientation)].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&chunk);
        let length = (chunk.len() as u32 - 4).to_be_bytes();
        let (head, tail) = bytes.split_at(33);
        let whole = [head, &length, &chunk, &crc.sum().to_be_bytes(), tail].concat();
        fs::write(&path, whole).unwrap();
        path
    }

    #[test]
    fn pictures_are_turned_as_exif_says() {
        let dir = tempdir().unwrap();
        // Stored rows: 0 1, 10 11, 20 21. Orientation 3 is half a turn, 6 a quarter turn clockwise
        // to be made, 8 one the other way.
        for (orientation, shape, bytes) in [
            (3, [1, 3, 2], [21, 20, 11, 10, 1, 0]),
            (6, [1, 2, 3], [20, 10, 0, 21, 11, 1]),
            (8, [1, 2, 3], [1, 11, 21, 0, 10, 20]),
        ] {
            let path = turned(&dir, orientation);
            assert_eq!(facts(&path), (shape, bytes.to_vec(), vec![TURNED]));
            assert!(read_image_of(&path, shape).is_ok());
        }
        assert!(facts(&turned(&dir, 1)).2.is_empty());
        let message = read_image_of(&turned(&dir, 6), [1, 3, 2])
            .unwrap_err()
            .to_string();
        assert!(message.ends_with("found 1x2x3"), "{message}");
        let path = save(&dir, "x.jpg", &image::GrayImage::new(8, 16).into());
        let bytes = fs::read(&path).unwrap();
        let block = [&b"Exif\0\0"[..], &exif(6)].concat();
        let length = (block.len() as u16 + 2).to_be_bytes();
        let whole = [&bytes[..2], &[0xff, 0xe1], &length, &block, &bytes[2..]].concat();
        fs::write(&path, whole).unwrap();
        let (shape, _, notes) = facts(&path);
        assert_eq!((shape, notes), ([1, 8, 16], vec![TURNED]));
    }

    /// A palette of a length that is no multiple of three panics in the decoder.
    #[test]
    fn a_panic_in_the_decoder_is_an_error_of_the_file() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("x.png");
        fs::write(&path, PALETTE).unwrap();
        let message = read_image(&path).unwrap_err().to_string();
        assert!(
            message.contains("x.png: expected a whole PNG, JPEG or WebP image, found"),
            "{message}"
        );
        assert!(!is_decoding());
    }

    const PALETTE: &[u8] = include_bytes!("../../tests/fixtures/palette_length.png");

    /// The size in the header is refused before the pixels, which are damaged, are looked at.
    #[test]
    fn a_size_is_checked_before_decoding() {
        let dir = tempdir().unwrap();
        let path = save(&dir, "x.png", &RgbImage::new(40, 20).into());
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len() - 20;
        bytes[end] ^= 0xff;
        fs::write(&path, bytes).unwrap();
        let message = read_image_of(&path, [3, 28, 28]).unwrap_err().to_string();
        assert!(
            message
                .contains("expected an image of 3x28x28 (channels, rows, columns), found 3x20x40"),
            "{message}"
        );
        assert!(read_image_of(&path, [3, 20, 40]).is_err());
    }

    /// Squares of 2 x 2 pixels become their mean, what is left and right of the middle is cut off,
    /// and grey is 0.2126 red, 0.7152 green, 0.0722 blue.
    #[test]
    fn a_picture_is_made_to_fit() {
        let dir = tempdir().unwrap();
        let facts = |path: &Path, shape| {
            let image = read_image_to_fit(path, shape).unwrap();
            (image.shape, image.bytes, image.notes)
        };
        let red = RgbImage::from_fn(6, 4, |x, _| {
            Rgb(if x == 0 || x == 5 {
                [0, 0, 255]
            } else {
                [200, 100, 50]
            })
        });
        let red = save(&dir, "red.png", &red.into());
        assert_eq!(
            facts(&red, [3, 2, 2]),
            (
                [3, 2, 2],
                [[200; 4], [100; 4], [50; 4]].concat(),
                vec![CROPPED, RESIZED]
            )
        );
        // 0.2126 * 200 + 0.7152 * 100 + 0.0722 * 50 = 117.65.
        let (shape, bytes, notes) = facts(&red, [1, 4, 4]);
        assert_eq!((shape, notes), ([1, 4, 4], vec![CROPPED, GREYED]));
        assert!(bytes.iter().all(|b| (117..=118).contains(b)), "{bytes:?}");
        let grey = image::GrayImage::from_fn(2, 2, |x, y| image::Luma([(100 * x + 10 * y) as u8]));
        let grey = save(&dir, "grey.png", &grey.into());
        assert_eq!(
            facts(&grey, [3, 2, 2]),
            ([3, 2, 2], [0, 100, 10, 110].repeat(3), vec![COLOURED])
        );
        assert_eq!(facts(&grey, [1, 2, 2]).2, Vec::<&str>::new());
        assert_eq!(facts(&grey, [1, 4, 8]).0, [1, 4, 8]);
        assert!(read_image_to_fit(&grey, [2, 2, 2]).is_err());
    }

    #[test]
    fn other_formats_are_named() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("x.png");
        for (bytes, name) in [
            (
                &b"RIFF\x0a\0\0\0WEBPVP8 "[..],
                "found a WebP file without its end",
            ),
            (b"GIF89a\x01\0\x01\0", "found a GIF picture"),
            (b"plain text", "found another kind of file"),
        ] {
            fs::write(&path, bytes).unwrap();
            let message = read_image(&path).unwrap_err().to_string();
            assert!(message.ends_with(name), "{message}");
        }
    }

    /// Right values by Pillow (`parity/pictures.py`). Decoders of JPEG and of lossy WebP round in
    /// their own ways.
    #[test]
    fn pictures_of_every_kind_have_the_values_of_pillow() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
        let text = fs::read_to_string(folder.join("values.json")).unwrap();
        let all: std::collections::BTreeMap<String, ([usize; 3], Vec<u8>)> =
            serde_json::from_str(&text).unwrap();
        assert_eq!(all.len(), 23);
        for (name, (shape, expected)) in &all {
            let path = folder.join(name);
            if name.ends_with(".gif") {
                let message = read_image(&path).unwrap_err().to_string();
                assert!(message.ends_with("found a GIF picture"), "{message}");
                continue;
            }
            let (found, bytes, notes) = facts(&path);
            assert_eq!(found, *shape, "{name}");
            let most = expected
                .iter()
                .zip(&bytes)
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            let lossy = name.ends_with(".jpg") || name.contains("lossy");
            let allowed = if lossy { 3 } else { 0 };
            assert!(most.unwrap() <= allowed, "{name}: {most:?}");
            assert_eq!(notes.contains(&TURNED), name.contains("exif"), "{name}");
            assert_eq!(notes.contains(&REDUCED), name.contains("16"), "{name}");
        }
    }

    /// Whatever is damaged: an error or a picture, no panic.
    #[test]
    fn damaged_pictures_are_errors() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
        let dir = tempdir().unwrap();
        let path = dir.path().join("x");
        let mut refused = 0;
        for name in [
            "lossy.webp",
            "grey.webp",
            "animated.webp",
            "cmyk.jpg",
            "rgb16.png",
        ] {
            let bytes = fs::read(folder.join(name)).unwrap();
            for (_, damaged) in fgmf_testkit::corrupt::corruptions(&bytes, 7, 300) {
                fs::write(&path, damaged).unwrap();
                refused += usize::from(read_image(&path).is_err());
            }
        }
        assert!(refused > 300, "{refused}");
    }

    #[test]
    fn cut_files_are_refused() {
        let dir = tempdir().unwrap();
        for name in ["x.png", "x.jpg", "x.webp"] {
            let path = save(
                &dir,
                name,
                &RgbImage::from_fn(16, 16, |x, y| Rgb([x as u8 * 9, y as u8 * 7, 3])).into(),
            );
            let bytes = fs::read(&path).unwrap();
            assert_eq!(read_image(&path).unwrap().bytes.len(), 3 * 16 * 16);
            // What follows the pixels of a PNG, its 12-byte end chunk, is not needed.
            let spare = if name == "x.png" { 12 } else { 0 };
            for end in 0..bytes.len() - spare {
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
