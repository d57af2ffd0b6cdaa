//! Depthwise convolution of blocked images: one window a channel, sixteen channels a vector.
#![allow(unsafe_code, reason = "see `simd`")]

use super::layout::blocks;
use super::pass::Pass;
use crate::real::zeros;
use crate::shape::Conv2d;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::Finish;
use std::ops::Range;

#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    shape: Conv2d,
}

/// Taps of one axis that meet real cells at output position `p`.
#[inline(always)]
fn taps(s: &Conv2d, axis: usize, p: usize) -> Range<usize> {
    let (at, pad, len, d) = (
        p * s.stride[axis],
        s.pad[axis],
        [s.h, s.w][axis],
        s.dilation[axis],
    );
    let from = pad.saturating_sub(at).div_ceil(d);
    from..(len + pad)
        .saturating_sub(at)
        .div_ceil(d)
        .min(s.kernel[axis])
        .max(from)
}

impl Depthwise {
    pub(super) fn new(s: &Conv2d) -> Self {
        Self {
            shape: Conv2d { n: 1, ..*s },
        }
    }

    pub(super) fn weight_len(&self) -> usize {
        blocks(self.shape.c_in) * self.shape.kernel[0] * self.shape.kernel[1] * LANES
    }

    /// `[c, kh, kw]` to `[c / 16, kh, kw, 16]`.
    pub(super) fn pack(&self, w: &[f32], packed: &mut [f32]) {
        let taps = self.shape.kernel[0] * self.shape.kernel[1];
        packed.fill(0.0);
        for (c, w) in w.chunks_exact(taps).enumerate() {
            for (t, &w) in w.iter().enumerate() {
                packed[(c / LANES * taps + t) * LANES + c % LANES] = w;
            }
        }
    }

    /// Calls `f(block, output cell, input cell, tap)` for every product of an image, input cells
    /// and taps innermost.
    #[inline(always)]
    fn products(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let s = &self.shape;
        let [oh, ow] = s.out_size();
        for b in 0..blocks(s.c_in) {
            for p in 0..oh {
                for q in 0..ow {
                    for i in taps(s, 0, p) {
                        for j in taps(s, 1, q) {
                            let (row, col) = (
                                p * s.stride[0] + i * s.dilation[0],
                                q * s.stride[1] + j * s.dilation[1],
                            );
                            f(
                                b,
                                p * ow + q,
                                (row - s.pad[0]) * s.w + col - s.pad[1],
                                i * s.kernel[1] + j,
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Which product is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

/// Either direction over blocked images.
pub(super) struct DepthwiseApply<'a> {
    pub(super) plan: &'a Depthwise,
    pub(super) direction: Direction,
    pub(super) n: usize,
    pub(super) pass: Pass<'a>,
    pub(super) packed: *const f32,
    pub(super) finish: Finish,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for DepthwiseApply<'_> {
    type Output = ();

    /// # Safety
    ///
    /// Pointers cover `n` images and the packed weights.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            direction,
            n,
            pass,
            packed,
            finish,
            scratch,
        } = self;
        let s = &plan.shape;
        let ([oh, ow], n_blocks) = (s.out_size(), blocks(s.c_in));
        let all_taps = s.kernel[0] * s.kernel[1];
        let (small, large) = (oh * ow, s.h * s.w);
        let (from, to) = if direction == Direction::Forward {
            (large, small)
        } else {
            (small, large)
        };
        for image in 0..n {
            let sums = zeros(scratch, n_blocks * to * LANES).as_mut_ptr();
            // Safety: `products` names cells of the two planes only.
            unsafe {
                plan.products(|b, y, x, tap| {
                    let (from_cell, to_cell) = if direction == Direction::Forward {
                        (x, y)
                    } else {
                        (y, x)
                    };
                    let sum = sums.add((b * to + to_cell) * LANES);
                    let v = pass.read::<V>(((image * n_blocks + b) * from + from_cell) * LANES);
                    v.mul_add(
                        V::load(packed.add((b * all_taps + tap) * LANES)),
                        V::load(sum.cast_const()),
                    )
                    .store(sum);
                });
                for b in 0..n_blocks {
                    for cell in 0..to {
                        let v = V::load(sums.add((b * to + cell) * LANES).cast_const());
                        finish.store(v, ((image * n_blocks + b) * to + cell) * LANES, b);
                    }
                }
            }
        }
    }
}

/// Gradient to the weight: `dw[c, kh, kw]` is added to.
pub(super) struct DepthwiseGradWeight<'a> {
    pub(super) plan: &'a Depthwise,
    pub(super) n: usize,
    pub(super) x: Pass<'a>,
    pub(super) dy: Pass<'a>,
    pub(super) dw: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for DepthwiseGradWeight<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `x` and `dy` cover `n` images.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            n,
            x,
            dy,
            dw,
            scratch,
        } = self;
        let s = &plan.shape;
        let ([oh, ow], n_blocks) = (s.out_size(), blocks(s.c_in));
        let all_taps = s.kernel[0] * s.kernel[1];
        let sums = zeros(scratch, plan.weight_len()).as_mut_ptr();
        for image in 0..n {
            // Safety: as above.
            unsafe {
                plan.products(|b, y_cell, x_cell, tap| {
                    let sum = sums.add((b * all_taps + tap) * LANES);
                    let v = x.read::<V>(((image * n_blocks + b) * s.h * s.w + x_cell) * LANES);
                    let g = dy.read::<V>(((image * n_blocks + b) * oh * ow + y_cell) * LANES);
                    v.mul_add(g, V::load(sum.cast_const())).store(sum);
                });
            }
        }
        for (c, dw) in dw.chunks_exact_mut(all_taps).enumerate() {
            for (t, dw) in dw.iter_mut().enumerate() {
                *dw += scratch[(c / LANES * all_taps + t) * LANES + c % LANES];
            }
        }
    }
}
