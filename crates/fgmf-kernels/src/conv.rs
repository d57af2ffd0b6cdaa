//! Grouped, strided, dilated 2-d convolution and its adjoints: the choice among the loops.
//!
//! Single precision runs blocked where the shape has a blocked form. What is left slides over the
//! padded image, or unrolls it where an output has few cells. The shape of one image alone decides,
//! so that a batch of any size is computed alike.

use crate::blocked::rows;
use crate::real::Real;
use crate::shape::Conv2d;
use crate::simd::arch;
use crate::sliding::{Forward, GradInput, GradWeight};
use crate::unrolled::{self, Unrolled};
use pulp::WithSimd;

/// Runs a pass on the best instruction set there is.
fn run<P>(s: &Conv2d, pass: P)
where
    P: WithSimd<Output = ()>,
    Unrolled<P>: WithSimd<Output = ()>,
{
    if unrolled::pays(s) {
        arch().dispatch(Unrolled(pass));
    } else {
        arch().dispatch(pass);
    }
}

/// Convolution: fills `y` `[n, c_out, oh, ow]` from `x` `[n, c_in, h, w]` and `w`
/// `[c_out, c_in / groups, kh, kw]`, by the formula of [`Conv2d`].
///
/// # Panics
///
/// If the shape fails [`Conv2d::check`] or a slice length does not match it.
pub fn conv2d<T: Real>(s: &Conv2d, x: &[T], w: &[T], y: &mut [T]) {
    s.assert_lengths(x.len(), w.len(), y.len());
    if let (Some(x), Some(w), Some(y)) = (T::single(x), T::single(w), T::single_mut(y))
        && rows::conv2d(s, x, w, y)
    {
        return;
    }
    T::with_scratch(|scratch| {
        run(
            s,
            Forward {
                s,
                x,
                w,
                y,
                scratch,
            },
        );
    });
}

/// Adjoint of [`conv2d`] in `x`: overwrites `dx` `[n, c_in, h, w]` with the gradient that `dy`
/// `[n, c_out, oh, ow]` sends back through the weight `w`.
///
/// # Panics
///
/// If the shape fails [`Conv2d::check`] or a slice length does not match it.
pub fn conv2d_grad_input<T: Real>(s: &Conv2d, dy: &[T], w: &[T], dx: &mut [T]) {
    s.assert_lengths(dx.len(), w.len(), dy.len());
    if let (Some(dy), Some(w), Some(dx)) = (T::single(dy), T::single(w), T::single_mut(dx))
        && rows::conv2d_grad_input(s, dy, w, dx)
    {
        return;
    }
    T::with_scratch(|scratch| {
        run(
            s,
            GradInput {
                s,
                dy,
                w,
                dx,
                scratch,
            },
        );
    });
}

/// Adjoint of [`conv2d`] in `w`: overwrites `dw` `[c_out, c_in / groups, kh, kw]` with the gradient
/// summed over the images in a fixed order.
///
/// A NaN or infinity in `x` or `dy` may reach weights whose sum does not contain it, because the
/// padding is multiplied like any other number.
///
/// # Panics
///
/// If the shape fails [`Conv2d::check`] or a slice length does not match it.
pub fn conv2d_grad_weight<T: Real>(s: &Conv2d, x: &[T], dy: &[T], dw: &mut [T]) {
    s.assert_lengths(x.len(), dw.len(), dy.len());
    dw.fill(T::zero());
    if let (Some(x), Some(dy), Some(dw)) = (T::single(x), T::single(dy), T::single_mut(dw))
        && rows::conv2d_grad_weight(s, x, dy, dw)
    {
        return;
    }
    T::with_scratch(|scratch| {
        run(
            s,
            GradWeight {
                s,
                x,
                dy,
                dw,
                scratch,
            },
        );
    });
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
