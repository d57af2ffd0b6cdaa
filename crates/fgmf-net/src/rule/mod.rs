//! Backward rules: what a node passes back instead of its derivative.
//!
//! The default is the true derivative. Everything that bends gradients on purpose (a mask frozen by
//! an attacker, a straight-through step past a layer that has no gradient, guided backpropagation)
//! is a rule on a node, not another network.

mod base;
mod guided;
mod parts;
mod reach;
mod relevance;
mod rescale;

pub use base::{BackwardRule, Rules};
pub use guided::Guided;
pub use parts::{Gate, OnlyInput, StraightThrough};
pub use relevance::{LinearRule, relevance};
pub use rescale::Rescaling;
