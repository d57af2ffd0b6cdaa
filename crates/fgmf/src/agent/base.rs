//! What a team's environment is: planes of small counts in, one action an agent out.
//!
//! An environment holds no network and no tensor. It returns raw counts, because these are what is
//! equal to the packages of origin to the bit. [`AgentSpec::scaled`] brings them into `[0, 1]`.

use crate::error::{Error, Result};
use crate::record::SceneRecord;
use fgmf_net::Tensor;

/// What stands in a plane of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneKind {
    /// Walls, counters: no attack changes it and no explanation erases it.
    Fixed,
    /// Objects, one count a cell.
    Entity,
    /// One value over the whole plane, such as a clock.
    Signal,
}

/// A plane of a view.
#[derive(Clone, Copy, Debug)]
pub struct ViewPlane {
    /// As people read it.
    pub name: &'static str,
    /// A count times this, cut to `[0, 1]`, is what a policy is given.
    pub scale: f32,
    /// What stands in it.
    pub kind: PlaneKind,
}

/// What an environment declares.
#[derive(Clone, Debug)]
pub struct AgentSpec {
    /// Name, as on the command line.
    pub id: String,
    /// Number of agents, 1 or more.
    pub agents: usize,
    /// What an agent can do, in the order of the policy's outputs.
    pub actions: &'static [&'static str],
    /// Shape `[c, h, w]` of an agent's view.
    pub view: [usize; 3],
    /// Rows and columns of the world.
    pub world: [usize; 2],
    /// Planes of a view, `c` of them.
    pub planes: &'static [ViewPlane],
    /// Most steps of an episode.
    pub horizon: u32,
    /// The action that does nothing.
    pub noop: usize,
}

impl AgentSpec {
    /// Values of one view.
    pub fn size(&self) -> usize {
        self.view.iter().product()
    }

    /// Raw views, one behind the other, as a policy is given them: clamp(count·scale, 0, 1), of
    /// shape `[n, c, h, w]`.
    pub fn scaled(&self, raw: &[u8]) -> Tensor {
        let [c, h, w] = self.view;
        let mut out = Vec::with_capacity(raw.len());
        for (at, plane) in raw.chunks_exact(h * w).enumerate() {
            let scale = self.planes[at % c].scale;
            out.extend(plane.iter().map(|&v| (f32::from(v) * scale).min(1.0)));
        }
        Tensor::new(&[out.len() / self.size(), c, h, w], out)
    }

    /// Whether an attacker may change each value of a view: those of planes of entities.
    pub fn open(&self) -> Vec<bool> {
        let [_, h, w] = self.view;
        let entity = |p: &ViewPlane| std::iter::repeat_n(p.kind == PlaneKind::Entity, h * w);
        self.planes.iter().flat_map(entity).collect()
    }

    /// An error unless there is one action an agent, each of them known.
    pub fn check(&self, actions: &[usize]) -> Result<()> {
        let (n, k) = (self.agents, self.actions.len());
        if actions.len() != n || actions.iter().any(|&a| a >= k) {
            let expected = format!("{n} actions below {k}");
            return Err(Error::mismatch("step", expected, format!("{actions:?}")));
        }
        Ok(())
    }
}

/// Something that happened in a step, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamEvent {
    /// What, such as `delivered`.
    pub what: &'static str,
    /// Who.
    pub agent: usize,
}

/// What a step gave.
#[derive(Clone, Debug, Default)]
pub struct Transition {
    /// One an agent. Their mean, summed over an episode, is the return.
    pub rewards: Vec<f64>,
    /// One an agent: what training may add, and no return counts.
    pub shaped: Vec<f64>,
    /// Over, by the rules of the task.
    pub terminated: bool,
    /// Over, because time is up.
    pub truncated: bool,
    /// In the order of the agents.
    pub events: Vec<TeamEvent>,
}

impl Transition {
    /// Whether the episode is over.
    pub fn over(&self) -> bool {
        self.terminated || self.truncated
    }

    /// Mean reward of the agents.
    pub fn reward(&self) -> f64 {
        self.rewards.iter().sum::<f64>() / self.rewards.len().max(1) as f64
    }
}

/// A team's world.
pub trait Environment: Send + Sync {
    /// What it declares. It does not change.
    fn spec(&self) -> &AgentSpec;

    /// Starts an episode. Without a seed the generator goes on.
    fn reset(&mut self, seed: Option<u64>);

    /// One step of all agents.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a wrong number of actions, an unknown action, or an episode that is
    /// over.
    fn step(&mut self, actions: &[usize]) -> Result<Transition>;

    /// Writes an agent's view, `[c, h, w]` raw counts; rows are y.
    fn observe(&self, agent: usize, out: &mut [u8]);

    /// The cell of the world, `[row, column]`, that a cell of an agent's view shows; none outside.
    fn placement(&self, agent: usize, cell: [usize; 2]) -> Option<[usize; 2]>;

    /// The world as a picture shows it.
    fn scene(&self) -> SceneRecord;

    /// All that goes on: state, generator, clock.
    fn save(&self) -> Vec<u8>;

    /// Goes on from [`Self::save`]'s bytes.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for bytes of something else.
    fn load(&mut self, bytes: &[u8]) -> Result<()>;
}

/// How environments of one kind are made, each of them fresh.
pub type MakeEnvironment<'a> = dyn Fn() -> Result<Box<dyn Environment>> + Sync + 'a;

/// An error for a step behind the end of an episode.
pub(crate) fn after_the_end() -> Error {
    Error::mismatch("step", "an episode that goes on", "one that is over")
}
