//! What came of teams at play.

use crate::run::{MethodRecord, ModelFile, ThreatRecord};
use crate::scene::SceneRecord;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One episode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpisodePlayed {
    /// Its seed.
    pub seed: u64,
    /// Its return: mean reward of the agents, summed over steps.
    pub value: f64,
    /// Steps.
    pub steps: u64,
    /// Views that were changed.
    pub attacked: u64,
    /// Changed views whose greedy action is another one.
    pub flipped: u64,
    /// How often each event happened.
    pub events: BTreeMap<String, u64>,
}

impl EpisodePlayed {
    /// Before the first step.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }
}

/// A figure with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReturnFigure {
    /// Over all episodes.
    pub value: f64,
    /// Bootstrap over episodes.
    pub interval: [f64; 2],
}

/// Returns of one way to play.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayedRecord {
    /// What was played, such as `clean` or the attack's id.
    pub name: String,
    /// Interference, if any.
    pub method: Option<MethodRecord>,
    /// Its victims.
    pub victims: Vec<usize>,
    /// Mean return.
    pub mean: ReturnFigure,
    /// (R − R_random) / (R_clean − R_random); absent where clean play is no better than random.
    pub normalised: Option<ReturnFigure>,
    /// Share of the changed views whose greedy action is another one, in `[0, 1]`.
    pub flips: f64,
    /// Every episode.
    pub episodes: Vec<EpisodePlayed>,
}

/// A team under attack: `agents-attack.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TeamAttackRecord {
    /// Version of the tool.
    pub version: String,
    /// Policy.
    pub model: ModelFile,
    /// Environment.
    pub env: String,
    /// How agents act: `sampled` or `greedy`.
    pub draw: String,
    /// What may be changed.
    pub threat: ThreatRecord,
    /// Clean, random, and every attack.
    pub played: Vec<PlayedRecord>,
    /// Name of the attack that costs most.
    pub worst: Option<String>,
}

/// A map over the cells of the world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorldMap {
    /// Row by row; none where nobody sees the cell.
    pub values: Vec<Option<f64>>,
}

/// What one agent saw and did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentFrame {
    /// Action taken.
    pub action: String,
    /// Action explained: the one of the largest score.
    pub greedy: String,
    /// The one that it was weighed against.
    pub against: String,
    /// Probability of each action.
    pub probabilities: Vec<f64>,
    /// max π − min π, in `[0, 1]`.
    pub stake: f64,
    /// Evidence for the action over the alternative, cell by cell.
    pub map: WorldMap,
    /// The objects behind it, most weight first: words, exact Shapley value.
    pub objects: Vec<(String, f64)>,
    /// Cells whose shown values differ from the true ones, as the largest difference.
    pub changed: WorldMap,
}

/// One picture of a strip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StripFrame {
    /// Steps before it.
    pub step: u64,
    /// Return so far.
    pub value: f64,
    /// The world.
    pub scene: SceneRecord,
    /// Agents.
    pub agents: Vec<AgentFrame>,
    /// What the team points at together.
    pub consensus: WorldMap,
    /// Where its agents differ, in `[0, 1]` of the map's scale.
    pub disagreement: WorldMap,
    /// Events of the step, as words.
    pub events: Vec<String>,
}

/// One episode as a strip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StripRow {
    /// `clean`, or what interferes.
    pub name: String,
    /// Its return.
    pub value: f64,
    /// Return so far, after each step.
    pub course: Vec<f64>,
    /// Mean stake of the agents at each step.
    pub stakes: Vec<f64>,
    /// Pictures.
    pub frames: Vec<StripFrame>,
}

/// A film strip: `strip.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StripRecord {
    /// Version of the tool.
    pub version: String,
    /// Policy.
    pub model: ModelFile,
    /// Environment.
    pub env: String,
    /// Names of the actions.
    pub actions: Vec<String>,
    /// Seed of the episode.
    pub seed: u64,
    /// What interferes in the rows behind the first, in words; empty for nothing.
    pub attack: String,
    /// Clean, then attacked.
    pub rows: Vec<StripRow>,
    /// Deletion: how the return falls as objects are erased; absent if it was not measured.
    pub deletion: Option<DeletionRecord>,
}

/// How returns fall as objects are erased from every view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeletionRecord {
    /// Shares of the objects that are erased.
    pub shares: Vec<f64>,
    /// Orders: what each is called, and the normalised return at each share.
    pub orders: Vec<(String, Vec<ReturnFigure>)>,
    /// Area between least and most important first, in normalised return.
    pub area: ReturnFigure,
    /// Episodes of each point.
    pub episodes: usize,
}
