//! What the verdict is a function of.

use crate::record::Proportion;
use crate::verdict::threshold::{WIN_LEAST, WIN_SHARE};
use serde::{Deserialize, Serialize};

/// Examples in which something was found, and how many were looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Positions in the data set.
    pub examples: Vec<u64>,
    /// Number looked at.
    pub of: usize,
}

impl Found {
    /// Share of examples, 0 of none.
    pub fn share(&self) -> f64 {
        self.examples.len() as f64 / self.of.max(1) as f64
    }

    /// Whether the share is above this with 95% certainty: the lower end of its Wilson interval is.
    /// A share of few examples proves little.
    pub(crate) fn surely_above(&self, share: f64) -> bool {
        Proportion::new(self.examples.len(), self.of).interval[0] > share
    }

    pub(crate) fn any(&self) -> bool {
        !self.examples.is_empty()
    }
}

/// What two searches in the same ball broke.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Versus {
    /// The search that should do no better, positions in the data set.
    pub challenger: Vec<u64>,
    /// The search by the model's own gradients.
    pub reference: Vec<u64>,
    /// Examples that both were run on.
    pub of: usize,
}

impl Versus {
    /// Examples that only the challenger broke.
    pub fn wins(&self) -> Vec<u64> {
        self.challenger
            .iter()
            .copied()
            .filter(|i| !self.reference.contains(i))
            .collect()
    }

    /// Whether the challenger broke more than this share beyond the reference, with 95% certainty.
    pub(crate) fn surely_beaten_by(&self, share: f64) -> bool {
        Proportion::new(self.wins().len(), self.of).interval[0] > share
    }

    pub(crate) fn beaten(&self) -> bool {
        let wins = self.wins().len();
        wins >= WIN_LEAST && wins as f64 > WIN_SHARE * self.of as f64
    }
}

/// What a search at twice the radius did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wider {
    /// Examples broken at the radius.
    pub broken: usize,
    /// Examples broken at twice the radius.
    pub broken_at_twice: usize,
    /// Examples that stand at both, with a loss that is no larger at twice the radius; of those
    /// that stand at the radius.
    pub stuck: Found,
}

/// What was seen; `None` where nobody looked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Classes of the model.
    pub classes: usize,
    /// Examples of a model that gives no gradients.
    pub no_gradients: Option<Found>,
    /// Examples that are wrong without an attack, looked at where all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Found>,
    /// Examples of a network whose derivative goes straight through roundings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub straight_through: Option<Found>,
    /// Examples answered differently when asked again, beyond [`super::RANDOM_GAP`].
    pub randomised: Option<Found>,
    /// Examples whose outputs lie in `[0, 1]` and sum to 1.
    pub probabilities: Option<Found>,
    /// Examples with a gradient of exactly 0.
    pub zero_gradients: Option<Found>,
    /// Examples with a loss or gradient that is not finite.
    pub non_finite: Option<Found>,
    /// Examples whose margin rises by less than half of what the gradient promises.
    pub contradicted: Option<Found>,
    /// Examples for which no class is named: the largest logits are equal, or one is not finite.
    pub undecided: Option<Found>,
    /// Steps down the served loss against steps up.
    pub descent: Option<Versus>,
    /// One step against many.
    pub one_step: Option<Versus>,
    /// Scores alone against gradients.
    pub black_box: Option<Versus>,
    /// The search at twice the radius beside that at the radius.
    pub wider: Option<Wider>,
    /// Examples that stand when every pixel may take any value.
    pub unbounded: Option<Found>,
    /// Examples called robust although an adversarial example within the threat was seen.
    pub missed: Option<Found>,
    /// Standing examples whose loss still rose at the end of the search.
    pub unfinished: Option<Found>,
    /// Four times the steps on these, against the search.
    pub longer: Option<Versus>,
    /// Adversarial examples of another model against the model's own gradients.
    pub transfer: Option<Versus>,
    /// Backward rules that go around a defence, or a mean over its draws, against the gradients
    /// that are served.
    pub bypass: Option<Versus>,
    /// Scores read from inner values, fitted to the classes named, against the gradients that are
    /// served.
    pub readout: Option<Versus>,
    /// Mean relative change of the margin of standing examples under small random noise, each
    /// capped at 1.
    pub instability: Option<f64>,
    /// Examples whose cross-entropy gradient is lost to rounding: 0 where the margin has one, or
    /// apart from that in `f64`.
    pub saturated: Option<Found>,
}
