//! The masking verdict: evidence gathered by probes, signs with documented triggers, one judgement.

pub(crate) mod evidence;
pub(crate) mod judge;
pub(crate) mod probe_walk;
pub mod probes;
pub(crate) mod sign;

pub use evidence::{Evidence, Found, Versus, Wider};
pub use judge::*;
pub use sign::{
    CONTRADICTED_SHARE, RANDOM_GAP, SATURATED_SHARE, STUCK_SHARE, Sign, UNFINISHED_SHARE,
    UNSTABLE_MEAN, WIN_LEAST, WIN_SHARE,
};
