//! Softmax of rows: `y_i = exp(x_i - max x) / Σ_j exp(x_j - max x)`, and the gradient through it.
//!
//! The relative error of a number is below `2⁻²³ (8 + |x_i - max x|)`: the exponential, the sum,
//! and the rounding of the difference. Numbers more than 87.33 below the maximum give 0. A NaN or
//! +∞ makes its row NaN.
#![allow(unsafe_code, reason = "see `simd`")]

use super::count::rows;
use super::math::exp;
use crate::simd::{self, Kernel, LANES, Vector};

/// Softmax of each row of `len` numbers.
///
/// # Panics
///
/// If `len` is 0 or the slices are not equally many rows.
pub fn softmax_rows(len: usize, x: &[f32], y: &mut [f32]) {
    let n = rows(len, &[x.len(), y.len()]);
    // Safety: lengths have been checked.
    unsafe {
        simd::run(Softmax {
            n,
            len,
            x: x.as_ptr(),
            y: y.as_mut_ptr(),
        })
    }
}

/// `dx = y (g - Σ_j g_j y_j)` for each row, with `y` from [`softmax_rows`].
///
/// # Panics
///
/// If `len` is 0 or the slices are not equally many rows.
pub fn softmax_rows_grad(len: usize, y: &[f32], g: &[f32], dx: &mut [f32]) {
    let n = rows(len, &[y.len(), g.len(), dx.len()]);
    // Safety: lengths have been checked.
    unsafe {
        simd::run(SoftmaxGrad {
            n,
            len,
            y: y.as_ptr(),
            g: g.as_ptr(),
            dx: dx.as_mut_ptr(),
        })
    }
}

struct Softmax {
    n: usize,
    len: usize,
    x: *const f32,
    y: *mut f32,
}

impl Kernel for Softmax {
    type Output = ();

    /// # Safety
    ///
    /// `x` and `y` hold `n` rows.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let whole = self.len / LANES * LANES;
        let rest = self.len - whole;
        for row in 0..self.n {
            // Safety: stated above.
            unsafe {
                let (x, y) = (self.x.add(row * self.len), self.y.add(row * self.len));
                let last = V::load_filled(x.add(whole), rest, f32::NEG_INFINITY);
                let mut most = last;
                for i in (0..whole).step_by(LANES) {
                    most = most.max(V::load(x.add(i)));
                }
                let most = V::splat(most.lanes().into_iter().fold(f32::NEG_INFINITY, f32::max));
                let last = exp(last.sub(most));
                let mut sum = last;
                for i in (0..whole).step_by(LANES) {
                    let e = exp(V::load(x.add(i)).sub(most));
                    e.store(y.add(i));
                    sum = sum.add(e);
                }
                let scale = V::splat(1.0 / sum.sum());
                for i in (0..whole).step_by(LANES) {
                    V::load(y.add(i).cast_const()).mul(scale).store(y.add(i));
                }
                last.mul(scale).store_part(y.add(whole), rest);
            }
        }
    }
}

struct SoftmaxGrad {
    n: usize,
    len: usize,
    y: *const f32,
    g: *const f32,
    dx: *mut f32,
}

impl Kernel for SoftmaxGrad {
    type Output = ();

    /// # Safety
    ///
    /// `y`, `g` and `dx` hold `n` rows.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let whole = self.len / LANES * LANES;
        let rest = self.len - whole;
        for row in 0..self.n {
            let start = row * self.len;
            // Safety: stated above.
            unsafe {
                let (y, g, dx) = (self.y.add(start), self.g.add(start), self.dx.add(start));
                let (last_y, last_g) = (
                    V::load_part(y.add(whole), rest),
                    V::load_part(g.add(whole), rest),
                );
                let mut sum = last_g.mul(last_y);
                for i in (0..whole).step_by(LANES) {
                    sum = V::load(g.add(i)).mul_add(V::load(y.add(i)), sum);
                }
                let mean = V::splat(sum.sum());
                for i in (0..whole).step_by(LANES) {
                    V::load(g.add(i))
                        .sub(mean)
                        .mul(V::load(y.add(i)))
                        .store(dx.add(i));
                }
                last_g.sub(mean).mul(last_y).store_part(dx.add(whole), rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_each;

    const LENGTHS: [usize; 9] = [1, 2, 10, 15, 16, 17, 65, 197, 1000];

    fn numbers(len: usize, spread: f32) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + 11) % 101) as f32 / 101.0 * spread - 3.0)
            .collect()
    }

    fn slow(x: &[f32]) -> Vec<f64> {
        let most = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let e: Vec<f64> = x
            .iter()
            .map(|&v| (f64::from(v) - f64::from(most)).exp())
            .collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(|e| e / sum).collect()
    }

    #[test]
    fn against_double_precision() {
        on_each(|isa| {
            for (len, spread) in LENGTHS
                .into_iter()
                .flat_map(|len| [(len, 2.0), (len, 60.0), (len, 300.0)])
            {
                let x = numbers(3 * len, spread);
                let mut y = vec![f32::NAN; x.len()];
                softmax_rows(len, &x, &mut y);
                for (x, y) in x.chunks(len).zip(y.chunks(len)) {
                    let most = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                    for ((&x, &y), truth) in x.iter().zip(y).zip(slow(x)) {
                        let bound = truth * f64::from(8.0 + most - x) * 2f64.powi(-23) + 2e-38;
                        assert!(
                            (f64::from(y) - truth).abs() <= bound,
                            "{isa:?}: {len} numbers, {y}, not {truth}"
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn gradient_against_double_precision() {
        on_each(|isa| {
            for len in LENGTHS {
                let (x, g) = (numbers(3 * len, 6.0), numbers(3 * len + 5, 2.0));
                let g = &g[5..];
                let (mut y, mut dx) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
                softmax_rows(len, &x, &mut y);
                softmax_rows_grad(len, &y, g, &mut dx);
                for ((x, g), dx) in x.chunks(len).zip(g.chunks(len)).zip(dx.chunks(len)) {
                    let y = slow(x);
                    let mean: f64 = y.iter().zip(g).map(|(y, &g)| y * f64::from(g)).sum();
                    for ((y, &g), &dx) in y.iter().zip(g).zip(dx) {
                        assert!(
                            (f64::from(dx) - y * (f64::from(g) - mean)).abs() <= 4e-6 * y,
                            "{isa:?}: {len} numbers"
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn extremes() {
        on_each(|isa| {
            let inf = f32::INFINITY;
            let x = [1e30, -1e30, -inf, 0.0, f32::NAN, 1.0, -inf, -inf, -inf];
            let mut y = [0.0; 9];
            softmax_rows(3, &x, &mut y);
            assert_eq!(y[..3], [1.0, 0.0, 0.0], "{isa:?}");
            assert!(y[3..].iter().all(|v| v.is_nan()), "{isa:?}");
        });
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_batch() {
        on_each(|_| {
            for len in LENGTHS {
                let x = numbers(4 * len, 9.0);
                let (mut y, mut dx, mut one, mut d) = (
                    vec![0.0; 4 * len],
                    vec![0.0; 4 * len],
                    vec![0.0; len],
                    vec![0.0; len],
                );
                softmax_rows(len, &x, &mut y);
                softmax_rows_grad(len, &y, &x, &mut dx);
                for r in 0..4 {
                    let at = r * len..(r + 1) * len;
                    softmax_rows(len, &x[at.clone()], &mut one);
                    softmax_rows_grad(len, &one, &x[at.clone()], &mut d);
                    assert_eq!((&one[..], &d[..]), (&y[at.clone()], &dx[at]));
                }
            }
        });
    }
}
