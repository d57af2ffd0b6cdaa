//! The engine on this machine's processor: compiled plans where they apply, the graph walk
//! elsewhere.

use super::chunks::{share, usual_chunk};
use super::engine::{Engine, Outcome, Prepared, Purpose, Start, Statistics};
use super::plan::{Arenas, Cache, Plan};
use super::walk;
use crate::dual::Dual;
use crate::error::Result;
use crate::graph::Network;
use crate::rule::Rules;
use crate::tensor::{Precision, Tensor};
use std::sync::Arc;

/// Plans, packed weights and memory of one network.
#[derive(Debug, Default)]
pub(crate) struct Cpu {
    pub(super) cache: Cache,
}

impl Engine for Cpu {
    /// Single precision without a direction runs on a plan.
    fn prepare<'e>(&'e self, net: &'e Network, purpose: Purpose) -> Result<Box<dyn Prepared + 'e>> {
        if purpose.precision == Precision::F32 && !purpose.directed {
            return Ok(Box::new(Planned {
                net,
                plan: self.cache.plan(net, &purpose)?,
                arenas: &self.cache.arenas,
            }));
        }
        Ok(Box::new(Walked { net, purpose }))
    }

    fn reuse(&self, results: &mut dyn Iterator<Item = Tensor>) {
        self.cache.arenas.reuse(results);
    }
}

struct Planned<'e> {
    net: &'e Network,
    plan: Arc<Plan>,
    arenas: &'e Arenas,
}

impl Prepared for Planned<'_> {
    fn chunk(&self, n: usize, most: usize) -> usize {
        share(self.net, n, most)
    }

    fn run(&self, x: &Dual, rules: &Rules, start: &mut Start<'_>) -> Result<Outcome> {
        Ok(self.plan.run(self.net, self.arenas, &x.value, rules, start))
    }
}

struct Walked<'e> {
    net: &'e Network,
    purpose: Purpose,
}

impl Prepared for Walked<'_> {
    fn chunk(&self, _: usize, most: usize) -> usize {
        usual_chunk(self.net).min(most)
    }

    fn run(&self, x: &Dual, rules: &Rules, start: &mut Start<'_>) -> Result<Outcome> {
        let Purpose {
            mode,
            values,
            gradients,
            ..
        } = &self.purpose;
        let tape = walk::forward(self.net, x, *mode);
        let values: Vec<Dual> = values.iter().map(|&id| tape.value(id).clone()).collect();
        let gradients = if gradients.is_empty() {
            Vec::new()
        } else {
            walk::backward(self.net, &tape, start(&values), gradients, rules)?
        };
        let saved = tape.saved().iter().enumerate();
        Ok(Outcome {
            values,
            gradients,
            statistics: saved.filter_map(|(i, s)| Statistics::of(i, s)).collect(),
        })
    }
}
