//! Plain data of runs: what was done, on what, and what came out. No tensors, no behaviour beyond
//! arithmetic on counts; `report` and the command line read nothing else.

mod evaluation;
mod gallery;

pub use evaluation::{
    CriteriaRow, EvaluationRecord, ExplainerTest, FigureRow, InputRecord, InputTest, MethodRecord,
    PairedDifference,
};
pub use gallery::{GalleryRecord, ImageRecord, MapFacts, MapPicture, ViewPictures, ViewRecord};

use serde::{Deserialize, Serialize};

/// A proportion with its Wilson 95% score interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// Successes.
    pub count: usize,
    /// Trials.
    pub n: usize,
    /// `count / n`, 0 when `n` is 0.
    pub value: f64,
    /// Wilson score interval at 95%, `[0, 1]` when `n` is 0.
    pub interval: [f64; 2],
}

impl Proportion {
    /// Counts to proportion: centre `(p + z²/2n) / (1 + z²/n)`, half width
    /// `z √(p(1-p)/n + z²/4n²) / (1 + z²/n)`, z = 1.96 (Wilson 1927).
    pub fn new(count: usize, n: usize) -> Self {
        if n == 0 {
            return Self {
                count,
                n,
                value: 0.0,
                interval: [0.0, 1.0],
            };
        }
        let (p, n_f, z) = (count as f64 / n as f64, n as f64, 1.959_963_984_540_054_f64);
        let scale = 1.0 + z * z / n_f;
        let centre = (p + z * z / (2.0 * n_f)) / scale;
        let half = z * (p * (1.0 - p) / n_f + z * z / (4.0 * n_f * n_f)).sqrt() / scale;
        Self {
            count,
            n,
            value: p,
            interval: [(centre - half).max(0.0), (centre + half).min(1.0)],
        }
    }
}

/// What the attacker may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreatRecord {
    /// `linf`, `l2` or `l1`.
    pub norm: String,
    /// Radius, in input units.
    pub eps: f64,
    /// Smallest and largest pixel value.
    pub bounds: [f64; 2],
}

/// The data a run used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    /// Name or path as given.
    pub name: String,
    /// `train` or `test`.
    pub split: String,
    /// Examples used.
    pub n: usize,
    /// Hash of the pixels and labels used, hexadecimal.
    pub sha256: String,
    /// Class names, by label.
    pub classes: Vec<String>,
}

/// The machine a run was made on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Processor as the system names it.
    pub cpu: String,
    /// Threads used.
    pub threads: usize,
}

/// A picture or a map as numbers, row by row, channel by channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapRecord {
    /// 1 (grey or a map) or 3 (colour).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels * height * width` values.
    pub values: Vec<f32>,
}

/// One epoch of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Learning rate at its end.
    pub learning_rate: f64,
    /// Named parts of the objective, means over the epoch.
    pub parts: Vec<(String, f64)>,
    /// Accuracy over the epoch, on the images as they were trained on (attacked ones, if the
    /// objective attacks).
    pub train_accuracy: f64,
    /// Wall time.
    pub seconds: f64,
}

/// Robust accuracy at one radius.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Radius, in input units.
    pub eps: f64,
    /// Examples still classified correctly after the attack.
    pub robust: Proportion,
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
    /// Objective name.
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
    /// Accuracy against eps.
    pub curve: Vec<CurvePoint>,
    /// Ids of the signs of gradient masking that were looked for.
    pub checks: Vec<String>,
    /// Those found, in plain words; empty when none was seen.
    pub flags: Vec<String>,
    /// Every setting of training, as JSON.
    pub settings: serde_json::Value,
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
    /// Why an operator should not be shown the PGCA map (clean, attacked); `None` when it can be
    /// shown.
    pub withheld: [Option<String>; 2],
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
    pub passes: crate::model::Passes,
    /// Wall time.
    pub seconds: f64,
    /// Every setting.
    pub params: serde_json::Value,
}

/// A sign of gradient masking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlagRecord {
    /// Id in kebab case.
    pub id: String,
    /// Numbers behind it.
    pub evidence: serde_json::Value,
    /// What to do.
    pub advice: String,
}

/// What the signs add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// `trustworthy`, `suspicious` or `masked`; it speaks only of the checks listed.
    pub level: String,
    /// Ids of the checks that were made.
    pub checks: Vec<String>,
    /// Those that found something.
    pub flags: Vec<FlagRecord>,
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
    /// Whether the run ended, as asked, once it was known whether `--min-robust` holds; the figures
    /// then cover the examples done.
    #[serde(default)]
    pub stopped_early: bool,
    /// Accuracy against eps, where asked for.
    #[serde(default)]
    pub curve: Vec<CurvePoint>,
}

/// A model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Path as given.
    pub file: String,
    /// Hash, hexadecimal.
    pub sha256: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Wilson's own interval for 8 of 10, and the edge cases that a normal approximation gets
    /// wrong.
    #[test]
    fn wilson_interval_matches_the_closed_form() {
        let p = Proportion::new(8, 10);
        assert!(
            (p.interval[0] - 0.490_162).abs() < 1e-5 && (p.interval[1] - 0.943_318).abs() < 1e-5,
            "{p:?}"
        );
        let none = Proportion::new(0, 20);
        assert!(
            none.interval[0].abs() < 1e-12 && (none.interval[1] - 0.161_125).abs() < 1e-5,
            "{none:?}"
        );
        let empty = Proportion::new(0, 0);
        assert!(
            empty.n == 0 && empty.interval[1] - empty.interval[0] > 0.999,
            "{empty:?}"
        );
    }
}
