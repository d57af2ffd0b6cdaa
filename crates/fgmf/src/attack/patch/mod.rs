//! Attacks that replace rectangles of an image, behind one entry of their own.

pub(crate) mod base;
pub(crate) mod list;
pub(crate) mod patch_pgd;
pub(crate) mod patch_search;
pub(crate) mod sealed;
pub(crate) mod start;
pub(crate) mod universal;

pub use base::{PatchAttack, PatchCandidate};
pub use list::{patch_attack, patch_attacks};
pub use patch_pgd::{PatchPgd, PatchPgdParams};
pub use patch_search::{PatchSearch, PatchSearchParams};
pub use sealed::{PatchOutcome, run_patch_attack};
pub use universal::{UniversalPatch, UniversalPatchParams};
