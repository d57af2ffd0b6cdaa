//! One 512-bit register.

use super::vector::{Kernel, Vector};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
#[inline(never)]
unsafe fn isolated<K: Kernel>(kernel: K) -> K::Output {
    // Safety: the features of this function are those of `Avx512`; the rest is the caller's.
    unsafe { kernel.run::<Avx512>() }
}

// Safety of every block below: the trait lets the methods be called only where the processor has
// AVX-512, and addresses are the caller's.
impl Vector for Avx512 {
    const TILE: [usize; 2] = [14, 2];

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(v)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, by.0, plus.0)) }
    }
    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        unsafe {
            Self(_mm512_maskz_mov_ps(
                _mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate.0, _mm512_setzero_ps()),
                self.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn keep_at_least(self, limit: Self, other: Self) -> Self {
        unsafe {
            Self(_mm512_mask_blend_ps(
                _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, limit.0),
                self.0,
                other.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn first_max(self, held: Self, v: Self, mark: Self) -> (Self, Self) {
        unsafe {
            let known = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(self.0, self.0);
            let taken = _mm512_mask_cmp_ps_mask::<_CMP_NGE_UQ>(known, self.0, v.0);
            (
                Self(_mm512_mask_blend_ps(taken, self.0, v.0)),
                Self(_mm512_mask_blend_ps(taken, held.0, mark.0)),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        unsafe {
            Self(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(
                from.cast(),
            ))))
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0))) }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        unsafe {
            Self(_mm512_roundscale_ps::<
                { _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC },
            >(self.0))
        }
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(
                _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127)),
            )))
        }
    }
    #[inline(always)]
    unsafe fn transpose(square: &mut [Self; 16]) {
        unsafe {
            let mut pairs = *square;
            for i in (0..16).step_by(2) {
                pairs[i] = Self(_mm512_unpacklo_ps(square[i].0, square[i + 1].0));
                pairs[i + 1] = Self(_mm512_unpackhi_ps(square[i].0, square[i + 1].0));
            }
            // Quarter q of fours[i + c] holds column 4 q + c of rows i to i + 3.
            let mut fours = pairs;
            for i in (0..16).step_by(4) {
                for half in 0..2 {
                    let [a, b] = [
                        _mm512_castps_pd(pairs[i + half].0),
                        _mm512_castps_pd(pairs[i + half + 2].0),
                    ];
                    fours[i + 2 * half] = Self(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)));
                    fours[i + 2 * half + 1] = Self(_mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
                }
            }
            for c in 0..4 {
                let [r0, r1, r2, r3] =
                    [fours[c].0, fours[4 + c].0, fours[8 + c].0, fours[12 + c].0];
                let (even_low, odd_low) = (
                    _mm512_shuffle_f32x4::<0x88>(r0, r1),
                    _mm512_shuffle_f32x4::<0xdd>(r0, r1),
                );
                let (even_high, odd_high) = (
                    _mm512_shuffle_f32x4::<0x88>(r2, r3),
                    _mm512_shuffle_f32x4::<0xdd>(r2, r3),
                );
                square[c] = Self(_mm512_shuffle_f32x4::<0x88>(even_low, even_high));
                square[8 + c] = Self(_mm512_shuffle_f32x4::<0xdd>(even_low, even_high));
                square[4 + c] = Self(_mm512_shuffle_f32x4::<0x88>(odd_low, odd_high));
                square[12 + c] = Self(_mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high));
            }
        }
    }
    #[inline(always)]
    unsafe fn isolated<K: Kernel>(kernel: K) -> K::Output {
        unsafe { isolated(kernel) }
    }
}
