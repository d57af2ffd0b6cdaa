//! What an attack by patches is, and what it hands back.

use crate::attack::base::Seed;
use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients;
use crate::record::Rectangle;
use crate::threat::PatchThreat;
use fgmf_net::Tensor;

/// What an attack by patches hands back for the sealed entry to check.
#[derive(Clone, Debug)]
pub struct PatchCandidate {
    /// Best point found for each example, `[n, c, h, w]`.
    pub x: Tensor,
    /// Where its patches are.
    pub places: Vec<Vec<Rectangle>>,
}

/// An attack that chooses where patches stand and what is in them. Attacks on balls are another
/// trait: neither kind can be given the threat of the other.
pub trait PatchAttack: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// Whether it finds one patch for the examples of a batch together; others are searched one by
    /// one.
    fn together(&self) -> bool {
        false
    }

    /// Searches the patches of each example.
    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &PatchThreat,
        seed: Seed,
    ) -> Result<PatchCandidate>;
}
