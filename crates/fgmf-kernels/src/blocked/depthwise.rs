//! Depthwise convolution of blocked images: one window a channel, sixteen channels a vector.
//!
//! The cells of a block are read from a padded copy, as in [`super::direct`], whose plan for one
//! channel says where each tap lies. So no output meets a border, and several outputs of a line are
//! summed in registers side by side. Each sum runs over the taps in the order of that plan,
//! whatever the number of outputs beside it.
#![allow(unsafe_code, reason = "see `simd`")]

use super::direct::{Direct, Job};
use super::layout::blocks;
use super::pass::Pass;
use crate::real::{at_least, zeros};
use crate::shape::Conv2d;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::{Finish, Segment};

#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    shape: Conv2d,
    /// Plans of one channel.
    forward: Direct,
    backward: Direct,
}

impl Depthwise {
    pub(super) fn new(s: &Conv2d) -> Self {
        let one = Conv2d {
            n: 1,
            c_in: 1,
            c_out: 1,
            groups: 1,
            ..*s
        };
        Self {
            shape: Conv2d { n: 1, ..*s },
            forward: Direct::forward(&one),
            backward: Direct::backward(&one),
        }
    }

    pub(super) fn weight_len(&self) -> usize {
        blocks(self.shape.c_in) * self.shape.taps() * LANES
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

    fn plan(&self, direction: Direction) -> &Direct {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Backward => &self.backward,
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
        let (n_blocks, all_taps) = (blocks(plan.shape.c_in), plan.shape.taps());
        let plan = plan.plan(direction);
        at_least(scratch, plan.copy_len());
        let copy = scratch.as_mut_ptr();
        for image in 0..n {
            for b in 0..n_blocks {
                let at = image * n_blocks + b;
                // Safety: the plan names cells of the copy and of a plane only; the rest is stated
                // above.
                unsafe {
                    plan.fill::<V>(&pass, at * plan.input * LANES, copy);
                    for (job, taps) in plan.jobs.iter().zip(&plan.taps) {
                        let line = Line {
                            copy: copy.cast_const(),
                            packed: packed.add(b * all_taps * LANES),
                            segments: &job.segments,
                            taps,
                            finish: finish.from(at * plan.output * LANES, b, job.out_step, 0),
                        };
                        line.lines::<V>(job);
                    }
                }
            }
        }
    }
}

/// Outputs of a line, from the same taps.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// The first output's window.
    copy: *const f32,
    /// The weights of the block, `[taps, 16]`.
    packed: *const f32,
    segments: &'a [Segment],
    /// Which weight each stretch takes.
    taps: &'a [usize],
    /// From a plane's first number on.
    finish: Finish,
}

impl Line<'_> {
    /// Every line of a job, in tiles of nearly equal length.
    ///
    /// # Safety
    ///
    /// The job is one of the plan that filled the copy.
    #[inline(always)]
    unsafe fn lines<V: Vector>(self, job: &Job) {
        let tiles = job.cells.div_ceil(V::TILE[0]);
        for line in 0..job.lines {
            let mut cell = 0;
            for t in 0..tiles {
                let width = (job.cells - cell).div_ceil(tiles - t);
                let start = job.start + line * job.out_line + cell * job.out_step;
                // Safety: cells of a line of the job.
                unsafe {
                    let part = Line {
                        copy: self.copy.add(line * job.line + cell * LANES),
                        ..self
                    };
                    part.tile::<V>(width, start);
                }
                cell += width;
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Vector>(self, width: usize, start: usize) {
        macro_rules! widths {
            ($($t:literal)*) => {
                match width {
                    $($t if $t <= V::TILE[0] => unsafe {
                        V::isolated(LineTile::<$t> { line: self, start })
                    },)*
                    _ => unreachable!("no tile of {width} cells"),
                }
            };
        }
        widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

struct LineTile<'a, const T: usize> {
    line: Line<'a>,
    start: usize,
}

impl<const T: usize> Kernel for LineTile<'_, T> {
    type Output = ();

    /// # Safety
    ///
    /// The windows of `T` outputs are in the copy, the outputs in the plane.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Line {
            copy,
            packed,
            segments,
            taps,
            finish,
        } = self.line;
        // Safety: stated above.
        unsafe {
            let mut sums = [V::zero(); T];
            for (segment, &tap) in segments.iter().zip(taps) {
                let w = V::load(packed.add(tap * LANES));
                let from = copy.add(segment.a);
                for (t, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(from.add(t * LANES)).mul_add(w, *sum);
                }
            }
            for (t, &sum) in sums.iter().enumerate() {
                finish.store(sum, self.start + t * finish.step, 0);
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
        let (n_blocks, all_taps) = (blocks(plan.shape.c_in), plan.shape.taps());
        let (len, direct) = (plan.weight_len(), &plan.forward);
        // The sums, and behind them the copy of a block.
        let sums = zeros(scratch, len + direct.copy_len()).as_mut_ptr();
        for at in 0..n * n_blocks {
            // Safety: the plan names cells of the copy and of a plane only.
            unsafe {
                let (copy, b) = (sums.add(len), at % n_blocks);
                direct.fill::<V>(&x, at * direct.input * LANES, copy);
                for (job, taps) in direct.jobs.iter().zip(&direct.taps) {
                    for (segments, taps) in job.segments.chunks(TAPS).zip(taps.chunks(TAPS)) {
                        let sums = sums.add(b * all_taps * LANES);
                        let from = at * direct.output * LANES;
                        taps_tile::<V>(copy, job, segments, taps, &dy, from, sums);
                    }
                }
            }
        }
        for (c, dw) in dw.chunks_exact_mut(all_taps).enumerate() {
            for (t, dw) in dw.iter_mut().enumerate() {
                *dw += scratch[(c / LANES * all_taps + t) * LANES + c % LANES];
            }
        }
    }
}

/// Taps whose sums over a plane are held in registers together.
const TAPS: usize = 5;

/// Adds `Σ x dy` over the cells of a plane to the sums of at most [`TAPS`] taps.
///
/// # Safety
///
/// The copy was filled for the job; `dy` has a plane from `from` on; `sums` holds every tap.
#[inline(always)]
unsafe fn taps_tile<V: Vector>(
    copy: *const f32,
    job: &Job,
    segments: &[Segment],
    taps: &[usize],
    dy: &Pass<'_>,
    from: usize,
    sums: *mut f32,
) {
    // Safety: stated above.
    unsafe {
        let mut held = [V::zero(); TAPS];
        // Fewer taps repeat the first, whose sums nobody reads.
        let mut at = [segments[0].a; TAPS];
        for (i, (segment, &tap)) in segments.iter().zip(taps).enumerate() {
            at[i] = segment.a;
            held[i] = V::load(sums.add(tap * LANES).cast_const());
        }
        for line in 0..job.lines {
            for cell in 0..job.cells {
                let window = copy.add(line * job.line + cell * LANES);
                let at_y = job.start + line * job.out_line + cell * job.out_step;
                let g = dy.read::<V>(from + at_y);
                for (sum, &at) in held.iter_mut().zip(&at) {
                    *sum = V::load(window.add(at)).mul_add(g, *sum);
                }
            }
        }
        for (&sum, &tap) in held.iter().zip(taps) {
            sum.store(sums.add(tap * LANES));
        }
    }
}
