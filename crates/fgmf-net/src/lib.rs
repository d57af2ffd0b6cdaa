//! Networks as data: graph, operators, backward rules, executor, ONNX, zoo.
//!
//! A [`Network`] is a list of nodes over named values, read from and written to ONNX.
//! [`Network::forward`] and [`Network::backward`] walk it over [`Dual`] numbers, so that one
//! definition of each operator yields values, gradients of any value, Jacobian-vector products and
//! exact Hessian-vector products. [`batch`] runs whole batches in parallel chunks.

pub mod batch;
pub mod dual;
mod error;
mod exec;
pub mod head;
mod network;
pub mod onnx;
pub mod op;
mod plan;
pub mod rule;
pub mod tensor;
pub mod zoo;

pub use dual::Dual;
pub use error::{Error, Result};
pub use exec::Tape;
pub use network::{Builder, Dim, Network, Node, Replace, Source, Value, ValueId};
pub use op::Mode;
pub use plan::Surroundings;
pub use rule::Rules;
pub use tensor::{Precision, Tensor};
