//! Pages from records: reports and galleries as HTML and PNG. Nothing but a record is read, and a
//! page loads nothing and runs no script.

mod chart;
mod colormap;
mod error;
mod escape;
mod facts;
#[cfg(test)]
mod fixture;
mod gallery;
mod html;
mod legend;
mod overlay;
mod page;
mod panel;
mod picture;
mod report;
mod stamp;
mod strip;
mod text;

pub use error::{Error, Result};
pub use gallery::{gallery_head, gallery_image, gallery_tail, page_png};
pub use overlay::overlay_png;
pub use report::render_html;
pub use strip::render_strip;
