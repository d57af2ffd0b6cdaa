//! Means with their intervals.

/// Mean of a sample and its 95% interval.
///
/// m ± 1.96 s / √n with s² = Σ (x − m)² / (n − 1): the normal approximation, for n of about 30 or
/// more.
///
/// Units of the values. A single value has no spread to estimate and gets the interval `[m, m]`; no
/// values give zeros. Values that are not finite make the result not finite.
pub fn mean_interval(values: &[f64]) -> (f64, [f64; 2]) {
    let n = values.len() as f64;
    if values.is_empty() {
        return (0.0, [0.0; 2]);
    }
    let mean = values.iter().sum::<f64>() / n;
    if values.len() == 1 {
        return (mean, [mean; 2]);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = 1.959_963_984_540_054 * (variance / n).sqrt();
    (mean, [mean - half, mean + half])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_interval_matches_the_formula() {
        let (mean, [lo, hi]) = mean_interval(&[1.0, 2.0, 3.0, 4.0]);
        let half = 1.959_963_984_540_054 * (5.0f64 / 3.0 / 4.0).sqrt();
        assert!(
            (mean - 2.5).abs() < 1e-12
                && (mean - half - lo).abs() < 1e-12
                && (mean + half - hi).abs() < 1e-12
        );
        assert_eq!(mean_interval(&[3.0]), (3.0, [3.0, 3.0]));
        assert_eq!(mean_interval(&[]), (0.0, [0.0, 0.0]));
    }
}
