//! Layer normalisation of rows: `y = scale n + bias` with `n = (x - μ) / σ`,
//! `σ² = mean (x - μ)² + ε`, and its gradients.
//!
//! Gradients recompute μ and σ from x: one pass more, nothing to keep. Errors are a few `2⁻²³` of
//! `|n| + max |x| / σ` (the mean is rounded to `f32`). A NaN stays in its row.
#![allow(unsafe_code, reason = "see `simd`")]

use super::count::rows;
use crate::simd::{self, Kernel, LANES, Vector};

/// Normalises each row of `len` numbers; `scale` and `bias` have `len` numbers, `epsilon` the unit
/// of x².
///
/// # Panics
///
/// If `len` is 0 or a length does not match.
pub fn layer_norm_rows(
    len: usize,
    epsilon: f64,
    x: &[f32],
    scale: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let n = rows(len, &[x.len(), y.len()]);
    assert_eq!(scale.len(), len, "scale of rows of {len}");
    assert!(bias.is_none_or(|b| b.len() == len), "bias of rows of {len}");
    let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
    let input = NormalisedRows {
        n,
        len,
        epsilon,
        x: x.as_ptr(),
    };
    // Safety: lengths have been checked.
    unsafe {
        simd::run(LayerNorm {
            input,
            scale: scale.as_ptr(),
            bias,
            y: y.as_mut_ptr(),
        })
    }
}

/// Gradient to the input: `dx = (h - mean h - n mean(h n)) / σ` with `h = scale g`.
///
/// # Panics
///
/// If `len` is 0 or a length does not match.
pub fn layer_norm_rows_grad(
    len: usize,
    epsilon: f64,
    x: &[f32],
    scale: &[f32],
    g: &[f32],
    dx: &mut [f32],
) {
    let n = rows(len, &[x.len(), g.len(), dx.len()]);
    assert_eq!(scale.len(), len, "scale of rows of {len}");
    let input = NormalisedRows {
        n,
        len,
        epsilon,
        x: x.as_ptr(),
    };
    // Safety: lengths have been checked.
    unsafe {
        simd::run(LayerNormGrad {
            input,
            scale: scale.as_ptr(),
            g: g.as_ptr(),
            dx: dx.as_mut_ptr(),
        })
    }
}

/// Gradients to the parameters, summed over the rows in order: adds `Σ g n` to `dscale` and `Σ g`
/// to `dbias`.
///
/// # Panics
///
/// If `len` is 0 or a length does not match.
pub fn layer_norm_rows_grad_parameters(
    len: usize,
    epsilon: f64,
    x: &[f32],
    g: &[f32],
    dscale: &mut [f32],
    dbias: &mut [f32],
) {
    let n = rows(len, &[x.len(), g.len()]);
    assert_eq!(
        [dscale.len(), dbias.len()],
        [len; 2],
        "parameters of rows of {len}"
    );
    let input = NormalisedRows {
        n,
        len,
        epsilon,
        x: x.as_ptr(),
    };
    // Safety: lengths have been checked.
    unsafe {
        simd::run(GradParameters {
            input,
            g: g.as_ptr(),
            dscale: dscale.as_mut_ptr(),
            dbias: dbias.as_mut_ptr(),
        })
    }
}

#[derive(Clone, Copy)]
struct NormalisedRows {
    n: usize,
    len: usize,
    epsilon: f64,
    x: *const f32,
}

impl NormalisedRows {
    /// μ and 1 / σ of the row at `x`.
    #[inline(always)]
    unsafe fn moments<V: Vector>(&self, x: *const f32) -> [V; 2] {
        let (whole, len) = (self.len / LANES * LANES, self.len as f32);
        // Safety: the caller's row has `len` numbers.
        unsafe {
            let mut sum = V::load_part(x.add(whole), self.len - whole);
            for i in (0..whole).step_by(LANES) {
                sum = sum.add(V::load(x.add(i)));
            }
            let mean = sum.sum() / len;
            let centre = V::splat(mean);
            let last = V::load_filled(x.add(whole), self.len - whole, mean).sub(centre);
            let mut squares = last.mul(last);
            for i in (0..whole).step_by(LANES) {
                let v = V::load(x.add(i)).sub(centre);
                squares = v.mul_add(v, squares);
            }
            let variance = f64::from(squares.sum() / len);
            [
                centre,
                V::splat((1.0 / (variance + self.epsilon).sqrt()) as f32),
            ]
        }
    }
}

/// Sixteen numbers at `from`, or the `n` there are and zeros.
#[inline(always)]
unsafe fn load<V: Vector>(from: *const f32, n: usize) -> V {
    // Safety: the caller vouches for the numbers.
    unsafe {
        if n >= LANES {
            V::load(from)
        } else {
            V::load_part(from, n)
        }
    }
}

#[inline(always)]
unsafe fn store<V: Vector>(v: V, to: *mut f32, n: usize) {
    // Safety: as above.
    unsafe {
        if n >= LANES {
            v.store(to)
        } else {
            v.store_part(to, n)
        }
    }
}

struct LayerNorm {
    input: NormalisedRows,
    scale: *const f32,
    bias: *const f32,
    y: *mut f32,
}

impl Kernel for LayerNorm {
    type Output = ();

    /// # Safety
    ///
    /// `y` holds the rows of the input, `scale` one, `bias` one unless null.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            input,
            scale,
            bias,
            y,
        } = self;
        let len = input.len;
        for row in 0..input.n {
            // Safety: stated above.
            unsafe {
                let (x, y) = (input.x.add(row * len), y.add(row * len));
                let [mean, inverse] = input.moments::<V>(x);
                for i in (0..len).step_by(LANES) {
                    let n = len - i;
                    let normal = load::<V>(x.add(i), n).sub(mean).mul(inverse);
                    let shift = if bias.is_null() {
                        V::zero()
                    } else {
                        load(bias.add(i), n)
                    };
                    store(normal.mul_add(load(scale.add(i), n), shift), y.add(i), n);
                }
            }
        }
    }
}

struct LayerNormGrad {
    input: NormalisedRows,
    scale: *const f32,
    g: *const f32,
    dx: *mut f32,
}

impl Kernel for LayerNormGrad {
    type Output = ();

    /// # Safety
    ///
    /// `g` and `dx` hold the rows of the input, `scale` one.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            input,
            scale,
            g,
            dx,
        } = self;
        let len = input.len;
        for row in 0..input.n {
            // Safety: stated above. Past the row h is 0.
            unsafe {
                let (x, g, dx) = (input.x.add(row * len), g.add(row * len), dx.add(row * len));
                let [mean, inverse] = input.moments::<V>(x);
                let (mut sum, mut product) = (V::zero(), V::zero());
                for i in (0..len).step_by(LANES) {
                    let h = load::<V>(g.add(i), len - i).mul(load(scale.add(i), len - i));
                    let normal = load::<V>(x.add(i), len - i).sub(mean).mul(inverse);
                    sum = sum.add(h);
                    product = h.mul_add(normal, product);
                }
                let [sum, product] = [sum, product].map(|v| V::splat(v.sum() / len as f32));
                for i in (0..len).step_by(LANES) {
                    let h = load::<V>(g.add(i), len - i).mul(load(scale.add(i), len - i));
                    let normal = load::<V>(x.add(i), len - i).sub(mean).mul(inverse);
                    store(
                        h.sub(sum).sub(normal.mul(product)).mul(inverse),
                        dx.add(i),
                        len - i,
                    );
                }
            }
        }
    }
}

struct GradParameters {
    input: NormalisedRows,
    g: *const f32,
    dscale: *mut f32,
    dbias: *mut f32,
}

impl Kernel for GradParameters {
    type Output = ();

    /// # Safety
    ///
    /// `g` holds the rows of the input, `dscale` and `dbias` one each.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            input,
            g,
            dscale,
            dbias,
        } = self;
        let len = input.len;
        for row in 0..input.n {
            // Safety: stated above.
            unsafe {
                let (x, g) = (input.x.add(row * len), g.add(row * len));
                let [mean, inverse] = input.moments::<V>(x);
                for i in (0..len).step_by(LANES) {
                    let n = len - i;
                    let g = load::<V>(g.add(i), n);
                    let normal = load::<V>(x.add(i), n).sub(mean).mul(inverse);
                    store(
                        g.mul_add(normal, load(dscale.add(i).cast_const(), n)),
                        dscale.add(i),
                        n,
                    );
                    store(g.add(load(dbias.add(i).cast_const(), n)), dbias.add(i), n);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_each;

    const LENGTHS: [usize; 8] = [1, 3, 16, 17, 48, 100, 192, 777];
    const EPSILON: f64 = 1e-5;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + seed * 17 + i / 7) % 101) as f32 / 20.0 - 2.0)
            .collect()
    }

    /// n and 1 / σ of a row.
    fn slow(x: &[f32]) -> (Vec<f64>, f64) {
        let len = x.len() as f64;
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / len;
        let variance = x
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / len;
        let inverse = 1.0 / (variance + EPSILON).sqrt();
        (
            x.iter().map(|&v| (f64::from(v) - mean) * inverse).collect(),
            inverse,
        )
    }

    fn close(found: f32, truth: f64, bound: f64, what: &str) {
        assert!(
            (f64::from(found) - truth).abs() <= bound,
            "{what}: {found}, not {truth}"
        );
    }

    #[test]
    fn against_double_precision() {
        on_each(|isa| {
            for len in LENGTHS {
                let (x, scale, bias, g) = (
                    numbers(5 * len, 1),
                    numbers(len, 2),
                    numbers(len, 3),
                    numbers(5 * len, 4),
                );
                let (mut y, mut plain, mut dx) = (
                    vec![f32::NAN; 5 * len],
                    vec![f32::NAN; 5 * len],
                    vec![f32::NAN; 5 * len],
                );
                let (mut dscale, mut dbias) = (vec![1.0; len], vec![2.0; len]);
                layer_norm_rows(len, EPSILON, &x, &scale, Some(&bias), &mut y);
                layer_norm_rows(len, EPSILON, &x, &scale, None, &mut plain);
                layer_norm_rows_grad(len, EPSILON, &x, &scale, &g, &mut dx);
                layer_norm_rows_grad_parameters(len, EPSILON, &x, &g, &mut dscale, &mut dbias);
                let (mut true_scale, mut true_bias) = (vec![1.0; len], vec![2.0; len]);
                for r in 0..5 {
                    let at = r * len;
                    let (normal, inverse) = slow(&x[at..at + len]);
                    let h: Vec<f64> = (0..len)
                        .map(|i| f64::from(g[at + i]) * f64::from(scale[i]))
                        .collect();
                    let mean = h.iter().sum::<f64>() / len as f64;
                    let product =
                        h.iter().zip(&normal).map(|(h, n)| h * n).sum::<f64>() / len as f64;
                    let what = format!("{isa:?}, row {r} of {len}");
                    for i in 0..len {
                        let (s, b) = (f64::from(scale[i]), f64::from(bias[i]));
                        close(plain[at + i], s * normal[i], 5e-6, &what);
                        close(y[at + i], s * normal[i] + b, 5e-6, &what);
                        close(
                            dx[at + i],
                            (h[i] - mean - normal[i] * product) * inverse,
                            2e-5 * inverse.max(1.0),
                            &what,
                        );
                        true_scale[i] += f64::from(g[at + i]) * normal[i];
                        true_bias[i] += f64::from(g[at + i]);
                    }
                }
                for i in 0..len {
                    close(dscale[i], true_scale[i], 2e-5, "scale");
                    close(dbias[i], true_bias[i], 5e-6, "bias");
                }
            }
        });
    }

    #[test]
    fn a_constant_row_gives_the_bias_and_nan_stays_in_its_row() {
        on_each(|isa| {
            let mut x = [7.0; 40];
            x[25] = f32::NAN;
            let bias = numbers(20, 1);
            let mut y = [0.0; 40];
            layer_norm_rows(20, EPSILON, &x, &[3.0; 20], Some(&bias), &mut y);
            assert_eq!(y[..20], bias, "{isa:?}");
            assert!(y[20..].iter().all(|v| v.is_nan()), "{isa:?}");
        });
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_batch() {
        on_each(|_| {
            for len in LENGTHS {
                let (x, scale, g) = (numbers(3 * len, 1), numbers(len, 2), numbers(3 * len, 3));
                let (mut y, mut dx, mut one, mut d) = (
                    vec![0.0; 3 * len],
                    vec![0.0; 3 * len],
                    vec![0.0; len],
                    vec![0.0; len],
                );
                layer_norm_rows(len, EPSILON, &x, &scale, None, &mut y);
                layer_norm_rows_grad(len, EPSILON, &x, &scale, &g, &mut dx);
                for r in 0..3 {
                    let at = r * len..(r + 1) * len;
                    layer_norm_rows(len, EPSILON, &x[at.clone()], &scale, None, &mut one);
                    layer_norm_rows_grad(
                        len,
                        EPSILON,
                        &x[at.clone()],
                        &scale,
                        &g[at.clone()],
                        &mut d,
                    );
                    assert_eq!((&one[..], &d[..]), (&y[at.clone()], &dx[at]));
                }
            }
        });
    }
}
