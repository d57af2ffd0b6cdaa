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

/// `f` along the columns and then the rows of a square of `N x N` vectors, which becomes `M x M`: `$cell` reads the vector in row `$i` and
/// column `$j`, `$store` takes `$v` of row `$r` and column `$c`. A macro, because closures would be compiled without vector instructions; the
/// half-way square is not cleared first, which would take as long as the arithmetic.
macro_rules! both_ways {
    ($f:ident, $n:literal => $m:literal, |$i:ident, $j:ident| $cell:expr, |$r:ident, $c:ident, $v:ident| $store:expr) => {{
        let mut half = std::mem::MaybeUninit::<[[V; $n]; $m]>::uninit();
        let half = half.as_mut_ptr().cast::<V>();
        for $j in 0..$n {
            let mut line = [V::zero(); $n];
            for $i in 0..$n {
                line[$i] = $cell;
            }
            let line = $f(line);
            for i in 0..$m {
                half.add(i * $n + $j).write(line[i]);
            }
        }
        for $r in 0..$m {
            let mut line = [V::zero(); $n];
            for j in 0..$n {
                line[j] = half.add($r * $n + j).read();
            }
            let line = $f(line);
            for $c in 0..$m {
                let $v = line[$c];
                $store;
            }
        }
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
    /// Where its first cell lies in a plane that begins at number `plane`, if `n x n` cells are inside.
    #[inline(always)]
    fn corner(self, n: usize, plane: usize) -> Option<usize> {
        let ([h, w], n) = (self.size, n as isize);
        let inside = self.row >= 0 && self.col >= 0 && self.row + n <= h as isize && self.col + n <= w as isize;
        inside.then(|| plane + (self.row as usize * w + self.col as usize) * LANES)
    }

    /// The cell in row `i` and column `j` behind the gate of `pass`, in the plane that begins at number `plane`.
    #[inline(always)]
    unsafe fn cell<V: Vector>(self, pass: &Pass<'_>, plane: usize, i: usize, j: usize) -> V {
        let ([h, w], row, col) = (self.size, self.row + i as isize, self.col + j as isize);
        // Safety: only cells inside the plane are read.
        unsafe {
            if row < 0 || col < 0 || row >= h as isize || col >= w as isize {
                return V::zero();
            }
            pass.read(plane + (row as usize * w + col as usize) * LANES)
        }
    }
}

/// `f` both ways over a window of `N x N` cells, into points `$step` numbers apart from `$to` on.
macro_rules! points {
    ($f:ident, $n:literal, $window:ident, $pass:ident, $plane:expr, $to:ident, $step:expr) => {{
        let (plane, step) = ($plane, $step);
        match $window.corner($n, plane).filter(|_| $pass.gate.is_none()) {
            Some(corner) => {
                let (corner, width) = ($pass.values.as_ptr().add(corner), $window.size[1]);
                both_ways!($f, $n => 6, |i, j| V::load(corner.add((i * width + j) * LANES)), |r, c, v| v.store($to.add((r * REACH + c) * step)))
            }
            None => both_ways!($f, $n => 6, |i, j| $window.cell::<V>(&$pass, plane, i, j), |r, c, v| v.store($to.add((r * REACH + c) * step))),
        }
    }};
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
                    let to = to.add((b * plan.piece + t) * LANES);
                    points!(input_line, 6, window, pass, (tile.image * n_blocks + b) * h * w * LANES, to, plan.point(n_blocks));
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
                    let step = plan.point(n_blocks);
                    let corner = ((tile.image * n_blocks + b) * oh * ow + tile.row * ow + tile.col) * LANES;
                    both_ways!(output_line, 6 => 4, |i, j| V::load(from.add((i * REACH + j) * step)), |r, c, v| {
                        if r < rows && c < cols {
                            finish.store(v, corner + (r * ow + c) * LANES, b);
                        }
                    });
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
                    let to = to.add((b * plan.piece + t) * LANES);
                    let plane = (tile.image * n_blocks + b) * size[0] * size[1] * LANES;
                    points!(output_line_adjoint, 4, window, pass, plane, to, plan.point(n_blocks));
                }
            }
        }
    }
}
