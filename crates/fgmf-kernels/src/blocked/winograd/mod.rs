//! Winograd's F(4x4, 3x3), F(4x4, 2x2) and F(7x7, 2x2) (Lavin & Gray 2016).
//!
//! A tile of `m x m` outputs is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, with `d` the inputs it sees
//! (`m + r - 1` along a side) and `g` the `r x r` window; the sum over channels is taken between
//! the brackets, as one matrix product over all tiles for each of the `(m + r - 1)²` points.
//! Windows 3x3 of stride 1 need 36 products where the definition has 144. Windows 4x4 of stride 2
//! are 2x2 windows of stride 1 over the four phases of the image (every second row and column),
//! which count as further channels: 100 products for 256; where one tile of 7x7 is the whole
//! output, 256 for 784.
//!
//! The gradient to the input is a convolution of the output's gradient with the windows turned
//! round, whose outputs are the phases of the input, or, of the one tile, the adjoint in `d`,
//! `B [(G g Gᵀ) ⊙ (A dy Aᵀ)] Bᵀ`; the gradient to the weight is the adjoint in `g`,
//! `Gᵀ [(A dy Aᵀ) ⊙ (Bᵀ d B)] G` summed over tiles. Points 0, ±1, ±2, ∞ for 3x3, 0, ±1, 2, ∞ for
//! 2x2, 0, ±1, ±2, ±½, ∞ for the large tile. In `f32` the largest error against the exact sum is 4
//! to 12 times that of the direct sum, of the large tile up to 25 times: 1.6e-5 of the largest
//! output at 512 channels, and at 32, up to which the large tile is used (a test holds it below
//! 2e-5 up to there).
#![allow(unsafe_code, reason = "see `simd`")]

mod apply;
mod tiles;
mod transform;
mod weight;

pub(super) use apply::{WinogradForward, WinogradGradWeight};
pub(super) use tiles::Winograd;
