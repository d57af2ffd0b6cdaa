//! The masking verdict: evidence gathered by probes, signs with documented triggers, one judgement.

pub(crate) mod evidence;
pub(crate) mod judge;
pub(crate) mod probe_walk;
pub mod probes;
pub(crate) mod sign;
pub(crate) mod threshold;

pub use evidence::{Evidence, Found, Versus, Wider};
pub use judge::*;
pub use sign::Sign;
pub use threshold::*;
