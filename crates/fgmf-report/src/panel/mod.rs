//! What image pages are made of, in reports and galleries alike: a line for each view of an image,
//! in it cells of pictures with what is known of them. `html` and `sheet` draw the same parts.

mod html;
mod parts;
mod sheet;

pub(crate) use html::{case, scale_bar};
pub(crate) use parts::{Answer, Bar, Below, Cell, Line, Tile, Under, Width};
pub(crate) use sheet::{INK, SOFT, columns, sheet_png};
