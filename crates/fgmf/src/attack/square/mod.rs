//! Square: [`Square`].

pub(crate) mod method;
pub(crate) mod window;

pub use method::{Square, SquareParams};
