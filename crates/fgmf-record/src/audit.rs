//! Records of an audit: figures with what they rest on, checks that were stated beforehand, and
//! what was not looked at.

use crate::attack::VerdictRecord;
use crate::evaluation::PairedDifference;
use crate::passes::Passes;
use crate::run::{BuildRecord, DataRecord, MethodRecord, ModelFile, ThreatRecord};
use crate::words::{CheckOutcome, Direction, IntervalKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `audit.json`. It holds no time and no machine: the same model, data, policy and build give the
/// same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Version of this format.
    pub format: u32,
    /// Title, from the policy.
    pub title: String,
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    pub build: BuildRecord,
    /// The policy: what was to be measured, and what had to hold.
    pub policy: PolicyRecord,
    /// The model's file.
    pub model: ModelFile,
    /// The model's graph.
    pub graph: GraphFacts,
    /// The images.
    pub data: DataRecord,
    /// Images of each class.
    pub class_counts: Vec<usize>,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// What all checks add up to: the worst of them.
    pub outcome: CheckOutcome,
    /// What was stated beforehand, and whether it holds.
    pub checks: Vec<AuditCheck>,
    /// Every figure.
    pub figures: Vec<AuditFigure>,
    /// Clean images by true class (row) and class named (column).
    pub confusion: Vec<Vec<usize>>,
    /// Probability named against share right, on clean images.
    pub calibration: Vec<CalibrationBin>,
    /// One row a radius, in rising order.
    pub robustness: Vec<RobustnessRow>,
    /// One row a change of the images that nobody chose to do harm.
    pub resilience: Vec<ResilienceRow>,
    /// How explanations differ between a clean image and the image that broke the model.
    pub shifts: Vec<ShiftRow>,
    /// Explainers that were measured, with every setting.
    pub explainers: Vec<MethodRecord>,
    /// What was tested, and what was not.
    pub coverage: Coverage,
    /// One row an image.
    pub examples: Vec<AuditExample>,
}

/// A policy as it was when the audit began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRecord {
    /// SHA-256 of the file.
    pub sha256: String,
    /// Suite of attacks.
    pub suite: String,
    /// The thresholds.
    pub thresholds: Vec<ThresholdRecord>,
    /// Worst masking verdict that is allowed.
    pub worst_verdict: crate::words::Level,
}

/// A threshold of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThresholdRecord {
    /// Id of a figure.
    pub figure: String,
    /// Least value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// Largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
}

/// What is known of a graph without running it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GraphFacts {
    /// Channels, height and width.
    pub image: [usize; 3],
    /// Classes.
    pub classes: usize,
    /// Numbers that are stored.
    pub stored_numbers: usize,
    /// Operators that squash the scores at the end, if any do.
    pub scores_squashed_by: Vec<String>,
}

/// A figure with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditFigure {
    /// Id, unique in the record.
    pub id: String,
    /// What it is, in words.
    pub what: String,
    /// Value.
    pub value: f64,
    /// 95% interval.
    pub interval: [f64; 2],
    /// How the interval was made.
    pub interval_by: IntervalKind,
    /// Images behind it.
    pub n: usize,
    /// Images that count, where the value is a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Which way is better.
    pub better: Direction,
    /// What the figure does not say.
    pub limits: String,
}

/// Something stated beforehand, and whether it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditCheck {
    /// Id, unique in the record.
    pub id: String,
    /// The condition in words.
    pub condition: String,
    /// Whether it holds.
    pub outcome: CheckOutcome,
    /// What was found.
    pub found: String,
}

/// Clean images to whose class the model gave a probability between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalibrationBin {
    /// Above this (0 belongs to the first bin).
    pub above: f64,
    /// Up to this.
    pub up_to: f64,
    /// Images.
    pub n: usize,
    /// Images that were right.
    pub right: usize,
    /// Mean probability, 0 where there is no image.
    pub confidence: f64,
}

/// What attacks did at one radius.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RobustnessRow {
    /// What the attacker may do.
    pub threat: ThreatRecord,
    /// The radius as the policy writes it; figures are named by it.
    pub eps: String,
    /// One row an attack, in order.
    pub attacks: Vec<AuditAttack>,
    /// Masking verdict.
    pub verdict: VerdictRecord,
    /// Name of the file that holds every image that broke the model.
    pub adversarial: String,
    /// SHA-256 of that file.
    pub adversarial_sha256: String,
}

/// What one attack did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditAttack {
    /// Name.
    pub name: String,
    /// Images that stood before it.
    pub attempted: usize,
    /// Images that it broke.
    pub broken: usize,
    /// Passes that it made.
    pub passes: Passes,
    /// Every setting.
    pub settings: serde_json::Value,
}

/// The same images, changed by something other than an attacker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResilienceRow {
    /// Id of the change.
    pub id: String,
    /// The change in words.
    pub what: String,
    /// Clean against changed.
    pub against_clean: PairedCounts,
}

/// The same images under two conditions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairedCounts {
    /// Images.
    pub n: usize,
    /// Right under the first alone.
    pub only_first: usize,
    /// Right under the second alone.
    pub only_second: usize,
    /// Share right under the second less that under the first.
    pub difference: f64,
    /// 95% interval of the difference (normal approximation).
    pub interval: [f64; 2],
    /// Exact two-sided p of McNemar's test.
    pub p: f64,
}

/// How a figure of an explainer differs between clean images and those that broke the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShiftRow {
    /// Explainer.
    pub explainer: String,
    /// Figure.
    pub figure: String,
    /// Attacked less clean.
    pub paired: PairedDifference,
}

/// What was tested, by ids of public vocabularies, and what was not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// The vocabularies, with their versions.
    pub vocabularies: Vec<String>,
    /// Threats that something here looked at. That is no claim that they are ruled out.
    pub tested: Vec<CoverageItem>,
    /// Threats that nothing here looked at.
    pub not_tested: Vec<CoverageItem>,
}

/// A threat of a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoverageItem {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What looked at it, or why nothing did.
    pub by: String,
}

/// One image of an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExample {
    /// Position in the data.
    pub index: usize,
    /// True class.
    pub label: usize,
    /// Class named on the clean image.
    pub predicted: usize,
    /// Whether the clean image was right: one class alone on top, and it was the label.
    pub right: bool,
    /// Whether it still was right after every attack, one a radius.
    pub robust: Vec<bool>,
}

/// Two audits of the same images: a before and an after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditComparison {
    /// Model hashes, first and second.
    pub models: [String; 2],
    /// Images that both have.
    pub n: usize,
    /// One row a condition that both measured.
    pub rows: Vec<FigureDifference>,
}

/// How often two models were right on the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureDifference {
    /// Id of the figure.
    pub figure: String,
    /// Share right, first and second.
    pub values: [f64; 2],
    /// The pairs.
    pub paired: PairedCounts,
    /// p of McNemar's test, corrected by Holm over all rows.
    pub holm: f64,
}

impl AuditRecord {
    /// A figure by its id.
    pub fn figure(&self, id: &str) -> Option<&AuditFigure> {
        self.figures.iter().find(|f| f.id == id)
    }

    /// The JSON Schema of `audit.json`, made of this type.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}
