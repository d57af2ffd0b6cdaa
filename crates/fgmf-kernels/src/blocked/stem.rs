//! Convolution of images with few channels, as the first layer of a network has them: the image
//! stays in rows, its padded copy in phases of the stride, and the output is blocked. A block of
//! sixteen channels would be mostly padding here.
#![allow(unsafe_code, reason = "see `simd`")]

use super::layout::{blocks, from_blocked, to_blocked};
use super::pass::Pass;
use crate::grid::{Grid, Run, copy_strided};
use crate::real::{at_least, zeros};
use crate::shape::Conv2d;
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
    /// Output cells along a line of the grid, counting what lies between its rows.
    wide: usize,
    /// Whether every cell of an image is in the grid.
    covered: bool,
    /// Output rows, cells of each, and the distance of rows in the grid: one long row if no cells
    /// lie between them.
    lines: usize,
    cells: usize,
    line: usize,
    forward: Vec<Segment>,
    backward: Vec<Segment>,
}

impl Stem {
    pub(super) fn new(s: &Conv2d) -> Self {
        let Input {
            grid,
            offsets: taps,
            ..
        } = Input::new(&Conv2d { groups: 1, ..*s });
        let ([oh, ow], line) = (s.out_size(), grid.cols.extent);
        let (lines, cells) = if line == ow { (1, oh * ow) } else { (oh, ow) };
        let wide = (oh - 1) * line + ow;
        let forward = taps
            .iter()
            .enumerate()
            .map(|(k, &a)| Segment {
                a,
                b: k * LANES,
                len: 1,
            })
            .collect();
        let backward = (0..blocks(s.c_out))
            .map(|b| Segment {
                a: b * wide * LANES,
                b: b * LANES * LANES,
                len: LANES.min(s.c_out - b * LANES),
            })
            .collect();
        let runs = grid.runs();
        Self {
            wide,
            covered: runs.iter().map(|r| r.count).sum::<usize>() == s.h * s.w,
            runs,
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
        self.depth * self.wide
    }

    fn blocked_len(&self) -> usize {
        blocks(self.depth) * self.wide * LANES
    }

    fn gradient_len(&self) -> usize {
        blocks(self.c_out) * self.wide * LANES
    }

    fn copy_len(&self) -> usize {
        self.image / self.plane * self.grid.plane()
    }

    /// Copies an image into the grids of its channels; their padding is zero already.
    #[inline(always)]
    fn fill(&self, x: &[f32], copy: &mut [f32]) {
        for (x, copy) in x
            .chunks_exact(self.plane)
            .zip(copy.chunks_exact_mut(self.grid.plane()))
        {
            for run in &self.runs {
                copy_strided(
                    &x[run.cell..],
                    self.grid.cols.stride,
                    &mut copy[run.at..run.at + run.count],
                );
            }
        }
    }

    /// Reads an image's gradient out of the grids of its channels; cells that no window meets are
    /// zero already.
    #[inline(always)]
    fn read(&self, copy: &[f32], dx: &mut [f32]) {
        for (dx, copy) in dx
            .chunks_exact_mut(self.plane)
            .zip(copy.chunks_exact(self.grid.plane()))
        {
            for run in &self.runs {
                let from = &copy[run.at..run.at + run.count];
                dx[run.cell..]
                    .iter_mut()
                    .step_by(self.grid.cols.stride)
                    .zip(from)
                    .for_each(|(dx, &g)| *dx = g);
            }
        }
    }

    /// What each tap meets, a plane a tap.
    #[inline(always)]
    fn unroll(&self, copy: &[f32], planes: &mut [f32]) {
        for (plane, &tap) in planes.chunks_exact_mut(self.wide).zip(&self.taps) {
            plane.copy_from_slice(&copy[tap..tap + self.wide]);
        }
    }

    /// Adjoint of [`Self::unroll`], added to `copy`.
    #[inline(always)]
    fn roll(&self, planes: &[f32], copy: &mut [f32]) {
        for (plane, &tap) in planes.chunks_exact(self.wide).zip(&self.taps) {
            copy[tap..tap + self.wide]
                .iter_mut()
                .zip(plane)
                .for_each(|(to, g)| *to += g);
        }
    }

    /// The gradient of image `i`'s output behind its gate, with zeros between rows: where it lies,
    /// or in `buffer`.
    ///
    /// # Safety
    ///
    /// `dy` covers the image, `buffer` holds [`Self::gradient_len`].
    #[inline(always)]
    unsafe fn spread<V: Vector>(&self, dy: &Pass<'_>, i: usize, buffer: *mut f32) -> *const f32 {
        let ob = blocks(self.c_out);
        let from = i * ob * self.output * LANES;
        // Safety: stated above.
        unsafe {
            if self.lines == 1 {
                return dy.plain::<V>(from, ob * self.output * LANES, buffer);
            }
            for b in 0..ob {
                for l in 0..self.lines {
                    let (from, to) = (
                        from + (b * self.output + l * self.cells) * LANES,
                        buffer.add((b * self.wide + l * self.line) * LANES),
                    );
                    for c in 0..self.cells {
                        dy.read::<V>(from + c * LANES).store(to.add(c * LANES));
                    }
                    let end = if l + 1 < self.lines {
                        self.line
                    } else {
                        self.cells
                    };
                    for c in self.cells..end {
                        V::zero().store(to.add(c * LANES));
                    }
                }
            }
        }
        buffer
    }
}

pub(super) struct StemForward<'a> {
    pub(super) plan: &'a Stem,
    pub(super) x: &'a [f32],
    pub(super) packed: *const f32,
    pub(super) finish: Finish,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for StemForward<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `packed` holds the forward weights, `finish` covers the images of `x`.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            x,
            packed,
            finish,
            scratch,
        } = self;
        let ob = blocks(plan.c_out);
        let copy = zeros(scratch, plan.copy_len());
        for (i, x) in x.chunks_exact(plan.image).enumerate() {
            plan.fill(x, copy);
            for line in 0..plan.lines {
                // Safety: stated above; every tap has the cells of a line side by side in the grid.
                unsafe {
                    let product = Product::<1, 1> {
                        a: copy.as_ptr().add(line * plan.line),
                        rows: plan.cells,
                        b: packed,
                        panel: plan.depth * LANES,
                        panels: ob,
                        segments: &plan.forward,
                        finish: finish.from(
                            (i * ob * plan.output + line * plan.cells) * LANES,
                            0,
                            LANES,
                            plan.output * LANES,
                        ),
                    };
                    product.run::<V>();
                }
            }
        }
    }
}

pub(super) struct StemGradInput<'a> {
    pub(super) plan: &'a Stem,
    pub(super) dy: Pass<'a>,
    pub(super) packed: *const f32,
    pub(super) dx: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for StemGradInput<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `packed` holds the backward weights, `dy` the gradients of the images of `dx`.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            dy,
            packed,
            dx,
            scratch,
        } = self;
        let (gradient, windows) = (plan.gradient_len(), plan.blocked_len());
        at_least(
            scratch,
            windows + gradient + plan.planes_len() + plan.copy_len(),
        );
        let (blocked, rest) = scratch.split_at_mut(windows);
        let (buffer, rest) = rest.split_at_mut(gradient);
        let (planes, rest) = rest.split_at_mut(plan.planes_len());
        let copy = &mut rest[..plan.copy_len()];
        if !plan.covered {
            dx.fill(0.0);
        }
        for (i, dx) in dx.chunks_exact_mut(plan.image).enumerate() {
            // Safety: stated above; a row of the product for every output cell, a column for every
            // tap.
            unsafe {
                let product = Product::<LANES, 1> {
                    a: plan.spread::<V>(&dy, i, buffer.as_mut_ptr()),
                    rows: plan.wide,
                    b: packed,
                    panel: plan.c_out * LANES,
                    panels: blocks(plan.depth),
                    segments: &plan.backward,
                    finish: Finish::plain(blocked.as_mut_ptr(), LANES, plan.wide * LANES),
                };
                product.run::<V>();
            }
            from_blocked(plan.depth, plan.wide, blocked, planes);
            copy.fill(0.0);
            plan.roll(planes, copy);
            plan.read(copy, dx);
        }
    }
}

pub(super) struct StemGradWeight<'a> {
    pub(super) plan: &'a Stem,
    pub(super) x: &'a [f32],
    pub(super) dy: Pass<'a>,
    pub(super) dw: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for StemGradWeight<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `dy` holds the gradients of the images of `x`.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            x,
            dy,
            dw,
            scratch,
        } = self;
        let (ob, windows) = (blocks(plan.c_out), plan.blocked_len());
        let (gradient, sums) = (plan.gradient_len(), blocks(plan.depth) * LANES * ob * LANES);
        if x.is_empty() {
            return;
        }
        // The padded copy, planes, the same blocked, a gradient, and the sums `[depth, c_out]` in
        // whole blocks.
        at_least(
            scratch,
            plan.copy_len() + plan.planes_len() + windows + gradient + sums,
        );
        let (copy, rest) = scratch.split_at_mut(plan.copy_len());
        copy.fill(0.0);
        let (planes, rest) = rest.split_at_mut(plan.planes_len());
        let (blocked, rest) = rest.split_at_mut(windows);
        let (buffer, sums) = rest.split_at_mut(gradient);
        for (i, x) in x.chunks_exact(plan.image).enumerate() {
            plan.fill(x, copy);
            plan.unroll(copy, planes);
            to_blocked(plan.depth, plan.wide, planes, blocked);
            // Safety: stated above; rows of the product are taps.
            unsafe {
                let b = plan.spread::<V>(&dy, i, buffer.as_mut_ptr());
                for block in 0..blocks(plan.depth) {
                    let product = Product::<1, LANES> {
                        a: blocked.as_ptr().add(block * plan.wide * LANES),
                        rows: LANES.min(plan.depth - block * LANES),
                        b,
                        panel: plan.wide * LANES,
                        panels: ob,
                        segments: &[Segment {
                            a: 0,
                            b: 0,
                            len: plan.wide,
                        }],
                        finish: Finish::plain(
                            sums.as_mut_ptr().add(block * LANES * ob * LANES),
                            ob * LANES,
                            LANES,
                        )
                        .accumulate(i > 0),
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
