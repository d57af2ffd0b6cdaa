//! What a graph needs, decided before anything is built: which nodes lead to the logits, which are
//! constants, which stored arrays are parameters and which of these train.

use super::array::{is_float, shape_of};
use super::attributes::Attributes;
use super::fold::foldable;
use super::proto::{GraphProto, NodeProto, TensorProto, dtype};
use super::quantised::ROUND;
use crate::error::{Error, Result};
use std::collections::{HashMap, HashSet};

/// One node to be read.
pub(super) struct Listed<'a> {
    pub(super) node: &'a NodeProto,
    /// Name for messages and for the network: the node's own or, without one, that of its output.
    pub(super) name: &'a str,
    /// Computed at reading time.
    pub(super) constant: bool,
}

/// What leads to the logits, and what is stored for it.
pub(super) struct Survey<'a> {
    /// Nodes that the logits depend on, in order.
    pub(super) steps: Vec<Listed<'a>>,
    /// Stored arrays that become parameters, in the order of the file, and whether they train.
    pub(super) parameters: Vec<(&'a TensorProto, bool)>,
    /// All stored arrays.
    pub(super) stored: HashMap<&'a str, &'a TensorProto>,
    /// Names that something reads.
    pub(super) read: HashSet<&'a str>,
    /// Casts to half precision, in a file that computes in single precision, that nothing reads but
    /// casts back: they round.
    pub(super) rounded: HashSet<&'a str>,
}

/// Whether an input carries numbers of the computation, rather than a shape, an index or a setting.
fn is_operand(operator: &str, i: usize) -> bool {
    match operator {
        "Min" | "Max" => false,
        "Clip" | "Reshape" | "Expand" | "Pad" | "Resize" | "Slice" | "Split" | "Squeeze"
        | "Unsqueeze" | "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL1"
        | "ReduceL2" | "ReduceSumSquare" | "Gather" | "GatherND" | "TopK" | "Tile" | "Dropout"
        | "CastLike" | "Shape" | "Size" | "QuantizeLinear" | "DequantizeLinear" | ROUND => i == 0,
        "ScatterND" => i != 1,
        "Where" => i != 0,
        _ => true,
    }
}

/// Whether a stored array trains by where it is used.
fn is_weight(operator: &str, i: usize, several: bool) -> bool {
    match operator {
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "Einsum" => true,
        "BatchNormalization"
        | "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "RMSNormalization" => i == 1 || i == 2,
        "PRelu" => i == 1,
        "Add" | "Mul" | "Concat" | "Expand" => several,
        _ => false,
    }
}

/// Passes a stored array on under another name.
fn passes_on(operator: &str) -> bool {
    matches!(
        operator,
        "Identity"
            | "Cast"
            | "CastLike"
            | "Transpose"
            | "Reshape"
            | "Squeeze"
            | "Unsqueeze"
            | "Flatten"
            | "ScatterND"
    )
}

pub(super) fn survey<'a>(
    graph: &'a GraphProto,
    input: &'a str,
    (output, beside): (&'a str, &[&'a str]),
    frozen: Option<&HashSet<String>>,
) -> Result<Survey<'a>> {
    let mut stored: HashMap<&str, &TensorProto> = HashMap::new();
    for t in &graph.initializer {
        if t.name == input || stored.insert(&t.name, t).is_some() {
            return Err(Error::Graph(format!(
                "expected unique names, found `{}` twice",
                t.name
            )));
        }
    }
    check_order(graph, input, &stored)?;

    let mut read: HashSet<&str> = HashSet::from([output]);
    read.extend(beside);
    let mut live = Vec::new();
    for node in graph.node.iter().rev() {
        if node
            .output
            .iter()
            .any(|o| !o.is_empty() && read.contains(o.as_str()))
        {
            let inputs = node.input.iter().take(read_inputs(node));
            read.extend(inputs.map(String::as_str).filter(|i| !i.is_empty()));
            live.push(node);
        }
    }
    live.reverse();
    if !graph
        .node
        .iter()
        .any(|n| n.output.iter().any(|o| o == output))
    {
        return Err(Error::Graph(format!(
            "expected a node that makes the output `{output}`, found none"
        )));
    }

    // Arrays of several numbers may train, so arithmetic on them is left to the network; so is all
    // arithmetic in files that state what trains.
    let mut constants: HashSet<&str> = HashSet::new();
    let masks = if frozen.is_none() {
        masks(&live)
    } else {
        HashSet::new()
    };
    for t in &graph.initializer {
        let single = || shape_of(t).is_ok_and(|s| s.iter().product::<usize>() <= 1);
        let still = || single() || masks.contains(t.name.as_str());
        if !is_float(t) || (frozen.is_none() && still()) {
            constants.insert(&t.name);
        }
    }
    let mut steps = Vec::with_capacity(live.len());
    for node in live {
        let known = |i: &String| i.is_empty() || constants.contains(i.as_str());
        let constant = matches!(node.op_type.as_str(), "Shape" | "Size")
            || (foldable(&node.op_type) && node.input.iter().all(known));
        let constant = constant && is_standard(&node.domain);
        if constant {
            constants.extend(node.output.iter().map(String::as_str));
        }
        steps.push(Listed {
            node,
            name: name_of(node),
            constant,
        });
    }

    let uses = uses(&steps, &stored);
    let trains = |t: &TensorProto| {
        let several = shape_of(t).is_ok_and(|s| s.iter().product::<usize>() > 1);
        let weighs = |(operator, i): &(&str, usize)| is_weight(operator, *i, several);
        match frozen {
            Some(names) => !names.contains(&t.name),
            None => uses
                .get(t.name.as_str())
                .is_some_and(|u| u.iter().any(weighs)),
        }
    };
    let is_parameter = |t: &&TensorProto| is_float(t) && uses.contains_key(t.name.as_str());
    let parameters = graph
        .initializer
        .iter()
        .filter(is_parameter)
        .map(|t| (t, trains(t)))
        .collect();
    Ok(Survey {
        rounded: rounded(graph, &steps, output),
        steps,
        parameters,
        stored,
        read,
    })
}

/// The element type that a node casts to.
fn cast_to(node: &NodeProto) -> Option<i32> {
    let to = Attributes(&node.attribute).int("to").ok().flatten();
    to.filter(|_| node.op_type == "Cast")
        .and_then(|to| i32::try_from(to).ok())
}

fn rounded<'a>(graph: &GraphProto, steps: &[Listed<'a>], output: &str) -> HashSet<&'a str> {
    let half = |t: i32| matches!(t, dtype::FLOAT16 | dtype::BFLOAT16);
    let tensors = graph.input.iter().flat_map(|i| &i.r#type);
    let mut inputs = tensors.flat_map(|t| &t.tensor_type).map(|t| t.elem_type);
    // Where half precision is stored or given, it is what the file computes in.
    if inputs.any(half) || graph.initializer.iter().any(|t| half(t.data_type)) {
        return HashSet::new();
    }
    let to_half = steps.iter().filter(|s| cast_to(s.node).is_some_and(half));
    let made = to_half.filter_map(|s| s.node.output.first());
    let mut all: HashSet<&str> = made.map(String::as_str).collect();
    for step in steps.iter().filter(|s| cast_to(s.node).is_none_or(half)) {
        step.node.input.iter().for_each(|i| {
            all.remove(i.as_str());
        });
    }
    all.remove(output);
    all
}

/// Names that are read only where masks and positions are made, where nothing trains.
fn masks<'a>(live: &[&'a NodeProto]) -> HashSet<&'a str> {
    let at_work = |operator: &str, i: usize| match operator {
        "ScatterND" => i == 2,
        "Where" => i > 0,
        "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "Sin" | "Cos"
        | "CumSum" | "Trilu" | "EyeLike" | "QuantizeLinear" | "DequantizeLinear" => true,
        _ => false,
    };
    let (mut masks, mut others) = (HashSet::new(), HashSet::new());
    for node in live {
        for (i, name) in node.input.iter().enumerate() {
            let to = if at_work(&node.op_type, i) {
                &mut masks
            } else {
                &mut others
            };
            to.insert(name.as_str());
        }
    }
    masks.difference(&others).copied().collect()
}

/// How many of its inputs a node reads: batch normalisation by its own statistics reads no others.
fn read_inputs(node: &NodeProto) -> usize {
    let own = node.op_type == "BatchNormalization"
        && Attributes(&node.attribute).int_or("training_mode", 0) == Ok(1);
    if own { 3 } else { node.input.len() }
}

/// Every operand position that each stored array reaches, directly or under another name.
fn uses<'a>(
    steps: &[Listed<'a>],
    stored: &HashMap<&'a str, &'a TensorProto>,
) -> HashMap<&'a str, Vec<(&'a str, usize)>> {
    let mut origin: HashMap<&str, &str> = stored.keys().map(|&k| (k, k)).collect();
    let mut uses: HashMap<&str, Vec<(&str, usize)>> = HashMap::new();
    for step in steps.iter().filter(|s| !s.constant) {
        let operator = step.node.op_type.as_str();
        for (i, name) in step.node.input.iter().enumerate() {
            if let Some(&root) = origin.get(name.as_str())
                && is_operand(operator, i)
            {
                uses.entry(root).or_default().push((operator, i));
                if i == 0 && passes_on(operator) {
                    origin.extend(step.node.output.first().map(|o| (o.as_str(), root)));
                }
            }
        }
    }
    uses
}

/// Whether a domain is that of the standard operators.
pub(super) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn name_of(node: &NodeProto) -> &str {
    let first = || {
        node.output
            .iter()
            .find(|o| !o.is_empty())
            .map_or("", String::as_str)
    };
    if node.name.is_empty() {
        first()
    } else {
        &node.name
    }
}

/// An error unless every value is made once, before it is used.
fn check_order(
    graph: &GraphProto,
    input: &str,
    stored: &HashMap<&str, &TensorProto>,
) -> Result<()> {
    let later: HashSet<&str> = graph
        .node
        .iter()
        .flat_map(|n| n.output.iter().map(String::as_str))
        .collect();
    let mut made: HashSet<&str> = stored.keys().copied().chain([input]).collect();
    for node in &graph.node {
        let wrong = |reason: String| Err(Error::node(name_of(node), &node.op_type, reason));
        if let Some(i) = node
            .input
            .iter()
            .find(|i| !i.is_empty() && !made.contains(i.as_str()))
        {
            return wrong(if later.contains(i.as_str()) {
                format!(
                    "expected nodes in the order of computation, found input `{i}` \
                        before the node that makes it (or a cycle)"
                )
            } else {
                format!("expected inputs that exist, found `{i}`, which nothing makes")
            });
        }
        if let Some(o) = node
            .output
            .iter()
            .find(|o| !o.is_empty() && !made.insert(o.as_str()))
        {
            return wrong(format!("expected unique value names, found `{o}` twice"));
        }
    }
    Ok(())
}
