//! CPU kernels of FGMF: slices in, slices out.
//!
//! This crate knows no network, no tensor and no thread. Every function takes the shape as a plain
//! struct and row-major slices, and fills an output slice:
//!
//! * [`conv2d`], [`conv2d_grad_input`], [`conv2d_grad_weight`]: grouped, strided, dilated
//!   convolution and its two adjoints;
//! * [`max_pool2d`], [`avg_pool2d`], [`avg_pool2d_adjoint`], [`gather_planes`], [`scatter_planes`];
//! * [`resize2d`], [`resize2d_adjoint`]: ONNX `Resize` on the two spatial axes;
//! * [`matmul`]: the dense product;
//! * [`activate`], [`softmax_rows`], [`layer_norm_rows`], [`Attention`] and their gradients, in
//!   `f32`;
//! * [`max_pool_blocked`], [`avg_pool_blocked`], [`global_average_blocked`], [`channel_affine`],
//!   [`channel_sums`], [`batch_norm_grad`] and their like: `f32` images in the blocked layout.
//!
//! # Contract
//!
//! Shapes come from a user's graph, so they are judged by `check()`, which returns a [`ShapeError`]
//! and never panics. Slice lengths come from the caller's own code, so a wrong one is a programming
//! error and panics with a message. Every kernel expects a shape that passed `check()`.
//!
//! Kernels run on the calling thread only; a caller splits a batch into chunks. The result of
//! [`conv2d`] and [`conv2d_grad_input`] for an image, and of [`matmul`] for a row, has the same
//! bits whatever batch it is in, and every kernel gives the same bits on every run on the same kind
//! of processor. (The vector width and the use of fused multiply-add are chosen at run time, so
//! another processor may round differently.)
//!
//! ```
//! use fgmf_kernels::{Conv2d, conv2d};
//!
//! let shape = Conv2d {
//!     n: 1, c_in: 1, h: 3, w: 3, c_out: 1,
//!     kernel: [2, 2], stride: [1, 1], pad: [0; 4], dilation: [1, 1], groups: 1,
//! };
//! shape.check()?;
//! let x: Vec<f32> = (0..9).map(|i| i as f32).collect();
//! let mut y = vec![0.0; shape.y_len()];
//! conv2d(&shape, &x, &[1.0; 4], &mut y);
//! assert_eq!(y, [8.0, 12.0, 20.0, 24.0]);
//! # Ok::<(), fgmf_kernels::ShapeError>(())
//! ```

mod attention;
mod axis;
mod blocked;
mod conv;
mod copies;
mod dense;
mod gemm;
mod grid;
mod matmul;
mod pool;
mod real;
mod resize;
mod rowwise;
mod shape;
mod simd;
mod sliding;
mod tile;
mod unrolled;

pub use attention::{Attention, AttentionScratch, Strided};
pub use axis::ShapeError;
pub use blocked::{
    BlockedConv, Epilogue, Pass, blocked_len, blocked_to_last, from_blocked, last_to_blocked,
    to_blocked,
};
pub use blocked::{
    add_assign, batch_norm_grad, channel_affine, channel_affine_grad, channel_moments,
    channel_products, channel_sums, gate,
};
pub use blocked::{
    avg_pool_blocked, avg_pool_blocked_adjoint, global_average_blocked,
    global_average_blocked_grad, max_pool_blocked, max_pool_blocked_fits, max_pool_blocked_grad,
};
pub use conv::{conv2d, conv2d_grad_input, conv2d_grad_weight};
pub use copies::{conv_copies, conv_phases};
pub use dense::matmul;
pub use gemm::{MatmulEpilogue, PackedMatrix, matmul_packed};
pub use pool::{Pool2d, avg_pool2d, avg_pool2d_adjoint, gather_planes, max_pool2d, scatter_planes};
pub use real::Real;
pub use resize::{Coordinates, NearestRounding, Resize2d, ResizeMode, resize2d, resize2d_adjoint};
pub use rowwise::{
    Activation, activate, activate_grad, activate_in_place, activate_with_slope, layer_norm_rows,
    layer_norm_rows_grad, layer_norm_rows_grad_parameters, softmax_rows, softmax_rows_grad,
};
pub use shape::Conv2d;
pub use simd::instruction_set;
