//! An array; the compiler maps it to the vectors of the target.

use super::vector::{Kernel, LANES, Vector};

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

#[inline(never)]
unsafe fn isolated<K: Kernel>(kernel: K) -> K::Output {
    // Safety: no instruction beyond the target's own; the rest is the caller's.
    unsafe { kernel.run::<Portable>() }
}

impl Portable {
    /// `f` of three numbers, lane by lane. Counted by hand: an interpreter (Miri) takes ten times
    /// as long through iterators.
    #[inline(always)]
    fn each(self, b: Self, c: Self, f: impl Fn(f32, f32, f32) -> f32) -> Self {
        let (mut out, mut i) = (self, 0);
        while i < LANES {
            out.0[i] = f(out.0[i], b.0[i], c.0[i]);
            i += 1;
        }
        out
    }
}

// Safety of every block below: addresses are the caller's.
impl Vector for Portable {
    /// Four NEON registers a vector: 24 sums, 4 of weights, 1 of input.
    const TILE: [usize; 2] = [6, 1];

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        Self([v; LANES])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(from.cast::<[f32; LANES]>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.each(other, other, |a, b, _| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.each(other, other, |a, b, _| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.each(other, other, |a, b, _| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.each(other, other, |a, b, _| a / b)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.each(other, other, |a, b, _| if a > b { a } else { b })
    }
    /// Fused where the target has the instruction; two roundings elsewhere, where a library call
    /// would cost a hundred times more.
    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
        self.each(
            by,
            plus,
            |a, b, c| if fused { a.mul_add(b, c) } else { a * b + c },
        )
    }
    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        self.each(gate, gate, |a, g, _| if g > 0.0 { a } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn keep_at_least(self, limit: Self, other: Self) -> Self {
        self.each(
            limit,
            other,
            |a, limit, other| if a < limit { other } else { a },
        )
    }
    #[inline(always)]
    unsafe fn first_max(self, held: Self, v: Self, mark: Self) -> (Self, Self) {
        let mut both = (self, held);
        for i in 0..LANES {
            if v.0[i] > self.0[i] || (v.0[i].is_nan() && !self.0[i].is_nan()) {
                (both.0.0[i], both.1.0[i]) = (v.0[i], mark.0[i]);
            }
        }
        both
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        Self(unsafe { from.cast::<[u8; LANES]>().read() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        unsafe { to.cast::<[u8; LANES]>().write(self.0.map(|v| v as u8)) }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        self.each(self, self, |a, _, _| a.round_ties_even())
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        self.each(self, self, |a, _, _| {
            f32::from_bits(((a as i32 + 127) << 23) as u32)
        })
    }
    #[inline(always)]
    unsafe fn isolated<K: Kernel>(kernel: K) -> K::Output {
        unsafe { isolated(kernel) }
    }
}
