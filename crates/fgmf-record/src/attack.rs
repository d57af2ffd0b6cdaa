//! Records of an attack.

use crate::passes::Passes;
use crate::proportion::Proportion;
use crate::run::{BuildRecord, DataRecord, ModelFile, ThreatRecord};
use crate::words::Level;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `attack.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttackRecord {
    /// Hash of the model file.
    pub model: ModelFile,
    /// Data.
    pub data: DataRecord,
    /// Threat.
    pub threat: ThreatRecord,
    /// Name of the suite.
    pub suite: String,
    /// Seed.
    pub seed: u64,
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    #[serde(default)]
    pub build: BuildRecord,
    /// Accuracy on clean images.
    pub clean: Accuracy,
    /// One row an attack, in order.
    pub attacks: Vec<AttackRow>,
    /// Worst case per example over the suite.
    pub overall: RobustAccuracy,
    /// Masking verdict.
    pub verdict: VerdictRecord,
    /// One row an example.
    pub examples: Vec<ExampleRecord>,
    /// Of the adversarial images, those that still fool the model once they are saved with 8 bits
    /// a channel. A rounded image may lie outside the ball by half a step (1/510).
    #[serde(default)]
    pub in_8_bits: Option<Proportion>,
    /// Whether the run ended, as asked, once it was known whether `--min-robust` holds; the figures
    /// then cover the examples done.
    #[serde(default)]
    pub stopped_early: bool,
    /// Accuracy against eps, where asked for.
    #[serde(default)]
    pub curve: Vec<CurvePoint>,
    /// What was asked of a model behind an address; absent for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<QueryRecord>,
}

/// What was asked of a model behind an address, in images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRecord {
    /// Images asked about, also those of requests that failed, over all kills. An image that had an
    /// answer is not asked about again.
    pub asked: u64,
    /// Of these, the images whose request was never answered.
    pub unanswered: u64,
    /// Most images that were allowed.
    pub budget: Option<u64>,
    /// Most images allowed for one example.
    pub per_image: Option<u64>,
    /// Examples that stand and whose search ended because no image was left to ask. They are no
    /// sign of robustness.
    pub cut_short: usize,
}

/// Clean accuracy with its Wilson 95% interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of examples.
    pub accuracy: f64,
    /// Examples.
    pub n: usize,
    /// Interval.
    pub interval: [f64; 2],
}

/// Robust accuracy with its Wilson 95% interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RobustAccuracy {
    /// Share of examples.
    pub robust_accuracy: f64,
    /// Interval.
    pub interval: [f64; 2],
    /// Examples.
    pub n: usize,
}

/// One attack of a suite: a row of `attack.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttackRow {
    /// Name in the suite.
    pub name: String,
    /// Share of all examples still classified correctly after this attack and those before it.
    pub robust_accuracy: f64,
    /// Wilson 95% interval.
    pub interval: [f64; 2],
    /// Examples it was run on: those that had survived what came before.
    pub attempted: usize,
    /// Examples it broke.
    pub broken: usize,
    /// Passes it made.
    pub passes: Passes,
    /// Wall time.
    pub seconds: f64,
    /// Every setting.
    pub params: serde_json::Value,
}

/// One example of an attack run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExampleRecord {
    /// Index in the data set.
    pub index: usize,
    /// True label.
    pub label: usize,
    /// Prediction on the clean image.
    pub clean_prediction: usize,
    /// Still classified correctly after every attack.
    pub robust: bool,
    /// The attack that broke it first; none if it was wrong before or stands.
    pub broken_by: Option<String>,
    /// Distance of that adversarial example in the threat's norm.
    pub distance: Option<f64>,
}

impl ExampleRecord {
    /// Whether the clean image was classified correctly: one class alone was on top, and it was the
    /// label.
    pub fn right_before(&self) -> bool {
        self.robust || self.broken_by.is_some()
    }

    /// Takes the example down: who broke it, and how far from the image.
    pub fn fall(&mut self, by: &str, distance: f64) {
        self.robust = false;
        self.broken_by = Some(by.into());
        self.distance = Some(distance);
    }
}

/// What the signs add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictRecord {
    /// It speaks only of the checks listed.
    pub level: Level,
    /// Ids of the checks that were made.
    pub checks: Vec<String>,
    /// Those that found something.
    pub flags: Vec<FlagRecord>,
}

/// A sign of gradient masking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagRecord {
    /// Id in kebab case.
    pub id: String,
    /// Whether it shows by itself that gradients miss adversarial examples that exist.
    #[serde(default)]
    pub conclusive: bool,
    /// Numbers behind it.
    pub evidence: serde_json::Value,
    /// What to do.
    pub advice: String,
}

/// Robust accuracy at one radius.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Radius, in input units.
    pub eps: f64,
    /// Examples still classified correctly after the attack.
    pub robust: Proportion,
    /// Examples whose answer is proved right in the whole ball; absent where nothing was asked to
    /// prove it, or nothing could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<Proportion>,
}
