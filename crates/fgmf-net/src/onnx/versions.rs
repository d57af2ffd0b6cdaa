//! Forms of older operator sets, brought to the one form that is read: numbers that were attributes
//! become inputs, operators that were renamed get their name.

use super::attributes::Attributes;
use super::messages::text;
use super::proto::{GraphProto, NodeProto, TensorProto, dtype, kind};
use super::survey::is_standard;
use std::collections::HashSet;

/// Operator set before which an operator has an attribute in the place of an input: the attribute,
/// the place of the input, and whether it holds integers.
const MOVED: [(&str, i64, &str, usize, bool); 8] = [
    ("Split", 13, "split", 1, true),
    ("Clip", 11, "min", 1, false),
    ("Clip", 11, "max", 2, false),
    ("Pad", 11, "pads", 1, true),
    ("Pad", 11, "value", 2, false),
    ("TopK", 10, "k", 1, true),
    ("Slice", 10, "starts", 1, true),
    ("Slice", 10, "ends", 2, true),
];

/// Brings every node of a graph of operator set `version` to the form of a later one.
pub(super) fn renew(graph: &mut GraphProto, version: i64) -> Result<(), String> {
    if version >= 13 {
        return Ok(());
    }
    let stored = graph.initializer.iter().map(|t| t.name.clone());
    let made = graph.node.iter().flat_map(|n| n.output.iter().cloned());
    let mut arrays = Arrays {
        taken: stored.chain(made).collect(),
        new: Vec::new(),
    };
    for node in &mut graph.node {
        if !is_standard(&node.domain) {
            continue;
        }
        let name = format!("node `{}` ({})", node.name, node.op_type);
        let wrong = |reason: String| format!("{name}: {reason}");
        for (operator, before, attribute, at, ints) in MOVED {
            if node.op_type == operator && version < before {
                arrays.moved(node, attribute, at, ints).map_err(wrong)?;
            }
        }
        match node.op_type.as_str() {
            "Slice" if version < 10 => arrays.moved(node, "axes", 3, true).map_err(wrong)?,
            "Upsample" => upsample(node, &mut arrays).map_err(wrong)?,
            "Resize" if version < 11 => resize(node),
            _ => {}
        }
    }
    graph.initializer.append(&mut arrays.new);
    Ok(())
}

/// Stored arrays that the graph did not have.
struct Arrays {
    taken: HashSet<String>,
    new: Vec<TensorProto>,
}

impl Arrays {
    fn add(&mut self, base: &str, ints: Vec<i64>, floats: Vec<f32>) -> String {
        let numbered = (0..).map(|i| format!("{base}/{i}"));
        let name = numbered.into_iter().find(|n| !self.taken.contains(n));
        let name = name.unwrap_or_default();
        self.taken.insert(name.clone());
        self.new.push(TensorProto {
            name: name.clone(),
            dims: vec![(ints.len() + floats.len()) as i64],
            data_type: if floats.is_empty() {
                dtype::INT64
            } else {
                dtype::FLOAT
            },
            int64_data: ints,
            float_data: floats,
            ..Default::default()
        });
        name
    }

    /// Makes input `at` of an attribute, if the node has it.
    fn moved(
        &mut self,
        node: &mut NodeProto,
        attribute: &str,
        at: usize,
        ints: bool,
    ) -> Result<(), String> {
        let a = Attributes(&node.attribute);
        let Some(found) = a.find(attribute) else {
            return Ok(());
        };
        let base = format!(
            "{}/{attribute}",
            node.output.first().map_or("", String::as_str)
        );
        let name = if ints {
            let list = match found.r#type {
                kind::INT => vec![found.i.unwrap_or(0)],
                _ => found.ints.clone(),
            };
            self.add(
                &base,
                super::attributes::short(attribute, list)?,
                Vec::new(),
            )
        } else {
            let value = found.f.unwrap_or(0.0);
            self.add(&base, Vec::new(), vec![value])
        };
        let empty = node.input.len().max(at + 1);
        node.input.resize(empty, String::new());
        node.input[at] = name;
        node.attribute.retain(|a| a.name != attribute);
        Ok(())
    }
}

/// `Upsample` is a resize whose positions are those of the output over the scale.
fn upsample(node: &mut NodeProto, arrays: &mut Arrays) -> Result<(), String> {
    let a = Attributes(&node.attribute);
    if let Some(scales) = a.find("scales") {
        let scales = scales.floats.clone();
        if scales.len() > super::attributes::MOST_AXES {
            return Err(format!("expected a scale an axis, found {}", scales.len()));
        }
        let base = node.output.first().map_or("", String::as_str);
        let name = arrays.add(&format!("{base}/scales"), Vec::new(), scales);
        node.input.truncate(1);
        node.input.push(name);
        node.attribute.retain(|a| a.name != "scales");
    }
    node.op_type = "Resize".to_owned();
    resize(node);
    Ok(())
}

/// The first `Resize` had no region of interest, and one way to find positions.
fn resize(node: &mut NodeProto) {
    if node.input.len() == 2 {
        node.input.insert(1, String::new());
    }
    let how = [
        ("coordinate_transformation_mode", "asymmetric"),
        ("nearest_mode", "floor"),
    ];
    node.attribute
        .extend(how.map(|(name, value)| text(name, value)));
}
