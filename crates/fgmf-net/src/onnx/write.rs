//! From a network to messages.

use super::emit::node_messages;
use super::metadata::{BESIDE, FROZEN, name_list};
use super::proto::{
    DimensionProto, GraphProto, ModelProto, OperatorSetIdProto, Size, StringStringEntryProto,
};
use super::proto::{
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, dtype,
};
use super::writer::{Writer, floats};
use crate::error::{Error, Result};
use crate::graph::{Dim, Network, Node, Source, Value, ValueId};
use crate::tensor::{Precision, Tensor};
use std::collections::HashSet;

/// Operator set that is written.
const OPSET: i64 = 20;
/// File format that came with it.
const IR_VERSION: i64 = 9;

pub(super) fn model(net: &Network) -> Result<ModelProto> {
    let live = live_nodes(net);
    let used: HashSet<ValueId> = live.iter().flat_map(|n| n.inputs.iter().copied()).collect();
    let mut writer = Writer {
        net,
        graph: GraphProto {
            name: net.name.clone(),
            ..Default::default()
        },
        names: HashSet::new(),
    };
    writer
        .names
        .extend(net.values().iter().map(|v| v.name.clone()));
    let mut frozen = Vec::new();
    for (i, value) in net.values().iter().enumerate() {
        if let Source::Parameter { tensor, trainable } = &value.source
            && used.contains(&ValueId(i))
        {
            writer.graph.initializer.push(stored(&value.name, tensor)?);
            if !trainable {
                frozen.push(value.name.as_str());
            }
        }
    }
    for node in live {
        node_messages(&mut writer, node)
            .map_err(|reason| Error::node(&node.name, node.op.name(), reason))?;
    }
    writer.graph.input.push(declared(net.value(net.input())));
    let outputs = [&[net.output()], net.beside()].concat();
    let outputs = outputs.into_iter().map(|id| declared(net.value(id)));
    writer.graph.output.extend(outputs);
    let mut metadata = net.metadata.clone();
    metadata.insert(FROZEN.to_owned(), name_list(frozen.into_iter()));
    if !net.beside().is_empty() {
        let names = net.beside().iter().map(|&id| net.value(id).name.as_str());
        metadata.insert(BESIDE.to_owned(), name_list(names));
    }
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: Some(OPSET),
        }],
        producer_name: "fgmf".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(writer.graph),
        metadata_props: metadata
            .into_iter()
            .map(|(key, value)| StringStringEntryProto { key, value })
            .collect(),
        functions: Vec::new(),
    })
}

/// Nodes that the outputs depend on, in order.
fn live_nodes(net: &Network) -> Vec<&Node> {
    let mut read = HashSet::from([net.output()]);
    read.extend(net.beside());
    let mut live = Vec::new();
    for node in net.nodes().iter().rev() {
        if node.outputs.iter().any(|o| read.contains(o)) {
            read.extend(&node.inputs);
            live.push(node);
        }
    }
    live.reverse();
    live
}

fn declared(value: &Value) -> ValueInfoProto {
    let size = |d: &Dim| match d {
        Dim::Fixed(d) => Size::Value(*d as i64),
        Dim::Batch(_) => Size::Param("batch".to_owned()),
    };
    let dim = value
        .shape
        .iter()
        .map(|d| DimensionProto {
            value: Some(size(d)),
        })
        .collect();
    let tensor_type = TensorTypeProto {
        elem_type: dtype::FLOAT,
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto {
        name: value.name.clone(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
        }),
    }
}

fn stored(name: &str, tensor: &Tensor) -> Result<TensorProto> {
    if tensor.precision() != Precision::F32 {
        return Err(Error::call(
            "write ONNX",
            "a network of f32 parameters",
            format!("f64 in `{name}`"),
        ));
    }
    Ok(floats(name, tensor.shape(), &tensor.values::<f32>()))
}
