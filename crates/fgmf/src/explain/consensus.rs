//! From two maps to one: what both the perturbation map and Grad-CAM++ point at.

use super::map::{bounds, min_max, quantile, smooth};

/// C = √(P G) · (1 + κ min(P, G) / (max(P, G) + 10⁻⁶)), pixel by pixel, for maps in `[0, 1]`.
pub(super) fn consensus(p: &[f64], g: &[f64], kappa: f64) -> Vec<f64> {
    let one = |(&p, &g): (&f64, &f64)| (p * g).sqrt() * (1.0 + kappa * p.min(g) / (p.max(g) + 1e-6));
    p.iter().zip(g).map(one).collect()
}

/// Settings of [`enhance`].
pub(super) struct Contrast {
    /// Quantile of the map where the sigmoid is ½.
    pub(super) quantile: f64,
    /// Width of the sigmoid, in interquartile ranges.
    pub(super) width: f64,
    /// Exponent.
    pub(super) gamma: f64,
    /// Deviation of the smoothing, pixels.
    pub(super) sigma: [f64; 2],
}

/// σ((C − q) / (width · IQR(C) + 10⁻⁶)) to the power γ, smoothed, stretched to `[0, 1]`. A constant map becomes zeros.
pub(super) fn enhance(c: &[f64], size: [usize; 2], contrast: &Contrast) -> Vec<f64> {
    let (lo, hi) = bounds(c);
    if lo >= hi {
        return min_max(c);
    }
    let centre = quantile(c, contrast.quantile);
    let width = contrast.width * (quantile(c, 0.75) - quantile(c, 0.25)) + 1e-6;
    let raised: Vec<f64> = c.iter().map(|v| (1.0 / (1.0 + (-(v - centre) / width).exp())).powf(contrast.gamma)).collect();
    min_max(&smooth(&raised, size, contrast.sigma))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consensus_is_large_only_where_both_are() {
        let c = consensus(&[1.0, 1.0, 0.0, 0.5, 0.25], &[1.0, 0.0, 1.0, 0.5, 1.0], 1.0);
        let expected = [2.0, 0.0, 0.0, 1.0, 0.5 * 1.25];
        assert!(c.iter().zip(expected).all(|(c, e)| (c - e).abs() < 2e-6), "{c:?}");
    }

    #[test]
    fn contrast_matches_hand_values_and_keeps_the_order() {
        let c = [0.0, 0.25, 0.5, 0.75, 1.0];
        let contrast = |gamma| Contrast { quantile: 0.8, width: 0.25, gamma, sigma: [0.0; 2] };
        let out = enhance(&c, [1, 5], &contrast(1.0));
        // q = 0.8, IQR = 0.5.
        let sigmoid = |v: f64| 1.0 / (1.0 + (-(v - 0.8) / 0.125_001).exp());
        let expected = c.map(|v| (sigmoid(v) - sigmoid(0.0)) / (sigmoid(1.0) - sigmoid(0.0)));
        assert!(out.iter().zip(expected).all(|(o, e)| (o - e).abs() < 1e-12), "{out:?}");
        assert!(enhance(&c, [1, 5], &contrast(0.5)).windows(2).all(|w| w[0] < w[1]));
        assert_eq!(enhance(&[0.3; 4], [2, 2], &contrast(1.0)), [0.0; 4]);
    }
}
