//! Defences: SGAM, the saliency-guided mask in front, and planted ones.
//!
//! A planted defence looks robust and is not. Each is known from the literature to fall to an
//! attacker who knows it, and each comes with that attacker: backward rules that go around it
//! ([`bypass_rules`]), samples that average it ([`crate::model::Averaged`], or exactly
//! [`crate::model::Expected`]), or a loss that does not see it. They exist so that the masking
//! verdict and the adaptive suites can be tested on known answers.

pub(crate) mod base;
pub(crate) mod bit_depth;
#[cfg(test)]
mod dummy;
pub(crate) mod jpeg;
pub(crate) mod k_wta;
pub(crate) mod knowledge;
pub(crate) mod list;
pub(crate) mod logit_scaling;
pub(crate) mod lying_gate;
pub(crate) mod noise;
pub(crate) mod parts;
pub(crate) mod rate_encoding;
pub(crate) mod readout;
pub(crate) mod resize_pad;
pub(crate) mod sgam;
pub(crate) mod soft_rounding;
pub(crate) mod thermometer;

pub use base::{Defence, Rewrite};
pub use bit_depth::{BitDepthParams, with_bit_depth};
pub use jpeg::{JpegParams, with_jpeg};
pub use k_wta::{KWtaParams, with_k_wta};
pub use knowledge::{
    MaskKnowledge, Unsquashed, attacker_rules, bypass_rules, is_delicate, is_rough, served_rules,
    soft_rules, unsquashed,
};
pub use list::{by_id, ids, with_parameters};
pub use logit_scaling::{LogitScalingParams, with_logit_scaling};
pub use lying_gate::{Lie, LyingGateParams, with_lying_gate};
pub use noise::{AdditiveNoise, AdditiveNoiseParams};
pub use rate_encoding::{RateEncoding, RateEncodingParams};
pub use readout::{Readout, cuts, fronts, read_at};
pub use resize_pad::{ResizePad, ResizePadParams};
pub use sgam::{MASK, MaskForm, SALIENCY, SgamParams, has_mask, with_sgam};
pub use soft_rounding::SoftRounding;
pub use thermometer::{ThermometerParams, with_thermometer};
