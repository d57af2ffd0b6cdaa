//! Sufficiency: what the score loses when only the pixels stay that the map holds for important
//! (DeYoung et al. 2020).
//!
//! Mean over shares s of f(x) − f(x with all but its s n most relevant pixels imputed); f is the
//! probability of the class explained.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `shares` | 0.05, 0.1, 0.2, 0.5 | of pixels kept; 1 to 100 numbers above 0, below 1 |
//! | `fill` | linear 0.01 | a value, blur or linear imputation |
//! | `output` | probability | logit, probability |
//!
//! Values in `[-1, 1]` (with `probability`); lower is better: what is marked suffices. Cost: shares
//! + 1 forward passes an image.
//!
//! Differences from the paper: (1) pixels imputed, where it cuts words. Quantus' metric of this
//! name (Dasgupta et al. 2022) asks whether images with like maps share a class; it is another
//! quantity, so there is no parity test. Reference: `deyoung2020`.

use crate::error::Result;
use crate::explain::subject::{Output, Subject};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::checked::check_shares;
use crate::metric::parts::curve::{Gone, curve};
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{CORRELATION, Family, Info, lower};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "sufficiency",
    family: Family::Faithfulness,
    figures: &[lower("sufficiency", CORRELATION)],
    needs: &[],
    reference: "deyoung2020",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Measures what the score loses when only the relevant pixels stay.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"shares": [0.1, 0.5]}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<SufficiencyParams>(settings)?.check()?))),
    },
}];

/// Settings of [`Sufficiency`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SufficiencyParams {
    /// Shares kept.
    pub shares: Vec<f64>,
    /// What replaces the rest.
    pub fill: Fill,
    /// What is measured.
    pub output: Output,
}

impl Default for SufficiencyParams {
    fn default() -> Self {
        Self {
            shares: vec![0.05, 0.1, 0.2, 0.5],
            fill: Fill::Linear(0.01),
            output: Output::default(),
        }
    }
}

impl SufficiencyParams {
    /// The checked metric.
    pub fn check(self) -> Result<Sufficiency> {
        check_shares(&self.shares)?;
        self.fill.check()?;
        Ok(Sufficiency { params: self })
    }
}

/// Checked sufficiency.
#[derive(Clone, Debug)]
pub struct Sufficiency {
    params: SufficiencyParams,
}

impl Metric for Sufficiency {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let SufficiencyParams {
            shares,
            fill,
            output,
        } = &self.params;
        let counts: Vec<usize> = shares
            .iter()
            .map(|s| ((s * subject.area() as f64).round() as usize).max(1))
            .collect();
        let curves = curve(subject, Gone::AllButMost, &counts, *fill, *output)?;
        let own = subject.own_logits()?;
        let one = |(i, points): (usize, &Vec<_>)| {
            let kept = crate::metric::parts::curve::scores(points)
                .iter()
                .sum::<f64>()
                / counts.len() as f64;
            Some(output.of(&own[i], subject.targets[i]) - kept)
        };
        Ok(vec![curves.iter().enumerate().map(one).collect()])
    }
}
