//! What runs a network: whole batches in chunks, on compiled plans or on the graph walk.

pub mod chunks;
pub(crate) mod plan;
mod walk;

pub use plan::Surroundings;
pub use walk::Tape;
