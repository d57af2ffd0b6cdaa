//! Direct convolution of blocked images: the taps slide over a padded copy, nothing is unrolled.
//! Any stride, padding and dilation.
//!
//! The copy is a [`Grid`] of cells of sixteen channels, split into the phases of the stride, so
//! that the cells one tap meets lie side by side and another tap is another offset. A forward pass
//! is one [`Job`]; the gradient to the input is one for each phase of the stride, a stride-1
//! convolution of the output's gradient with the taps that reach its cells.
#![allow(unsafe_code, reason = "see `simd`")]

use super::layout::blocks;
use super::pass::Pass;
use crate::grid::{Grid, Run};
use crate::real::at_least;
use crate::shape::Conv2d;
use crate::simd::{Kernel, LANES, Vector};
use crate::sliding::{self, Input};
use crate::tile::{Finish, Product, Segment};

/// Numbers of the padded copies that are held at once.
const WINDOW: usize = 1 << 17;

/// Rows of cells, each a product with the same weights.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) segments: Vec<Segment>,
    /// Start of its packed weights.
    weight: usize,
    /// Numbers of a panel of weights.
    panel: usize,
    pub(super) lines: usize,
    pub(super) cells: usize,
    /// In numbers: from a line of the copy to the next; the first cell written, from a line to the
    /// next, from a cell to the next.
    pub(super) line: usize,
    pub(super) start: usize,
    pub(super) out_line: usize,
    pub(super) out_step: usize,
}

/// One direction of a convolution.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    grid: Grid,
    /// Of a channel of the grid: the real cells, and the rest.
    runs: Vec<Run>,
    padding: Vec<(usize, usize)>,
    c_in: usize,
    c_out: usize,
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) jobs: Vec<Job>,
    weight_len: usize,
    /// For each job, stretch by stretch: which tap it is.
    pub(super) taps: Vec<Vec<usize>>,
    /// The forward job's lines as stretches of the sum over cells, for the gradient to the weight.
    lines: Vec<Segment>,
}

impl Direct {
    /// The forward pass of one image's shape, groups apart.
    pub(super) fn forward(s: &Conv2d) -> Self {
        let Input { grid, offsets, .. } = Input::new(&Conv2d {
            c_in: 1,
            groups: 1,
            c_out: 1,
            ..*s
        });
        let [oh, ow] = s.out_size();
        let (plane, taps) = (grid.plane(), offsets.len());
        let segments = stretches(s.c_in, plane, &offsets);
        let extent = grid.cols.extent;
        // Rows without cells between them are one long row.
        let (lines, cells) = if extent == ow { (1, oh * ow) } else { (oh, ow) };
        let panel = s.c_in * taps * LANES;
        let job = Job {
            segments,
            weight: 0,
            panel,
            lines,
            cells,
            line: extent * LANES,
            start: 0,
            out_line: ow * LANES,
            out_step: LANES,
        };
        let taps = vec![(0..blocks(s.c_in)).flat_map(|_| 0..taps).collect()];
        let lines = (0..lines)
            .map(|l| Segment {
                a: l * job.line,
                b: l * cells * LANES,
                len: cells,
            })
            .collect();
        let weight_len = panel * blocks(s.c_out);
        let runs = grid.runs();
        let padding = gaps(&runs, plane);
        Self {
            grid,
            runs,
            padding,
            c_in: s.c_in,
            c_out: s.c_out,
            input: s.h * s.w,
            output: oh * ow,
            jobs: vec![job],
            weight_len,
            taps,
            lines,
        }
    }

    /// The gradient to the input of one image's shape.
    pub(super) fn backward(s: &Conv2d) -> Self {
        let (grid, parts) = sliding::parts(s);
        let [oh, ow] = s.out_size();
        let (mut jobs, mut taps, mut weight) = (Vec::new(), Vec::new(), 0);
        for part in &parts {
            let offsets: Vec<usize> = part.taps.iter().map(|&(_, at)| at).collect();
            // Rows without cells between them, on both sides, are one long row.
            let whole = s.stride == [1; 2] && [part.cols; 2] == [grid.cols.extent, s.w];
            let (lines, cells) = if whole {
                (1, part.rows * part.cols)
            } else {
                (part.rows, part.cols)
            };
            let panel = s.c_out * offsets.len() * LANES;
            jobs.push(Job {
                segments: stretches(s.c_out, grid.plane(), &offsets),
                weight,
                panel,
                lines,
                cells,
                line: grid.cols.extent * LANES,
                start: (part.cell[0] * s.w + part.cell[1]) * LANES,
                out_line: s.stride[0] * s.w * LANES,
                out_step: s.stride[1] * LANES,
            });
            weight += panel * blocks(s.c_in);
            taps.push(
                (0..blocks(s.c_out))
                    .flat_map(|_| part.taps.iter().map(|&(tap, _)| tap))
                    .collect(),
            );
        }
        let runs = grid.runs();
        let padding = gaps(&runs, grid.plane());
        Self {
            grid,
            runs,
            padding,
            c_in: s.c_out,
            c_out: s.c_in,
            input: oh * ow,
            output: s.h * s.w,
            jobs,
            weight_len: weight,
            taps,
            lines: Vec::new(),
        }
    }

    pub(super) fn weight_len(&self) -> usize {
        self.weight_len
    }

    /// Packs weights; `at(o, i)` is where the window of an output and an input channel of this
    /// direction begins.
    pub(super) fn pack(&self, w: &[f32], at: impl Fn(usize, usize) -> usize, packed: &mut [f32]) {
        packed.fill(0.0);
        for (job, taps) in self.jobs.iter().zip(&self.taps) {
            for o in 0..self.c_out {
                let panel = &mut packed[job.weight + o / LANES * job.panel..];
                for (n, (s, tap)) in job.segments.iter().zip(taps).enumerate() {
                    let first = n / (taps.len() / blocks(self.c_in)) * LANES;
                    for k in 0..s.len {
                        panel[s.b + k * LANES + o % LANES] = w[at(o, first + k) + tap];
                    }
                }
            }
        }
    }

    /// Numbers of an image's padded copy.
    pub(super) fn copy_len(&self) -> usize {
        blocks(self.c_in) * self.grid.plane() * LANES
    }

    /// Images whose copies are held together.
    fn together(&self, n: usize) -> usize {
        (WINDOW / self.copy_len().max(1)).clamp(1, n.max(1))
    }
}

/// Stretches of sixteen channels: block by block, tap by tap.
fn stretches(channels: usize, plane: usize, offsets: &[usize]) -> Vec<Segment> {
    let mut b = 0;
    let mut out = Vec::with_capacity(blocks(channels) * offsets.len());
    for block in 0..blocks(channels) {
        for &offset in offsets {
            let len = LANES.min(channels - block * LANES);
            out.push(Segment {
                a: (block * plane + offset) * LANES,
                b,
                len,
            });
            b += len * LANES;
        }
    }
    out
}

impl Direct {
    /// Copies the cells of an image of `pass`, from its number `from` on, into a padded copy.
    ///
    /// # Safety
    ///
    /// `to` holds a copy, `pass` an image there.
    #[inline(always)]
    pub(super) unsafe fn fill<V: Vector>(&self, pass: &Pass<'_>, from: usize, to: *mut f32) {
        let (plane, stride) = (self.grid.plane(), self.grid.cols.stride);
        // Safety: `runs` and `padding` name cells of the plane and of the grid only.
        unsafe {
            for b in 0..blocks(self.c_in) {
                let source = from + b * self.input * LANES;
                let target = to.add(b * plane * LANES);
                for run in &self.runs {
                    for i in 0..run.count {
                        pass.read::<V>(source + (run.cell + i * stride) * LANES)
                            .store(target.add((run.at + i) * LANES));
                    }
                }
                for &(at, count) in &self.padding {
                    for i in 0..count {
                        V::zero().store(target.add((at + i) * LANES));
                    }
                }
            }
        }
    }
}

/// Stretches of a channel of the grid that no run covers: first cell and count.
fn gaps(runs: &[Run], plane: usize) -> Vec<(usize, usize)> {
    let mut covered: Vec<(usize, usize)> = runs.iter().map(|r| (r.at, r.at + r.count)).collect();
    covered.sort_unstable();
    covered.push((plane, plane));
    let mut end = 0;
    let mut out = Vec::new();
    for (from, to) in covered {
        if from > end {
            out.push((end, from - end));
        }
        end = to;
    }
    out
}

/// Either direction, over blocked images.
pub(super) struct DirectApply<'a> {
    pub(super) plan: &'a Direct,
    pub(super) n: usize,
    pub(super) pass: Pass<'a>,
    pub(super) packed: *const f32,
    pub(super) finish: Finish,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for DirectApply<'_> {
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
        let (copy, together) = (plan.copy_len(), plan.together(n));
        let (ib, ob) = (blocks(plan.c_in), blocks(plan.c_out));
        at_least(scratch, together * copy);
        let base = scratch.as_mut_ptr();
        // Safety: stated above.
        unsafe {
            for first in (0..n).step_by(together) {
                let images = together.min(n - first);
                for i in 0..images {
                    plan.fill::<V>(
                        &pass,
                        (first + i) * ib * plan.input * LANES,
                        base.add(i * copy),
                    );
                }
                for job in &plan.jobs {
                    for panel in (0..ob).step_by(V::TILE[1]) {
                        for i in 0..images {
                            for line in 0..job.lines {
                                let start = ((first + i) * ob + panel) * plan.output * LANES
                                    + job.start
                                    + line * job.out_line;
                                let product = Product::<LANES, 1> {
                                    a: base.add(i * copy + line * job.line).cast_const(),
                                    rows: job.cells,
                                    b: packed.add(job.weight + panel * job.panel),
                                    panel: job.panel,
                                    panels: V::TILE[1].min(ob - panel),
                                    segments: &job.segments,
                                    finish: finish.from(
                                        start,
                                        panel,
                                        job.out_step,
                                        plan.output * LANES,
                                    ),
                                };
                                product.run::<V>();
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Gradient to the weight: `dw[o, i, kh, kw]` is added to. `plan` is the forward direction.
pub(super) struct DirectGradWeight<'a> {
    pub(super) plan: &'a Direct,
    pub(super) n: usize,
    pub(super) x: Pass<'a>,
    pub(super) dy: Pass<'a>,
    pub(super) dw: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for DirectGradWeight<'_> {
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
        let segments = &plan.jobs[0].segments;
        let (copy, ib, ob) = (plan.copy_len(), blocks(plan.c_in), blocks(plan.c_out));
        let (gradient, taps) = (ob * plan.output * LANES, segments.len() / ib);
        if n == 0 {
            return;
        }
        // A copy of the image, its output's gradient behind the gate, and the sums
        // `[blocks, taps, 16, c_out]`.
        at_least(scratch, copy + gradient + ib * taps * LANES * ob * LANES);
        let base = scratch.as_mut_ptr();
        // Safety: three parts of the scratch; the rest is stated above.
        unsafe {
            let (g, sums) = (base.add(copy), base.add(copy + gradient));
            for i in 0..n {
                plan.fill::<V>(&x, i * ib * plan.input * LANES, base);
                for cell in 0..ob * plan.output {
                    dy.read::<V>(i * gradient + cell * LANES)
                        .store(g.add(cell * LANES));
                }
                for (s, segment) in segments.iter().enumerate() {
                    let product = Product::<1, LANES> {
                        a: base.add(segment.a).cast_const(),
                        rows: LANES,
                        b: g.cast_const(),
                        panel: plan.output * LANES,
                        panels: ob,
                        segments: &plan.lines,
                        finish: Finish::plain(sums.add(s * LANES * ob * LANES), ob * LANES, LANES)
                            .accumulate(i > 0),
                    };
                    product.run::<V>();
                }
            }
        }
        for (s, segment) in segments.iter().enumerate() {
            let (block, tap) = (s / taps, s % taps);
            for k in 0..segment.len {
                for o in 0..plan.c_out {
                    dw[(o * plan.c_in + block * LANES + k) * taps + tap] +=
                        scratch[copy + gradient + ((s * LANES + k) * ob) * LANES + o];
                }
            }
        }
    }
}
