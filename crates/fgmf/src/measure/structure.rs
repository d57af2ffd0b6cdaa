//! How alike two maps are as pictures: near is not far.

use crate::error::{Error, Result};
use crate::measure::checked::checked_pair;
use crate::measure::similarity::top;

fn checked_maps<T: Copy + Into<f64>>(
    operation: &'static str,
    a: &[T],
    b: &[T],
    [rows, columns]: [usize; 2],
) -> Result<(Vec<f64>, Vec<f64>)> {
    let pair = checked_pair(operation, a, b)?;
    if pair.0.len() != rows * columns {
        return Err(Error::mismatch(
            operation,
            format!("{} values for {rows}x{columns}", rows * columns),
            pair.0.len(),
        ));
    }
    Ok(pair)
}

/// Structural similarity of two maps `[rows, columns]`.
///
/// Mean over all windows of s x s pixels (s = 7, or the largest odd number that fits) of
/// (2 μₐ μ_b + c₁)(2 σₐ_b + c₂) / ((μₐ² + μ_b² + c₁)(σₐ² + σ_b² + c₂)), variances with s² − 1,
/// c₁ = (0.01 L)², c₂ = (0.03 L)², L the range of the values of both maps. Two equal maps, constant
/// ones too, score 1.
///
/// Range `[-1, 1]`, higher is more alike. As scikit-image computes it with its default window.
/// Source: Wang et al. 2004.
pub fn ssim<T: Copy + Into<f64>>(a: &[T], b: &[T], size: [usize; 2]) -> Result<f64> {
    let (a, b) = checked_maps("SSIM", a, b, size)?;
    let (lo, hi) = a
        .iter()
        .chain(&b)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &v| {
            (lo.min(v), hi.max(v))
        });
    if hi <= lo {
        return Ok(1.0);
    }
    let [rows, columns] = size;
    let side = rows.min(columns).min(7);
    let side = if side.is_multiple_of(2) {
        side - 1
    } else {
        side
    };
    let (c1, c2) = ((0.01 * (hi - lo)).powi(2), (0.03 * (hi - lo)).powi(2));
    let n = (side * side) as f64;
    let (mut sum, mut windows) = (0.0, 0.0);
    for top in 0..=rows - side {
        for left in 0..=columns - side {
            let mut m = [0.0; 5];
            for at in (top..top + side).flat_map(|r| r * columns + left..r * columns + left + side)
            {
                let (x, y) = (a[at] - lo, b[at] - lo);
                m.iter_mut()
                    .zip([x, y, x * x, y * y, x * y])
                    .for_each(|(m, v)| *m += v);
            }
            let (ma, mb) = (m[0] / n, m[1] / n);
            // A window of one pixel has no variance.
            let spread = |square: f64, product: f64| {
                if n > 1.0 {
                    (square - n * product) / (n - 1.0)
                } else {
                    0.0
                }
            };
            let (va, vb, cov) = (
                spread(m[2], ma * ma),
                spread(m[3], mb * mb),
                spread(m[4], ma * mb),
            );
            let (ua, ub) = (ma + lo, mb + lo);
            sum += (2.0 * ua * ub + c1) * (2.0 * cov + c2)
                / ((ua * ua + ub * ub + c1) * (va + vb + c2));
            windows += 1.0;
        }
    }
    Ok(sum / windows)
}

/// Overlap of the largest values of two maps `[rows, columns]`, where a neighbour counts.
///
/// Mean of two shares: of the top pixels of a that have a top pixel of b within `radius` rows and
/// columns, and the other way round. Top pixels as in [`super::top_k_overlap`]; `radius` 0 is that.
///
/// Range `[0, 1]`, higher is more alike. Source: Kamath et al. 2024 (LENS recall and precision at
/// k, in squares of 2 `radius` + 1).
pub fn tolerant_top_k_overlap<T: Copy + Into<f64>>(
    a: &[T],
    b: &[T],
    size: [usize; 2],
    fraction: f64,
    radius: usize,
) -> Result<f64> {
    if !(fraction > 0.0 && fraction <= 1.0) {
        return Err(Error::parameter(
            "fraction",
            "above 0 and at most 1",
            fraction,
        ));
    }
    let (a, b) = checked_maps("tolerant top-k overlap", a, b, size)?;
    let k = ((fraction * a.len() as f64).round() as usize).clamp(1, a.len());
    let (top_a, top_b) = (top(&a, k), top(&b, k));
    let [rows, columns] = size;
    let found = |from: &[bool], to: &[bool]| -> usize {
        let near = |at: usize| {
            let (r, c) = (at / columns, at % columns);
            let across = c.saturating_sub(radius)..=(c + radius).min(columns - 1);
            (r.saturating_sub(radius)..=(r + radius).min(rows - 1))
                .any(|r| across.clone().any(|c| to[r * columns + c]))
        };
        (0..from.len()).filter(|&at| from[at] && near(at)).count()
    };
    Ok((found(&top_a, &top_b) + found(&top_b, &top_a)) as f64 / (2 * k) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::similarity::top_k_overlap;

    fn picture(shift: usize) -> Vec<f64> {
        (0..81)
            .map(|i| {
                f64::from(u8::from(
                    i / 9 == 4 && (2 + shift..5 + shift).contains(&(i % 9)),
                ))
            })
            .collect()
    }

    #[test]
    fn a_shift_by_one_pixel_is_seen_as_near() {
        let (a, near, far) = (picture(0), picture(1), picture(4));
        let share = 3.0 / 81.0;
        assert!((top_k_overlap(&a, &near, share).unwrap() - 2.0 / 3.0).abs() < 1e-12);
        let tolerant =
            |b: &[f64], radius| tolerant_top_k_overlap(&a, b, [9, 9], share, radius).unwrap();
        assert!(
            (tolerant(&near, 0) - 2.0 / 3.0).abs() < 1e-12
                && (tolerant(&near, 1) - 1.0).abs() < 1e-12
        );
        assert!(tolerant(&far, 1).abs() < 1e-12 && (tolerant(&far, 2) - 1.0 / 3.0).abs() < 1e-12);
        assert!(
            tolerant_top_k_overlap(&a, &far, [9, 8], 0.1, 1).is_err()
                && tolerant_top_k_overlap(&a, &far, [9, 9], 0.0, 1).is_err()
        );
    }

    /// One window of 3 x 3 by hand: a = (0 … 8) / 8, b = 1 − a. μ = ½ each, σ² = 60 / 64 / 8,
    /// covariance its negative, L = 1.
    #[test]
    fn ssim_matches_a_hand_value() {
        let a: Vec<f64> = (0..9).map(|i| f64::from(i) / 8.0).collect();
        let b: Vec<f64> = a.iter().map(|v| 1.0 - v).collect();
        let (v, c2) = (60.0 / 64.0 / 8.0, 0.0009);
        assert!((ssim(&a, &b, [3, 3]).unwrap() - (c2 - 2.0 * v) / (2.0 * v + c2)).abs() < 1e-12);
        assert!((ssim(&a, &a, [3, 3]).unwrap() - 1.0).abs() < 1e-12);
        assert!((ssim(&[2.0; 9], &[2.0; 9], [3, 3]).unwrap() - 1.0).abs() < 1e-12);
        assert!(ssim(&a, &b, [2, 3]).is_err());
    }
}
