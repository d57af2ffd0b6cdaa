//! Activations and the gradients through them.
//!
//! With Φ the standard normal distribution function and σ(x) = 1 / (1 + e⁻ˣ):
//!
//! | | value | derivative |
//! |---|---|---|
//! | `Relu` | max(x, 0) | 1 where x > 0, else 0 |
//! | `LeakyRelu(α)` | x, or α x below 0 | 1 where x > 0, else α |
//! | `Gelu` | x Φ(x) | Φ(x) + x φ(x) |
//! | `GeluTanh` | x σ(2u), u = √(2/π) (x + 0.044715 x³) | σ(2u) + 2 x u' σ'(2u) |
//! | `Softplus` | ln(1 + eˣ) | σ(x) |
//! | `Sigmoid` | σ(x) | σ(x) σ(-x) |
//! | `Tanh` | tanh x | 4 σ'(2x) |
//! | `Silu` | x σ(x) | σ(x) + x σ'(x) |
//! | `HardSwish` | x min(max(x + 3, 0), 6) / 6 | 0 up to -3, 1 from 3 on, else (2x + 3) / 6 |
//! | `HardSigmoid(α, β)` | min(max(α x + β, 0), 1) | α where that is between 0 and 1, else 0 |
//! | `Clip(a, b)` | min(max(x, a), b) | 1 where a < x < b, else 0 |
//!
//! Absolute errors are below 3e-7 max(1, |f|) (against `f64`, on every instruction set). NaN gives
//! NaN, except in the derivative of curves with kinks, which is 0 there (`LeakyRelu`: α); an
//! infinite x gives the limit, except `Gelu`, `GeluTanh` and `Silu` at -∞: NaN.
#![allow(unsafe_code, reason = "see `simd`")]

use super::math::{
    between, clamp, normal, sigmoid, sigmoid_and_slope, sigmoid_slope, softplus, tanh,
};
use crate::simd::{self, Kernel, LANES, Vector};

/// A function applied to each number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Negative numbers become 0.
    Relu,
    /// Negative numbers are multiplied by this factor.
    LeakyRelu(f32),
    /// x Φ(x).
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// ln(1 + eˣ).
    Softplus,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// x σ(x).
    Silu,
    /// x min(max(x + 3, 0), 6) / 6.
    HardSwish,
    /// min(max(α x + β, 0), 1).
    HardSigmoid(f32, f32),
    /// Numbers outside these bounds become the nearer one.
    Clip(f32, f32),
}

/// A function and its derivative.
trait Curve: Copy {
    /// # Safety
    ///
    /// The processor has the instructions of `V`; so too below.
    unsafe fn value<V: Vector>(self, x: V) -> V;
    unsafe fn slope<V: Vector>(self, x: V) -> V;
}

/// Defines a curve; `Safety` of the blocks: the trait asks it of the caller.
macro_rules! curve {
    ($name:ident $(($($field:ident),+))?, $x:ident: $value:expr, $slope:expr) => {
        #[derive(Clone, Copy)]
        struct $name $(($(curve!(@number $field)),+))?;

        impl Curve for $name {
            #[inline(always)]
            unsafe fn value<V: Vector>(self, $x: V) -> V {
                $(let Self($($field),+) = self;)?
                unsafe { $value }
            }
            #[inline(always)]
            unsafe fn slope<V: Vector>(self, $x: V) -> V {
                $(let Self($($field),+) = self;)?
                unsafe { $slope }
            }
        }
    };
    (@number $field:ident) => { f32 };
}

curve!(Relu, x: V::zero().max(x), V::splat(1.0).where_positive(x));
curve!(LeakyRelu(alpha), x: x.keep_at_least(V::zero(), x.mul(V::splat(alpha))),
    V::splat(1.0).where_positive(x).keep_at_least(V::splat(1.0), V::splat(alpha)));
curve!(Softplus, x: softplus(x), sigmoid(x));
curve!(Sigmoid, x: sigmoid(x), sigmoid_slope(x));
curve!(Tanh, x: tanh(x), V::splat(4.0).mul(sigmoid_slope(x.add(x))));
curve!(Gelu, x: x.mul(normal(x).0), {
    let (distribution, e) = normal(x);
    // Beyond 20 the density is 0, and infinity times 0 none.
    clamp(x, 20.0).mul(V::splat(0.398_942_3)).mul_add(e, distribution)
});
curve!(GeluTanh, x: x.mul(sigmoid(twice_u(clamp(x, 20.0))[0])), {
    let x = clamp(x, 20.0);
    let [u, slope] = twice_u(x);
    let (s, change) = sigmoid_and_slope(u);
    x.mul(slope).mul_add(change, s)
});

curve!(Silu, x: x.mul(sigmoid(x)), {
    let (s, change) = sigmoid_and_slope(x);
    clamp(x, 100.0).mul_add(change, s)
});
curve!(HardSwish, x: {
    let share = between(x.add(V::splat(3.0)), 0.0, 6.0).mul(V::splat(1.0 / 6.0));
    // No number below -3 counts, so that -∞ gives 0.
    V::splat(-3.0).max(x).mul(share)
}, {
    let below = V::splat(3.0).sub(x);
    let above = V::splat(1.0).sub(V::splat(1.0).where_positive(below));
    let inner = x.add(x).add(V::splat(3.0)).div(V::splat(6.0)).where_positive(below);
    inner.add(above).where_positive(x.add(V::splat(3.0)))
});
curve!(HardSigmoid(alpha, beta), x: between(x.mul(V::splat(alpha)).add(V::splat(beta)), 0.0, 1.0), {
    let s = x.mul(V::splat(alpha)).add(V::splat(beta));
    V::splat(alpha).where_positive(s).where_positive(V::splat(1.0).sub(s))
});
curve!(Clip(low, high), x: between(x, low, high),
    V::splat(1.0).where_positive(x.sub(V::splat(low))).where_positive(V::splat(high).sub(x)));

/// 2u of `GeluTanh` and its derivative.
#[inline(always)]
unsafe fn twice_u<V: Vector>(x: V) -> [V; 2] {
    const C: f32 = 1.595_769;
    const A: f32 = C * 0.044_715;
    // Safety: the caller's.
    unsafe {
        let square = x.mul(x);
        [
            x.mul(square.mul_add(V::splat(A), V::splat(C))),
            square.mul_add(V::splat(3.0 * A), V::splat(C)),
        ]
    }
}

struct Value<C> {
    curve: C,
    len: usize,
    x: *const f32,
    y: *mut f32,
}

impl<C: Curve> Kernel for Value<C> {
    type Output = ();

    /// # Safety
    ///
    /// `x` and `y` hold `len` numbers; they may be the same.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { curve, len, x, y } = self;
        let whole = len / LANES * LANES;
        // Safety: stated above.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                curve.value(V::load(x.add(i))).store(y.add(i));
            }
            if whole < len {
                curve
                    .value(V::load_part(x.add(whole), len - whole))
                    .store_part(y.add(whole), len - whole);
            }
        }
    }
}

struct Slope<C> {
    curve: C,
    len: usize,
    x: *const f32,
    g: *const f32,
    dx: *mut f32,
}

impl<C: Curve> Kernel for Slope<C> {
    type Output = ();

    /// # Safety
    ///
    /// `x`, `g` and `dx` hold `len` numbers.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            curve,
            len,
            x,
            g,
            dx,
        } = self;
        let whole = len / LANES * LANES;
        // Safety: stated above.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                V::load(g.add(i))
                    .mul(curve.slope(V::load(x.add(i))))
                    .store(dx.add(i));
            }
            if whole < len {
                let n = len - whole;
                V::load_part(g.add(whole), n)
                    .mul(curve.slope(V::load_part(x.add(whole), n)))
                    .store_part(dx.add(whole), n);
            }
        }
    }
}

struct Both<C> {
    curve: C,
    len: usize,
    x: *const f32,
    y: *mut f32,
    slope: *mut f32,
}

impl<C: Curve> Kernel for Both<C> {
    type Output = ();

    /// # Safety
    ///
    /// `x`, `y` and `slope` hold `len` numbers.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            curve,
            len,
            x,
            y,
            slope,
        } = self;
        let whole = len / LANES * LANES;
        // Safety: stated above.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                let x = V::load(x.add(i));
                curve.value(x).store(y.add(i));
                curve.slope(x).store(slope.add(i));
            }
            if whole < len {
                let (x, n) = (V::load_part(x.add(whole), len - whole), len - whole);
                curve.value(x).store_part(y.add(whole), n);
                curve.slope(x).store_part(slope.add(whole), n);
            }
        }
    }
}

/// Runs `$job` with `$curve` bound to the curve that `$kind` names.
macro_rules! with_curve {
    ($kind:expr, $curve:ident => $job:expr) => {
        match $kind {
            Activation::Relu => with_curve!(@run $curve = Relu, $job),
            Activation::LeakyRelu(alpha) => with_curve!(@run $curve = LeakyRelu(alpha), $job),
            Activation::Gelu => with_curve!(@run $curve = Gelu, $job),
            Activation::GeluTanh => with_curve!(@run $curve = GeluTanh, $job),
            Activation::Softplus => with_curve!(@run $curve = Softplus, $job),
            Activation::Sigmoid => with_curve!(@run $curve = Sigmoid, $job),
            Activation::Tanh => with_curve!(@run $curve = Tanh, $job),
            Activation::Silu => with_curve!(@run $curve = Silu, $job),
            Activation::HardSwish => with_curve!(@run $curve = HardSwish, $job),
            Activation::HardSigmoid(a, b) => with_curve!(@run $curve = HardSigmoid(a, b), $job),
            Activation::Clip(a, b) => with_curve!(@run $curve = Clip(a, b), $job),
        }
    };
    (@run $curve:ident = $value:expr, $job:expr) => {{
        let $curve = $value;
        simd::run($job)
    }};
}

/// `y = act(x)`.
///
/// # Panics
///
/// If the lengths differ.
pub fn activate(kind: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "input and output of an activation");
    let (len, x, y) = (x.len(), x.as_ptr(), y.as_mut_ptr());
    // Safety: both slices hold `len` numbers.
    unsafe { with_curve!(kind, curve => Value { curve, len, x, y }) }
}

/// `y = act(x)` and `slope = act'(x)`, which share most of their work.
///
/// # Panics
///
/// If the lengths differ.
pub fn activate_with_slope(kind: Activation, x: &[f32], y: &mut [f32], slope: &mut [f32]) {
    assert_eq!(
        [x.len(), slope.len()],
        [y.len(); 2],
        "input, output and slopes of an activation"
    );
    let (len, x, y, slope) = (x.len(), x.as_ptr(), y.as_mut_ptr(), slope.as_mut_ptr());
    // Safety: the slices hold `len` numbers.
    unsafe { with_curve!(kind, curve => Both { curve, len, x, y, slope }) }
}

/// `y = act(y)`.
pub fn activate_in_place(kind: Activation, y: &mut [f32]) {
    let (len, y) = (y.len(), y.as_mut_ptr());
    // Safety: the slice holds `len` numbers, each read before it is written.
    unsafe { with_curve!(kind, curve => Value { curve, len, x: y.cast_const(), y }) }
}

/// `dx = g act'(x)`, x being what the activation was applied to.
///
/// # Panics
///
/// If the lengths differ.
pub fn activate_grad(kind: Activation, x: &[f32], g: &[f32], dx: &mut [f32]) {
    assert_eq!(
        [x.len(), g.len()],
        [dx.len(); 2],
        "input and gradients of an activation"
    );
    let (len, x, g, dx) = (x.len(), x.as_ptr(), g.as_ptr(), dx.as_mut_ptr());
    // Safety: the slices hold `len` numbers.
    unsafe { with_curve!(kind, curve => Slope { curve, len, x, g, dx }) }
}

#[cfg(test)]
mod tests {
    use super::super::math::exp;
    use super::*;
    use crate::simd::{Isa, on_each};

    curve!(Exp, x: exp(x), exp(x));

    fn exps(isa: Isa, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        // Safety: lengths agree, and the instruction set is one that `on_each` found.
        unsafe {
            isa.run(Value {
                curve: Exp,
                len: x.len(),
                x: x.as_ptr(),
                y: y.as_mut_ptr(),
            })
        };
        y
    }

    #[test]
    fn exp_is_within_two_units() {
        let x: Vec<f32> = (-87_329..=0)
            .map(|i| i as f32 * 1e-3)
            .chain((0..999).map(|i| (i as f32 - 999.0) * 1e-9))
            .collect();
        on_each(|isa| {
            for (&x, y) in x.iter().zip(exps(isa, &x)) {
                let truth = f64::from(x).exp();
                let unit = f64::from(f32::from_bits((truth as f32).to_bits() + 1))
                    - f64::from(truth as f32);
                assert!(
                    (f64::from(y) - truth).abs() <= 2.0 * unit,
                    "{isa:?}: exp {x} = {y}, not {truth}"
                );
            }
            let ends = exps(
                isa,
                &[f32::NEG_INFINITY, f32::MIN, -200.0, -87.34, 0.0, f32::NAN],
            );
            assert_eq!(ends[..5], [0.0, 0.0, 0.0, 0.0, 1.0]);
            assert!(ends[5].is_nan());
        });
    }

    /// `erf z = 2/√π exp(-z²) Σ 2ⁿ z²ⁿ⁺¹ / (1 · 3 ⋯ (2n + 1))`.
    fn erf(z: f64) -> f64 {
        if z.abs() > 6.0 {
            return z.signum();
        }
        let (mut sum, mut term) = (0.0, z);
        for n in 1..300 {
            sum += term;
            term *= 2.0 * z * z / f64::from(2 * n + 1);
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-z * z).exp() * sum
    }

    fn slow(kind: Activation, x: f64) -> [f64; 2] {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match kind {
            Activation::Relu => [x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }],
            Activation::LeakyRelu(a) => [
                if x < 0.0 { f64::from(a) * x } else { x },
                if x > 0.0 { 1.0 } else { f64::from(a) },
            ],
            Activation::Gelu => {
                let distribution = 0.5 * (1.0 + erf(x / 2f64.sqrt()));
                [
                    x * distribution,
                    distribution + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt(),
                ]
            }
            Activation::GeluTanh => {
                let c = (2.0 / std::f64::consts::PI).sqrt();
                let t = (c * (x + 0.044_715 * x * x * x)).tanh();
                let slope = (1.0 - t * t) * c * (1.0 + 3.0 * 0.044_715 * x * x);
                [0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * slope]
            }
            Activation::Softplus => [x.max(0.0) + (-x.abs()).exp().ln_1p(), sigmoid(x)],
            Activation::Sigmoid => [sigmoid(x), sigmoid(x) * sigmoid(-x)],
            Activation::Tanh => [x.tanh(), x.cosh().powi(-2)],
            Activation::Silu => [x * sigmoid(x), sigmoid(x) + x * sigmoid(x) * sigmoid(-x)],
            Activation::HardSwish if x <= -3.0 => [0.0, 0.0],
            Activation::HardSwish if x >= 3.0 => [x, 1.0],
            Activation::HardSwish => [x * (x + 3.0) / 6.0, (2.0 * x + 3.0) / 6.0],
            Activation::HardSigmoid(a, b) => {
                let s = f64::from(a) * x + f64::from(b);
                [
                    s.clamp(0.0, 1.0),
                    if s > 0.0 && s < 1.0 {
                        f64::from(a)
                    } else {
                        0.0
                    },
                ]
            }
            Activation::Clip(a, b) => {
                let (a, b) = (f64::from(a), f64::from(b));
                [x.clamp(a, b), if x > a && x < b { 1.0 } else { 0.0 }]
            }
        }
    }

    const KINDS: [Activation; 11] = [
        Activation::Relu,
        Activation::LeakyRelu(0.01),
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Silu,
        Activation::HardSwish,
        Activation::HardSigmoid(0.2, 0.5),
        Activation::Clip(0.0, 6.0),
    ];

    #[test]
    fn against_double_precision() {
        let fine = (-30_001..=30_001).map(|i| i as f32 * 1e-3);
        let x: Vec<f32> = fine
            .chain([1e-20, -1e-20, 90.0, -90.0, 1e4, -1e4, 1e30, -1e30])
            .collect();
        let g: Vec<f32> = (0..x.len()).map(|i| (i % 7) as f32 - 3.0).collect();
        on_each(|isa| {
            for kind in KINDS {
                let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                activate(kind, &x, &mut y);
                activate_grad(kind, &x, &g, &mut dx);
                let mut inside = x.clone();
                activate_in_place(kind, &mut inside);
                assert_eq!(inside, y);
                let (mut again, mut slope) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                activate_with_slope(kind, &x, &mut again, &mut slope);
                assert_eq!(again, y);
                assert!(
                    slope.iter().zip(&g).zip(&dx).all(|((s, g), d)| s * g == *d),
                    "{isa:?} {kind:?}"
                );
                for i in 0..x.len() {
                    let [value, slope] = slow(kind, f64::from(x[i]));
                    let (error, bound) =
                        ((f64::from(y[i]) - value).abs(), 3e-7 * value.abs().max(1.0));
                    assert!(
                        error <= bound,
                        "{isa:?}: {kind:?}({}) = {}, not {value}",
                        x[i],
                        y[i]
                    );
                    let truth = f64::from(g[i]) * slope;
                    let (error, bound) = (
                        (f64::from(dx[i]) - truth).abs(),
                        3e-7 * f64::from(g[i].abs()).max(1.0) * slope.abs().max(1.0),
                    );
                    assert!(
                        error <= bound,
                        "{isa:?}: {kind:?}'({}) gives {}, not {truth}",
                        x[i],
                        dx[i]
                    );
                }
            }
        });
    }

    #[test]
    fn small_values_keep_their_digits() {
        let x: Vec<f32> = (1..400).map(|i| i as f32 * 1e-4).collect();
        let low: Vec<f32> = (1..400).map(|i| i as f32 * -0.2).collect();
        on_each(|isa| {
            for (kind, x) in [
                (Activation::Tanh, &x),
                (Activation::Sigmoid, &low),
                (Activation::Softplus, &low),
                (Activation::Gelu, &x),
            ] {
                let mut y = vec![0.0; x.len()];
                activate(kind, x, &mut y);
                for (&x, &y) in x.iter().zip(&y) {
                    let truth = slow(kind, f64::from(x))[0];
                    assert!(
                        (f64::from(y) / truth - 1.0).abs() < 5e-7,
                        "{isa:?}: {kind:?}({x}) = {y}, not {truth}"
                    );
                }
            }
        });
    }

    #[test]
    fn nan_and_infinity() {
        on_each(|isa| {
            for kind in KINDS {
                let (mut y, mut dx) = ([0.0; 3], [0.0; 3]);
                let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
                activate(kind, &x, &mut y);
                activate_grad(kind, &x, &[1.0; 3], &mut dx);
                let smooth = matches!(
                    kind,
                    Activation::Gelu
                        | Activation::GeluTanh
                        | Activation::Softplus
                        | Activation::Sigmoid
                        | Activation::Tanh
                        | Activation::Silu
                );
                assert!(
                    y[0].is_nan() && (dx[0].is_nan() || !smooth),
                    "{isa:?} {kind:?}"
                );
                let most = match kind {
                    Activation::Sigmoid | Activation::Tanh | Activation::HardSigmoid(..) => 1.0,
                    Activation::Clip(_, most) => most,
                    _ => f32::INFINITY,
                };
                assert_eq!(y[1], most, "{isa:?} {kind:?}");
                let slope = if most < f32::INFINITY { 0.0 } else { 1.0 };
                assert_eq!(dx[1], slope, "{isa:?} {kind:?}");
                let low = if let Activation::LeakyRelu(a) = kind {
                    a
                } else {
                    0.0
                };
                assert_eq!(dx[2], low, "{isa:?} {kind:?}");
            }
        });
    }

    #[test]
    fn a_number_has_the_same_bits_wherever_it_stands() {
        let x: Vec<f32> = (0..53).map(|i| (i as f32 * 0.71).sin() * 4.0).collect();
        on_each(|isa| {
            for kind in KINDS {
                let (mut y, mut dx) = (vec![0.0; 53], vec![0.0; 53]);
                activate(kind, &x, &mut y);
                activate_grad(kind, &x, &x, &mut dx);
                for i in 0..53 {
                    let (mut one, mut slope) = ([0.0], [0.0]);
                    activate(kind, &x[i..=i], &mut one);
                    activate_grad(kind, &x[i..=i], &x[i..=i], &mut slope);
                    assert_eq!(
                        [one[0].to_bits(), slope[0].to_bits()],
                        [y[i].to_bits(), dx[i].to_bits()],
                        "{isa:?} {kind:?}"
                    );
                }
            }
        });
    }
}
