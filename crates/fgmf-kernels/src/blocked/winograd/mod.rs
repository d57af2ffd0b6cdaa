//! Winograd's F(4x4, 3x3), F(4x4, 2x2) and F(7x7, 2x2) (Lavin & Gray 2016).
//!
//! A tile of `m x m` outputs is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, with `d` the inputs it sees
//! (`m + r - 1` along a side) and `g` the `r x r` window; the sum over channels is taken between
//! the brackets, as one matrix product over all tiles for each of the `(m + r - 1)²` points.
//! Windows 3x3 of stride 1 need 36 products where the definition has 144. Windows 4x4 of stride 2
//! are 2x2 windows of stride 1 over the four phases of the image (every second row and column),
//! which count as further channels: 100 products for 256; where one tile of 7x7 is the whole
//! output, 256 for 784.
//!
//! The gradient to the input is a convolution of the output's gradient with the windows turned
//! round, whose outputs are the phases of the input, or, of the one tile, the adjoint in `d`,
//! `B [(G g Gᵀ) ⊙ (A dy Aᵀ)] Bᵀ`; the gradient to the weight is the adjoint in `g`,
//! `Gᵀ [(A dy Aᵀ) ⊙ (Bᵀ d B)] G` summed over tiles. Points 0, ±1, ±2, ∞ for 3x3, 0, ±1, 2, ∞ for
//! 2x2, 0, ±1, ±2, ±½, ∞ for the large tile. In `f32` the largest error against the exact sum is 4
//! to 12 times that of the direct sum, of the large tile up to 25 times: 1.6e-5 of the largest
//! output at 512 channels, and at 32, up to which the large tile is used (a test holds it below
//! 2e-5 up to there).
#![allow(unsafe_code, reason = "see `simd`")]

mod transform;
mod weight;

use super::{Pass, blocks};
use crate::conv::Conv2d;
use crate::real::at_least;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::{Finish, Product, Segment};
use transform::{FromPoints, ToPoints};
use weight::{Pack, Unpack};

/// Outputs along a side of a tile.
const SIDE: usize = 4;
/// The same where one tile holds the whole output.
const LARGE: usize = 7;
/// Channels up to which the large tile is used: its transformed weights take four times the memory
/// of the stored ones, and its errors grow with the sum.
const LARGE_CHANNELS: usize = 32;
/// Numbers of both transformed sides that are held at once, for one piece of the tiles.
const WINDOW: usize = 1 << 18;
/// Numbers between points, so that the cells of a tile do not compete for the same lines of the
/// cache.
const SKEW: usize = LANES;

/// Planes that tiles are read from or written to.
#[derive(Clone, Debug)]
struct Planes {
    channels: usize,
    size: [usize; 2],
    /// From a cell of a tile to the next, along both sides.
    step: usize,
    /// Cells from a tile to the next.
    side: usize,
    /// Row and column of the first cell of the first tile; each of these counts as a set of
    /// channels.
    phases: Vec<[isize; 2]>,
}

impl Planes {
    /// Blocks of channels of all phases.
    fn blocks(&self) -> usize {
        self.phases.len() * blocks(self.channels)
    }

    /// Phase, and block of the plane, of block `b` of all phases.
    #[inline(always)]
    fn split(&self, b: usize) -> ([isize; 2], usize) {
        let each = blocks(self.channels);
        (self.phases[b / each], b % each)
    }

    /// Row and column of the first cell of a tile.
    #[inline(always)]
    fn corner(&self, phase: [isize; 2], tile: &Tile) -> [isize; 2] {
        [0, 1].map(|i| (tile.at[i] * self.side * self.step) as isize + phase[i])
    }
}

/// One direction of a convolution whose windows are 3x3 of stride 1 or 4x4 of stride 2.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    input: Planes,
    output: Planes,
    /// Taps along a side of a window: 2 or 3.
    taps: usize,
    /// Outputs along a side of a tile of the forward pass.
    side: usize,
    /// Whether this is the adjoint of a forward pass: from `A dy Aᵀ` to the cells of `d`.
    adjoint: bool,
    /// For each pair of phases, output's first, which tap of the convolution each tap of the window
    /// is.
    windows: Vec<Vec<usize>>,
    /// One stretch a block of input channels.
    segments: Vec<Segment>,
    /// Tiles of a piece.
    piece: usize,
    /// Rows and columns of tiles of an image.
    tiles: [usize; 2],
}

impl Winograd {
    /// Outputs along a side of a tile, if there are fewer products, with the work around them, than
    /// by the definition.
    pub(super) fn side(s: &Conv2d) -> Option<usize> {
        if s.dilation != [1, 1] || s.c_in < LANES || s.c_out < LANES {
            return None;
        }
        let out = s.out_size();
        let products = |side: usize| {
            4 * (side + 1) * (side + 1) * out.map(|d| d.div_ceil(side)).iter().product::<usize>()
        };
        // Small maps fill their tiles badly.
        let fewer = |side: usize| 3 * products(side) < 2 * s.taps() * out[0] * out[1];
        match (s.kernel, s.stride) {
            ([3, 3], [1, 1]) => s.pad.iter().all(|&p| p <= 2).then_some(SIDE),
            ([4, 4], [2, 2]) if s.pad.iter().all(|&p| p <= 3) => {
                // Every cell of the image has to be in the one tile.
                let one = out.iter().all(|&d| d <= LARGE)
                    && [s.h + s.pad[0], s.w + s.pad[1]]
                        .iter()
                        .all(|&d| d <= 2 * (LARGE + 1));
                let large = one
                    && s.c_in.max(s.c_out) <= LARGE_CHANNELS
                    && products(LARGE) < products(SIDE);
                Some(if large { LARGE } else { SIDE }).filter(|&side| fewer(side))
            }
            _ => None,
        }
    }

    /// The two directions of one image's shape, if this pays.
    pub(super) fn new(s: &Conv2d) -> Option<[Self; 2]> {
        let side = Self::side(s)?;
        Some([
            Self::forward(s, side),
            if side == LARGE {
                Self::adjoint(s, side)
            } else {
                Self::backward(s, side)
            },
        ])
    }

    fn forward(s: &Conv2d, side: usize) -> Self {
        let [input, output] = Self::planes(s, side);
        let windows = pairs(s.stride[0]).map(|phase| Self::phase_window(s, phase));
        Self::of(
            input,
            output,
            [s.kernel[0] / s.stride[0], side],
            windows.collect(),
            s.out_size(),
        )
    }

    /// The gradient to the input of a forward pass of one tile.
    fn adjoint(s: &Conv2d, side: usize) -> Self {
        let [output, input] = Self::planes(s, side);
        let windows = pairs(s.stride[0]).map(|phase| Self::phase_window(s, phase));
        let plan = Self::of(
            input,
            output,
            [s.kernel[0] / s.stride[0], side],
            windows.collect(),
            s.out_size(),
        );
        Self {
            adjoint: true,
            ..plan
        }
    }

    /// Phases of the image, and the output.
    fn planes(s: &Conv2d, side: usize) -> [Planes; 2] {
        let (stride, pad) = (s.stride[0], [s.pad[0] as isize, s.pad[1] as isize]);
        let phases = pairs(stride)
            .map(|[a, b]| [a as isize - pad[0], b as isize - pad[1]])
            .collect();
        let image = Planes {
            channels: s.c_in,
            size: [s.h, s.w],
            step: stride,
            side,
            phases,
        };
        [
            image,
            Planes {
                channels: s.c_out,
                size: s.out_size(),
                step: 1,
                side,
                phases: vec![[0, 0]],
            },
        ]
    }

    /// The taps that fall on a phase of the image.
    fn phase_window(s: &Conv2d, [a, b]: [usize; 2]) -> Vec<usize> {
        let stride = s.stride[0];
        pairs(s.kernel[0] / stride)
            .map(|[u, v]| (stride * u + a) * s.kernel[1] + stride * v + b)
            .collect()
    }

    /// The gradient to the input.
    fn backward(s: &Conv2d, side: usize) -> Self {
        let stride = s.stride[0];
        let taps = s.kernel[0] / stride;
        // Cell `i` of phase `a` is input cell `stride i + a - rest`; `first` is the output cell
        // that its earliest tap comes from.
        let (mut first, mut rest, mut cells) = ([0; 2], [0; 2], [0; 2]);
        for i in 0..2 {
            rest[i] = (s.pad[i] % stride) as isize;
            first[i] = (s.pad[i] / stride) as isize - (taps as isize - 1);
            cells[i] = ([s.h, s.w][i] + s.pad[i] % stride).div_ceil(stride);
        }
        let input = Planes {
            channels: s.c_out,
            size: s.out_size(),
            step: 1,
            side,
            phases: vec![first],
        };
        let phases = pairs(stride)
            .map(|[a, b]| [a as isize - rest[0], b as isize - rest[1]])
            .collect();
        let output = Planes {
            channels: s.c_in,
            size: [s.h, s.w],
            step: stride,
            side,
            phases,
        };
        let windows = pairs(stride).map(|[a, b]| {
            pairs(taps)
                .map(|[u, v]| {
                    (stride * (taps - 1 - u) + a) * s.kernel[1] + stride * (taps - 1 - v) + b
                })
                .collect()
        });
        Self::of(input, output, [taps, side], windows.collect(), cells)
    }

    /// `cells`: outputs of a phase along each side.
    fn of(
        input: Planes,
        output: Planes,
        [taps, side]: [usize; 2],
        windows: Vec<Vec<usize>>,
        cells: [usize; 2],
    ) -> Self {
        let points = (taps + side - 1) * (taps + side - 1);
        let per_tile = points * LANES * (input.blocks() + output.blocks());
        // A whole number of the tallest register tiles.
        let piece = (WINDOW / per_tile / 14).clamp(2, 16) * 14;
        let real = |b: usize| LANES.min(input.channels - input.split(b).1 * LANES);
        let segments = (0..input.blocks())
            .map(|b| Segment {
                a: b * piece * LANES,
                b: b * LANES * LANES,
                len: real(b),
            })
            .collect();
        Self {
            input,
            output,
            taps,
            side,
            adjoint: false,
            windows,
            segments,
            piece,
            tiles: cells.map(|d| d.div_ceil(side)),
        }
    }

    /// Products of a tile.
    fn points(&self) -> usize {
        (self.taps + self.side - 1).pow(2)
    }

    fn per_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Numbers of the transformed weights,
    /// `[points, output blocks, input channels in whole blocks, 16]`.
    pub(super) fn weight_len(&self) -> usize {
        self.points() * self.weight_point()
    }

    /// Input channels of all phases, in whole blocks.
    fn depth(&self) -> usize {
        self.input.blocks() * LANES
    }

    /// Which tap of the convolution each tap of the window between two blocks is.
    #[inline(always)]
    fn window(&self, output: usize, input: usize) -> &[usize] {
        &self.windows[output / blocks(self.output.channels) * self.input.phases.len()
            + input / blocks(self.input.channels)]
    }

    /// From a point of the weights to the next.
    fn weight_point(&self) -> usize {
        self.output.blocks() * self.depth() * LANES + SKEW
    }

    /// From a point of a transformed piece to the next.
    fn point(&self, blocks: usize) -> usize {
        blocks * self.piece * LANES + SKEW
    }

    /// First tile and number of tiles of each piece of `n` images.
    fn pieces(&self, n: usize) -> impl Iterator<Item = (usize, usize)> {
        let (total, piece) = (n * self.per_image(), self.piece);
        (0..total)
            .step_by(piece)
            .map(move |first| (first, piece.min(total - first)))
    }

    #[inline(always)]
    fn tile(&self, t: usize) -> Tile {
        let (image, t) = (t / self.per_image(), t % self.per_image());
        Tile {
            image,
            at: [t / self.tiles[1], t % self.tiles[1]],
        }
    }

    /// Packs weights; `at(o, i)` is where the window of an output and an input channel of this
    /// direction begins in `w`.
    pub(super) fn pack(&self, w: &[f32], at: impl Fn(usize, usize) -> usize, packed: &mut [f32]) {
        assert_eq!(packed.len(), self.weight_len(), "packed weights");
        // Safety: `pays` and the lengths of weights are checked by the caller; `packed` is as long
        // as stated.
        unsafe {
            match (self.taps, self.side) {
                (3, _) => crate::simd::run(Pack::<_, 6, 3> {
                    plan: self,
                    w,
                    at,
                    packed,
                }),
                (_, SIDE) => crate::simd::run(Pack::<_, 5, 2> {
                    plan: self,
                    w,
                    at,
                    packed,
                }),
                _ => crate::simd::run(Pack::<_, 8, 2> {
                    plan: self,
                    w,
                    at,
                    packed,
                }),
            }
        }
    }
}

/// Pairs of numbers below `n`, the second fastest.
fn pairs(n: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..n * n).map(move |i| [i / n, i % n])
}

/// A tile: its image, row and column of tiles.
struct Tile {
    image: usize,
    at: [usize; 2],
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
        // Safety: passed on to the caller.
        unsafe {
            match (self.plan.taps, self.plan.side) {
                (3, _) => self.tiles::<V, 6, SIDE>(),
                (_, SIDE) => self.tiles::<V, 5, SIDE>(),
                _ => self.tiles::<V, 8, LARGE>(),
            }
        }
    }
}

impl Forward<'_> {
    /// With `N` points and `M` outputs along a side of a tile.
    ///
    /// # Safety
    ///
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn tiles<V: Vector, const N: usize, const M: usize>(self) {
        let Self {
            plan,
            n,
            pass,
            packed,
            finish,
            scratch,
        } = self;
        let (ib, ob, points) = (plan.input.blocks(), plan.output.blocks(), plan.points());
        at_least(scratch, points * (plan.point(ib) + plan.point(ob)));
        let v = scratch.as_mut_ptr();
        // Safety: `v` and `m` share the scratch, the rest is stated above.
        unsafe {
            let m = v.add(points * plan.point(ib));
            for (first, count) in plan.pieces(n) {
                let planes = &plan.input;
                if plan.adjoint {
                    V::isolated(ToPoints::<M, N> {
                        plan,
                        planes,
                        pass,
                        first,
                        count,
                        to: v,
                    });
                } else {
                    V::isolated(ToPoints::<N, N> {
                        plan,
                        planes,
                        pass,
                        first,
                        count,
                        to: v,
                    });
                }
                for p in 0..points {
                    let product = Product::<LANES, 1> {
                        a: v.add(p * plan.point(ib)),
                        rows: count,
                        b: packed.add(p * plan.weight_point()),
                        panel: plan.depth() * LANES,
                        panels: ob,
                        segments: &plan.segments,
                        finish: Finish::plain(m.add(p * plan.point(ob)), LANES, plan.piece * LANES),
                    };
                    product.run::<V>();
                }
                if plan.adjoint {
                    V::isolated(FromPoints::<N, N> {
                        plan,
                        first,
                        count,
                        from: m,
                        finish,
                    });
                } else {
                    V::isolated(FromPoints::<N, M> {
                        plan,
                        first,
                        count,
                        from: m,
                        finish,
                    });
                }
            }
        }
    }
}

/// Gradient to the weight, in the forward direction: `dw[o, i, kh, kw]` is added to.
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
        // Safety: passed on to the caller.
        unsafe {
            match (self.plan.taps, self.plan.side) {
                (3, _) => self.tiles::<V, 6, SIDE, 3>(),
                (_, SIDE) => self.tiles::<V, 5, SIDE, 2>(),
                _ => self.tiles::<V, 8, LARGE, 2>(),
            }
        }
    }
}

impl GradWeight<'_> {
    /// With `N` points and `M` outputs along a side of a tile, and `R` taps along one of a window.
    ///
    /// # Safety
    ///
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn tiles<V: Vector, const N: usize, const M: usize, const R: usize>(self) {
        let Self {
            plan,
            n,
            x,
            dy,
            dw,
            scratch,
        } = self;
        let (ib, ob, points) = (plan.input.blocks(), plan.output.blocks(), plan.points());
        if n == 0 {
            return;
        }
        // A point's products, `[c_in, c_out]` in whole blocks.
        let sums = ib * ob * LANES * LANES;
        let held = points * (plan.point(ib) + plan.point(ob));
        at_least(scratch, held + points * sums);
        let v = scratch.as_mut_ptr();
        // Safety: three parts of the scratch; cells are inside their planes.
        unsafe {
            let m = v.add(points * plan.point(ib));
            let du = v.add(held);
            for (first, count) in plan.pieces(n) {
                V::isolated(ToPoints::<N, N> {
                    plan,
                    planes: &plan.input,
                    pass: x,
                    first,
                    count,
                    to: v,
                });
                V::isolated(ToPoints::<M, N> {
                    plan,
                    planes: &plan.output,
                    pass: dy,
                    first,
                    count,
                    to: m,
                });
                let all = [Segment {
                    a: 0,
                    b: 0,
                    len: count,
                }];
                for p in 0..points {
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
            let u = &scratch[held..held + points * sums];
            V::isolated(Unpack::<N, R> { plan, u, dw });
        }
    }
}
