//! The two models of the demo: one hardened, with bounds that can be proved, and its standard twin.

use crate::error::Result;
use crate::train::{ObjectiveConfig, TrainConfig};
use fgmf_net::zoo::Architecture;

/// What a demo trains: id, title and settings, the hardened model first.
///
/// Both have the same data, network, epochs and seed. `limit` is the number of training images, all
/// if none.
pub fn plans(
    data: &str,
    eps: f64,
    (epochs, limit, seed): (usize, Option<usize>, u64),
) -> Result<[(&'static str, &'static str, TrainConfig); 2]> {
    let config = |objective: &str| -> Result<TrainConfig> {
        let objective = ObjectiveConfig::parse(objective)?;
        Ok(TrainConfig {
            limit,
            epochs,
            seed,
            ..TrainConfig::new(data, Architecture::CnnTiny, objective, eps)
        })
    };
    Ok([
        // SCOR-PIO 2.0 inside, and the loss on bounds around it.
        ("fgmf", "Hardened (FGMF)", config("ibp")?),
        ("standard", "Standard training", config("standard")?),
    ])
}
