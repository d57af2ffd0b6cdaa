//! Convolution of images with few channels, as the first layer of a network has them: the image stays in rows, every window becomes a
//! row of a matrix, and the output is blocked. A block of sixteen channels would be mostly padding here.
#![allow(unsafe_code, reason = "see `simd`")]

use super::{Pass, blocks};
use crate::conv::Conv2d;
use crate::real::reset;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::{Finish, Product, Segment};

/// Cells of one output row that meet real cells of one input row through one tap.
#[derive(Clone, Debug)]
struct Run {
    /// First cell in the image's planes, and numbers from a cell to the next.
    x: usize,
    stride: usize,
    /// First number in the matrix of windows.
    window: usize,
    count: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Stem {
    image: usize,
    c_out: usize,
    output: usize,
    /// Numbers of a window.
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
                    let window = (k / LANES * output + p * ow + from) * LANES + k % LANES;
                    runs.push(Run { x, stride: s.stride[1], window, count: to - from });
                }
            }
        }
        let stretch = |block: usize, total: usize| Segment {
            a: block * output * LANES,
            b: block * LANES * LANES,
            len: LANES.min(total - block * LANES),
        };
        let forward = (0..blocks(depth)).map(|b| stretch(b, depth)).collect();
        let backward = (0..blocks(s.c_out)).map(|b| stretch(b, s.c_out)).collect();
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

    fn windows_len(&self) -> usize {
        blocks(self.depth) * self.output * LANES
    }

    /// Windows of one image; numbers in the padding are zero already.
    fn unroll(&self, x: &[f32], windows: &mut [f32]) {
        for run in &self.runs {
            let to = windows[run.window..].iter_mut().step_by(LANES);
            for (to, &x) in to.zip(x[run.x..].iter().step_by(run.stride)).take(run.count) {
                *to = x;
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
        reset(scratch, plan.windows_len());
        for (i, x) in x.chunks_exact(plan.image).enumerate() {
            plan.unroll(x, scratch);
            // Safety: stated above; the windows hold a row for every output cell.
            unsafe {
                let product = Product::<LANES, 1> {
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
        let gradient = blocks(plan.c_out) * plan.output * LANES;
        reset(scratch, plan.windows_len() + gradient);
        dx.fill(0.0);
        for (i, dx) in dx.chunks_exact_mut(plan.image).enumerate() {
            // Safety: stated above; the scratch holds windows and one gradient.
            unsafe {
                let windows = scratch.as_mut_ptr();
                let a = dy.plain::<V>(i * gradient, gradient, windows.add(plan.windows_len()));
                let product = Product::<LANES, 1> {
                    a,
                    rows: plan.output,
                    b: packed,
                    panel: plan.c_out * LANES,
                    panels: blocks(plan.depth),
                    segments: &plan.backward,
                    finish: Finish::plain(windows, LANES, plan.output * LANES),
                };
                product.run::<V>();
            }
            for run in &plan.runs {
                let from = scratch[run.window..].iter().step_by(LANES);
                for (&from, dx) in from.zip(dx[run.x..].iter_mut().step_by(run.stride)).take(run.count) {
                    *dx += from;
                }
            }
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
        let (ob, windows) = (blocks(plan.c_out), plan.windows_len());
        let gradient = ob * plan.output * LANES;
        // Windows, a gradient, and the sums `[depth, c_out]` in whole blocks.
        reset(scratch, windows + gradient + blocks(plan.depth) * LANES * ob * LANES);
        for (i, x) in x.chunks_exact(plan.image).enumerate() {
            plan.unroll(x, scratch);
            // Safety: three parts of the scratch; the rest is stated above.
            unsafe {
                let base = scratch.as_mut_ptr();
                let b = dy.plain::<V>(i * gradient, gradient, base.add(windows));
                let sums = base.add(windows + gradient);
                for block in 0..blocks(plan.depth) {
                    let product = Product::<1, LANES> {
                        a: base.add(block * plan.output * LANES).cast_const(),
                        rows: LANES.min(plan.depth - block * LANES),
                        b,
                        panel: plan.output * LANES,
                        panels: ob,
                        segments: &[Segment { a: 0, b: 0, len: plan.output }],
                        finish: Finish::plain(sums.add(block * LANES * ob * LANES), ob * LANES, LANES).accumulate(i > 0),
                    };
                    product.run::<V>();
                }
            }
        }
        let sums = &scratch[windows + gradient..];
        for (o, dw) in dw.chunks_exact_mut(plan.depth).enumerate() {
            for (k, dw) in dw.iter_mut().enumerate() {
                *dw += sums[k * ob * LANES + o];
            }
        }
    }
}
