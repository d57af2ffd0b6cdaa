//! Auto-PGD: [`Apgd`].

pub(crate) mod checkpoints;
pub(crate) mod l1;
pub(crate) mod method;

pub use method::{Apgd, ApgdParams};
