//! Insertion: how fast the score rises when the pixels that matter most come first (Petsiuk et al.
//! 2018).
//!
//! Area under f(blurred x with its k most relevant pixels sharp) over the share k / n from 0 to 1,
//! trapezoid rule; f is the probability of the class explained.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 28 | 1 to 10,000 |
//! | `fill` | blur 5 | a value, blur or linear imputation |
//! | `output` | probability | logit, probability |
//!
//! Values in `[0, 1]` (with `probability`); higher is better. Cost: steps + 1 forward passes an
//! image.
//!
//! Differences from the paper: (1) a number of steps instead of a number of pixels a step; (2)
//! equal values of a map come in random order; (3) at the border the blur's weights are shared
//! among the pixels that exist, the paper's code pads with black. Reference: `petsiuk2018`.

use crate::error::Result;
use crate::explain::subject::{Output, Subject};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::curve::{CurveParams, Gone, area_under, curve, even_counts, scores};
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{Family, Info, SHARE, higher};
use crate::settings::read_over;

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "insertion",
    family: Family::Faithfulness,
    figures: &[higher("insertion", SHARE)],
    needs: &[],
    reference: "petsiuk2018",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Measures how fast the score rises when the most relevant pixels come first.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"steps": 5}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| {
            Ok(Box::new(Insertion::new(read_over(
                &Insertion::DEFAULT,
                settings,
            )?)?))
        }),
    },
}];

/// Checked insertion.
#[derive(Clone, Debug)]
pub struct Insertion {
    params: CurveParams,
}

impl Insertion {
    /// Settings unless others are given.
    pub const DEFAULT: CurveParams = CurveParams {
        steps: 28,
        fill: Fill::Blur(5.0),
        output: Output::Probability,
    };

    /// The checked metric.
    pub fn new(params: CurveParams) -> Result<Self> {
        Ok(Self {
            params: params.checked()?,
        })
    }
}

impl Metric for Insertion {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let counts = even_counts(subject.area(), self.params.steps);
        let curves = curve(
            subject,
            Gone::AllButMost,
            &counts,
            self.params.fill,
            self.params.output,
        )?;
        Ok(vec![
            curves
                .iter()
                .map(|c| Some(area_under(&scores(c))))
                .collect(),
        ])
    }
}
