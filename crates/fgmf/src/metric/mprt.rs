//! Model parameter randomisation test: whether a map changes when the model forgets what it has
//! learnt (Adebayo et al. 2018).
//!
//! Layers are randomised from the logits down, in stages; at each stage the image is explained
//! again. Figures: mean over the stages of the size of the rank correlation |ρ|, and of the
//! structural similarity, of the map before and after. A map that stays the same shows the image,
//! not the model.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `stages` | 4 | parts that layers are randomised in, one after another, 1 to 1,000 |
//!
//! `mprt-spearman` in `[0, 1]`, `mprt-ssim` in `[-1, 1]`; lower is better. Cost: `stages`
//! explanations an image, a copy of the model each.
//!
//! Differences from the paper and from Quantus: (1) a parameter's values are put in random order,
//! which needs no knowledge of how they were initialised and keeps their size; normalisation
//! statistics stay; (2) stages, where there one layer is added at a time; (3) |ρ|, as the sign of a
//! map says little about whether it depends on the model; (4) backward rules of the model are not
//! carried over to the copies. Known trap: noise in a map lowers both figures; hence `smooth-mprt`
//! and `efficient-mprt`. Reference: `adebayo2018`.

use crate::error::Result;
use crate::explain::subject::Subject;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{CORRELATION, Family, Info, Need, SHARE, lower};
use crate::metric::parts::stages::{check_stages, likenesses};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "mprt",
    family: Family::Randomisation,
    figures: &[
        lower("mprt-spearman", SHARE),
        lower("mprt-ssim", CORRELATION),
    ],
    needs: &[Need::Explainer, Need::Parameters],
    reference: "adebayo2018",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Checks whether a map changes when the model forgets what it has learnt.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"stages": 2}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<MprtParams>(settings)?.check()?))),
    },
}];

/// Settings of [`Mprt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MprtParams {
    /// Parts that the layers are randomised in.
    pub stages: usize,
}

impl Default for MprtParams {
    fn default() -> Self {
        Self { stages: 4 }
    }
}

impl MprtParams {
    /// The checked metric.
    pub fn check(self) -> Result<Mprt> {
        check_stages(self.stages)?;
        Ok(Mprt { params: self })
    }
}

/// Checked model parameter randomisation test.
#[derive(Clone, Debug)]
pub struct Mprt {
    params: MprtParams,
}

impl Metric for Mprt {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        likenesses(subject, self.params.stages, |oracle| {
            if std::ptr::eq(oracle, subject.oracle) {
                return Ok((0..subject.len()).map(|i| subject.map(i)).collect());
            }
            subject.explain_with(oracle, subject.x)
        })
    }
}
