//! A node being converted: typed access to its inputs.

use super::array::{Array, Data, Known};
use super::attributes::{Attributes, widen};
use super::proto::NodeProto;
use super::scope::Scope;
use crate::graph::op::{Binary, Op, Unary};
use crate::graph::{Dim, PROBES, ValueId, concrete};

/// An operator and the values it reads.
pub(super) type Made = Result<(Op, Vec<ValueId>), String>;

/// One node and the network before it.
pub(super) struct Site<'r, 'a> {
    pub(super) scope: &'r mut Scope<'a>,
    pub(super) node: &'a NodeProto,
    pub(super) attributes: Attributes<'a>,
}

impl<'a> Site<'_, 'a> {
    pub(super) fn name(&self, i: usize) -> Option<&'a str> {
        self.node
            .input
            .get(i)
            .map(String::as_str)
            .filter(|n| !n.is_empty())
    }

    /// Input `i` as a value of the network.
    pub(super) fn operand(&mut self, i: usize) -> Result<ValueId, String> {
        let name = self
            .name(i)
            .ok_or_else(|| format!("expected input {i}, found none"))?;
        self.scope.operand(name, false)
    }

    /// Inputs as values of the network; missing ones at the end are left out.
    pub(super) fn operands(&mut self) -> Result<Vec<ValueId>, String> {
        let n = (0..self.node.input.len())
            .rev()
            .find(|&i| self.name(i).is_some())
            .map_or(0, |i| i + 1);
        (0..n).map(|i| self.operand(i)).collect()
    }

    /// Input `i` as a constant; `None` where it is absent or empty.
    pub(super) fn constant(&mut self, i: usize) -> Result<Option<Known>, String> {
        let Some(name) = self.name(i) else {
            return Ok(None);
        };
        let known = self.scope.constant(name)?.ok_or_else(|| {
            format!("expected a constant for input {i}, found `{name}`, which depends on the image")
        })?;
        self.scope.look_at(&known)?;
        Ok(Some(known))
    }

    /// Integers of input `i` at both probes, which may depend on the batch size.
    pub(super) fn sizes(&mut self, i: usize) -> Result<Option<Vec<[i64; 2]>>, String> {
        let Some(known) = self.constant(i)? else {
            return Ok(None);
        };
        let [a, b] = known.0.each_ref().map(|k| k.as_ints());
        let (a, b) = (a?, b?);
        if a.len() != b.len() {
            return Err(format!(
                "expected a list of one length for input {i}, found {} and {} entries",
                a.len(),
                b.len()
            ));
        }
        Ok(Some(a.iter().zip(b).map(|(&a, &b)| [a, b]).collect()))
    }

    /// Integers of input `i`, which may not depend on the batch size.
    pub(super) fn ints(&mut self, i: usize) -> Result<Option<Vec<i64>>, String> {
        let Some(known) = self.constant(i)? else {
            return Ok(None);
        };
        let array = known.same().ok_or_else(|| {
            format!("expected a constant for input {i}, found one that depends on the batch size")
        })?;
        Ok(Some(array.as_ints()?.to_vec()))
    }

    /// Numbers of input `i`, which may not depend on the batch size.
    pub(super) fn floats(&mut self, i: usize) -> Result<Option<Vec<f32>>, String> {
        let Some(known) = self.constant(i)? else {
            return Ok(None);
        };
        let array = known.same().ok_or_else(|| {
            format!("expected a constant for input {i}, found one that depends on the batch size")
        })?;
        Ok(Some(array.to_floats()))
    }

    /// The only number of input `i`.
    pub(super) fn scalar(&mut self, i: usize) -> Result<Option<f64>, String> {
        match self.floats(i)?.as_deref() {
            None => Ok(None),
            Some([v]) => Ok(Some(widen(*v))),
            Some(list) => Err(format!(
                "expected one number for input {i}, found {}",
                list.len()
            )),
        }
    }

    /// Axes from the second input or, as before operator set 18, from the attribute.
    pub(super) fn axes(&mut self) -> Result<Option<Vec<i64>>, String> {
        match self.ints(1)? {
            Some(axes) => super::attributes::short("axes", axes).map(Some),
            None => self.attributes.ints("axes"),
        }
    }

    /// The axes of `x` that a reduction works along, as the file gives them, and whether they stay
    /// as size 1.
    pub(super) fn reduced(&mut self, x: ValueId) -> Result<(Vec<i64>, bool), String> {
        let rank = self.scope.dims(x).len() as i64;
        let keep = self.attributes.flag("keepdims", true)?;
        let given = self.axes()?.unwrap_or_default();
        let nothing = given.is_empty() && self.attributes.flag("noop_with_empty_axes", false)?;
        let all = given.is_empty() && !nothing;
        Ok((if all { (0..rank).collect() } else { given }, keep))
    }

    /// Shapes of a value at both probes.
    pub(super) fn shapes(&self, id: ValueId) -> [Vec<usize>; 2] {
        PROBES.map(|n| concrete(&self.scope.dims(id), n))
    }
}

/// Nodes before the last one, where an operator is put together from several.
impl Site<'_, '_> {
    /// One more node before the last.
    pub(super) fn part(
        &mut self,
        what: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, String> {
        let base = self.node.output.first().map_or("", String::as_str);
        let name = format!("{base}/{what}");
        self.scope.add(&name, op, inputs)
    }

    /// One number as a value of its own.
    pub(super) fn number(&mut self, what: &str, v: f64) -> Result<ValueId, String> {
        self.filled(what, &[1], v)
    }

    /// An array of equal numbers.
    pub(super) fn filled(
        &mut self,
        what: &str,
        shape: &[usize],
        v: f64,
    ) -> Result<ValueId, String> {
        let n = shape.iter().product();
        self.stored(what, shape, vec![v as f32; n])
    }

    /// An array that does not train.
    pub(super) fn stored(
        &mut self,
        what: &str,
        shape: &[usize],
        v: Vec<f32>,
    ) -> Result<ValueId, String> {
        let base = self.node.output.first().map_or("", String::as_str);
        let name = format!("{base}/{what}");
        let array = Array {
            shape: shape.to_vec(),
            data: Data::Float(v),
        };
        self.scope.constant_parameter(&name, &array)
    }

    /// `a op b`.
    pub(super) fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> Result<ValueId, String> {
        let what = format!("{op:?}").to_lowercase();
        self.part(&what, Op::Binary(op), &[a, b])
    }

    /// `op x`.
    pub(super) fn unary(&mut self, op: Unary, x: ValueId) -> Result<ValueId, String> {
        self.part("inner", Op::Unary(op), &[x])
    }

    /// Sizes of the axes from `from` on, none of which may grow with the batch.
    pub(super) fn fixed(&self, x: ValueId, from: usize) -> Result<Vec<usize>, String> {
        let dims = self.scope.dims(x);
        let sizes = dims
            .get(from..)
            .unwrap_or_default()
            .iter()
            .map(|d| match d {
                Dim::Fixed(d) => Ok(*d),
                Dim::Batch(_) => Err("expected axes that do not grow with the batch".to_owned()),
            });
        sizes.collect()
    }
}
