//! The array itself: shared memory, and the layout that says where its values lie.

use super::layout::{Layout, Runs};
use fgmf_kernels::Real;
use std::borrow::Cow;
use std::sync::Arc;

/// Precision of the numbers in a [`Tensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point: everything that is run for speed.
    F32,
    /// 64-bit floating point: derivative checks and saturation checks.
    F64,
}

/// Number types a tensor can hold: `f32` and `f64`.
pub trait Scalar: Real + Stored {
    /// The matching run-time precision.
    const PRECISION: Precision;
}

/// Memory that arrays share.
#[derive(Clone)]
enum Memory {
    F32(Arc<Vec<f32>>),
    F64(Arc<Vec<f64>>),
}

use sealed::Stored;

mod sealed {
    use super::Memory;

    /// How a number type is kept.
    pub trait Stored: Sized {
        /// Memory that holds `values`, which are not copied.
        #[allow(private_interfaces, reason = "the trait is sealed")]
        fn keep(values: Vec<Self>) -> Memory;
        /// The numbers in memory of this type.
        #[allow(private_interfaces, reason = "the trait is sealed")]
        fn stored(memory: &Memory) -> Option<&[Self]>;
    }
}

macro_rules! scalar {
    ($t:ty, $variant:ident) => {
        impl Scalar for $t {
            const PRECISION: Precision = Precision::$variant;
        }

        impl Stored for $t {
            #[allow(private_interfaces, reason = "the trait is sealed")]
            fn keep(values: Vec<Self>) -> Memory {
                Memory::$variant(Arc::new(values))
            }

            #[allow(private_interfaces, reason = "the trait is sealed")]
            fn stored(memory: &Memory) -> Option<&[Self]> {
                match memory {
                    Memory::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}
scalar!(f32, F32);
scalar!(f64, F64);

/// A dense array, row-major as seen from outside.
#[derive(Clone)]
pub struct Tensor {
    memory: Memory,
    layout: Layout,
}

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
        Self {
            memory: T::keep(values),
            layout: Layout::dense(shape),
        }
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
        self.layout.shape()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Whether the array holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Precision of the values.
    pub fn precision(&self) -> Precision {
        match self.memory {
            Memory::F32(_) => Precision::F32,
            Memory::F64(_) => Precision::F64,
        }
    }

    /// All numbers of the memory, whatever the layout. Panics if `T` is not the precision.
    fn memory<T: Scalar>(&self) -> &[T] {
        T::stored(&self.memory).unwrap_or_else(|| {
            panic!(
                "tensor: {:?} asked for as {:?}",
                self.precision(),
                T::PRECISION
            )
        })
    }

    /// The values, where they lie in memory in row-major order. Panics if `T` is not the precision.
    pub(super) fn as_slice<T: Scalar>(&self) -> Option<&[T]> {
        let memory = self.memory::<T>();
        self.layout.range().map(|range| &memory[range])
    }

    /// The values in row-major order, borrowed where they lie so. Panics if `T` is not the
    /// precision.
    pub fn values<T: Scalar>(&self) -> Cow<'_, [T]> {
        match self.as_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(gather(self.memory(), &self.layout)),
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
        let range = self.layout.range();
        match self.memory {
            Memory::F32(values) if range == Some(0..values.len()) => Arc::try_unwrap(values)
                .map_err(|shared| Self {
                    memory: Memory::F32(shared),
                    layout: self.layout,
                }),
            memory => Err(Self { memory, ..self }),
        }
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
        match self.layout.reshape(shape) {
            Some(layout) => self.view(layout),
            None => by_precision!(self, T, Self::new(shape, self.values::<T>().into_owned())),
        }
    }

    /// Axes in another order (a view).
    pub fn permute(&self, axes: &[usize]) -> Self {
        self.view(self.layout.permute(axes))
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
        self.view(self.layout.narrow(axis, start, len))
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
        let mut shape = parts[0].shape().to_vec();
        shape[axis] = parts.iter().map(|t| t.shape()[axis]).sum();
        for part in parts {
            let mut own = part.shape().to_vec();
            own[axis] = shape[axis];
            assert_eq!(own, shape, "concat along axis {axis}");
        }
        let (outer, n, inner) = split_axis(&shape, axis);
        by_precision!(parts[0], T, {
            let parts: Vec<(usize, Cow<'_, [T]>)> = parts
                .iter()
                .map(|t| (t.shape()[axis] * inner, t.values::<T>()))
                .collect();
            let mut y = Vec::with_capacity(outer * n * inner);
            for o in 0..outer {
                for (block, x) in &parts {
                    y.extend_from_slice(&x[o * block..(o + 1) * block]);
                }
            }
            Self::new(&shape, y)
        })
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
        self.view(self.layout.expand(shape))
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

    /// The same memory in another layout.
    fn view(&self, layout: Layout) -> Self {
        Self {
            memory: self.memory.clone(),
            layout,
        }
    }

    /// `f` of the values of two arrays of the same shape.
    pub(super) fn zip_with<T: Scalar>(&self, other: &Self, f: impl Fn(T, T) -> T) -> Self {
        let (a, b) = (self.memory::<T>(), other.memory::<T>());
        let mut y = Vec::with_capacity(self.len());
        let mut runs = Runs::new([&self.layout, &other.layout]);
        let (n, strides) = runs.innermost();
        runs.for_each(|[i, j]| match strides {
            // Loops over whole slices become vector instructions.
            [1, 1] => y.extend(a[i..i + n].iter().zip(&b[j..j + n]).map(|(&a, &b)| f(a, b))),
            [1, 0] => {
                let b = b[j];
                y.extend(a[i..i + n].iter().map(|&a| f(a, b)));
            }
            [0, 1] => {
                let a = a[i];
                y.extend(b[j..j + n].iter().map(|&b| f(a, b)));
            }
            [p, q] => y.extend((0..n).map(|k| f(a[i + k * p], b[j + k * q]))),
        });
        Self::new(self.shape(), y)
    }
}

/// The values of a layout in row-major order, as memory of their own.
fn gather<T: Scalar>(memory: &[T], layout: &Layout) -> Vec<T> {
    /// Side of the squares in which matrices are transposed: both sides stay in cache.
    const TILE: usize = 16;
    let mut runs = Runs::new([layout]);
    let (columns, [across]) = runs.innermost();
    if across == 1 {
        let mut y = Vec::with_capacity(layout.len());
        runs.for_each(|[at]| y.extend_from_slice(&memory[at..at + columns]));
        return y;
    }
    let (rows, [down]) = runs.innermost();
    let mut y = vec![T::zero(); layout.len()];
    let mut matrices = y.chunks_exact_mut((rows * columns).max(1));
    runs.for_each(|[at]| {
        let matrix = matrices.next().unwrap_or_default();
        for top in (0..rows).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                let right = (left + TILE).min(columns);
                for row in top..(top + TILE).min(rows) {
                    let to = &mut matrix[row * columns..][left..right];
                    for (k, y) in (left..right).zip(to) {
                        *y = memory[at + row * down + k * across];
                    }
                }
            }
        }
    });
    y
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
