//! Local functions of a model, put in the place of the nodes that call them.

use super::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
use crate::graph::MOST_NODES;
use std::collections::HashMap;

/// How deep functions may call functions.
const DEEPEST: usize = 16;

/// Longest name of a call that the names of its nodes begin with.
const LONGEST: usize = 200;

/// Puts the nodes of local functions in the place of their calls.
pub(super) fn inline(graph: &mut GraphProto, functions: &[FunctionProto]) -> Result<(), String> {
    if functions.is_empty() {
        return Ok(());
    }
    let by_name: HashMap<(&str, &str), &FunctionProto> = functions
        .iter()
        .map(|f| ((f.domain.as_str(), f.name.as_str()), f))
        .collect();
    for _ in 0..DEEPEST {
        let calls = |n: &NodeProto| by_name.contains_key(&(n.domain.as_str(), n.op_type.as_str()));
        if !graph.node.iter().any(calls) {
            return Ok(());
        }
        let mut nodes = Vec::with_capacity(graph.node.len());
        for (i, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
            match by_name.get(&(node.domain.as_str(), node.op_type.as_str())) {
                Some(function) => nodes.extend(called(function, &node, i)?),
                None => nodes.push(node),
            }
            if nodes.len() > MOST_NODES {
                return Err(format!("expected at most {MOST_NODES} nodes, found more"));
            }
        }
        graph.node = nodes;
    }
    Err(format!(
        "expected local functions that call each other at most {DEEPEST} deep"
    ))
}

/// The nodes of a function for one call, with the names of the caller.
fn called(
    function: &FunctionProto,
    call: &NodeProto,
    number: usize,
) -> Result<Vec<NodeProto>, String> {
    // Every name inside begins with it.
    let base = match call.name.as_str() {
        name if name.is_empty() || name.len() > LONGEST => format!("function_{number}"),
        name => name.to_owned(),
    };
    if call.input.len() > function.input.len() || call.output.len() > function.output.len() {
        return Err(format!(
            "node `{base}`: expected at most {} inputs and {} outputs of function `{}`, found {} \
                and {}",
            function.input.len(),
            function.output.len(),
            function.name,
            call.input.len(),
            call.output.len()
        ));
    }
    let mut names: HashMap<&str, String> = HashMap::new();
    for (i, name) in function.input.iter().enumerate() {
        let given = call.input.get(i).cloned().unwrap_or_default();
        names.insert(name, given);
    }
    for (name, given) in function.output.iter().zip(&call.output) {
        if !given.is_empty() && !names.contains_key(name.as_str()) {
            names.insert(name, given.clone());
        }
    }
    let renamed = |names: &HashMap<&str, String>, name: &String| match names.get(name.as_str()) {
        Some(given) => given.clone(),
        None if name.is_empty() => String::new(),
        None => format!("{base}/{name}"),
    };
    let mut nodes = Vec::with_capacity(function.node.len());
    for (i, inner) in function.node.iter().enumerate() {
        let mut node = inner.clone();
        let own = match inner.name.as_str() {
            "" => i.to_string(),
            name => name.to_owned(),
        };
        node.name = format!("{base}/{own}");
        node.input.iter_mut().for_each(|n| *n = renamed(&names, n));
        node.output.iter_mut().for_each(|n| *n = renamed(&names, n));
        node.attribute = inner
            .attribute
            .iter()
            .filter_map(|a| given(function, call, a))
            .collect();
        nodes.push(node);
    }
    // An output that is an input of the function has no node that makes it.
    for (name, given) in function.output.iter().zip(&call.output) {
        if let Some(at) = function.input.iter().position(|i| i == name)
            && !given.is_empty()
        {
            nodes.push(NodeProto {
                op_type: "Identity".to_owned(),
                name: format!("{base}/{name}"),
                input: vec![call.input.get(at).cloned().unwrap_or_default()],
                output: vec![given.clone()],
                ..Default::default()
            });
        }
    }
    Ok(nodes)
}

/// An attribute of a function's node: its own, or what the call or the function gives for it.
fn given(function: &FunctionProto, call: &NodeProto, a: &AttributeProto) -> Option<AttributeProto> {
    if a.ref_attr_name.is_empty() {
        return Some(a.clone());
    }
    let of = |list: &[AttributeProto]| list.iter().find(|g| g.name == a.ref_attr_name).cloned();
    let found = of(&call.attribute).or_else(|| of(&function.attribute_proto))?;
    Some(AttributeProto {
        name: a.name.clone(),
        ..found
    })
}
