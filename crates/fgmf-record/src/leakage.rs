//! Records of what served maps give to attackers by scores.

use crate::passes::Passes;
use crate::proportion::Proportion;
use crate::run::{BuildRecord, DataRecord, MethodRecord, ModelFile, ThreatRecord};
use serde::{Deserialize, Serialize};

/// `leakage.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeakageRecord {
    /// Hash of the model file.
    pub model: ModelFile,
    /// Data.
    pub data: DataRecord,
    /// Threat.
    pub threat: ThreatRecord,
    /// What is served: `scores`, `maps` or `mask`.
    pub served: String,
    /// What makes the maps, before a form reduces them; absent where scores alone are served.
    pub explainer: Option<MethodRecord>,
    /// Attacks, in the order of the rows.
    pub attacks: Vec<MethodRecord>,
    /// Most queries of an attack on one image.
    pub budget: u64,
    /// Queries of an attack on one image that come with a map; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maps: Option<u64>,
    /// Seed of attacks, explanations and intervals.
    pub seed: u64,
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    pub build: BuildRecord,
    /// Images whose answer is right; these are attacked and explained.
    pub clean: Proportion,
    /// One row an attack that sees scores alone.
    pub blind: Vec<BlindRow>,
    /// One row an attack that sees scores, and takes the image itself for its map.
    pub by_image: Vec<BlindRow>,
    /// Mean faithfulness of the maps as they are made, with its 95% interval: LeRF minus MoRF under
    /// ROAD. Absent where scores alone are served.
    pub faithfulness: Option<(f64, [f64; 2])>,
    /// Forms in which maps are served: the explainer `served-form` and its settings.
    pub forms: Vec<MethodRecord>,
    /// One a form.
    pub leaks: Vec<LeakageForm>,
    /// Passes of everything: searches, maps, faithfulness.
    pub passes: Passes,
    /// One row an image that was attacked.
    pub images: Vec<LeakageImage>,
}

/// An attack without served maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlindRow {
    /// Its id.
    pub attack: String,
    /// Images that fall within the budget.
    pub success: Proportion,
    /// Mean queries; of an image that stands, the budget.
    pub mean: f64,
    /// Median queries; of an image that stands, the budget.
    pub median: f64,
}

/// Maps in one form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeakageForm {
    /// Bits served with each map.
    pub bits_served: usize,
    /// Mean faithfulness, with its 95% interval.
    pub faithfulness: (f64, [f64; 2]),
    /// Mean faithfulness over that of the maps as they are made, with its paired bootstrap 95%
    /// interval; absent where that may be 0 or less.
    pub kept: Option<(f64, [f64; 2])>,
    /// One row an attack.
    pub rows: Vec<GuidedRow>,
    /// All attacks together, beside those by scores alone.
    pub all: QueryRatio,
    /// All attacks together, beside those that take the image for its map.
    pub all_over_image: QueryRatio,
}

/// An attack that sees maps, beside itself without them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuidedRow {
    /// Its id.
    pub attack: String,
    /// Images that fall within the budget.
    pub success: Proportion,
    /// Mean queries; of an image that stands, the budget.
    pub mean: f64,
    /// Median queries; of an image that stands, the budget.
    pub median: f64,
    /// Queries beside those of the attack by scores alone.
    pub ratio: QueryRatio,
    /// Queries beside those of the attack that takes the image for its map.
    pub over_image: QueryRatio,
}

/// Queries with maps over queries without, of the images that fall to either. An image that stands
/// counts with the budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryRatio {
    /// Pairs of searches of which at least one ended in success.
    pub n: usize,
    /// Ratio of the sums, with its paired bootstrap 95% interval over images; absent where nothing
    /// falls.
    pub ratio: Option<(f64, [f64; 2])>,
}

/// What was done to an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeakageImage {
    /// Position in the data set.
    pub index: usize,
    /// Label, which the model names.
    pub label: usize,
    /// By attack: queries to success without maps; `null` where the image stands.
    pub blind: Vec<Option<u64>>,
    /// By attack: queries to success with the image itself for its map.
    pub by_image: Vec<Option<u64>>,
    /// By form, then by attack: queries to success with maps.
    pub guided: Vec<Vec<Option<u64>>>,
    /// Faithfulness of the map as it is made, then of each form.
    pub faithfulness: Vec<f64>,
}
