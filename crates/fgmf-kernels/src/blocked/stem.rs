//! Convolution of images with few channels, as the first layer of a network has them: the image stays in rows, what each tap meets
//! becomes a plane, and the output is blocked. A block of sixteen channels would be mostly padding here.
#![allow(unsafe_code, reason = "see `simd`")]

use super::{Pass, blocks, from_blocked, to_blocked};
use crate::conv::Conv2d;
use crate::real::{at_least, reset};
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::{Finish, Product, Segment};

/// Cells of one output row that meet real cells of one input row through one tap.
#[derive(Clone, Debug)]
struct Run {
    /// First cell in the image's planes, and numbers from a cell to the next.
    x: usize,
    stride: usize,
    /// First number in the planes of the taps.
    cell: usize,
    count: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Stem {
    image: usize,
    c_out: usize,
    output: usize,
    /// Taps of a window, all channels.
    depth: usize,
    runs: Vec<Run>,
    forward: Vec<Segment>,
    backward: Vec<Segment>,
}

impl Stem {
    pub(super) fn new(s: &Conv2d) -> Self {
        let [oh, ow] = s.out_size();
        let ([kh, kw], output) = (s.kernel, oh * ow);
        let depth = s.c_in * kh * kw;
        let mut runs = Vec::new();
        for k in 0..depth {
            let (c, i, j) = (k / (kh * kw), k / kw % kh, k % kw);
            let (up, left) = (i * s.dilation[0], j * s.dilation[1]);
            let from = s.pad[1].saturating_sub(left).div_ceil(s.stride[1]);
            let to = (s.w + s.pad[1]).saturating_sub(left).div_ceil(s.stride[1]).min(ow);
            for p in 0..oh {
                let row = p * s.stride[0] + up;
                if from < to && row >= s.pad[0] && row - s.pad[0] < s.h {
                    let x = (c * s.h + row - s.pad[0]) * s.w + from * s.stride[1] + left - s.pad[1];
                    runs.push(Run { x, stride: s.stride[1], cell: k * output + p * ow + from, count: to - from });
                }
            }
        }
        let forward = (0..depth).map(|k| Segment { a: k * output, b: k * LANES, len: 1 }).collect();
        let backward = (0..blocks(s.c_out))
            .map(|b| Segment { a: b * output * LANES, b: b * LANES * LANES, len: LANES.min(s.c_out - b * LANES) })
            .collect();
        Self { image: s.c_in * s.h * s.w, c_out: s.c_out, output, depth, runs, forward, backward }
    }

    pub(super) fn forward_len(&self) -> usize {
        blocks(self.c_out) * self.depth * LANES
    }

    pub(super) fn backward_len(&self) -> usize {
        blocks(self.depth) * self.c_out * LANES
    }

    /// `w` is `[c_out, depth]`.
    pub(super) fn pack_forward(&self, w: &[f32], packed: &mut [f32]) {
        packed.fill(0.0);
        for (o, w) in w.chunks_exact(self.depth).enumerate() {
            for (k, &w) in w.iter().enumerate() {
                packed[(o / LANES * self.depth + k) * LANES + o % LANES] = w;
            }
        }
    }

    pub(super) fn pack_backward(&self, w: &[f32], packed: &mut [f32]) {
        packed.fill(0.0);
        for (o, w) in w.chunks_exact(self.depth).enumerate() {
            for (k, &w) in w.iter().enumerate() {
                packed[(k / LANES * self.c_out + o) * LANES + k % LANES] = w;
            }
        }
    }

    fn planes_len(&self) -> usize {
        self.depth * self.output
    }

    fn blocked_len(&self) -> usize {
        blocks(self.depth) * self.output * LANES
    }

    /// What each tap meets in an image; cells in the padding are zero already.
    fn unroll(&self, x: &[f32], planes: &mut [f32]) {
        for run in &self.runs {
            let to = &mut planes[run.cell..run.cell + run.count];
            if run.stride == 1 {
                to.copy_from_slice(&x[run.x..run.x + run.count]);
                continue;
            }
            for (to, &x) in to.iter_mut().zip(x[run.x..].iter().step_by(run.stride)) {
                *to = x;
            }
        }
    }

    /// Adjoint of [`Self::unroll`], added to `dx`.
    fn roll(&self, planes: &[f32], dx: &mut [f32]) {
        for run in &self.runs {
            let from = &planes[run.cell..run.cell + run.count];
            if run.stride == 1 {
                dx[run.x..run.x + run.count].iter_mut().zip(from).for_each(|(dx, g)| *dx += g);
                continue;
            }
            for (dx, g) in dx[run.x..].iter_mut().step_by(run.stride).zip(from) {
                *dx += g;
            }
        }
    }
}

pub(super) struct Forward<'a> {
    pub(super) plan: &'a Stem,
    pub(super) x: &'a [f32],
    pub(super) packed: *const f32,
    pub(super) finish: Finish,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `packed` holds the forward weights, `finish` covers the images of `x`.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, x, packed, finish, scratch } = self;
        let ob = blocks(plan.c_out);
        reset(scratch, plan.planes_len());
        for (i, x) in x.chunks_exact(plan.image).enumerate() {
            plan.unroll(x, scratch);
            // Safety: stated above; a plane holds every output cell.
            unsafe {
                let product = Product::<1, 1> {
                    a: scratch.as_ptr(),
                    rows: plan.output,
                    b: packed,
                    panel: plan.depth * LANES,
                    panels: ob,
                    segments: &plan.forward,
                    finish: finish.from(i * ob * plan.output * LANES, 0, LANES, plan.output * LANES),
                };
                product.run::<V>();
            }
        }
    }
}

pub(super) struct GradInput<'a> {
    pub(super) plan: &'a Stem,
    pub(super) dy: Pass<'a>,
    pub(super) packed: *const f32,
    pub(super) dx: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for GradInput<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `packed` holds the backward weights, `dy` the gradients of the images of `dx`.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, dy, packed, dx, scratch } = self;
        let (gradient, windows) = (blocks(plan.c_out) * plan.output * LANES, plan.blocked_len());
        at_least(scratch, windows + gradient + plan.planes_len());
        let (blocked, rest) = scratch.split_at_mut(windows);
        let (buffer, planes) = rest.split_at_mut(gradient);
        let planes = &mut planes[..plan.planes_len()];
        dx.fill(0.0);
        for (i, dx) in dx.chunks_exact_mut(plan.image).enumerate() {
            // Safety: stated above; a row of the product for every output cell, a column for every tap.
            unsafe {
                let product = Product::<LANES, 1> {
                    a: dy.plain::<V>(i * gradient, gradient, buffer.as_mut_ptr()),
                    rows: plan.output,
                    b: packed,
                    panel: plan.c_out * LANES,
                    panels: blocks(plan.depth),
                    segments: &plan.backward,
                    finish: Finish::plain(blocked.as_mut_ptr(), LANES, plan.output * LANES),
                };
                product.run::<V>();
            }
            from_blocked(plan.depth, plan.output, blocked, planes);
            plan.roll(planes, dx);
        }
    }
}

pub(super) struct GradWeight<'a> {
    pub(super) plan: &'a Stem,
    pub(super) x: &'a [f32],
    pub(super) dy: Pass<'a>,
    pub(super) dw: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for GradWeight<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `dy` holds the gradients of the images of `x`.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, x, dy, dw, scratch } = self;
        let (ob, windows) = (blocks(plan.c_out), plan.blocked_len());
        let (gradient, sums) = (ob * plan.output * LANES, blocks(plan.depth) * LANES * ob * LANES);
        // Planes, the same blocked, a gradient, and the sums `[depth, c_out]` in whole blocks.
        reset(scratch, plan.planes_len() + windows + gradient + sums);
        let (planes, rest) = scratch.split_at_mut(plan.planes_len());
        let (blocked, rest) = rest.split_at_mut(windows);
        let (buffer, sums) = rest.split_at_mut(gradient);
        for (i, x) in x.chunks_exact(plan.image).enumerate() {
            plan.unroll(x, planes);
            to_blocked(plan.depth, plan.output, planes, blocked);
            // Safety: stated above; rows of the product are taps.
            unsafe {
                let b = dy.plain::<V>(i * gradient, gradient, buffer.as_mut_ptr());
                for block in 0..blocks(plan.depth) {
                    let product = Product::<1, LANES> {
                        a: blocked.as_ptr().add(block * plan.output * LANES),
                        rows: LANES.min(plan.depth - block * LANES),
                        b,
                        panel: plan.output * LANES,
                        panels: ob,
                        segments: &[Segment { a: 0, b: 0, len: plan.output }],
                        finish: Finish::plain(sums.as_mut_ptr().add(block * LANES * ob * LANES), ob * LANES, LANES).accumulate(i > 0),
                    };
                    product.run::<V>();
                }
            }
        }
        for (o, dw) in dw.chunks_exact_mut(plan.depth).enumerate() {
            for (k, dw) in dw.iter_mut().enumerate() {
                *dw += sums[k * ob * LANES + o];
            }
        }
    }
}
