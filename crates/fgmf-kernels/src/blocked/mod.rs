//! Convolution of `f32` images in the blocked layout: channels in sixteens, innermost.
//!
//! [`BlockedConv`] chooses how a convolution is computed from its shape alone (never from the batch
//! or the processor), so that an image has the same result in any batch: Winograd for 3x3 windows
//! of stride 1 and 4x4 windows of stride 2, sliding windows otherwise, a path of its own for images
//! of few channels, for windows of one cell, and for depthwise convolutions.
#![allow(unsafe_code, reason = "see `simd`")]

mod channel;
mod conv;
mod depthwise;
mod direct;
mod layout;
mod pass;
mod pointwise;
mod pool;
pub(crate) mod rows;
mod stem;
mod winograd;

pub use channel::{
    add_assign, batch_norm_grad, channel_affine, channel_affine_grad, channel_moments,
    channel_products, channel_sums, gate,
};
pub(crate) use conv::STEM_CHANNELS;
pub use conv::{BlockedConv, Epilogue};
pub(crate) use layout::to_blocked_apart;
pub use layout::{blocked_len, blocked_to_last, from_blocked, last_to_blocked, to_blocked};
pub use pass::Pass;
pub use pool::{
    avg_pool_blocked, avg_pool_blocked_adjoint, global_average_blocked,
    global_average_blocked_grad, max_pool_blocked, max_pool_blocked_fits, max_pool_blocked_grad,
};
