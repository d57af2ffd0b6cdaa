//! Deletion: how fast the score falls when the pixels that matter most leave first (Petsiuk et al.
//! 2018).
//!
//! Area under f(x without its k most relevant pixels) over the share k / n from 0 to 1, trapezoid
//! rule; f is the probability of the class explained.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 28 | 1 to 10,000 |
//! | `fill` | value 0 (black) | a value, blur or linear imputation |
//! | `output` | probability | logit, probability |
//!
//! Values in `[0, 1]` (with `probability`); lower is better. Cost: steps + 1 forward passes an
//! image.
//!
//! Differences from the paper: (1) a number of steps instead of a number of pixels a step; (2)
//! equal values of a map leave in random order. From Quantus (`PixelFlipping`): (3) the point
//! without a removal is part of the curve, and the axis is the share removed, so that the area does
//! not grow with the number of steps. Removing pixels makes images that the model has never seen:
//! compare `lerf-minus-morf`. Reference: `petsiuk2018`.

use crate::error::Result;
use crate::explain::subject::{Output, Subject};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::curve::{CurveParams, Gone, area_under, curve, even_counts, scores};
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{Family, Info, SHARE, lower};
use crate::settings::read_over;

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "deletion",
    family: Family::Faithfulness,
    figures: &[lower("deletion", SHARE)],
    needs: &[],
    reference: "petsiuk2018",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Measures how fast the score falls when the most relevant pixels leave first.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"steps": 5}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| {
            Ok(Box::new(Deletion::new(read_over(
                &Deletion::DEFAULT,
                settings,
            )?)?))
        }),
    },
}];

/// Checked deletion.
#[derive(Clone, Debug)]
pub struct Deletion {
    params: CurveParams,
}

impl Deletion {
    /// Settings unless others are given.
    pub const DEFAULT: CurveParams = CurveParams {
        steps: 28,
        fill: Fill::Value(0.0),
        output: Output::Probability,
    };

    /// The checked metric.
    pub fn new(params: CurveParams) -> Result<Self> {
        Ok(Self {
            params: params.checked()?,
        })
    }

    /// Scores of each example, from nothing removed to everything.
    pub fn curves(&self, subject: &Subject<'_>) -> Result<Vec<Vec<f64>>> {
        let counts = even_counts(subject.area(), self.params.steps);
        let curves = curve(
            subject,
            Gone::Most,
            &counts,
            self.params.fill,
            self.params.output,
        )?;
        Ok(curves.iter().map(|c| scores(c)).collect())
    }
}

impl Metric for Deletion {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        Ok(vec![
            self.curves(subject)?
                .iter()
                .map(|c| Some(area_under(c)))
                .collect(),
        ])
    }
}
