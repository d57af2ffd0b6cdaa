//! A graph being written: stored arrays and messages so far, and names that are taken.

use super::proto::{GraphProto, NodeProto, TensorProto, dtype};
use crate::graph::{Network, Value, ValueId};
use std::collections::HashSet;

/// A stored array of numbers.
pub(super) fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto {
        name: name.to_owned(),
        dims: shape.iter().map(|&d| d as i64).collect(),
        data_type: dtype::FLOAT,
        raw_data,
        ..Default::default()
    }
}

/// A graph being written.
pub(super) struct Writer<'a> {
    pub(super) net: &'a Network,
    pub(super) graph: GraphProto,
    pub(super) names: HashSet<String>,
}

impl Writer<'_> {
    pub(super) fn value(&self, id: ValueId) -> &Value {
        self.net.value(id)
    }

    /// A name that nothing has yet.
    pub(super) fn fresh(&mut self, base: String) -> String {
        let mut name = base;
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// Stores integers and returns their name.
    pub(super) fn ints(&mut self, base: String, shape: &[usize], values: &[i64]) -> String {
        let name = self.fresh(base);
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = shape.iter().map(|&d| d as i64).collect();
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims,
            data_type: dtype::INT64,
            raw_data,
            ..Default::default()
        });
        name
    }

    /// Stores one byte and returns its name.
    pub(super) fn byte(&mut self, base: String, value: u8) -> String {
        let name = self.fresh(base);
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            data_type: dtype::UINT8,
            raw_data: vec![value],
            ..Default::default()
        });
        name
    }

    /// Stores numbers and returns their name.
    pub(super) fn floats(&mut self, base: String, shape: &[usize], values: &[f32]) -> String {
        let name = self.fresh(base);
        self.graph.initializer.push(floats(&name, shape, values));
        name
    }

    pub(super) fn push(&mut self, node: NodeProto) {
        self.graph.node.push(node);
    }
}
