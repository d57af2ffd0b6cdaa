//! The two number types of the kernels.

use pulp::Simd;
use std::cell::Cell;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A floating-point number the kernels compute with: `f32` or `f64`.
///
/// Sealed: what else a type has to offer (vector registers, scratch memory) is private.
pub trait Real:
    sealed::Lanes
    + Copy
    + Debug
    + Send
    + Sync
    + 'static
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// `0`.
    fn zero() -> Self;
    /// `1`.
    fn one() -> Self;
    /// The nearest number of this type.
    fn from_f64(v: f64) -> Self;
    /// The same number in double precision (exact for both types).
    fn to_f64(self) -> f64;
}

pub(crate) mod sealed {
    use super::Simd;

    /// Vector operations and scratch memory of a number type.
    pub trait Lanes: Sized {
        /// A vector register of instruction set `S`.
        type Vector<S: Simd>: Copy;

        /// Numbers in a register.
        fn lanes<S: Simd>() -> usize;
        /// `from` as registers, without its last `len % lanes` numbers.
        fn vectors<S: Simd>(simd: S, from: &[Self]) -> &[Self::Vector<S>];
        fn splat<S: Simd>(simd: S, v: Self) -> Self::Vector<S>;
        /// The first `lanes` numbers of `from`; panics if there are fewer.
        fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Vector<S>;
        /// Writes the first `lanes` numbers of `to`; panics if there are fewer.
        fn store<S: Simd>(simd: S, to: &mut [Self], v: Self::Vector<S>);
        /// `a * b + c`, fused where the instruction set can.
        fn mul_add<S: Simd>(
            simd: S,
            a: Self::Vector<S>,
            b: Self::Vector<S>,
            c: Self::Vector<S>,
        ) -> Self::Vector<S>;
        /// Sum of the lanes in a fixed order.
        fn reduce<S: Simd>(simd: S, v: Self::Vector<S>) -> Self;
        /// The numbers themselves, if they are `f32`.
        fn single(v: &[Self]) -> Option<&[f32]>;
        /// [`Lanes::single`] to write to.
        fn single_mut(v: &mut [Self]) -> Option<&mut [f32]>;
        /// Lends `f` this thread's reusable buffers; a nested call gets fresh ones.
        fn with_scratch<R>(f: impl FnOnce(&mut Scratch<Self>) -> R) -> R;
    }

    /// Buffers that keep their capacity between kernel calls on a thread.
    #[derive(Default)]
    pub struct Scratch<T> {
        pub(crate) input: Vec<T>,
        pub(crate) weight: Vec<T>,
        pub(crate) output: Vec<T>,
    }
}

pub(crate) use sealed::Scratch;

/// The first multiple of `unit` not below `v`.
pub(crate) fn round_up(v: usize, unit: usize) -> usize {
    v.div_ceil(unit) * unit
}

/// Makes `buffer` `len` zeros, in the memory it has if that is enough.
pub(crate) fn reset<T: Real>(buffer: &mut Vec<T>, len: usize) {
    buffer.clear();
    buffer.resize(len, T::zero());
}

/// Makes `buffer` at least `len` long. It holds anything: what it held, or zeros.
pub(crate) fn at_least(buffer: &mut Vec<f32>, len: usize) {
    if buffer.len() < len {
        *buffer = Vec::new();
        // Cleared by the allocator, page by page as they are used.
        *buffer = vec![0.0; len];
    }
}

/// [`at_least`], with the first `len` numbers cleared. The buffer keeps its length: a buffer that
/// shrank would be cleared once more as it grows.
pub(crate) fn zeros(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    at_least(buffer, len);
    let zeros = &mut buffer[..len];
    zeros.fill(0.0);
    zeros
}

macro_rules! real {
    ($t:ty, $vector:ident, $lanes:ident, $view:ident, $splat:ident, $fma:ident, $sum:ident,
        $single:expr) => {
        impl Real for $t {
            #[inline]
            fn zero() -> Self {
                0.0
            }
            #[inline]
            fn one() -> Self {
                1.0
            }
            #[inline]
            fn from_f64(v: f64) -> Self {
                v as $t
            }
            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        }

        impl sealed::Lanes for $t {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }
            #[inline(always)]
            fn vectors<S: Simd>(_: S, from: &[Self]) -> &[S::$vector] {
                S::$view(from).0
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, v: Self) -> S::$vector {
                simd.$splat(v)
            }
            #[inline(always)]
            fn load<S: Simd>(_: S, from: &[Self]) -> S::$vector {
                pulp::bytemuck::pod_read_unaligned(pulp::bytemuck::cast_slice(&from[..S::$lanes]))
            }
            #[inline(always)]
            fn store<S: Simd>(_: S, to: &mut [Self], v: S::$vector) {
                to[..S::$lanes].copy_from_slice(pulp::bytemuck::cast_slice(&[v]));
            }
            #[inline(always)]
            fn mul_add<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                c: S::$vector,
            ) -> S::$vector {
                simd.$fma(a, b, c)
            }
            #[inline(always)]
            fn reduce<S: Simd>(simd: S, v: S::$vector) -> Self {
                simd.$sum(v)
            }
            #[inline]
            fn single(v: &[Self]) -> Option<&[f32]> {
                $single.then(|| pulp::bytemuck::cast_slice(v))
            }
            #[inline]
            fn single_mut(v: &mut [Self]) -> Option<&mut [f32]> {
                $single.then(|| pulp::bytemuck::cast_slice_mut(v))
            }
            fn with_scratch<R>(f: impl FnOnce(&mut Scratch<Self>) -> R) -> R {
                thread_local! {
                    static SCRATCH: Cell<Scratch<$t>> = Cell::default();
                }
                let mut scratch = SCRATCH.take();
                let result = f(&mut scratch);
                SCRATCH.set(scratch);
                result
            }
        }
    };
}

real!(
    f32,
    f32s,
    F32_LANES,
    as_simd_f32s,
    splat_f32s,
    mul_add_e_f32s,
    reduce_sum_f32s,
    true
);
real!(
    f64,
    f64s,
    F64_LANES,
    as_simd_f64s,
    splat_f64s,
    mul_add_e_f64s,
    reduce_sum_f64s,
    false
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_exact_both_ways() {
        assert_eq!(f32::from_f64(0.1), 0.1f32);
        assert_eq!(0.1f32.to_f64(), f64::from(0.1f32));
        assert_eq!(f64::from_f64(0.1).to_f64(), 0.1);
        assert_eq!(f32::zero() + f32::one(), 1.0);
    }

    #[test]
    fn scratch_keeps_its_memory_and_nests() {
        use sealed::Lanes;
        f32::with_scratch(|s| {
            s.input.resize(100, 0.0);
            f32::with_scratch(|inner| assert!(inner.input.is_empty()));
            s.input[0] = 1.0;
        });
        // The inner call gave its (empty) buffers back first, the outer one last.
        f32::with_scratch(|s| assert_eq!(s.input.len(), 100));
    }
}
