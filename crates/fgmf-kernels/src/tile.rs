//! The register tile behind every fast `f32` product: convolution, Winograd, matrix product, and
//! their gradients.
//!
//! `y[r, 16 j + l] = Σ_s Σ_k a[s.a + r ROW + k STEP] · b[j panel + s.b + 16 k + l]`: a number of
//! `a` is spread over a vector and multiplied by a vector of `b`. `a` is read where it lies (its
//! stretches are the taps of a convolution), `b` is packed in panels of sixteen columns. Each sum
//! runs over ascending stretches and k in one register, so its bits depend on neither the tile nor
//! the other rows.
#![allow(unsafe_code, reason = "see `simd`")]

use crate::simd::{Kernel, LANES, Vector};

/// A stretch of the sum: `len` products, from `a` and `b` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) len: usize,
}

/// Where a product goes, and what is done to it on the way: `y = act(sum + bias + add)`.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    pub(crate) y: *mut f32,
    /// From a row to the next.
    pub(crate) step: usize,
    /// From sixteen columns to the next.
    pub(crate) block: usize,
    /// Columns that are written, of all panels; the rest are padding.
    pub(crate) width: usize,
    /// One number a column (whole vectors), or null.
    pub(crate) bias: *const f32,
    /// Laid out as `y`, which it may be; or null.
    pub(crate) add: *const f32,
    /// Whether negative numbers become 0.
    pub(crate) relu: bool,
}

impl Finish {
    /// The sum as it is, in blocks of sixteen columns that are all written.
    pub(crate) fn plain(y: *mut f32, step: usize, block: usize) -> Self {
        Self {
            y,
            step,
            block,
            width: usize::MAX,
            bias: std::ptr::null(),
            add: std::ptr::null(),
            relu: false,
        }
    }

    /// Whether the sum is added to what `y` holds.
    pub(crate) fn accumulate(self, on: bool) -> Self {
        Self {
            add: if on { self.y } else { self.add },
            ..self
        }
    }

    /// From the number `start` of `y` and panel `panel` on, with another distance between rows and
    /// panels.
    ///
    /// # Safety
    ///
    /// `y` and `add` reach to `start`, `bias` to the panel.
    #[inline(always)]
    pub(crate) unsafe fn from(self, start: usize, panel: usize, step: usize, block: usize) -> Self {
        // Safety: stated above.
        unsafe {
            Self {
                y: self.y.add(start),
                step,
                block,
                bias: if self.bias.is_null() {
                    self.bias
                } else {
                    self.bias.add(panel * LANES)
                },
                add: if self.add.is_null() {
                    self.add
                } else {
                    self.add.add(start)
                },
                ..self
            }
        }
    }

    /// From row `row` and panel `panel` on.
    #[inline(always)]
    unsafe fn at(self, row: usize, panel: usize) -> Self {
        let offset = row * self.step + panel * self.block;
        // Safety: the caller's product writes these rows and panels.
        unsafe {
            Self {
                y: self.y.add(offset),
                width: self.width - (panel * LANES).min(self.width),
                bias: if self.bias.is_null() {
                    self.bias
                } else {
                    self.bias.add(panel * LANES)
                },
                add: if self.add.is_null() {
                    self.add
                } else {
                    self.add.add(offset)
                },
                ..self
            }
        }
    }

    /// Writes one whole vector of panel `panel` at `offset`.
    ///
    /// # Safety
    ///
    /// `y` and `add` hold sixteen numbers there, `bias` those of the panel.
    #[inline(always)]
    pub(crate) unsafe fn store<V: Vector>(&self, sum: V, offset: usize, panel: usize) {
        // Safety: stated above.
        unsafe {
            let mut v = sum;
            if !self.bias.is_null() {
                v = v.add(V::load(self.bias.add(panel * LANES)));
            }
            if !self.add.is_null() {
                v = v.add(V::load(self.add.add(offset)));
            }
            if self.relu {
                // In this order a NaN stays one.
                v = V::zero().max(v);
            }
            v.store(self.y.add(offset));
        }
    }

    #[inline(always)]
    unsafe fn write<V: Vector, const P: usize, const B: usize>(self, sums: &[[V; B]; P]) {
        // Safety: the caller's product owns these rows and panels of `y`, and `add` and `bias`
        // cover them.
        unsafe {
            for (p, row) in sums.iter().enumerate() {
                for (j, &sum) in row.iter().enumerate() {
                    let at = p * self.step + j * self.block;
                    let n = self.width - (j * LANES).min(self.width);
                    if n >= LANES {
                        self.store(sum, at, j);
                        continue;
                    }
                    let mut v = sum;
                    if !self.bias.is_null() {
                        v = v.add(V::load(self.bias.add(j * LANES)));
                    }
                    if !self.add.is_null() {
                        v = v.add(V::load_part(self.add.add(at), n));
                    }
                    v = if self.relu { V::zero().max(v) } else { v };
                    v.store_part(self.y.add(at), n);
                }
            }
        }
    }
}

/// A product of `rows` rows of `a` with `panels` panels of `b`.
#[derive(Clone, Copy)]
pub(crate) struct Product<'s, const ROW: usize, const STEP: usize> {
    pub(crate) a: *const f32,
    pub(crate) rows: usize,
    pub(crate) b: *const f32,
    /// From a panel of `b` to the next.
    pub(crate) panel: usize,
    pub(crate) panels: usize,
    pub(crate) segments: &'s [Segment],
    pub(crate) finish: Finish,
}

impl<const ROW: usize, const STEP: usize> Product<'_, ROW, STEP> {
    /// Cuts rows into tiles of nearly equal height, panels into pairs where registers allow.
    ///
    /// # Safety
    ///
    /// `a` and `b` are readable wherever the definition reads, `y` writable where it writes, and
    /// `y` overlaps neither.
    #[inline(always)]
    pub(crate) unsafe fn run<V: Vector>(self) {
        let [most, wide] = V::TILE;
        let tiles = self.rows.div_ceil(most);
        let mut panel = 0;
        while panel < self.panels {
            let width = wide.min(self.panels - panel);
            let mut row = 0;
            for t in 0..tiles {
                let height = (self.rows - row).div_ceil(tiles - t);
                // Safety: a part of the product that the caller vouches for.
                unsafe {
                    let part = Product {
                        a: self.a.add(row * ROW),
                        b: self.b.add(panel * self.panel),
                        finish: self.finish.at(row, panel),
                        rows: height,
                        ..self
                    };
                    part.tile::<V>(width);
                }
                row += height;
            }
            panel += width;
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Vector>(self, width: usize) {
        macro_rules! heights {
            ($($p:literal)*) => {
                match (self.rows, width) {
                    $(
                        ($p, 1) if $p <= V::TILE[0] =>
                            unsafe { V::isolated(RegisterTile::<$p, 1, ROW, STEP>(self)) },
                        ($p, 2) if $p <= V::TILE[0] && V::TILE[1] == 2 =>
                            unsafe { V::isolated(RegisterTile::<$p, 2, ROW, STEP>(self)) },
                    )*
                    (rows, _) => unreachable!("no tile of {rows} rows by {width}"),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

struct RegisterTile<'s, const P: usize, const B: usize, const ROW: usize, const STEP: usize>(
    Product<'s, ROW, STEP>,
);

impl<const P: usize, const B: usize, const ROW: usize, const STEP: usize> Kernel
    for RegisterTile<'_, P, B, ROW, STEP>
{
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Product {
            a,
            b,
            panel,
            segments,
            finish,
            ..
        } = self.0;
        // Safety: `Product::run` passes on what its caller vouches for.
        unsafe {
            let mut sums = [[V::zero(); B]; P];
            for s in segments {
                let (mut a, mut b) = (a.add(s.a), b.add(s.b));
                for _ in 0..s.len {
                    let mut w = [V::zero(); B];
                    for (j, w) in w.iter_mut().enumerate() {
                        *w = V::load(b.add(j * panel));
                    }
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let v = V::splat(*a.add(p * ROW));
                        for (sum, &w) in sums.iter_mut().zip(&w) {
                            *sum = v.mul_add(w, *sum);
                        }
                    }
                    a = a.wrapping_add(STEP);
                    b = b.wrapping_add(LANES);
                }
            }
            // A copy, since the loops of `write` are too long to be unrolled: if they read the
            // sums, the compiler held these in memory, and stored them after every product.
            let mut done = [[V::zero(); B]; P];
            for (p, row) in sums.iter().enumerate() {
                for (j, &sum) in row.iter().enumerate() {
                    done[p][j] = sum;
                }
            }
            finish.write(&done);
        }
    }
}
