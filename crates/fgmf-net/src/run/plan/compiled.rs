//! A network compiled for one purpose, and a chunk on its way through.

use super::memory::Arenas;
use super::places::Places;
use super::run::Run;
use super::step::Step;
use crate::dual::Dual;
use crate::graph::{Network, ValueId};
use crate::rule::Rules;
use crate::run::engine::{Outcome, Start};
use crate::tensor::Tensor;

/// A network compiled for one purpose.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) places: Places,
    pub(super) steps: Vec<Box<dyn Step>>,
    /// For each step, values that nothing reads after it (in a forward pass that is followed by a
    /// backward pass, or not).
    pub(super) dead: Vec<Vec<ValueId>>,
}

impl Plan {
    /// Runs a chunk `x` `[n, c, h, w]`. `start` is shown the purpose's values and returns where the
    /// backward pass starts; it is not asked if no gradient is wanted.
    pub(crate) fn run(
        &self,
        net: &Network,
        arenas: &Arenas,
        x: &Tensor,
        rules: &Rules,
        start: &mut Start<'_>,
    ) -> Outcome {
        let purpose = &self.places.purpose;
        let mut run = Run::new(&self.places, net, rules, x, arenas.take());
        for (step, dead) in self.steps.iter().zip(&self.dead) {
            step.forward(&mut run);
            dead.iter().for_each(|&id| run.release(id));
        }
        let values = purpose.values.iter().map(|&id| run.tensor(id).into());
        let values: Vec<Dual> = values.collect();
        let mut gradients = Vec::new();
        if !purpose.gradients.is_empty() {
            for (id, g) in start(&values) {
                run.add_cotangent(id, g.value);
            }
            for step in self.steps.iter().rev() {
                let outputs = step.outputs();
                if outputs.iter().any(|&id| run.has_cotangent(id))
                    && step.inputs().iter().any(|&id| self.places.needs.of(id))
                {
                    step.backward(&mut run);
                }
                outputs
                    .iter()
                    .filter(|id| !purpose.gradients.contains(id))
                    .for_each(|&id| run.forget(id));
            }
            let wanted = purpose.gradients.iter();
            gradients = wanted.map(|&id| run.gradient(id).into()).collect();
        }
        let (arena, statistics) = run.finish();
        arenas.give(arena);
        Outcome {
            values,
            gradients,
            statistics,
        }
    }
}
