//! Deletion: how fast the score falls when the pixels that matter most leave first (Petsiuk et al. 2018).
//!
//! Area under f(x without its k most relevant pixels) over the share k / n from 0 to 1, trapezoid rule; f is the probability of the
//! class explained.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 28 | 1 to 10,000 |
//! | `fill` | value 0 (black) | a value, blur or linear imputation |
//! | `output` | probability | logit, probability |
//!
//! Values in `[0, 1]` (with `probability`); lower is better. Cost: steps + 1 forward passes an image.
//!
//! Differences from the paper: (1) a number of steps instead of a number of pixels a step; (2) equal values of a map leave in random
//! order. From Quantus (`PixelFlipping`): (3) the point without a removal is part of the curve, and the axis is the share removed, so
//! that the area does not grow with the number of steps. Removing pixels makes images that the model has never seen: compare
//! `lerf-minus-morf`. Reference: `petsiuk2018`.

use super::curve::{Gone, area_under, curve, even_counts, scores};
use super::fill::Fill;
use super::info::{Family, Info, SHARE, lower};
use super::subject::{Output, Subject};
use super::{Metric, Scores};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(super) const INFO: Info =
    Info { id: "deletion", family: Family::Faithfulness, figures: &[lower("deletion", SHARE)], needs: &[], reference: "petsiuk2018" };

/// Settings of [`Deletion`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeletionParams {
    /// Removals.
    pub steps: usize,
    /// What replaces removed pixels.
    pub fill: Fill,
    /// What is measured.
    pub output: Output,
}

impl Default for DeletionParams {
    fn default() -> Self {
        Self { steps: 28, fill: Fill::Value(0.0), output: Output::default() }
    }
}

impl DeletionParams {
    /// The checked metric.
    pub fn check(self) -> Result<Deletion> {
        check_steps(self.steps)?;
        self.fill.check()?;
        Ok(Deletion { params: self })
    }
}

pub(super) fn check_steps(steps: usize) -> Result<()> {
    if (1..=10_000).contains(&steps) { Ok(()) } else { Err(Error::parameter("steps", "1 to 10000", steps)) }
}

/// Checked deletion.
#[derive(Clone, Debug)]
pub struct Deletion {
    params: DeletionParams,
}

impl Deletion {
    /// Scores of each example, from nothing removed to everything.
    pub fn curves(&self, subject: &Subject<'_>) -> Result<Vec<Vec<f64>>> {
        let counts = even_counts(subject.area(), self.params.steps);
        let curves = curve(subject, Gone::Most, &counts, self.params.fill, self.params.output)?;
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

    fn score(&self, subject: &Subject<'_>) -> Result<Scores> {
        Ok(vec![self.curves(subject)?.iter().map(|c| Some(area_under(c))).collect()])
    }
}
