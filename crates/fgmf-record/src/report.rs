//! Records of a report: models side by side, their accuracy against eps, and images.

use crate::attack::CurvePoint;
use crate::gallery::MapFacts;
use crate::map::MapRecord;
use crate::proportion::Proportion;
use crate::run::{DataRecord, MachineRecord, ThreatRecord};
use crate::training::EpochRecord;
use serde::{Deserialize, Serialize};

/// All a report page needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportRecord {
    /// Version of the tool.
    pub version: String,
    /// The command that makes this report again.
    pub command: String,
    /// Seed.
    pub seed: u64,
    /// Whole wall time, seconds.
    pub seconds: f64,
    /// Machine.
    pub machine: MachineRecord,
    /// Training data.
    pub train: DataRecord,
    /// Test data.
    pub test: DataRecord,
    /// Threat of the cases and of the headline.
    pub threat: ThreatRecord,
    /// The attack in words, e.g. `PGD, 20 steps, 1 restart`.
    pub attack: String,
    /// Models: the hardened one first.
    pub models: Vec<ModelRecord>,
    /// Explanation figures over many examples.
    pub explanations: Vec<MeanRecord>,
    /// Image pages.
    pub cases: Vec<CaseRecord>,
    /// Every parameter of attack and explainers, as JSON.
    pub settings: serde_json::Value,
    /// What is still to come, in plain words; empty once the run is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// What a shorter run left out, in plain words; empty for a whole run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shortened: String,
}

/// A model in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Key used by the other records: `fgmf`, `standard`.
    pub id: String,
    /// As shown to people.
    pub title: String,
    /// Architecture name.
    pub architecture: String,
    /// Objective name; empty for a model that came in and was not trained in this run.
    pub objective: String,
    /// File name beside the report.
    pub file: String,
    /// Hash of that file, hexadecimal.
    pub sha256: String,
    /// Trainable numbers in it.
    pub parameters: usize,
    /// Training log.
    pub training: Vec<EpochRecord>,
    /// Accuracy on unattacked images.
    pub clean: Proportion,
    /// Mean cross-entropy on unattacked images; absent in records of older versions, or where it is
    /// not finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_loss: Option<f64>,
    /// Accuracy against eps.
    pub curve: Vec<CurvePoint>,
    /// Names of the attacks behind the curve, in order; unknown in records of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attacks: Vec<String>,
    /// Why interval bounds say nothing of this model; empty where they were asked, and in records
    /// of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unbounded: String,
    /// Ids of the signs of gradient masking that were looked for.
    pub checks: Vec<String>,
    /// Those found, in plain words; empty when none was seen.
    pub flags: Vec<String>,
    /// Every setting of training, as JSON.
    pub settings: serde_json::Value,
}

/// A mean over examples with its 95% interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanRecord {
    /// [`ModelRecord::id`].
    pub model: String,
    /// What was measured, e.g. `top-10% overlap of PGCA, clean against attacked`.
    pub name: String,
    /// One sentence on how to read it.
    pub reading: String,
    /// Mean.
    pub mean: f64,
    /// 95% interval of the mean (normal approximation).
    pub interval: [f64; 2],
    /// Examples.
    pub n: usize,
}

/// One image of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseRecord {
    /// Index in the data set.
    pub index: usize,
    /// True label.
    pub label: usize,
    /// The clean image.
    pub image: MapRecord,
    /// One entry a model.
    pub views: Vec<CaseView>,
}

/// How one model sees one image, before and after the attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseView {
    /// [`ModelRecord::id`].
    pub model: String,
    /// Predicted label and its probability on the clean image.
    pub clean_prediction: (usize, f64),
    /// Predicted label and its probability on the attacked image.
    pub attacked_prediction: (usize, f64),
    /// Attacked minus clean image (signed).
    pub perturbation: MapRecord,
    /// The attacked image.
    pub attacked: MapRecord,
    /// SGAM mask on the clean and the attacked image, if the model has one.
    pub mask: Option<[MapRecord; 2]>,
    /// PGCA of the true label before and after the attack, in `[0, 1]`.
    pub pgca: [MapRecord; 2],
    /// Integrated Gradients of the true label before and after (signed).
    pub integrated_gradients: [MapRecord; 2],
    /// Figures under the pictures.
    pub figures: Vec<Figure>,
    /// What is known of the maps before and after the attack: of PGCA, then of Integrated
    /// Gradients.
    pub facts: [[MapFacts; 2]; 2],
}

/// A figure beside a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Short name, e.g. `agreement (Spearman)`.
    pub name: String,
    /// Value.
    pub value: f64,
    /// One sentence on how to read it.
    pub reading: String,
}
