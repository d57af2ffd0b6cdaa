//! From two maps to one: what both the perturbation map and Grad-CAM++ point at.

use crate::explain::parts::map::{bounds, min_max, percentile_normalised, quantile};
use crate::image::blur::Blur;
use serde::{Deserialize, Serialize};

/// How two maps become one. Maps are in `[-1, 1]`, or in `[0, 1]` if they hold no evidence against
/// the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fusion {
    /// √(|P G|) (1 + κ min(|P|, |G|) / (max(|P|, |G|) + 10⁻⁶)) with the sign that P and G share, 0
    /// where they have none in common.
    Consensus,
    /// P, times 1 + κ |G| where G has its sign.
    Amplify,
    /// P G with the sign that they share, 0 where they have none in common.
    Product,
    /// (1 − `weight`) P + `weight` G.
    Mean,
    /// Σ w_m c_m φ_m of P, G and the maps of `others`, with weights that fit the falls of the
    /// windows best. Where there are no windows it is the mean.
    LeastSquares,
}

/// How a map is brought to a common scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Stretched between two percentiles; with signs: divided by the upper percentile of |·|, held
    /// in `[-1, 1]`.
    Percentile,
    /// Mean rank of equals, 0 to 1; with signs: of |·|, with the sign.
    Rank,
}

impl Fusion {
    /// The map of two maps, pixel by pixel.
    pub(crate) fn fuse(self, p: &[f64], g: &[f64], kappa: f64, weight: f64) -> Vec<f64> {
        let agree = |p: f64, g: f64| p * g > 0.0;
        let one = |(&p, &g): (&f64, &f64)| match self {
            Self::Consensus if !agree(p, g) => 0.0,
            Self::Consensus => {
                let (a, b) = (p.abs(), g.abs());
                (a * b).sqrt() * (1.0 + kappa * a.min(b) / (a.max(b) + 1e-6)) * p.signum()
            }
            Self::Amplify => p * (1.0 + if agree(p, g) { kappa * g.abs() } else { 0.0 }),
            Self::Product if !agree(p, g) => 0.0,
            Self::Product => p.abs() * g,
            Self::Mean | Self::LeastSquares => (1.0 - weight) * p + weight * g,
        };
        p.iter().zip(g).map(one).collect()
    }
}

impl Scale {
    /// A map in `[0, 1]`, or with `signed` in `[-1, 1]`.
    pub(crate) fn apply(self, map: &[f64], signed: bool, percentiles: [f64; 2]) -> Vec<f64> {
        let sizes = || map.iter().map(|v| v.abs()).collect::<Vec<f64>>();
        match (self, signed) {
            (Self::Percentile, false) => percentile_normalised(map, percentiles),
            (Self::Percentile, true) => {
                let sizes = sizes();
                let (upper, largest) = (quantile(&sizes, percentiles[1] / 100.0), bounds(&sizes).1);
                let unit = if upper > 0.0 { upper } else { largest };
                map.iter()
                    .map(|v| {
                        if unit > 0.0 {
                            (v / unit).clamp(-1.0, 1.0)
                        } else {
                            v * 0.0
                        }
                    })
                    .collect()
            }
            (Self::Rank, false) => ranks(map),
            (Self::Rank, true) => ranks(&sizes())
                .into_iter()
                .zip(map)
                .map(|(r, v)| if v.abs() > 0.0 { r * v.signum() } else { 0.0 })
                .collect(),
        }
    }
}

/// Ranks from 0 to 1, equals sharing their mean; a constant map becomes zeros.
fn ranks(map: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..map.len()).collect();
    order.sort_by(|&a, &b| map[a].total_cmp(&map[b]));
    let mut out = vec![0.0; map.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| map[a] >= map[b]) {
        let mean = before as f64 + 0.5 * (equal.len() - 1) as f64;
        equal.iter().for_each(|&at| out[at] = mean);
        before += equal.len();
    }
    min_max(&out)
}

/// Settings of [`enhance`].
pub(crate) struct Enhancement {
    /// Quantile of the map where the sigmoid is ½.
    pub(crate) quantile: f64,
    /// Width of the sigmoid, in interquartile ranges.
    pub(crate) width: f64,
    /// Exponent.
    pub(crate) gamma: f64,
    /// Deviation of the smoothing, pixels.
    pub(crate) sigma: [f64; 2],
    /// Whether smoothing comes first.
    pub(crate) smooth_first: bool,
}

/// σ((C − q) / (width · IQR(C) + 10⁻⁶)) to the power γ, smoothed before or after, stretched to
/// `[0, 1]`. A constant map becomes zeros.
pub(crate) fn enhance(c: &[f64], size: [usize; 2], contrast: &Enhancement) -> Vec<f64> {
    let soft;
    let (c, sigma) = if contrast.smooth_first {
        soft = Blur::whole(contrast.sigma).of(c, size);
        (&soft[..], [0.0; 2])
    } else {
        (c, contrast.sigma)
    };
    let (lo, hi) = bounds(c);
    if lo >= hi {
        return min_max(c);
    }
    let centre = quantile(c, contrast.quantile);
    let width = contrast.width * (quantile(c, 0.75) - quantile(c, 0.25)) + 1e-6;
    let raised: Vec<f64> = c
        .iter()
        .map(|v| (1.0 / (1.0 + (-(v - centre) / width).exp())).powf(contrast.gamma))
        .collect();
    min_max(&Blur::whole(sigma).of(&raised, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consensus_is_large_only_where_both_are() {
        let c = Fusion::Consensus.fuse(
            &[1.0, 1.0, 0.0, 0.5, 0.25],
            &[1.0, 0.0, 1.0, 0.5, 1.0],
            1.0,
            0.5,
        );
        let expected = [2.0, 0.0, 0.0, 1.0, 0.5 * 1.25];
        assert!(
            c.iter().zip(expected).all(|(c, e)| (c - e).abs() < 2e-6),
            "{c:?}"
        );
    }

    #[test]
    fn contrast_matches_hand_values_and_keeps_the_order() {
        let c = [0.0, 0.25, 0.5, 0.75, 1.0];
        let contrast = |gamma| Enhancement {
            quantile: 0.8,
            width: 0.25,
            gamma,
            sigma: [0.0; 2],
            smooth_first: false,
        };
        let out = enhance(&c, [1, 5], &contrast(1.0));
        // q = 0.8, IQR = 0.5.
        let sigmoid = |v: f64| 1.0 / (1.0 + (-(v - 0.8) / 0.125_001).exp());
        let expected = c.map(|v| (sigmoid(v) - sigmoid(0.0)) / (sigmoid(1.0) - sigmoid(0.0)));
        assert!(
            out.iter().zip(expected).all(|(o, e)| (o - e).abs() < 1e-12),
            "{out:?}"
        );
        assert!(
            enhance(&c, [1, 5], &contrast(0.5))
                .windows(2)
                .all(|w| w[0] < w[1])
        );
        assert_eq!(enhance(&[0.3; 4], [2, 2], &contrast(1.0)), [0.0; 4]);
    }

    #[test]
    fn fusions_match_hand_values() {
        let (p, g) = ([1.0, -0.5, 0.5, -0.5, 0.0], [0.25, -0.5, -1.0, 0.5, 1.0]);
        let close = |fusion: Fusion, expected: [f64; 5]| {
            let c = fusion.fuse(&p, &g, 2.0, 0.25);
            assert!(
                c.iter().zip(expected).all(|(c, e)| (c - e).abs() < 4e-6),
                "{fusion:?}: {c:?}"
            );
        };
        close(Fusion::Consensus, [0.5 * 1.5, -0.5 * 3.0, 0.0, 0.0, 0.0]);
        close(Fusion::Amplify, [1.5, -1.0, 0.5, -0.5, 0.0]);
        close(Fusion::Product, [0.25, -0.25, 0.0, 0.0, 0.0]);
        close(Fusion::Mean, [0.8125, -0.5, 0.125, -0.25, 0.25]);
    }

    #[test]
    fn scales_match_hand_values() {
        let map = [4.0, -2.0, 0.0, 1.0, 1.0];
        assert_eq!(
            Scale::Rank.apply(&map, false, [1.0, 99.0]),
            [1.0, 0.0, 0.25, 0.625, 0.625]
        );
        // Sizes 0, 1, 1, 2, 4 have ranks 0, 0.375, 0.375, 0.75, 1.
        assert_eq!(
            Scale::Rank.apply(&map, true, [1.0, 99.0]),
            [1.0, -0.75, 0.0, 0.375, 0.375]
        );
        // The 75th percentile of the sizes is 2.
        assert_eq!(
            Scale::Percentile.apply(&map, true, [1.0, 75.0]),
            [1.0, -1.0, 0.0, 0.5, 0.5]
        );
        for scale in [Scale::Percentile, Scale::Rank] {
            assert!(
                [false, true]
                    .iter()
                    .all(|&s| scale.apply(&[0.0; 3], s, [1.0, 99.0]) == [0.0; 3]),
                "{scale:?}"
            );
        }
        // Most values are 0: the unit is the largest, not 0.
        let mut lone = vec![0.0; 200];
        lone[3] = -2.0;
        assert!((Scale::Percentile.apply(&lone, true, [1.0, 99.0])[3] + 1.0).abs() < 1e-12);
    }

    /// A point smoothed first is spread before the sigmoid cuts it.
    #[test]
    fn order_of_smoothing_and_contrast() {
        let mut c = vec![0.0; 25];
        c[12] = 1.0;
        let of = |smooth_first| {
            enhance(
                &c,
                [5, 5],
                &Enhancement {
                    quantile: 0.8,
                    width: 0.25,
                    gamma: 1.0,
                    sigma: [1.0; 2],
                    smooth_first,
                },
            )
        };
        let soft = Blur::whole([1.0; 2]).of(&c, [5, 5]);
        assert_eq!(
            of(true),
            enhance(
                &soft,
                [5, 5],
                &Enhancement {
                    quantile: 0.8,
                    width: 0.25,
                    gamma: 1.0,
                    sigma: [0.0; 2],
                    smooth_first: true
                }
            )
        );
        assert_ne!(of(true), of(false));
    }
}
