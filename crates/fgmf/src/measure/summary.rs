//! One number for a map or a sample.

use crate::error::Result;
use crate::measure::checked::checked;

/// Gini coefficient of the absolute values of a map: how concentrated it is.
///
/// G = Σᵢ (2i − n − 1) |x|₍ᵢ₎ / (n Σ |x|), with |x|₍₁₎ ≤ … ≤ |x|₍ₙ₎; 0 by definition here for a map
/// of zeros.
///
/// Range `[0, 1 − 1/n]`: 0 where all values are equal, the upper end where one value holds
/// everything. Higher is sparser, which is easier to read and not by itself more faithful. Source:
/// Chalasani et al. 2020 use it for attributions.
pub fn gini<T: Copy + Into<f64>>(values: &[T]) -> Result<f64> {
    let mut size: Vec<f64> = checked("gini", values)?.into_iter().map(f64::abs).collect();
    size.sort_by(f64::total_cmp);
    let largest = size[size.len() - 1];
    if largest <= 0.0 {
        return Ok(0.0);
    }
    let n = size.len() as f64;
    let total: f64 = size.iter().map(|v| v / largest).sum();
    let weighted: f64 = size
        .iter()
        .enumerate()
        .map(|(i, v)| (2.0 * (i as f64 + 1.0) - n - 1.0) * (v / largest))
        .sum();
    Ok(weighted / (n * total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_of_known_distributions() {
        let near = |v: &[f64], g: f64| assert!((gini(v).unwrap() - g).abs() < 1e-12, "{v:?}");
        near(&[2.0, 2.0, 2.0], 0.0);
        near(&[0.0, 0.0, 0.0, -5.0], 0.75);
        // Σᵢⱼ |xᵢ − xⱼ| = 12, over 2 n² times the mean.
        near(&[1.0, 4.0, 1.0], 12.0 / 36.0);
        near(&[0.0, 0.0], 0.0);
        assert!(gini::<f64>(&[]).is_err() && gini(&[f32::NAN]).is_err());
    }
}
