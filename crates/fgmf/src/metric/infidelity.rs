//! Infidelity: how far the fall of the score lies from what the map predicts when a square of the
//! image is removed (Yeh et al. 2019).
//!
//! E[(β φ·J − (f(x) − f(x without J)))²] over squares J of random size and place, β = E[φ·J fall] /
//! E[(φ·J)²] the best scale of the map; φ·J is the sum of the map over the square.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `samples` | 100 | 1 to 100,000 |
//! | `largest` | 10: sides are 1 to this, in pixels | 1 to 10,000 |
//! | `fill` | value 0 (black) | a value, blur or linear imputation |
//! | `output` | logit | logit, probability |
//! | `reading` | contribution | contribution, slope |
//! | `scaled` | true: with β; otherwise β = 1 | |
//!
//! `infidelity` is 0 or more, in squared units of f; `infidelity-share` is it as a share of
//! E[fall²], in `[0, 1]` if scaled, which compares across models. Lower is better for both. An
//! example whose score no removal changes has none. Cost: `samples` + 1 forward passes an image.
//!
//! Differences from the paper: (1) maps that add up channels hold contributions, not slopes, so φ·J
//! is their sum over the square; `reading` `slope` is the paper's Σ φ (x − x'); (2) β, as Captum's
//! `normalize` and the paper's appendix. From Quantus: (3) its squares lie on a grid and add up
//! from call to call (its image is never restored), and the same grid is run ten times; our parity
//! test feeds these sets. Reference: `yeh2019`.

use crate::error::{Error, Result};
use crate::explain::subject::{Output, Subject};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::checked::check_samples;
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{Family, Info, POSITIVE, lower};
use crate::metric::parts::subsets::{Reading, Removal, random_square, removals};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "infidelity",
    family: Family::Faithfulness,
    figures: &[
        lower("infidelity", POSITIVE),
        lower("infidelity-share", POSITIVE),
    ],
    needs: &[],
    reference: "yeh2019",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Compares the fall of the score with what the map predicts.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"samples": 10}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<InfidelityParams>(settings)?.check()?))),
    },
}];

/// Settings of [`Infidelity`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InfidelityParams {
    /// Squares an image.
    pub samples: usize,
    /// Largest side.
    pub largest: usize,
    /// What replaces removed pixels.
    pub fill: Fill,
    /// What is measured.
    pub output: Output,
    /// What the values of a map are taken for.
    pub reading: Reading,
    /// Whether the map is scaled to fit best.
    pub scaled: bool,
}

impl Default for InfidelityParams {
    fn default() -> Self {
        Self {
            samples: 100,
            largest: 10,
            fill: Fill::Value(0.0),
            output: Output::Logit,
            reading: Reading::default(),
            scaled: true,
        }
    }
}

impl InfidelityParams {
    /// The checked metric.
    pub fn check(self) -> Result<Infidelity> {
        check_samples(self.samples)?;
        if !(1..=10_000).contains(&self.largest) {
            return Err(Error::parameter("largest", "1 to 10000", self.largest));
        }
        self.fill.check()?;
        Ok(Infidelity { params: self })
    }
}

/// Checked infidelity.
#[derive(Clone, Debug)]
pub struct Infidelity {
    params: InfidelityParams,
}

/// Mean squared error of the predictions, scaled or not, and mean squared fall.
fn errors(removals: &[Removal], scaled: bool) -> (f64, f64) {
    let mean =
        |f: &dyn Fn(&Removal) -> f64| removals.iter().map(f).sum::<f64>() / removals.len() as f64;
    let size = mean(&|r| r.predicted * r.predicted);
    let fit = if size > 0.0 {
        mean(&|r| r.predicted * r.fall) / size
    } else {
        0.0
    };
    let beta = if scaled { fit } else { 1.0 };
    (
        mean(&|r| (beta * r.predicted - r.fall).powi(2)),
        mean(&|r| r.fall * r.fall),
    )
}

impl Infidelity {
    /// `infidelity` of each example for given sets of pixels instead of random squares;
    /// `mask(example, number)` marks pixels.
    pub fn of_sets(
        &self,
        subject: &Subject<'_>,
        count: usize,
        mask: impl Fn(usize, usize) -> Vec<bool> + Sync,
    ) -> Result<Vec<f64>> {
        let p = &self.params;
        let all = removals(subject, count, mask, p.fill, p.output, p.reading)?;
        Ok(all.iter().map(|r| errors(r, p.scaled).0).collect())
    }
}

impl Metric for Infidelity {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let p = &self.params;
        let mask = |i, k| random_square(subject, p.largest, k, i);
        let all = removals(subject, p.samples, mask, p.fill, p.output, p.reading)?;
        let pairs = all.iter().map(|r| match errors(r, p.scaled) {
            (error, fall) if fall > 0.0 => (Some(error), Some(error / fall)),
            _ => (None, None),
        });
        let (error, share) = pairs.unzip();
        Ok(vec![error, share])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::tests::exact_and_noise;

    /// Contributions of a linear model predict every fall: nothing is left, whatever the scale of
    /// the model.
    #[test]
    fn exact_contributions_leave_no_error() {
        for scaled in [true, false] {
            let metric = InfidelityParams {
                samples: 30,
                largest: 4,
                scaled,
                ..InfidelityParams::default()
            }
            .check()
            .unwrap();
            let (exact, noise) = exact_and_noise(&metric, [2, 8, 8], 4);
            assert!(
                exact.iter().flatten().all(|v| v.unwrap() < 1e-10),
                "{exact:?}"
            );
            assert!(
                noise.iter().flatten().all(|v| v.unwrap() > 1e-3),
                "{noise:?}"
            );
            assert!(!scaled || noise[1].iter().all(|v| v.unwrap() <= 1.0));
        }
    }

    /// β = (1·2 + 2·2) / (1 + 4) = 1.2: errors 0.8² and 0.4².
    #[test]
    fn errors_by_hand() {
        let r = [
            Removal {
                predicted: 1.0,
                fall: 2.0,
            },
            Removal {
                predicted: 2.0,
                fall: 2.0,
            },
        ];
        let (scaled, fall) = errors(&r, true);
        assert!(
            (scaled - 0.4).abs() < 1e-12
                && (fall - 4.0).abs() < 1e-12
                && (errors(&r, false).0 - 0.5).abs() < 1e-12
        );
    }
}
