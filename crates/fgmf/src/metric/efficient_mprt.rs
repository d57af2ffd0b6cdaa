//! Efficient MPRT: whether maps of a model that has forgotten everything are less orderly (Hedström
//! et al. 2023).
//!
//! (H(φ') − H(φ)) / H(φ), H the entropy of the histogram of a map's values, φ' the map of the model
//! with all parameters randomised.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `bins` | 100 | 2 to 100,000 |
//!
//! −1 or more; higher is better: an explainer that listens to the model has more to say of a
//! trained one. An example whose map has one value everywhere has none. Cost: one explanation an
//! image, one copy of the model.
//!
//! Differences from Quantus (`EfficientMPRT`): (1) all layers at once, its last stage; (2)
//! randomised as in `mprt`. Reference: `hedstroem2023`.

use crate::error::{Error, Result};
use crate::explain::subject::Subject;
use crate::measure::complexity::histogram_entropy;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{Family, Info, Need, higher};
use crate::metric::parts::randomise::forgetting;
use crate::model::oracle::Oracle;
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "efficient-mprt",
    family: Family::Randomisation,
    figures: &[higher("efficient-mprt", [-1.0, f64::INFINITY])],
    needs: &[Need::Explainer, Need::Parameters],
    reference: "hedstroem2023",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Compares the order in maps before and after the model forgets everything.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"bins": 20}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<EfficientMprtParams>(settings)?.check()?))),
    },
}];

/// Settings of [`EfficientMprt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EfficientMprtParams {
    /// Intervals of the histogram.
    pub bins: usize,
}

impl Default for EfficientMprtParams {
    fn default() -> Self {
        Self { bins: 100 }
    }
}

impl EfficientMprtParams {
    /// The checked metric.
    pub fn check(self) -> Result<EfficientMprt> {
        if !(2..=100_000).contains(&self.bins) {
            return Err(Error::parameter("bins", "2 to 100000", self.bins));
        }
        Ok(EfficientMprt { params: self })
    }
}

/// Checked efficient MPRT.
#[derive(Clone, Debug)]
pub struct EfficientMprt {
    params: EfficientMprtParams,
}

impl Metric for EfficientMprt {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let mut maps = Vec::new();
        forgetting(subject, 1, |net| {
            maps = subject.explain_with(&Oracle::new(net), subject.x)?;
            Ok(())
        })?;
        let mut out = Vec::with_capacity(subject.len());
        for (i, map) in maps.iter().enumerate() {
            let (before, after) = (
                histogram_entropy(&subject.map(i), self.params.bins)?,
                histogram_entropy(map, self.params.bins)?,
            );
            out.push((before > 0.0).then(|| (after - before) / before));
        }
        Ok(vec![out])
    }
}
