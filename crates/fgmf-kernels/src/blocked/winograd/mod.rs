//! Winograd's F(4x4, 3x3) (Lavin & Gray 2016) for 3x3 windows of stride 1: 36 products where the definition has 144.
//!
//! A tile of 4x4 outputs is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, with `d` the 6x6 inputs it sees and `g` the 3x3 window; the sum over channels is
//! taken between the brackets, as 36 matrix products over all tiles. The gradient to the input is the same convolution of the
//! output's gradient with the window turned round; the gradient to the weight is the adjoint in `g`,
//! `Gᵀ [(A dy Aᵀ) ⊙ (Bᵀ d B)] G` summed over tiles. Points 0, ±1, ±2, ∞. In `f32` the largest error against the exact sum is 4 to 12
//! times that of the direct sum: 1.6e-5 of the largest output at 512 channels (a test holds it below 2e-5 up to there).
#![allow(unsafe_code, reason = "see `simd`")]

mod transform;
mod weight;

use super::{Pass, blocks};
use crate::real::at_least;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::{Finish, Product, Segment};
use transform::{Input, Output, OutputAdjoint};
use weight::Unpack;

pub(super) use weight::Pack;

/// Products of a tile.
pub(super) const POINTS: usize = 36;
/// Output cells along a side of a tile.
const SIDE: usize = 4;
/// Numbers of both transformed sides that are held at once, for one piece of the tiles.
const WINDOW: usize = 1 << 18;
/// Numbers between points, so that the 36 cells of a tile do not compete for the same lines of the cache.
const SKEW: usize = LANES;

/// Windows 3x3 of stride 1 over planes: `c_in` blocked channels to `c_out`.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) input: [usize; 2],
    pub(super) output: [usize; 2],
    /// Zeros above and left of the input.
    pub(super) pad: [usize; 2],
    /// One stretch a block of input channels, for each number of tiles.
    segments: Vec<Segment>,
    /// Tiles of a piece.
    piece: usize,
    /// Rows and columns of tiles of an image.
    tiles: [usize; 2],
}

impl Winograd {
    pub(super) fn new(c_in: usize, c_out: usize, input: [usize; 2], output: [usize; 2], pad: [usize; 2]) -> Self {
        let per_tile = POINTS * LANES * (blocks(c_in) + blocks(c_out));
        // A whole number of the tallest register tiles.
        let piece = (WINDOW / per_tile / 14).clamp(2, 16) * 14;
        let segments =
            (0..blocks(c_in)).map(|b| Segment { a: b * piece * LANES, b: b * LANES * LANES, len: LANES.min(c_in - b * LANES) }).collect();
        Self { c_in, c_out, input, output, pad, segments, piece, tiles: output.map(|d| d.div_ceil(SIDE)) }
    }

    fn per_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Numbers of the transformed weights, `[36, c_out / 16, c_in, 16]`.
    pub(super) fn weight_len(&self) -> usize {
        POINTS * self.weight_point()
    }

    /// From a point of the weights to the next.
    fn weight_point(&self) -> usize {
        blocks(self.c_out) * self.c_in.next_multiple_of(LANES) * LANES + SKEW
    }

    /// From a point of a transformed piece to the next.
    fn point(&self, blocks: usize) -> usize {
        blocks * self.piece * LANES + SKEW
    }

    /// First tile and number of tiles of each piece of `n` images.
    fn pieces(&self, n: usize) -> impl Iterator<Item = (usize, usize)> {
        let (total, piece) = (n * self.per_image(), self.piece);
        (0..total).step_by(piece).map(move |first| (first, piece.min(total - first)))
    }

    #[inline(always)]
    fn tile(&self, t: usize) -> Tile {
        let (image, t) = (t / self.per_image(), t % self.per_image());
        Tile { image, row: t / self.tiles[1] * SIDE, col: t % self.tiles[1] * SIDE }
    }
}

/// Where a tile's output begins.
struct Tile {
    image: usize,
    row: usize,
    col: usize,
}

/// Convolution of blocked images.
pub(super) struct Forward<'a> {
    pub(super) plan: &'a Winograd,
    pub(super) n: usize,
    pub(super) pass: Pass<'a>,
    pub(super) packed: *const f32,
    pub(super) finish: Finish,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    /// # Safety
    ///
    /// Pointers cover `n` images and the packed weights.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, n, pass, packed, finish, scratch } = self;
        let (ib, ob) = (blocks(plan.c_in), blocks(plan.c_out));
        at_least(scratch, POINTS * (plan.point(ib) + plan.point(ob)));
        let v = scratch.as_mut_ptr();
        // Safety: `v` and `m` share the scratch, the rest is stated above.
        unsafe {
            let m = v.add(POINTS * plan.point(ib));
            for (first, count) in plan.pieces(n) {
                V::isolated(Input { plan, pass, first, count, to: v });
                for p in 0..POINTS {
                    let product = Product::<LANES, 1> {
                        a: v.add(p * plan.point(ib)),
                        rows: count,
                        b: packed.add(p * plan.weight_point()),
                        panel: plan.c_in.next_multiple_of(LANES) * LANES,
                        panels: ob,
                        segments: &plan.segments,
                        finish: Finish::plain(m.add(p * plan.point(ob)), LANES, plan.piece * LANES),
                    };
                    product.run::<V>();
                }
                V::isolated(Output { plan, first, count, from: m, finish });
            }
        }
    }
}

/// Gradient to the weight: `dw[o, i, 3, 3]` is added to.
pub(super) struct GradWeight<'a> {
    pub(super) plan: &'a Winograd,
    pub(super) n: usize,
    pub(super) x: Pass<'a>,
    pub(super) dy: Pass<'a>,
    pub(super) dw: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for GradWeight<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `x` and `dy` cover `n` images.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, n, x, dy, dw, scratch } = self;
        let (ib, ob) = (blocks(plan.c_in), blocks(plan.c_out));
        if n == 0 {
            return;
        }
        // A point's products, `[c_in, c_out]` in whole blocks.
        let sums = ib * ob * LANES * LANES;
        let held = POINTS * (plan.point(ib) + plan.point(ob));
        at_least(scratch, held + POINTS * sums);
        let v = scratch.as_mut_ptr();
        // Safety: three parts of the scratch; cells are inside their planes.
        unsafe {
            let m = v.add(POINTS * plan.point(ib));
            let du = v.add(held);
            for (first, count) in plan.pieces(n) {
                V::isolated(Input { plan, pass: x, first, count, to: v });
                V::isolated(OutputAdjoint { plan, pass: dy, first, count, to: m });
                let all = [Segment { a: 0, b: 0, len: count }];
                for p in 0..POINTS {
                    for b in 0..ib {
                        let to = du.add(p * sums + b * LANES * ob * LANES);
                        let product = Product::<1, LANES> {
                            a: v.add(p * plan.point(ib) + b * plan.piece * LANES),
                            rows: LANES,
                            b: m.add(p * plan.point(ob)),
                            panel: plan.piece * LANES,
                            panels: ob,
                            segments: &all,
                            finish: Finish::plain(to, ob * LANES, LANES).accumulate(first > 0),
                        };
                        product.run::<V>();
                    }
                }
            }
            V::isolated(Unpack { plan, u: &scratch[held..held + POINTS * sums], dw });
        }
    }
}
