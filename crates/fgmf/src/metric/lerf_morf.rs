//! LeRF minus MoRF: what removing the least relevant pixels first leaves of the score, above what
//! removing the most relevant first leaves (Tomsett et al. 2020; as one number Blücher et al.
//! 2024's symmetric relevance gain).
//!
//! A = ∫ f(x without its k least relevant pixels) − f(x without its k most relevant pixels) over
//! the share k / n from 0 to 1, trapezoid rule; f is the probability of the class explained. What a
//! removal does to any image, whichever pixels go, cancels: the difference depends far less on the
//! fill than either curve, and a random map scores 0 in the mean.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 20 | 1 to 10,000 |
//! | `fill` | linear 0.01: ROAD's imputation and noise | a value, blur or linear imputation |
//! | `output` | probability | logit, probability |
//!
//! Values in `[-1, 1]` (with `probability`); higher is better. Cost: 2 (steps + 1) forward passes
//! an image.
//!
//! Decisions of ours: (1) the default fill is the one that leaks least of the mask (see `road`);
//! (2) equal values of a map go in random order. Quantus has no such metric; its
//! `RegionPerturbation` with `order` `lerf` less `morf` is a relative with patches instead of
//! pixels. Reference: `bluecher2024`.

use crate::error::Result;
use crate::explain::subject::{Output, Subject};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::curve::{CurveParams, Gone, area_under, curve, even_counts, scores};
use crate::metric::parts::fill::Fill;
use crate::metric::parts::info::{CORRELATION, Family, Info, higher};
use crate::settings::read_over;

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "lerf-minus-morf",
    family: Family::Faithfulness,
    figures: &[higher("lerf-minus-morf", CORRELATION)],
    needs: &[],
    reference: "bluecher2024",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Compares removing the least relevant pixels first and the most relevant first.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"steps": 5, "fill": {"value": 0.5}}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| {
            Ok(Box::new(LerfMinusMorf::new(read_over(
                &LerfMinusMorf::DEFAULT,
                settings,
            )?)?))
        }),
    },
}];

/// Checked LeRF minus MoRF.
#[derive(Clone, Debug)]
pub struct LerfMinusMorf {
    params: CurveParams,
}

impl LerfMinusMorf {
    /// Settings unless others are given.
    pub const DEFAULT: CurveParams = CurveParams {
        steps: 20,
        fill: Fill::Linear(0.01),
        output: Output::Probability,
    };

    /// The checked metric.
    pub fn new(params: CurveParams) -> Result<Self> {
        Ok(Self {
            params: params.checked()?,
        })
    }
}

impl Metric for LerfMinusMorf {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let counts = even_counts(subject.area(), self.params.steps);
        let run = |gone| curve(subject, gone, &counts, self.params.fill, self.params.output);
        let (least, most) = (run(Gone::Least)?, run(Gone::Most)?);
        let gap =
            |(l, m): (&Vec<_>, &Vec<_>)| Some(area_under(&scores(l)) - area_under(&scores(m)));
        Ok(vec![least.iter().zip(&most).map(gap).collect()])
    }
}
