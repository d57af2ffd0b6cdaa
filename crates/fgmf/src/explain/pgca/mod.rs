//! Perturbation and gradient consensus: [`Pgca`].

pub(crate) mod consensus;
pub(crate) mod method;
pub(crate) mod params;
pub(crate) mod weighing;

pub use consensus::{Fusion, Scale};
pub use method::{Pgca, PgcaParts};
pub use params::PgcaParams;
pub use weighing::MapWeights;
