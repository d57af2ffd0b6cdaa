//! Convolution with an unrolled copy of the input (im2col), for outputs of so few cells that
//! several images have to share a register.

use crate::matmul::{Dots, dot_products, pack, product};
use crate::real::{Real, reset, round_up};
use crate::shape::Conv2d;
use crate::sliding::{Forward, GradInput, GradWeight};
use pulp::{Simd, WithSimd};

/// Columns of a product, roughly: enough for its tiles, few enough for the cache.
pub(crate) const COLUMNS: usize = 192;

/// Whether unrolling pays. Decided by the shape of one image, so that a batch of any size, on any
/// processor, is computed alike.
pub(crate) fn pays(s: &Conv2d) -> bool {
    let [oh, ow] = s.out_size();
    let co = s.per_group()[1];
    let wide = ow + (s.kernel[1] - 1) * s.dilation[1] / s.stride[1];
    let sliding = round_up((oh - 1) * wide + ow, 16);
    // Copying a number costs about as much as 32 of its products.
    sliding > (oh * ow + oh * ow / 2) * (co + 32) / co
}

/// Consecutive output cells of one row that read real input cells through one tap.
struct Stretch {
    /// Row of the unrolled matrix, a channel and a tap.
    row: usize,
    /// First output cell.
    cell: usize,
    count: usize,
    /// First input cell within the channels of the group; the next ones are a stride apart.
    x: usize,
}

/// How the images of a batch are unrolled: `cols[row * ld + image * cells + cell]`.
struct Plan {
    runs: Vec<Stretch>,
    offsets: Vec<usize>,
    cells: usize,
    together: usize,
    ld: usize,
}

impl Plan {
    fn new(s: &Conv2d, lanes: usize) -> Self {
        let [oh, ow] = s.out_size();
        let [kh, kw] = s.kernel;
        let rows = s.per_group()[0] * s.taps();
        let cells = oh * ow;
        let together = (COLUMNS / cells).clamp(1, s.n.max(1));
        let ld = round_up(together * cells, lanes);
        let mut runs = Vec::new();
        for row in 0..rows {
            let (c, i, j) = (row / (kh * kw), row / kw % kh, row % kw);
            let (up, left) = (i * s.dilation[0], j * s.dilation[1]);
            let from = s.pad[1].saturating_sub(left).div_ceil(s.stride[1]);
            let to = (s.w + s.pad[1]).saturating_sub(left);
            let to = to.div_ceil(s.stride[1]).min(ow);
            for p in 0..oh {
                let at = p * s.stride[0] + up;
                if from < to && at >= s.pad[0] && at - s.pad[0] < s.h {
                    let line = (c * s.h + at - s.pad[0]) * s.w;
                    runs.push(Stretch {
                        row,
                        cell: p * ow + from,
                        count: to - from,
                        x: line + from * s.stride[1] + left - s.pad[1],
                    });
                }
            }
        }
        Self {
            runs,
            offsets: (0..rows).map(|r| r * ld).collect(),
            cells,
            together,
            ld,
        }
    }

    /// Unrolls one image's channels of a group. Cells in the padding are zero already.
    fn unroll<T: Real>(&self, stride: usize, x: &[T], image: usize, cols: &mut [T]) {
        for run in &self.runs {
            let at = run.row * self.ld + image * self.cells + run.cell;
            let from = x[run.x..].iter().step_by(stride);
            for (to, &from) in cols[at..at + run.count].iter_mut().zip(from) {
                *to = from;
            }
        }
    }

    /// Adds one image's unrolled numbers to the input cells they came from.
    fn roll<T: Real>(&self, stride: usize, cols: &[T], image: usize, dx: &mut [T]) {
        for run in &self.runs {
            let at = run.row * self.ld + image * self.cells + run.cell;
            let to = dx[run.x..].iter_mut().step_by(stride);
            for (to, &from) in to.zip(&cols[at..at + run.count]) {
                *to += from;
            }
        }
    }

    /// Copies one image's output channels of a group into the columns they are computed in.
    fn gather<T: Real>(&self, dy: &[T], image: usize, to: &mut [T]) {
        for (dy, to) in dy
            .chunks_exact(self.cells)
            .zip(to.chunks_exact_mut(self.ld))
        {
            to[image * self.cells..(image + 1) * self.cells].copy_from_slice(dy);
        }
    }
}

/// A pass over an unrolled copy instead of a sliding window.
pub(crate) struct Unrolled<P>(pub(crate) P);

impl<T: Real> WithSimd for Unrolled<Forward<'_, T>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward {
            s,
            x,
            w,
            y,
            scratch,
        } = self.0;
        let plan = Plan::new(s, T::lanes::<S>());
        let [ci, co] = s.per_group();
        let (k, cells, ld) = (plan.offsets.len(), plan.cells, plan.ld);
        let (x_image, y_image) = (s.c_in * s.h * s.w, s.c_out * cells);
        let (x_group, y_group) = (ci * s.h * s.w, co * cells);
        scratch.weight.clear();
        for w in w.chunks_exact(co * k) {
            pack::<T, S>(&mut scratch.weight, co, k, |r, c| w[r * k + c]);
        }
        reset(&mut scratch.input, k * ld);
        reset(&mut scratch.output, co * ld);
        let batches = x.chunks(plan.together * x_image);
        for (x, y) in batches.zip(y.chunks_mut(plan.together * y_image)) {
            let columns = x.len() / x_image * cells;
            for (g, a) in scratch.weight.chunks_exact(co * k).enumerate() {
                for (p, x) in x.chunks_exact(x_image).enumerate() {
                    plan.unroll(
                        s.stride[1],
                        &x[g * x_group..][..x_group],
                        p,
                        &mut scratch.input,
                    );
                }
                let (b, out) = (&scratch.input, &mut scratch.output);
                product(simd, [co, columns], a, b, &plan.offsets, out, ld);
                for (p, y) in y.chunks_exact_mut(y_image).enumerate() {
                    let planes = y[g * y_group..][..y_group].chunks_exact_mut(cells);
                    for (y, out) in planes.zip(scratch.output.chunks_exact(ld)) {
                        y.copy_from_slice(&out[p * cells..(p + 1) * cells]);
                    }
                }
            }
        }
    }
}

impl<T: Real> WithSimd for Unrolled<GradInput<'_, T>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let GradInput {
            s,
            dy,
            w,
            dx,
            scratch,
        } = self.0;
        let plan = Plan::new(s, T::lanes::<S>());
        let [ci, co] = s.per_group();
        let (k, cells, ld) = (plan.offsets.len(), plan.cells, plan.ld);
        let (x_image, y_image) = (s.c_in * s.h * s.w, s.c_out * cells);
        let (x_group, y_group) = (ci * s.h * s.w, co * cells);
        let offsets: Vec<usize> = (0..co).map(|o| o * ld).collect();
        scratch.weight.clear();
        for w in w.chunks_exact(co * k) {
            pack::<T, S>(&mut scratch.weight, k, co, |r, c| w[c * k + r]);
        }
        reset(&mut scratch.input, co * ld);
        reset(&mut scratch.output, k * ld);
        dx.fill(T::zero());
        let batches = dy.chunks(plan.together * y_image);
        for (dy, dx) in batches.zip(dx.chunks_mut(plan.together * x_image)) {
            let columns = dy.len() / y_image * cells;
            for (g, a) in scratch.weight.chunks_exact(co * k).enumerate() {
                for (p, dy) in dy.chunks_exact(y_image).enumerate() {
                    plan.gather(&dy[g * y_group..][..y_group], p, &mut scratch.input);
                }
                let (b, out) = (&scratch.input, &mut scratch.output);
                product(simd, [k, columns], a, b, &offsets, out, ld);
                for (p, dx) in dx.chunks_exact_mut(x_image).enumerate() {
                    let dx = &mut dx[g * x_group..][..x_group];
                    plan.roll(s.stride[1], &scratch.output, p, dx);
                }
            }
        }
    }
}

impl<T: Real> WithSimd for Unrolled<GradWeight<'_, T>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let GradWeight {
            s,
            x,
            dy,
            dw,
            scratch,
        } = self.0;
        let plan = Plan::new(s, T::lanes::<S>());
        let [ci, co] = s.per_group();
        let (k, cells, ld) = (plan.offsets.len(), plan.cells, plan.ld);
        let (x_image, y_image) = (s.c_in * s.h * s.w, s.c_out * cells);
        let (x_group, y_group) = (ci * s.h * s.w, co * cells);
        let batches = x.chunks(plan.together * x_image);
        for (x, dy) in batches.zip(dy.chunks(plan.together * y_image)) {
            // The last images may be fewer: no column of earlier ones may remain.
            reset(&mut scratch.input, k * ld);
            reset(&mut scratch.output, co * ld);
            for (g, dw) in dw.chunks_exact_mut(co * k).enumerate() {
                let images = x.chunks_exact(x_image).zip(dy.chunks_exact(y_image));
                for (p, (x, dy)) in images.enumerate() {
                    plan.unroll(
                        s.stride[1],
                        &x[g * x_group..][..x_group],
                        p,
                        &mut scratch.input,
                    );
                    plan.gather(&dy[g * y_group..][..y_group], p, &mut scratch.output);
                }
                let dots = Dots {
                    images: 1,
                    length: ld,
                    rows: &scratch.output,
                    rows_image: 0,
                    lines: &scratch.input,
                    lines_image: 0,
                };
                dot_products(simd, &dots, &plan.offsets, dw);
            }
        }
    }
}
