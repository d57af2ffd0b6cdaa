//! The images that a file takes: `[n, c, h, w]` or `[n, h, w, c]`.
//!
//! Height and width that the file leaves free are those of [`ReadOptions`](super::ReadOptions). A
//! free number of channels is that of the convolution that reads the images.

use super::attributes::Attributes;
use super::export::{channels_last, fault};
use super::external::Files;
use super::proto::{DimensionProto, GraphProto, NodeProto, Size, ValueInfoProto};
use crate::error::{Error, ExportFault, Result};
use std::collections::HashSet;

/// The only input that is not stored.
pub(super) struct Images<'a> {
    pub(super) input: &'a str,
    /// `[c, h, w]`.
    pub(super) image: [usize; 3],
    /// Batch size, if it is fixed.
    pub(super) fixed_batch: Option<usize>,
    /// Whether the file has `[n, h, w, c]`.
    pub(super) last: bool,
}

impl Files {
    /// Whether the file leaves height or width of its images free.
    pub fn leaves_size_free(&self) -> bool {
        let sizes = |graph: &GraphProto| match inputs(graph).as_slice() {
            [input] => declared(input).map(|sizes| (sizes, input.name.clone())),
            _ => None,
        };
        let graph = self.message.graph.as_ref();
        graph
            .and_then(|g| Some((g, sizes(g)?)))
            .is_some_and(|(g, (sizes, name))| {
                let sides = sides(g, &name, &sizes);
                sides.is_some_and(|at| at.iter().any(|&axis| sizes[axis].is_none()))
            })
    }
}

/// Inputs that are not stored.
fn inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let stored: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs = graph.input.iter();
    inputs
        .filter(|i| !stored.contains(i.name.as_str()))
        .collect()
}

/// Declared sizes, `None` where one is free; `None` for what is no tensor.
fn declared(input: &ValueInfoProto) -> Option<Vec<Option<i64>>> {
    let tensor = input.r#type.as_ref()?.tensor_type.as_ref()?;
    let fixed = |d: &DimensionProto| match d.value {
        Some(Size::Value(v)) if v > 0 => Some(v),
        _ => None,
    };
    let dims = tensor.shape.as_ref().map(|s| s.dim.as_slice());
    Some(dims.unwrap_or_default().iter().map(fixed).collect())
}

/// The axes of height and width, of four.
fn sides(graph: &GraphProto, name: &str, sizes: &[Option<i64>]) -> Option<[usize; 2]> {
    let [_, first, _, last] = sizes else {
        return None;
    };
    let behind = first.is_none() && matches!(last, Some(1 | 3));
    let last = behind || channels_last(graph, name, sizes);
    Some(if last { [1, 2] } else { [2, 3] })
}

/// Input channels of the convolution with stored weights that reads the images.
fn convolved(graph: &GraphProto, name: &str) -> Option<i64> {
    let reads = |n: &&NodeProto| n.op_type == "Conv" && n.input.first().is_some_and(|i| i == name);
    let node = graph.node.iter().find(reads)?;
    let weight = node.input.get(1)?;
    let weight = graph.initializer.iter().find(|t| t.name == *weight)?;
    let group = Attributes(&node.attribute).int_or("group", 1).ok()?;
    weight.dims.get(1)?.checked_mul(group).filter(|&c| c > 0)
}

/// The images of a file; height and width are `size` where the file leaves them free.
pub(super) fn image_input(graph: &GraphProto, size: Option<[usize; 2]>) -> Result<Images<'_>> {
    let real = inputs(graph);
    let [input] = real.as_slice() else {
        let names: Vec<&str> = real.iter().map(|i| i.name.as_str()).collect();
        return Err(Error::Graph(format!(
            "expected one input, the images, found {}: {names:?}",
            real.len()
        )));
    };
    let name = &input.name;
    let wrong = |found: String| {
        format!(
            "expected input `{name}` to be float32 images [n, c, h, w] with fixed c, h, w, \
                found {found}"
        )
    };
    let mut sizes =
        declared(input).ok_or_else(|| Error::Graph(wrong("no tensor type".to_owned())))?;
    let shown: Vec<String> = sizes
        .iter()
        .map(|s| s.map_or("?".to_owned(), |s| s.to_string()))
        .collect();
    let shown = format!("shape [{}]", shown.join(", "));
    let at = sides(graph, name, &sizes);
    let at = at.ok_or_else(|| Error::Graph(wrong(shown.clone())))?;
    for (axis, side) in at.into_iter().zip(size.into_iter().flatten()) {
        let side = i64::try_from(side).unwrap_or(i64::MAX);
        if *sizes[axis].get_or_insert(side) != side {
            let [h, w] = size.unwrap_or_default();
            return Err(fault(
                ExportFault::Size,
                format!("expected images of the size that the file fixes, {shown}, found {h}x{w}"),
            ));
        }
    }
    if at == [2, 3] && sizes[1].is_none() {
        sizes[1] = convolved(graph, name);
    }
    match sizes.as_slice() {
        [batch, Some(a), Some(b), Some(c)] => {
            let last = at == [1, 2] || channels_last(graph, name, &sizes);
            let order = if last { [c, a, b] } else { [a, b, c] };
            Ok(Images {
                input: name,
                image: order.map(|d| *d as usize),
                fixed_batch: batch.map(|n| n as usize),
                last,
            })
        }
        // The size is what is missing, and can be stated.
        _ if at.iter().any(|&axis| sizes[axis].is_none()) => {
            Err(fault(ExportFault::Size, wrong(shown)))
        }
        _ => Err(Error::Graph(wrong(shown))),
    }
}
