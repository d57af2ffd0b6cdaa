//! What a kernel is written over: sixteen numbers, whatever the instruction set.

/// Numbers in a [`Vector`], and channels in a block of the blocked layout.
pub(crate) const LANES: usize = 16;

/// A piece of work, written once for every instruction set.
pub(crate) trait Kernel {
    type Output;

    /// Does the work.
    ///
    /// # Safety
    ///
    /// The processor has the instructions of `V`. What else is asked for, each kernel says at its
    /// own definition.
    unsafe fn run<V: Vector>(self) -> Self::Output;
}

/// Sixteen `f32`.
///
/// # Safety
///
/// Every method may be called only where the processor has the instructions; `load`, `store` and
/// their byte forms touch sixteen numbers from the address on, `load_part` and `store_part` the
/// first `n`, which must be in one allocation.
pub(crate) trait Vector: Copy {
    /// Rows and vectors of the largest register tile of a matrix product.
    const TILE: [usize; 2];

    unsafe fn splat(v: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// The larger one; `other` where either is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `self * by + plus`.
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self;
    /// `self` where `gate` is greater than 0, else 0.
    unsafe fn where_positive(self, gate: Self) -> Self;
    /// `self` where it is not less than `limit`, else `other`.
    unsafe fn keep_at_least(self, limit: Self, other: Self) -> Self;
    /// The running maximum and its mark: `(v, mark)` where `v` is greater or the first NaN, else
    /// `(self, held)`.
    unsafe fn first_max(self, held: Self, v: Self, mark: Self) -> (Self, Self);
    /// Whole numbers from 0 to 255, from sixteen bytes.
    unsafe fn load_bytes(from: *const u8) -> Self;
    /// Whole numbers from 0 to 255, to sixteen bytes.
    unsafe fn store_bytes(self, to: *mut u8);
    /// The nearest whole number, halves to even.
    unsafe fn round(self) -> Self;
    /// `2^self` for whole numbers from -126 to 127.
    unsafe fn power_of_two(self) -> Self;

    /// Runs a kernel with this vector as a function of its own.
    ///
    /// # Safety
    ///
    /// As [`Kernel::run`].
    unsafe fn isolated<K: Kernel>(kernel: K) -> K::Output;

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Self::splat(0.0) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Self {
        let mut all = [0.0; LANES];
        // Safety: the caller vouches for the first `n` numbers; `all` holds sixteen.
        unsafe {
            std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), n.min(LANES));
            Self::load(all.as_ptr())
        }
    }

    /// The first `n` numbers, `fill` behind them.
    #[inline(always)]
    unsafe fn load_filled(from: *const f32, n: usize, fill: f32) -> Self {
        let mut all = [fill; LANES];
        // Safety: as above.
        unsafe {
            std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), n.min(LANES));
            Self::load(all.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize) {
        let mut all = [0.0; LANES];
        // Safety: as above.
        unsafe {
            self.store(all.as_mut_ptr());
            std::ptr::copy_nonoverlapping(all.as_ptr(), to, n.min(LANES));
        }
    }

    /// Swaps rows and columns of a square of sixteen vectors.
    #[inline(always)]
    unsafe fn transpose(square: &mut [Self; LANES]) {
        let mut numbers = [[0.0; LANES]; LANES];
        // Safety: rows of `numbers` hold sixteen numbers.
        unsafe {
            for (i, v) in square.iter().enumerate() {
                for (j, v) in v.lanes().into_iter().enumerate() {
                    numbers[j][i] = v;
                }
            }
            for (v, row) in square.iter_mut().zip(&numbers) {
                *v = Self::load(row.as_ptr());
            }
        }
    }

    /// The sixteen numbers.
    #[inline(always)]
    unsafe fn lanes(self) -> [f32; LANES] {
        let mut all = [0.0; LANES];
        unsafe { self.store(all.as_mut_ptr()) };
        all
    }

    /// Sum of the lanes, pairs halving: the same order on every instruction set.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut all = unsafe { self.lanes() };
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                all[i] += all[i + half];
            }
        }
        all[0]
    }
}
