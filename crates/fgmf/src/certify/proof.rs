//! What is proved of an image (Xiang et al. 2022, theorem 1 and algorithm 2).
//!
//! - **Proved right**: all answers to the image with two masks of the set, a mask with itself among
//!   them, are the label. Then the defended answer is the label, whatever stands in the patches.
//! - **Proved detected**: all answers to the image with one mask are the label. One mask hides the
//!   patches, so it gives the label on every patched image too. All masks then share the label, or
//!   the detector gives the alarm.
//!
//! Both arguments need masks that hide every place of the patches ([`MaskSet`]) and a masked image
//! that does not depend on what is hidden ([`BlindFill`]).
//!
//! Cost for n masks: n passes, and n (n − 1) / 2 more where the first n agree, fewer where a pair
//! refutes: pairs whose masks alone lead by little are asked first. Where the first n disagree, the
//! defended answer takes up to n − 1 passes for each disagreer.
//!
//! [`MaskSet`]: crate::certify::MaskSet
//! [`BlindFill`]: crate::certify::BlindFill

use crate::certify::defence::double_masking;
use crate::certify::round::{Answer, Masked, Round};
use crate::error::Result;
use crate::record::Proof;

/// A proof, or what refutes it, and the defended answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What is proved.
    pub proof: Proof,
    /// Two masks, or one twice, whose answer is not the label; none where the image is proved
    /// right.
    pub refuted: Option<([usize; 2], Option<usize>)>,
    /// The defended answer; none where it names no class.
    pub defended: Option<usize>,
    /// Whether the detector gives the alarm on the image as it is.
    pub alarm: bool,
    /// Forward passes.
    pub passes: u64,
}

/// Proves what can be proved of an image `[c, h, w]` with that label.
pub fn certify_image(masked: Masked<'_>, image: &[f32], label: usize) -> Result<Certificate> {
    let mut round = Round::new(masked, image)?;
    let right: Answer = Some(label);
    let other = round.singles().iter().position(|a| *a != right);
    let (proof, refuted) = match other {
        Some(i) => (Proof::Open, Some(([i, i], round.singles()[i]))),
        None => {
            let pairs = round.pairs_by_lead();
            match round.first_other(pairs, right)? {
                Some(found) => (Proof::Detected, Some(found)),
                None => (Proof::Right, None),
            }
        }
    };
    Ok(Certificate {
        proof,
        refuted,
        defended: double_masking(&mut round)?,
        alarm: round.shared().is_none(),
        passes: round.passes(),
    })
}
