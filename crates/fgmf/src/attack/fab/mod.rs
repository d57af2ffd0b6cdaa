//! FAB: [`Fab`].

pub(crate) mod method;
pub(crate) mod projection;
pub(crate) mod walk;

pub use method::{Fab, FabParams};
