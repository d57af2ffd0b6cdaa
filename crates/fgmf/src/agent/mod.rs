//! Teams of agents: environments, training, attacks and explanations of policies that act together.
//!
//! A policy is a classifier: planes of a view in, one score an action out. It is an ordinary
//! network and an ordinary ONNX file, so whatever works on images works on it. This is the only
//! room that knows time.

pub(crate) mod account;
pub(crate) mod base;
pub(crate) mod draws;
pub(crate) mod figure;
pub(crate) mod interfere;
pub(crate) mod lanes;
pub(crate) mod learn;
pub(crate) mod list;
pub(crate) mod numpy;
pub(crate) mod overcooked;
pub(crate) mod play;
pub(crate) mod pursuit;
pub(crate) mod study;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod toy;
pub(crate) mod victims;

pub use account::{
    ActionPair, AgentMap, DeletionSettings, ObjectMap, StripSettings, TeamMap, ViewObject,
    deletion, object_maps, object_shapley, objects, strip_row, team_map,
};
pub use base::{
    AgentSpec, Environment, MakeEnvironment, PlaneKind, TeamEvent, Transition, ViewPlane,
};
pub use draws::ActionDraw;
pub use figure::{area_between, mean_return, normalised_return};
pub use interfere::{
    AttackBudget, EraseObjects, ErasureOrder, GradientAttack, GradientLoss, Interference, Reach,
    TeamMoment, ViewNoise, interference, interferences,
};
pub use lanes::Lanes;
pub use learn::{
    BestPolicy, IterationRecord, PolicyKind, PpoHead, PpoSample, TeamConfig, TeamProgress, TeamRun,
    actor, actor_critic, advantages, fit_team,
};
pub use list::{environment, environments};
pub use numpy::NumpyGenerator;
pub use overcooked::{Dynamics, Overcooked};
pub use play::{Interfered, PlaySettings, TeamFrame, UniformPolicy, WatchTeam, play, play_watched};
pub use pursuit::{Pursuit, PursuitParams};
pub use study::{TeamAttackJob, attack_team, evaluate_team};
pub use victims::{ChosenVictims, worst_victims};
