//! Pages from records: reports, audits and galleries as HTML and PNG, and what other tools read of
//! an audit. Nothing but a record is read, and a
//! page loads nothing and runs no script.

mod audit;
mod bracket;
mod certify;
mod chart;
mod colormap;
mod error;
mod escape;
mod exchange;
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

pub use audit::render_audit;
pub use bracket::bracket_page;
pub use certify::certify_page;
pub use error::{Error, Result};
pub use exchange::{check_script, cyclonedx, junit, model_card, open_metrics};
pub use gallery::{gallery_head, gallery_image, gallery_tail, page_png};
pub use overlay::overlay_png;
pub use report::render_html;
pub use strip::render_strip;
