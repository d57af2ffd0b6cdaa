//! Galleries: maps of several explainers on the same images, clean and attacked, as one HTML page
//! and a PNG page an image. Both are drawn from the same panels, and write nothing but what the
//! record holds.

mod filter;
mod html;
mod lines;
mod marks;
mod png;
mod reading;

pub use html::{gallery_head, gallery_image, gallery_tail};
pub use png::page_png;

#[cfg(test)]
mod tests;
