//! Dense arrays of `f32` or `f64` whose rank and precision are known at run time.
//!
//! A [`Tensor`] is shared memory (`array.rs`) and a layout of strides over it (`layout.rs`).
//! Cloning is a reference count. Transposing, cutting out and repeating are views: they make a
//! new layout of the same memory. Everything here is single-threaded on purpose. A session splits a
//! batch into chunks and runs the chunks in parallel, so that results do not depend on the number
//! of threads.
//!
//! Functions of this module are the inner floor of the crate. They assert the shapes that the graph
//! checks have established, and never see anything that a user supplied unchecked.

mod arith;
mod array;
mod layout;
pub mod num;
mod spatial;

#[cfg(test)]
mod tests;

pub use arith::MapFn;
pub(crate) use arith::unary_fn;
pub(crate) use array::split_axis;
pub use array::{Precision, Scalar, Tensor, broadcast_shape};
