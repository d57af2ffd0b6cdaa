//! Pictures as numbers.

pub(crate) mod blur;
