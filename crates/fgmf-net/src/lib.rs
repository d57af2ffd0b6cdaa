//! Networks as data, and what runs them: graph, operators, backward rules, sessions, ONNX, zoo.
//!
//! A [`Network`] is a list of nodes over named values, read from and written to ONNX. It runs
//! nothing. A [`Session`] owns a network and runs it: whole batches in parallel chunks, on compiled
//! plans in single precision, node by node over [`Dual`] numbers elsewhere. One definition of each
//! operator yields values, gradients of any value, Jacobian-vector products and exact
//! Hessian-vector products.

pub mod bound;
pub mod dual;
mod error;
mod graph;
pub mod onnx;
pub mod rule;
mod run;
pub mod tensor;
pub mod zoo;

pub use dual::Dual;
pub use error::{Error, ExportFault, Result};
pub use fgmf_kernels::instruction_set;
pub use graph::op::Mode;
pub use graph::{Builder, Dim, Network, Node, Replace, Source, Value, ValueId, head, op};
pub use rule::Rules;
pub use run::{LossGradients, ParameterGradients, Session, Surroundings, Tape, chunks};
pub use tensor::{Precision, Tensor};
