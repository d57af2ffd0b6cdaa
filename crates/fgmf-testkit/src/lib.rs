//! Toy models with known answers, slow twins, makers of damaged files. Used by the tests of the
//! other crates; never published.

pub mod corrupt;
pub mod finite;
pub mod images;
pub mod toys;
pub mod zoo;
