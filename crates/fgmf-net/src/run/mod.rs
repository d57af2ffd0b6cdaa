//! What runs a network: whole batches in chunks, on compiled plans or on the graph walk.

mod batches;
pub mod chunks;
mod cpu;
pub(crate) mod engine;
mod plan;
mod session;
mod variants;
mod walk;

pub use batches::{LossGradients, ParameterGradients};
pub use session::Session;
pub use variants::Surroundings;
pub use walk::Tape;
