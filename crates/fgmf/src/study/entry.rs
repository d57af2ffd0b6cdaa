//! What a suite runs, and on what.

use crate::attack::base::Attack;
use crate::data::dataset::Dataset;
use crate::defend::knowledge::MaskKnowledge;
use crate::study::adversarial::AdversarialOrigin;
use crate::threat::ThreatModel;
use fgmf_net::Session;

/// An attack with its name in the suite and what it assumes of the mask layer.
pub struct Entry {
    /// Unique in the suite.
    pub name: String,
    /// The attack.
    pub attack: Attack,
    /// What stands in for the derivative of the mask layer.
    pub knowledge: MaskKnowledge,
}

/// What a suite runs on.
#[derive(Clone, Copy)]
pub struct SuiteJob<'a> {
    /// The network.
    pub net: &'a Session,
    /// Hash of its file, which ties the state to it.
    pub model_sha256: &'a str,
    /// The images.
    pub data: &'a Dataset,
    /// What the attacker may do.
    pub threat: &'a ThreatModel,
    /// Seed of every attack.
    pub seed: u64,
    /// Most images that an attack takes together, 1 or more; bounds memory and changes no result.
    pub cap: usize,
}

impl SuiteJob<'_> {
    /// What its adversarial images are made of.
    pub fn origin(&self) -> AdversarialOrigin {
        AdversarialOrigin {
            model_sha256: self.model_sha256.into(),
            data: self.data.name().into(),
            split: self.data.split(),
            data_sha256: self.data.sha256(),
            threat: self.threat.record(),
            seed: self.seed,
        }
    }
}
