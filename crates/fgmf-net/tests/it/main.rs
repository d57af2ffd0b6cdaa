//! Integration tests.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a failed step is a failed test; equal here means the same bits"
)]

mod bound;
mod executor;
mod onnx;
mod operators;
mod plan;
mod zoo;
