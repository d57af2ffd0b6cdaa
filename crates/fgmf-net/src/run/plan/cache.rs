//! What a network keeps between runs: plans, packed weights, memory.

use super::compile::compile;
use super::compiled::Plan;
use super::memory::{Arenas, lock};
use super::packed::Packed;
use crate::error::Result;
use crate::graph::Network;
use crate::run::engine::Purpose;
use std::sync::{Arc, Mutex};

/// Plans kept for a network; an attack alternates between few.
const PLANS: usize = 8;

/// Plans and packed weights of a network as it is now, and buffers for its chunks. A clone of a
/// network starts without.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    plans: Mutex<Vec<Arc<Plan>>>,
    packed: Packed,
    pub(crate) arenas: Arenas,
}

impl Cache {
    /// The plan for a purpose; made at the first call and kept until a parameter changes.
    pub(crate) fn plan(&self, net: &Network, purpose: &Purpose) -> Result<Arc<Plan>> {
        let held = |plans: &[Arc<Plan>]| {
            let found = plans.iter().find(|p| p.places.purpose == *purpose);
            found.cloned()
        };
        if let Some(found) = held(&lock(&self.plans)) {
            return Ok(found);
        }
        let plan = Arc::new(compile(net, purpose, &self.packed)?);
        let mut plans = lock(&self.plans);
        if plans.len() == PLANS {
            plans.remove(0);
        }
        plans.push(plan.clone());
        Ok(plan)
    }

    /// Numbers that packed weights hold.
    pub(crate) fn packed_numbers(&self) -> usize {
        self.packed.numbers()
    }

    /// Drops everything that nobody uses at the moment.
    pub(crate) fn release(&self) {
        lock(&self.plans).clear();
        self.packed.release();
        self.arenas.release();
    }

    /// Drops what holds weights.
    pub(crate) fn forget_weights(&mut self) {
        self.plans = Mutex::default();
        self.packed.forget();
    }
}

impl Clone for Cache {
    fn clone(&self) -> Self {
        Self::default()
    }
}
