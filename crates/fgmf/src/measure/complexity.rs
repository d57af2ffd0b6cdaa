//! How concentrated and how coherent a map is.

use crate::error::{Error, Result};
use crate::measure::checked::checked;

/// Entropy of a map, in nats.
///
/// −Σ pᵢ ln pᵢ with p = |x| / Σ |x|; the entropy of an even map, ln n, for a map of zeros, which
/// points nowhere.
///
/// Range `[0, ln n]`; lower is more concentrated. Source: Bhatt et al. 2020 (complexity).
pub fn entropy<T: Copy + Into<f64>>(values: &[T]) -> Result<f64> {
    let size: Vec<f64> = checked("entropy", values)?
        .into_iter()
        .map(f64::abs)
        .collect();
    Ok(of_weights(&size))
}

/// Entropy of the histogram of a map, in nats.
///
/// The values are counted in `bins` intervals of equal width between the least and the largest; a
/// constant map has entropy 0.
///
/// `bins` 1 or more. Range `[0, ln bins]`. Source: Hedström et al. 2023 (efficient MPRT), who use
/// 100 bins.
pub fn histogram_entropy<T: Copy + Into<f64>>(values: &[T], bins: usize) -> Result<f64> {
    if bins == 0 {
        return Err(Error::parameter("bins", "1 or more", bins));
    }
    let values = checked("histogram entropy", values)?;
    let (lo, hi) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &v| {
            (lo.min(v), hi.max(v))
        });
    let mut counts = vec![0.0; bins];
    for v in values {
        let at = if hi > lo {
            ((v - lo) / (hi - lo) * bins as f64) as usize
        } else {
            0
        };
        counts[at.min(bins - 1)] += 1.0;
    }
    Ok(of_weights(&counts))
}

fn of_weights(w: &[f64]) -> f64 {
    let largest = w.iter().copied().fold(0.0, f64::max);
    if largest <= 0.0 {
        return (w.len() as f64).ln();
    }
    let total: f64 = w.iter().map(|v| v / largest).sum();
    let term = |v: &f64| {
        if *v > 0.0 {
            -(v / largest / total) * (v / largest / total).ln()
        } else {
            0.0
        }
    };
    // The clamp takes away a −0 or a rounding of it.
    w.iter().map(term).sum::<f64>().max(0.0)
}

/// Moran's I of a map `[rows, columns]`: whether neighbours are alike.
///
/// I = (n / W) Σᵢⱼ wᵢⱼ (xᵢ − m)(xⱼ − m) / Σ (xᵢ − m)², with wᵢⱼ = 1 for the four neighbours, W
/// their number, m the mean; 0 by definition here for a constant map.
///
/// Near 1 for smooth maps, −1 / (n − 1) in the mean for shuffled ones, near −1 for a chequerboard.
/// Source: Moran 1950.
pub fn moran<T: Copy + Into<f64>>(values: &[T], [rows, columns]: [usize; 2]) -> Result<f64> {
    let values = checked("Moran's I", values)?;
    if values.len() != rows * columns {
        return Err(Error::mismatch(
            "Moran's I",
            format!("{} values for {rows}x{columns}", rows * columns),
            values.len(),
        ));
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let off: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let spread: f64 = off.iter().map(|v| v * v).sum();
    let (mut sum, mut links) = (0.0, 0.0);
    for r in 0..rows {
        for c in 0..columns {
            let here = off[r * columns + c];
            let right = (c + 1 < columns).then(|| off[r * columns + c + 1]);
            let below = (r + 1 < rows).then(|| off[(r + 1) * columns + c]);
            for other in [right, below].into_iter().flatten() {
                sum += here * other;
                links += 1.0;
            }
        }
    }
    Ok(if spread <= 0.0 || links <= 0.0 {
        0.0
    } else {
        n / links * sum / spread
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_maps() {
        let near = |v: &[f64], e: f64| assert!((entropy(v).unwrap() - e).abs() < 1e-12, "{v:?}");
        near(&[3.0, -3.0, 3.0, 3.0], 4f64.ln());
        near(&[0.0, 7.0, 0.0], 0.0);
        near(&[1.0, 3.0], -(0.25 * 0.25f64.ln() + 0.75 * 0.75f64.ln()));
        near(&[0.0, 0.0], 2f64.ln());
        assert!(entropy::<f64>(&[]).is_err());
    }

    #[test]
    fn histogram_entropy_counts_bins() {
        // Two bins of [0, 1]: three below a half, one above.
        let e = histogram_entropy(&[0.0, 0.1, 0.2, 1.0], 2).unwrap();
        assert!((e + 0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln()).abs() < 1e-12);
        assert!(
            histogram_entropy(&[2.0, 2.0], 5).unwrap().abs() < 1e-12
                && histogram_entropy(&[2.0], 0).is_err()
        );
    }

    #[test]
    fn moran_knows_halves_from_chequerboards() {
        // Halves [1 1 | 0 0] twice: of 10 links 8 join equal values, 2 unequal ones: I = (8 − 2) /
        // 10.
        let halves = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        assert!((moran(&halves, [2, 4]).unwrap() - 0.6).abs() < 1e-12);
        let board = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        assert!((moran(&board, [2, 4]).unwrap() + 1.0).abs() < 1e-12);
        assert!(
            moran(&[1.0; 4], [2, 2]).unwrap().abs() < 1e-12 && moran(&[1.0; 4], [1, 3]).is_err()
        );
    }
}
