//! Arithmetic of tensors: broadcasting, elementwise functions, reductions, the matrix product.

use super::array::{Precision, Scalar, Tensor, broadcast_shape, by_precision, split_axis};
use super::num;
use fgmf_kernels::Real;
use std::borrow::Cow;

/// An elementwise function of one number, at either precision.
pub trait MapFn {
    /// The value at `x`.
    fn call<T: Scalar + num::Float>(&self, x: T) -> T;
}

/// Declares a unit-like elementwise function: `unary_fn!(Name { field } |x| expression)`, generic
/// over the precision.
macro_rules! unary_fn {
    ($name:ident { $($field:ident),* } |$x:ident: $t:ident| $body:expr) => {
        struct $name { $($field: f64),* }
        impl $crate::tensor::MapFn for $name {
            #[inline(always)]
            #[allow(unused_variables, reason = "a constant derivative does \
                not look at its argument")]
            fn call<$t: $crate::tensor::Scalar + $crate::tensor::num::Float>(&self, $x: $t) -> $t {
                $(let $field = <$t as $crate::tensor::num::Float>::c(self.$field);)*
                $body
            }
        }
    };
}
pub(crate) use unary_fn;

impl Tensor {
    /// `f` of every value.
    pub fn map(&self, f: &impl MapFn) -> Self {
        by_precision!(
            self,
            T,
            Self::new(
                self.shape(),
                self.values::<T>()
                    .iter()
                    .map(|&x| f.call(x))
                    .collect::<Vec<T>>()
            )
        )
    }

    /// Both arrays as views of their common shape. Panics if they have none.
    fn broadcast(&self, other: &Self) -> (Self, Self) {
        let shape = broadcast_shape(self.shape(), other.shape()).unwrap_or_else(|| {
            panic!(
                "{:?} and {:?} do not broadcast",
                self.shape(),
                other.shape()
            )
        });
        (self.expand(&shape), other.expand(&shape))
    }

    /// `self + other`, broadcast.
    pub fn add(&self, other: &Self) -> Self {
        let (a, b) = self.broadcast(other);
        by_precision!(self, T, a.zip_with(&b, |a: T, b| a + b))
    }

    /// `self - other`, broadcast.
    pub fn sub(&self, other: &Self) -> Self {
        let (a, b) = self.broadcast(other);
        by_precision!(self, T, a.zip_with(&b, |a: T, b| a - b))
    }

    /// `self * other`, elementwise, broadcast.
    pub fn mul(&self, other: &Self) -> Self {
        let (a, b) = self.broadcast(other);
        by_precision!(self, T, a.zip_with(&b, |a: T, b| a * b))
    }

    /// `self / other`, elementwise, broadcast.
    pub fn div(&self, other: &Self) -> Self {
        let (a, b) = self.broadcast(other);
        by_precision!(self, T, a.zip_with(&b, |a: T, b| a / b))
    }

    /// The `order`-th derivative of `self ^ other` in `self`, elementwise, broadcast: x^p, p
    /// x^(p−1), p (p−1) x^(p−2), … Where the factor is 0 it is 0, whatever the power: the
    /// derivative of x^0 and the second one of x^1 at 0 are 0.
    #[allow(clippy::float_cmp, reason = "a factor is exactly 0 or it is not")]
    pub fn pow(&self, other: &Self, order: usize) -> Self {
        let (a, b) = self.broadcast(other);
        by_precision!(self, T, {
            a.zip_with(&b, |a: T, b| {
                let factor =
                    (0..order).fold(T::one(), |f, i| f * (b - <T as num::Float>::c(i as f64)));
                if factor == T::zero() {
                    factor
                } else {
                    factor * num::Float::powf(a, b - <T as num::Float>::c(order as f64))
                }
            })
        })
    }

    /// `a * self + b`.
    pub fn affine(&self, a: f64, b: f64) -> Self {
        unary_fn!(Affine { a, b } |x: T| a * x + b);
        self.map(&Affine { a, b })
    }

    /// `-self`.
    pub fn neg(&self) -> Self {
        self.affine(-1.0, 0.0)
    }

    /// 1 where the value is greater than `threshold`, else 0.
    pub fn greater(&self, threshold: f64) -> Self {
        unary_fn!(Greater { threshold } |x: T| if x > threshold { T::one() } else { T::zero() });
        self.map(&Greater { threshold })
    }

    /// Sum over the given axes, which stay with size 1.
    pub fn sum(&self, axes: &[usize]) -> Self {
        axes.iter().fold(self.clone(), |t, &axis| t.sum_axis(axis))
    }

    fn sum_axis(&self, axis: usize) -> Self {
        let (outer, n, inner) = split_axis(self.shape(), axis);
        if n == 1 {
            return self.clone();
        }
        let mut shape = self.shape().to_vec();
        shape[axis] = 1;
        by_precision!(self, T, {
            let x = self.values::<T>();
            let mut y = vec![T::zero(); outer * inner];
            if inner == 1 {
                for (y, row) in y.iter_mut().zip(x.chunks_exact(n.max(1))) {
                    *y = lane_sum(row);
                }
            } else {
                for (o, block) in x.chunks_exact((n * inner).max(1)).enumerate() {
                    let sum = &mut y[o * inner..(o + 1) * inner];
                    for row in block.chunks_exact(inner) {
                        for (s, &v) in sum.iter_mut().zip(row) {
                            *s += v;
                        }
                    }
                }
            }
            Self::new(&shape, y)
        })
    }

    /// Sums over what broadcasting repeated, so that the result has shape `shape`: the adjoint of
    /// [`Tensor::expand`].
    pub fn sum_to(&self, shape: &[usize]) -> Self {
        if self.shape() == shape {
            return self.clone();
        }
        let lead = self.rank() - shape.len();
        let axes: Vec<usize> = (0..self.rank())
            .filter(|&i| i < lead || (shape[i - lead] == 1 && self.shape()[i] != 1))
            .collect();
        self.sum(&axes).reshape(shape)
    }

    /// Largest value along one axis, which stays with size 1.
    pub fn max(&self, axis: usize) -> Self {
        let (outer, n, inner) = split_axis(self.shape(), axis);
        let mut shape = self.shape().to_vec();
        shape[axis] = 1;
        by_precision!(self, T, {
            let x = self.values::<T>();
            let mut y = Vec::with_capacity(outer * inner);
            for o in 0..outer {
                for i in 0..inner {
                    let column = (0..n).map(|k| x[(o * n + k) * inner + i]);
                    y.push(column.fold(T::from_f64(f64::NEG_INFINITY), |m, v| {
                        if v > m || v.is_nan() { v } else { m }
                    }));
                }
            }
            Self::new(&shape, y)
        })
    }

    /// Matrix product over the last two axes; leading axes are broadcast. Both operands have rank 2
    /// or more.
    pub fn matmul(&self, other: &Self) -> Self {
        let rank = self.rank().max(other.rank());
        let (a, b) = (self.align_rank(rank), other.align_rank(rank));
        let (m, k, n) = (
            a.shape()[rank - 2],
            a.shape()[rank - 1],
            b.shape()[rank - 1],
        );
        assert_eq!(
            k,
            b.shape()[rank - 2],
            "matmul: {:?} by {:?}",
            self.shape(),
            other.shape()
        );
        let lead =
            broadcast_shape(&a.shape()[..rank - 2], &b.shape()[..rank - 2]).unwrap_or_default();
        let full = |tail: [usize; 2]| [lead.as_slice(), &tail].concat();
        let batch: usize = lead.iter().product();
        let (a, b) = (a.expand(&full([m, k])), b.expand(&full([k, n])));
        by_precision!(self, T, {
            let mut y = vec![T::zero(); batch * m * n];
            // A transposed view is passed on as strides; anything else non-contiguous is made
            // dense.
            let (a, a_transposed) = a.matrix_values::<T>();
            let (b, b_transposed) = b.matrix_values::<T>();
            let a_strides = if a_transposed { [1, m] } else { [k, 1] };
            let b_strides = if b_transposed { [1, k] } else { [n, 1] };
            for i in 0..batch {
                let (x, w) = (
                    &a[i * m * k..(i + 1) * m * k],
                    &b[i * k * n..(i + 1) * k * n],
                );
                fgmf_kernels::matmul(
                    [m, k, n],
                    x,
                    a_strides,
                    w,
                    b_strides,
                    &mut y[i * m * n..(i + 1) * m * n],
                );
            }
            Self::new(&full([m, n]), y)
        })
    }

    /// Dense matrices of the last two axes, and whether they are stored transposed.
    fn matrix_values<T: Scalar>(&self) -> (Cow<'_, [T]>, bool) {
        if self.as_slice::<T>().is_none() {
            let swapped = self.transpose();
            if swapped.as_slice::<T>().is_some() {
                return (Cow::Owned(swapped.values::<T>().into_owned()), true);
            }
        }
        (self.values::<T>(), false)
    }

    /// Inner product of all values, accumulated in `f64`.
    pub fn dot(&self, other: &Self) -> f64 {
        match (self.precision(), other.precision()) {
            (Precision::F32, Precision::F32) => {
                dot_of(&self.values::<f32>(), &other.values::<f32>())
            }
            _ => dot_of(&self.to_f64(), &other.to_f64()),
        }
    }

    /// The only value, or the first of several, as `f64`.
    pub fn item(&self) -> f64 {
        match self.precision() {
            Precision::F32 => f64::from(self.values::<f32>()[0]),
            Precision::F64 => self.values::<f64>()[0],
        }
    }
}

/// Sum with eight running lanes: vectorises, and its order depends on nothing but the length.
fn lane_sum<T: Scalar>(row: &[T]) -> T {
    let mut lanes = [T::zero(); 8];
    let chunks = row.chunks_exact(8);
    let tail = chunks.remainder().iter().fold(T::zero(), |s, &v| s + v);
    for chunk in chunks {
        for (l, &v) in lanes.iter_mut().zip(chunk) {
            *l += v;
        }
    }
    lanes.iter().fold(tail, |s, &v| s + v)
}

/// Sum of products in eight sums side by side, which fill a vector register.
fn dot_of<T: Scalar + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    const LANES: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f64; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a.into() * b.into();
        }
    }
    let rest = a_rest
        .iter()
        .zip(b_rest)
        .map(|(&a, &b)| a.into() * b.into());
    sums.into_iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(shape: &[usize], v: &[f64]) -> Tensor {
        Tensor::new(shape, v.to_vec())
    }

    #[test]
    fn broadcasting_and_its_adjoint() {
        let (a, b) = (
            t(&[2, 3], &[1., 2., 3., 4., 5., 6.]),
            t(&[3], &[10., 20., 30.]),
        );
        assert_eq!(a.add(&b).to_f64(), [11., 22., 33., 14., 25., 36.]);
        assert_eq!(b.sub(&a).to_f64(), [9., 18., 27., 6., 15., 24.]);
        assert_eq!(a.sum_to(&[3]).to_f64(), [5., 7., 9.]);
        assert_eq!(a.sum_to(&[2, 1]).to_f64(), [6., 15.]);
    }

    #[test]
    fn matrix_product_takes_views_and_broadcast_batches() {
        let a = t(&[2, 2, 3], &(0..12).map(f64::from).collect::<Vec<_>>());
        let b = t(&[3, 2], &[1., 0., 0., 1., 1., 1.]);
        assert_eq!(a.matmul(&b).to_f64(), [2., 3., 8., 9., 14., 15., 20., 21.]);
        let bt = t(&[2, 3], &[1., 0., 1., 0., 1., 1.]);
        assert_eq!(a.matmul(&bt.transpose()).to_f64(), a.matmul(&b).to_f64());
        let at = a.permute(&[0, 2, 1]);
        assert_eq!(
            at.matmul(&t(&[2, 1], &[1., 1.])).to_f64(),
            [3., 5., 7., 15., 17., 19.]
        );
    }

    #[test]
    fn select_and_its_adjoint() {
        let a = t(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
        assert_eq!(a.select(1, &[2, 2, 0]).to_f64(), [3., 3., 1., 6., 6., 4.]);
        assert_eq!(
            a.select_adjoint(1, &[2, 2, 0], 3).to_f64(),
            [3., 0., 3., 6., 0., 9.]
        );
    }
}
