//! How a convolution is cut into tiles: phases, windows, points, and pieces that are held at once.

use super::super::layout::blocks;
use crate::shape::Conv2d;
use crate::simd::LANES;
use crate::tile::Segment;

/// Outputs along a side of a tile.
pub(super) const SIDE: usize = 4;
/// The same where one tile holds the whole output.
pub(super) const LARGE: usize = 7;
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
pub(super) struct Planes {
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    /// From a cell of a tile to the next, along both sides.
    pub(super) step: usize,
    /// Cells from a tile to the next.
    pub(super) side: usize,
    /// Row and column of the first cell of the first tile; each of these counts as a set of
    /// channels.
    pub(super) phases: Vec<[isize; 2]>,
}

impl Planes {
    /// Blocks of channels of all phases.
    pub(super) fn blocks(&self) -> usize {
        self.phases.len() * blocks(self.channels)
    }

    /// Phase, and block of the plane, of block `b` of all phases.
    #[inline(always)]
    pub(super) fn split(&self, b: usize) -> ([isize; 2], usize) {
        let each = blocks(self.channels);
        (self.phases[b / each], b % each)
    }

    /// Row and column of the first cell of a tile.
    #[inline(always)]
    pub(super) fn corner(&self, phase: [isize; 2], tile: &Tile) -> [isize; 2] {
        [0, 1].map(|i| (tile.at[i] * self.side * self.step) as isize + phase[i])
    }
}

/// One direction of a convolution whose windows are 3x3 of stride 1 or 4x4 of stride 2.
#[derive(Clone, Debug)]
pub(crate) struct Winograd {
    pub(super) input: Planes,
    pub(super) output: Planes,
    /// Taps along a side of a window: 2 or 3.
    pub(super) taps: usize,
    /// Outputs along a side of a tile of the forward pass.
    pub(super) side: usize,
    /// Whether this is the adjoint of a forward pass: from `A dy Aᵀ` to the cells of `d`.
    pub(super) adjoint: bool,
    /// For each pair of phases, output's first, which tap of the convolution each tap of the window
    /// is.
    pub(super) windows: Vec<Vec<usize>>,
    /// One stretch a block of input channels.
    pub(super) segments: Vec<Segment>,
    /// Tiles of a piece.
    pub(super) piece: usize,
    /// Rows and columns of tiles of an image.
    pub(super) tiles: [usize; 2],
}

impl Winograd {
    /// Outputs along a side of a tile, if there are fewer products, with the work around them, than
    /// by the definition.
    pub(crate) fn side(s: &Conv2d) -> Option<usize> {
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
    pub(crate) fn new(s: &Conv2d) -> Option<[Self; 2]> {
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
    pub(super) fn points(&self) -> usize {
        (self.taps + self.side - 1).pow(2)
    }

    pub(super) fn per_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Numbers of the transformed weights,
    /// `[points, output blocks, input channels in whole blocks, 16]`.
    pub(crate) fn weight_len(&self) -> usize {
        self.points() * self.weight_point()
    }

    /// Input channels of all phases, in whole blocks.
    pub(super) fn depth(&self) -> usize {
        self.input.blocks() * LANES
    }

    /// Which tap of the convolution each tap of the window between two blocks is.
    #[inline(always)]
    pub(super) fn window(&self, output: usize, input: usize) -> &[usize] {
        &self.windows[output / blocks(self.output.channels) * self.input.phases.len()
            + input / blocks(self.input.channels)]
    }

    /// From a point of the weights to the next.
    pub(super) fn weight_point(&self) -> usize {
        self.output.blocks() * self.depth() * LANES + SKEW
    }

    /// From a point of a transformed piece to the next.
    pub(super) fn point(&self, blocks: usize) -> usize {
        blocks * self.piece * LANES + SKEW
    }

    /// First tile and number of tiles of each piece of `n` images.
    pub(super) fn pieces(&self, n: usize) -> impl Iterator<Item = (usize, usize)> {
        let (total, piece) = (n * self.per_image(), self.piece);
        (0..total)
            .step_by(piece)
            .map(move |first| (first, piece.min(total - first)))
    }

    #[inline(always)]
    pub(super) fn tile(&self, t: usize) -> Tile {
        let (image, t) = (t / self.per_image(), t % self.per_image());
        Tile {
            image,
            at: [t / self.tiles[1], t % self.tiles[1]],
        }
    }
}

/// Pairs of numbers below `n`, the second fastest.
fn pairs(n: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..n * n).map(move |i| [i / n, i % n])
}

/// A tile: its image, row and column of tiles.
pub(super) struct Tile {
    pub(super) image: usize,
    pub(super) at: [usize; 2],
}
