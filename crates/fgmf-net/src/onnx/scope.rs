//! What later nodes may use: the network so far, and every value that is known.

use super::array::{Array, Data, Known};
use super::survey::Survey;
use crate::error::{Error, Result};
use crate::graph::op::{Expand, Op};
use crate::graph::{Builder, Dim, PROBES, ValueId};
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// What a part of a file turns into, or what is wrong with it.
pub(super) type Reading<T> = std::result::Result<T, String>;

/// Most axes of a value.
pub(super) const MOST_AXES: usize = 8;

/// Most numbers of constants that nodes look at while the file is read, counted once for each node.
/// Tables of positions of the largest transformers have half a million.
const MOST_LOOKED_AT: usize = 1 << 25;

/// The network so far and all values that later nodes may use.
pub(super) struct Scope<'a> {
    pub(super) builder: Builder,
    pub(super) survey: Survey<'a>,
    /// Batch size that the file fixes.
    pub(super) fixed_batch: Option<usize>,
    /// An element type other than float32 that the file computes in.
    pub(super) other_precision: Option<i32>,
    /// Operator set of the file.
    pub(super) version: i64,
    /// Whether images could get mixed: the file's shapes did not say where the batch goes.
    pub(super) widened: bool,
    pub(super) known: HashMap<&'a str, Known>,
    pub(super) ids: HashMap<&'a str, ValueId>,
    pub(super) folded: usize,
    pub(super) looked_at: usize,
}

impl<'a> Scope<'a> {
    /// The stored arrays that the network computes with.
    pub(super) fn add_parameters(&mut self) -> Result<()> {
        for (t, trainable) in std::mem::take(&mut self.survey.parameters) {
            let array = Array::decode(t)
                .map_err(|reason| Error::Graph(format!("stored array {reason}")))?;
            let tensor = tensor(&array)
                .map_err(|reason| Error::Graph(format!("stored array `{}`: {reason}", t.name)))?;
            let id = self.builder.parameter(&t.name, tensor, trainable)?;
            self.ids.insert(&t.name, id);
        }
        Ok(())
    }

    /// Counts numbers of constants that a node looks at, however often it is.
    pub(super) fn look_at(&mut self, known: &Known) -> Reading<()> {
        // Axes of size 0 hide none of the others.
        let size = |a: &Arc<Array>| {
            let all = a.shape.iter().map(|&d| d.max(1));
            all.fold(1, usize::saturating_mul)
        };
        let larger = known.0.iter().map(size).max().unwrap_or(0);
        self.looked_at = self.looked_at.saturating_add(larger);
        if self.looked_at <= MOST_LOOKED_AT {
            return Ok(());
        }
        Err(format!(
            "expected nodes that read at most {MOST_LOOKED_AT} numbers of constants in all, \
                found {} up to here",
            self.looked_at
        ))
    }

    /// A value known at reading time; `None` if it is computed from the image.
    pub(super) fn constant(&mut self, name: &str) -> Reading<Option<Known>> {
        if let Some(known) = self.known.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some((&name, t)) = self.survey.stored.get_key_value(name) else {
            return Ok(None);
        };
        let known = Known::constant(Array::decode(t)?);
        self.known.insert(name, known.clone());
        Ok(Some(known))
    }

    /// A value that a node of the network reads; constants become parameters.
    pub(super) fn operand(&mut self, name: &'a str, integers: bool) -> Reading<ValueId> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        let known = self
            .constant(name)?
            .ok_or_else(|| format!("expected a value `{name}`, found none"))?;
        if matches!(known.0[0].data, Data::Int(_)) && !integers {
            return Err(format!(
                "expected floating-point numbers, found the integers `{name}`"
            ));
        }
        let id = match known.same() {
            Some(array) => self.constant_parameter(name, array)?,
            None => self.batch_constant(name, &known)?,
        };
        self.ids.insert(name, id);
        Ok(id)
    }

    pub(super) fn constant_parameter(&mut self, name: &str, array: &Array) -> Reading<ValueId> {
        let fresh = self.builder.fresh(name);
        let tensor = tensor(array)?;
        self.builder
            .parameter(&fresh, tensor, false)
            .map_err(|e| e.to_string())
    }

    /// One number repeated in a shape that grows with the batch.
    fn batch_constant(&mut self, name: &str, known: &Known) -> Reading<ValueId> {
        let [a, b] = known.0.each_ref().map(|k| k.to_floats());
        let wrong = || {
            format!("expected a constant, found `{name}`, whose numbers depend on the batch size")
        };
        let value = *a.first().ok_or_else(wrong)?;
        if a.iter().chain(&b).any(|v| v.to_bits() != value.to_bits())
            || known.0[0].shape.len() != known.0[1].shape.len()
        {
            return Err(wrong());
        }
        let size = |(&x, &y): (&usize, &usize)| {
            if x == y {
                Ok(Some(x))
            } else if [x, y] == PROBES {
                Ok(None)
            } else {
                Err(wrong())
            }
        };
        let shape = known.0[0]
            .shape
            .iter()
            .zip(&known.0[1].shape)
            .map(size)
            .collect::<Reading<_>>()?;
        let one = self.constant_parameter(
            &format!("{name}/value"),
            &Array {
                shape: vec![1],
                data: Data::Float(vec![value]),
            },
        )?;
        let inputs = [one, self.builder.input()];
        let made = self.builder.fresh(name);
        self.builder
            .node(&made, Op::Expand(Expand { shape }), &inputs)
            .map_err(|e| e.to_string())
    }

    /// One more node, with one output; the name gets a number if it is taken.
    pub(super) fn add(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Reading<ValueId> {
        let name = self.builder.fresh(name);
        let made = self.builder.node(&name, op, inputs);
        made.map_err(|e| match e {
            Error::Node { reason, .. } => reason,
            other => other.to_string(),
        })
    }

    pub(super) fn dims(&self, id: ValueId) -> Vec<Dim> {
        self.builder.network().value(id).shape.clone()
    }
}

/// A parameter of this content; single numbers have shape `[1]`.
fn tensor(array: &Array) -> Reading<Tensor> {
    if array.len() == 0 || array.shape.len() > MOST_AXES {
        return Err(format!(
            "expected at least one number and at most {MOST_AXES} axes, found shape {:?}",
            array.shape
        ));
    }
    let shape = if array.shape.is_empty() {
        &[1][..]
    } else {
        &array.shape
    };
    Ok(Tensor::new(shape, array.to_floats()))
}
