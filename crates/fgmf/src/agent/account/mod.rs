//! Why a team acts as it does: objects of each view, maps, what agents agree on, film strips.

pub(crate) mod consensus;
pub(crate) mod contrast;
pub(crate) mod deletion;
pub(crate) mod objects;
pub(crate) mod shapley;
pub(crate) mod strip;

pub use consensus::{AgentMap, TeamMap, team_map};
pub use contrast::{ActionPair, ObjectMap, object_maps};
pub use deletion::{DeletionSettings, deletion};
pub use objects::{ViewObject, objects};
pub use shapley::object_shapley;
pub use strip::{StripSettings, strip_row};
