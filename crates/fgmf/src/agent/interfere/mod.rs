//! What is done to a team while it acts, behind one sealed entry.

pub(crate) mod base;
pub(crate) mod budget;
pub(crate) mod erase;
pub(crate) mod gradient;
pub(crate) mod list;
pub(crate) mod noise;

pub use base::{Interference, TeamMoment};
pub use budget::{AttackBudget, Reach};
pub use erase::{EraseObjects, ErasureOrder};
pub use gradient::{GradientAttack, GradientLoss};
pub use list::{interference, interferences};
pub use noise::ViewNoise;
