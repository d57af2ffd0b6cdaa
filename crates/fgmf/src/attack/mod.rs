//! Attacks: a small trait for each kind of access, and one entry that validates, runs, projects and
//! re-checks.

pub(crate) mod apgd;
pub(crate) mod ascent;
pub(crate) mod base;
pub(crate) mod cw;
pub(crate) mod ddn;
pub(crate) mod deepfool;
#[cfg(test)]
mod dummy;
pub(crate) mod eot;
pub(crate) mod evolution;
pub(crate) mod fab;
pub(crate) mod fmn;
pub(crate) mod hop_skip_jump;
pub(crate) mod list;
pub mod loss;
pub(crate) mod map;
pub(crate) mod mi_fgsm;
pub(crate) mod nes;
pub(crate) mod parts;
pub mod patch;
pub(crate) mod pgd;
pub(crate) mod random;
pub(crate) mod sealed;
pub(crate) mod smooth;
pub(crate) mod spsa;
pub(crate) mod square;
pub(crate) mod transfer;

pub use apgd::{Apgd, ApgdParams};
pub use base::{Attack, BlackBox, Candidate, Ending, Seed, Start, WhiteBox};
pub use cw::{CarliniWagner, CarliniWagnerParams};
pub use ddn::{Ddn, DdnParams};
pub use deepfool::{DeepFool, DeepFoolParams};
pub use eot::Eot;
pub use evolution::{Evolution, EvolutionParams};
pub use fab::{Fab, FabParams};
pub use fmn::{Fmn, FmnParams};
pub use hop_skip_jump::{HopSkipJump, HopSkipJumpParams};
pub use list::{by_id, by_name, ids, names, with_parameters, with_surrogate};
pub use loss::AttackLoss;
pub use mi_fgsm::{MiFgsm, MiFgsmParams};
pub use nes::{Nes, NesParams};
pub use pgd::{Pgd, PgdParams};
pub use random::{RandomSearch, RandomSearchParams};
pub use sealed::{
    AttackOutcome, run_attack, run_attack_within, run_black_box, run_black_box_within,
    run_white_box,
};
pub use smooth::{Smooth, SmoothParams};
pub use spsa::{Spsa, SpsaParams};
pub use square::{Square, SquareParams};
pub use transfer::Transfer;
