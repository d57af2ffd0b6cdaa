//! A map over its image as a file of its own.

use crate::colormap;
use crate::error::Result;
use crate::picture::Picture;
use crate::stamp::stamp;
use fgmf_record::MapRecord;

/// Shorter side that a picture is enlarged to, in pixels.
const FILE_SIDE: usize = 224;

/// PNG of `map` over `image` (values in `[0, 1]`), each pixel enlarged so that the shorter side has
/// at least 224. `signed` chooses the diverging colours; otherwise `map` is in `[0, 1]`. A withheld
/// map is hatched and stamped: the file may be seen without the words that belong to it.
///
/// # Errors
/// Image or map has no 1 or 3 channels, no pixels, a value that is not finite, or another number
/// of values; or the two differ in rows or columns.
pub fn overlay_png(
    image: &MapRecord,
    map: &MapRecord,
    signed: bool,
    withheld: bool,
) -> Result<Vec<u8>> {
    let scale = signed.then(|| colormap::signed_scale(&map.values));
    let picture = Picture::overlay(image, [0.0, 1.0], map, scale)?;
    let side = picture.width().min(picture.height());
    let mut picture = picture.enlarged(FILE_SIDE.div_ceil(side));
    if withheld {
        let size = [picture.width(), picture.height()];
        stamp(&mut picture, [0, 0], size);
    }
    picture.png()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(side: usize, value: f32) -> MapRecord {
        MapRecord {
            channels: 1,
            height: side,
            width: side,
            values: vec![value; side * side],
        }
    }

    fn decode(png: &[u8]) -> image::RgbImage {
        image::load_from_memory_with_format(png, image::ImageFormat::Png)
            .unwrap()
            .to_rgb8()
    }

    #[test]
    fn overlay_files_are_enlarged_by_a_whole_factor() {
        let back = decode(&overlay_png(&map(28, 0.5), &map(28, 1.0), false, false).unwrap());
        assert_eq!(back.dimensions(), (224, 224));
        // 0.85 of the top colour over 0.15 of grey 128.
        assert_eq!(back.get_pixel(100, 7).0, [234, 216, 51]);
        assert!(overlay_png(&map(28, 0.5), &map(7, 0.0), true, false).is_err());
    }

    /// Two of ten diagonals are covered by 0.7 of white, from edge to edge.
    #[test]
    fn a_withheld_map_is_stamped() {
        let back = decode(&overlay_png(&map(28, 0.5), &map(28, 1.0), false, true).unwrap());
        let hatched = [249, 243, 194];
        assert_eq!(back.get_pixel(223, 217).0, hatched);
        let share = back.pixels().filter(|p| p.0 == hatched).count() as f64 / (224.0 * 224.0);
        assert!((0.18..=0.2).contains(&share), "{share}");
        // The plate of the word.
        assert_eq!(back.get_pixel(5, 5).0, [255, 255, 255]);
    }
}
