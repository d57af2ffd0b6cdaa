//! FAB: [`Fab`].

pub(crate) mod method;
pub(crate) mod params;
pub(crate) mod projection;
pub(crate) mod walk;

pub use method::Fab;
pub use params::FabParams;
