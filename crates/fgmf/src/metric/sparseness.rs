//! Sparseness: Gini coefficient of a map, how much of it few pixels hold (Chalasani et al. 2020).
//!
//! G = Σᵢ (2i − n − 1) |x|₍ᵢ₎ / (n Σ |x|), |x| in ascending order; 0 for a map of zeros.
//!
//! No parameters. Values in `[0, 1)`; higher is sparser, which is easier to read and not by itself
//! more faithful. Cost: none of the model.
//!
//! Differences from Quantus (`Sparseness`): (1) no 10⁻⁷ added to each value, which shows only in
//! maps that are almost all 0. Reference: `chalasani2020`.

use crate::error::Result;
use crate::explain::subject::Subject;
use crate::measure::summary::gini;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{Family, Info, SHARE, higher};
use crate::settings::nothing;

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "sparseness",
    family: Family::Complexity,
    figures: &[higher("sparseness", SHARE)],
    needs: &[],
    reference: "chalasani2020",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Measures how much of a map few pixels hold.",
    revision: 1,
    reference: INFO.reference,
    example: "{}",
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(nothing(settings).map(|()| Sparseness)?))),
    },
}];

/// Gini coefficient of each map.
#[derive(Clone, Copy, Debug)]
pub struct Sparseness;

impl Metric for Sparseness {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        Ok(vec![
            (0..subject.len())
                .map(|i| gini(&subject.map(i)).map(Some))
                .collect::<Result<_>>()?,
        ])
    }
}
