//! A team's world at one moment, as a picture shows it.

use serde::{Deserialize, Serialize};

/// A world of cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SceneRecord {
    /// Rows of cells, each of words such as `floor`, `counter`, `wall`.
    pub tiles: Vec<Vec<String>>,
    /// What lies or stands on cells.
    pub things: Vec<ThingRecord>,
    /// Agents, by number.
    pub agents: Vec<AgentRecord>,
}

/// A thing on a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThingRecord {
    /// Row and column.
    pub at: [usize; 2],
    /// Word, such as `onion`.
    pub what: String,
    /// A few characters more, such as the time left; empty for none.
    pub note: String,
}

/// An agent on a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Row and column.
    pub at: [usize; 2],
    /// Rows and columns from its cell to the one that it faces; zeros if it faces none.
    pub facing: [i8; 2],
    /// What it holds, if anything.
    pub holds: Option<String>,
}
