//! Vectors of sixteen `f32` on three instruction sets, chosen at run time.
//!
//! A kernel is a struct that implements [`Kernel`], generic over [`Vector`]. [`run`] picks the
//! instruction set; [`Vector::isolated`] compiles a piece of a kernel as a function of its own,
//! which keeps register tiles in registers. Sixteen lanes on every machine: one 512-bit register,
//! two of 256 bits, or an array that the compiler maps to what the target has (four NEON registers
//! on aarch64).
#![allow(
    unsafe_code,
    reason = "vector instructions and unchecked addressing live in this crate and nowhere else"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::sync::OnceLock;

pub(crate) use portable::Portable;

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

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// All that this processor has, the best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                all.push(Self::Avx512);
            }
            if avx2 {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Runs a kernel on this instruction set.
    ///
    /// # Safety
    ///
    /// `self` is one of [`Isa::available`], and the kernel's own conditions hold.
    pub(crate) unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // Safety: passed on to the caller.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::Avx512::isolated(kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => avx2::Avx2::isolated(kernel),
                Self::Portable => Portable::isolated(kernel),
            }
        }
    }
}

/// The instruction set in use: the best there is, or the one that the environment variable
/// `FGMF_ISA` names (`avx512`, `avx2`, `portable`), if the processor has it.
pub(crate) fn isa() -> Isa {
    #[cfg(test)]
    if let Some(isa) = FORCED.get() {
        return isa;
    }
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let available = Isa::available();
        let asked = std::env::var("FGMF_ISA").ok();
        asked
            .and_then(|name| available.iter().copied().find(|i| i.name() == name))
            .unwrap_or(available[0])
    })
}

/// Name of the instruction set that `f32` kernels run on: `avx512`, `avx2` or `portable`.
#[must_use]
pub fn instruction_set() -> &'static str {
    isa().name()
}

/// Runs a kernel on the instruction set in use.
///
/// # Safety
///
/// The kernel's own conditions hold.
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // Safety: `isa` returns available sets only.
    unsafe { isa().run(kernel) }
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// Calls `f` once for each instruction set of this processor, from the one in use down (`FGMF_ISA`
/// is an upper bound), with the kernels of this thread on it.
#[cfg(test)]
pub(crate) fn on_each(f: impl Fn(Isa)) {
    FORCED.set(None);
    let best = isa();
    for isa in Isa::available().into_iter().skip_while(|&i| i != best) {
        FORCED.set(Some(isa));
        f(isa);
    }
    FORCED.set(None);
}
