//! Pooling of blocked images. A shape's `planes` are here images times blocks of sixteen channels,
//! `n ⌈c / 16⌉`: each plane is `[h, w, 16]`, and the sixteen lanes are pooled side by side.
//! Windows, ties and NaN are as in [`crate::max_pool2d`] and [`crate::avg_pool2d`].
#![allow(unsafe_code, reason = "see `simd`")]

use super::layout::blocks;
use crate::pool::Pool2d;
use crate::simd::{self, Kernel, LANES, Vector};
use std::ops::Range;

/// Whether the taps of a window can be counted in the bytes of [`max_pool_blocked`]: at most 256.
#[must_use]
pub fn max_pool_blocked_fits(s: &Pool2d) -> bool {
    s.kernel[0]
        .checked_mul(s.kernel[1])
        .is_some_and(|taps| taps <= 256)
}

/// `y[p, o, l] = max over window o of x[p, ., l]`, with the tap (`row * kernel width + column`) of
/// the first maximum in `index[p, o, l]`. A NaN in the window is the result (the first one).
///
/// # Panics
///
/// If a slice length does not match the shape, or [`max_pool_blocked_fits`] is false.
pub fn max_pool_blocked(s: &Pool2d, x: &[f32], y: &mut [f32], index: &mut [u8]) {
    check(s, x.len(), y.len());
    assert!(
        max_pool_blocked_fits(s),
        "more taps than a byte counts: {s:?}"
    );
    assert_eq!(index.len(), y.len(), "index length of {s:?}");
    // Safety: lengths have been checked.
    unsafe {
        simd::run(Pooling(
            s,
            MaxPool {
                x: x.as_ptr(),
                y: y.as_mut_ptr(),
                index: index.as_mut_ptr(),
            },
        ))
    }
}

/// Adjoint of [`max_pool_blocked`]: fills `dx` with the sums of `dy` over the windows whose maximum
/// was taken there.
///
/// # Panics
///
/// If a slice length does not match the shape, or [`max_pool_blocked_fits`] is false.
pub fn max_pool_blocked_grad(s: &Pool2d, dy: &[f32], index: &[u8], dx: &mut [f32]) {
    check(s, dx.len(), dy.len());
    assert!(
        max_pool_blocked_fits(s),
        "more taps than a byte counts: {s:?}"
    );
    assert_eq!(index.len(), dy.len(), "index length of {s:?}");
    let accumulate = !is_quartering(s) || s.h % 2 + s.w % 2 > 0;
    if accumulate {
        dx.fill(0.0);
    }
    // Safety: lengths have been checked. What is not filled above is written: quarters cover an
    // even plane.
    unsafe {
        simd::run(Pooling(
            s,
            MaxPoolGrad {
                dy: dy.as_ptr(),
                index: index.as_ptr(),
                dx: dx.as_mut_ptr(),
                accumulate,
            },
        ))
    }
}

/// `y[p, o, l] = sum of x[p, ., l] over window o / divisor`, the divisor as in
/// [`crate::avg_pool2d`].
///
/// # Panics
///
/// If a slice length does not match the shape.
pub fn avg_pool_blocked(s: &Pool2d, count_include_pad: bool, x: &[f32], y: &mut [f32]) {
    check(s, x.len(), y.len());
    // Safety: lengths have been checked.
    unsafe {
        simd::run(Pooling(
            s,
            AvgPool {
                count_include_pad,
                x: x.as_ptr(),
                y: y.as_mut_ptr(),
            },
        ))
    }
}

/// Adjoint of [`avg_pool_blocked`]: fills `dx` with every `dy / divisor` spread over its window.
///
/// # Panics
///
/// If a slice length does not match the shape.
pub fn avg_pool_blocked_adjoint(s: &Pool2d, count_include_pad: bool, dy: &[f32], dx: &mut [f32]) {
    check(s, dx.len(), dy.len());
    dx.fill(0.0);
    // Safety: lengths have been checked.
    unsafe {
        simd::run(Pooling(
            s,
            AvgPoolAdjoint {
                count_include_pad,
                dy: dy.as_ptr(),
                dx: dx.as_mut_ptr(),
            },
        ))
    }
}

/// Mean of every channel: blocked `x` of `c` channels by `plane` cells to rows `y` `[n, c]`.
///
/// # Panics
///
/// If a slice length does not match.
pub fn global_average_blocked(c: usize, plane: usize, x: &[f32], y: &mut [f32]) {
    let n = images(c, plane, x.len(), y.len());
    // Safety: lengths have been checked.
    unsafe {
        simd::run(GlobalAverage {
            n,
            c,
            plane,
            x: x.as_ptr(),
            y: y.as_mut_ptr(),
        })
    }
}

/// Adjoint of [`global_average_blocked`]: every cell of `dx` gets `g / plane`, padding lanes 0; `g`
/// is rows `[n, c]`.
///
/// # Panics
///
/// If a slice length does not match.
pub fn global_average_blocked_grad(c: usize, plane: usize, g: &[f32], dx: &mut [f32]) {
    let n = images(c, plane, dx.len(), g.len());
    // Safety: lengths have been checked.
    unsafe {
        simd::run(GlobalAverageGrad {
            n,
            c,
            plane,
            g: g.as_ptr(),
            dx: dx.as_mut_ptr(),
        })
    }
}

fn check(s: &Pool2d, x: usize, y: usize) {
    assert!(s.check().is_ok(), "the shape did not pass check(): {s:?}");
    assert_eq!(
        [x, y],
        [s.x_len(), s.y_len()].map(|len| len.saturating_mul(LANES)),
        "input and output lengths of blocked {s:?}"
    );
}

fn images(c: usize, plane: usize, blocked: usize, rows: usize) -> usize {
    assert!(c > 0 && plane > 0, "no cells in {c} channels by {plane}");
    let n = rows / c;
    let image = (c.div_ceil(LANES) * LANES).saturating_mul(plane);
    assert_eq!(
        [rows, blocked],
        [n * c, n.saturating_mul(image)],
        "lengths of {c} channels by {plane}"
    );
    n
}

/// Whether windows are the 2 by 2 squares of a plane, the most common pooling: a path without
/// arithmetic on taps.
fn is_quartering(s: &Pool2d) -> bool {
    let two = [2, 2];
    s.kernel == two
        && s.stride == two
        && s.dilation == [1, 1]
        && s.pad == [0; 4]
        && s.out_size() == [s.h / 2, s.w / 2]
}

/// One window of a plane. Offsets count numbers.
#[derive(Clone, Copy)]
struct Window {
    /// The output.
    y: usize,
    /// The first real cell.
    x: usize,
    /// The tap on it.
    tap: usize,
    /// Real taps, along rows and columns.
    count: [usize; 2],
    /// Taps inside the padded input.
    padded: usize,
    /// From a cell to the next.
    step: [usize; 2],
    /// Taps in a row of the kernel.
    width: usize,
}

impl Window {
    /// Cell and tap, counted from the first real ones.
    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> (usize, usize) {
        (
            self.x + i * self.step[0] + j * self.step[1],
            self.tap + i * self.width + j,
        )
    }

    #[inline(always)]
    fn weight(&self, count_include_pad: bool) -> f32 {
        1.0 / (if count_include_pad {
            self.padded
        } else {
            self.count[0] * self.count[1]
        }) as f32
    }
}

/// Taps of one axis that meet real cells at output `o`, the cell of the first, and the number of
/// taps inside the padded input.
#[inline(always)]
fn taps(s: &Pool2d, axis: usize, o: usize) -> (Range<usize>, usize, usize) {
    let (start, len, d) = (o * s.stride[axis], [s.h, s.w][axis], s.dilation[axis]);
    let (kernel, before) = (s.kernel[axis], s.pad[axis]);
    if start >= before && start + (kernel - 1) * d < before + len {
        return (0..kernel, start - before, kernel);
    }
    let below = |end: usize| end.saturating_sub(start).div_ceil(d).min(kernel);
    let first = below(before);
    (
        first..below(before + len),
        start + first * d - before,
        below(before + len + s.pad[axis + 2]),
    )
}

/// What is done in each window.
trait VisitWindow {
    /// # Safety
    ///
    /// The processor has the instructions of `V`, and the pointers reach to the window.
    unsafe fn window<V: Vector>(&self, w: Window);
}

/// Visits the windows of every plane in order.
struct Pooling<'a, T>(&'a Pool2d, T);

impl<T: VisitWindow> Kernel for Pooling<'_, T> {
    type Output = ();

    /// # Safety
    ///
    /// The visitor's pointers cover the shape, which passed its check.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self(s, visitor) = self;
        let [oh, ow] = s.out_size();
        let quartering = is_quartering(s);
        let step = [s.dilation[0] * s.w * LANES, s.dilation[1] * LANES];
        for (plane, p) in (0..s.planes).flat_map(|plane| (0..oh).map(move |p| (plane, p))) {
            let y = (plane * oh + p) * ow * LANES;
            if quartering {
                let x = (plane * s.h + 2 * p) * s.w * LANES;
                for q in 0..ow {
                    let (x, y, step) = (x + 2 * q * LANES, y + q * LANES, [s.w * LANES, LANES]);
                    // Safety: the square is inside the plane.
                    unsafe {
                        visitor.window::<V>(Window {
                            y,
                            x,
                            tap: 0,
                            count: [2, 2],
                            padded: 4,
                            step,
                            width: 2,
                        })
                    };
                }
                continue;
            }
            let (rows, top, padded_rows) = taps(s, 0, p);
            for q in 0..ow {
                let (cols, left, padded_cols) = taps(s, 1, q);
                let window = Window {
                    y: y + q * LANES,
                    x: ((plane * s.h + top) * s.w + left) * LANES,
                    tap: rows.start * s.kernel[1] + cols.start,
                    count: [rows.len(), cols.len()],
                    padded: padded_rows * padded_cols,
                    step,
                    width: s.kernel[1],
                };
                // Safety: `taps` names cells inside the plane.
                unsafe { visitor.window::<V>(window) };
            }
        }
    }
}

struct MaxPool {
    x: *const f32,
    y: *mut f32,
    index: *mut u8,
}

impl VisitWindow for MaxPool {
    #[inline(always)]
    unsafe fn window<V: Vector>(&self, w: Window) {
        // Safety: stated at the trait.
        unsafe {
            let (mut best, mut held) = (V::load(self.x.add(w.x)), V::splat(w.tap as f32));
            for i in 0..w.count[0] {
                for j in 0..w.count[1] {
                    let (x, tap) = w.at(i, j);
                    (best, held) =
                        best.first_max(held, V::load(self.x.add(x)), V::splat(tap as f32));
                }
            }
            best.store(self.y.add(w.y));
            held.store_bytes(self.index.add(w.y));
        }
    }
}

struct MaxPoolGrad {
    dy: *const f32,
    index: *const u8,
    dx: *mut f32,
    /// Whether `dx` is added to: windows may overlap or leave cells out.
    accumulate: bool,
}

impl VisitWindow for MaxPoolGrad {
    #[inline(always)]
    unsafe fn window<V: Vector>(&self, w: Window) {
        // Safety: stated at the trait.
        unsafe {
            let (dy, held) = (
                V::load(self.dy.add(w.y)),
                V::load_bytes(self.index.add(w.y)),
            );
            for i in 0..w.count[0] {
                for j in 0..w.count[1] {
                    let (x, tap) = w.at(i, j);
                    // Positive where the whole numbers agree.
                    let distance = held.sub(V::splat(tap as f32));
                    let v = dy.where_positive(V::splat(0.5).sub(distance.mul(distance)));
                    let to = self.dx.add(x);
                    if self.accumulate {
                        v.add(V::load(to.cast_const())).store(to)
                    } else {
                        v.store(to)
                    }
                }
            }
        }
    }
}

struct AvgPool {
    count_include_pad: bool,
    x: *const f32,
    y: *mut f32,
}

impl VisitWindow for AvgPool {
    #[inline(always)]
    unsafe fn window<V: Vector>(&self, w: Window) {
        // Safety: stated at the trait.
        unsafe {
            let mut sum = V::zero();
            for i in 0..w.count[0] {
                for j in 0..w.count[1] {
                    sum = sum.add(V::load(self.x.add(w.at(i, j).0)));
                }
            }
            sum.mul(V::splat(w.weight(self.count_include_pad)))
                .store(self.y.add(w.y));
        }
    }
}

struct AvgPoolAdjoint {
    count_include_pad: bool,
    dy: *const f32,
    dx: *mut f32,
}

impl VisitWindow for AvgPoolAdjoint {
    #[inline(always)]
    unsafe fn window<V: Vector>(&self, w: Window) {
        // Safety: stated at the trait.
        unsafe {
            let share = V::load(self.dy.add(w.y)).mul(V::splat(w.weight(self.count_include_pad)));
            for i in 0..w.count[0] {
                for j in 0..w.count[1] {
                    let to = self.dx.add(w.at(i, j).0);
                    share.add(V::load(to.cast_const())).store(to);
                }
            }
        }
    }
}

struct GlobalAverage {
    n: usize,
    c: usize,
    plane: usize,
    x: *const f32,
    y: *mut f32,
}

impl Kernel for GlobalAverage {
    type Output = ();

    /// # Safety
    ///
    /// `x` holds `n` blocked images, `y` `n` rows.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { n, c, plane, x, y } = self;
        for (image, b) in (0..n).flat_map(|image| (0..blocks(c)).map(move |b| (image, b))) {
            // Safety: stated above.
            unsafe {
                let x = x.add((image * blocks(c) + b) * plane * LANES);
                // Four sums, so that an addition need not wait for the last.
                let mut sums = [V::zero(); 4];
                for cell in (0..plane).step_by(4) {
                    for (k, sum) in sums.iter_mut().enumerate().take(plane - cell) {
                        *sum = sum.add(V::load(x.add((cell + k) * LANES)));
                    }
                }
                let sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
                sum.mul(V::splat(1.0 / plane as f32))
                    .store_part(y.add(image * c + b * LANES), c - b * LANES);
            }
        }
    }
}

struct GlobalAverageGrad {
    n: usize,
    c: usize,
    plane: usize,
    g: *const f32,
    dx: *mut f32,
}

impl Kernel for GlobalAverageGrad {
    type Output = ();

    /// # Safety
    ///
    /// `g` holds `n` rows, `dx` `n` blocked images.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { n, c, plane, g, dx } = self;
        for (image, b) in (0..n).flat_map(|image| (0..blocks(c)).map(move |b| (image, b))) {
            // Safety: stated above.
            unsafe {
                let share = V::load_part(g.add(image * c + b * LANES), c - b * LANES)
                    .mul(V::splat(1.0 / plane as f32));
                for cell in 0..plane {
                    share.store(dx.add(((image * blocks(c) + b) * plane + cell) * LANES));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{blocked_len, from_blocked, to_blocked};
    use super::*;
    use crate::pool::{avg_pool2d, avg_pool2d_adjoint, max_pool2d, scatter_planes};
    use crate::simd::on_each;
    use proptest::prelude::*;

    /// Small whole numbers, many of them equal, and now and then a NaN.
    fn numbers(len: usize, nan: bool) -> Vec<f32> {
        (0..len)
            .map(|i| {
                if nan && i % 53 == 17 {
                    f32::NAN
                } else {
                    ((i * 37 + i / 11) % 13) as f32 - 6.0
                }
            })
            .collect()
    }

    fn blocked(c: usize, plane: usize, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; blocked_len(x.len() / (c * plane), c, plane)];
        to_blocked(c, plane, x, &mut y);
        // Padding lanes may hold any finite number.
        for (i, y) in y.iter_mut().enumerate() {
            if i / (LANES * plane) % blocks(c) * LANES + i % LANES >= c {
                *y = 9e9;
            }
        }
        y
    }

    fn rows(n: usize, c: usize, plane: usize, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; n * c * plane];
        from_blocked(c, plane, x, &mut y);
        y
    }

    fn same(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
    }

    fn near(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 4e-6)
    }

    /// All four kernels against those of planes, whose slow twin is in their own tests.
    fn against_planes(n: usize, c: usize, planes: Pool2d, include_pad: bool) {
        let s = Pool2d {
            planes: n * blocks(c),
            ..planes
        };
        let planes = Pool2d {
            planes: n * c,
            ..planes
        };
        let ([oh, ow], plane) = (s.out_size(), s.h * s.w);
        let (x, dy) = (
            numbers(planes.x_len(), true),
            numbers(planes.y_len(), false),
        );
        let (bx, bdy) = (blocked(c, plane, &x), blocked(c, oh * ow, &dy));
        let (mut y, mut index, mut dx) = (
            vec![0.0; planes.y_len()],
            vec![0; planes.y_len()],
            vec![0.0; planes.x_len()],
        );
        let (mut by, mut bindex) = (
            vec![f32::NAN; s.y_len() * LANES],
            vec![0; s.y_len() * LANES],
        );
        let mut bdx = vec![f32::NAN; s.x_len() * LANES];
        max_pool2d(&planes, &x, &mut y, &mut index);
        max_pool_blocked(&s, &bx, &mut by, &mut bindex);
        assert!(same(&y, &rows(n, c, oh * ow, &by)), "maximum of {s:?}");
        scatter_planes(planes.planes, plane, &dy, &index, &mut dx);
        max_pool_blocked_grad(&s, &bdy, &bindex, &mut bdx);
        assert!(
            same(&dx, &rows(n, c, plane, &bdx)),
            "gradient of the maximum of {s:?}"
        );
        let x = numbers(planes.x_len(), false);
        avg_pool2d(&planes, include_pad, &x, &mut y);
        avg_pool_blocked(&s, include_pad, &blocked(c, plane, &x), &mut by);
        assert!(near(&y, &rows(n, c, oh * ow, &by)), "average of {s:?}");
        avg_pool2d_adjoint(&planes, include_pad, &dy, &mut dx);
        bdx.fill(f32::NAN);
        avg_pool_blocked_adjoint(&s, include_pad, &bdy, &mut bdx);
        assert!(
            near(&dx, &rows(n, c, plane, &bdx)),
            "adjoint of the average of {s:?}"
        );
    }

    prop_compose! {
        fn shapes()(
            size in (1usize..9, 1usize..9), kernel in (1usize..4, 1usize..4),
            stride in (1usize..4, 1usize..4),
            dilation in (1usize..4, 1usize..4),
            pad in (0usize..3, 0usize..3, 0usize..3, 0usize..3), ceil in any::<bool>(),
        ) -> Pool2d {
            Pool2d {
                planes: 1, h: size.0, w: size.1, kernel: [kernel.0, kernel.1],
                stride: [stride.0, stride.1],
                pad: [pad.0, pad.1, pad.2, pad.3], dilation: [dilation.0, dilation.1], ceil,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::default()
        })]

        #[test]
        fn any_shape(s in shapes(), n in 1usize..3, c in 1usize..35, include_pad in any::<bool>()) {
            prop_assume!(s.check().is_ok());
            on_each(|_| against_planes(n, c, s, include_pad));
        }

        #[test]
        fn quarters(h in 2usize..10, w in 2usize..10, c in 1usize..35, ceil in any::<bool>()) {
            let s = Pool2d { planes: 1, h, w, kernel: [2; 2], stride: [2; 2], pad: [0; 4],
                dilation: [1; 2], ceil };
            on_each(|_| against_planes(2, c, s, true));
        }
    }

    #[test]
    fn the_largest_windows() {
        let s = Pool2d {
            planes: 1,
            h: 40,
            w: 17,
            kernel: [16, 16],
            stride: [9, 1],
            pad: [8, 3, 8, 0],
            dilation: [1; 2],
            ceil: false,
        };
        assert!(
            max_pool_blocked_fits(&s)
                && !max_pool_blocked_fits(&Pool2d {
                    kernel: [257, 1],
                    ..s
                })
        );
        assert!(!max_pool_blocked_fits(&Pool2d {
            kernel: [usize::MAX; 2],
            ..s
        }));
        on_each(|_| against_planes(1, 5, s, false));
    }

    #[test]
    #[should_panic(expected = "did not pass check")]
    fn lengths_that_wrap_around_panic() {
        let planes = 1 << (usize::BITS - 4);
        let s = Pool2d {
            planes,
            h: 1,
            w: 1,
            kernel: [1; 2],
            stride: [1; 2],
            pad: [0; 4],
            dilation: [1; 2],
            ceil: false,
        };
        avg_pool_blocked(&s, true, &[], &mut []);
    }

    #[test]
    fn global_average_and_its_adjoint() {
        on_each(|isa| {
            for (n, c, plane) in [
                (1, 1, 1),
                (3, 16, 7),
                (2, 17, 16),
                (2, 40, 49),
                (1, 33, 3136),
            ] {
                let x = numbers(n * c * plane, false);
                let bx = blocked(c, plane, &x);
                let mut y = vec![f32::NAN; n * c];
                global_average_blocked(c, plane, &bx, &mut y);
                for (x, y) in x.chunks(plane).zip(&y) {
                    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / plane as f64;
                    assert!(
                        (f64::from(*y) - mean).abs() <= 1e-6,
                        "{isa:?}: {y}, not {mean}"
                    );
                }
                let g = numbers(n * c, false);
                let mut dx = vec![f32::NAN; bx.len()];
                global_average_blocked_grad(c, plane, &g, &mut dx);
                let shares: Vec<f32> = g
                    .iter()
                    .flat_map(|&g| vec![g * (1.0 / plane as f32); plane])
                    .collect();
                let mut expected = vec![0.0; bx.len()];
                to_blocked(c, plane, &shares, &mut expected);
                assert_eq!(dx, expected, "{isa:?}");
            }
        });
    }
}
