//! Transfer (Papernot et al. 2017): examples made on a surrogate that the attacker holds, tried on the model.
//!
//! x' = A(surrogate, x) for an attack A that follows the surrogate's gradients; the model is asked once.
//!
//! Parameters: the surrogate and the attack, any of this library. Cost: one forward pass of the model an example; the
//! passes through the surrogate are not counted.
//!
//! Differences from the paper: (1) the surrogate is given, not trained on the model's answers. Reference: `papernot2017`.

use super::{Batch, BlackBox, Candidate, Ending, WhiteBox, misclassified};
use crate::error::{Error, Result};
use crate::oracle::{Oracle, Scores};
use crate::threat::ThreatModel;
use fgmf_net::Network;

/// An attack on another network, tried on the model.
pub struct Transfer {
    surrogate: Network,
    attack: Box<dyn WhiteBox>,
}

impl Transfer {
    /// From a network of the same task.
    pub fn new(surrogate: Network, attack: Box<dyn WhiteBox>) -> Self {
        Self { surrogate, attack }
    }
}

impl BlackBox for Transfer {
    fn id(&self) -> &'static str {
        "transfer"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({ "surrogate": self.surrogate.name, "attack": self.attack.id(), "settings": self.attack.parameters() })
    }

    fn perturb(&self, model: &dyn Scores, batch: &Batch, threat: &ThreatModel, seed: u64) -> Result<Candidate> {
        let (ours, theirs) = (self.surrogate.image_shape(), model.image_shape());
        if ours != theirs || self.surrogate.classes() != model.classes() {
            let describe = |shape: [usize; 3], k: usize| format!("images of shape {shape:?} and {k} classes");
            return Err(Error::mismatch("transfer", describe(theirs, model.classes()), describe(ours, self.surrogate.classes())));
        }
        let found = self.attack.perturb(&Oracle::new(&self.surrogate), batch, threat, seed)?;
        let endings = match model.logits(&found.x) {
            Err(Error::Budget { .. }) => vec![Ending::BudgetExhausted; batch.len()],
            logits => {
                let broken = misclassified(&logits?, &batch.labels);
                broken.into_iter().map(|b| if b { Ending::Converged } else { Ending::StepsExhausted }).collect()
            }
        };
        Ok(Candidate { x: found.x, endings })
    }
}
