//! The page of an image as one PNG.

use crate::colormap::Rgb;
use crate::error::Result;
use crate::gallery::lines::lines;
use crate::panel::{INK, SOFT, columns, sheet_png};
use crate::text::{Face, wrapped};
use fgmf_record::{GalleryRecord, ViewPictures};

/// The page of image `at`: title, then the cells of every input one below the other, wrapped where
/// the page is full.
///
/// # Errors
/// The page is too large for a PNG.
///
/// # Panics
/// When there is no such image.
pub fn page_png(about: &GalleryRecord, at: usize, pictures: &[ViewPictures]) -> Result<Vec<u8>> {
    let lines = lines(about, at, pictures);
    let shape = pictures
        .first()
        .map_or([1, 1], |p| [p.image.width, p.image.height]);
    let head = head(about, at, columns(&lines, shape));
    sheet_png(&head, &lines, shape)
}

/// Lines above the pictures.
fn head(about: &GalleryRecord, at: usize, columns: usize) -> Vec<(String, Face, Rgb)> {
    let title_columns = columns * Face::Text.advance() / Face::Title.advance();
    let facts = format!(
        "{}, sha256 {}; fgmf {}, seed {}",
        about.model.file, about.model.sha256, about.version, about.seed
    );
    let title = wrapped(&about.images[at].name, title_columns)
        .into_iter()
        .map(|t| (t, Face::Title, INK));
    title
        .chain(
            wrapped(&facts, columns)
                .into_iter()
                .map(|t| (t, Face::Text, SOFT)),
        )
        .collect()
}
