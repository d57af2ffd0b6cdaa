//! Training: a plain loop, objectives that plug into it, and state that survives a kill.

mod checkpoint;
mod config;
mod distillation;
mod fit;
mod objective;
mod optimise;
mod salience;
mod scorpio;

pub(crate) use checkpoint::write_atomically;
pub use config::{ObjectiveConfig, TrainConfig};
pub use distillation::{Distillation, DistillationParams};
pub use fit::{Progress, Run, fit};
pub use objective::{Context, Objective, PgdAt, PgdAtParams, Standard, Step};
pub use optimise::{Optimiser, OptimiserState, Schedule};
pub(crate) use salience::batch_of;
pub use salience::{Salience, SalienceSource};
pub use scorpio::{Scorpio, ScorpioParams, frank_wolfe};
