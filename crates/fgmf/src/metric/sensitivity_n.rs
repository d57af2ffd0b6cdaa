//! Sensitivity-n: faithfulness correlation at several sizes of the removed set (Ancona et al.
//! 2018).
//!
//! For each n the Pearson correlation, over random sets S of n pixels, of Σ_{i∈S} φᵢ and f(x) − f(x
//! without S); the figure is the mean over the sizes. An attribution satisfies sensitivity-n if the
//! correlation is 1.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `shares` | 0.01, 0.05, 0.1, 0.2, 0.4, 0.8 | of the pixels; 1 to 100 numbers above 0, below 1 |
//! | `samples` | 40 sets a size | 2 to 100,000 |
//! | `fill` | value 0 (black) | a value, blur or linear imputation |
//! | `output` | logit | logit, probability |
//!
//! Values in `[-1, 1]`; higher is better. Cost: shares · `samples` + 1 forward passes an image.
//!
//! Differences from the paper: (1) six sizes for the curve, and their mean as one figure. Quantus'
//! metric of this name removes pixels in the order of the map and correlates over *images*; it is
//! another quantity, so there is no parity test. Reference: `ancona2018`.

use crate::error::Result;
use crate::explain::subject::{Output, Subject};
use crate::measure::similarity::pearson;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::checked::{check_samples, check_shares};
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{CORRELATION, Family, Info, higher};
use crate::metric::parts::subsets::{Reading, columns, random_set, removals};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "sensitivity-n",
    family: Family::Faithfulness,
    figures: &[higher("sensitivity-n", CORRELATION)],
    needs: &[],
    reference: "ancona2018",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Correlates relevance with the fall of the score for sets of several sizes.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"samples": 10, "shares": [0.1, 0.5]}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<SensitivityNParams>(settings)?.check()?))),
    },
}];

/// Settings of [`SensitivityN`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SensitivityNParams {
    /// Sizes of a set, as shares of the pixels.
    pub shares: Vec<f64>,
    /// Sets an image and size.
    pub samples: usize,
    /// What replaces removed pixels.
    pub fill: Fill,
    /// What is measured.
    pub output: Output,
}

impl Default for SensitivityNParams {
    fn default() -> Self {
        Self {
            shares: vec![0.01, 0.05, 0.1, 0.2, 0.4, 0.8],
            samples: 40,
            fill: Fill::Value(0.0),
            output: Output::Logit,
        }
    }
}

impl SensitivityNParams {
    /// The checked metric.
    pub fn check(self) -> Result<SensitivityN> {
        check_samples(self.samples)?;
        check_shares(&self.shares)?;
        self.fill.check()?;
        Ok(SensitivityN { params: self })
    }
}

/// Checked sensitivity-n.
#[derive(Clone, Debug)]
pub struct SensitivityN {
    params: SensitivityNParams,
}

impl Metric for SensitivityN {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let SensitivityNParams {
            shares,
            samples,
            fill,
            output,
        } = &self.params;
        let size =
            |k: usize| ((shares[k / samples] * subject.area() as f64).round() as usize).max(1);
        let mask = |i, k| random_set(subject, size(k), k, i);
        let all = removals(
            subject,
            shares.len() * samples,
            mask,
            *fill,
            *output,
            Reading::Contribution,
        )?;
        let one = |r: &Vec<_>| {
            let correlations = r.chunks(*samples).map(|part| {
                let (predicted, fall) = columns(part);
                pearson(&predicted, &fall)
            });
            Ok(Some(
                correlations
                    .collect::<Result<Vec<f64>>>()?
                    .iter()
                    .sum::<f64>()
                    / shares.len() as f64,
            ))
        };
        Ok(vec![all.iter().map(one).collect::<Result<_>>()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::tests::exact_and_noise;

    #[test]
    fn exact_contributions_correlate_at_every_size() {
        let metric = SensitivityNParams {
            samples: 20,
            ..SensitivityNParams::default()
        }
        .check()
        .unwrap();
        let (exact, noise) = exact_and_noise(&metric, [1, 8, 8], 4);
        assert!(
            exact[0].iter().all(|v| v.unwrap() > 1.0 - 1e-9),
            "{exact:?}"
        );
        assert!(noise[0].iter().all(|v| v.unwrap().abs() < 0.6), "{noise:?}");
    }
}
