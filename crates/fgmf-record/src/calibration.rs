//! The record of a calibration of maps: from which agreement on a map is shown, and with which
//! promise.

use crate::run::{BuildRecord, DataRecord, MethodRecord, ModelFile};
use serde::{Deserialize, Serialize};

/// What is promised of the maps that are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromiseRecord {
    /// Maps with an agreement above this are shown; the least number there is if all are.
    pub threshold: f64,
    /// Maps of the calibration that are shown.
    pub shown: usize,
    /// Bad ones among them.
    pub bad: usize,
    /// P(Bin(shown, alpha) ≤ bad), at most delta.
    pub p: f64,
    /// Shown of all images, 0 to 1.
    pub share: f64,
}

/// A map of the calibration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationPair {
    /// What the explainer says of how well its parts agree.
    pub agreement: f64,
    /// What the metric says of the map.
    pub figure: f64,
}

/// `calibration.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapCalibrationRecord {
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    #[serde(default)]
    pub build: BuildRecord,
    /// Model.
    pub model: ModelFile,
    /// Data.
    pub data: DataRecord,
    /// Explainer.
    pub explainer: MethodRecord,
    /// Metric that says which maps are bad.
    pub metric: MethodRecord,
    /// Seed.
    pub seed: u64,
    /// Largest share of bad maps among those shown.
    pub alpha: f64,
    /// Probability that the promise does not hold.
    pub delta: f64,
    /// A map is bad if the metric gives it less.
    pub tau: f64,
    /// Share of the images that the strictest threshold shows.
    pub start: f64,
    /// Absent if nothing can be promised.
    pub promise: Option<PromiseRecord>,
    /// One an image; absent where the explainer itself withholds the map.
    pub pairs: Vec<Option<CalibrationPair>>,
}
