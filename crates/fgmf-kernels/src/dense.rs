//! The dense matrix product.

use crate::gemm::{MatmulEpilogue, PackedMatrix, matmul_packed};
use crate::matmul::{pack, product};
use crate::real::{Real, Scratch, round_up};
use crate::simd::arch;
use pulp::{Simd, WithSimd};
use std::cell::Cell;

/// `C = A B` with `dims = [m, k, n]`; A and B are read with (row, column) strides, C `[m, n]` is
/// row-major and overwritten.
///
/// Every number of C is summed over ascending k, so a row has the same bits whatever `m` is: a
/// batch gives what its examples give one by one.
///
/// # Panics
///
/// If a slice is too short for its dimensions and strides.
pub fn matmul<T: Real>(
    dims: [usize; 3],
    a: &[T],
    a_strides: [usize; 2],
    b: &[T],
    b_strides: [usize; 2],
    c: &mut [T],
) {
    let [m, _, n] = dims;
    assert_eq!(c.len(), m * n, "matmul: C of {m} by {n}");
    if c.is_empty() {
        return;
    }
    if a_strides.contains(&1)
        && b_strides.contains(&1)
        && let (Some(a), Some(b), Some(c)) = (T::single(a), T::single(b), T::single_mut(c))
    {
        thread_local! {
            static PACKED: Cell<Option<PackedMatrix>> = const { Cell::new(None) };
        }
        let [_, k, _] = dims;
        let mut packed = PACKED
            .take()
            .unwrap_or_else(|| PackedMatrix::new(0, 0, &[], [0, 1]));
        packed.fill(k, n, b, b_strides);
        matmul_packed(m, a, a_strides, &packed, MatmulEpilogue::default(), c);
        PACKED.set(Some(packed));
        return;
    }
    T::with_scratch(|scratch| {
        arch().dispatch(Dense {
            dims,
            a,
            a_strides,
            b,
            b_strides,
            c,
            scratch,
        })
    });
}

struct Dense<'a, T: Real> {
    dims: [usize; 3],
    a: &'a [T],
    a_strides: [usize; 2],
    b: &'a [T],
    b_strides: [usize; 2],
    c: &'a mut [T],
    scratch: &'a mut Scratch<T>,
}

impl<T: Real> WithSimd for Dense<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            dims: [m, k, n],
            a,
            a_strides,
            b,
            b_strides,
            c,
            scratch,
        } = self;
        let padded = round_up(n, T::lanes::<S>());
        scratch.weight.clear();
        pack::<T, S>(&mut scratch.weight, m, k, |r, j| {
            a[r * a_strides[0] + j * a_strides[1]]
        });
        scratch.input.clear();
        scratch.input.resize(k * padded, T::zero());
        if b_strides[1] == 1 {
            for (j, line) in scratch.input.chunks_exact_mut(padded).enumerate() {
                line[..n].copy_from_slice(&b[j * b_strides[0]..][..n]);
            }
        } else {
            transposed_copy(b, b_strides, [k, n], &mut scratch.input, padded);
        }
        let offsets: Vec<usize> = (0..k).map(|j| j * padded).collect();
        scratch.output.clear();
        scratch.output.resize(m * padded, T::zero());
        product(
            simd,
            [m, n],
            &scratch.weight,
            &scratch.input,
            &offsets,
            &mut scratch.output,
            padded,
        );
        for (to, from) in c
            .chunks_exact_mut(n)
            .zip(scratch.output.chunks_exact(padded))
        {
            to.copy_from_slice(&from[..n]);
        }
    }
}

/// `to[j, i] = b[j, i]` for `[k, n]`, in square tiles, so that the strided side stays in cache.
fn transposed_copy<T: Real>(
    b: &[T],
    strides: [usize; 2],
    [k, n]: [usize; 2],
    to: &mut [T],
    padded: usize,
) {
    const TILE: usize = 16;
    for j0 in (0..k).step_by(TILE) {
        for i0 in (0..n).step_by(TILE) {
            for i in i0..(i0 + TILE).min(n) {
                for j in j0..(j0 + TILE).min(k) {
                    to[j * padded + i] = b[j * strides[0] + i * strides[1]];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, step: f64) -> Vec<f32> {
        (0..n).map(|i| (i as f64 * step).sin() as f32).collect()
    }

    /// Rows must not change with the number of rows, in every layout that the backward passes use.
    #[test]
    fn a_row_has_the_same_bits_in_any_batch() {
        for (k, n) in [
            (1, 7),
            (3, 1),
            (16, 16),
            (49, 10),
            (100, 3),
            (300, 64),
            (1568, 100),
            (1568, 10),
            (700, 33),
        ] {
            let (a, b) = (wave(64 * k, 0.37), wave(k * n, 0.11));
            for b_strides in [[n, 1], [1, k]] {
                let run = |rows: std::ops::Range<usize>| {
                    let mut c = vec![0.0; rows.len() * n];
                    matmul(
                        [rows.len(), k, n],
                        &a[rows.start * k..rows.end * k],
                        [k, 1],
                        &b,
                        b_strides,
                        &mut c,
                    );
                    c
                };
                let whole = run(0..64);
                for size in [1, 2, 3, 5, 8, 13, 31, 32] {
                    for start in [0, 7, 32] {
                        let part = run(start..start + size);
                        assert!(
                            part == whole[start * n..(start + size) * n],
                            "k {k}, n {n}, rows {start}+{size}, strides {b_strides:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_definition() {
        let (m, k, n) = (5, 7, 3);
        let (a, b): (Vec<f64>, Vec<f64>) = (
            (0..m * k).map(|i| (i as f64).cos()).collect(),
            (0..k * n).map(|i| (i as f64 * 0.3).sin()).collect(),
        );
        let mut c = vec![9.0; m * n];
        // A stored transposed.
        matmul([m, k, n], &a, [1, m], &b, [n, 1], &mut c);
        for i in 0..m {
            for j in 0..n {
                let want: f64 = (0..k).map(|l| a[l * m + i] * b[l * n + j]).sum();
                assert!((c[i * n + j] - want).abs() < 1e-12);
            }
        }
    }
}
