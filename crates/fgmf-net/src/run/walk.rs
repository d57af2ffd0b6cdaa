//! Walks a network forward and backward over [`Dual`]s: values, gradients of any value, Jacobian-
//! and Hessian-vector products.

use crate::dual::{Dual, accumulate};
use crate::error::{Error, Result};
use crate::graph::op::{Local, Mode, Saved};
use crate::graph::{Network, Source, ValueId};
use crate::rule::Rules;
use crate::tensor::Tensor;

/// Everything one forward pass computed.
#[derive(Debug)]
pub struct Tape {
    values: Vec<Option<Dual>>,
    saved: Vec<Saved>,
}

impl Tape {
    /// A value of the forward pass. Panics for an id of another network.
    pub fn value(&self, id: ValueId) -> &Dual {
        self.values[id.0]
            .as_ref()
            .unwrap_or_else(|| unreachable!("a tape holds every value"))
    }

    /// What each node kept for the backward pass, by node.
    pub fn saved(&self) -> &[Saved] {
        &self.saved
    }
}

impl Network {
    /// An error unless `x` is a batch of this network's images.
    pub fn check_images(&self, x: &Tensor) -> Result<()> {
        let [c, h, w] = self.image_shape();
        match x.shape() {
            [n, rest @ ..] if *n > 0 && rest == [c, h, w] => {}
            shape => {
                return Err(Error::call(
                    "run network",
                    format!("images of shape [n, {c}, {h}, {w}]"),
                    format!("{shape:?}"),
                ));
            }
        }
        match self.precision() {
            Some(p) if p != x.precision() => Err(Error::call(
                "run network",
                format!("images in {p:?}"),
                format!("{:?}", x.precision()),
            )),
            _ => Ok(()),
        }
    }

    /// Forward pass over one chunk, `x [n, c, h, w]`. With a tangent on `x`, every value carries
    /// its Jacobian-vector product.
    pub fn forward(&self, x: &Dual, mode: Mode) -> Result<Tape> {
        self.check_images(&x.value)?;
        let source = |s: &Source| match s {
            Source::Input => Some(x.clone()),
            Source::Parameter { tensor, .. } => Some(tensor.clone().into()),
            Source::Node { .. } => None,
        };
        let mut values: Vec<Option<Dual>> =
            self.values().iter().map(|v| source(&v.source)).collect();
        let mut all_saved = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let inputs: Vec<&Dual> = node
                .inputs
                .iter()
                .filter_map(|id| values[id.0].as_ref())
                .collect();
            let (outputs, saved) = node.op.operator().forward(&inputs, mode);
            for (id, y) in node.outputs.iter().zip(outputs) {
                values[id.0] = Some(y);
            }
            all_saved.push(saved);
        }
        Ok(Tape {
            values,
            saved: all_saved,
        })
    }

    /// Backward pass: pulls the cotangents of some values back to the `wanted` values. Only nodes
    /// between the two run; `rules` may replace the derivative of single nodes. A wanted value that
    /// nothing depends on gets zeros.
    pub fn backward(
        &self,
        tape: &Tape,
        cotangents: Vec<(ValueId, Dual)>,
        wanted: &[ValueId],
        rules: &Rules,
    ) -> Result<Vec<Dual>> {
        let mut needed = vec![false; self.values().len()];
        for id in wanted {
            needed[id.0] = true;
        }
        for node in self.nodes() {
            if node.inputs.iter().any(|id| needed[id.0]) {
                node.outputs.iter().for_each(|id| needed[id.0] = true);
            }
        }
        let mut arrived: Vec<Option<Dual>> = vec![None; self.values().len()];
        for (id, g) in cotangents {
            if g.shape() != tape.value(id).shape() {
                return Err(Error::call(
                    "backward",
                    format!("a cotangent of shape {:?}", tape.value(id).shape()),
                    format!("{:?}", g.shape()),
                ));
            }
            accumulate(&mut arrived[id.0], g);
        }
        for (index, node) in self.nodes().iter().enumerate().rev() {
            let active = node.inputs.iter().any(|id| needed[id.0])
                && node.outputs.iter().any(|id| arrived[id.0].is_some());
            if !active {
                continue;
            }
            let inputs: Vec<&Dual> = node.inputs.iter().map(|&id| tape.value(id)).collect();
            let outputs: Vec<Dual> = node
                .outputs
                .iter()
                .map(|&id| tape.value(id).clone())
                .collect();
            let g: Vec<Option<Dual>> = node
                .outputs
                .iter()
                .map(|id| self.take_or_keep(&mut arrived, *id, wanted))
                .collect();
            let asked: Vec<bool> = node.inputs.iter().map(|id| needed[id.0]).collect();
            let local = Local {
                inputs: &inputs,
                outputs: &outputs,
                saved: &tape.saved[index],
                cotangents: &g,
                wanted: &asked,
            };
            let pulled = match rules.get(index) {
                Some(rule) => rule.backward(&node.op, &local),
                None => node.op.operator().backward(&local),
            };
            for (id, d) in node.inputs.iter().zip(pulled) {
                if let Some(d) = d.filter(|_| needed[id.0]) {
                    accumulate(&mut arrived[id.0], d);
                }
            }
        }
        let result = |id: &ValueId| {
            arrived[id.0]
                .clone()
                .unwrap_or_else(|| tape.value(*id).value.zeros_like().into())
        };
        Ok(wanted.iter().map(result).collect())
    }

    /// A cotangent is used once, unless it was asked for.
    fn take_or_keep(
        &self,
        arrived: &mut [Option<Dual>],
        id: ValueId,
        wanted: &[ValueId],
    ) -> Option<Dual> {
        if wanted.contains(&id) {
            arrived[id.0].clone()
        } else {
            arrived[id.0].take()
        }
    }
}
