//! The small linear maps of a tile, and whole planes of tiles through them.
#![allow(unsafe_code, reason = "see `simd`")]
#![allow(clippy::needless_range_loop, reason = "rows and columns of small squares, unrolled")]

use super::{Planes, SIDE, Tile, Winograd};
use crate::blocked::{Pass, blocks};
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::Finish;
use std::hint::select_unpredictable;

/// A line of `Bᵀ d`: `N` is 6 for windows of three taps, 5 for two.
#[inline(always)]
pub(super) unsafe fn input_line<V: Vector, const N: usize>(d: [V; N]) -> [V; N] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let mut out = [V::zero(); N];
        if N == 6 {
            let four = c(-4.0);
            let (even, odd) = (four.mul_add(d[2], d[4]), four.mul_add(d[1], d[3]));
            let (near, far) = (d[4].sub(d[2]), c(2.0).mul(d[3].sub(d[1])));
            out[0] = c(4.0).mul_add(d[0], c(-5.0).mul_add(d[2], d[4]));
            out[1] = even.add(odd);
            out[2] = even.sub(odd);
            out[3] = near.add(far);
            out[4] = near.sub(far);
            out[5] = c(4.0).mul_add(d[1], c(-5.0).mul_add(d[3], d[5]));
        } else {
            let (two, middle, last) = (c(2.0), d[3].sub(d[1]), d[3].sub(d[2]));
            out[0] = two.mul_add(d[0].sub(d[2]), middle);
            out[1] = c(-2.0).mul_add(d[1], last);
            out[2] = two.mul_add(d[1].sub(d[2]), last);
            out[3] = middle;
            out[4] = c(-2.0).mul_add(middle, d[4].sub(d[2]));
        }
        out
    }
}

/// A line of `Aᵀ m`.
#[inline(always)]
pub(super) unsafe fn output_line<V: Vector, const N: usize>(m: [V; N]) -> [V; SIDE] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let (s1, d1) = (m[1].add(m[2]), m[1].sub(m[2]));
        if N == 6 {
            let (s2, d2) = (m[3].add(m[4]), m[3].sub(m[4]));
            [m[0].add(s1).add(s2), c(2.0).mul_add(d2, d1), c(4.0).mul_add(s2, s1), c(8.0).mul_add(d2, d1).add(m[5])]
        } else {
            [m[0].add(s1).add(m[3]), c(2.0).mul_add(m[3], d1), c(4.0).mul_add(m[3], s1), c(8.0).mul_add(m[3], d1).add(m[4])]
        }
    }
}

/// Adjoint of [`output_line`].
#[inline(always)]
pub(super) unsafe fn output_line_adjoint<V: Vector, const N: usize>(y: [V; SIDE]) -> [V; N] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let (even, odd) = (y[0].add(y[2]), y[1].add(y[3]));
        let (even2, odd2) = (c(4.0).mul_add(y[2], y[0]), c(8.0).mul_add(y[3], c(2.0).mul(y[1])));
        let mut out = [V::zero(); N];
        out[0] = y[0];
        out[1] = even.add(odd);
        out[2] = even.sub(odd);
        out[3] = even2.add(odd2);
        if N == 6 {
            out[4] = even2.sub(odd2);
        }
        out[N - 1] = y[3];
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
pub(super) unsafe fn weight_line_adjoint<V: Vector, const N: usize, const R: usize>(u: [V; N]) -> [V; R] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let mut out = [V::zero(); R];
        if R == 3 {
            let (s1, d1, s2, d2) = (u[1].add(u[2]), u[1].sub(u[2]), u[3].add(u[4]), u[3].sub(u[4]));
            let inner = c(-1.0 / 6.0).mul(s1);
            out[0] = c(0.25).mul_add(u[0], c(1.0 / 24.0).mul_add(s2, inner));
            out[1] = c(1.0 / 12.0).mul_add(d2, c(-1.0 / 6.0).mul(d1));
            out[2] = c(1.0 / 6.0).mul_add(s2, inner).add(u[5]);
        } else {
            let (half, sixth) = (c(0.5), c(1.0 / 6.0));
            out[0] = half.mul_add(u[0].sub(u[1]), sixth.mul(u[3].sub(u[2])));
            out[1] = c(-0.5).mul_add(u[1], sixth.mul_add(u[2], c(1.0 / 3.0).mul_add(u[3], u[4])));
        }
        out
    }
}

/// `f` along the columns and then the rows of a square of `N x N` vectors, which becomes `M x M`: `$cell` reads the vector in row `$i` and
/// column `$j`, `$store` takes `$v` of row `$r` and column `$c`. A macro, because closures would be compiled without vector instructions; the
/// half-way square is not cleared first, which would take as long as the arithmetic.
macro_rules! both_ways {
    ($f:ident, $n:tt => $m:tt, |$i:ident, $j:ident| $cell:expr, |$r:ident, $c:ident, $v:ident| $store:expr) => {{
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

/// A square of up to six by six cells of a plane; what lies outside the plane is zero.
#[derive(Clone, Copy)]
struct Window {
    /// Number of the first cell in the array, which is outside of it where the cell is outside of the plane.
    corner: isize,
    /// Numbers from a row, and from a cell of a row, to the next.
    down: isize,
    right: isize,
    /// Rows and columns that are inside, a bit each.
    rows: u32,
    cols: u32,
}

impl Window {
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
            (0..6).fold(0, |bits, i| {
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
        // At the border of a small map every other cell is outside: a choice of addresses, not a branch.
        let choose = |values: &[f32]| select_unpredictable(inside, values.as_ptr().wrapping_offset(at), NOTHING.as_ptr());
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

/// `f` both ways over a window of `N x N` cells, into points `$step` numbers apart from `$to` on.
macro_rules! points {
    ($f:ident, $n:tt => $m:tt, $window:ident, $pass:ident, $to:ident, $step:expr) => {{
        let step = $step;
        let values = $pass.values.as_ptr();
        match $pass.gate {
            None if $window.whole($n) => {
                both_ways!($f, $n => $m, |i, j| V::load(values.offset($window.at(i, j))), |r, c, v| v.store($to.add((r * $m + c) * step)))
            }
            Some(gate) if $window.whole($n) => {
                let gate = gate.as_ptr();
                both_ways!(
                    $f,
                    $n => $m,
                    |i, j| V::load(values.offset($window.at(i, j))).where_positive(V::load(gate.offset($window.at(i, j)))),
                    |r, c, v| v.store($to.add((r * $m + c) * step))
                )
            }
            _ => both_ways!($f, $n => $m, |i, j| $window.read::<V>(&$pass, i, j), |r, c, v| v.store($to.add((r * $m + c) * step))),
        }
    }};
}

/// `Bᵀ d B` of `count` tiles from `first` on, into `to` `[points, blocks, piece, 16]`; `N` points along a side.
pub(super) struct Input<'a, const N: usize> {
    pub(super) plan: &'a Winograd,
    pub(super) pass: Pass<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) to: *mut f32,
}

impl<const N: usize> Kernel for Input<'_, N> {
    type Output = ();

    /// # Safety
    ///
    /// `pass` covers the images of the tiles, `to` the points of a piece.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, pass, first, count, to } = self;
        let blocks = plan.input.blocks();
        for t in 0..count {
            let tile = plan.tile(first + t);
            for b in 0..blocks {
                let window = Window::new(&plan.input, &tile, b);
                // Safety: stated above.
                unsafe {
                    let to = to.add((b * plan.piece + t) * LANES);
                    points!(input_line, N => N, window, pass, to, plan.point(blocks));
                }
            }
        }
    }
}

/// `Aᵀ m A` of `count` tiles from `first` on: from `from` `[points, blocks, piece, 16]` to the cells of the output.
pub(super) struct Output<'a, const N: usize> {
    pub(super) plan: &'a Winograd,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) from: *const f32,
    pub(super) finish: Finish,
}

impl<const N: usize> Kernel for Output<'_, N> {
    type Output = ();

    /// # Safety
    ///
    /// `from` holds the points of a piece, `finish` covers the images of the tiles.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, first, count, from, finish } = self;
        let blocks = plan.output.blocks();
        for t in 0..count {
            let tile = plan.tile(first + t);
            for b in 0..blocks {
                let window = Window::new(&plan.output, &tile, b);
                let block = plan.output.split(b).1;
                // Safety: stated above; only cells inside the plane are written.
                unsafe {
                    let from = from.add((b * plan.piece + t) * LANES);
                    let step = plan.point(blocks);
                    both_ways!(output_line, N => SIDE, |i, j| V::load(from.add((i * N + j) * step)), |r, c, v| {
                        if window.has(r, c) {
                            finish.store(v, window.at(r, c) as usize, block);
                        }
                    });
                }
            }
        }
    }
}

/// `A dy Aᵀ` of `count` tiles from `first` on, into `to` `[points, blocks, piece, 16]`.
pub(super) struct OutputAdjoint<'a, const N: usize> {
    pub(super) plan: &'a Winograd,
    pub(super) pass: Pass<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) to: *mut f32,
}

impl<const N: usize> Kernel for OutputAdjoint<'_, N> {
    type Output = ();

    /// # Safety
    ///
    /// `pass` covers the images of the tiles, `to` the points of a piece.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { plan, pass, first, count, to } = self;
        let blocks = plan.output.blocks();
        for t in 0..count {
            let tile = plan.tile(first + t);
            for b in 0..blocks {
                let window = Window::new(&plan.output, &tile, b);
                // Safety: stated above.
                unsafe {
                    let to = to.add((b * plan.piece + t) * LANES);
                    points!(output_line_adjoint, SIDE => N, window, pass, to, plan.point(blocks));
                }
            }
        }
    }
}
