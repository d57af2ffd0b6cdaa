//! Networks as data: values, nodes and parameters, the operators that nodes apply, and the losses
//! that are read off the logits. Nothing here runs a network; [`crate::run`] does.

mod budget;
pub mod head;
mod network;
pub mod op;

pub(crate) use budget::MOST_NODES;
pub use network::{Builder, Dim, Network, Node, Replace, Source, Value, ValueId};
pub(crate) use network::{LARGEST_CHUNK, PROBES, concrete};
