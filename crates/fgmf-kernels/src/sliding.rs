//! Convolution over a [`Grid`]: the kernel's taps slide over the padded image, nothing is unrolled.

use crate::grid::{Grid, GridAxis};
use crate::matmul::{Dots, dot_products, pack, product};
use crate::real::{Real, Scratch, reset, round_up};
use crate::shape::Conv2d;
use pulp::{Simd, WithSimd};

/// Grid of the input, and where each kernel tap starts in it.
pub(crate) struct Input {
    pub(crate) grid: Grid,
    /// `[c_in / groups, kh, kw]`
    pub(crate) offsets: Vec<usize>,
    /// Columns of the product: output cells, counting the stored cells between the output's rows.
    columns: usize,
}

impl Input {
    pub(crate) fn new(s: &Conv2d) -> Self {
        let out = s.out_size();
        let [(rows, row_taps), (cols, col_taps)] = [0, 1].map(|i| {
            let (stride, dilation) = (s.stride[i], s.dilation[i]);
            // Phases of taps come back in the order in which they came first.
            let mut phases: Vec<usize> = Vec::new();
            let mut period = usize::MAX;
            let taps: Vec<(usize, usize)> = (0..s.kernel[i])
                .map(|tap| {
                    let (shift, phase) = (tap * dilation / stride, tap * dilation % stride);
                    if tap > 0 && phase == 0 {
                        period = period.min(tap);
                    }
                    if tap < period {
                        phases.push(phase);
                    }
                    (tap % period, shift)
                })
                .collect();
            let axis = GridAxis {
                len: [s.h, s.w][i],
                before: s.pad[i] as isize,
                stride,
                extent: out[i] + (s.kernel[i] - 1) * dilation / stride,
                phases,
            };
            (axis, taps)
        });
        let columns = (out[0] - 1) * cols.extent + out[1];
        let grid = Grid { rows, cols };
        let mut offsets = Vec::with_capacity(s.per_group()[0] * s.taps());
        for c in 0..s.per_group()[0] {
            for &(p, row) in &row_taps {
                for &(q, col) in &col_taps {
                    offsets.push(c * grid.plane() + grid.at([p, q], row, col));
                }
            }
        }
        Self {
            grid,
            offsets,
            columns,
        }
    }
}

pub(crate) struct Forward<'a, T> {
    pub(crate) s: &'a Conv2d,
    pub(crate) x: &'a [T],
    pub(crate) w: &'a [T],
    pub(crate) y: &'a mut [T],
    pub(crate) scratch: &'a mut Scratch<T>,
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            s,
            x,
            w,
            y,
            scratch,
        } = self;
        let lanes = T::lanes::<S>();
        let [ci, co] = s.per_group();
        let [oh, ow] = s.out_size();
        let Input {
            grid,
            offsets,
            columns,
        } = Input::new(s);
        let k = offsets.len();
        let wide = grid.cols.extent;
        let ldo = round_up(columns, lanes);
        scratch.weight.clear();
        for w in w.chunks_exact(co * k) {
            pack::<T, S>(&mut scratch.weight, co, k, |r, c| w[r * k + c]);
        }
        reset(&mut scratch.input, s.c_in * grid.plane() + lanes);
        reset(&mut scratch.output, co * ldo);
        let images = x.chunks_exact(s.c_in * s.h * s.w);
        for (x, y) in images.zip(y.chunks_exact_mut(s.c_out * oh * ow)) {
            grid.fill(x, &mut scratch.input);
            for (g, y) in y.chunks_exact_mut(co * oh * ow).enumerate() {
                let a = &scratch.weight[g * co * k..(g + 1) * co * k];
                let b = &scratch.input[g * ci * grid.plane()..];
                if wide == ow && ldo == columns {
                    product(simd, [co, columns], a, b, &offsets, y, ldo);
                    continue;
                }
                product(
                    simd,
                    [co, columns],
                    a,
                    b,
                    &offsets,
                    &mut scratch.output,
                    ldo,
                );
                let planes = y.chunks_exact_mut(oh * ow);
                for (y, out) in planes.zip(scratch.output.chunks_exact(ldo)) {
                    for (y, out) in y.chunks_exact_mut(ow).zip(out.chunks(wide)) {
                        y.copy_from_slice(&out[..ow]);
                    }
                }
            }
        }
    }
}

/// Input cells `from, from + stride, ...` of one axis that share the kernel taps which reach them.
struct Phase {
    /// First and one-past-last cell, counted in strides in the padded input.
    from: usize,
    to: usize,
    /// Input cell of `from`.
    cell: usize,
    /// Kernel taps and how many strides back their output cell lies.
    taps: Vec<(usize, usize)>,
}

fn phases(s: &Conv2d, i: usize) -> Vec<Phase> {
    let (stride, before, len) = (s.stride[i], s.pad[i], [s.h, s.w][i]);
    (0..stride.min(before + len))
        .filter_map(|phase| {
            let from = before.saturating_sub(phase).div_ceil(stride);
            let to = (before + len).saturating_sub(phase).div_ceil(stride);
            (from < to).then(|| Phase {
                from,
                to,
                cell: from * stride + phase - before,
                taps: (0..s.kernel[i])
                    .filter(|tap| tap * s.dilation[i] % stride == phase)
                    .map(|tap| (tap, tap * s.dilation[i] / stride))
                    .collect(),
            })
        })
        .collect()
}

pub(crate) struct GradInput<'a, T> {
    pub(crate) s: &'a Conv2d,
    pub(crate) dy: &'a [T],
    pub(crate) w: &'a [T],
    pub(crate) dx: &'a mut [T],
    pub(crate) scratch: &'a mut Scratch<T>,
}

/// One pair of phases of the input: a stride-1 convolution of `dy` with the taps that reach its
/// cells.
pub(crate) struct Part {
    /// Cells of the part.
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Where in the input its first cell is.
    pub(crate) cell: [usize; 2],
    /// Taps, and where in a channel of the grid the first cell meets them.
    pub(crate) taps: Vec<(usize, usize)>,
}

/// Grid of the output's gradient, and the parts of the input.
pub(crate) fn parts(s: &Conv2d) -> (Grid, Vec<Part>) {
    let out = s.out_size();
    let per_axis = [phases(s, 0), phases(s, 1)];
    let [rows, cols] = [0, 1].map(|i| {
        let back = (s.kernel[i] - 1) * s.dilation[i] / s.stride[i];
        let from = per_axis[i].iter().map(|p| p.from).min().unwrap_or(0);
        let to = per_axis[i].iter().map(|p| p.to).max().unwrap_or(0);
        GridAxis {
            len: out[i],
            before: back as isize - from as isize,
            stride: 1,
            extent: to - from + back,
            phases: vec![0],
        }
    });
    let grid = Grid { rows, cols };
    // Never negative: `before` makes room for the farthest tap.
    let at = |axis: &GridAxis, phase: &Phase, back: usize| {
        (phase.from as isize + axis.before) as usize - back
    };
    let mut parts = Vec::new();
    for row in &per_axis[0] {
        for col in &per_axis[1] {
            let pairs = row
                .taps
                .iter()
                .flat_map(|&i| col.taps.iter().map(move |&j| (i, j)));
            let taps = pairs.map(|((i, up), (j, left))| {
                (
                    i * s.kernel[1] + j,
                    at(&grid.rows, row, up) * grid.cols.extent + at(&grid.cols, col, left),
                )
            });
            parts.push(Part {
                rows: row.to - row.from,
                cols: col.to - col.from,
                cell: [row.cell, col.cell],
                taps: taps.collect(),
            });
        }
    }
    (grid, parts)
}

/// A part and its packed product.
struct Packed {
    part: Part,
    offsets: Vec<usize>,
    columns: usize,
    /// Start of its packed weights, all groups.
    weight: usize,
}

impl<T: Real> WithSimd for GradInput<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            s,
            dy,
            w,
            dx,
            scratch,
        } = self;
        let lanes = T::lanes::<S>();
        let [ci, co] = s.per_group();
        let out = s.out_size();
        let (grid, parts) = parts(s);
        let (plane, wide) = (grid.plane(), grid.cols.extent);
        scratch.weight.clear();
        let pack_part = |part: Part, weights: &mut Vec<T>| {
            let taps = &part.taps;
            let offsets: Vec<usize> = (0..co)
                .flat_map(|o| taps.iter().map(move |&(_, at)| o * plane + at))
                .collect();
            let weight = weights.len();
            for w in w.chunks_exact(co * ci * s.taps()) {
                pack::<T, S>(weights, ci, offsets.len(), |r, c| {
                    let (o, tap) = (c / taps.len(), taps[c % taps.len()].0);
                    w[(o * ci + r) * s.taps() + tap]
                });
            }
            let columns = (part.rows - 1) * wide + part.cols;
            Packed {
                part,
                offsets,
                columns,
                weight,
            }
        };
        let parts: Vec<Packed> = parts
            .into_iter()
            .map(|p| pack_part(p, &mut scratch.weight))
            .collect();
        let most = parts.iter().map(|p| p.columns).max().unwrap_or(0);
        reset(&mut scratch.input, s.c_out * plane + lanes);
        reset(&mut scratch.output, ci * round_up(most, lanes));
        let images = dy.chunks_exact(s.c_out * out[0] * out[1]);
        for (dy, dx) in images.zip(dx.chunks_exact_mut(s.c_in * s.h * s.w)) {
            grid.fill(dy, &mut scratch.input);
            for (g, dx) in dx.chunks_exact_mut(ci * s.h * s.w).enumerate() {
                let b = &scratch.input[g * co * plane..];
                for part in &parts {
                    let k = part.offsets.len();
                    let a = &scratch.weight[part.weight + g * ci * k..][..ci * k];
                    let ldo = round_up(part.columns, lanes);
                    let direct = s.stride == [1, 1] && wide == s.w && ldo == part.columns;
                    if direct {
                        product(simd, [ci, part.columns], a, b, &part.offsets, dx, ldo);
                        continue;
                    }
                    let out = &mut scratch.output;
                    product(simd, [ci, part.columns], a, b, &part.offsets, out, ldo);
                    spread(s, &part.part, wide, out, ldo, dx);
                }
            }
        }
    }
}

/// Writes a part's numbers to the cells of `dx` they belong to.
#[inline(always)]
fn spread<T: Real>(s: &Conv2d, part: &Part, wide: usize, out: &[T], ldo: usize, dx: &mut [T]) {
    let length = part.cols;
    for (dx, out) in dx.chunks_exact_mut(s.h * s.w).zip(out.chunks_exact(ldo)) {
        let lines = dx[part.cell[0] * s.w..]
            .chunks_mut(s.w)
            .step_by(s.stride[0]);
        for (dx, out) in lines.zip(out.chunks(wide)).take(part.rows) {
            let (dx, out) = (&mut dx[part.cell[1]..], &out[..length]);
            match s.stride[1] {
                1 => dx[..length].copy_from_slice(out),
                2 => {
                    for (dx, &out) in dx.chunks_mut(2).zip(out) {
                        dx[0] = out;
                    }
                }
                stride => {
                    for (dx, &out) in dx.iter_mut().step_by(stride).zip(out) {
                        *dx = out;
                    }
                }
            }
        }
    }
}

pub(crate) struct GradWeight<'a, T> {
    pub(crate) s: &'a Conv2d,
    pub(crate) x: &'a [T],
    pub(crate) dy: &'a [T],
    pub(crate) dw: &'a mut [T],
    pub(crate) scratch: &'a mut Scratch<T>,
}

/// Numbers of padded input and gradient held at once; images are taken together up to this.
const GRAD_WEIGHT_WINDOW: usize = 1 << 17;

impl<T: Real> WithSimd for GradWeight<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            s,
            x,
            dy,
            dw,
            scratch,
        } = self;
        let lanes = T::lanes::<S>();
        let [ci, co] = s.per_group();
        let [oh, ow] = s.out_size();
        let Input {
            grid,
            offsets,
            columns,
        } = Input::new(s);
        let k = offsets.len();
        let wide = grid.cols.extent;
        let length = round_up(columns, lanes);
        let (x_image, dy_image) = (s.c_in * grid.plane(), s.c_out * length);
        let together = (GRAD_WEIGHT_WINDOW / (x_image + dy_image)).clamp(1, s.n.max(1));
        reset(&mut scratch.input, together * x_image + lanes);
        reset(&mut scratch.output, together * dy_image);
        let batches = x.chunks(together * s.c_in * s.h * s.w);
        for (x, dy) in batches.zip(dy.chunks(together * s.c_out * oh * ow)) {
            let images = x.len() / (s.c_in * s.h * s.w);
            grid.fill(x, &mut scratch.input);
            // The cells between the rows stay zero.
            let planes = scratch.output.chunks_exact_mut(length);
            for (dy, to) in dy.chunks_exact(oh * ow).zip(planes) {
                for (dy, to) in dy.chunks_exact(ow).zip(to.chunks_mut(wide)) {
                    to[..ow].copy_from_slice(dy);
                }
            }
            for (g, dw) in dw.chunks_exact_mut(co * k).enumerate() {
                let dots = Dots {
                    images,
                    length,
                    rows: &scratch.output[g * co * length..],
                    rows_image: dy_image,
                    lines: &scratch.input[g * ci * grid.plane()..],
                    lines_image: x_image,
                };
                dot_products(simd, &dots, &offsets, dw);
            }
        }
    }
}
