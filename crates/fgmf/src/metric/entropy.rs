//! Complexity: entropy of a map, how many pixels share it (Bhatt et al. 2020).
//!
//! H = −Σ pᵢ ln pᵢ, p = |x| / Σ |x|, in nats; ln n for a map of zeros.
//!
//! No parameters. Values in `[0, ln n]`; lower is simpler, and not by itself more faithful. Cost:
//! none of the model.
//!
//! Differences from Quantus (`Complexity`): (1) no 10⁻¹² inside the logarithm; (2) a map of zeros
//! has an answer. Reference: `bhatt2020`.

use crate::error::Result;
use crate::explain::subject::Subject;
use crate::measure::complexity::entropy;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{Family, Info, POSITIVE, lower};
use crate::settings::nothing;

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "entropy",
    family: Family::Complexity,
    figures: &[lower("entropy", POSITIVE)],
    needs: &[],
    reference: "bhatt2020",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Measures over how many pixels a map is spread.",
    revision: 1,
    reference: INFO.reference,
    example: "{}",
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(nothing(settings).map(|()| Entropy)?))),
    },
}];

/// Entropy of each map.
#[derive(Clone, Copy, Debug)]
pub struct Entropy;

impl Metric for Entropy {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        Ok(vec![
            (0..subject.len())
                .map(|i| entropy(&subject.map(i)).map(Some))
                .collect::<Result<_>>()?,
        ])
    }
}
