//! Two 256-bit registers.

use super::vector::{Kernel, Vector};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2([__m256; 2]);

#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn isolated<K: Kernel>(kernel: K) -> K::Output {
    // Safety: the features of this function are those of `Avx2`; the rest is the caller's.
    unsafe { kernel.run::<Avx2>() }
}

/// A square of eight rows, transposed.
///
/// # Safety
///
/// The processor has AVX2.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn transposed(r: [__m256; 8]) -> [__m256; 8] {
    macro_rules! pairs {
        ($op:expr, $r:ident, $(($a:literal, $b:literal)),*) => { [$($op($r[$a], $r[$b])),*] };
    }
    // Pairs of rows, then of pairs, then of the halves of registers.
    let low = pairs!(_mm256_unpacklo_ps, r, (0, 1), (2, 3), (4, 5), (6, 7));
    let high = pairs!(_mm256_unpackhi_ps, r, (0, 1), (2, 3), (4, 5), (6, 7));
    let first = |a: __m256, b: __m256| _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
    let second = |a: __m256, b: __m256| _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
    let top = [
        first(low[0], low[1]),
        second(low[0], low[1]),
        first(high[0], high[1]),
        second(high[0], high[1]),
    ];
    let bottom = [
        first(low[2], low[3]),
        second(low[2], low[3]),
        first(high[2], high[3]),
        second(high[2], high[3]),
    ];
    let mut out = r;
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps::<0x20>(top[i], bottom[i]);
        out[i + 4] = _mm256_permute2f128_ps::<0x31>(top[i], bottom[i]);
    }
    out
}

/// The same of both halves. A macro: a closure would be compiled without the features.
macro_rules! both {
    ($self:ident, $other:ident, |$a:ident, $b:ident| $f:expr) => {{
        let half = [($self.0[0], $other.0[0]), ($self.0[1], $other.0[1])];
        Self([
            {
                let ($a, $b) = half[0];
                $f
            },
            {
                let ($a, $b) = half[1];
                $f
            },
        ])
    }};
}

// Safety of every block below: the trait lets the methods be called only where the processor has
// AVX2 and FMA, and addresses are the caller's.
impl Vector for Avx2 {
    const TILE: [usize; 2] = [6, 1];

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        unsafe { Self([_mm256_set1_ps(v); 2]) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0[0]);
            _mm256_storeu_ps(to.add(8), self.0[1]);
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { both!(self, other, |a, b| _mm256_add_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { both!(self, other, |a, b| _mm256_sub_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { both!(self, other, |a, b| _mm256_mul_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { both!(self, other, |a, b| _mm256_div_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { both!(self, other, |a, b| _mm256_max_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        unsafe {
            Self([
                _mm256_fmadd_ps(self.0[0], by.0[0], plus.0[0]),
                _mm256_fmadd_ps(self.0[1], by.0[1], plus.0[1]),
            ])
        }
    }
    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        unsafe {
            both!(self, gate, |a, g| _mm256_and_ps(
                a,
                _mm256_cmp_ps::<_CMP_GT_OQ>(g, _mm256_setzero_ps())
            ))
        }
    }
    #[inline(always)]
    unsafe fn keep_at_least(self, limit: Self, other: Self) -> Self {
        unsafe {
            let below = both!(self, limit, |a, limit| _mm256_cmp_ps::<_CMP_LT_OQ>(
                a, limit
            ));
            Self([
                _mm256_blendv_ps(self.0[0], other.0[0], below.0[0]),
                _mm256_blendv_ps(self.0[1], other.0[1], below.0[1]),
            ])
        }
    }
    #[inline(always)]
    unsafe fn first_max(self, held: Self, v: Self, mark: Self) -> (Self, Self) {
        let mut both = (self, held);
        unsafe {
            for i in 0..2 {
                let known = _mm256_cmp_ps::<_CMP_ORD_Q>(self.0[i], self.0[i]);
                let taken = _mm256_and_ps(known, _mm256_cmp_ps::<_CMP_NGE_UQ>(self.0[i], v.0[i]));
                both.0.0[i] = _mm256_blendv_ps(self.0[i], v.0[i], taken);
                both.1.0[i] = _mm256_blendv_ps(held.0[i], mark.0[i], taken);
            }
        }
        both
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        unsafe {
            let all = _mm_loadu_si128(from.cast());
            let halves = [all, _mm_srli_si128::<8>(all)];
            Self([
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(halves[0])),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(halves[1])),
            ])
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        unsafe {
            let [low, high] = [_mm256_cvtps_epi32(self.0[0]), _mm256_cvtps_epi32(self.0[1])];
            // Packing works within halves of a register; the permutation puts the words in order
            // again.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let bytes = _mm_packus_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        unsafe {
            both!(self, self, |a, _same| _mm256_round_ps::<
                { _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC },
            >(a))
        }
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        unsafe {
            both!(self, self, |a, _same| {
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
                    _mm256_cvtps_epi32(a),
                    _mm256_set1_epi32(127),
                )))
            })
        }
    }
    #[inline(always)]
    unsafe fn transpose(square: &mut [Self; 16]) {
        // Quarters of 8x8 are transposed where they are; the two off the diagonal change places.
        unsafe {
            let from = *square;
            for (rows, half) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let mut quarter = [from[0].0[0]; 8];
                for i in 0..8 {
                    quarter[i] = from[8 * half + i].0[rows];
                }
                let quarter = transposed(quarter);
                for i in 0..8 {
                    square[8 * rows + i].0[half] = quarter[i];
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn isolated<K: Kernel>(kernel: K) -> K::Output {
        unsafe { isolated(kernel) }
    }
}
