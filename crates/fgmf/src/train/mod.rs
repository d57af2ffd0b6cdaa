//! Training: a plain loop, objectives that plug into it, and state that survives a kill.

pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod distillation;
pub(crate) mod fit;
pub(crate) mod objective;
pub(crate) mod optimise;
pub(crate) mod salience;
pub(crate) mod scorpio;

pub use config::{ObjectiveConfig, TrainConfig};
pub use distillation::{Distillation, DistillationParams};
pub use fit::{Progress, Run, fit};
pub use objective::{Context, Objective, PgdAt, PgdAtParams, Standard, Step};
pub use optimise::{Optimiser, OptimiserState, Schedule};
pub use salience::{Salience, SalienceSource};
pub use scorpio::{Scorpio, ScorpioParams, frank_wolfe};
