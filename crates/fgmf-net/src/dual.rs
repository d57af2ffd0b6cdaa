//! Dual numbers over tensors: a value and, when somebody asked for it, its derivative along one
//! direction.
//!
//! Every operator is written once, over [`Dual`]. With no tangent it is plain arithmetic. With the
//! tangent of the input set, running the graph forward gives the Jacobian-vector product, and
//! running the *backward* pass on the same duals gives the exact Hessian-vector product (forward
//! over reverse, Pearlmutter 1994): no second tape, no second set of rules.

use crate::tensor::{MapFn, Precision, Tensor};
use fgmf_kernels::{Conv2d, Pool2d, Resize2d};

/// `value + ε tangent`, with `ε² = 0`; a missing tangent is zero.
#[derive(Clone, Debug)]
pub struct Dual {
    /// The value.
    pub value: Tensor,
    /// Its directional derivative, of the same shape.
    pub tangent: Option<Tensor>,
}

impl From<Tensor> for Dual {
    fn from(value: Tensor) -> Self {
        Self {
            value,
            tangent: None,
        }
    }
}

impl Dual {
    /// A value with a direction of the same shape.
    pub fn new(value: Tensor, tangent: Tensor) -> Self {
        assert_eq!(
            value.shape(),
            tangent.shape(),
            "dual: value and tangent differ in shape"
        );
        Self {
            value,
            tangent: Some(tangent),
        }
    }

    /// Shape of the value.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.value.rank()
    }

    /// Precision of the value.
    pub fn precision(&self) -> Precision {
        self.value.precision()
    }

    /// The tangent, zeros if there is none.
    pub fn tangent_or_zeros(&self) -> Tensor {
        self.tangent
            .clone()
            .unwrap_or_else(|| self.value.zeros_like())
    }

    /// The value as a constant.
    pub fn detach(&self) -> Self {
        self.value.clone().into()
    }

    /// A linear function.
    pub fn linear(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            value: f(&self.value),
            tangent: self.tangent.as_ref().map(f),
        }
    }

    /// A function linear in each of two arguments: the product rule.
    pub fn bilinear(&self, other: &Self, f: impl Fn(&Tensor, &Tensor) -> Tensor) -> Self {
        let left = self.tangent.as_ref().map(|t| f(t, &other.value));
        let right = other.tangent.as_ref().map(|t| f(&self.value, t));
        Self {
            value: f(&self.value, &other.value),
            tangent: plus(left, right),
        }
    }

    /// An elementwise function given with its derivative: the chain rule.
    pub fn map(&self, f: &impl MapFn, derivative: &impl MapFn) -> Self {
        Self {
            value: self.value.map(f),
            tangent: self
                .tangent
                .as_ref()
                .map(|t| t.mul(&self.value.map(derivative))),
        }
    }

    /// `self + other`, broadcast.
    pub fn add(&self, other: &Self) -> Self {
        let value = self.value.add(&other.value);
        let fit = |t: &Option<Tensor>| t.as_ref().map(|t| t.expand(value.shape()));
        let tangent = plus(fit(&self.tangent), fit(&other.tangent));
        Self { value, tangent }
    }

    /// `-self`.
    pub fn neg(&self) -> Self {
        self.linear(Tensor::neg)
    }

    /// `self - other`, broadcast.
    pub fn sub(&self, other: &Self) -> Self {
        if other.tangent.is_none() && self.tangent.is_none() {
            return self.value.sub(&other.value).into();
        }
        self.add(&other.neg())
    }

    /// `self * other`, broadcast.
    pub fn mul(&self, other: &Self) -> Self {
        self.bilinear(other, Tensor::mul)
    }

    /// `self / other`, broadcast.
    pub fn div(&self, other: &Self) -> Self {
        let value = self.value.div(&other.value);
        // (a / b)' = (a' - (a / b) b') / b
        let from_a = self.tangent.as_ref().map(|t| t.div(&other.value));
        let from_b = other
            .tangent
            .as_ref()
            .map(|t| value.mul(t).div(&other.value).neg());
        Self {
            tangent: plus(from_a.map(|t| t.expand(value.shape())), from_b),
            value,
        }
    }

    /// `a * self + b`.
    pub fn affine(&self, a: f64, b: f64) -> Self {
        Self {
            value: self.value.affine(a, b),
            tangent: self.tangent.as_ref().map(|t| t.affine(a, 0.0)),
        }
    }

    /// Sum over axes, kept with size 1.
    pub fn sum(&self, axes: &[usize]) -> Self {
        self.linear(|t| t.sum(axes))
    }

    /// Mean over axes, kept with size 1.
    pub fn mean(&self, axes: &[usize]) -> Self {
        let n: usize = axes.iter().map(|&a| self.shape()[a]).product();
        self.sum(axes).affine(1.0 / n as f64, 0.0)
    }

    /// Sums over what broadcasting repeated.
    pub fn sum_to(&self, shape: &[usize]) -> Self {
        self.linear(|t| t.sum_to(shape))
    }

    /// Matrix product over the last two axes.
    pub fn matmul(&self, other: &Self) -> Self {
        self.bilinear(other, Tensor::matmul)
    }

    /// Last two axes swapped.
    pub fn transpose(&self) -> Self {
        self.linear(Tensor::transpose)
    }

    /// Another shape of equal size.
    pub fn reshape(&self, shape: &[usize]) -> Self {
        self.linear(|t| t.reshape(shape))
    }

    /// Axes in another order.
    pub fn permute(&self, axes: &[usize]) -> Self {
        self.linear(|t| t.permute(axes))
    }

    /// Repeats along axes of size 1.
    pub fn expand(&self, shape: &[usize]) -> Self {
        self.linear(|t| t.expand(shape))
    }

    /// Part of one axis.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Self {
        self.linear(|t| t.narrow(axis, start, len))
    }

    /// Joined along one axis.
    pub fn concat(parts: &[Self], axis: usize) -> Self {
        let value = Tensor::concat(
            &parts.iter().map(|p| p.value.clone()).collect::<Vec<_>>(),
            axis,
        );
        let tangent = parts.iter().any(|p| p.tangent.is_some()).then(|| {
            Tensor::concat(
                &parts.iter().map(Self::tangent_or_zeros).collect::<Vec<_>>(),
                axis,
            )
        });
        Self { value, tangent }
    }

    /// Convolution.
    pub fn conv2d(&self, weight: &Self, s: &Conv2d) -> Self {
        self.bilinear(weight, |x, w| x.conv2d(w, s))
    }

    /// Adjoint of the convolution in its input; `self` is the output cotangent.
    pub fn conv2d_grad_input(&self, weight: &Self, s: &Conv2d) -> Self {
        self.bilinear(weight, |dy, w| dy.conv2d_grad_input(w, s))
    }

    /// Adjoint of the convolution in its weight; `self` is the input.
    pub fn conv2d_grad_weight(&self, dy: &Self, s: &Conv2d) -> Self {
        self.bilinear(dy, |x, dy| x.conv2d_grad_weight(dy, s))
    }

    /// Mean over windows, or its adjoint.
    pub fn avg_pool2d(&self, s: &Pool2d, count_include_pad: bool, adjoint: bool) -> Self {
        self.linear(|t| t.avg_pool2d(s, count_include_pad, adjoint))
    }

    /// Resampling, or its adjoint.
    pub fn resize2d(&self, s: &Resize2d, adjoint: bool) -> Self {
        self.linear(|t| t.resize2d(s, adjoint))
    }
}

/// Sum of two tangents, of which either may be missing.
pub(crate) fn plus(a: Option<Tensor>, b: Option<Tensor>) -> Option<Tensor> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.add(&b)),
        (a, b) => a.or(b),
    }
}

/// Adds a cotangent to what has arrived so far.
pub(crate) fn accumulate(slot: &mut Option<Dual>, g: Dual) {
    *slot = Some(match slot.take() {
        Some(old) => old.add(&g),
        None => g,
    });
}
