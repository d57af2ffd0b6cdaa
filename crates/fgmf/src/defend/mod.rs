//! Defences that rewrite the network: here SGAM, the saliency-guided mask in front.

mod sgam;

pub use sgam::{MASK, MaskForm, SALIENCY, SgamParams, attacker_rules, has_mask, served_rules, with_sgam};

/// What an attacker who knows the mask layer puts in the place of its derivative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskKnowledge {
    /// The true derivative, through the mask's head and the masked image.
    EndToEnd,
    /// The mask held fixed at each step: only the masked image is followed.
    FrozenMask,
    /// The mask layer taken for the identity (BPDA).
    StraightThrough,
}
