//! Pictures and maps as numbers.

use serde::{Deserialize, Serialize};

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
