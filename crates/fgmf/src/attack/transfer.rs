//! Transfer (Papernot et al. 2017): examples made on a surrogate that the attacker holds, tried on
//! the model.
//!
//! x' = A(surrogate, x) for an attack A that follows the surrogate's gradients, without an end at
//! the surrogate's own boundary: the point of its largest loss is more likely to carry over. The
//! model is asked once.
//!
//! Parameters: the surrogate and the attack, any of this library. Cost: one forward pass of the
//! model an example; the passes through the surrogate are not counted.
//!
//! Differences from the paper: (1) the surrogate is given, not trained on the model's answers.
//! Reference: `papernot2017`.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Ending, Given, Seed, WhiteBox,
};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::{FeatureGradient, Gradients, Scores};
use crate::model::answer::misclassified;
use crate::model::oracle::Oracle;
use crate::settings::read;
use crate::threat::ThreatModel;
use fgmf_net::head::Head;
use fgmf_net::{Network, Session, Tensor, ValueId, onnx};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: ID,
    line: "Makes examples on another network of the same task and tries them on the model.",
    revision: 1,
    reference: "papernot2017",
    example: r#"{"attack": "mi-fgsm", "settings": {"steps": 5}}"#,
    build: AttackBuild {
        make: |settings, given| Ok(Attack::Black(Box::new(transfer(read(settings)?, given)?))),
        names: &[],
        wrapper: None,
    },
}];

/// Settings of [`Transfer`]. The surrogate itself comes beside them; a hash must be its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TransferParams {
    /// Name of the surrogate, for the reader.
    surrogate: Option<String>,
    surrogate_sha256: Option<String>,
    /// Id of the attack on it.
    attack: String,
    /// Settings of that attack.
    settings: serde_json::Value,
}

impl Default for TransferParams {
    fn default() -> Self {
        Self {
            surrogate: None,
            surrogate_sha256: None,
            attack: "mi-fgsm".into(),
            settings: serde_json::json!({ "steps": 20 }),
        }
    }
}

fn transfer(params: TransferParams, given: &Given<'_>) -> Result<Transfer> {
    let attack = given.white(&params.attack, params.settings)?;
    let missing = || Error::mismatch(ID, "a surrogate network", "none");
    let made = Transfer::new(given.surrogate.ok_or_else(missing)?.clone(), attack);
    match params.surrogate_sha256.filter(|h| *h != made.sha256()) {
        Some(expected) => {
            let expected = format!("the surrogate with hash {expected}");
            Err(Error::mismatch(ID, expected, made.sha256()))
        }
        None => Ok(made),
    }
}

/// Id in kebab case.
pub(crate) const ID: &str = "transfer";

/// An attack on another network, tried on the model.
pub struct Transfer {
    surrogate: Session,
    attack: Box<dyn WhiteBox>,
}

impl Transfer {
    /// From a network of the same task.
    pub fn new(surrogate: Session, attack: Box<dyn WhiteBox>) -> Self {
        Self { surrogate, attack }
    }

    fn sha256(&self) -> String {
        onnx::to_bytes(&self.surrogate)
            .map_or_else(|e| e.to_string(), |bytes| crate::hash::sha256(&bytes))
    }
}

/// A surrogate: that it is fooled settles nothing.
struct StandIn<'a>(Oracle<'a>);

impl Scores for StandIn<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.0.image_shape()
    }

    fn classes(&self) -> usize {
        self.0.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.0.logits(x)
    }

    fn settles(&self) -> bool {
        false
    }
}

impl Gradients for StandIn<'_> {
    fn network(&self) -> &Network {
        self.0.network()
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        self.0.feature_gradient(x, head, at)
    }
}

impl BlackBox for Transfer {
    fn id(&self) -> &'static str {
        ID
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({
            "surrogate": self.surrogate.name,
            "surrogate_sha256": self.sha256(),
            "attack": self.attack.id(),
            "settings": self.attack.parameters(),
        })
    }

    fn perturb(
        &self,
        model: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        seed: Seed,
    ) -> Result<Candidate> {
        let (ours, theirs) = (self.surrogate.image_shape(), model.image_shape());
        if ours != theirs || self.surrogate.classes() != model.classes() {
            let describe =
                |shape: [usize; 3], k: usize| format!("images of shape {shape:?} and {k} classes");
            return Err(Error::mismatch(
                "transfer",
                describe(theirs, model.classes()),
                describe(ours, self.surrogate.classes()),
            ));
        }
        let found =
            self.attack
                .perturb(&StandIn(Oracle::new(&self.surrogate)), batch, threat, seed)?;
        let endings = match model.logits(&found.x) {
            Err(Error::Budget { .. }) => vec![Ending::BudgetExhausted; batch.len()],
            logits => {
                let broken = misclassified(&logits?, &batch.labels);
                broken
                    .into_iter()
                    .map(|b| {
                        if b {
                            Ending::Converged
                        } else {
                            Ending::StepsExhausted
                        }
                    })
                    .collect()
            }
        };
        Ok(Candidate {
            x: found.x,
            endings,
        })
    }
}
