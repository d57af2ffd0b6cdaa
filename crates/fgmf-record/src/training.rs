//! The log of a training.

use crate::proportion::Proportion;
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
    /// How the network did at its end on images held out, if some are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationRecord>,
}

/// How a network does on images that are held out of its training data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// Right without attack.
    pub clean: Proportion,
    /// Right under attack at the radius trained against.
    pub robust: Proportion,
}

impl ValidationRecord {
    /// What is compared: more that withstand, of equals more that are right.
    pub fn rank(&self) -> (usize, usize) {
        (self.robust.count, self.clean.count)
    }
}
