//! The stamp over a withheld map, as pages in HTML have it.

use crate::colormap::Rgb;
use crate::picture::Picture;
use crate::text::Face;

/// Warnings.
pub(crate) const WARN: Rgb = [143, 47, 0];

const PAPER: Rgb = [255; 3];
const WORD: &str = "withheld";

/// Hatching over the columns and rows of `size` from `[x, y]` on, and the word.
pub(crate) fn stamp(sheet: &mut Picture, [x, y]: [usize; 2], size: [usize; 2]) {
    for (row, column) in (0..size[1]).flat_map(|r| (0..size[0]).map(move |c| (r, c))) {
        if (row + column) % 10 < 2 {
            sheet.blend([x + column, y + row], PAPER, 0.7);
        }
    }
    let plate = [WORD.len() * Face::Strong.advance() + 8, Face::Strong.line()];
    sheet.place(&Picture::filled(plate, PAPER), [x + 4, y + 4]);
    sheet.write([x + 8, y + 5], WORD, Face::Strong, WARN);
}
