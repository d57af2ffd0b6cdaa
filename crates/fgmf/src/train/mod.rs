//! Training: a plain loop, objectives that plug into it, and state that survives a kill.

pub(crate) mod augment;
pub(crate) mod base;
pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod distillation;
#[cfg(test)]
mod dummy;
pub(crate) mod fit;
pub(crate) mod given;
pub(crate) mod list;
pub(crate) mod mart;
pub(crate) mod memory;
pub(crate) mod one_step;
pub(crate) mod optimise;
pub(crate) mod parts;
pub(crate) mod pgd_at;
pub(crate) mod rate;
pub(crate) mod run;
pub(crate) mod salience;
pub(crate) mod scorpio;
pub(crate) mod standard;
pub(crate) mod stepper;
pub(crate) mod trades;
pub(crate) mod validation;

pub use augment::AugmentParams;
pub use base::{Attacked, Objective, Step, StepContext};
pub use config::TrainConfig;
pub use distillation::{Distillation, DistillationParams};
pub use fit::{Progress, fit, fit_from};
pub use given::GivenModel;
pub use list::{ObjectiveConfig, ids};
pub use mart::{Mart, MartParams};
pub use memory::training_bytes;
pub use one_step::{FgsmRsParams, NoiseFgsmParams, OneStep};
pub use optimise::{Optimiser, OptimiserState, Schedule};
pub use pgd_at::{PgdAt, PgdAtParams};
pub use rate::{RateTest, find_rate};
pub use run::Run;
pub use salience::{Salience, SalienceSource};
pub use scorpio::{Scorpio, ScorpioParams, frank_wolfe};
pub use standard::Standard;
pub use trades::{Trades, TradesParams};
pub use validation::{KeptEpoch, ValidationParams};
