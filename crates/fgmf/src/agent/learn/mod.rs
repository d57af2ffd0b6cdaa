//! Training a team: proximal policy optimisation with shared parameters (IPPO).

pub(crate) mod advantage;
pub(crate) mod config;
pub(crate) mod fit;
pub(crate) mod head;
pub(crate) mod network;
pub(crate) mod returns;
pub(crate) mod rollout;
pub(crate) mod state;

pub use advantage::advantages;
pub use config::{PolicyKind, TeamConfig};
pub use fit::{TeamProgress, TeamRun, fit_team};
pub use head::{PpoHead, PpoSample};
pub use network::{actor, actor_critic};
pub use state::{BestPolicy, IterationRecord};
