//! What an attack is: a small trait for each kind of access, and what it hands back.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::{Gradients, Scores};
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

/// Where a search starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The image.
    Clean,
    /// A random point of the ball, another one each restart.
    Random,
}

/// What an attack hands back for the sealed entry to check.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Best point found for each example.
    pub x: Tensor,
    /// How each search ended.
    pub endings: Vec<Ending>,
}

/// The seed of a search's draws, and the right to search. Only the sealed entry makes one
/// ([`run_attack`](crate::attack::run_attack)), so that no point counts that it did not
/// project and judge. An attack hands it on to the attack inside it.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// For the streams of random numbers.
    pub fn value(self) -> u64 {
        self.0
    }
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
        seed: Seed,
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
        seed: Seed,
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
}

/// Rows of values as images of the batch's shape.
pub(crate) fn images<'a>(batch: &Batch, rows: impl ExactSizeIterator<Item = &'a [f32]>) -> Tensor {
    let mut shape = batch.x.shape().to_vec();
    shape[0] = rows.len();
    let mut values = Vec::with_capacity(shape.iter().product());
    rows.for_each(|r| values.extend_from_slice(r));
    Tensor::new(&shape, values)
}
