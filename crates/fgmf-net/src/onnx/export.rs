//! Faults of an export whose cure is known, looked for before anything else is read.

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, dtype};
use crate::error::{Error, ExportFault, Result};
use std::collections::HashSet;

/// How a file of Git LFS begins whose content was not fetched.
const POINTER: &[u8] = b"version https://git-lfs";
/// Sides from which on an axis is no number of channels, where another one can be it.
const LEAST_SIDE: i64 = 8;

/// An error for a file that stands in for a model kept elsewhere.
pub(super) fn check_bytes(bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(POINTER) {
        return Ok(());
    }
    let found = "expected an ONNX model, found a pointer of Git LFS to one";
    Err(fault(ExportFault::Pointer, found.to_owned()))
}

/// An error for a model that would be read if it had been exported otherwise.
pub(super) fn check_graph(graph: &GraphProto) -> Result<()> {
    for stored in &graph.initializer {
        check_stored(stored)?;
    }
    let stored: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs = graph.input.iter();
    for input in inputs.filter(|i| !stored.contains(i.name.as_str())) {
        check_input(input)?;
    }
    graph
        .node
        .iter()
        .try_for_each(|node| check_node(graph, node))
}

fn check_stored(stored: &TensorProto) -> Result<()> {
    if !stored.is_external() {
        return Ok(());
    }
    let name = &stored.name;
    let found = format!(
        "`{name}`: expected the numbers inside the file, found external data (give the path of the \
         model, or save it as one file)"
    );
    Err(fault(ExportFault::ExternalData, found))
}

fn check_input(input: &ValueInfoProto) -> Result<()> {
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let Some(tensor) = tensor else { return Ok(()) };
    let name = &input.name;
    if !is_floating(tensor.elem_type) {
        let found = format!(
            "expected input `{name}` to be images of floating-point numbers, found {}",
            type_name(tensor.elem_type)
        );
        return Err(fault(ExportFault::Precision, found));
    }
    Ok(())
}

/// Whether the channels of the images come last, `[n, h, w, c]`: where the last axis is one of
/// colours, and the others are too long for that or a node turns the images first.
pub(super) fn channels_last(graph: &GraphProto, name: &str, sizes: &[Option<i64>]) -> bool {
    let turned = graph.node.iter().any(|node| turns(node, name));
    match sizes {
        [_, Some(h), Some(w), Some(c)] => {
            [1, 3].contains(c) && (turned || (*h >= LEAST_SIDE && *w >= LEAST_SIDE))
        }
        _ => false,
    }
}

/// Whether a node makes `[n, c, h, w]` of this `[n, h, w, c]`.
fn turns(node: &NodeProto, input: &str) -> bool {
    let from = node.input.first().is_some_and(|i| i == input);
    let order = |a: &AttributeProto| a.name == "perm" && a.ints == [0, 3, 1, 2];
    from && node.op_type == "Transpose" && node.attribute.iter().any(order)
}

/// Whether batch normalisation takes the statistics of the batch, or dropout drops.
fn check_node(graph: &GraphProto, node: &NodeProto) -> Result<()> {
    let mode = |a: &AttributeProto| a.name == "training_mode" && a.i == Some(1);
    let trains = match node.op_type.as_str() {
        // Of weights it standardises them.
        "BatchNormalization" => node.attribute.iter().any(mode) && !is_stored(graph, node),
        "Dropout" => node.input.get(2).is_some_and(|name| is_true(graph, name)),
        _ => false,
    };
    if !trains {
        return Ok(());
    }
    let found = format!(
        "node `{}` ({}): expected a network for evaluation, found training mode",
        node.name, node.op_type
    );
    Err(fault(ExportFault::TrainingMode, found))
}

/// Whether a node reads a stored array.
fn is_stored(graph: &GraphProto, node: &NodeProto) -> bool {
    let read = node.input.first();
    read.is_some_and(|name| graph.initializer.iter().any(|t| t.name == *name))
}

/// Whether a stored truth value of this name is true.
fn is_true(graph: &GraphProto, name: &str) -> bool {
    let stored = graph.initializer.iter().find(|t| t.name == name);
    let constant = || {
        let mut nodes = graph.node.iter();
        let node = nodes.find(|n| n.op_type == "Constant" && n.output.iter().any(|o| o == name))?;
        node.attribute.iter().find_map(|a| a.t.as_ref())
    };
    stored
        .or_else(constant)
        .is_some_and(|t| t.raw_data.iter().any(|&b| b != 0) || t.int32_data.iter().any(|&v| v != 0))
}

/// Whether an element type is of floating-point numbers.
pub(super) fn is_floating(code: i32) -> bool {
    [dtype::FLOAT, dtype::DOUBLE, dtype::FLOAT16, dtype::BFLOAT16].contains(&code)
}

pub(super) fn fault(fault: ExportFault, reason: String) -> Error {
    Error::Export { fault, reason }
}

/// An element type as people write it.
pub(super) fn type_name(code: i32) -> String {
    let known = match code {
        dtype::FLOAT => "float32",
        dtype::UINT8 => "uint8",
        dtype::INT8 => "int8",
        dtype::UINT16 => "uint16",
        dtype::INT16 => "int16",
        dtype::INT32 => "int32",
        dtype::INT64 => "int64",
        dtype::BOOL => "truth values",
        dtype::FLOAT16 => "float16",
        dtype::DOUBLE => "float64",
        dtype::UINT32 => "uint32",
        dtype::UINT64 => "uint64",
        dtype::BFLOAT16 => "bfloat16",
        _ => return format!("data type {code}"),
    };
    known.to_owned()
}
