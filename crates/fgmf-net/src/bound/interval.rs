//! Intervals of values while a bound network is built.

use super::derived::{Derived, Recipe};
use crate::error::{Error, Result};
use crate::graph::op::{Binary, Op};
use crate::graph::{Builder, Network, ValueId};
use std::collections::HashMap;

/// How two values of the bound network name an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lower and upper end.
    Ends,
    /// Centre and radius.
    Middle,
}

/// The interval of a value of the network that is bounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) form: Form,
    pub(super) parts: [ValueId; 2],
}

/// Centre and radius, each times `scale`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Middle {
    pub(super) centre: ValueId,
    pub(super) radius: ValueId,
    pub(super) scale: f64,
}

/// A bound network in the making.
pub(super) struct BoundScope<'a> {
    pub(super) net: &'a Network,
    pub(super) builder: Builder,
    pub(super) derived: Vec<Derived>,
    /// Intervals that were asked for in the other form.
    turned: HashMap<[ValueId; 2], [ValueId; 2]>,
}

impl<'a> BoundScope<'a> {
    pub(super) fn new(net: &'a Network, builder: Builder) -> Self {
        Self {
            net,
            builder,
            derived: Vec::new(),
            turned: HashMap::new(),
        }
    }

    /// A node of the bound network, named after one of the network that is bounded.
    pub(super) fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let name = self.builder.fresh(name);
        self.builder.node(&name, op, inputs)
    }

    /// What a recipe makes of a stored array. It trains if the array does.
    pub(super) fn stored(&mut self, from: ValueId, recipe: Recipe) -> Result<ValueId> {
        let alike = |d: &&Derived| d.from == from && d.recipe == recipe;
        if let Some(known) = self.derived.iter().find(alike) {
            return Ok(known.to);
        }
        let name = &self.net.value(from).name;
        let array = self.net.parameter(from);
        let array = array.ok_or_else(|| Error::call("bound", "a stored array", name))?;
        let trains = recipe.factor != 0.0 && self.net.trainable().contains(&from);
        let name = self.builder.fresh(name);
        let to = self.builder.parameter(&name, recipe.make(array), trains)?;
        self.derived.push(Derived { from, to, recipe });
        Ok(to)
    }

    fn turn(&mut self, name: &str, parts: [ValueId; 2], ops: [Binary; 2]) -> Result<[ValueId; 2]> {
        if let Some(&turned) = self.turned.get(&parts) {
            return Ok(turned);
        }
        let [a, b] = parts;
        let first = self.node(name, Op::Binary(ops[0]), &[a, b])?;
        // A radius is upper less lower, in the other order than centre less radius.
        let second = self.node(name, Op::Binary(ops[1]), &[b, a])?;
        let made = [first, second];
        self.turned.insert(parts, made);
        Ok(made)
    }

    /// Lower and upper end.
    pub(super) fn ends(&mut self, name: &str, x: Interval) -> Result<[ValueId; 2]> {
        match x.form {
            Form::Ends => Ok(x.parts),
            Form::Middle => {
                let name = format!("{name}.ends");
                self.turn(&name, x.parts, [Binary::Sub, Binary::Add])
            }
        }
    }

    /// Centre and radius, or twice both: whoever reads them takes the factor into its weights.
    pub(super) fn middle(&mut self, name: &str, x: Interval) -> Result<Middle> {
        let (parts, scale) = match x.form {
            Form::Middle => (x.parts, 1.0),
            Form::Ends => {
                let name = format!("{name}.middle");
                (self.turn(&name, x.parts, [Binary::Add, Binary::Sub])?, 2.0)
            }
        };
        let [centre, radius] = parts;
        Ok(Middle {
            centre,
            radius,
            scale,
        })
    }
}
