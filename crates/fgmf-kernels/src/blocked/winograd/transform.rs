//! The small linear maps of a tile, and whole planes of tiles through them.
#![allow(unsafe_code, reason = "see `simd`")]
#![allow(
    clippy::needless_range_loop,
    reason = "rows and columns of small squares, unrolled"
)]

use super::super::layout::blocks;
use super::super::pass::Pass;
use super::tiles::{Planes, Tile, Winograd};
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::Finish;
use std::hint::select_unpredictable;

/// A line of `Bᵀ d` where there are as many cells as points, else of `A y`, for `C` outputs. `N`
/// points: 6 for windows of three taps, 5 for two, 8 for the large tile.
#[inline(always)]
unsafe fn to_points<V: Vector, const C: usize, const N: usize>(d: [V; C]) -> [V; N] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let mut out = [V::zero(); N];
        match (C, N) {
            (6, 6) => {
                let four = c(-4.0);
                let (even, odd) = (four.mul_add(d[2], d[4]), four.mul_add(d[1], d[3]));
                let (near, far) = (d[4].sub(d[2]), c(2.0).mul(d[3].sub(d[1])));
                out[0] = c(4.0).mul_add(d[0], c(-5.0).mul_add(d[2], d[4]));
                out[1] = even.add(odd);
                out[2] = even.sub(odd);
                out[3] = near.add(far);
                out[4] = near.sub(far);
                out[5] = c(4.0).mul_add(d[1], c(-5.0).mul_add(d[3], d[5]));
            }
            (5, 5) => {
                let (two, middle, last) = (c(2.0), d[3].sub(d[1]), d[3].sub(d[2]));
                out[0] = two.mul_add(d[0].sub(d[2]), middle);
                out[1] = c(-2.0).mul_add(d[1], last);
                out[2] = two.mul_add(d[1].sub(d[2]), last);
                out[3] = middle;
                out[4] = c(-2.0).mul_add(middle, d[4].sub(d[2]));
            }
            (8, 8) => {
                let (even, odd) = (
                    c(-4.25).mul_add(d[4], d[2].add(d[6])),
                    c(-4.25).mul_add(d[3], d[1].add(d[5])),
                );
                let even2 = c(0.25).mul_add(d[2], c(-1.25).mul_add(d[4], d[6]));
                let odd2 = c(0.5).mul_add(d[1], c(-2.5).mul_add(d[3], c(2.0).mul(d[5])));
                let even_half = c(4.0).mul_add(d[2], c(-5.0).mul_add(d[4], d[6]));
                let odd_half = c(2.0).mul_add(d[1], c(-2.5).mul_add(d[3], c(0.5).mul(d[5])));
                out[0] = c(5.25).mul_add(d[4].sub(d[2]), d[0].sub(d[6]));
                out[1] = even.add(odd);
                out[2] = even.sub(odd);
                out[3] = even2.add(odd2);
                out[4] = even2.sub(odd2);
                out[5] = even_half.add(odd_half);
                out[6] = even_half.sub(odd_half);
                out[7] = c(5.25).mul_add(d[3].sub(d[5]), d[7].sub(d[1]));
            }
            (7, 8) => {
                let (even, odd) = (d[0].add(d[2]).add(d[4].add(d[6])), d[1].add(d[3]).add(d[5]));
                let even2 =
                    c(64.0).mul_add(d[6], c(16.0).mul_add(d[4], c(4.0).mul_add(d[2], d[0])));
                let odd2 = c(32.0).mul_add(d[5], c(8.0).mul_add(d[3], c(2.0).mul(d[1])));
                let even_half = c(1.0 / 64.0).mul_add(
                    d[6],
                    c(1.0 / 16.0).mul_add(d[4], c(0.25).mul_add(d[2], d[0])),
                );
                let odd_half =
                    c(1.0 / 32.0).mul_add(d[5], c(0.125).mul_add(d[3], c(0.5).mul(d[1])));
                out[0] = d[0];
                out[1] = even.add(odd);
                out[2] = even.sub(odd);
                out[3] = even2.add(odd2);
                out[4] = even2.sub(odd2);
                out[5] = even_half.add(odd_half);
                out[6] = even_half.sub(odd_half);
                out[7] = d[6];
            }
            _ => {
                let (even, odd) = (d[0].add(d[2]), d[1].add(d[3]));
                let (even2, odd2) = (
                    c(4.0).mul_add(d[2], d[0]),
                    c(8.0).mul_add(d[3], c(2.0).mul(d[1])),
                );
                out[0] = d[0];
                out[1] = even.add(odd);
                out[2] = even.sub(odd);
                out[3] = even2.add(odd2);
                if N == 6 {
                    out[4] = even2.sub(odd2);
                }
                out[N - 1] = d[3];
            }
        }
        out
    }
}

/// A line of `Aᵀ m`, or of `B m` where there are as many cells as points.
#[inline(always)]
unsafe fn from_points<V: Vector, const N: usize, const C: usize>(m: [V; N]) -> [V; C] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let mut out = [V::zero(); C];
        let (s1, d1) = (m[1].add(m[2]), m[1].sub(m[2]));
        match (N, C) {
            (6, 4) => {
                let (s2, d2) = (m[3].add(m[4]), m[3].sub(m[4]));
                out[0] = m[0].add(s1).add(s2);
                out[1] = c(2.0).mul_add(d2, d1);
                out[2] = c(4.0).mul_add(s2, s1);
                out[3] = c(8.0).mul_add(d2, d1).add(m[5]);
            }
            (5, 4) => {
                out[0] = m[0].add(s1).add(m[3]);
                out[1] = c(2.0).mul_add(m[3], d1);
                out[2] = c(4.0).mul_add(m[3], s1);
                out[3] = c(8.0).mul_add(m[3], d1).add(m[4]);
            }
            (8, 7) => {
                let (s2, d2, s3, d3) = (
                    m[3].add(m[4]),
                    m[3].sub(m[4]),
                    m[5].add(m[6]),
                    m[5].sub(m[6]),
                );
                out[0] = m[0].add(s1).add(s2.add(s3));
                out[1] = c(0.5).mul_add(d3, c(2.0).mul_add(d2, d1));
                out[2] = c(0.25).mul_add(s3, c(4.0).mul_add(s2, s1));
                out[3] = c(0.125).mul_add(d3, c(8.0).mul_add(d2, d1));
                out[4] = c(1.0 / 16.0).mul_add(s3, c(16.0).mul_add(s2, s1));
                out[5] = c(1.0 / 32.0).mul_add(d3, c(32.0).mul_add(d2, d1));
                out[6] = c(1.0 / 64.0).mul_add(s3, c(64.0).mul_add(s2, s1)).add(m[7]);
            }
            _ => {
                let (s2, d2, s3, d3) = (
                    m[3].add(m[4]),
                    m[3].sub(m[4]),
                    m[5].add(m[6]),
                    m[5].sub(m[6]),
                );
                out[0] = m[0];
                out[1] = c(0.5).mul_add(d2, c(2.0).mul_add(d3, d1)).sub(m[7]);
                out[2] = c(-5.25).mul_add(m[0], c(0.25).mul_add(s2, c(4.0).mul_add(s3, s1)));
                out[3] = c(-4.25).mul_add(d1, c(-2.5).mul_add(d2.add(d3), c(5.25).mul(m[7])));
                out[4] = c(5.25).mul_add(
                    m[0],
                    c(-4.25).mul_add(s1, c(-1.25).mul_add(s2, c(-5.0).mul(s3))),
                );
                out[5] = c(-5.25).mul_add(m[7], c(2.0).mul_add(d2, c(0.5).mul_add(d3, d1)));
                out[6] = s1.add(s2).add(s3.sub(m[0]));
                out[7] = m[7];
            }
        }
        out
    }
}

/// A line of `G g`.
#[inline(always)]
pub(super) unsafe fn weight_line<V: Vector, const R: usize, const N: usize>(g: [V; R]) -> [V; N] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let mut out = [V::zero(); N];
        if R == 3 {
            let ends = g[0].add(g[2]);
            let wide = c(1.0 / 24.0).mul_add(g[0], c(1.0 / 6.0).mul(g[2]));
            let middle = c(1.0 / 12.0).mul(g[1]);
            out[0] = c(0.25).mul(g[0]);
            out[1] = c(-1.0 / 6.0).mul(ends.add(g[1]));
            out[2] = c(-1.0 / 6.0).mul(ends.sub(g[1]));
            out[3] = wide.add(middle);
            out[4] = wide.sub(middle);
        } else if N == 8 {
            let (two, half) = (c(1.0 / 90.0).mul(g[0]), c(32.0 / 45.0).mul(g[0]));
            out[0] = g[0];
            out[1] = c(-2.0 / 9.0).mul(g[0].add(g[1]));
            out[2] = c(-2.0 / 9.0).mul(g[0].sub(g[1]));
            out[3] = c(1.0 / 45.0).mul_add(g[1], two);
            out[4] = c(-1.0 / 45.0).mul_add(g[1], two);
            out[5] = c(16.0 / 45.0).mul_add(g[1], half);
            out[6] = c(-16.0 / 45.0).mul_add(g[1], half);
        } else {
            out[0] = c(0.5).mul(g[0]);
            out[1] = c(-0.5).mul(g[0].add(g[1]));
            out[2] = c(1.0 / 6.0).mul(g[1].sub(g[0]));
            out[3] = c(1.0 / 6.0).mul_add(g[0], c(1.0 / 3.0).mul(g[1]));
        }
        out[N - 1] = g[R - 1];
        out
    }
}

/// Adjoint of [`weight_line`].
#[inline(always)]
pub(super) unsafe fn weight_line_adjoint<V: Vector, const N: usize, const R: usize>(
    u: [V; N],
) -> [V; R] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let mut out = [V::zero(); R];
        if R == 3 {
            let (s1, d1, s2, d2) = (
                u[1].add(u[2]),
                u[1].sub(u[2]),
                u[3].add(u[4]),
                u[3].sub(u[4]),
            );
            let inner = c(-1.0 / 6.0).mul(s1);
            out[0] = c(0.25).mul_add(u[0], c(1.0 / 24.0).mul_add(s2, inner));
            out[1] = c(1.0 / 12.0).mul_add(d2, c(-1.0 / 6.0).mul(d1));
            out[2] = c(1.0 / 6.0).mul_add(s2, inner).add(u[5]);
        } else if N == 8 {
            let [(s1, d1), (s2, d2), (s3, d3)] = [
                (u[1].add(u[2]), u[1].sub(u[2])),
                (u[3].add(u[4]), u[3].sub(u[4])),
                (u[5].add(u[6]), u[5].sub(u[6])),
            ];
            out[0] = c(-2.0 / 9.0).mul_add(
                s1,
                c(1.0 / 90.0).mul_add(s2, c(32.0 / 45.0).mul_add(s3, u[0])),
            );
            out[1] = c(-2.0 / 9.0).mul_add(
                d1,
                c(1.0 / 45.0).mul_add(d2, c(16.0 / 45.0).mul_add(d3, u[7])),
            );
        } else {
            let (half, sixth) = (c(0.5), c(1.0 / 6.0));
            out[0] = half.mul_add(u[0].sub(u[1]), sixth.mul(u[3].sub(u[2])));
            out[1] = c(-0.5).mul_add(u[1], sixth.mul_add(u[2], c(1.0 / 3.0).mul_add(u[3], u[4])));
        }
        out
    }
}

/// `f` along the columns and then the rows of a square of `N x N` vectors, which becomes `M x M`:
/// `$cell` reads the vector in row `$i` and column `$j`, `$store` takes `$v` of row `$r` and column
/// `$c`. A macro, because closures would be compiled without vector instructions; the half-way
/// square is not cleared first, which would take as long as the arithmetic.
macro_rules! both_ways {
    ($f:ident, $n:tt => $m:tt,
        |$i:ident, $j:ident| $cell:expr,
        |$r:ident, $c:ident, $v:ident| $store:expr) => {{
        let mut half = std::mem::MaybeUninit::<[[V; $n]; $m]>::uninit();
        let half = half.as_mut_ptr().cast::<V>();
        for $j in 0..$n {
            let mut line = [V::zero(); $n];
            for $i in 0..$n {
                line[$i] = $cell;
            }
            let line: [V; $m] = $f(line);
            for i in 0..$m {
                half.add(i * $n + $j).write(line[i]);
            }
        }
        for $r in 0..$m {
            let mut line = [V::zero(); $n];
            for j in 0..$n {
                line[j] = half.add($r * $n + j).read();
            }
            let line: [V; $m] = $f(line);
            for $c in 0..$m {
                let $v = line[$c];
                $store;
            }
        }
    }};
}
pub(super) use both_ways;

/// A square of up to eight by eight cells of a plane; what lies outside the plane is zero.
#[derive(Clone, Copy)]
struct Square {
    /// Number of the first cell in the array, which is outside of it where the cell is outside of
    /// the plane.
    corner: isize,
    /// Numbers from a row, and from a cell of a row, to the next.
    down: isize,
    right: isize,
    /// Rows and columns that are inside, a bit each.
    rows: u32,
    cols: u32,
}

impl Square {
    /// What tile `tile` covers of block `b` of all phases.
    #[inline(always)]
    fn new(planes: &Planes, tile: &Tile, b: usize) -> Self {
        let (phase, block) = planes.split(b);
        let [row, col] = planes.corner(phase, tile);
        let [h, w] = planes.size.map(|d| d as isize);
        let step = planes.step as isize;
        let plane = ((tile.image * blocks(planes.channels) + block) as isize) * h * w;
        let lanes = LANES as isize;
        let inside = |first: isize, len: isize| {
            (0..8).fold(0, |bits, i| {
                let at = first + i * step;
                bits | u32::from(at >= 0 && at < len) << i
            })
        };
        Self {
            corner: (plane + row * w + col) * lanes,
            down: step * w * lanes,
            right: step * lanes,
            rows: inside(row, h),
            cols: inside(col, w),
        }
    }

    /// Whether `n x n` cells are inside the plane.
    #[inline(always)]
    fn whole(self, n: usize) -> bool {
        let all = (1 << n) - 1;
        self.rows & self.cols & all == all
    }

    #[inline(always)]
    fn has(self, i: usize, j: usize) -> bool {
        self.rows >> i & self.cols >> j & 1 == 1
    }

    /// Number of the cell in row `i` and column `j`.
    #[inline(always)]
    fn at(self, i: usize, j: usize) -> isize {
        self.corner + i as isize * self.down + j as isize * self.right
    }

    /// The cell in row `i` and column `j` behind the gate of `pass`.
    ///
    /// # Safety
    ///
    /// `pass` covers the plane.
    #[inline(always)]
    unsafe fn read<V: Vector>(self, pass: &Pass<'_>, i: usize, j: usize) -> V {
        const NOTHING: [f32; LANES] = [0.0; LANES];
        let (inside, at) = (self.has(i, j), self.at(i, j));
        // At the border of a small map every other cell is outside: a choice of addresses, not a
        // branch.
        let choose = |values: &[f32]| {
            select_unpredictable(
                inside,
                values.as_ptr().wrapping_offset(at),
                NOTHING.as_ptr(),
            )
        };
        // Safety: only cells inside the plane are read, or sixteen zeros.
        unsafe {
            let v = V::load(choose(pass.values));
            match pass.gate {
                Some(gate) => v.where_positive(V::load(choose(gate))),
                None => v,
            }
        }
    }
}

/// `f` both ways over a window of cells, into points `$step` numbers apart from `$to` on.
macro_rules! points {
    ($f:ident, $n:tt => $m:tt, $window:ident, $pass:ident, $to:ident, $step:expr) => {{
        let step = $step;
        let values = $pass.values.as_ptr();
        match $pass.gate {
            None if $window.whole($n) => {
                both_ways!($f, $n => $m,
                    |i, j| V::load(values.offset($window.at(i, j))),
                    |r, c, v| v.store($to.add((r * $m + c) * step)))
            }
            Some(gate) if $window.whole($n) => {
                let gate = gate.as_ptr();
                both_ways!(
                    $f,
                    $n => $m,
                    |i, j| V::load(values.offset($window.at(i, j)))
                        .where_positive(V::load(gate.offset($window.at(i, j)))),
                    |r, c, v| v.store($to.add((r * $m + c) * step))
                )
            }
            _ => both_ways!($f, $n => $m,
                |i, j| $window.read::<V>(&$pass, i, j),
                |r, c, v| v.store($to.add((r * $m + c) * step))),
        }
    }};
}

/// `Bᵀ d B` of `count` tiles from `first` on, or `A y Aᵀ` where there are fewer cells than points,
/// into `to` `[points, blocks, piece, 16]`; `N` points and `C` cells along a side.
pub(super) struct ToPoints<'a, const C: usize, const N: usize> {
    pub(super) plan: &'a Winograd,
    /// The plan's input or output.
    pub(super) planes: &'a Planes,
    pub(super) pass: Pass<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) to: *mut f32,
}

impl<const C: usize, const N: usize> Kernel for ToPoints<'_, C, N> {
    type Output = ();

    /// # Safety
    ///
    /// `pass` covers the images of the tiles, `to` the points of a piece.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            planes,
            pass,
            first,
            count,
            to,
        } = self;
        let blocks = planes.blocks();
        for t in 0..count {
            let tile = plan.tile(first + t);
            for b in 0..blocks {
                let window = Square::new(planes, &tile, b);
                // Safety: stated above.
                unsafe {
                    let to = to.add((b * plan.piece + t) * LANES);
                    points!(to_points, C => N, window, pass, to, plan.point(blocks));
                }
            }
        }
    }
}

/// `Aᵀ m A` of `count` tiles from `first` on, or `B m Bᵀ` where there are as many cells as points:
/// from `from` `[points, blocks, piece, 16]` to the cells of the output.
pub(super) struct FromPoints<'a, const N: usize, const C: usize> {
    pub(super) plan: &'a Winograd,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) from: *const f32,
    pub(super) finish: Finish,
}

impl<const N: usize, const C: usize> Kernel for FromPoints<'_, N, C> {
    type Output = ();

    /// # Safety
    ///
    /// `from` holds the points of a piece, `finish` covers the images of the tiles.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            plan,
            first,
            count,
            from,
            finish,
        } = self;
        let blocks = plan.output.blocks();
        for t in 0..count {
            let tile = plan.tile(first + t);
            for b in 0..blocks {
                let window = Square::new(&plan.output, &tile, b);
                let block = plan.output.split(b).1;
                // Safety: stated above; only cells inside the plane are written.
                unsafe {
                    let from = from.add((b * plan.piece + t) * LANES);
                    let step = plan.point(blocks);
                    both_ways!(from_points, N => C, |i, j| V::load(from.add((i * N + j) * step)),
                        |r, c, v| {
                        if window.has(r, c) {
                            finish.store(v, window.at(r, c) as usize, block);
                        }
                    });
                }
            }
        }
    }
}
