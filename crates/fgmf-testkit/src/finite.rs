//! Derivatives by central differences in `f64`: slow twins that know nothing of the code under
//! test.
//!
//! Every difference here is (f(x + h v) − f(x − h v)) / 2h. Its truncation error is h² f‴ / 6,
//! second order in the step, and rounding adds about 10⁻¹⁶ |f| / h. At [`STEP`] both are near 10⁻¹⁰
//! for functions of unit scale, so that a relative tolerance of 10⁻⁶ is met by every correct
//! derivative and by hardly any wrong one.

use fgmf_net::Tensor;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Step of the first-order differences.
pub const STEP: f64 = 1e-5;

/// `count` numbers between `low` and `high`, the same for the same seed.
pub fn uniform(seed: u64, count: usize, low: f64, high: f64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|_| low + (high - low) * (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64)
        .collect()
}

/// An `f64` tensor of [`uniform`] numbers.
pub fn uniform_tensor(seed: u64, shape: &[usize], low: f64, high: f64) -> Tensor {
    Tensor::new(shape, uniform(seed, shape.iter().product(), low, high))
}

/// Gradient of a scalar function at `x` (`f64`), one coordinate at a time. Second order in
/// [`STEP`].
pub fn gradient(f: impl Fn(&Tensor) -> f64, x: &Tensor) -> Tensor {
    let base = x.to_f64();
    let at = |i: usize, h: f64| {
        let mut moved = base.clone();
        moved[i] += h;
        f(&Tensor::new(x.shape(), moved))
    };
    let slopes: Vec<f64> = (0..base.len())
        .map(|i| (at(i, STEP) - at(i, -STEP)) / (2.0 * STEP))
        .collect();
    Tensor::new(x.shape(), slopes)
}

/// Jacobian-vector product of a tensor function at `x` (`f64`) along `v`. Second order in [`STEP`].
pub fn jvp(f: impl Fn(&Tensor) -> Tensor, x: &Tensor, v: &Tensor) -> Tensor {
    let step = v.affine(STEP, 0.0);
    f(&x.add(&step))
        .sub(&f(&x.sub(&step)))
        .affine(0.5 / STEP, 0.0)
}

/// Hessian-vector product of a scalar function, from its exact `gradient`. One difference of a
/// first derivative, so it is as accurate as [`jvp`]; differences of differences of values would
/// lose half of the digits.
pub fn hvp(gradient: impl Fn(&Tensor) -> Tensor, x: &Tensor, v: &Tensor) -> Tensor {
    jvp(gradient, x, v)
}

/// Panics unless |actual − expected| ≤ `absolute` + `relative` · max |expected| for every value,
/// and shapes agree.
///
/// The scale is that of the largest expected value: differences of a large function say nothing
/// about tiny entries.
pub fn assert_close(
    actual: &Tensor,
    expected: &Tensor,
    relative: f64,
    absolute: f64,
    context: &str,
) {
    assert_eq!(actual.shape(), expected.shape(), "{context}: shapes differ");
    let (actual, expected) = (actual.to_f64(), expected.to_f64());
    let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let allowed = absolute + relative * scale;
    for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
        // Written so that a NaN on either side fails.
        let close = (a - e).abs() <= allowed;
        assert!(
            close,
            "{context}: value {i} is {a}, expected {e} within {allowed:e}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cube(x: &Tensor) -> Tensor {
        x.mul(x).mul(x)
    }

    #[test]
    fn differences_of_a_cubic_are_near_its_derivatives() {
        let (x, v) = (
            uniform_tensor(1, &[2, 3], -2.0, 2.0),
            uniform_tensor(2, &[2, 3], -1.0, 1.0),
        );
        let slope = x.mul(&x).affine(3.0, 0.0);
        assert_close(
            &gradient(|x| cube(x).to_f64().iter().sum(), &x),
            &slope,
            1e-8,
            1e-8,
            "gradient",
        );
        assert_close(&jvp(cube, &x, &v), &slope.mul(&v), 1e-8, 1e-8, "jvp");
        let curvature = x.mul(&v).affine(6.0, 0.0);
        assert_close(
            &hvp(|x| x.mul(x).affine(3.0, 0.0), &x, &v),
            &curvature,
            1e-8,
            1e-8,
            "hvp",
        );
    }

    #[test]
    #[should_panic(expected = "value 1 is NaN")]
    fn nan_is_not_close() {
        assert_close(
            &Tensor::new(&[2], vec![1.0, f64::NAN]),
            &Tensor::new(&[2], vec![1.0, 1.0]),
            1.0,
            1.0,
            "test",
        );
    }
}
