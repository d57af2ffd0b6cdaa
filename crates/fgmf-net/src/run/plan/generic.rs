//! A node as it is: the operator of the graph walk, on values in rows.

use super::places::Needs;
use super::run::Run;
use super::step::Step;
use crate::dual::Dual;
use crate::graph::op::Local;
use crate::graph::{Network, Source, ValueId};

#[derive(Debug)]
pub(super) struct Generic {
    pub(super) index: usize,
    pub(super) inputs: Vec<ValueId>,
    pub(super) outputs: Vec<ValueId>,
}

impl Generic {
    pub(super) fn new(net: &Network, index: usize) -> Self {
        let node = &net.nodes()[index];
        Self {
            index,
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
        }
    }
}

impl Step for Generic {
    fn inputs(&self) -> Vec<ValueId> {
        self.inputs.clone()
    }

    fn outputs(&self) -> Vec<ValueId> {
        self.outputs.clone()
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        self.inputs.iter().chain(&self.outputs).copied().collect()
    }

    fn forward(&self, run: &mut Run<'_>) {
        let inputs: Vec<Dual> = self
            .inputs
            .iter()
            .map(|&id| run.tensor(id).into())
            .collect();
        let node = &run.net.nodes()[self.index];
        let (outputs, saved) = node
            .op
            .operator()
            .forward(&inputs.iter().collect::<Vec<_>>(), run.places.purpose.mode);
        for (&id, y) in self.outputs.iter().zip(outputs) {
            run.put_tensor(id, y.value);
        }
        run.keep_saved(self.index, saved);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let inputs: Vec<Dual> = self
            .inputs
            .iter()
            .map(|&id| run.tensor(id).into())
            .collect();
        let outputs: Vec<Dual> = self
            .outputs
            .iter()
            .map(|&id| run.tensor(id).into())
            .collect();
        let cotangents: Vec<Option<Dual>> = self
            .outputs
            .iter()
            .map(|&id| run.cotangent_rows(id).map(Into::into))
            .collect();
        let wanted: Vec<bool> = self.inputs.iter().map(|&id| run.needs(id)).collect();
        let Some(saved) = run.saved[self.index].take() else {
            unreachable!("a node runs forward before it runs backward")
        };
        let node = &run.net.nodes()[self.index];
        let local = Local {
            inputs: &inputs.iter().collect::<Vec<_>>(),
            outputs: &outputs,
            saved: &saved,
            cotangents: &cotangents,
            wanted: &wanted,
        };
        let pulled = match run.rules.get(self.index) {
            Some(rule) => rule.backward(&node.op, &local),
            None => node.op.operator().backward(&local),
        };
        for (&id, d) in self.inputs.iter().zip(pulled) {
            let Some(d) = d.filter(|_| run.needs(id)) else {
                continue;
            };
            match run.net.value(id).source {
                Source::Parameter { .. } => run.add_parameter(id, d.value.to_f32()),
                _ => run.add_cotangent(id, d.value),
            }
        }
    }
}
