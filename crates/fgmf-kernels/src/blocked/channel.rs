//! Per-channel arithmetic on blocked images: affine maps, the sums of batch normalisation in
//! training, and additions.
//!
//! Parameters and sums have one number a channel, padded to whole blocks (`⌈c / 16⌉ · 16`), so an
//! array's length and `plane = h w` tell the number of images. What stands in padding lanes stays
//! in padding lanes.
//!
//! Sums run in `f32` over stretches of 32 cells, four at a time, then in `f64` over the stretches
//! of an image, and are added to what the caller holds image by image: relative error below `2⁻²⁰`
//! of the sum of absolute values, whatever the number of images.
#![allow(unsafe_code, reason = "see `simd`")]

use super::pass::Pass;
use crate::simd::{self, Kernel, LANES, Vector};

/// `y = scale x + shift`, then negative numbers to 0 if `relu` (a NaN stays).
///
/// # Panics
///
/// If a length does not match.
pub fn channel_affine(
    plane: usize,
    scale: &[f32],
    shift: &[f32],
    relu: bool,
    x: &[f32],
    y: &mut [f32],
) {
    let shape = Shape::new(plane, scale.len(), &[x.len(), y.len()]);
    assert_eq!(shift.len(), scale.len(), "scale and shift");
    let job = Affine {
        scale: scale.as_ptr(),
        shift: shift.as_ptr(),
        relu,
        x: x.as_ptr(),
        y: y.as_mut_ptr(),
    };
    // Safety: lengths have been checked.
    unsafe { simd::run(EachBlock(shape, job)) }
}

/// `dx = scale g`.
///
/// # Panics
///
/// If a length does not match.
pub fn channel_affine_grad(plane: usize, scale: &[f32], g: Pass<'_>, dx: &mut [f32]) {
    let shape = Shape::new(plane, scale.len(), &[g.values.len(), dx.len()]);
    let job = AffineGrad {
        scale: scale.as_ptr(),
        g,
        dx: dx.as_mut_ptr(),
    };
    // Safety: lengths have been checked.
    unsafe { simd::run(EachBlock(shape, job)) }
}

/// Adds `Σ x` to `sums`.
///
/// # Panics
///
/// If a length does not match.
pub fn channel_sums(plane: usize, x: &[f32], sums: &mut [f64]) {
    let shape = Shape::new(plane, sums.len(), &[x.len()]);
    // Safety: lengths have been checked.
    unsafe {
        simd::run(EachBlock(
            shape,
            Sums {
                x: x.as_ptr(),
                sums: sums.as_mut_ptr(),
            },
        ))
    }
}

/// Adds `Σ (x - mean)` to `sums` and `Σ (x - mean)²` to `squares`: with N numbers a channel, the
/// variance is `squares / N - (sums / N)²`, in which the second term makes up for the rounding of
/// the mean.
///
/// # Panics
///
/// If a length does not match.
pub fn channel_moments(
    plane: usize,
    x: &[f32],
    mean: &[f32],
    sums: &mut [f64],
    squares: &mut [f64],
) {
    let shape = Shape::new(plane, mean.len(), &[x.len()]);
    assert_eq!(
        [sums.len(), squares.len()],
        [mean.len(); 2],
        "mean and sums"
    );
    let job = Moments {
        x: x.as_ptr(),
        mean: mean.as_ptr(),
        sums: sums.as_mut_ptr(),
        squares: squares.as_mut_ptr(),
    };
    // Safety: lengths have been checked.
    unsafe { simd::run(EachBlock(shape, job)) }
}

/// Adds `Σ g` to `sum_g` and `Σ g (x - mean)` to `sum_gx`: what batch normalisation in training
/// sends back.
///
/// # Panics
///
/// If a length does not match.
pub fn channel_products(
    plane: usize,
    g: Pass<'_>,
    x: &[f32],
    mean: &[f32],
    sum_g: &mut [f64],
    sum_gx: &mut [f64],
) {
    let shape = Shape::new(plane, mean.len(), &[g.values.len(), x.len()]);
    assert_eq!(
        [sum_g.len(), sum_gx.len()],
        [mean.len(); 2],
        "mean and sums"
    );
    let job = Products {
        g,
        x: x.as_ptr(),
        mean: mean.as_ptr(),
        sum_g: sum_g.as_mut_ptr(),
        sum_gx: sum_gx.as_mut_ptr(),
    };
    // Safety: lengths have been checked.
    unsafe { simd::run(EachBlock(shape, job)) }
}

/// `dx = a g + b x + c`.
///
/// The gradient of batch normalisation in training,
/// `dx = scale / σ (g - Σ g / N - (x - mean) Σ g (x - mean) / (N σ²))`, has `a = scale / σ`,
/// `b = -a Σ g (x - mean) / (N σ²)`, `c = -a Σ g / N - b mean`.
///
/// # Panics
///
/// If a length does not match.
pub fn batch_norm_grad(
    plane: usize,
    [a, b, c]: [&[f32]; 3],
    g: Pass<'_>,
    x: &[f32],
    dx: &mut [f32],
) {
    let shape = Shape::new(plane, a.len(), &[g.values.len(), x.len(), dx.len()]);
    assert_eq!([b.len(), c.len()], [a.len(); 2], "three factors a channel");
    let job = BatchNormGrad {
        factors: [a, b, c].map(<[f32]>::as_ptr),
        g,
        x: x.as_ptr(),
        dx: dx.as_mut_ptr(),
    };
    // Safety: lengths have been checked.
    unsafe { simd::run(EachBlock(shape, job)) }
}

/// `y += x`, number by number, in any layout.
///
/// # Panics
///
/// If the lengths differ.
pub fn add_assign(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "an addend for each number");
    // Safety: both hold `len` numbers.
    unsafe {
        simd::run(AddAssign {
            len: x.len(),
            x: x.as_ptr(),
            y: y.as_mut_ptr(),
        })
    }
}

/// `dx = g`, read through its gate.
///
/// # Panics
///
/// If the lengths differ or are no whole blocks.
pub fn gate(g: Pass<'_>, dx: &mut [f32]) {
    let shape = Shape::new(dx.len() / LANES, LANES, &[g.values.len(), dx.len()]);
    // Safety: lengths have been checked.
    unsafe {
        simd::run(EachBlock(
            shape,
            Gate {
                g,
                dx: dx.as_mut_ptr(),
            },
        ))
    }
}

/// Images of `blocks` blocks of channels by `plane` cells.
#[derive(Clone, Copy)]
struct Shape {
    n: usize,
    blocks: usize,
    plane: usize,
}

impl Shape {
    fn new(plane: usize, channels: usize, lengths: &[usize]) -> Self {
        assert!(
            channels.is_multiple_of(LANES),
            "{channels} channels are no whole blocks"
        );
        let image = plane.saturating_mul(channels);
        let n = lengths[0].checked_div(image).unwrap_or(0);
        assert!(
            lengths.iter().all(|&l| l == n * image),
            "{lengths:?} numbers as images of {channels} channels by {plane}"
        );
        Self {
            n,
            blocks: channels / LANES,
            plane,
        }
    }
}

/// What is done to each block of an image.
trait VisitBlock {
    /// # Safety
    ///
    /// The processor has the instructions of `V`; arrays reach to `plane` cells from `at` on,
    /// parameters and sums to sixteen numbers from `channel` on.
    unsafe fn block<V: Vector>(&self, at: usize, channel: usize, plane: usize);
}

/// Visits the blocks of every image in order.
struct EachBlock<T>(Shape, T);

impl<T: VisitBlock> Kernel for EachBlock<T> {
    type Output = ();

    /// # Safety
    ///
    /// The visitor's pointers cover the shape.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self(Shape { n, blocks, plane }, visitor) = self;
        for b in 0..n * blocks {
            // Safety: stated above.
            unsafe { visitor.block::<V>(b * plane * LANES, b % blocks * LANES, plane) };
        }
    }
}

/// Numbers from a cell to the one after the last, cell by cell.
fn cells(at: usize, plane: usize) -> std::iter::StepBy<std::ops::Range<usize>> {
    (at..at + plane * LANES).step_by(LANES)
}

/// The terms of one cell that go into `K` sums.
trait Terms<V: Vector, const K: usize> {
    /// # Safety
    ///
    /// The processor has the instructions of `V`, and arrays hold sixteen numbers at `at`.
    unsafe fn at(&self, at: usize) -> [V; K];
}

/// Adds the terms of `plane` cells from `start` on to the sixteen numbers at each of `to`.
///
/// # Safety
///
/// As [`Terms::at`] for those cells, and `to` is writable.
#[inline(always)]
unsafe fn add_totals<V: Vector, const K: usize>(
    start: usize,
    plane: usize,
    terms: &impl Terms<V, K>,
    to: [*mut f64; K],
) {
    const STRETCH: usize = 32;
    let mut totals = [[0.0; LANES]; K];
    for first in (0..plane).step_by(STRETCH) {
        let end = plane.min(first + STRETCH);
        // Safety: stated above.
        unsafe {
            let mut sums = [[V::zero(); K]; 4];
            for four in (first..end).step_by(4) {
                for (k, sums) in sums.iter_mut().enumerate().take(end - four) {
                    for (sum, term) in sums.iter_mut().zip(terms.at(start + (four + k) * LANES)) {
                        *sum = sum.add(term);
                    }
                }
            }
            for (k, total) in totals.iter_mut().enumerate() {
                let sum = sums[0][k].add(sums[1][k]).add(sums[2][k].add(sums[3][k]));
                total
                    .iter_mut()
                    .zip(sum.lanes())
                    .for_each(|(t, v)| *t += f64::from(v));
            }
        }
    }
    for (total, to) in totals.iter().zip(to) {
        for (l, total) in total.iter().enumerate() {
            // Safety: stated above.
            unsafe { *to.add(l) += total };
        }
    }
}

struct Affine {
    scale: *const f32,
    shift: *const f32,
    relu: bool,
    x: *const f32,
    y: *mut f32,
}

impl VisitBlock for Affine {
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, at: usize, channel: usize, plane: usize) {
        // Safety: stated at the trait.
        unsafe {
            let (scale, shift) = (
                V::load(self.scale.add(channel)),
                V::load(self.shift.add(channel)),
            );
            for i in cells(at, plane) {
                let v = V::load(self.x.add(i)).mul_add(scale, shift);
                // In this order a NaN stays one.
                (if self.relu { V::zero().max(v) } else { v }).store(self.y.add(i));
            }
        }
    }
}

struct AffineGrad<'a> {
    scale: *const f32,
    g: Pass<'a>,
    dx: *mut f32,
}

impl VisitBlock for AffineGrad<'_> {
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, at: usize, channel: usize, plane: usize) {
        // Safety: stated at the trait.
        unsafe {
            let scale = V::load(self.scale.add(channel));
            for i in cells(at, plane) {
                self.g.read::<V>(i).mul(scale).store(self.dx.add(i));
            }
        }
    }
}

struct Sums {
    x: *const f32,
    sums: *mut f64,
}

impl<V: Vector> Terms<V, 1> for Sums {
    #[inline(always)]
    unsafe fn at(&self, at: usize) -> [V; 1] {
        // Safety: stated at the trait.
        unsafe { [V::load(self.x.add(at))] }
    }
}

impl VisitBlock for Sums {
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, at: usize, channel: usize, plane: usize) {
        // Safety: stated at the trait.
        unsafe { add_totals::<V, 1>(at, plane, self, [self.sums.add(channel)]) }
    }
}

struct Moments {
    x: *const f32,
    mean: *const f32,
    sums: *mut f64,
    squares: *mut f64,
}

struct Centred<V> {
    x: *const f32,
    mean: V,
}

impl<V: Vector> Terms<V, 2> for Centred<V> {
    #[inline(always)]
    unsafe fn at(&self, at: usize) -> [V; 2] {
        // Safety: stated at the trait.
        unsafe {
            let v = V::load(self.x.add(at)).sub(self.mean);
            [v, v.mul(v)]
        }
    }
}

impl VisitBlock for Moments {
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, at: usize, channel: usize, plane: usize) {
        // Safety: stated at the trait.
        unsafe {
            let centred = Centred {
                x: self.x,
                mean: V::load(self.mean.add(channel)),
            };
            add_totals(
                at,
                plane,
                &centred,
                [self.sums.add(channel), self.squares.add(channel)],
            );
        }
    }
}

struct Products<'a> {
    g: Pass<'a>,
    x: *const f32,
    mean: *const f32,
    sum_g: *mut f64,
    sum_gx: *mut f64,
}

struct Weighted<'a, V> {
    g: Pass<'a>,
    centred: Centred<V>,
}

impl<V: Vector> Terms<V, 2> for Weighted<'_, V> {
    #[inline(always)]
    unsafe fn at(&self, at: usize) -> [V; 2] {
        // Safety: stated at the trait.
        unsafe {
            let g = self.g.read::<V>(at);
            [
                g,
                g.mul(V::load(self.centred.x.add(at)).sub(self.centred.mean)),
            ]
        }
    }
}

impl VisitBlock for Products<'_> {
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, at: usize, channel: usize, plane: usize) {
        // Safety: stated at the trait.
        unsafe {
            let weighted = Weighted {
                g: self.g,
                centred: Centred {
                    x: self.x,
                    mean: V::load(self.mean.add(channel)),
                },
            };
            add_totals(
                at,
                plane,
                &weighted,
                [self.sum_g.add(channel), self.sum_gx.add(channel)],
            );
        }
    }
}

struct BatchNormGrad<'a> {
    factors: [*const f32; 3],
    g: Pass<'a>,
    x: *const f32,
    dx: *mut f32,
}

impl VisitBlock for BatchNormGrad<'_> {
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, at: usize, channel: usize, plane: usize) {
        // Safety: stated at the trait.
        unsafe {
            let [a, b, c] = self.factors;
            let (a, b, c) = (
                V::load(a.add(channel)),
                V::load(b.add(channel)),
                V::load(c.add(channel)),
            );
            for i in cells(at, plane) {
                let v = self
                    .g
                    .read::<V>(i)
                    .mul_add(a, V::load(self.x.add(i)).mul_add(b, c));
                v.store(self.dx.add(i));
            }
        }
    }
}

struct Gate<'a> {
    g: Pass<'a>,
    dx: *mut f32,
}

impl VisitBlock for Gate<'_> {
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, at: usize, _: usize, plane: usize) {
        // Safety: stated at the trait.
        unsafe {
            for i in cells(at, plane) {
                self.g.read::<V>(i).store(self.dx.add(i));
            }
        }
    }
}

struct AddAssign {
    len: usize,
    x: *const f32,
    y: *mut f32,
}

impl Kernel for AddAssign {
    type Output = ();

    /// # Safety
    ///
    /// `x` and `y` hold `len` numbers.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { len, x, y } = self;
        let whole = len / LANES * LANES;
        // Safety: stated above.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                V::load(x.add(i))
                    .add(V::load(y.add(i).cast_const()))
                    .store(y.add(i));
            }
            for i in whole..len {
                *y.add(i) += *x.add(i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_each;

    const SHAPES: [[usize; 3]; 5] = [
        [1, 16, 1],
        [2, 32, 7],
        [3, 16, 33],
        [2, 48, 64],
        [1, 16, 1027],
    ];

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + seed * 17 + i / 7) % 101) as f32 / 20.0 - 2.0)
            .collect()
    }

    fn doubles(len: usize, seed: usize) -> Vec<f64> {
        numbers(len, seed).into_iter().map(f64::from).collect()
    }

    /// Channel of a number of a blocked array.
    fn channel(i: usize, c: usize, plane: usize) -> usize {
        i / (LANES * plane) % (c / LANES) * LANES + i % LANES
    }

    fn gated(g: &[f32], gate: &[f32]) -> Vec<f32> {
        g.iter()
            .zip(gate)
            .map(|(&g, &gate)| if gate > 0.0 { g } else { 0.0 })
            .collect()
    }

    fn near(found: f32, truth: f64, size: f64, what: &str) {
        assert!(
            (f64::from(found) - truth).abs() <= 2e-7 * size,
            "{what}: {found}, not {truth}"
        );
    }

    #[test]
    fn affine_and_its_gradient() {
        on_each(|isa| {
            for [n, c, plane] in SHAPES {
                let len = n * c * plane;
                let (x, g, scale, shift) = (
                    numbers(len, 1),
                    numbers(len, 2),
                    numbers(c, 3),
                    numbers(c, 4),
                );
                for relu in [false, true] {
                    let mut y = vec![f32::NAN; len];
                    channel_affine(plane, &scale, &shift, relu, &x, &mut y);
                    let mut dx = vec![f32::NAN; len];
                    let (pass, values) = if relu {
                        (Pass::gated(&g, &x), gated(&g, &x))
                    } else {
                        (Pass::new(&g), g.clone())
                    };
                    channel_affine_grad(plane, &scale, pass, &mut dx);
                    for i in 0..len {
                        let k = channel(i, c, plane);
                        let (s, t) = (f64::from(scale[k]), f64::from(shift[k]));
                        let value = s * f64::from(x[i]) + t;
                        near(
                            y[i],
                            if relu { value.max(0.0) } else { value },
                            16.0,
                            &format!("{isa:?}"),
                        );
                        near(dx[i], s * f64::from(values[i]), 16.0, &format!("{isa:?}"));
                    }
                }
            }
            let mut y = [0.0; 16];
            channel_affine(1, &[1.0; 16], &[0.0; 16], true, &[f32::NAN; 16], &mut y);
            assert!(y.iter().all(|v| v.is_nan()), "{isa:?}");
        });
    }

    #[test]
    fn sums_against_double_precision() {
        on_each(|isa| {
            for [n, c, plane] in SHAPES {
                let len = n * c * plane;
                let (x, g, gate, mean) = (
                    numbers(len, 1),
                    numbers(len, 2),
                    numbers(len, 3),
                    numbers(c, 4),
                );
                let held = doubles(c, 5);
                let mut found = [0; 5].map(|_| held.clone());
                let mut truth = found.clone();
                let mut sizes = [0; 5].map(|_| vec![4.0; c]);
                let [sums, centred, squares, sum_g, sum_gx] = &mut found;
                channel_sums(plane, &x, sums);
                channel_moments(plane, &x, &mean, centred, squares);
                channel_products(plane, Pass::gated(&g, &gate), &x, &mean, sum_g, sum_gx);
                for (i, g) in gated(&g, &gate).into_iter().enumerate() {
                    let k = channel(i, c, plane);
                    let (x, g) = (f64::from(x[i]), f64::from(g));
                    let d = x - f64::from(mean[k]);
                    for (s, v) in [x, d, d * d, g, g * d].into_iter().enumerate() {
                        truth[s][k] += v;
                        sizes[s][k] += v.abs();
                    }
                }
                for s in 0..5 {
                    for k in 0..c {
                        let error = (found[s][k] - truth[s][k]).abs();
                        assert!(
                            error <= 2f64.powi(-20) * sizes[s][k],
                            "{isa:?}: sum {s} of {n} by {c} by {plane} off by {error}"
                        );
                    }
                }
            }
        });
    }

    /// The sums of a batch are those of its images, added one after the other.
    #[test]
    fn sums_go_image_by_image() {
        on_each(|isa| {
            let (c, plane) = (32, 45);
            let x = numbers(3 * c * plane, 1);
            let (mut all, mut single) = (vec![0.0; c], vec![0.0; c]);
            channel_sums(plane, &x, &mut all);
            x.chunks(c * plane)
                .for_each(|x| channel_sums(plane, x, &mut single));
            assert_eq!(all, single, "{isa:?}");
        });
    }

    /// The gradient by the helper against that of the definition, `y = scale (x - μ) / σ`.
    #[test]
    fn gradient_of_batch_normalisation() {
        on_each(|isa| {
            for [n, c, plane] in [[2, 32, 9], [3, 16, 40]] {
                let (len, count) = (n * c * plane, (n * plane) as f64);
                let (x, g, gate) = (numbers(len, 1), numbers(len, 2), numbers(len, 3));
                let pass = Pass::gated(&g, &gate);
                let mut sums = vec![0.0; c];
                channel_sums(plane, &x, &mut sums);
                let mean: Vec<f32> = sums.iter().map(|s| (s / count) as f32).collect();
                let [mut rest, mut squares, mut sum_g, mut sum_gx] = [0; 4].map(|_| vec![0.0; c]);
                channel_moments(plane, &x, &mean, &mut rest, &mut squares);
                channel_products(plane, pass, &x, &mean, &mut sum_g, &mut sum_gx);
                let variance = |k: usize| squares[k] / count - (rest[k] / count).powi(2) + 1e-5;
                let scale = |k: usize| 1.0 + k as f64 / 8.0;
                let a: Vec<f64> = (0..c).map(|k| scale(k) / variance(k).sqrt()).collect();
                let b: Vec<f64> = (0..c)
                    .map(|k| -a[k] * sum_gx[k] / (count * variance(k)))
                    .collect();
                let shift: Vec<f64> = (0..c)
                    .map(|k| -a[k] * sum_g[k] / count - b[k] * f64::from(mean[k]))
                    .collect();
                let [a, b, shift] =
                    [a, b, shift].map(|v| v.into_iter().map(|v| v as f32).collect::<Vec<_>>());
                let mut dx = vec![f32::NAN; len];
                batch_norm_grad(plane, [&a, &b, &shift], pass, &x, &mut dx);
                let g = gated(&g, &gate);
                for k in 0..c {
                    let of_channel: Vec<usize> =
                        (0..len).filter(|&i| channel(i, c, plane) == k).collect();
                    let mean_of = |f: &dyn Fn(usize) -> f64| {
                        of_channel.iter().map(|&i| f(i)).sum::<f64>() / count
                    };
                    let mu = mean_of(&|i| f64::from(x[i]));
                    let sigma = (mean_of(&|i| (f64::from(x[i]) - mu).powi(2)) + 1e-5).sqrt();
                    let normal = |i: usize| (f64::from(x[i]) - mu) / sigma;
                    let mean_g = mean_of(&|i| f64::from(g[i]));
                    let mean_gn = mean_of(&|i| f64::from(g[i]) * normal(i));
                    for &i in &of_channel {
                        let truth =
                            scale(k) / sigma * (f64::from(g[i]) - mean_g - normal(i) * mean_gn);
                        near(dx[i], truth, 40.0, &format!("{isa:?}, channel {k}"));
                    }
                }
            }
        });
    }

    #[test]
    fn additions_and_gates() {
        on_each(|isa| {
            for len in [0, 1, 16, 37] {
                let (x, mut y) = (numbers(len, 1), numbers(len, 2));
                let sums: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
                add_assign(&x, &mut y);
                assert_eq!(y, sums, "{isa:?}");
            }
            let (g, mut signs) = (numbers(48, 1), numbers(48, 2));
            signs[3] = f32::NAN;
            let mut dx = vec![f32::NAN; 48];
            gate(Pass::gated(&g, &signs), &mut dx);
            assert_eq!(dx, gated(&g, &signs), "{isa:?}");
            gate(Pass::new(&g), &mut dx);
            assert_eq!(dx, g, "{isa:?}");
        });
    }

    #[test]
    #[should_panic(expected = "as images of")]
    fn lengths_that_wrap_around_panic() {
        channel_sums((1 << (usize::BITS - 4)) + 1, &[0.0; 16], &mut [0.0; 16]);
    }

    #[test]
    #[should_panic(expected = "no whole blocks")]
    fn odd_parameters_panic() {
        channel_sums(1, &[0.0; 17], &mut [0.0; 17]);
    }
}
