//! Matrix products whose right side is addressed through offsets, so that a convolution needs no
//! unrolled copy of its input.

use crate::real::{Real, round_up};
use pulp::{Simd, WithSimd};

/// Rows of the largest register tile. Packing and product must agree on it.
fn max_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

/// Heights of the row tiles that cover `m` rows: the largest ones first, then powers of two.
fn row_tiles<S: Simd>(m: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut row = 0;
    let mut height = max_rows::<S>();
    std::iter::from_fn(move || {
        if row == m {
            return None;
        }
        while row + height > m {
            height /= 2;
        }
        row += height;
        Some((row - height, height))
    })
}

/// Appends the `m` by `k` matrix `at(row, column)` to `packed` in the order [`product`] reads it:
/// tile by tile, and columns within a tile.
pub(crate) fn pack<T: Real, S: Simd>(
    packed: &mut Vec<T>,
    m: usize,
    k: usize,
    at: impl Fn(usize, usize) -> T,
) {
    for (row, height) in row_tiles::<S>(m) {
        for column in 0..k {
            packed.extend((row..row + height).map(|r| at(r, column)));
        }
    }
}

/// `out[i * ldo + c] = sum over j of a[i, j] * b[offsets[j] + c]` for `i < m` and `c < columns`,
/// where `size` is `[m, columns]`.
///
/// `a` is packed. Columns are computed in whole registers: `b` must be readable and `out` writable
/// up to `columns` rounded up to a register. Every number is summed over ascending `j` whatever the
/// tile it falls in, so its bits depend on nothing else.
#[inline(always)]
pub(crate) fn product<T: Real, S: Simd>(
    simd: S,
    size: [usize; 2],
    a: &[T],
    b: &[T],
    offsets: &[usize],
    out: &mut [T],
    ldo: usize,
) {
    simd.vectorize(GridProduct {
        size,
        a,
        b,
        offsets,
        out,
        ldo,
    });
}

/// A call of [`product`]. Behind `vectorize` it is compiled once, alone: inlined into its callers
/// the register tiles do not stay in registers.
struct GridProduct<'a, T> {
    size: [usize; 2],
    a: &'a [T],
    b: &'a [T],
    offsets: &'a [usize],
    out: &'a mut [T],
    ldo: usize,
}

impl<T: Real> WithSimd for GridProduct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            size,
            a,
            b,
            offsets,
            out,
            ldo,
        } = self;
        strips(simd, size, a, b, offsets, out, ldo);
    }
}

#[inline(always)]
fn strips<T: Real, S: Simd>(
    simd: S,
    [m, columns]: [usize; 2],
    a: &[T],
    b: &[T],
    offsets: &[usize],
    out: &mut [T],
    ldo: usize,
) {
    let lanes = T::lanes::<S>();
    let end = round_up(columns, lanes);
    let mut start = 0;
    while start < end {
        let left = (end - start) / lanes;
        let mut width = 0;
        for (row, height) in row_tiles::<S>(m) {
            let a = &a[row * offsets.len()..(row + height) * offsets.len()];
            let out = &mut out[row * ldo + start..];
            let (b, at) = (b, start);
            // One width per strip, the same for all its tiles.
            let wide = left >= 6 && (m < 8 && S::REGISTER_COUNT >= 32 || m == 1);
            width = if wide { 6 } else { left.min(3) };
            macro_rules! tile {
                ($($h:literal $w:literal)*) => {
                    match (height, width) {
                        $(($h, $w) => tile::<T, S, $h, $w>(simd, a, b, offsets, at, out, ldo),)*
                        _ => unreachable!("no {height} by {width} tile"),
                    }
                };
            }
            tile!(8 3  8 2  8 1  4 6  4 3  4 2  4 1  2 6  2 3  2 2  2 1  1 6  1 3  1 2  1 1);
        }
        start += width * lanes;
    }
}

#[inline(always)]
fn tile<T: Real, S: Simd, const H: usize, const W: usize>(
    simd: S,
    a: &[T],
    b: &[T],
    offsets: &[usize],
    start: usize,
    out: &mut [T],
    ldo: usize,
) {
    let lanes = T::lanes::<S>();
    let zero = T::splat(simd, T::zero());
    let mut sum = [[zero; W]; H];
    for (a, &offset) in a.chunks_exact(H).zip(offsets) {
        let line = &b[offset + start..][..W * lanes];
        let mut b = [zero; W];
        for (v, b) in b.iter_mut().enumerate() {
            *b = T::load(simd, &line[v * lanes..]);
        }
        for (sum, &a) in sum.iter_mut().zip(a) {
            let a = T::splat(simd, a);
            for (sum, &b) in sum.iter_mut().zip(&b) {
                *sum = T::mul_add(simd, a, b, *sum);
            }
        }
    }
    for (r, sum) in sum.iter().enumerate() {
        let line = &mut out[r * ldo..][..W * lanes];
        for (v, &sum) in sum.iter().enumerate() {
            T::store(simd, &mut line[v * lanes..], sum);
        }
    }
}

/// Both sides of [`dot_products`].
pub(crate) struct Dots<'a, T> {
    pub(crate) images: usize,
    /// Numbers in a line, a whole count of registers.
    pub(crate) length: usize,
    /// Lines one after the other, and the distance between images.
    pub(crate) rows: &'a [T],
    pub(crate) rows_image: usize,
    /// Numbers that `offsets` points into, and the distance between images.
    pub(crate) lines: &'a [T],
    pub(crate) lines_image: usize,
}

/// `out[i, j] += sum over images and c < length of rows[i * length + c] * lines[offsets[j] + c]`,
/// where `out` has a column for every offset.
#[inline(always)]
pub(crate) fn dot_products<T: Real, S: Simd>(
    simd: S,
    dots: &Dots<'_, T>,
    offsets: &[usize],
    out: &mut [T],
) {
    let k = offsets.len();
    let m = out.len() / k;
    let most = if S::REGISTER_COUNT >= 32 { 6 } else { 3 };
    let mut row = 0;
    let mut height = 4;
    while row < m {
        while row + height > m {
            height /= 2;
        }
        let mut column = 0;
        while column < k {
            let width = if k - column > 3 { most } else { 3 };
            let out = &mut out[row * k + column..];
            let offsets = &offsets[column..];
            macro_rules! block {
                ($($h:literal $w:literal)*) => {
                    match (height, width) {
                        $(($h, $w) => block::<T, S, $h, $w>(simd, dots, row, offsets, out, k),)*
                        _ => unreachable!("no {height} by {width} block"),
                    }
                };
            }
            block!(4 6  4 3  2 6  2 3  1 6  1 3);
            column += width;
        }
        row += height;
    }
}

#[inline(always)]
fn block<T: Real, S: Simd, const H: usize, const W: usize>(
    simd: S,
    dots: &Dots<'_, T>,
    row: usize,
    offsets: &[usize],
    out: &mut [T],
    ldo: usize,
) {
    let length = dots.length;
    let steps = length / T::lanes::<S>();
    let zero = T::splat(simd, T::zero());
    let mut sum = [[zero; H]; W];
    for p in 0..dots.images {
        let mut rows: [&[T::Vector<S>]; H] = [&[]; H];
        for (r, line) in rows.iter_mut().enumerate() {
            let at = p * dots.rows_image + (row + r) * length;
            *line = &T::vectors(simd, &dots.rows[at..at + length])[..steps];
        }
        // Columns past the last repeat it; their sums are dropped below.
        let mut lines: [&[T::Vector<S>]; W] = [&[]; W];
        for (c, line) in lines.iter_mut().enumerate() {
            let at = p * dots.lines_image + offsets[c.min(offsets.len() - 1)];
            *line = &T::vectors(simd, &dots.lines[at..at + length])[..steps];
        }
        for c in 0..steps {
            let mut a = [zero; H];
            for (a, row) in a.iter_mut().zip(&rows) {
                *a = row[c];
            }
            for (sum, line) in sum.iter_mut().zip(&lines) {
                let b = line[c];
                for (sum, &a) in sum.iter_mut().zip(&a) {
                    *sum = T::mul_add(simd, a, b, *sum);
                }
            }
        }
    }
    for (v, sum) in sum.iter().enumerate().take(offsets.len()) {
        for (r, &sum) in sum.iter().enumerate() {
            out[r * ldo + v] += T::reduce(simd, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::Arch;

    struct Sizes;

    impl WithSimd for Sizes {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            for (m, k, columns) in [(1, 1, 1), (7, 3, 5), (8, 2, 100), (13, 20, 47), (3, 9, 260)] {
                let a: Vec<f64> = (0..m * k).map(|i| (i % 11) as f64 - 5.0).collect();
                let b: Vec<f64> = (0..k * 7 + columns + 16).map(|i| (i % 13) as f64).collect();
                let offsets: Vec<usize> = (0..k).map(|j| (k - 1 - j) * 7).collect();
                let mut packed = Vec::new();
                pack::<f64, S>(&mut packed, m, k, |r, c| a[r * k + c]);
                let ldo = columns + 16;
                let mut out = vec![f64::NAN; m * ldo];
                product(simd, [m, columns], &packed, &b, &offsets, &mut out, ldo);
                for i in 0..m {
                    for c in 0..columns {
                        let want: f64 = (0..k).map(|j| a[i * k + j] * b[offsets[j] + c]).sum();
                        assert_eq!(out[i * ldo + c], want);
                    }
                }
            }
        }
    }

    #[test]
    fn product_of_small_integers_is_exact_with_and_without_vectors() {
        Arch::new().dispatch(Sizes);
        Sizes.with_simd(pulp::Scalar::new());
    }
}
