//! `f32` kernels on numbers or rows of numbers: activations, softmax, layer normalisation.

mod activation;
mod count;
mod layer_norm;
mod math;
mod softmax;

pub use activation::{Activation, activate, activate_grad, activate_in_place, activate_with_slope};
pub use layer_norm::{layer_norm_rows, layer_norm_rows_grad, layer_norm_rows_grad_parameters};
pub use softmax::{softmax_rows, softmax_rows_grad};
