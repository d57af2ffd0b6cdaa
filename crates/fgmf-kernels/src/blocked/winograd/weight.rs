//! Weights to and from the points of a tile.
#![allow(unsafe_code, reason = "see `simd`")]
#![allow(clippy::needless_range_loop, reason = "rows of a square of vectors")]

use super::tiles::Winograd;
use super::transform::{both_ways, weight_line, weight_line_adjoint};
use crate::simd::{Kernel, LANES, Vector};

/// Input channels whose points are gathered before they are written, so that writes come in runs.
const RUN: usize = 8;
/// Most points of a tile.
const MOST: usize = 64;

/// `G g Gᵀ` of every pair of channels, for `R x R` taps and `N x N` points. `at(o, i)` is where
/// their window begins in `w`.
pub(super) struct Pack<'a, F, const N: usize, const R: usize> {
    pub(super) plan: &'a Winograd,
    pub(super) w: &'a [f32],
    pub(super) at: F,
    pub(super) packed: &'a mut [f32],
}

impl<F: Fn(usize, usize) -> usize, const N: usize, const R: usize> Kernel for Pack<'_, F, N, R> {
    type Output = ();

    /// # Safety
    ///
    /// `w` is readable from `at(o, i)` on for a window, `packed` holds [`Winograd::weight_len`].
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            w,
            at,
            packed,
        } = self;
        let (point, depth) = (plan.weight_point(), plan.depth());
        let mut run = [[0.0f32; RUN * LANES]; MOST];
        for ob in 0..plan.output.blocks() {
            let out = plan.output.split(ob).1;
            let real = LANES.min(plan.output.channels - out * LANES);
            for ib in 0..plan.input.blocks() {
                let taps = plan.window(ob, ib);
                let block = plan.input.split(ib).1 * LANES;
                let channels = LANES.min(plan.input.channels - block);
                for first in (0..channels).step_by(RUN) {
                    let count = RUN.min(channels - first);
                    for i in 0..count {
                        // Safety: sixteen numbers are loaded only where there are as many; a window
                        // has no more than sixteen.
                        unsafe {
                            let mut square = [V::zero(); LANES];
                            for l in 0..real {
                                let from = at(out * LANES + l, block + first + i);
                                let left = w.len() - from;
                                let address = w.as_ptr().add(from);
                                square[l] = if left < LANES {
                                    V::load_part(address, left)
                                } else {
                                    V::load(address)
                                };
                            }
                            V::transpose(&mut square);
                            both_ways!(
                                weight_line,
                                R => N,
                                |i, j| square[taps[i * R + j]],
                                |r, c, v| v.store(run[r * N + c].as_mut_ptr().add(i * LANES))
                            );
                        }
                    }
                    let to = (ob * depth + ib * LANES + first) * LANES;
                    for (p, run) in run.iter().enumerate().take(N * N) {
                        packed[p * point + to..][..count * LANES]
                            .copy_from_slice(&run[..count * LANES]);
                    }
                }
            }
        }
    }
}

/// `Gᵀ u G` of every pair of channels, added to `dw` `[c_out, c_in, kh, kw]`; `u` is
/// `[points, c_in, c_out]` in whole blocks. Of the forward direction.
pub(super) struct Unpack<'a, const N: usize, const R: usize> {
    pub(super) plan: &'a Winograd,
    pub(super) u: &'a [f32],
    pub(super) dw: &'a mut [f32],
}

impl<const N: usize, const R: usize> Kernel for Unpack<'_, N, R> {
    type Output = ();

    /// # Safety
    ///
    /// `u` and `dw` are as long as stated.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, u, dw } = self;
        let (ib, ob) = (plan.input.blocks(), plan.output.blocks());
        let (point, window) = (ib * ob * LANES * LANES, plan.windows.len() * R * R);
        let (c_in, c_out) = (plan.input.channels, plan.output.channels);
        for i in 0..ib * LANES {
            let channel = plan.input.split(i / LANES).1 * LANES + i % LANES;
            if channel >= c_in {
                continue;
            }
            for b in 0..ob {
                let taps = plan.window(b, i / LANES);
                // Safety: stated above.
                unsafe {
                    let from = u.as_ptr().add((i * ob + b) * LANES);
                    let mut square = [V::zero(); LANES];
                    both_ways!(weight_line_adjoint, N => R,
                        |i, j| V::load(from.add((N * i + j) * point)),
                        |r, c, v| square[R * r + c] = v);
                    V::transpose(&mut square);
                    for (l, found) in square.into_iter().enumerate().take(c_out - b * LANES) {
                        let found = found.lanes();
                        let dw = &mut dw[((b * LANES + l) * c_in + channel) * window..][..window];
                        taps.iter().zip(&found).for_each(|(&tap, g)| dw[tap] += g);
                    }
                }
            }
        }
    }
}
