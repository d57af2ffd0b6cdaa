//! Records of an evaluation of explanations.

use crate::mean::mean_interval;
use crate::run::{BuildRecord, DataRecord, MethodRecord, ModelFile, ThreatRecord};
use crate::words::Direction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One kind of input: the same examples, clean or attacked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputRecord {
    /// `clean`, or the attack's name.
    pub name: String,
    /// What made it.
    pub parameters: serde_json::Value,
    /// Class predicted, one an example.
    pub predicted: Vec<usize>,
    /// Class explained, one an example.
    pub explained: Vec<usize>,
}

/// One figure of one explainer on one kind of input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureRow {
    /// Explainer.
    pub explainer: String,
    /// Metric.
    pub metric: String,
    /// Figure of the metric.
    pub figure: String,
    /// Input.
    pub input: String,
    /// Which way is better.
    pub better: Direction,
    /// Examples with a value.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Standard deviation over examples.
    pub deviation: f64,
    /// 95% interval of the mean (normal approximation).
    pub interval: [f64; 2],
    /// One an example; none where the figure is not defined.
    pub values: Vec<Option<f64>>,
}

impl FigureRow {
    /// A row of these values.
    pub fn new(
        [explainer, metric, figure, input]: [&str; 4],
        better: Direction,
        values: Vec<Option<f64>>,
    ) -> Self {
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let (mean, interval) = mean_interval(&known);
        let n = known.len();
        let square: f64 = known.iter().map(|v| (v - mean).powi(2)).sum();
        let deviation = if n > 1 {
            (square / (n - 1) as f64).sqrt()
        } else {
            0.0
        };
        Self {
            explainer: explainer.into(),
            metric: metric.into(),
            figure: figure.into(),
            input: input.into(),
            better,
            n,
            mean,
            deviation,
            interval,
            values,
        }
    }

    /// The row with further examples behind its own.
    #[must_use]
    pub fn with_more(&self, values: &[Option<f64>]) -> Self {
        let names = [&self.explainer, &self.metric, &self.figure, &self.input].map(String::as_str);
        Self::new(names, self.better, [&self.values, values].concat())
    }
}

/// How many maps of an explainer on one kind of input are the same everywhere: nothing was found
/// for the class. They have no figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NothingFound {
    /// Explainer.
    pub explainer: String,
    /// Input.
    pub input: String,
    /// Such maps.
    pub maps: usize,
}

/// A test of paired differences against 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairedTest {
    /// t, or the smaller sum of signed ranks.
    pub statistic: f64,
    /// Two-sided probability of a result at least as far from 0 if there were no difference.
    pub p: f64,
    /// Differences that took part.
    pub n: usize,
}

/// Differences of two figures on the same examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairedDifference {
    /// Examples with both values.
    pub n: usize,
    /// Mean of second less first.
    pub difference: f64,
    /// 95% interval of that mean (normal approximation).
    pub interval: [f64; 2],
    /// Paired t-test, two-sided.
    pub t: PairedTest,
    /// Wilcoxon signed-rank test, two-sided.
    pub wilcoxon: PairedTest,
}

/// An explainer on two kinds of input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputTest {
    /// Explainer.
    pub explainer: String,
    /// Figure.
    pub figure: String,
    /// First and second input.
    pub inputs: [String; 2],
    /// Second less first.
    #[serde(flatten)]
    pub paired: PairedDifference,
}

/// Two explainers on one kind of input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainerTest {
    /// Figure.
    pub figure: String,
    /// Input.
    pub input: String,
    /// First and second explainer.
    pub explainers: [String; 2],
    /// Second less first.
    #[serde(flatten)]
    pub paired: PairedDifference,
    /// p of the signed-rank test, corrected by Holm over all pairs of explainers for this figure
    /// and input.
    pub holm: f64,
}

/// The entropy-weighted score of the five criteria on one kind of input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CriteriaRow {
    /// Input.
    pub input: String,
    /// Criteria, in the order of the weights.
    pub criteria: Vec<String>,
    /// Weights, which sum to 1.
    pub weights: Vec<f64>,
    /// Explainers with their scores, 0 to 1, higher is better.
    pub scores: Vec<(String, f64)>,
}

/// `evaluation.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Model.
    pub model: ModelFile,
    /// Data.
    pub data: DataRecord,
    /// Threat of the attacked inputs and of the attacked stability.
    pub threat: ThreatRecord,
    /// Seed.
    pub seed: u64,
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    #[serde(default)]
    pub build: BuildRecord,
    /// Inputs.
    pub inputs: Vec<InputRecord>,
    /// Explainers.
    pub explainers: Vec<MethodRecord>,
    /// Metrics.
    pub metrics: Vec<MethodRecord>,
    /// Figures.
    pub rows: Vec<FigureRow>,
    /// Maps without figures, where there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nothing_found: Vec<NothingFound>,
    /// What the model does to the scores that are explained, if it squashes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_before: Option<String>,
    /// The first input against each of the others.
    pub input_tests: Vec<InputTest>,
    /// Every pair of explainers.
    pub explainer_tests: Vec<ExplainerTest>,
    /// The five criteria as one score, if they were asked for.
    #[serde(default)]
    pub criteria: Vec<CriteriaRow>,
}
