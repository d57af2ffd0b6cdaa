//! Image files for tests.

use std::path::Path;

/// Writes an 8-bit grey PNG of `h` rows and `w` columns. Panics if the file cannot be written or
/// the sizes do not fit.
pub fn write_grey_png(path: &Path, h: u32, w: u32, pixels: &[u8]) {
    let image = image::GrayImage::from_raw(w, h, pixels.to_vec())
        .unwrap_or_else(|| panic!("{h}x{w} needs {} pixels", h * w));
    image
        .save(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
