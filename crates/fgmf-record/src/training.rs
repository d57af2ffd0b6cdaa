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
    /// What was looked at on some training images at its end, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<MonitorRecord>,
}

/// How a network stands on some of the images it trains on, at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorRecord {
    /// Share right under PGD at the radius trained against.
    pub robust: f64,
    /// Whether the objective's own search leaves far more right: catastrophic overfitting.
    pub collapsed: bool,
    /// Whether the epoch had collapsed, was taken back and trained again with PGD; the rest of this
    /// record is of the epoch as it was trained again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// Mean 1-norm of the loss gradient over the salient fifth of the pixels.
    pub salient: f64,
    /// Over the other pixels.
    pub rest: f64,
    /// Mean cosine between an image and the gradient of its class score, without sign.
    pub alignment: f64,
    /// Mean of the largest eigenvalue of the loss's Hessian in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<f64>,
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
