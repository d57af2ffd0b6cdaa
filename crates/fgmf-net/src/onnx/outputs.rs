//! Which output of a file gives the scores.
//!
//! One that is asked for by its name is taken. Otherwise, of several outputs, one `[n, k]` or `[n]`
//! of probabilities is: what a softmax, or its logarithm, or a sigmoid makes, if the file has
//! exactly one of them. If what goes into that node is an output, too, it is taken: those are the
//! logits. Without such a one the first output is taken.

use super::export::fault;
use super::external::Files;
use super::proto::{GraphProto, Size, ValueInfoProto};
use crate::error::{Error, ExportFault, Result};

/// Operators that make probabilities.
const SQUASHING: [&str; 3] = ["Softmax", "LogSoftmax", "Sigmoid"];

/// An output of a file.
pub(super) struct Scores<'a> {
    pub(super) name: &'a str,
    /// Which one was taken of several, and why.
    pub(super) note: Option<String>,
}

impl Files {
    /// Whether the file has an output of this name.
    pub fn has_output(&self, name: &str) -> bool {
        let mut outputs = self.message.graph.iter().flat_map(|g| &g.output);
        outputs.any(|o| o.name == name)
    }
}

/// The output that is asked for, or that the file states, or that is most likely the scores.
/// `outputs` are those of the graph that may be it.
pub(super) fn scores<'a>(
    graph: &'a GraphProto,
    outputs: &[&'a ValueInfoProto],
    wanted: Option<&str>,
    stated: Option<&str>,
) -> Result<Scores<'a>> {
    let asked = wanted.map(|name| (name, "as asked for"));
    let asked = asked.or(stated.map(|name| (name, "as the metadata of the file say")));
    let all = || {
        outputs
            .iter()
            .map(|o| shown(o))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let [first, _, ..] = outputs else {
        let name = outputs.first().map(|o| o.name.as_str());
        let name = name.ok_or_else(|| Error::Graph("expected an output, found none".to_owned()))?;
        return match asked {
            Some((wanted, _)) if wanted != name => Err(unknown(wanted, &all())),
            _ => Ok(Scores { name, note: None }),
        };
    };
    let (name, reason) = match asked {
        Some((wanted, reason)) => {
            let found = outputs.iter().find(|o| o.name == wanted);
            let found = found.ok_or_else(|| unknown(wanted, &all()))?;
            (found.name.as_str(), reason.to_owned())
        }
        None => probable(graph, outputs).unwrap_or_else(|| {
            (
                first.name.as_str(),
                "the first of the outputs of the file".to_owned(),
            )
        }),
    };
    let note = format!(
        "taken for the scores: `{name}`, {reason}; the outputs are {}",
        all()
    );
    Ok(Scores {
        name,
        note: Some(note),
    })
}

/// The scores by the operator that makes them, and the reason in words.
fn probable<'a>(
    graph: &'a GraphProto,
    outputs: &[&'a ValueInfoProto],
) -> Option<(&'a str, String)> {
    let made = outputs.iter().filter_map(|&o| {
        let rows = matches!(sizes(o)?.len(), 1 | 2);
        let node = graph.node.iter().find(|n| n.output.contains(&o.name))?;
        let squashed = rows && SQUASHING.contains(&node.op_type.as_str());
        squashed.then_some((o, node))
    });
    let mut made = made.take(2);
    let ((output, node), None) = (made.next()?, made.next()) else {
        return None;
    };
    let operator = &node.op_type;
    let logits = outputs.iter().find(|o| node.input.first() == Some(&o.name));
    Some(match logits {
        Some(logits) => {
            let reason = format!("of which a {operator} makes `{}`", output.name);
            (&logits.name, reason)
        }
        None => {
            let reason = "the only [n, k] that a Softmax, LogSoftmax or Sigmoid makes".to_owned();
            (&output.name, reason)
        }
    })
}

fn unknown(wanted: &str, all: &str) -> Error {
    let reason = format!("expected one of the outputs of the file, {all}, found `{wanted}`");
    fault(ExportFault::Output, reason)
}

/// Declared sizes, `?` where one is free; `None` where the file declares none.
fn sizes(output: &ValueInfoProto) -> Option<Vec<String>> {
    let tensor = output.r#type.as_ref()?.tensor_type.as_ref()?;
    let shown = |size: &Option<Size>| match size {
        Some(Size::Value(v)) => v.to_string(),
        Some(Size::Param(name)) if !name.is_empty() => name.clone(),
        _ => "?".to_owned(),
    };
    let dims = &tensor.shape.as_ref()?.dim;
    Some(dims.iter().map(|d| shown(&d.value)).collect())
}

/// Name and shape of an output.
fn shown(output: &ValueInfoProto) -> String {
    match sizes(output) {
        Some(sizes) => format!("`{}` [{}]", output.name, sizes.join(", ")),
        None => format!("`{}`", output.name),
    }
}
