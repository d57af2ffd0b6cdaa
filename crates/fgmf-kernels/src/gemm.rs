//! The `f32` matrix product, with the right side packed once and used often.
#![allow(unsafe_code, reason = "see `simd`")]

use crate::blocked::{blocked_len, to_blocked_apart};
use crate::real::at_least;
use crate::simd::{self, Kernel, LANES, Vector};
use crate::tile::{Finish, Product, Segment};
use std::cell::Cell;

/// Numbers of a row of the left side that are copied together, and the distance between such rows:
/// not a power of two, so that rows do not compete for the same lines of the cache.
const STRETCH: usize = 256;
const ROW: usize = STRETCH + LANES;
/// Most rows of the left side that meet a panel while it is in the cache.
const ROWS: usize = 60;

/// A matrix `[k, n]` in panels of sixteen columns, `[⌈n / 16⌉, k, 16]`.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    k: usize,
    n: usize,
    panels: Vec<f32>,
    stretches: Vec<Segment>,
}

/// What is done to a product as it is written: `act(a b + bias + add)`.
#[derive(Clone, Copy, Default)]
pub struct MatmulEpilogue<'a> {
    /// One number a column, padded to whole sixteens.
    pub bias: Option<&'a [f32]>,
    /// An array of the shape of the product.
    pub add: Option<&'a [f32]>,
    /// Whether negative numbers become 0.
    pub relu: bool,
}

impl PackedMatrix {
    /// Packs `b` `[k, n]`, read with (row, column) strides of which one is 1.
    ///
    /// # Panics
    ///
    /// If neither stride is 1 or the slice is too short.
    #[must_use]
    pub fn new(k: usize, n: usize, b: &[f32], strides: [usize; 2]) -> Self {
        let mut packed = Self {
            k,
            n,
            panels: Vec::new(),
            stretches: Vec::new(),
        };
        packed.fill(k, n, b, strides);
        packed
    }

    /// Packs another matrix into the same memory.
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    pub fn fill(&mut self, k: usize, n: usize, b: &[f32], strides: [usize; 2]) {
        (self.k, self.n) = (k, n);
        self.stretches.clear();
        self.stretches
            .extend((0..k.div_ceil(STRETCH)).map(|s| Segment {
                a: s * ROWS * ROW,
                b: s * STRETCH * LANES,
                len: STRETCH.min(k - s * STRETCH),
            }));
        self.panels.resize(blocked_len(1, n, k), 0.0);
        match strides {
            [row, 1] => {
                for (p, panel) in self.panels.chunks_exact_mut((k * LANES).max(1)).enumerate() {
                    let width = LANES.min(n - p * LANES);
                    for (j, to) in panel.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                        let from = &b[j * row + p * LANES..];
                        // Of a length that is known, or it would be a call.
                        if let (Some(from), true) = (from.first_chunk::<LANES>(), width == LANES) {
                            *to = *from;
                        } else {
                            to[..width].copy_from_slice(&from[..width]);
                            to[width..].fill(0.0);
                        }
                    }
                }
            }
            [1, column] => to_blocked_apart(n, k, column, b, &mut self.panels),
            _ => panic!("a matrix with a stride of 1, not {strides:?}"),
        }
    }

    /// Rows.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Numbers of a padded bias.
    #[must_use]
    pub fn bias_len(&self) -> usize {
        self.n.next_multiple_of(LANES)
    }
}

/// `c = act(a b + bias + add)` with `a` `[m, k]`, read with (row, column) strides of which one is
/// 1, and `c` `[m, n]` in rows. Every number is summed over ascending k, so a row has the same bits
/// whatever `m` is.
///
/// # Panics
///
/// If a slice is too short or neither stride of `a` is 1.
pub fn matmul_packed(
    m: usize,
    a: &[f32],
    a_strides: [usize; 2],
    b: &PackedMatrix,
    epilogue: MatmulEpilogue<'_>,
    c: &mut [f32],
) {
    let (k, n) = (b.k, b.n);
    assert_eq!(Some(c.len()), m.checked_mul(n), "product of {m} by {n}");
    assert!(
        epilogue.bias.is_none_or(|v| v.len() == b.bias_len()),
        "bias of {n} columns"
    );
    assert!(
        epilogue.add.is_none_or(|v| v.len() == c.len()),
        "addend of {m} by {n}"
    );
    if c.is_empty() {
        return;
    }
    if k > 0 {
        assert!(
            a.len() > (m - 1) * a_strides[0] + (k - 1) * a_strides[1],
            "left side of {m} by {k}"
        );
    }
    assert!(
        a_strides.contains(&1),
        "a matrix with a stride of 1, not {a_strides:?}"
    );
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = Cell::default();
    }
    let mut scratch = SCRATCH.take();
    let finish = Finish {
        width: n,
        bias: epilogue.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        add: epilogue.add.map_or(std::ptr::null(), <[f32]>::as_ptr),
        relu: epilogue.relu,
        ..Finish::plain(c.as_mut_ptr(), n, LANES)
    };
    // Safety: lengths have been checked.
    unsafe {
        if a_strides[1] == 1 {
            simd::run(Rows {
                m,
                a,
                stride: a_strides[0],
                b,
                finish,
                scratch: &mut scratch,
            });
        } else {
            simd::run(Columns {
                m,
                a,
                stride: a_strides[1],
                b,
                finish,
                scratch: &mut scratch,
            });
        }
    }
    SCRATCH.set(scratch);
}

/// Left side stored row by row.
struct Rows<'a> {
    m: usize,
    a: &'a [f32],
    stride: usize,
    b: &'a PackedMatrix,
    finish: Finish,
    scratch: &'a mut Vec<f32>,
}

impl Kernel for Rows<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `a` holds `m` rows, `finish` covers the product.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            m,
            a,
            stride,
            b,
            finish,
            scratch,
        } = self;
        at_least(scratch, b.stretches.len() * ROWS * ROW);
        // A whole number of register tiles.
        let most = ROWS / V::TILE[0] * V::TILE[0];
        for first in (0..m).step_by(most) {
            let rows = most.min(m - first);
            for (s, stretch) in b.stretches.iter().enumerate() {
                for r in 0..rows {
                    let from = (first + r) * stride + s * STRETCH;
                    scratch[stretch.a + r * ROW..][..stretch.len]
                        .copy_from_slice(&a[from..from + stretch.len]);
                }
            }
            // Safety: stated above; the scratch holds the rows.
            unsafe {
                let product = Product::<ROW, 1> {
                    a: scratch.as_ptr(),
                    rows,
                    b: b.panels.as_ptr(),
                    panel: b.k * LANES,
                    panels: b.n.div_ceil(LANES),
                    segments: &b.stretches,
                    finish: finish.from(first * b.n, 0, b.n, LANES),
                };
                product.run::<V>();
            }
        }
    }
}

/// Left side stored column by column.
struct Columns<'a> {
    m: usize,
    a: &'a [f32],
    stride: usize,
    b: &'a PackedMatrix,
    finish: Finish,
    scratch: &'a mut Vec<f32>,
}

impl Kernel for Columns<'_> {
    type Output = ();

    /// # Safety
    ///
    /// As for [`Rows`].
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            m,
            a,
            stride,
            b,
            finish,
            scratch,
        } = self;
        at_least(scratch, b.k * LANES);
        let all = [Segment {
            a: 0,
            b: 0,
            len: b.k,
        }];
        let height = V::TILE[0].min(LANES);
        for first in (0..m).step_by(height) {
            let rows = height.min(m - first);
            for (j, to) in scratch
                .as_chunks_mut::<LANES>()
                .0
                .iter_mut()
                .take(b.k)
                .enumerate()
            {
                let from = &a[j * stride + first..];
                // Rows past the last are not read.
                match from.first_chunk::<LANES>() {
                    Some(from) => *to = *from,
                    None => to[..rows].copy_from_slice(&from[..rows]),
                }
            }
            // Safety: stated above; the scratch holds the columns of these rows.
            unsafe {
                let product = Product::<1, LANES> {
                    a: scratch.as_ptr(),
                    rows,
                    b: b.panels.as_ptr(),
                    panel: b.k * LANES,
                    panels: b.n.div_ceil(LANES),
                    segments: &all,
                    finish: finish.from(first * b.n, 0, b.n, LANES),
                };
                product.run::<V>();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_each;

    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..len)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// With and without epilogue, both sides stored either way, against sums in `f64`; each row
    /// alone has the same bits.
    #[test]
    fn against_double_precision() {
        for (m, k, n) in [
            (1, 1, 1),
            (3, 5, 17),
            (57, 20, 16),
            (15, 300, 33),
            (29, 256, 47),
            (2, 513, 10),
            (7, 0, 20),
        ] {
            let (a, b, bias, add) = (
                noise(m * k, 1),
                noise(k * n, 2),
                noise(n.next_multiple_of(LANES), 3),
                noise(m * n, 4),
            );
            let turned = |v: &[f32], rows: usize, cols: usize| -> Vec<f32> {
                (0..v.len())
                    .map(|i| v[i % rows * cols + i / rows])
                    .collect()
            };
            let (at, bt) = (turned(&a, m.max(1), k), turned(&b, k.max(1), n));
            let terms = |r: usize, c: usize| {
                (0..k)
                    .map(|i| f64::from(a[r * k + i]) * f64::from(b[i * n + c]))
                    .collect::<Vec<_>>()
            };
            on_each(|isa| {
                for (a, a_strides) in [(&a, [k, 1]), (&at, [1, m])] {
                    for (b, b_strides) in [(&b, [n, 1]), (&bt, [1, k])] {
                        let b = PackedMatrix::new(k, n, b, b_strides);
                        let epilogue = MatmulEpilogue {
                            bias: Some(&bias),
                            add: Some(&add),
                            relu: true,
                        };
                        let (mut plain, mut finished) =
                            (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
                        matmul_packed(m, a, a_strides, &b, MatmulEpilogue::default(), &mut plain);
                        matmul_packed(m, a, a_strides, &b, epilogue, &mut finished);
                        for i in 0..m * n {
                            let (r, c) = (i / n, i % n);
                            let terms = terms(r, c);
                            let (want, size) = (
                                terms.iter().sum::<f64>(),
                                2.0 + terms.iter().map(|v| v.abs()).sum::<f64>(),
                            );
                            let wanted = (want + f64::from(bias[c]) + f64::from(add[i])).max(0.0);
                            for (got, want) in [(plain[i], want), (finished[i], wanted)] {
                                assert!(
                                    (f64::from(got) - want).abs() <= 1e-6 * size,
                                    "{m}x{k}x{n} at {i} on {isa:?}: {got}, not {want}"
                                );
                            }
                        }
                        let mut row = vec![f32::NAN; n];
                        matmul_packed(
                            1,
                            &a[a.len().min((m - 1) * a_strides[0])..],
                            a_strides,
                            &b,
                            MatmulEpilogue::default(),
                            &mut row,
                        );
                        assert_eq!(row, plain[(m - 1) * n..], "{m}x{k}x{n} on {isa:?}");
                    }
                }
            });
        }
    }

    #[test]
    #[should_panic(expected = "product of 2 by")]
    fn a_length_that_wraps_around_panics() {
        let b = PackedMatrix::new(0, usize::MAX / 2 + 2, &[], [0, 1]);
        matmul_packed(2, &[], [0, 1], &b, MatmulEpilogue::default(), &mut [0.0; 2]);
    }
}
