//! Operators: what a node computes, which shapes it takes, and its derivative.
//!
//! Each family has one file. An operator states its output shapes (`infer`, where every check that
//! a user's graph can fail lives), its value, and the product of a cotangent with its Jacobian.
//! Both run over [`Dual`](crate::Dual), so the Jacobian-vector product and the Hessian-vector
//! product need no further code.

mod base;
mod bounds;
mod elementwise;
mod layout;
mod linear;
mod list;
mod norm;
mod reduce;
mod top_k;
mod window;

pub use base::{Local, Mode, Saved};
pub(crate) use base::{MAX_VALUES, known, resolve_axes, resolve_axis};
pub use elementwise::{Binary, PRelu, Unary};
pub use layout::{
    Concat, Expand, Flatten, Gather, Pad, Reshape, Slice, SliceAxis, Split, Squeeze, Transpose,
    Unsqueeze,
};
pub use linear::{Conv, ConvTranspose, Gemm, MatMul};
pub use list::Op;
pub use norm::{BatchNorm, LayerNorm, Softmax};
pub use reduce::{Reduce, ReduceKind};
pub use top_k::TopK;
pub use window::{AveragePool, GlobalAveragePool, MaxPool, Resize, Window};
