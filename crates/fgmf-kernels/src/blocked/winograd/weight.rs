//! Weights to and from the points of a tile.
#![allow(unsafe_code, reason = "see `simd`")]
#![allow(clippy::needless_range_loop, reason = "rows of a square of vectors")]

use super::transform::{both_ways, weight_line, weight_line_adjoint};
use super::{POINTS, Winograd, blocks};
use crate::simd::{Kernel, LANES, Vector};

/// Input channels whose points are gathered before they are written, so that writes come in runs.
const RUN: usize = 8;

/// `G g Gᵀ` of every pair of channels. `at(o, i)` is where their 3x3 window begins in `w`; the taps follow, backwards if
/// `turned`.
pub(in crate::blocked) struct Pack<'a, F> {
    pub(in crate::blocked) plan: &'a Winograd,
    pub(in crate::blocked) w: &'a [f32],
    pub(in crate::blocked) at: F,
    pub(in crate::blocked) turned: bool,
    pub(in crate::blocked) packed: &'a mut [f32],
}

impl<F: Fn(usize, usize) -> usize> Kernel for Pack<'_, F> {
    type Output = ();

    /// # Safety
    ///
    /// `w` is readable from `at(o, i)` on for nine numbers, `packed` holds [`Winograd::weight_len`].
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, w, at, turned, packed } = self;
        let (point, depth) = (plan.weight_point(), plan.c_in.next_multiple_of(LANES));
        let mut run = [[0.0f32; RUN * LANES]; POINTS];
        for ob in 0..blocks(plan.c_out) {
            let real = LANES.min(plan.c_out - ob * LANES);
            for first in (0..plan.c_in).step_by(RUN) {
                let count = RUN.min(plan.c_in - first);
                for i in 0..count {
                    // Safety: a window has nine numbers; sixteen are loaded only where there are as many.
                    unsafe {
                        let mut square = [V::zero(); LANES];
                        for l in 0..real {
                            let from = at(ob * LANES + l, first + i);
                            let left = w.len() - from;
                            let address = w.as_ptr().add(from);
                            square[l] = if left < LANES { V::load_part(address, left) } else { V::load(address) };
                        }
                        V::transpose(&mut square);
                        both_ways!(
                            weight_line,
                            3 => 6,
                            |i, j| square[if turned { 8 - 3 * i - j } else { 3 * i + j }],
                            |r, c, v| v.store(run[6 * r + c].as_mut_ptr().add(i * LANES))
                        );
                    }
                }
                for (p, run) in run.iter().enumerate() {
                    packed[p * point + (ob * depth + first) * LANES..][..count * LANES].copy_from_slice(&run[..count * LANES]);
                }
            }
        }
    }
}

/// `Gᵀ u G` of every pair of channels, added to `dw` `[c_out, c_in, 3, 3]`; `u` is `[36, c_in, c_out]` in whole blocks.
pub(super) struct Unpack<'a> {
    pub(super) plan: &'a Winograd,
    pub(super) u: &'a [f32],
    pub(super) dw: &'a mut [f32],
}

impl Kernel for Unpack<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `u` and `dw` are as long as stated.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, u, dw } = self;
        let (ib, ob) = (blocks(plan.c_in), blocks(plan.c_out));
        let point = ib * ob * LANES * LANES;
        for i in 0..plan.c_in {
            for b in 0..ob {
                // Safety: stated above.
                unsafe {
                    let from = u.as_ptr().add((i * ob + b) * LANES);
                    let mut square = [V::zero(); LANES];
                    both_ways!(weight_line_adjoint, 6 => 3, |i, j| V::load(from.add((6 * i + j) * point)), |r, c, v| square[3 * r + c] = v);
                    V::transpose(&mut square);
                    for (l, taps) in square.into_iter().enumerate().take(plan.c_out - b * LANES) {
                        let taps = taps.lanes();
                        let dw = &mut dw[((b * LANES + l) * plan.c_in + i) * 9..][..9];
                        dw.iter_mut().zip(&taps).for_each(|(dw, g)| *dw += g);
                    }
                }
            }
        }
    }
}
