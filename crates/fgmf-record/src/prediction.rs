//! Records of predictions.

use crate::attack::Accuracy;
use crate::run::{BuildRecord, DataRecord, ModelFile};
use serde::{Deserialize, Serialize};

/// `predictions.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictionRecord {
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    pub build: BuildRecord,
    /// Model, and how images were prepared for it.
    pub model: ModelFile,
    /// Data, if the images are of a data set.
    pub data: Option<DataRecord>,
    /// What the model does to its scores at the end; logits are the values before it.
    pub scores_before: Option<String>,
    /// Share of right answers, where the labels are known.
    pub accuracy: Option<Accuracy>,
    /// One row an image, in order.
    pub images: Vec<PredictionRow>,
    /// Files that were left out because they could not be used, with the reason.
    pub left_out: Vec<String>,
}

/// What a model says of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictionRow {
    /// File, or number in the data.
    pub image: String,
    /// True class, if known.
    pub label: Option<usize>,
    /// Class with the largest score, the first of equals.
    pub class: usize,
    /// The most probable classes, at most five, best first.
    pub top: Vec<ScoredClass>,
}

/// A class and its scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredClass {
    /// Number.
    pub class: usize,
    /// Name, where the model has one.
    pub name: Option<String>,
    /// Probability: softmax of the logits, or of each class its own where the model ends in a
    /// sigmoid.
    pub probability: f64,
    /// Score before that.
    pub logit: f64,
}
