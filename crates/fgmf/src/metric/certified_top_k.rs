//! Certified top-k: a lower bound, with a stated confidence, on how much of the top of a *smoothed*
//! map survives any change of the image within an L2 ball (Levine et al. 2019, with the randomised
//! smoothing of Cohen et al. 2019).
//!
//! The smoothed map is the share of votes sᵢ(x) = P(pixel i is among the k largest of φ(x + r)), r
//! normal with deviation σ in every value, for a fixed class. Φ⁻¹(sᵢ) is Lipschitz in x with
//! constant 1/σ, whatever φ is. So after any change of length ρ at most, sᵢ ≥ Φ(Φ⁻¹(lᵢ) − ρ/σ) and
//! sⱼ ≤ Φ(Φ⁻¹(uⱼ) + ρ/σ), with `[l, u]` exact binomial intervals of the votes (Clopper & Pearson),
//! all of them right at once with the confidence given (Bonferroni over 2 · pixels bounds). A pixel
//! of the top k that fewer than k others can overtake stays. The figure is the share of the top k
//! that stays; the smoothed map's own top k is that of the votes.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `sigma` | 0.25, in input units | above 0, finite |
//! | `radius` | 0.1: ρ, in input units | 0 or more, finite |
//! | `samples` | 400 | 1 to 1,000,000 |
//! | `top` | 0.1 | above 0, at most 1 |
//! | `confidence` | 0.99 | above 0.5, below 1 |
//!
//! Values in `[0, 1]`; higher is better. Cost: `samples` explanations an image. It certifies the
//! smoothed map, which is another explainer than the one it is made from; it says nothing about
//! whether that map is faithful, and nothing about Linf beyond the L2 ball inside. The class
//! explained is fixed: a certificate does not need the prediction to hold. Optional:
//! `fgmf evaluate` leaves it out unless it is named.
//!
//! Differences from Levine et al.: (1) exact binomial intervals, where they use Hoeffding's
//! inequality; (2) any explainer's top k votes, not the sparsified gradient's; (3) noisy images are
//! not clipped, as the theorem needs. Reference: `levine2019`.

use crate::error::{Error, Result};
use crate::explain::subject::{Draw, Subject};
use crate::measure::probability::{binomial_bounds, normal_cdf, normal_quantile};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{Family, Info, Need, SHARE, higher};
use crate::metric::parts::noise::check_noise;
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "certified-top-k",
    family: Family::Stability,
    figures: &[higher("certified-top-k", SHARE)],
    needs: &[Need::Explainer],
    reference: "levine2019",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Bounds how much of the top of a smoothed map survives any change in a ball.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"samples": 20, "top": 0.1}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<CertifiedTopKParams>(settings)?.check()?))),
    },
}];

/// Settings of [`CertifiedTopK`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertifiedTopKParams {
    /// Deviation of the noise.
    pub sigma: f64,
    /// L2 length of the changes certified against.
    pub radius: f64,
    /// Noisy images.
    pub samples: usize,
    /// Share of the pixels on top.
    pub top: f64,
    /// Probability that the bound holds.
    pub confidence: f64,
}

impl Default for CertifiedTopKParams {
    fn default() -> Self {
        Self {
            sigma: 0.25,
            radius: 0.1,
            samples: 400,
            top: 0.1,
            confidence: 0.99,
        }
    }
}

impl CertifiedTopKParams {
    /// The checked metric.
    pub fn check(self) -> Result<CertifiedTopK> {
        check_noise(self.sigma, self.samples)?;
        if !(self.radius.is_finite() && self.radius >= 0.0) {
            return Err(Error::parameter(
                "radius",
                "a finite number, 0 or more",
                self.radius,
            ));
        }
        if !(self.top > 0.0 && self.top <= 1.0) {
            return Err(Error::parameter("top", "above 0 and at most 1", self.top));
        }
        if !(self.confidence > 0.5 && self.confidence < 1.0) {
            return Err(Error::parameter(
                "confidence",
                "above 0.5 and below 1",
                self.confidence,
            ));
        }
        Ok(CertifiedTopK { params: self })
    }
}

/// Checked certified top-k.
#[derive(Clone, Debug)]
pub struct CertifiedTopK {
    params: CertifiedTopKParams,
}

impl CertifiedTopKParams {
    /// Share of the k pixels with most votes that stay on top.
    fn share(&self, votes: &[usize], k: usize) -> f64 {
        let error = (1.0 - self.confidence) / (2 * votes.len()) as f64;
        let shift = self.radius / self.sigma;
        let moved = |p: f64, by: f64| {
            if p <= 0.0 || p >= 1.0 {
                p
            } else {
                normal_cdf(normal_quantile(p) + by)
            }
        };
        let bounds: Vec<(f64, f64)> = votes
            .iter()
            .map(|&v| {
                let (low, high) = binomial_bounds(v, self.samples, error);
                (moved(low, -shift), moved(high, shift))
            })
            .collect();
        let mut order: Vec<usize> = (0..votes.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(votes[i]));
        let mut highs: Vec<f64> = bounds.iter().map(|b| b.1).collect();
        highs.sort_by(f64::total_cmp);
        let stays = |i: &&usize| {
            // Pixels that may reach the lower bound of i, without i itself.
            let low = bounds[**i].0;
            let reach = highs.len() - highs.partition_point(|h| *h < low);
            reach - usize::from(bounds[**i].1 >= low) < k
        };
        order[..k].iter().filter(stays).count() as f64 / k as f64
    }
}

impl Metric for CertifiedTopK {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let (n, area) = (subject.len(), subject.area());
        let k = ((self.params.top * area as f64).round() as usize).clamp(1, area);
        let mut votes = vec![vec![0usize; area]; n];
        for round in 0..self.params.samples {
            let noisy = |i: usize| {
                let mut rng = subject.stream(Draw::Certificate, round, i);
                subject
                    .image(i)
                    .into_iter()
                    .map(|v| v + self.params.sigma * f64::from(rng.normal()))
                    .collect::<Vec<f64>>()
            };
            let x = subject.images((0..n).flat_map(noisy).collect());
            for (votes, map) in votes.iter_mut().zip(subject.explain(&x)?) {
                let mut order: Vec<usize> = (0..area).collect();
                order.sort_by(|&a, &b| (map[b] + 0.0).total_cmp(&(map[a] + 0.0)));
                order[..k].iter().for_each(|&at| votes[at] += 1);
            }
        }
        Ok(vec![
            votes
                .iter()
                .map(|v| Some(self.params.share(v, k)))
                .collect(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(radius: f64) -> CertifiedTopKParams {
        CertifiedTopKParams {
            samples: 1000,
            radius,
            ..CertifiedTopKParams::default()
        }
    }

    /// Two pixels always on top, eight never: certified while Φ(Φ⁻¹(l) − ρ/σ) > Φ(Φ⁻¹(1 − l) +
    /// ρ/σ), that is ρ < σ Φ⁻¹(l), with l = (α / 20)^(1/1000) of 1,000 votes of 1,000.
    #[test]
    fn the_radius_of_a_sure_map_is_the_closed_form() {
        let votes = [1000, 1000, 0, 0, 0, 0, 0, 0, 0, 0];
        let low = (0.01f64 / 20.0).powf(1e-3);
        let radius = 0.25 * normal_quantile(low);
        assert!((params(0.99 * radius).share(&votes, 2) - 1.0).abs() < 1e-12);
        assert!(params(1.01 * radius).share(&votes, 2) < 1e-12);
        // Even votes certify nothing; one sure pixel among them is certified alone.
        assert!(params(0.1).share(&[500; 4], 2) < 1e-12);
        assert!((params(0.1).share(&[1000, 500, 500, 0], 2) - 0.5).abs() < 1e-12);
    }
}
