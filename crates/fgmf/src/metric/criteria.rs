//! The five criteria of the PGCA paper (Islam et al. 2024) for any explainer: fidelity,
//! interpretability, robustness, fairness, completeness. A reconstruction: the paper names them and
//! publishes no formula.
//!
//! - *Fidelity*: f(x without 20% random pixels) − f(x without its 20% most relevant), f the
//!   probability of the class explained.
//! - *Interpretability*: mean of concentration (Gini), coherence (Moran's I, 0 where negative) and
//!   contrast (mean of the top tenth less mean of the rest, of |φ| / max |φ|).
//! - *Robustness*: mean cosine of φ(x) and φ(x + r), r normal with deviation `noise`, over draws
//!   that keep the predicted class; 0 where negative.
//! - *Fairness*: 1 − max(0, JS(hᵢ, h̄_other) − JS(hᵢ, h̄_own)) / ln 2, h the histogram of |φ| / max
//!   |φ| in ten bins, h̄ the mean over the examples of other classes and over the other examples of
//!   the class, JS the Jensen-Shannon divergence: how much further the map is from maps of other
//!   groups than from those of its own.
//! - *Completeness*: (f(x) − f(x without its 20% most relevant)) / (f(x) − f(x without anything)),
//!   held in `[0, 1]`.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `share` | 0.2 removed | above 0, below 1 |
//! | `draws` | 5 random removals and 5 noisy images | 1 to 1,000 |
//! | `noise` | 0.05, in input units | above 0, finite |
//! | `fill` | linear 0.01 | a value, blur or linear imputation |
//!
//! `criterion-fidelity` in `[-1, 1]`, the others in `[0, 1]`; higher is better. Robustness is
//! undefined where every draw changes the class, fairness where the block of 64 holds one class, or
//! one example of it, completeness where removing everything changes f by less than 0.01. Cost: 3 +
//! `draws` forward passes, `draws` explanations and forward passes an image. [`super::evaluate`]
//! adds the entropy-weighted score over explainers
//! ([`entropy_weights`](crate::measure::entropy_weights)) on means, fidelity rescaled to `[0, 1]`
//! by (v + 1) / 2.
//!
//! Decisions of ours: every formula above; groups are classes. Reference: `islam2024`.

use crate::error::{Error, Result};
use crate::explain::subject::{Draw, Output, Subject};
use crate::measure::complexity::moran;
use crate::measure::similarity::cosine;
use crate::measure::summary::gini;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::checked::check_shares;
use crate::metric::parts::curve::{Gone, curve};
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{CORRELATION, Family, Figure, Info, Need, SHARE, higher};
use crate::metric::parts::noise::check_noise;
use crate::metric::parts::subsets::random_set;
use crate::model::answer::argmax;
use crate::settings::read;
use serde::{Deserialize, Serialize};

const FIGURES: [Figure; 5] = [
    higher("criterion-fidelity", CORRELATION),
    higher("criterion-interpretability", SHARE),
    higher("criterion-robustness", SHARE),
    higher("criterion-fairness", SHARE),
    higher("criterion-completeness", SHARE),
];

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "criteria",
    family: Family::Composite,
    figures: &FIGURES,
    needs: &[Need::Explainer, Need::Batch],
    reference: "islam2024",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Scores a map by the five criteria of the PGCA paper.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"draws": 4}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<CriteriaParams>(settings)?.check()?))),
    },
}];

const BINS: usize = 10;

/// Settings of [`Criteria`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CriteriaParams {
    /// Share of the pixels removed.
    pub share: f64,
    /// Random removals, and noisy images.
    pub draws: usize,
    /// Deviation of the noise.
    pub noise: f64,
    /// What replaces removed pixels.
    pub fill: Fill,
}

impl Default for CriteriaParams {
    fn default() -> Self {
        Self {
            share: 0.2,
            draws: 5,
            noise: 0.05,
            fill: Fill::Linear(0.01),
        }
    }
}

impl CriteriaParams {
    /// The checked metric.
    pub fn check(self) -> Result<Criteria> {
        check_shares(&[self.share])?;
        check_noise(self.noise, self.draws)?;
        if self.draws > 1000 {
            return Err(Error::parameter("draws", "1 to 1000", self.draws));
        }
        self.fill.check()?;
        Ok(Criteria { params: self })
    }
}

/// Checked criteria.
#[derive(Clone, Debug)]
pub struct Criteria {
    params: CriteriaParams,
}

/// |φ| / max |φ|; zeros stay zeros.
fn scaled(map: &[f64]) -> Vec<f64> {
    let largest = map.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    map.iter()
        .map(|v| {
            if largest > 0.0 {
                v.abs() / largest
            } else {
                0.0
            }
        })
        .collect()
}

fn contrast(map: &[f64]) -> f64 {
    let mut values = scaled(map);
    values.sort_by(|a, b| b.total_cmp(a));
    let k = (values.len() / 10).max(1);
    let mean = |v: &[f64]| {
        if v.is_empty() {
            0.0
        } else {
            v.iter().sum::<f64>() / v.len() as f64
        }
    };
    mean(&values[..k]) - mean(&values[k..])
}

fn interpretability(map: &[f64], size: [usize; 2]) -> Result<f64> {
    Ok((gini(map)? + moran(map, size)?.clamp(0.0, 1.0) + contrast(map)) / 3.0)
}

/// Shares of the pixels in ten bins of |φ| / max |φ|.
fn histogram(map: &[f64]) -> Vec<f64> {
    let mut shares = vec![0.0; BINS];
    scaled(map)
        .iter()
        .for_each(|v| shares[((v * BINS as f64) as usize).min(BINS - 1)] += 1.0 / map.len() as f64);
    shares
}

/// Jensen-Shannon divergence in nats, 0 to ln 2.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let term = |a: f64, m: f64| if a > 0.0 { a * (a / m).ln() } else { 0.0 };
    p.iter()
        .zip(q)
        .map(|(&p, &q)| 0.5 * (term(p, 0.5 * (p + q)) + term(q, 0.5 * (p + q))))
        .sum()
}

/// Fairness of each map, given its group.
fn fairness(maps: &[Vec<f64>], groups: &[usize]) -> Vec<Option<f64>> {
    let histograms: Vec<Vec<f64>> = maps.iter().map(|m| histogram(m)).collect();
    let mean_over = |keep: &dyn Fn(usize) -> bool| {
        let chosen: Vec<usize> = (0..maps.len()).filter(|&j| keep(j)).collect();
        let bin =
            |b: usize| chosen.iter().map(|&j| histograms[j][b]).sum::<f64>() / chosen.len() as f64;
        (!chosen.is_empty()).then(|| (0..BINS).map(bin).collect::<Vec<f64>>())
    };
    let one = |i: usize| {
        let own = mean_over(&|j| j != i && groups[j] == groups[i])?;
        let other = mean_over(&|j| groups[j] != groups[i])?;
        let further = divergence(&histograms[i], &other) - divergence(&histograms[i], &own);
        Some(1.0 - further.max(0.0) / std::f64::consts::LN_2)
    };
    (0..maps.len()).map(one).collect()
}

impl Criteria {
    fn robustness(&self, subject: &Subject<'_>, own: &[Vec<f64>]) -> Result<Vec<Option<f64>>> {
        let size: usize = subject.shape().iter().product();
        let mut sums = vec![(0usize, 0.0); subject.len()];
        for round in 0..self.params.draws {
            let x = subject.changed(|i| {
                // Apart from the draws of max-sensitivity.
                let mut rng = subject.stream(Draw::Noise, 1 << 20 | round, i);
                (0..size)
                    .map(|_| self.params.noise * f64::from(rng.normal()))
                    .collect()
            });
            let logits = subject.logits(subject.len(), |i| x.rows(i, 1).to_f64())?;
            for (i, map) in subject
                .explain(&x)?
                .iter()
                .enumerate()
                .filter(|(i, _)| argmax(&logits[*i]) == argmax(&own[*i]))
            {
                sums[i].0 += 1;
                sums[i].1 += cosine(&subject.map(i), map)?.max(0.0);
            }
        }
        Ok(sums
            .iter()
            .map(|(count, sum)| (*count > 0).then(|| sum / *count as f64))
            .collect())
    }
}

impl Metric for Criteria {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let (n, area, [_, h, w]) = (subject.len(), subject.area(), subject.shape());
        let CriteriaParams {
            share, draws, fill, ..
        } = self.params;
        let k = ((share * area as f64).round() as usize).clamp(1, area);
        let output = Output::Probability;
        let points = curve(subject, Gone::Most, &[0, k, area], fill, output)?;
        let random = |item: usize| {
            let (i, draw) = (item / draws, item % draws);
            let removed = random_set(subject, k, 1 << 20 | draw, i);
            fill.apply(
                &subject.image(i),
                subject.shape(),
                &removed,
                &mut subject.stream(Draw::Fill, draw, i),
            )
        };
        let logits = subject.logits(n * draws, random)?;
        let maps: Vec<Vec<f64>> = (0..n).map(|i| subject.map(i)).collect();
        let fidelity = |i: usize| {
            let scores = logits[i * draws..(i + 1) * draws]
                .iter()
                .map(|z| output.of(z, subject.targets[i]));
            Some(scores.sum::<f64>() / draws as f64 - points[i][1].score)
        };
        let completeness = |i: usize| {
            let [whole, part, nothing] = [0, 1, 2].map(|s| points[i][s].score);
            ((whole - nothing).abs() >= 0.01)
                .then(|| ((whole - part) / (whole - nothing)).clamp(0.0, 1.0))
        };
        Ok(vec![
            (0..n).map(fidelity).collect(),
            maps.iter()
                .map(|m| interpretability(m, [h, w]).map(Some))
                .collect::<Result<_>>()?,
            self.robustness(subject, &subject.own_logits()?)?,
            fairness(&maps, subject.targets),
            (0..n).map(completeness).collect(),
        ])
    }
}

/// Means of the five criteria brought to `[0, 1]`, for the entropy-weighted score.
pub(crate) fn normalised(mut means: Vec<f64>) -> Option<Vec<f64>> {
    let fidelity = means.first_mut()?;
    *fidelity = 0.5 * (*fidelity + 1.0);
    means.iter_mut().for_each(|m| *m = m.clamp(0.0, 1.0));
    Some(means)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::tests::exact_and_noise;

    #[test]
    fn divergence_and_fairness_by_hand() {
        assert!((divergence(&[1.0, 0.0], &[0.0, 1.0]) - std::f64::consts::LN_2).abs() < 1e-12);
        assert!(divergence(&[0.3, 0.7], &[0.3, 0.7]).abs() < 1e-12);
        let (sharp, flat) = (vec![1.0, 0.0, 0.0, 0.0], vec![1.0, 1.0, 1.0, 1.0]);
        // All alike: fair. One class sharp, the other flat: as unfair as the bins allow.
        let alike = fairness(
            &[sharp.clone(), sharp.clone(), sharp.clone(), sharp.clone()],
            &[0, 0, 1, 1],
        );
        assert!(alike.iter().all(|v| (v.unwrap() - 1.0).abs() < 1e-12));
        let apart = fairness(
            &[sharp.clone(), sharp, flat.clone(), flat.clone()],
            &[0, 0, 1, 1],
        );
        let js = divergence(&[0.75, 0.25], &[0.0, 1.0]);
        assert!(
            apart
                .iter()
                .all(|v| (v.unwrap() - 1.0 + js / std::f64::consts::LN_2).abs() < 1e-12),
            "{apart:?}"
        );
        assert_eq!(fairness(&[flat.clone(), flat], &[0, 1]), [None, None]);
    }

    #[test]
    fn contrast_by_hand_and_exact_maps_are_more_faithful() {
        let map: Vec<f64> = (0..20).map(|i| if i < 2 { -2.0 } else { 1.0 }).collect();
        assert!((contrast(&map) - 0.5).abs() < 1e-12 && contrast(&[0.0; 20]).abs() < 1e-12);
        let (exact, noise) =
            exact_and_noise(&CriteriaParams::default().check().unwrap(), [1, 8, 8], 16);
        let mean =
            |v: &[Option<f64>]| v.iter().flatten().sum::<f64>() / v.iter().flatten().count() as f64;
        assert!(
            mean(&exact[0]) > mean(&noise[0]) + 0.02,
            "{} against {}",
            mean(&exact[0]),
            mean(&noise[0])
        );
        // The noise map of a planted explainer is drawn anew from its stream, the same for every
        // image: perfectly robust, and useless.
        assert!(mean(&noise[2]) > 0.999 && mean(&exact[2]) > 0.9 && mean(&exact[2]) < 0.9999);
    }
}
