//! Elementary functions of vectors. A NaN gives NaN.
#![allow(unsafe_code, reason = "see `simd`")]
#![allow(
    clippy::missing_safety_doc,
    reason = "one condition for all: the processor has the instructions of V"
)]

use crate::simd::Vector;

/// `Σ c_i x^i`, the highest coefficient last.
#[inline(always)]
unsafe fn polynomial<V: Vector>(x: V, coefficients: &[f32]) -> V {
    // Safety: the caller's.
    unsafe {
        coefficients
            .iter()
            .rev()
            .fold(V::zero(), |sum, &c| sum.mul_add(x, V::splat(c)))
    }
}

#[inline(always)]
pub(super) unsafe fn abs<V: Vector>(x: V) -> V {
    // Safety: the caller's.
    unsafe { x.max(V::zero().sub(x)) }
}

/// `x` inside `[-limit, limit]`.
#[inline(always)]
pub(super) unsafe fn clamp<V: Vector>(x: V, limit: f32) -> V {
    // Safety: the caller's.
    unsafe { between(x, -limit, limit) }
}

/// `min(max(x, low), high)`; NaN stays.
#[inline(always)]
pub(super) unsafe fn between<V: Vector>(x: V, low: f32, high: f32) -> V {
    // Safety: the caller's.
    unsafe { negative(bounded(negative(bounded(x, low)), -high)) }
}

#[inline(always)]
unsafe fn negative<V: Vector>(x: V) -> V {
    // Safety: the caller's.
    unsafe { V::zero().sub(x) }
}

/// The larger of `x` and `low`, in the order that keeps a NaN.
#[inline(always)]
unsafe fn bounded<V: Vector>(x: V, low: f32) -> V {
    // Safety: the caller's.
    unsafe { V::splat(low).max(x) }
}

/// Below it, `exp` is 0; its exponential is just above the smallest normal number.
const LOWEST: f32 = -87.33;
/// Just above `exp(LOWEST)`.
const SMALLEST: f32 = 1.1835e-38;
const TAYLOR: [f32; 6] = [
    0.5,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
];

/// k and `eʳ - 1` of `eˣ = 2ᵏ eʳ` with |r| ≤ ln 2 / 2.
#[inline(always)]
unsafe fn reduced<V: Vector>(x: V) -> (V, V) {
    // Safety: the caller's.
    unsafe {
        let k = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        // ln 2 in two parts; the product of the first with k is exact.
        let r = k.mul_add(V::splat(-355.0 / 512.0), x);
        let r = k.mul_add(V::splat(2.121_944_4e-4), r);
        (k, r.mul(r).mul_add(polynomial(r, &TAYLOR), r))
    }
}

/// `eˣ` for x ≤ 0, within 2 units in the last place; 0 below -87.33.
#[inline(always)]
pub(super) unsafe fn exp<V: Vector>(x: V) -> V {
    // Safety: the caller's; the power is between -126 and 0.
    unsafe {
        let (k, r) = reduced(bounded(x, LOWEST));
        let power = k.power_of_two();
        r.mul_add(power, power)
            .keep_at_least(V::splat(SMALLEST), V::zero())
    }
}

/// `eˣ - 1` for |x| ≤ 20, with the relative accuracy of `exp` near 0 too.
#[inline(always)]
unsafe fn exp_less_one<V: Vector>(x: V) -> V {
    // Safety: the caller's; the power is between -29 and 29.
    unsafe {
        let (k, r) = reduced(x);
        let power = k.power_of_two();
        r.mul_add(power, power.sub(V::splat(1.0)))
    }
}

/// `tanh x = m / (m + 2)` with `m = e²ˣ - 1`.
#[inline(always)]
pub(super) unsafe fn tanh<V: Vector>(x: V) -> V {
    // Safety: the caller's.
    unsafe {
        let m = exp_less_one(clamp(x.add(x), 20.0));
        m.div(m.add(V::splat(2.0)))
    }
}

/// `s = 1 / (1 + e⁻ˣ)` and its derivative `e / (1 + e)²`, with `e = exp(-|x|)`: one exponential and
/// one division for both.
#[inline(always)]
pub(super) unsafe fn sigmoid_and_slope<V: Vector>(x: V) -> (V, V) {
    // Safety: the caller's.
    unsafe {
        let e = exp(negative(abs(x)));
        let r = V::splat(1.0).div(e.add(V::splat(1.0)));
        let below = e.mul(r);
        (r.sub(below).where_positive(x).add(below), below.mul(r))
    }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(super) unsafe fn sigmoid<V: Vector>(x: V) -> V {
    // Safety: the caller's.
    unsafe { sigmoid_and_slope(x).0 }
}

/// Derivative of the sigmoid.
#[inline(always)]
pub(super) unsafe fn sigmoid_slope<V: Vector>(x: V) -> V {
    // Safety: the caller's.
    unsafe { sigmoid_and_slope(x).1 }
}

/// `ln(1 + eˣ) = max(x, 0) + ln(1 + u)` with `u = exp(-|x|)`, and
/// `ln(1 + u) = 2 artanh(u / (u + 2))` by its series.
#[inline(always)]
pub(super) unsafe fn softplus<V: Vector>(x: V) -> V {
    const SERIES: [f32; 8] = [
        2.0,
        2.0 / 3.0,
        2.0 / 5.0,
        2.0 / 7.0,
        2.0 / 9.0,
        2.0 / 11.0,
        2.0 / 13.0,
        2.0 / 15.0,
    ];
    // Safety: the caller's.
    unsafe {
        let u = exp(negative(abs(x)));
        let s = u.div(u.add(V::splat(2.0)));
        polynomial(s.mul(s), &SERIES).mul_add(s, bounded(x, 0.0))
    }
}

/// The standard normal distribution function and `exp(-x² / 2)`.
///
/// `erfc(z) = t P(t) exp(-z²)` with `t = 1 / (1 + z / 2)`; P is a least-maximum fit of our own on z
/// from 0 to 14.5, relative error 4.4e-8 before rounding.
#[inline(always)]
pub(super) unsafe fn normal<V: Vector>(x: V) -> (V, V) {
    const HALF_P: [f32; 9] = [
        0.5 * 0.282_084_32,
        0.5 * 0.282_412_1,
        0.5 * 0.242_835_03,
        0.5 * 0.203_752_89,
        0.5 * -0.029_149_381,
        0.5 * 0.281_734_53,
        0.5 * -0.490_407_47,
        0.5 * 0.286_124_5,
        0.5 * -0.059_386_57,
    ];
    // Safety: the caller's.
    unsafe {
        let one = V::splat(1.0);
        let t = one.div(abs(x).mul_add(V::splat(std::f32::consts::FRAC_1_SQRT_2 / 2.0), one));
        let e = exp(x.mul(x).mul(V::splat(-0.5)));
        let tail = polynomial(t, &HALF_P).mul(t).mul(e);
        (tail.add(one.sub(tail.add(tail)).where_positive(x)), e)
    }
}
