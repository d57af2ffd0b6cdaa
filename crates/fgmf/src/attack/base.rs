//! What an attack is: a small trait for each kind of access, and what it hands back.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::method::Method;
use crate::model::access::{Gradients, Scores};
use crate::threat::{Norm, ThreatModel};
use fgmf_net::{Session, Tensor};
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

impl<A: WhiteBox + ?Sized> WhiteBox for Box<A> {
    fn id(&self) -> &'static str {
        (**self).id()
    }

    fn parameters(&self) -> serde_json::Value {
        (**self).parameters()
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        seed: Seed,
    ) -> Result<Candidate> {
        (**self).perturb(model, batch, threat, seed)
    }
}

/// What an attack is made of besides its settings. The list hands it over, so that no attack knows
/// the list.
pub(crate) struct Given<'a> {
    /// Makes the attack inside another one, from its id and settings.
    pub(crate) make: &'a dyn Fn(&str, serde_json::Value) -> Result<Attack>,
    /// A network that the attacker holds.
    pub(crate) surrogate: Option<&'a Session>,
}

impl Given<'_> {
    /// The attack of that id, which must follow gradients.
    pub(crate) fn white(&self, id: &str, settings: serde_json::Value) -> Result<Box<dyn WhiteBox>> {
        match (self.make)(id, settings)? {
            Attack::White(attack) => Ok(attack),
            Attack::Black(_) => {
                let expected = "an attack that follows gradients";
                Err(Error::parameter("attack", expected, id))
            }
        }
    }
}

/// Settings in a suite, for a norm and a number of classes.
pub(crate) type SuiteSettings = fn(Norm, usize) -> serde_json::Value;

/// A name of an attack in suites.
pub(crate) struct SuiteName {
    pub(crate) name: &'static str,
    /// What the name stands for.
    pub(crate) settings: SuiteSettings,
    /// What it stands for inside a wrapper, if wrappers take it.
    pub(crate) inside: Option<SuiteSettings>,
}

/// How suites name an attack around another one.
pub(crate) struct Wrapper {
    /// Follows the name of the attack inside.
    pub(crate) ending: &'static str,
    /// Settings around an attack of this id and these settings.
    pub(crate) around: fn(&str, serde_json::Value) -> serde_json::Value,
}

/// How an attack is made, and what suites call it.
pub(crate) struct AttackBuild {
    /// From its settings.
    pub(crate) make: fn(serde_json::Value, &Given<'_>) -> Result<Attack>,
    /// Its names in suites.
    pub(crate) names: &'static [SuiteName],
    /// How it wraps other attacks in suites, if it does.
    pub(crate) wrapper: Option<Wrapper>,
}

/// An attack's entry in the list.
pub(crate) type AttackMethod = Method<AttackBuild>;

/// Rows of values as images of the batch's shape.
pub(crate) fn images<'a>(batch: &Batch, rows: impl ExactSizeIterator<Item = &'a [f32]>) -> Tensor {
    let mut shape = batch.x.shape().to_vec();
    shape[0] = rows.len();
    let mut values = Vec::with_capacity(shape.iter().product());
    rows.for_each(|r| values.extend_from_slice(r));
    Tensor::new(&shape, values)
}
