//! Activations and arithmetic.

use super::base::{Local, Mode, Operator, Saved, arity};
use crate::dual::Dual;
use crate::tensor::{broadcast_shape, num::Float, unary_fn};

/// Elementwise functions of one input. Derivatives at kinks are those of the flat side where there
/// is one (0 for ReLU and the absolute value at 0, 0 for Clip and HardSigmoid at their bounds, 0
/// for HardSwish at −3), else `alpha` for LeakyReLU and ELU at 0 and 1 for HardSwish at 3, as in
/// PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// max(0, x).
    Relu,
    /// x if x ≥ 0, else `alpha` x.
    LeakyRelu {
        /// Slope for negative values.
        alpha: f64,
    },
    /// x if x ≥ 0, else `alpha` (eˣ − 1).
    Elu {
        /// Limit for negative values, negated.
        alpha: f64,
    },
    /// min(max(x, `min`), `max`).
    Clip {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// x Φ(x), exact (by the error function).
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// Error function.
    Erf,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// ln(1 + eˣ).
    Softplus,
    /// x · HardSigmoid(x; 1/6, 1/2).
    HardSwish,
    /// max(0, min(1, `alpha` x + `beta`)).
    HardSigmoid {
        /// Slope.
        alpha: f64,
        /// Offset.
        beta: f64,
    },
    /// eˣ.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// −x.
    Neg,
    /// |x|.
    Abs,
    /// 1 / x.
    Reciprocal,
    /// The nearest whole number, the even one of two. Its derivative is 0, also at the jumps.
    Round,
    /// The largest whole number that is not above x. Its derivative is 0, also at the jumps.
    Floor,
    /// The smallest whole number that is not below x. Its derivative is 0, also at the jumps.
    Ceil,
    /// min(max(round(x / `scale`), `min`), `max`), the even one of two: ONNX's `QuantizeLinear`,
    /// counted from its zero point. Its derivative is straight-through, that of x / `scale` where
    /// the result is not cut off, and 0 elsewhere.
    Quantize {
        /// Distance of two values of x that are told apart; above 0.
        scale: f64,
        /// Lower bound, a whole number.
        min: f64,
        /// Upper bound, a whole number.
        max: f64,
    },
    /// x.
    Identity,
}

/// `f` and its first two derivatives; runs `f` (order 0) or `f'` (order 1) over a dual.
macro_rules! tower {
    ($x:expr, $order:expr, { $($field:ident),* } |$v:ident: $t:ident| $f0:expr; $f1:expr;
        $f2:expr) => {{
        unary_fn!(F0 { $($field),* } |$v: $t| $f0);
        unary_fn!(F1 { $($field),* } |$v: $t| $f1);
        unary_fn!(F2 { $($field),* } |$v: $t| $f2);
        if $order == 0 {
            $x.map(&F0 { $($field),* }, &F1 { $($field),* })
        } else {
            $x.map(&F1 { $($field),* }, &F2 { $($field),* })
        }
    }};
}

fn logistic<T: Float>(x: T) -> T {
    // Never exponentiates a positive number, so it cannot overflow.
    let e = (T::zero() - x.abs()).exp();
    if x < T::zero() {
        e / (T::one() + e)
    } else {
        T::one() / (T::one() + e)
    }
}

fn normal_cdf<T: Float>(x: T) -> T {
    T::c(0.5) * (T::one() + (x * T::c(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

fn normal_pdf<T: Float>(x: T) -> T {
    T::c(0.398_942_280_401_432_7) * (T::c(-0.5) * x * x).exp()
}

/// GELU's tanh form and its first two derivatives: y = x s(u)/1 with s = (1 + tanh u) / 2, u =
/// √(2/π) (x + 0.044715 x³).
fn gelu_tanh<T: Float>(x: T) -> [T; 3] {
    let (c, a) = (T::c(0.797_884_560_802_865_4), T::c(0.044_715));
    let u = c * (x + a * x * x * x);
    let du = c * (T::one() + T::c(3.0) * a * x * x);
    let ddu = c * T::c(6.0) * a * x;
    let t = u.tanh();
    let (half, q) = (T::c(0.5), T::one() - t * t);
    let dt = q * du;
    let ddt = q * ddu - T::c(2.0) * t * q * du * du;
    [
        half * x * (T::one() + t),
        half * (T::one() + t) + half * x * dt,
        dt + half * x * ddt,
    ]
}

impl Unary {
    /// `f(x)` for order 0, `f'(x)` for order 1.
    pub(crate) fn run(self, x: &Dual, order: usize) -> Dual {
        match self {
            Self::Relu => tower!(x, order, {} |v: T| if v < T::zero() { T::zero() } else { v };
                if v > T::zero() { T::one() } else { T::zero() }; T::zero()),
            Self::LeakyRelu { alpha } => {
                tower!(x, order, { alpha } |v: T| if v < T::zero() { alpha * v } else { v };
                if v > T::zero() { T::one() } else { alpha }; T::zero())
            }
            Self::Elu { alpha } => {
                tower!(x, order, { alpha } |v: T|
                    if v < T::zero() { alpha * (v.exp() - T::one()) } else { v };
                if v > T::zero() { T::one() } else { alpha * v.exp() };
                if v > T::zero() { T::zero() } else { alpha * v.exp() })
            }
            Self::Clip { min, max } => {
                tower!(x, order, { min, max } |v: T|
                    if v < min { min } else if v > max { max } else { v };
                if v <= min || v >= max { T::zero() } else { T::one() }; T::zero())
            }
            Self::Gelu => {
                tower!(x, order, {} |v: T| v * normal_cdf(v); normal_cdf(v) + v * normal_pdf(v);
                (T::c(2.0) - v * v) * normal_pdf(v))
            }
            Self::GeluTanh => {
                tower!(x, order, {} |v: T| gelu_tanh(v)[0]; gelu_tanh(v)[1]; gelu_tanh(v)[2])
            }
            Self::Erf => {
                tower!(x, order, {} |v: T| v.erf();
                    T::c(std::f64::consts::FRAC_2_SQRT_PI) * (T::zero() - v * v).exp();
                T::c(-2.0 * std::f64::consts::FRAC_2_SQRT_PI) * v * (T::zero() - v * v).exp())
            }
            Self::Sigmoid => {
                tower!(x, order, {} |v: T| logistic(v); logistic(v) * (T::one() - logistic(v));
                logistic(v) * (T::one() - logistic(v)) * (T::one() - T::c(2.0) * logistic(v)))
            }
            Self::Tanh => tower!(x, order, {} |v: T| v.tanh(); T::one() - v.tanh() * v.tanh();
                T::c(-2.0) * v.tanh() * (T::one() - v.tanh() * v.tanh())),
            Self::Softplus => {
                tower!(x, order, {} |v: T|
                    if v > T::zero() {
                        v + (T::zero() - v).exp().ln_1p()
                    } else {
                        v.exp().ln_1p()
                    };
                logistic(v); logistic(v) * (T::one() - logistic(v)))
            }
            Self::HardSwish => {
                tower!(x, order, {} |v: T|
                    if v <= T::c(-3.0) {
                        T::zero()
                    } else if v >= T::c(3.0) {
                        v
                    } else {
                        v * (v + T::c(3.0)) / T::c(6.0)
                    };
                    if v <= T::c(-3.0) {
                        T::zero()
                    } else if v >= T::c(3.0) {
                        T::one()
                    } else {
                        (v + v + T::c(3.0)) / T::c(6.0)
                    };
                if v <= T::c(-3.0) || v >= T::c(3.0) { T::zero() } else { T::c(1.0 / 3.0) })
            }
            Self::HardSigmoid { alpha, beta } => tower!(x, order, { alpha, beta } |v: T| {
                    let s = alpha * v + beta;
                    if s < T::zero() { T::zero() } else if s > T::one() { T::one() } else { s }
                };
                {
                    let s = alpha * v + beta;
                    if s <= T::zero() || s >= T::one() { T::zero() } else { alpha }
                };
                T::zero()),
            Self::Exp => tower!(x, order, {} |v: T| v.exp(); v.exp(); v.exp()),
            Self::Log => tower!(x, order, {} |v: T| v.ln(); T::one() / v; T::c(-1.0) / (v * v)),
            Self::Sqrt => {
                tower!(x, order, {} |v: T| v.sqrt(); T::c(0.5) / v.sqrt();
                    T::c(-0.25) / (v * v.sqrt()))
            }
            Self::Neg => tower!(x, order, {} |v: T| T::zero() - v; T::c(-1.0); T::zero()),
            Self::Abs => tower!(x, order, {} |v: T| v.abs();
                if v > T::zero() {
                    T::one()
                } else if v < T::zero() {
                    T::c(-1.0)
                } else {
                    T::zero()
                };
                T::zero()),
            Self::Reciprocal => {
                tower!(x, order, {} |v: T| T::one() / v; T::c(-1.0) / (v * v);
                    T::c(2.0) / (v * v * v))
            }
            Self::Round => tower!(x, order, {} |v: T| v.round_ties_even(); T::zero(); T::zero()),
            Self::Floor => tower!(x, order, {} |v: T| v.floor(); T::zero(); T::zero()),
            Self::Ceil => tower!(x, order, {} |v: T| v.ceil(); T::zero(); T::zero()),
            Self::Quantize { scale, min, max } => {
                tower!(x, order, { scale, min, max } |v: T| {
                    let r = (v / scale).round_ties_even();
                    if r < min { min } else if r > max { max } else { r }
                };
                {
                    let r = (v / scale).round_ties_even();
                    if r < min || r > max { T::zero() } else { T::one() / scale }
                };
                T::zero())
            }
            Self::Identity => tower!(x, order, {} |v: T| v; T::one(); T::zero()),
        }
    }
}

impl Operator for Unary {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        Ok(vec![inputs[0].to_vec()])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let y = if *self == Self::Identity {
            inputs[0].clone()
        } else {
            self.run(inputs[0], 0)
        };
        (vec![y], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let g = local.g();
        let dx = || {
            if *self == Self::Identity {
                g.clone()
            } else {
                g.mul(&self.run(local.inputs[0], 1))
            }
        };
        vec![local.when(0, dx)]
    }
}

/// Elementwise arithmetic of two inputs, broadcast as NumPy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// a + b.
    Add,
    /// a − b.
    Sub,
    /// a · b.
    Mul,
    /// a / b.
    Div,
    /// aᵇ.
    Pow,
}

impl Operator for Binary {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 2, 2)?;
        let shape = broadcast_shape(inputs[0], inputs[1]).ok_or_else(|| {
            format!(
                "expected shapes that broadcast, found {:?} and {:?}",
                inputs[0], inputs[1]
            )
        })?;
        Ok(vec![shape])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let (a, b) = (inputs[0], inputs[1]);
        let y = match self {
            Self::Add => a.add(b),
            Self::Sub => a.sub(b),
            Self::Mul => a.mul(b),
            Self::Div => a.div(b),
            Self::Pow => power::by_base(a, b, 0),
        };
        (vec![y], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (a, b, g) = (local.inputs[0], local.inputs[1], local.g());
        let (da, db): (&dyn Fn() -> Dual, &dyn Fn() -> Dual) = match self {
            Self::Add => (&|| g.clone(), &|| g.clone()),
            Self::Sub => (&|| g.clone(), &|| g.neg()),
            Self::Mul => (&|| g.mul(b), &|| g.mul(a)),
            Self::Div => (&|| g.div(b), &|| g.mul(&local.outputs[0]).div(b).neg()),
            Self::Pow => (&|| g.mul(&power::by_base(a, b, 1)), &|| {
                g.mul(&power::by_exponent(a, b))
            }),
        };
        vec![
            local.when(0, || da().sum_to(a.shape())),
            local.when(1, || db().sum_to(b.shape())),
        ]
    }
}

/// aᵇ, and its partial derivatives as functions of their own, over duals. The terms with ln a are
/// computed only where b has a tangent, since the logarithm of a negative base is not finite.
mod power {
    use crate::dual::Dual;
    use crate::tensor::{Tensor, unary_fn};

    /// ln a, with 0 in place of −∞: the limit of aᵇ ln a at a = 0 is 0.
    fn ln(a: &Tensor) -> Tensor {
        unary_fn!(Ln {} |v: T| if v == T::zero() { T::zero() } else { v.ln() });
        a.map(&Ln {})
    }

    fn run(
        a: &Dual,
        b: &Dual,
        value: Tensor,
        by_a: impl Fn() -> Tensor,
        by_b: impl Fn() -> Tensor,
    ) -> Dual {
        let from_a = a.tangent.as_ref().map(|t| t.mul(&by_a()));
        let from_b = b.tangent.as_ref().map(|t| t.mul(&by_b()));
        Dual {
            value,
            tangent: crate::dual::plus(from_a, from_b),
        }
    }

    /// ∂ᵏ/∂aᵏ aᵇ for k = `order`.
    pub(super) fn by_base(a: &Dual, b: &Dual, order: usize) -> Dual {
        let term = |k| a.value.pow(&b.value, k);
        // Of b aᵇ⁻¹: aᵇ⁻¹ + b aᵇ⁻¹ ln a.
        let lower = || {
            if order == 0 {
                term(0).zeros_like()
            } else {
                a.value.pow(&b.value.affine(1.0, -1.0), 0)
            }
        };
        run(
            a,
            b,
            term(order),
            || term(order + 1),
            || term(order).mul(&ln(&a.value)).add(&lower()),
        )
    }

    /// ∂/∂b aᵇ = aᵇ ln a.
    pub(super) fn by_exponent(a: &Dual, b: &Dual) -> Dual {
        let (term, log) = (|k| a.value.pow(&b.value, k), ln(&a.value));
        let lower = || a.value.pow(&b.value.affine(1.0, -1.0), 0);
        run(
            a,
            b,
            term(0).mul(&log),
            || term(1).mul(&log).add(&lower()),
            || term(0).mul(&log).mul(&log),
        )
    }
}

/// x if x ≥ 0, else slope · x, with a slope tensor that broadcasts to x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PRelu;

impl PRelu {
    fn masks(x: &Dual) -> (Dual, Dual) {
        let positive = x.value.greater(0.0);
        let negative = positive.affine(-1.0, 1.0);
        (positive.into(), negative.into())
    }
}

impl Operator for PRelu {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 2, 2)?;
        match broadcast_shape(inputs[0], inputs[1]) {
            Some(s) if s == inputs[0] => Ok(vec![s]),
            _ => Err(format!(
                "expected a slope that broadcasts to {:?}, found {:?}",
                inputs[0], inputs[1]
            )),
        }
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let (positive, negative) = Self::masks(inputs[0]);
        let y = inputs[0]
            .mul(&positive)
            .add(&inputs[0].mul(&negative).mul(inputs[1]));
        (vec![y], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (x, slope, g) = (local.inputs[0], local.inputs[1], local.g());
        let (positive, negative) = Self::masks(x);
        vec![
            local.when(0, || g.mul(&positive).add(&g.mul(&negative).mul(slope))),
            local.when(1, || g.mul(&negative).mul(x).sum_to(slope.shape())),
        ]
    }
}
