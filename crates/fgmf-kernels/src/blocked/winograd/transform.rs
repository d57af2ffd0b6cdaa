//! The small linear maps of a tile, and whole planes of tiles through them.
#![allow(unsafe_code, reason = "see `simd`")]
#![allow(clippy::needless_range_loop, reason = "rows and columns of small squares, unrolled")]

use super::{SIDE, Winograd, blocks};
use crate::blocked::Pass;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::Finish;

/// Input cells along a side of a tile.
const REACH: usize = SIDE + 2;

#[inline(always)]
pub(super) unsafe fn input_line<V: Vector>(d: [V; 6]) -> [V; 6] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let four = c(-4.0);
        let (even, odd) = (four.mul_add(d[2], d[4]), four.mul_add(d[1], d[3]));
        let (near, far) = (d[4].sub(d[2]), c(2.0).mul(d[3].sub(d[1])));
        [
            c(4.0).mul_add(d[0], c(-5.0).mul_add(d[2], d[4])),
            even.add(odd),
            even.sub(odd),
            near.add(far),
            near.sub(far),
            c(4.0).mul_add(d[1], c(-5.0).mul_add(d[3], d[5])),
        ]
    }
}

#[inline(always)]
pub(super) unsafe fn output_line<V: Vector>(m: [V; 6]) -> [V; 4] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let (s1, d1, s2, d2) = (m[1].add(m[2]), m[1].sub(m[2]), m[3].add(m[4]), m[3].sub(m[4]));
        [m[0].add(s1).add(s2), c(2.0).mul_add(d2, d1), c(4.0).mul_add(s2, s1), c(8.0).mul_add(d2, d1).add(m[5])]
    }
}

/// Adjoint of [`output_line`].
#[inline(always)]
pub(super) unsafe fn output_line_adjoint<V: Vector>(y: [V; 4]) -> [V; 6] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let (even, odd) = (y[0].add(y[2]), y[1].add(y[3]));
        let (even2, odd2) = (c(4.0).mul_add(y[2], y[0]), c(8.0).mul_add(y[3], c(2.0).mul(y[1])));
        [y[0], even.add(odd), even.sub(odd), even2.add(odd2), even2.sub(odd2), y[3]]
    }
}

#[inline(always)]
pub(super) unsafe fn weight_line<V: Vector>(g: [V; 3]) -> [V; 6] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let ends = g[0].add(g[2]);
        let wide = c(1.0 / 24.0).mul_add(g[0], c(1.0 / 6.0).mul(g[2]));
        let middle = c(1.0 / 12.0).mul(g[1]);
        [c(0.25).mul(g[0]), c(-1.0 / 6.0).mul(ends.add(g[1])), c(-1.0 / 6.0).mul(ends.sub(g[1])), wide.add(middle), wide.sub(middle), g[2]]
    }
}

/// Adjoint of [`weight_line`].
#[inline(always)]
pub(super) unsafe fn weight_line_adjoint<V: Vector>(u: [V; 6]) -> [V; 3] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let (s1, d1, s2, d2) = (u[1].add(u[2]), u[1].sub(u[2]), u[3].add(u[4]), u[3].sub(u[4]));
        let inner = c(-1.0 / 6.0).mul(s1);
        [
            c(0.25).mul_add(u[0], c(1.0 / 24.0).mul_add(s2, inner)),
            c(1.0 / 12.0).mul_add(d2, c(-1.0 / 6.0).mul(d1)),
            c(1.0 / 6.0).mul_add(s2, inner).add(u[5]),
        ]
    }
}

/// `f` along the columns and then the rows of a square of `N x N` vectors, which becomes `M x M`.
macro_rules! both_ways {
    ($f:ident, $n:literal => $m:literal, $x:expr) => {{
        let x: &[[V; $n]; $n] = $x;
        let mut half = [[V::zero(); $n]; $m];
        for j in 0..$n {
            let mut line = [V::zero(); $n];
            for i in 0..$n {
                line[i] = x[i][j];
            }
            let line = $f(line);
            for i in 0..$m {
                half[i][j] = line[i];
            }
        }
        let mut out = [[V::zero(); $m]; $m];
        for i in 0..$m {
            out[i] = $f(half[i]);
        }
        out
    }};
}
pub(super) use both_ways;

/// A square of cells of a plane, from (`row`, `col`) on; what lies outside the plane is zero.
#[derive(Clone, Copy)]
struct Window {
    size: [usize; 2],
    row: isize,
    col: isize,
}

impl Window {
    /// Reads `N x N` cells behind the gate of `pass`, from the plane that begins at number `plane`.
    #[inline(always)]
    unsafe fn read<V: Vector, const N: usize>(self, pass: &Pass<'_>, plane: usize) -> [[V; N]; N] {
        let [h, w] = self.size;
        let mut cells = [[unsafe { V::zero() }; N]; N];
        let n = N as isize;
        let inside = self.row >= 0 && self.col >= 0 && self.row + n <= h as isize && self.col + n <= w as isize;
        // Safety: only cells inside the plane are read.
        unsafe {
            if inside && pass.gate.is_none() {
                let corner = pass.values.as_ptr().add(plane + (self.row as usize * w + self.col as usize) * LANES);
                for i in 0..N {
                    for j in 0..N {
                        cells[i][j] = V::load(corner.add((i * w + j) * LANES));
                    }
                }
                return cells;
            }
            for i in 0..N {
                let r = self.row + i as isize;
                if r < 0 || r >= h as isize {
                    continue;
                }
                for j in 0..N {
                    let c = self.col + j as isize;
                    if c >= 0 && c < w as isize {
                        cells[i][j] = pass.read(plane + (r as usize * w + c as usize) * LANES);
                    }
                }
            }
        }
        cells
    }
}

/// `Bᵀ d B` of `count` tiles from `first` on, into `to` `[36, blocks, piece, 16]`.
pub(super) struct Input<'a> {
    pub(super) plan: &'a Winograd,
    pub(super) pass: Pass<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) to: *mut f32,
}

impl Kernel for Input<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `pass` covers the images of the tiles, `to` the points of a piece.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, pass, first, count, to } = self;
        let ([h, w], n_blocks) = (plan.input, blocks(plan.c_in));
        for t in 0..count {
            let tile = plan.tile(first + t);
            let window =
                Window { size: [h, w], row: tile.row as isize - plan.pad[0] as isize, col: tile.col as isize - plan.pad[1] as isize };
            for b in 0..n_blocks {
                // Safety: stated above.
                unsafe {
                    let d = window.read::<V, REACH>(&pass, (tile.image * n_blocks + b) * h * w * LANES);
                    let d = both_ways!(input_line, 6 => 6, &d);
                    let to = to.add((b * plan.piece + t) * LANES);
                    for i in 0..REACH {
                        for j in 0..REACH {
                            d[i][j].store(to.add((i * REACH + j) * plan.point(n_blocks)));
                        }
                    }
                }
            }
        }
    }
}

/// `Aᵀ m A` of `count` tiles from `first` on: from `from` `[36, blocks, piece, 16]` to the cells of the output.
pub(super) struct Output<'a> {
    pub(super) plan: &'a Winograd,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) from: *const f32,
    pub(super) finish: Finish,
}

impl Kernel for Output<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `from` holds the points of a piece, `finish` covers the images of the tiles.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, first, count, from, finish } = self;
        let ([oh, ow], n_blocks) = (plan.output, blocks(plan.c_out));
        for t in 0..count {
            let tile = plan.tile(first + t);
            let (rows, cols) = (SIDE.min(oh - tile.row), SIDE.min(ow - tile.col));
            for b in 0..n_blocks {
                // Safety: stated above; only cells inside the plane are written.
                unsafe {
                    let from = from.add((b * plan.piece + t) * LANES);
                    let mut m = [[V::zero(); REACH]; REACH];
                    for i in 0..REACH {
                        for j in 0..REACH {
                            m[i][j] = V::load(from.add((i * REACH + j) * plan.point(n_blocks)));
                        }
                    }
                    let y = both_ways!(output_line, 6 => 4, &m);
                    let corner = ((tile.image * n_blocks + b) * oh * ow + tile.row * ow + tile.col) * LANES;
                    for i in 0..SIDE {
                        for j in 0..SIDE {
                            if i < rows && j < cols {
                                finish.store(y[i][j], corner + (i * ow + j) * LANES, b);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `A dy Aᵀ` of `count` tiles from `first` on, into `to` `[36, blocks, piece, 16]`.
pub(super) struct OutputAdjoint<'a> {
    pub(super) plan: &'a Winograd,
    pub(super) pass: Pass<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) to: *mut f32,
}

impl Kernel for OutputAdjoint<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `pass` covers the images of the tiles, `to` the points of a piece.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, pass, first, count, to } = self;
        let (size, n_blocks) = (plan.output, blocks(plan.c_out));
        for t in 0..count {
            let tile = plan.tile(first + t);
            let window = Window { size, row: tile.row as isize, col: tile.col as isize };
            for b in 0..n_blocks {
                // Safety: stated above.
                unsafe {
                    let y = window.read::<V, SIDE>(&pass, (tile.image * n_blocks + b) * size[0] * size[1] * LANES);
                    let m = both_ways!(output_line_adjoint, 4 => 6, &y);
                    let to = to.add((b * plan.piece + t) * LANES);
                    for i in 0..REACH {
                        for j in 0..REACH {
                            m[i][j].store(to.add((i * REACH + j) * plan.point(n_blocks)));
                        }
                    }
                }
            }
        }
    }
}
