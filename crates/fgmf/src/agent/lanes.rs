//! Many environments side by side, stepped on all threads. Results are in the order of the
//! environments, so that one thread gives the bytes of two.

use crate::agent::base::{AgentSpec, Environment, MakeEnvironment, Transition};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// Environments of one kind.
pub struct Lanes {
    worlds: Vec<Box<dyn Environment>>,
}

/// Environments that a thread steps at once: a step takes about a microsecond, the threads' own
/// work as much.
const SHARE: usize = 16;

impl Lanes {
    /// `count` environments, 1 or more.
    ///
    /// # Errors
    /// [`Error::Parameter`] for none; those of the maker.
    pub fn new(make: &MakeEnvironment<'_>, count: usize) -> Result<Self> {
        if count == 0 {
            return Err(Error::parameter("lanes", "1 or more", count));
        }
        let worlds = (0..count).map(|_| make()).collect::<Result<_>>()?;
        Ok(Self { worlds })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.worlds.len()
    }

    /// Never: there is one at least.
    pub fn is_empty(&self) -> bool {
        self.worlds.is_empty()
    }

    /// What all of them declare.
    pub fn spec(&self) -> &AgentSpec {
        self.worlds[0].spec()
    }

    /// One of them.
    pub fn world(&self, lane: usize) -> &dyn Environment {
        self.worlds[lane].as_ref()
    }

    /// Starts an episode in a lane.
    pub fn reset(&mut self, lane: usize, seed: Option<u64>) {
        self.worlds[lane].reset(seed);
    }

    /// Raw views `[lanes, agents, c, h, w]` of these lanes.
    pub fn observe(&self, lanes: &[usize]) -> Vec<u8> {
        let (agents, size) = (self.spec().agents, self.spec().size());
        let mut out = vec![0; lanes.len() * agents * size];
        let parts = out.par_chunks_mut(agents * size).with_min_len(SHARE);
        parts.zip(lanes).for_each(|(views, &lane)| {
            for (agent, view) in views.chunks_exact_mut(size).enumerate() {
                self.worlds[lane].observe(agent, view);
            }
        });
        out
    }

    /// One step of these lanes, which ascend; `actions` has those of the agents of each.
    ///
    /// # Errors
    /// Those of the environments; [`Error::Mismatch`] for another number of actions.
    pub fn step(&mut self, lanes: &[usize], actions: &[usize]) -> Result<Vec<Transition>> {
        let agents = self.spec().agents;
        if actions.len() != lanes.len() * agents {
            let expected = format!("{} actions", lanes.len() * agents);
            return Err(Error::mismatch("step lanes", expected, actions.len()));
        }
        let mut chosen = Vec::with_capacity(lanes.len());
        let mut left = lanes.iter().peekable();
        for (lane, world) in self.worlds.iter_mut().enumerate() {
            if left.next_if(|&&l| l == lane).is_some() {
                chosen.push(world);
            }
        }
        if chosen.len() != lanes.len() {
            return Err(Error::mismatch(
                "step lanes",
                "ascending lanes",
                format!("{lanes:?}"),
            ));
        }
        let pairs = chosen.into_par_iter().zip(actions.par_chunks(agents));
        let made: Vec<Result<Transition>> = pairs
            .with_min_len(SHARE)
            .map(|(world, joint)| world.step(joint))
            .collect();
        made.into_iter().collect()
    }

    /// Every environment's state.
    pub fn save(&self) -> Vec<Vec<u8>> {
        self.worlds.iter().map(|w| w.save()).collect()
    }

    /// Goes on from [`Self::save`].
    ///
    /// # Errors
    /// [`Error::Mismatch`] for states of other environments, or of another number of them.
    pub fn load(&mut self, states: &[Vec<u8>]) -> Result<()> {
        if states.len() != self.worlds.len() {
            let expected = format!("{} states", self.worlds.len());
            return Err(Error::mismatch("load lanes", expected, states.len()));
        }
        let pairs = self.worlds.iter_mut().zip(states);
        pairs
            .into_iter()
            .try_for_each(|(world, state)| world.load(state))
    }
}
