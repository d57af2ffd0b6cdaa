//! What a metric is, and what it gives.

use crate::error::Result;
use crate::explain::subject::Subject;
use crate::method::Method;
use crate::metric::parts::info::Info;

/// Values of a metric: a row a figure, in it a value an example, none where the figure is not
/// defined for it.
pub type MetricValues = Vec<Vec<Option<f64>>>;

/// A metric. Implement this; call [`evaluate`](crate::study::evaluate).
pub trait Metric: Sync {
    /// The metric as data.
    fn info(&self) -> &'static Info;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// One row for each figure of [`Metric::info`].
    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues>;
}

/// Makes a metric from its settings.
type MakeMetric = fn(serde_json::Value) -> Result<Box<dyn Metric>>;

/// How a metric is made.
pub(crate) struct MetricBuild {
    /// The metric as data.
    pub(crate) info: &'static Info,
    /// From its settings. `None` for a metric of two inputs, which the evaluation computes itself.
    pub(crate) make: Option<MakeMetric>,
}

/// A metric's entry in the list.
pub(crate) type MetricMethod = Method<MetricBuild>;
