//! The convolution of one tap, stride 1 and no padding: a matrix product of cells and channels.
//!
//! Cells are taken in strips that stay in the second-level cache while all weights pass by. Without
//! a gate they are read where they lie.
#![allow(unsafe_code, reason = "see `simd`")]

use super::layout::blocks;
use super::pass::Pass;
use crate::real::at_least;
use crate::shape::Conv2d;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::{Finish, Product, Segment};

/// Most numbers of a strip.
const STRIP: usize = 3 << 14;

/// Least cells of a strip: weights that are fetched are used at least so often.
const LEAST: usize = 56;

/// One direction of such a convolution.
#[derive(Clone, Debug)]
pub(super) struct Pointwise {
    c_in: usize,
    c_out: usize,
    cells: usize,
    /// Cells of a strip.
    strip: usize,
    /// The channels of a cell, sixteen by sixteen: in an image, and in the copy of a strip.
    lying: Vec<Segment>,
    copied: Vec<Segment>,
}

impl Pointwise {
    /// Forward and backward, if the shape is one.
    pub(super) fn new(s: &Conv2d) -> Option<[Self; 2]> {
        let one = s.kernel == [1; 2] && s.stride == [1; 2] && s.pad == [0; 4] && s.groups == 1;
        one.then(|| [[s.c_in, s.c_out], [s.c_out, s.c_in]].map(|c| Self::direction(c, s.h * s.w)))
    }

    fn direction([c_in, c_out]: [usize; 2], cells: usize) -> Self {
        let channels = blocks(c_in) * LANES;
        let most = (STRIP / channels).max(LEAST);
        // Of nearly equal length.
        let strip = cells.div_ceil(cells.div_ceil(most));
        let stretches = |plane: usize| {
            (0..blocks(c_in))
                .map(|block| Segment {
                    a: block * plane * LANES,
                    b: block * LANES * LANES,
                    len: LANES.min(c_in - block * LANES),
                })
                .collect()
        };
        Self {
            c_in,
            c_out,
            cells,
            strip,
            lying: stretches(cells),
            copied: stretches(strip),
        }
    }

    /// Numbers of a panel of weights.
    fn panel(&self) -> usize {
        self.c_in * LANES
    }

    pub(super) fn weight_len(&self) -> usize {
        self.panel() * blocks(self.c_out)
    }

    /// Packs weights; `at(o, i)` is the weight of an output and an input channel of this direction.
    pub(super) fn pack(&self, w: &[f32], at: impl Fn(usize, usize) -> usize, packed: &mut [f32]) {
        for (block, panel) in packed.chunks_exact_mut(self.panel()).enumerate() {
            for (i, to) in panel.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                for (lane, to) in to.iter_mut().enumerate() {
                    let o = block * LANES + lane;
                    *to = if o < self.c_out { w[at(o, i)] } else { 0.0 };
                }
            }
        }
    }
}

/// Either direction, over blocked images.
pub(super) struct PointwiseApply<'a> {
    pub(super) plan: &'a Pointwise,
    pub(super) n: usize,
    pub(super) pass: Pass<'a>,
    pub(super) packed: *const f32,
    pub(super) finish: Finish,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for PointwiseApply<'_> {
    type Output = ();

    /// # Safety
    ///
    /// Pointers cover `n` images and the packed weights.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            n,
            pass,
            packed,
            finish,
            scratch,
        } = self;
        let (ib, ob) = (blocks(plan.c_in), blocks(plan.c_out));
        if pass.is_gated() {
            at_least(scratch, ib * plan.strip * LANES);
        }
        // Safety: stated above.
        unsafe {
            for i in 0..n {
                for first in (0..plan.cells).step_by(plan.strip) {
                    let rows = plan.strip.min(plan.cells - first);
                    let from = (i * ib * plan.cells + first) * LANES;
                    let (a, segments) = if pass.is_gated() {
                        let copy = scratch.as_mut_ptr();
                        for block in 0..ib {
                            for cell in 0..rows {
                                pass.read::<V>(from + (block * plan.cells + cell) * LANES)
                                    .store(copy.add((block * plan.strip + cell) * LANES));
                            }
                        }
                        (copy.cast_const(), &plan.copied)
                    } else {
                        (pass.values.as_ptr().add(from), &plan.lying)
                    };
                    let product = Product::<LANES, 1> {
                        a,
                        rows,
                        b: packed,
                        panel: plan.panel(),
                        panels: ob,
                        segments,
                        finish: finish.from(
                            (i * ob * plan.cells + first) * LANES,
                            0,
                            LANES,
                            plan.cells * LANES,
                        ),
                    };
                    product.run::<V>();
                }
            }
        }
    }
}

/// Gradient to the weight: `dw[o, i]` is added to. `plan` is the forward direction.
pub(super) struct PointwiseGradWeight<'a> {
    pub(super) plan: &'a Pointwise,
    pub(super) n: usize,
    pub(super) x: Pass<'a>,
    pub(super) dy: Pass<'a>,
    pub(super) dw: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for PointwiseGradWeight<'_> {
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
        let (ib, ob) = (blocks(plan.c_in), blocks(plan.c_out));
        let (image, gradient) = (ib * plan.cells * LANES, ob * plan.cells * LANES);
        if n == 0 {
            return;
        }
        // Copies behind the gates, and the sums `[channels in, channels out]`.
        at_least(scratch, image + gradient + ib * LANES * ob * LANES);
        let base = scratch.as_mut_ptr();
        let all = [Segment {
            a: 0,
            b: 0,
            len: plan.cells,
        }];
        // Safety: three parts of the scratch; the rest is stated above.
        unsafe {
            let (g, sums) = (base.add(image), base.add(image + gradient));
            for i in 0..n {
                let a = x.plain::<V>(i * image, image, base);
                let b = dy.plain::<V>(i * gradient, gradient, g);
                for block in 0..ib {
                    let product = Product::<1, LANES> {
                        a: a.add(block * plan.cells * LANES),
                        rows: LANES,
                        b,
                        panel: plan.cells * LANES,
                        panels: ob,
                        segments: &all,
                        finish: Finish::plain(
                            sums.add(block * LANES * ob * LANES),
                            ob * LANES,
                            LANES,
                        )
                        .accumulate(i > 0),
                    };
                    product.run::<V>();
                }
            }
        }
        let sums = &scratch[image + gradient..];
        for (o, dw) in dw.chunks_exact_mut(plan.c_in).enumerate() {
            for (i, dw) in dw.iter_mut().enumerate() {
                *dw += sums[i * ob * LANES + o];
            }
        }
    }
}
