//! Faithfulness correlation: whether sets of pixels that the map holds for important cost more when
//! they go (Bhatt et al. 2020).
//!
//! Pearson correlation, over random sets S of a fixed size, of Σ_{i∈S} φᵢ and f(x) − f(x without
//! S); 0 where either does not vary.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `share` | 0.25: size of S as a share of the pixels | above 0, below 1 |
//! | `samples` | 100 | 2 to 100,000 |
//! | `fill` | value 0 (black) | a value, blur or linear imputation |
//! | `output` | logit | logit, probability |
//!
//! Values in `[-1, 1]`; higher is better. Cost: `samples` + 1 forward passes an image. One image's
//! value is noisy (a standard error of about 1 / √samples where there is no correlation): read the
//! mean.
//!
//! Differences from Quantus: (1) a set is a set of pixels, all channels at once, where Quantus
//! draws single values of `[c, h, w]`; the same for one channel; (2) the size is a share, 224 of
//! 784 there. Reference: `bhatt2020`.

use crate::error::{Error, Result};
use crate::explain::subject::{Output, Subject};
use crate::measure::similarity::pearson;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::checked::check_samples;
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{CORRELATION, Family, Info, higher};
use crate::metric::parts::subsets::{Reading, columns, random_set, removals};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "faithfulness-correlation",
    family: Family::Faithfulness,
    figures: &[higher("faithfulness-correlation", CORRELATION)],
    needs: &[],
    reference: "bhatt2020",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Correlates the relevance of random sets of pixels with the fall of the score.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"samples": 10, "share": 0.25}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| {
            Ok(Box::new(
                read::<FaithfulnessCorrelationParams>(settings)?.check()?,
            ))
        }),
    },
}];

/// Settings of [`FaithfulnessCorrelation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaithfulnessCorrelationParams {
    /// Size of a set, as a share of the pixels.
    pub share: f64,
    /// Sets an image.
    pub samples: usize,
    /// What replaces removed pixels.
    pub fill: Fill,
    /// What is measured.
    pub output: Output,
}

impl Default for FaithfulnessCorrelationParams {
    fn default() -> Self {
        Self {
            share: 0.25,
            samples: 100,
            fill: Fill::Value(0.0),
            output: Output::Logit,
        }
    }
}

impl FaithfulnessCorrelationParams {
    /// The checked metric.
    pub fn check(self) -> Result<FaithfulnessCorrelation> {
        check_samples(self.samples)?;
        if !(self.share > 0.0 && self.share < 1.0) {
            return Err(Error::parameter("share", "above 0 and below 1", self.share));
        }
        self.fill.check()?;
        Ok(FaithfulnessCorrelation { params: self })
    }
}

/// Checked faithfulness correlation.
#[derive(Clone, Debug)]
pub struct FaithfulnessCorrelation {
    params: FaithfulnessCorrelationParams,
}

impl FaithfulnessCorrelation {
    /// The correlation of each example over given sets; `mask(example, number)` marks pixels.
    pub fn of_sets(
        &self,
        subject: &Subject<'_>,
        count: usize,
        mask: impl Fn(usize, usize) -> Vec<bool> + Sync,
    ) -> Result<Vec<f64>> {
        let all = removals(
            subject,
            count,
            mask,
            self.params.fill,
            self.params.output,
            Reading::Contribution,
        )?;
        let one = |r: &Vec<_>| {
            let (predicted, fall) = columns(r);
            pearson(&predicted, &fall)
        };
        all.iter().map(one).collect()
    }
}

impl Metric for FaithfulnessCorrelation {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let size = ((self.params.share * subject.area() as f64).round() as usize).max(1);
        let found = self.of_sets(subject, self.params.samples, |i, k| {
            random_set(subject, size, k, i)
        })?;
        Ok(vec![found.into_iter().map(Some).collect()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::tests::exact_and_noise;

    #[test]
    fn exact_contributions_correlate_perfectly() {
        let metric = FaithfulnessCorrelationParams {
            samples: 40,
            ..FaithfulnessCorrelationParams::default()
        }
        .check()
        .unwrap();
        let (exact, noise) = exact_and_noise(&metric, [2, 6, 6], 4);
        assert!(
            exact[0].iter().all(|v| v.unwrap() > 1.0 - 1e-9),
            "{exact:?}"
        );
        assert!(noise[0].iter().all(|v| v.unwrap().abs() < 0.7), "{noise:?}");
    }
}
