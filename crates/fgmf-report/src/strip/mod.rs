//! Film strips of teams: `strip.html`.

pub(crate) mod course;
pub(crate) mod page;
pub(crate) mod scene;

pub use page::render_strip;
