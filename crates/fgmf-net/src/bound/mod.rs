//! Bounds of logits over boxes of images, by interval arithmetic on the graph.
//!
//! The bounds of a network are a network themselves, of the same operators. So they run on plans,
//! and autodiff gives their gradient in the weights. One file has a rule for each operator.

mod derived;
mod ending;
mod interval;
mod interval_bounds;
mod rules;

pub use interval_bounds::IntervalBounds;
