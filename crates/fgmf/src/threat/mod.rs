//! What an attacker may do: a norm ball around each image, or patches at any place of it. Nothing
//! else in the library clips, projects or measures distance.

pub(crate) mod ball;
pub(crate) mod patch;

pub use crate::record::Norm;
pub use ball::ThreatModel;
pub(crate) use ball::{distance, in_lanes};
pub use patch::PatchThreat;
