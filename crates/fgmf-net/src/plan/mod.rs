//! Plans: a network compiled for speed.
//!
//! A [`Plan`] computes in `f32` what the graph walk of [`crate::exec`] computes, for one purpose:
//! these values, these gradients. Nodes become steps; batch normalisation is folded into
//! convolutions, additions and rectifiers into what precedes them, feature maps stay in the blocked
//! layout of the kernels, weights are packed once, gradients that nobody asked for are left out,
//! and buffers are used again. What no step covers runs as the node itself. Of images that differ
//! inside one window only what it reaches is computed (`window`). Same results as the walk within
//! 1e-4, and the same bytes for any number of threads: a batch is cut into chunks by a rule that
//! looks at the network alone.

mod attention;
mod blocked;
mod compile;
mod conv;
mod generic;
mod memory;
mod norm;
mod rows;
mod run;
mod view;
mod window;

use crate::batch::unbiased;
use crate::dual::Dual;
use crate::error::Result;
use crate::network::{Network, ValueId};
use crate::op::Mode;
use crate::rule::Rules;
use crate::tensor::Tensor;
use memory::Arena;
use run::Run;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use view::View;

pub use window::Surroundings;

/// Channels of a block of the blocked layout.
const LANES: usize = fgmf_kernels::blocked_len(1, 1, 1);

/// What a plan is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purpose {
    pub(crate) mode: Mode,
    /// Values to hand out.
    pub(crate) values: Vec<ValueId>,
    /// Values and parameters whose gradient is wanted.
    pub(crate) gradients: Vec<ValueId>,
    /// Nodes whose backward rule is replaced; they run as they are.
    pub(crate) ruled: Vec<usize>,
}

/// Layout in which a value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// Row-major, as in the graph.
    Rows,
    /// `[n, c / 16, h, w, 16]`.
    Blocked,
}

/// One step of a plan: a node or several fused ones.
trait Step: std::fmt::Debug + Send + Sync {
    /// Values read.
    fn inputs(&self) -> Vec<ValueId>;
    /// Values made.
    fn outputs(&self) -> Vec<ValueId>;
    /// Values that the backward step reads.
    fn keeps(&self, plan: &Needs) -> Vec<ValueId>;
    /// Packs weights.
    fn prepare(&self, _net: &Network, _packed: &Packed, _needs: &Needs) {}
    fn forward(&self, run: &mut Run<'_>);
    /// The forward pass of variants inside the window that differs, if the step can and it pays.
    fn window(&self, _run: &mut Run<'_>) -> bool {
        false
    }
    /// Takes the cotangents of the outputs and adds those of the inputs and parameters.
    fn backward(&self, run: &mut Run<'_>);
}

/// Which values lie between the wanted gradients and the cotangents.
#[derive(Debug, Default)]
struct Needs(Vec<bool>);

impl Needs {
    fn of(&self, id: ValueId) -> bool {
        self.0[id.0]
    }
}

/// A network compiled for one purpose.
#[derive(Debug)]
pub(crate) struct Plan {
    purpose: Purpose,
    steps: Vec<Box<dyn Step>>,
    homes: Vec<Home>,
    /// Values that no step makes, by value.
    views: Vec<Option<View>>,
    needs: Needs,
    /// For each step, values that nothing reads after it (in a forward pass that is followed by a
    /// backward pass, or not).
    dead: Vec<Vec<ValueId>>,
}

/// What one chunk computed.
pub(crate) struct Outcome {
    pub(crate) values: Vec<Tensor>,
    /// In the order of the purpose.
    pub(crate) gradients: Vec<Tensor>,
    /// Mean and biased variance of each training batch normalisation and the number of values
    /// behind them, by node.
    pub(crate) statistics: Vec<Statistics>,
}

pub(crate) struct Statistics {
    pub(crate) node: usize,
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
    pub(crate) count: usize,
}

impl Statistics {
    /// Node, and mean and unbiased variance times `weight`, as a training step hands them on.
    pub(crate) fn weighted(&self, weight: f64) -> (usize, Tensor, Tensor) {
        let array = |v: &[f64], by: f64| {
            Tensor::new(
                &[v.len()],
                v.iter().map(|&v| (v * by) as f32).collect::<Vec<f32>>(),
            )
        };
        (
            self.node,
            array(&self.mean, weight),
            array(&self.variance, weight * unbiased(self.count)),
        )
    }
}

impl Plan {
    /// Runs a chunk `x` `[n, c, h, w]`. `cotangents` is shown the purpose's values and returns
    /// where the backward pass starts; it is not asked if no gradient is wanted.
    pub(crate) fn run(
        &self,
        net: &Network,
        x: &Tensor,
        rules: &Rules,
        cotangents: impl FnOnce(&[Tensor]) -> Vec<(ValueId, Dual)>,
    ) -> Outcome {
        let arena = lock(&net.cache.arenas).pop().unwrap_or_default();
        let mut run = Run::new(self, net, rules, x, arena);
        for (step, dead) in self.steps.iter().zip(&self.dead) {
            step.forward(&mut run);
            dead.iter().for_each(|&id| run.release(id));
        }
        let values: Vec<Tensor> = self
            .purpose
            .values
            .iter()
            .map(|&id| run.tensor(id))
            .collect();
        let mut gradients = Vec::new();
        if !self.purpose.gradients.is_empty() {
            for (id, g) in cotangents(&values) {
                run.add_cotangent(id, g.value);
            }
            for step in self.steps.iter().rev() {
                let outputs = step.outputs();
                if outputs.iter().any(|&id| run.has_cotangent(id))
                    && step.inputs().iter().any(|&id| self.needs.of(id))
                {
                    step.backward(&mut run);
                }
                outputs
                    .iter()
                    .filter(|id| !self.purpose.gradients.contains(id))
                    .for_each(|&id| run.forget(id));
            }
            gradients = self
                .purpose
                .gradients
                .iter()
                .map(|&id| run.gradient(id))
                .collect();
        }
        let (arena, statistics) = run.finish();
        lock(&net.cache.arenas).push(arena);
        Outcome {
            values,
            gradients,
            statistics,
        }
    }
}

/// What a stored panic of another thread left is still usable: these hold caches only.
fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which packing of a node's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Packing {
    /// For the forward pass, as stored.
    Forward,
    /// For the forward pass, scaled by the batch normalisation behind.
    ForwardFolded,
    /// For the gradient to the input, as stored.
    Backward,
    /// For the gradient to the input, scaled likewise.
    BackwardFolded,
}

/// Packed weights by node, shared between plans, and the memory of those that are out of date.
#[derive(Debug, Default)]
struct Packed {
    weights: Mutex<ByPacking<Arc<Vec<f32>>>>,
    memory: Mutex<ByPacking<Vec<f32>>>,
}

type ByPacking<T> = HashMap<(usize, Packing), T>;

impl Packed {
    fn get(
        &self,
        node: usize,
        packing: Packing,
        pack: impl FnOnce(&mut Vec<f32>),
    ) -> Arc<Vec<f32>> {
        let key = (node, packing);
        if let Some(found) = lock(&self.weights).get(&key) {
            return found.clone();
        }
        // Packed outside the lock, so that several nodes are packed at once.
        let mut made = lock(&self.memory).remove(&key).unwrap_or_default();
        pack(&mut made);
        lock(&self.weights)
            .entry(key)
            .or_insert(Arc::new(made))
            .clone()
    }

    /// Drops the weights and keeps their memory, if no plan holds them.
    fn forget(&mut self) {
        let weights = std::mem::take(
            self.weights
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let free = weights
            .into_iter()
            .filter_map(|(key, w)| Some((key, Arc::into_inner(w)?)));
        lock(&self.memory).extend(free);
    }
}

/// Plans and packed weights of a network as it is now, and buffers for its chunks. A clone of a
/// network starts without.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    plans: Mutex<Vec<Arc<Plan>>>,
    packed: Packed,
    arenas: Mutex<Vec<Arena>>,
}

impl Cache {
    /// Takes back the memory of results that have been copied: a piece for the arena that has the
    /// fewest.
    pub(crate) fn reuse(&self, results: impl Iterator<Item = Tensor>) {
        let mut arenas = lock(&self.arenas);
        for memory in results.filter_map(|t| t.reclaim().ok()) {
            if let Some(arena) = arenas
                .iter_mut()
                .min_by_key(|a| a.spare())
                .filter(|a| a.spare() < SPARE)
            {
                arena.give_rows(memory);
            }
        }
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

/// Free pieces of memory from which on an arena takes no results back: some come from elsewhere,
/// and would pile up.
const SPARE: usize = 128;

/// Plans kept for a network; an attack alternates between few.
const PLANS: usize = 8;

impl Network {
    /// The plan for a purpose; made at the first call and kept until a parameter changes.
    pub(crate) fn plan(&self, purpose: &Purpose) -> Result<Arc<Plan>> {
        if let Some(found) = lock(&self.cache.plans)
            .iter()
            .find(|p| p.purpose == *purpose)
        {
            return Ok(found.clone());
        }
        let plan = Arc::new(compile::compile(self, purpose, &self.cache.packed)?);
        let mut plans = lock(&self.cache.plans);
        if plans.len() == PLANS {
            plans.remove(0);
        }
        plans.push(plan.clone());
        Ok(plan)
    }
}
