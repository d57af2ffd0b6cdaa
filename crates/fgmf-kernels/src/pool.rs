//! Max and average pooling over planes, and the gather that both passes of max pooling are.

use crate::axis::{AXES, Axis, ShapeError, product, saturating_product};
use crate::real::Real;
use std::ops::Range;

/// Shape of a 2-d pooling over `planes = n * c` independent planes.
///
/// Input `[planes, h, w]`, output `[planes, out_size()[0], out_size()[1]]`. Sizes are in cells and
/// pairs are `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// Batch size times channels.
    pub planes: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Window taps.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub pad: [usize; 4],
    /// Distance between taps of a window.
    pub dilation: [usize; 2],
    /// Round the output size up (ONNX `ceil_mode`), dropping a last window that would start in the
    /// far padding, as PyTorch and ONNX Runtime do.
    pub ceil: bool,
}

impl Pool2d {
    fn axis(&self, i: usize) -> Axis {
        Axis {
            name: AXES[i],
            len: [self.h, self.w][i],
            kernel: self.kernel[i],
            stride: self.stride[i],
            dilation: self.dilation[i],
            before: self.pad[i],
            after: self.pad[i + 2],
        }
    }

    /// Judges the shape.
    ///
    /// # Errors
    ///
    /// A zero size, stride or dilation; a kernel larger than the padded input; a pad not smaller
    /// than the kernel, or a dilated window that sees padding only; more than `u32::MAX` cells in a
    /// plane; sizes whose product does not fit the address space.
    pub fn check(&self) -> Result<(), ShapeError> {
        let mut out = [0; 2];
        for (i, out) in out.iter_mut().enumerate() {
            let a = self.axis(i);
            *out = a.out(self.ceil)?;
            let empty = || ShapeError::EmptyWindow { axis: a.name };
            if a.before >= a.kernel || a.after >= a.kernel {
                return Err(empty());
            }
            // With pads below the kernel only a dilation above the input can skip every cell.
            let blind = |o: usize| {
                let start = o * a.stride;
                start < a.before && {
                    let outside = (a.before - start) % a.dilation;
                    outside != 0 && a.dilation - outside >= a.len
                }
            };
            if a.dilation > a.len && (0..*out).any(blind) {
                return Err(empty());
            }
        }
        product("pooling input", &[self.planes.max(1), self.h, self.w])?;
        product("pooling output", &[self.planes.max(1), out[0], out[1]])?;
        if u32::try_from(self.h * self.w).is_err() {
            return Err(ShapeError::Overflow {
                what: "pooling plane",
            });
        }
        Ok(())
    }

    /// Height and width of the output: `(in + pads - dilation * (kernel - 1) - 1) / stride + 1`,
    /// rounded down, or up with `ceil`. `[0, 0]` for a shape that fails [`Self::check`].
    #[must_use]
    pub fn out_size(&self) -> [usize; 2] {
        match (self.axis(0).out(self.ceil), self.axis(1).out(self.ceil)) {
            (Ok(h), Ok(w)) => [h, w],
            _ => [0, 0],
        }
    }

    /// Numbers in the input, `planes * h * w`.
    #[must_use]
    pub fn x_len(&self) -> usize {
        saturating_product(&[self.planes, self.h, self.w])
    }

    /// Numbers in the output, `planes * oh * ow`.
    #[must_use]
    pub fn y_len(&self) -> usize {
        let [oh, ow] = self.out_size();
        saturating_product(&[self.planes, oh, ow])
    }

    fn windows(&self) -> [Vec<SeenCells>; 2] {
        let out = self.out_size();
        [0, 1].map(|i| {
            let a = self.axis(i);
            (0..out[i]).map(|o| SeenCells::new(&a, o)).collect()
        })
    }

    fn assert_lengths(&self, x: usize, y: usize) {
        assert_eq!(x, self.x_len(), "input length of {self:?}");
        assert_eq!(y, self.y_len(), "output length of {self:?}");
        assert!(x == 0 || y > 0, "the shape did not pass check(): {self:?}");
    }
}

/// The cells one window sees along one axis.
#[derive(Debug, Clone)]
struct SeenCells {
    /// First real cell.
    first: usize,
    /// Number of real cells, `dilation` apart.
    count: usize,
    /// Taps that lie inside the padded input.
    padded: usize,
}

impl SeenCells {
    fn new(a: &Axis, o: usize) -> Self {
        let start = o * a.stride;
        let taps_below = |end: usize| end.saturating_sub(start).div_ceil(a.dilation).min(a.kernel);
        let (skipped, real) = (taps_below(a.before), taps_below(a.before + a.len));
        Self {
            first: start + skipped * a.dilation - a.before.min(start + skipped * a.dilation),
            count: real - skipped,
            padded: taps_below(a.before + a.len + a.after),
        }
    }

    fn cells(&self, dilation: usize) -> std::iter::StepBy<Range<usize>> {
        let end = self.first + (self.count - 1) * dilation + 1;
        (self.first..end).step_by(dilation)
    }
}

/// The outputs of one row that a kernel column meets, and the input column of the first.
struct MetOutputs {
    outputs: Range<usize>,
    first: usize,
}

impl MetOutputs {
    fn all(a: &Axis, out: usize) -> Vec<Self> {
        (0..a.kernel)
            .filter_map(|tap| {
                let at = tap * a.dilation;
                let from = a.before.saturating_sub(at).div_ceil(a.stride);
                let to = (a.before + a.len)
                    .saturating_sub(at)
                    .div_ceil(a.stride)
                    .min(out);
                (from < to).then(|| Self {
                    outputs: from..to,
                    first: from * a.stride + at - a.before,
                })
            })
            .collect()
    }

    /// Calls `f(output, input column)` for every output.
    #[inline(always)]
    fn each(&self, stride: usize, mut f: impl FnMut(usize, usize)) {
        // The common strides as constants, for the compiler.
        match stride {
            1 => (0..self.outputs.len()).for_each(|i| f(self.outputs.start + i, self.first + i)),
            2 => {
                (0..self.outputs.len()).for_each(|i| f(self.outputs.start + i, self.first + 2 * i))
            }
            _ => (0..self.outputs.len())
                .for_each(|i| f(self.outputs.start + i, self.first + stride * i)),
        }
    }
}

/// `y[p, o] = max over window o of x[p]`, with the flat position within the plane of the first
/// maximum in `index[p, o]`. A NaN in the window is the result (the first one).
///
/// `x`: `[planes, h, w]`; `y`, `index`: `[planes, oh, ow]`.
///
/// # Panics
///
/// If a slice length does not match the shape.
pub fn max_pool2d<T: Real>(s: &Pool2d, x: &[T], y: &mut [T], index: &mut [u32]) {
    s.assert_lengths(x.len(), y.len());
    assert_eq!(index.len(), y.len(), "index length of {s:?}");
    let [rows, cols] = s.windows();
    let taps = MetOutputs::all(&s.axis(1), cols.len());
    let outputs = y
        .chunks_exact_mut(cols.len())
        .zip(index.chunks_exact_mut(cols.len()));
    let planes = x
        .chunks_exact(s.h * s.w)
        .flat_map(|plane| rows.iter().map(move |row| (plane, row)));
    for ((plane, row), (y, index)) in planes.zip(outputs) {
        for (col, (y, index)) in cols.iter().zip(y.iter_mut().zip(index.iter_mut())) {
            let at = row.first * s.w + col.first;
            // `check` keeps planes within u32.
            (*y, *index) = (plane[at], at as u32);
        }
        for iy in row.cells(s.dilation[0]) {
            let line = &plane[iy * s.w..(iy + 1) * s.w];
            for tap in &taps {
                tap.each(s.stride[1], |o, ix| {
                    let (v, best) = (line[ix], y[o]);
                    if v > best || (is_nan(v) && !is_nan(best)) {
                        (y[o], index[o]) = (v, (iy * s.w + ix) as u32);
                    }
                });
            }
        }
    }
}

#[inline]
fn is_nan<T: Real>(v: T) -> bool {
    v.partial_cmp(&v).is_none()
}

/// Output length per plane, after checking the slices against each other.
fn plane_lengths(planes: usize, in_len: usize, input: usize, index: usize, output: usize) -> usize {
    assert_eq!(input, planes * in_len, "input length of {planes} planes");
    assert_eq!(index, output, "index and output lengths");
    let out_len = index.checked_div(planes).unwrap_or(0);
    assert_eq!(index, planes * out_len, "index length of {planes} planes");
    out_len
}

/// `y[p, i] = x[p, index[p, i]]` for `planes` planes of `in_len` numbers.
///
/// # Panics
///
/// If lengths do not fit, or an index is not below `in_len`.
pub fn gather_planes<T: Real>(planes: usize, in_len: usize, x: &[T], index: &[u32], y: &mut [T]) {
    let out_len = plane_lengths(planes, in_len, x.len(), index.len(), y.len());
    if out_len == 0 {
        return;
    }
    let outputs = index.chunks_exact(out_len).zip(y.chunks_exact_mut(out_len));
    for (p, (index, y)) in outputs.enumerate() {
        let plane = &x[p * in_len..(p + 1) * in_len];
        for (y, &i) in y.iter_mut().zip(index) {
            *y = plane[i as usize];
        }
    }
}

/// Adjoint of [`gather_planes`]: `dx[p, j] = sum of dy[p, i] over the i with index[p, i] = j`, in
/// ascending `i`. Overwrites `dx` (`planes * in_len` numbers).
///
/// # Panics
///
/// If lengths do not fit, or an index is not below `in_len`.
pub fn scatter_planes<T: Real>(
    planes: usize,
    in_len: usize,
    dy: &[T],
    index: &[u32],
    dx: &mut [T],
) {
    let out_len = plane_lengths(planes, in_len, dx.len(), index.len(), dy.len());
    dx.fill(T::zero());
    if out_len == 0 {
        return;
    }
    let inputs = index.chunks_exact(out_len).zip(dy.chunks_exact(out_len));
    for (p, (index, dy)) in inputs.enumerate() {
        let plane = &mut dx[p * in_len..(p + 1) * in_len];
        for (&v, &i) in dy.iter().zip(index) {
            plane[i as usize] += v;
        }
    }
}

/// Reciprocal of what a window's sum is divided by.
fn weight<T: Real>(count_include_pad: bool, row: &SeenCells, col: &SeenCells) -> T {
    let cells = if count_include_pad {
        row.padded * col.padded
    } else {
        row.count * col.count
    };
    T::one() / T::from_f64(cells as f64)
}

/// `y[p, o] = sum of x[p] over window o / divisor`.
///
/// The divisor is the number of real cells in the window, or with `count_include_pad` of its taps
/// inside the padded input (so in ceil mode an overhanging window counts fewer, as in PyTorch and
/// ONNX Runtime). `x`: `[planes, h, w]`; `y`: `[planes, oh, ow]`.
///
/// # Panics
///
/// If a slice length does not match the shape.
pub fn avg_pool2d<T: Real>(s: &Pool2d, count_include_pad: bool, x: &[T], y: &mut [T]) {
    s.assert_lengths(x.len(), y.len());
    let [rows, cols] = s.windows();
    let taps = MetOutputs::all(&s.axis(1), cols.len());
    let planes = x
        .chunks_exact(s.h * s.w)
        .flat_map(|plane| rows.iter().map(move |row| (plane, row)));
    for ((plane, row), y) in planes.zip(y.chunks_exact_mut(cols.len())) {
        y.fill(T::zero());
        for iy in row.cells(s.dilation[0]) {
            let line = &plane[iy * s.w..(iy + 1) * s.w];
            for tap in &taps {
                tap.each(s.stride[1], |o, ix| y[o] += line[ix]);
            }
        }
        for (y, col) in y.iter_mut().zip(&cols) {
            *y = *y * weight(count_include_pad, row, col);
        }
    }
}

/// Adjoint of [`avg_pool2d`]: spreads every `dy[p, o] / divisor` over its window. Overwrites `dx`.
///
/// `dy`: `[planes, oh, ow]`; `dx`: `[planes, h, w]`.
///
/// # Panics
///
/// If a slice length does not match the shape.
pub fn avg_pool2d_adjoint<T: Real>(s: &Pool2d, count_include_pad: bool, dy: &[T], dx: &mut [T]) {
    s.assert_lengths(dx.len(), dy.len());
    let [rows, cols] = s.windows();
    let taps = MetOutputs::all(&s.axis(1), cols.len());
    dx.fill(T::zero());
    let mut shares = vec![T::zero(); cols.len()];
    let mut dy = dy.chunks_exact(cols.len());
    for plane in dx.chunks_exact_mut(s.h * s.w) {
        for (row, dy) in rows.iter().zip(&mut dy) {
            for (share, (&dy, col)) in shares.iter_mut().zip(dy.iter().zip(&cols)) {
                *share = dy * weight(count_include_pad, row, col);
            }
            for iy in row.cells(s.dilation[0]) {
                let line = &mut plane[iy * s.w..(iy + 1) * s.w];
                for tap in &taps {
                    tap.each(s.stride[1], |o, ix| line[ix] += shares[o]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(size: [usize; 2], kernel: usize, stride: usize, pad: usize, ceil: bool) -> Pool2d {
        Pool2d {
            planes: 1,
            h: size[0],
            w: size[1],
            kernel: [kernel; 2],
            stride: [stride; 2],
            pad: [pad; 4],
            dilation: [1; 2],
            ceil,
        }
    }

    fn numbers(len: usize) -> Vec<f64> {
        (0..len)
            .map(|i| ((i * 37 + 11) % 23) as f64 - 9.0)
            .collect()
    }

    /// Every real cell of every window: `f(output, cell, taps inside the padded input)`.
    fn each(s: &Pool2d, mut f: impl FnMut(usize, usize, usize)) {
        let [oh, ow] = s.out_size();
        let position = |o: usize, tap: usize, i: usize| o * s.stride[i] + tap * s.dilation[i];
        let inside = |at: usize, i: usize| at < [s.h, s.w][i] + s.pad[i] + s.pad[i + 2];
        for o in 0..s.planes * oh * ow {
            let (plane, at) = (o / (oh * ow), [o / ow % oh, o % ow]);
            let taps = || (0..s.kernel[0]).flat_map(|i| (0..s.kernel[1]).map(move |j| [i, j]));
            let spots: Vec<[usize; 2]> = taps()
                .map(|t| [0, 1].map(|i| position(at[i], t[i], i)))
                .filter(|p| inside(p[0], 0) && inside(p[1], 1))
                .collect();
            for p in &spots {
                let cell = [0, 1].map(|i| p[i].checked_sub(s.pad[i]));
                if let [Some(r), Some(c)] = cell
                    && r < s.h
                    && c < s.w
                {
                    f(o, (plane * s.h + r) * s.w + c, spots.len());
                }
            }
        }
    }

    #[test]
    fn max_takes_the_first_of_equals_and_keeps_nan() {
        let s = pool([2, 4], 2, 2, 0, false);
        let x = [1.0f32, 5.0, f32::NAN, 9.0, 5.0, 2.0, 3.0, f32::NAN];
        let (mut y, mut index) = ([0.0; 2], [9; 2]);
        max_pool2d(&s, &x, &mut y, &mut index);
        assert_eq!(index, [1, 2]);
        assert!(y[0] == 5.0 && y[1].is_nan());
        let low = [f32::NEG_INFINITY; 8];
        max_pool2d(&s, &low, &mut y, &mut index);
        assert_eq!((y, index), ([f32::NEG_INFINITY; 2], [0, 2]));
        let late = [0.0, 1.0, 9.0, 2.0, 3.0, f32::NAN, 4.0, 3.0];
        max_pool2d(&s, &late, &mut y, &mut index);
        assert!(y[0].is_nan() && y[1] == 9.0);
        assert_eq!(index, [5, 2]);
    }

    #[test]
    fn average_divisors() {
        // 2 by 2 of ones, kernel 3, pad 1: four real cells in every window of nine.
        let s = pool([2, 2], 3, 1, 1, false);
        let mut y = [0.0f64; 4];
        avg_pool2d(&s, false, &[1.0; 4], &mut y);
        assert_eq!(y, [1.0; 4]);
        avg_pool2d(&s, true, &[1.0; 4], &mut y);
        assert!(y.iter().all(|v| (v - 4.0 / 9.0).abs() < 1e-15));
        // Ceil mode: the last window overhangs the input by one row and column, which do not count.
        let s = pool([3, 3], 2, 2, 0, true);
        avg_pool2d(&s, true, &[1.0; 9], &mut y);
        assert_eq!(y, [1.0; 4]);
    }

    #[test]
    fn malformed_shapes_are_errors() {
        let good = pool([5, 5], 3, 2, 1, true);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(Pool2d { planes: 0, ..good }.check(), Ok(()));
        let m = usize::MAX;
        let bad = [
            Pool2d { h: 0, ..good },
            Pool2d {
                kernel: [3, 0],
                ..good
            },
            Pool2d {
                stride: [0, 1],
                ..good
            },
            Pool2d {
                dilation: [1, 0],
                ..good
            },
            Pool2d {
                pad: [3, 0, 0, 0],
                ..good
            },
            Pool2d {
                pad: [0, 0, 0, 3],
                ..good
            },
            Pool2d {
                kernel: [8, 3],
                ..good
            },
            Pool2d {
                dilation: [4, 1],
                ..good
            },
            Pool2d { planes: m, ..good },
            Pool2d { h: m, w: m, ..good },
            Pool2d {
                h: 1 << 17,
                w: 1 << 17,
                ..good
            },
            Pool2d {
                kernel: [m; 2],
                pad: [m - 1; 4],
                ..good
            },
            Pool2d {
                stride: [m; 2],
                dilation: [m; 2],
                ..good
            },
            // Two taps three apart with one cell of padding on each side straddle the two cells.
            Pool2d {
                h: 2,
                kernel: [2, 1],
                dilation: [3, 1],
                pad: [1, 0, 1, 0],
                ..good
            },
        ];
        for s in bad {
            assert!(s.check().is_err(), "{s:?}");
            let _ = (s.x_len(), s.y_len());
        }
    }

    #[test]
    #[should_panic(expected = "index and output lengths")]
    fn a_short_index_panics() {
        gather_planes(1, 4, &[0.0f32; 4], &[0], &mut [0.0; 2]);
    }

    prop_compose! {
        fn shapes()(
            planes in 0usize..4, size in (1usize..9, 1usize..9), kernel in (1usize..4, 1usize..4),
            stride in (1usize..4, 1usize..4), dilation in (1usize..4, 1usize..4),
            pad in (0usize..3, 0usize..3, 0usize..3, 0usize..3), ceil in any::<bool>(),
        ) -> Pool2d {
            Pool2d {
                planes, h: size.0, w: size.1, kernel: [kernel.0, kernel.1],
                stride: [stride.0, stride.1], pad: [pad.0, pad.1, pad.2, pad.3],
                dilation: [dilation.0, dilation.1], ceil,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::default()
        })]

        #[test]
        fn against_the_definition(s in shapes(), include_pad in any::<bool>()) {
            prop_assume!(s.check().is_ok());
            let x = numbers(s.x_len());
            let plane = s.h * s.w;
            let (mut best, mut at) = (vec![f64::NEG_INFINITY; s.y_len()], vec![0; s.y_len()]);
            let (mut sum, mut count) = (vec![0.0; s.y_len()], vec![0usize; s.y_len()]);
            each(&s, |o, i, padded| {
                if x[i] > best[o] {
                    (best[o], at[o]) = (x[i], (i % plane) as u32);
                }
                sum[o] += x[i];
                count[o] = if include_pad { padded } else { count[o] + 1 };
            });
            let (mut y, mut index) = (vec![0.0; s.y_len()], vec![0; s.y_len()]);
            max_pool2d(&s, &x, &mut y, &mut index);
            prop_assert_eq!(&y, &best);
            prop_assert_eq!(&index, &at);
            let mut gathered = vec![0.0; s.y_len()];
            gather_planes(s.planes, plane, &x, &index, &mut gathered);
            prop_assert_eq!(&gathered, &y);
            avg_pool2d(&s, include_pad, &x, &mut y);
            for (y, (sum, &count)) in y.iter().zip(sum.iter().zip(&count)) {
                prop_assert!((y - sum / count as f64).abs() < 1e-12);
            }
        }

        #[test]
        fn adjoints(s in shapes(), include_pad in any::<bool>()) {
            prop_assume!(s.check().is_ok());
            let (x, dy) = (numbers(s.x_len()), numbers(s.y_len()));
            let (mut y, mut index) = (vec![0.0; s.y_len()], vec![0; s.y_len()]);
            let mut dx = vec![f64::NAN; s.x_len()];
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            max_pool2d(&s, &x, &mut y, &mut index);
            scatter_planes(s.planes, s.h * s.w, &dy, &index, &mut dx);
            prop_assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-9);
            avg_pool2d(&s, include_pad, &x, &mut y);
            avg_pool2d_adjoint(&s, include_pad, &dy, &mut dx);
            prop_assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-9);
        }
    }
}
