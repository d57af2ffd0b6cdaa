//! ROAD, remove and debias: how often the class survives when the most relevant pixels are replaced
//! by what their neighbours suggest (Rong et al. 2022).
//!
//! Mean over the percentages p of [argmax f(x with its ⌊n p / 100⌋ most relevant pixels imputed) =
//! class explained]. Imputation solves a linear system, each missing pixel the weighted mean of its
//! neighbours, and adds Gaussian noise, so that neither the shape of the hole nor a foreign colour
//! tells the model what was there.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `percentages` | 5, 10, …, 95 | 1 to 1,000 numbers of 0 to 100 |
//! | `noise` | 0.01 | 0 or more, deviation in input units |
//!
//! Values in `[0, 1]`; lower is better. Cost: one forward pass and one linear system an image and
//! percentage.
//!
//! Differences from Quantus: (1) one figure an image, the mean over percentages, where Quantus
//! gives the mean over images for each percentage (the parity test compares the latter); (2) equal
//! values of a map go in random order; (3) a hole that covers everything is filled with the image's
//! mean, where Quantus' system is singular; (4) 19 percentages, not 50. Reference: `rong2022`.

use crate::error::{Error, Result};
use crate::explain::subject::{Output, Subject};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::curve::{Gone, curve};
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{Family, Info, SHARE, lower};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "road",
    family: Family::Faithfulness,
    figures: &[lower("road", SHARE)],
    needs: &[],
    reference: "rong2022",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Counts how often the class survives when relevant pixels are imputed.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"percentages": [20.0, 50.0]}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<RoadParams>(settings)?.check()?))),
    },
}];

/// Settings of [`Road`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoadParams {
    /// Shares removed, in percent.
    pub percentages: Vec<f64>,
    /// Deviation of the noise added to imputed pixels.
    pub noise: f64,
}

impl Default for RoadParams {
    fn default() -> Self {
        Self {
            percentages: (1..20).map(|p| 5.0 * f64::from(p)).collect(),
            noise: 0.01,
        }
    }
}

impl RoadParams {
    /// The checked metric.
    pub fn check(self) -> Result<Road> {
        let count = self.percentages.len();
        if !(1..=1000).contains(&count)
            || self.percentages.iter().any(|p| !(0.0..=100.0).contains(p))
        {
            return Err(Error::parameter(
                "percentages",
                "1 to 1000 numbers of 0 to 100",
                format!("{:?}", self.percentages),
            ));
        }
        Fill::Linear(self.noise).check()?;
        Ok(Road { params: self })
    }
}

/// Checked ROAD.
#[derive(Clone, Debug)]
pub struct Road {
    params: RoadParams,
}

impl Road {
    /// Whether the class survives, for each example and percentage.
    pub fn survival(&self, subject: &Subject<'_>) -> Result<Vec<Vec<bool>>> {
        let counts: Vec<usize> = self
            .params
            .percentages
            .iter()
            .map(|p| (subject.area() as f64 * p / 100.0) as usize)
            .collect();
        let curves = curve(
            subject,
            Gone::Most,
            &counts,
            Fill::Linear(self.params.noise),
            Output::Logit,
        )?;
        Ok(curves
            .iter()
            .map(|c| c.iter().map(|p| p.right).collect())
            .collect())
    }
}

impl Metric for Road {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let share = |s: &Vec<bool>| Some(s.iter().filter(|&&r| r).count() as f64 / s.len() as f64);
        Ok(vec![self.survival(subject)?.iter().map(share).collect()])
    }
}
