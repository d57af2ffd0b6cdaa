//! Convolution of images with few channels, as the first layer of a network has them: the image stays in rows, its padded copy in phases
//! of the stride, and the output is blocked. A block of sixteen channels would be mostly padding here.
#![allow(unsafe_code, reason = "see `simd`")]

use super::{Pass, blocks, from_blocked, to_blocked};
use crate::conv::Conv2d;
use crate::grid::{Grid, Run, copy_strided};
use crate::real::{at_least, reset};
use crate::simd::{Kernel, LANES, Vector};
use crate::sliding::Input;
use crate::tile::{Finish, Product, Segment};

#[derive(Clone, Debug)]
pub(super) struct Stem {
    grid: Grid,
    /// Of a channel of the grid.
    runs: Vec<Run>,
    /// Where each tap's first cell is in the grids of all channels.
    taps: Vec<usize>,
    image: usize,
    plane: usize,
    c_out: usize,
    output: usize,
    /// Taps of a window, all channels.
    depth: usize,
    /// Output rows, cells of each, and the distance of rows in the grid: one long row if no cells lie between them.
    lines: usize,
    cells: usize,
    line: usize,
    forward: Vec<Segment>,
    backward: Vec<Segment>,
}

impl Stem {
    pub(super) fn new(s: &Conv2d) -> Self {
        let Input { grid, offsets: taps, .. } = Input::new(&Conv2d { groups: 1, ..*s });
        let ([oh, ow], line) = (s.out_size(), grid.cols.extent);
        let (lines, cells) = if line == ow { (1, oh * ow) } else { (oh, ow) };
        let forward = taps.iter().enumerate().map(|(k, &a)| Segment { a, b: k * LANES, len: 1 }).collect();
        let backward = (0..blocks(s.c_out))
            .map(|b| Segment { a: b * oh * ow * LANES, b: b * LANES * LANES, len: LANES.min(s.c_out - b * LANES) })
            .collect();
        Self {
            runs: grid.runs(),
            image: s.c_in * s.h * s.w,
            plane: s.h * s.w,
            c_out: s.c_out,
            output: oh * ow,
            depth: taps.len(),
            lines,
            cells,
            line,
            forward,
            backward,
            taps,
            grid,
        }
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

    fn copy_len(&self) -> usize {
        self.image / self.plane * self.grid.plane()
    }

    /// Copies an image into the grids of its channels; their padding is zero already.
    #[inline(always)]
    fn fill(&self, x: &[f32], copy: &mut [f32]) {
        for (x, copy) in x.chunks_exact(self.plane).zip(copy.chunks_exact_mut(self.grid.plane())) {
            for run in &self.runs {
                copy_strided(&x[run.cell..], self.grid.cols.stride, &mut copy[run.at..run.at + run.count]);
            }
        }
    }

    /// Reads an image's gradient out of the grids of its channels; cells that no window meets are zero already.
    #[inline(always)]
    fn read(&self, copy: &[f32], dx: &mut [f32]) {
        for (dx, copy) in dx.chunks_exact_mut(self.plane).zip(copy.chunks_exact(self.grid.plane())) {
            for run in &self.runs {
                let from = &copy[run.at..run.at + run.count];
                dx[run.cell..].iter_mut().step_by(self.grid.cols.stride).zip(from).for_each(|(dx, &g)| *dx = g);
            }
        }
    }

    /// What each tap meets, a plane a tap.
    #[inline(always)]
    fn unroll(&self, copy: &[f32], planes: &mut [f32]) {
        for (plane, &tap) in planes.chunks_exact_mut(self.output).zip(&self.taps) {
            for (l, to) in plane.chunks_exact_mut(self.cells).enumerate() {
                to.copy_from_slice(&copy[tap + l * self.line..][..self.cells]);
            }
        }
    }

    /// Adjoint of [`Self::unroll`], added to `copy`.
    #[inline(always)]
    fn roll(&self, planes: &[f32], copy: &mut [f32]) {
        for (plane, &tap) in planes.chunks_exact(self.output).zip(&self.taps) {
            for (l, from) in plane.chunks_exact(self.cells).enumerate() {
                let to = &mut copy[tap + l * self.line..][..self.cells];
                for (to, g) in to.iter_mut().zip(from) {
                    *to += g;
                }
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
        reset(scratch, plan.copy_len());
        for (i, x) in x.chunks_exact(plan.image).enumerate() {
            plan.fill(x, scratch);
            for line in 0..plan.lines {
                // Safety: stated above; every tap has the cells of a line side by side in the grid.
                unsafe {
                    let product = Product::<1, 1> {
                        a: scratch.as_ptr().add(line * plan.line),
                        rows: plan.cells,
                        b: packed,
                        panel: plan.depth * LANES,
                        panels: ob,
                        segments: &plan.forward,
                        finish: finish.from((i * ob * plan.output + line * plan.cells) * LANES, 0, LANES, plan.output * LANES),
                    };
                    product.run::<V>();
                }
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
        at_least(scratch, windows + gradient + plan.planes_len() + plan.copy_len());
        let (blocked, rest) = scratch.split_at_mut(windows);
        let (buffer, rest) = rest.split_at_mut(gradient);
        let (planes, rest) = rest.split_at_mut(plan.planes_len());
        let copy = &mut rest[..plan.copy_len()];
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
            copy.fill(0.0);
            plan.roll(planes, copy);
            plan.read(copy, dx);
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
        // The padded copy, planes, the same blocked, a gradient, and the sums `[depth, c_out]` in whole blocks.
        reset(scratch, plan.copy_len() + plan.planes_len() + windows + gradient + sums);
        let (copy, rest) = scratch.split_at_mut(plan.copy_len());
        let (planes, rest) = rest.split_at_mut(plan.planes_len());
        let (blocked, rest) = rest.split_at_mut(windows);
        let (buffer, sums) = rest.split_at_mut(gradient);
        for (i, x) in x.chunks_exact(plan.image).enumerate() {
            plan.fill(x, copy);
            plan.unroll(copy, planes);
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
