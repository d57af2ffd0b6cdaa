//! What an attack is: a small trait for each kind of access, and what it hands back.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::{Gradients, Scores};
use crate::model::oracle::Oracle;
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// How an attack on one example ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Nothing to do: the example was misclassified before.
    AlreadyWrong,
    /// An adversarial example was found.
    Converged,
    /// Every step was made without success.
    StepsExhausted,
    /// The oracle's budget ran out.
    BudgetExhausted,
    /// The loss or its gradient was not finite.
    NonFinite,
    /// The gradient at the start was exactly zero: nothing to follow, a sign of masking.
    ZeroGradient,
}

/// What an attack hands back for the sealed entry to check.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Best point found for each example.
    pub x: Tensor,
    /// How each search ended.
    pub endings: Vec<Ending>,
}

/// An attack that follows gradients.
pub trait WhiteBox: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// Searches the ball around each example.
    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        seed: u64,
    ) -> Result<Candidate>;
}

/// An attack that sees scores only.
pub trait BlackBox: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// Searches the ball around each example.
    fn perturb(
        &self,
        model: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        seed: u64,
    ) -> Result<Candidate>;
}

/// Either kind.
pub enum Attack {
    /// Follows gradients.
    White(Box<dyn WhiteBox>),
    /// Sees scores only.
    Black(Box<dyn BlackBox>),
}

impl Attack {
    /// Id in kebab case.
    pub fn id(&self) -> &'static str {
        match self {
            Self::White(a) => a.id(),
            Self::Black(a) => a.id(),
        }
    }

    /// Every setting, for the record.
    pub fn parameters(&self) -> serde_json::Value {
        match self {
            Self::White(a) => a.parameters(),
            Self::Black(a) => a.parameters(),
        }
    }

    pub(crate) fn perturb(
        &self,
        oracle: &Oracle<'_>,
        batch: &Batch,
        threat: &ThreatModel,
        seed: u64,
    ) -> Result<Candidate> {
        match self {
            Self::White(a) => a.perturb(oracle, batch, threat, seed),
            Self::Black(a) => a.perturb(oracle, batch, threat, seed),
        }
    }
}

/// Rows of values as images of the batch's shape.
pub(crate) fn images<'a>(batch: &Batch, rows: impl ExactSizeIterator<Item = &'a [f32]>) -> Tensor {
    let mut shape = batch.x.shape().to_vec();
    shape[0] = rows.len();
    let mut values = Vec::with_capacity(shape.iter().product());
    rows.for_each(|r| values.extend_from_slice(r));
    Tensor::new(&shape, values)
}
