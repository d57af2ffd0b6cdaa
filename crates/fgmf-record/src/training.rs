//! The log of a training.

use serde::{Deserialize, Serialize};

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
