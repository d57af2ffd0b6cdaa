//! Winograd's F(4x4, 3x3) (Lavin & Gray 2016) for 3x3 windows of stride 1: 36 products where the definition has 144.
//!
//! A tile of 4x4 outputs is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, with `d` the 6x6 inputs it sees and `g` the 3x3 window; the sum over channels is
//! taken between the brackets, as 36 matrix products over all tiles. The gradient to the input is the same convolution of the
//! output's gradient with the window turned round; the gradient to the weight is the adjoint in `g`,
//! `Gᵀ [(A dy Aᵀ) ⊙ (Bᵀ d B)] G` summed over tiles. Points 0, ±1, ±2, ∞. In `f32` the largest error against the exact sum is a few
//! times that of the direct sum (a test holds it below 2e-5 of the largest output).
#![allow(unsafe_code, reason = "see `simd`")]

use super::Pass;
use crate::real::at_least;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::{Finish, Product, Segment};

/// Products of a tile.
pub(super) const POINTS: usize = 36;
/// Output cells along a side of a tile.
const SIDE: usize = 4;
/// Numbers of both transformed sides that are held at once, for one piece of the tiles.
const WINDOW: usize = 1 << 18;

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

fn blocks(c: usize) -> usize {
    c.div_ceil(LANES)
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
        POINTS * self.point_len()
    }

    fn point_len(&self) -> usize {
        blocks(self.c_out) * self.c_in.next_multiple_of(LANES) * LANES
    }
}

#[inline(always)]
unsafe fn input_line<V: Vector>(d: [V; 6]) -> [V; 6] {
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
unsafe fn output_line<V: Vector>(m: [V; 6]) -> [V; 4] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let (s1, d1, s2, d2) = (m[1].add(m[2]), m[1].sub(m[2]), m[3].add(m[4]), m[3].sub(m[4]));
        [m[0].add(s1).add(s2), c(2.0).mul_add(d2, d1), c(4.0).mul_add(s2, s1), c(8.0).mul_add(d2, d1).add(m[5])]
    }
}

/// Adjoint of [`output_line`].
#[inline(always)]
unsafe fn output_line_adjoint<V: Vector>(y: [V; 4]) -> [V; 6] {
    // Safety: arithmetic.
    unsafe {
        let c = |v: f32| V::splat(v);
        let (even, odd) = (y[0].add(y[2]), y[1].add(y[3]));
        let (even2, odd2) = (c(4.0).mul_add(y[2], y[0]), c(8.0).mul_add(y[3], c(2.0).mul(y[1])));
        [y[0], even.add(odd), even.sub(odd), even2.add(odd2), even2.sub(odd2), y[3]]
    }
}

#[inline(always)]
unsafe fn weight_line<V: Vector>(g: [V; 3]) -> [V; 6] {
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
unsafe fn weight_line_adjoint<V: Vector>(u: [V; 6]) -> [V; 3] {
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

/// `f` along the rows and then the columns of a square: `R x C` lines of `N` become `M x M`.
macro_rules! both_ways {
    ($f:ident, $n:literal => $m:literal, $x:expr) => {{
        let x: [[V; $n]; $n] = $x;
        let mut half = [[V::zero(); $n]; $m];
        for j in 0..$n {
            let line = $f(std::array::from_fn(|i| x[i][j]));
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

/// Transforms weights. `at(o, i)` is where the 3x3 window of a pair of channels begins; the taps follow, backwards if `turned`.
pub(super) struct PackWeight<'a, F> {
    pub(super) plan: &'a Winograd,
    pub(super) w: *const f32,
    pub(super) at: F,
    pub(super) turned: bool,
    pub(super) packed: *mut f32,
}

impl<F: Fn(usize, usize) -> usize> Kernel for PackWeight<'_, F> {
    type Output = ();

    /// # Safety
    ///
    /// `w` is readable from `at(o, i)` on for nine numbers, `packed` holds [`Winograd::weight_len`].
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Winograd { c_in, c_out, .. } = *self.plan;
        let (point, depth) = (self.plan.point_len(), c_in.next_multiple_of(LANES));
        // Safety: stated above.
        unsafe {
            for ob in 0..blocks(c_out) {
                for i in 0..c_in {
                    let mut lanes = [[0.0; LANES]; 9];
                    for l in 0..LANES.min(c_out - ob * LANES) {
                        let from = self.w.add((self.at)(ob * LANES + l, i));
                        for (t, lanes) in lanes.iter_mut().enumerate() {
                            lanes[l] = *from.add(if self.turned { 8 - t } else { t });
                        }
                    }
                    let taps: [[V; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| V::load(lanes[3 * r + c].as_ptr())));
                    let u = both_ways!(weight_line, 3 => 6, taps);
                    for (p, v) in u.as_flattened().iter().enumerate() {
                        v.store(self.packed.add(p * point + (ob * depth + i) * LANES));
                    }
                }
            }
        }
    }
}

/// The cells of a tile that lie in a plane.
struct Tile {
    image: usize,
    row: usize,
    col: usize,
}

impl Winograd {
    #[inline(always)]
    fn tile(&self, t: usize) -> Tile {
        let (image, t) = (t / self.per_image(), t % self.per_image());
        Tile { image, row: t / self.tiles[1] * SIDE, col: t % self.tiles[1] * SIDE }
    }

    /// `Bᵀ d B` of `count` tiles from `first` on, into `v` `[36, blocks, piece, 16]`.
    #[inline(always)]
    unsafe fn transform_input<V: Vector>(&self, pass: &Pass<'_>, first: usize, count: usize, v: *mut f32) {
        let ([h, w], n_blocks) = (self.input, blocks(self.c_in));
        // Safety: cells are inside the plane, pieces inside `v`.
        unsafe {
            for b in 0..n_blocks {
                for t in 0..count {
                    let Tile { image, row, col } = self.tile(first + t);
                    let plane = (image * n_blocks + b) * h * w * LANES;
                    let read = |i: usize, j: usize| {
                        let (r, c) = ((row + i).wrapping_sub(self.pad[0]), (col + j).wrapping_sub(self.pad[1]));
                        if r < h && c < w { pass.read::<V>(plane + (r * w + c) * LANES) } else { V::zero() }
                    };
                    let d: [[V; 6]; 6] = std::array::from_fn(|i| std::array::from_fn(|j| read(i, j)));
                    let d = both_ways!(input_line, 6 => 6, d);
                    let to = v.add((b * self.piece + t) * LANES);
                    for (p, d) in d.as_flattened().iter().enumerate() {
                        d.store(to.add(p * n_blocks * self.piece * LANES));
                    }
                }
            }
        }
    }
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
        let depth = plan.c_in.next_multiple_of(LANES);
        let ([oh, ow], piece) = (plan.output, plan.piece);
        let total = n * plan.per_image();
        let held = piece.min(total.max(1));
        at_least(scratch, POINTS * (ib + ob) * piece * LANES);
        let v = scratch.as_mut_ptr();
        // Safety: `v` and `m` share the scratch, the rest is stated above.
        unsafe {
            let m = v.add(POINTS * ib * piece * LANES);
            for first in (0..total).step_by(held) {
                let count = held.min(total - first);
                plan.transform_input::<V>(&pass, first, count, v);
                for p in 0..POINTS {
                    let product = Product::<LANES, 1> {
                        a: v.add(p * ib * piece * LANES),
                        rows: count,
                        b: packed.add(p * plan.point_len()),
                        panel: depth * LANES,
                        panels: ob,
                        segments: &plan.segments,
                        finish: Finish::plain(m.add(p * ob * piece * LANES), LANES, piece * LANES),
                    };
                    product.run::<V>();
                }
                for b in 0..ob {
                    for t in 0..count {
                        let Tile { image, row, col } = plan.tile(first + t);
                        let from = m.add((b * piece + t) * LANES);
                        let read = |p: usize| V::load(from.add(p * ob * piece * LANES).cast_const());
                        let x: [[V; 6]; 6] = std::array::from_fn(|i| std::array::from_fn(|j| read(6 * i + j)));
                        let y = both_ways!(output_line, 6 => 4, x);
                        let plane = (image * ob + b) * oh * ow;
                        for (i, line) in y.iter().enumerate().take(oh - row) {
                            for (j, &y) in line.iter().enumerate().take(ow - col) {
                                finish.store(y, (plane + (row + i) * ow + col + j) * LANES, b);
                            }
                        }
                    }
                }
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
        let ([oh, ow], piece) = (plan.output, plan.piece);
        let total = n * plan.per_image();
        if total == 0 {
            return;
        }
        let held = piece.min(total);
        // A point's products, `[c_in, c_out]` in whole blocks.
        let point = ib * ob * LANES * LANES;
        at_least(scratch, POINTS * ((ib + ob) * piece * LANES + point));
        let v = scratch.as_mut_ptr();
        // Safety: three parts of the scratch; cells are inside their planes.
        unsafe {
            let m = v.add(POINTS * ib * piece * LANES);
            let du = m.add(POINTS * ob * piece * LANES);
            for first in (0..total).step_by(held) {
                let count = held.min(total - first);
                plan.transform_input::<V>(&x, first, count, v);
                for b in 0..ob {
                    for t in 0..count {
                        let Tile { image, row, col } = plan.tile(first + t);
                        let plane = (image * ob + b) * oh * ow;
                        let read = |i: usize, j: usize| {
                            let inside = row + i < oh && col + j < ow;
                            if inside { dy.read::<V>((plane + (row + i) * ow + col + j) * LANES) } else { V::zero() }
                        };
                        let cells: [[V; 4]; 4] = std::array::from_fn(|i| std::array::from_fn(|j| read(i, j)));
                        let cells = both_ways!(output_line_adjoint, 4 => 6, cells);
                        let to = m.add((b * piece + t) * LANES);
                        for (p, v) in cells.as_flattened().iter().enumerate() {
                            v.store(to.add(p * ob * piece * LANES));
                        }
                    }
                }
                let all = [Segment { a: 0, b: 0, len: count }];
                for p in 0..POINTS {
                    for b in 0..ib {
                        let product = Product::<1, LANES> {
                            a: v.add((p * ib + b) * piece * LANES),
                            rows: LANES,
                            b: m.add(p * ob * piece * LANES),
                            panel: piece * LANES,
                            panels: ob,
                            segments: &all,
                            finish: Finish::plain(du.add(p * point + b * LANES * ob * LANES), ob * LANES, LANES).accumulate(first > 0),
                        };
                        product.run::<V>();
                    }
                }
            }
            for i in 0..plan.c_in {
                for b in 0..ob {
                    let from = du.add((i * ob + b) * LANES);
                    let u: [[V; 6]; 6] =
                        std::array::from_fn(|r| std::array::from_fn(|c| V::load(from.add((6 * r + c) * point).cast_const())));
                    let g = both_ways!(weight_line_adjoint, 6 => 3, u);
                    let g: [[f32; LANES]; 9] = std::array::from_fn(|t| g[t / 3][t % 3].lanes());
                    for l in 0..LANES.min(plan.c_out - b * LANES) {
                        let dw = &mut dw[((b * LANES + l) * plan.c_in + i) * 9..][..9];
                        for (dw, g) in dw.iter_mut().zip(&g) {
                            *dw += g[l];
                        }
                    }
                }
            }
        }
    }
}
