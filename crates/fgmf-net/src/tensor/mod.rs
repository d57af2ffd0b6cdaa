//! Dense arrays of `f32` or `f64` whose rank and precision are known at run time.
//!
//! A [`Tensor`] is Burn's CPU primitive behind a rank-free interface: cloning is a reference count,
//! transposing and slicing are views. Everything here is single-threaded on purpose: the executor
//! splits a batch into chunks and runs the chunks in parallel, so that results do not depend on the
//! number of threads.
//!
//! Functions of this module are the inner floor of the crate: they assert the shapes that the graph
//! checks have established, and never see anything that a user supplied unchecked.

mod arith;
mod spatial;

use burn_backend::ops::FloatTensorOps;
use burn_backend::{DType, Element, TensorData};
use burn_flex::{Flex, FlexTensor};
use fgmf_kernels::Real;
use std::borrow::Cow;

pub(crate) use arith::unary_fn;
pub use arith::{MapFn, num};

/// Precision of the numbers in a [`Tensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point: everything that is run for speed.
    F32,
    /// 64-bit floating point: derivative checks and saturation checks.
    F64,
}

/// Number types a tensor can hold.
pub trait Scalar: Real + Element + bytemuck::Pod + std::fmt::Debug {
    /// The matching run-time precision.
    const PRECISION: Precision;
}

impl Scalar for f32 {
    const PRECISION: Precision = Precision::F32;
}

impl Scalar for f64 {
    const PRECISION: Precision = Precision::F64;
}

/// A dense array, row-major as seen from outside.
#[derive(Clone)]
pub struct Tensor(FlexTensor);

/// Runs `$body` with `$t` bound to the scalar type of `$tensor`.
macro_rules! by_precision {
    ($tensor:expr, $t:ident, $body:expr) => {
        match $tensor.precision() {
            $crate::tensor::Precision::F32 => {
                type $t = f32;
                $body
            }
            $crate::tensor::Precision::F64 => {
                type $t = f64;
                $body
            }
        }
    };
}
pub(crate) use by_precision;

impl Tensor {
    /// Array of the given shape. Panics if `values.len()` is not the product of `shape`.
    pub fn new<T: Scalar>(shape: &[usize], values: Vec<T>) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "tensor: shape {shape:?} does not hold {} values",
            values.len()
        );
        Self(FlexTensor::from_data(TensorData::new(
            values,
            shape.to_vec(),
        )))
    }

    /// Array filled with one value.
    pub fn full(shape: &[usize], value: f64, precision: Precision) -> Self {
        let n = shape.iter().product();
        match precision {
            Precision::F32 => Self::new(shape, vec![value as f32; n]),
            Precision::F64 => Self::new(shape, vec![value; n]),
        }
    }

    /// Zeros of the shape and precision of `self`.
    pub fn zeros_like(&self) -> Self {
        Self::full(self.shape(), 0.0, self.precision())
    }

    /// Size along each axis.
    pub fn shape(&self) -> &[usize] {
        self.0.layout().shape()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether the array holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Precision of the values.
    pub fn precision(&self) -> Precision {
        if self.0.dtype() == DType::F64 {
            Precision::F64
        } else {
            Precision::F32
        }
    }

    /// The values in row-major order, borrowed where the array is contiguous. Panics if `T` is not
    /// the precision.
    pub fn values<T: Scalar>(&self) -> Cow<'_, [T]> {
        assert_eq!(
            T::PRECISION,
            self.precision(),
            "tensor: wrong precision asked for"
        );
        match self.0.as_slice::<T>() {
            Some(slice) => Cow::Borrowed(&slice[..self.len()]),
            None => {
                let dense = self.0.to_contiguous();
                Cow::Owned(
                    dense
                        .as_slice::<T>()
                        .map_or_else(Vec::new, |s| s[..self.len()].to_vec()),
                )
            }
        }
    }

    /// The values as `f32`, whatever the precision.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.precision() {
            Precision::F32 => self.values::<f32>().into_owned(),
            Precision::F64 => self.values::<f64>().iter().map(|&v| v as f32).collect(),
        }
    }

    /// [`Self::to_f32`], without a copy where nothing else holds the memory.
    pub fn into_f32(self) -> Vec<f32> {
        self.reclaim().unwrap_or_else(|shared| shared.to_f32())
    }

    /// The values as `f64`, whatever the precision.
    pub fn to_f64(&self) -> Vec<f64> {
        match self.precision() {
            Precision::F32 => self.values::<f32>().iter().map(|&v| f64::from(v)).collect(),
            Precision::F64 => self.values::<f64>().into_owned(),
        }
    }

    /// The memory behind the values, if nothing else holds it and it holds nothing else; otherwise
    /// the tensor again.
    pub(crate) fn reclaim(self) -> Result<Vec<f32>, Self> {
        let whole = self.precision() == Precision::F32
            && self.0.is_contiguous()
            && self.0.bytes().len() == size_of::<f32>() * self.len();
        if !(whole && self.0.is_unique()) {
            return Err(self);
        }
        // Of a whole unique array this is no copy.
        Ok(self.0.into_data().try_into_vec::<f32>().unwrap_or_default())
    }

    /// The same values at another precision.
    pub fn cast(&self, precision: Precision) -> Self {
        if self.precision() == precision {
            return self.clone();
        }
        match precision {
            Precision::F32 => Self::new(self.shape(), self.to_f32()),
            Precision::F64 => Self::new(self.shape(), self.to_f64()),
        }
    }

    /// The same values in another shape of equal size.
    pub fn reshape(&self, shape: &[usize]) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            self.len(),
            "reshape: {:?} to {shape:?}",
            self.shape()
        );
        if shape == self.shape() {
            return self.clone();
        }
        Self(Flex::float_reshape(self.0.clone(), shape.to_vec().into()))
    }

    /// Axes in another order (a view).
    pub fn permute(&self, axes: &[usize]) -> Self {
        Self(Flex::float_permute(self.0.clone(), axes))
    }

    /// The last two axes swapped (a view).
    pub fn transpose(&self) -> Self {
        let r = self.rank();
        let mut axes: Vec<usize> = (0..r).collect();
        axes.swap(r - 1, r - 2);
        self.permute(&axes)
    }

    /// `self[.., start..end, ..]` along one axis (a view).
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Self {
        assert!(
            start + len <= self.shape()[axis],
            "narrow: {start}+{len} outside axis {axis} of {:?}",
            self.shape()
        );
        Self(self.0.narrow(axis, start, len))
    }

    /// Rows `start..start + len` of the first axis.
    pub fn rows(&self, start: usize, len: usize) -> Self {
        self.narrow(0, start, len)
    }

    /// Arrays joined along one axis.
    pub fn concat(parts: &[Self], axis: usize) -> Self {
        if let [only] = parts {
            return only.clone();
        }
        Self(Flex::float_cat(
            parts.iter().map(|t| t.0.clone()).collect(),
            axis,
        ))
    }

    /// The given positions of one axis, in that order, repeats allowed (a view if they follow each
    /// other).
    pub fn select(&self, axis: usize, index: &[usize]) -> Self {
        if index.windows(2).all(|w| w[1] == w[0] + 1) && !index.is_empty() {
            return self.narrow(axis, index[0], index.len());
        }
        let (outer, n, inner) = split_axis(self.shape(), axis);
        let mut shape = self.shape().to_vec();
        shape[axis] = index.len();
        by_precision!(self, T, {
            let x = self.values::<T>();
            let mut y = Vec::with_capacity(outer * index.len() * inner);
            for o in 0..outer {
                for &i in index {
                    let at = (o * n + i) * inner;
                    y.extend_from_slice(&x[at..at + inner]);
                }
            }
            Self::new(&shape, y)
        })
    }

    /// Adjoint of [`Tensor::select`]: values are added at their positions in an axis of size `n`.
    pub fn select_adjoint(&self, axis: usize, index: &[usize], n: usize) -> Self {
        let (outer, k, inner) = split_axis(self.shape(), axis);
        let mut shape = self.shape().to_vec();
        shape[axis] = n;
        by_precision!(self, T, {
            let x = self.values::<T>();
            let mut y = vec![T::zero(); outer * n * inner];
            for o in 0..outer {
                for (j, &i) in index.iter().enumerate() {
                    let (from, to) = ((o * k + j) * inner, (o * n + i) * inner);
                    for (d, &s) in y[to..to + inner].iter_mut().zip(&x[from..from + inner]) {
                        *d += s;
                    }
                }
            }
            Self::new(&shape, y)
        })
    }

    /// Constant padding; `pads` holds (before, after) of each axis.
    pub fn pad(&self, pads: &[(usize, usize)], value: f64) -> Self {
        let mut out = self.clone();
        for (axis, &(before, after)) in pads.iter().enumerate() {
            let mut parts = Vec::with_capacity(3);
            let block = |n: usize, parts: &mut Vec<Self>| {
                if n > 0 {
                    let mut shape = out.shape().to_vec();
                    shape[axis] = n;
                    parts.push(Self::full(&shape, value, out.precision()));
                }
            };
            block(before, &mut parts);
            parts.push(out.clone());
            block(after, &mut parts);
            out = Self::concat(&parts, axis);
        }
        out
    }

    /// Repeats along axes of size 1 until the shape is `shape` (a view). Ranks are aligned at the
    /// right.
    pub fn expand(&self, shape: &[usize]) -> Self {
        if shape == self.shape() {
            return self.clone();
        }
        let aligned = self.align_rank(shape.len());
        Self(Flex::float_expand(aligned.0, shape.to_vec().into()))
    }

    /// Adds leading axes of size 1 up to the given rank.
    pub(crate) fn align_rank(&self, rank: usize) -> Self {
        if self.rank() >= rank {
            return self.clone();
        }
        let mut shape = vec![1; rank - self.rank()];
        shape.extend_from_slice(self.shape());
        self.reshape(&shape)
    }

    /// Whether every value is finite.
    pub fn is_finite(&self) -> bool {
        by_precision!(self, T, self.values::<T>().iter().all(|v| v.is_finite()))
    }

    pub(crate) fn primitive(&self) -> FlexTensor {
        self.0.clone()
    }

    pub(crate) fn from_primitive(primitive: FlexTensor) -> Self {
        Self(primitive)
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.to_f64();
        f.debug_struct("Tensor")
            .field("shape", &self.shape())
            .field("values", &&all[..all.len().min(8)])
            .finish_non_exhaustive()
    }
}

/// Sizes before, at and after an axis.
pub(crate) fn split_axis(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    )
}

/// Common shape of two arrays under NumPy's broadcasting, or `None`.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| {
        if i + s.len() >= rank {
            s[i + s.len() - rank]
        } else {
            1
        }
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}
