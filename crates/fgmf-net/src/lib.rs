//! Networks as data: graph, operators, backward rules, executor, ONNX, zoo.
//!
//! A [`Network`] is a list of nodes over named values, read from and written to ONNX.
//! [`Network::forward`] and [`Network::backward`] walk it over [`Dual`] numbers, so that one
//! definition of each operator yields values, gradients of any value, Jacobian-vector products and
//! exact Hessian-vector products. [`batch`] runs whole batches in parallel chunks.

pub mod dual;
mod error;
mod graph;
pub mod onnx;
pub mod rule;
mod run;
pub mod tensor;
pub mod zoo;

pub use dual::Dual;
pub use error::{Error, Result};
pub use graph::op::Mode;
pub use graph::{Builder, Dim, Network, Node, Replace, Source, Value, ValueId, head, op};
pub use rule::Rules;
pub use run::{Surroundings, Tape, chunks as batch};
pub use tensor::{Precision, Tensor};
