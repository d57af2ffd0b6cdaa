//! From messages to a network: the walk over the nodes.

use super::apart;
use super::array::{Array, Data};
use super::contrib::unfuse;
use super::export::{check_graph, type_name};
use super::functions::inline;
use super::images::{Images, image_input};
use super::metadata::{BESIDE, FROZEN, names};
use super::options::{OUTPUT_KEY, ReadOptions, SIZE_KEY};
use super::outputs::scores;
use super::proto::{GraphProto, ModelProto, ValueInfoProto, dtype};
use super::quantised::mark;
use super::scope::Scope;
use super::spelled::merge;
use super::step::step;
use super::survey::{is_standard, survey};
use super::versions::renew;
use crate::error::{Error, Result};
use crate::graph::op::{Binary, Concat, Op, Transpose, Unary, Unsqueeze};
use crate::graph::{Builder, Dim, MOST_NODES, Network, ValueId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;

/// Operator sets that can be read.
const OPSETS: RangeInclusive<i64> = 7..=24;
/// The images where a file has channels last.
const CHANNELS_FIRST: &str = "fgmf.images";
/// Operators that fail where a shape holds a fixed batch size.
const SHAPED: [&str; 9] = [
    "Reshape", "Expand", "Concat", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div",
];

pub(super) fn network(mut model: ModelProto, options: &ReadOptions) -> Result<Network> {
    let version = check_opset(&model)?;
    let functions = std::mem::take(&mut model.functions);
    let graph = model
        .graph
        .as_mut()
        .ok_or_else(|| Error::Graph("expected an ONNX model, found no graph in it".to_owned()))?;
    inline(graph, &functions).map_err(Error::Graph)?;
    check_graph(graph)?;
    renew(graph, version).map_err(Error::Graph)?;
    unfuse(graph).map_err(Error::Graph)?;
    if !graph.sparse_initializer.is_empty() {
        return Err(Error::Graph(
            "expected dense stored arrays, found sparse ones".to_owned(),
        ));
    }
    if graph.node.len() > MOST_NODES {
        return Err(Error::Graph(format!(
            "expected at most {MOST_NODES} nodes, found {}",
            graph.node.len()
        )));
    }
    let mut metadata: BTreeMap<String, String> = model
        .metadata_props
        .iter()
        .map(|p| (p.key.clone(), p.value.clone()))
        .collect();
    let frozen: Option<HashSet<String>> = metadata.remove(FROZEN).map(|list| names(&list));
    let beside = metadata
        .remove(BESIDE)
        .map_or_else(HashSet::new, |list| names(&list));
    mark(graph);
    let stated = metadata.remove(OUTPUT_KEY);
    let size = match (options.size, metadata.remove(SIZE_KEY)) {
        (None, Some(text)) => Some(ReadOptions::parse_size(&text).map_err(Error::Graph)?),
        (asked, _) => asked,
    };
    merge(graph, frozen.as_ref());
    let graph = &*graph;

    let Images {
        input,
        image,
        fixed_batch,
        last,
    } = image_input(graph, size)?;
    let kept = |o: &&ValueInfoProto| beside.contains(&o.name);
    let (beside, outputs): (Vec<_>, Vec<_>) = graph.output.iter().partition(kept);
    let output = scores(
        graph,
        &outputs,
        options.output.as_deref(),
        stated.as_deref(),
    )?;
    let beside: Vec<&str> = beside.iter().map(|o| o.name.as_str()).collect();
    let survey = survey(graph, input, (output.name, &beside), frozen.as_ref())?;
    let own = if last { CHANNELS_FIRST } else { input };
    let mut builder = Builder::new(&graph.name, own, image)?;
    let mut images = builder.input();
    if last {
        let perm = vec![0, 2, 3, 1];
        images = builder.node(input, Op::Transpose(Transpose { perm }), &[images])?;
    }
    let ids = HashMap::from([(input, images)]);
    let mut scope = Scope {
        builder,
        survey,
        fixed_batch,
        other_precision: input_precision(graph, input),
        version,
        widened: false,
        known: HashMap::new(),
        ids,
        folded: 0,
        looked_at: 0,
    };
    scope.add_parameters()?;
    for node in std::mem::take(&mut scope.survey.steps) {
        let hint = |reason: String| match fixed_batch {
            Some(n) if SHAPED.contains(&node.node.op_type.as_str()) => {
                format!(
                    "{reason} (the file fixes the batch size at {n}; export it with a \
                        free first axis)"
                )
            }
            _ => reason,
        };
        step(&mut scope, &node)
            .map_err(|reason| Error::node(node.name, &node.node.op_type, hint(reason)))?;
    }
    let logits = scope.ids.get(output.name);
    let logits = *logits.ok_or_else(|| {
        Error::Graph(format!(
            "expected logits that depend on the image, found the constant `{}`",
            output.name
        ))
    })?;
    let (widened, other) = (scope.widened, scope.other_precision);
    let beside = beside.iter().map(|name| scope.ids.get(name).copied());
    let beside = beside.collect::<Option<Vec<_>>>().ok_or_else(|| {
        Error::Graph("expected outputs beside the scores that depend on the image".to_owned())
    })?;
    let (logits, single) = two_classes(&mut scope, logits).map_err(Error::Graph)?;
    let mut net = scope.builder.finish_with(logits, &beside)?;
    if widened {
        apart::check(&net)?;
    }
    net.metadata = metadata;
    net.notes.extend(other.map(|code| {
        let found = type_name(code);
        format!("the file computes in {found}; here it is computed in float32")
    }));
    if last {
        net.notes
            .push("the file takes images with channels last; here they come first".into());
    }
    net.notes.extend(output.note);
    if single {
        let note = "the file gives one score: class 1 where it is above 0 (a probability above a \
            half), class 0 otherwise";
        net.notes.push(note.into());
    }
    Ok(net)
}

/// The logits (0, z) of a network that gives one score z for two classes, or the probability
/// σ(z); whether it is such a one.
fn two_classes(
    scope: &mut Scope<'_>,
    logits: ValueId,
) -> std::result::Result<(ValueId, bool), String> {
    let mut z = logits;
    let net = scope.builder.network();
    match net.value(z).shape.as_slice() {
        [Dim::Batch(1), Dim::Fixed(1)] | [Dim::Batch(1)] => {}
        _ => return Ok((logits, false)),
    }
    if let Some(node) = net.producer(z).map(|i| &net.nodes()[i])
        && node.op == Op::Unary(Unary::Sigmoid)
    {
        z = node.inputs[0];
    }
    if net.value(z).shape.len() == 1 {
        let axes = vec![1];
        z = scope.add("fgmf.score", Op::Unsqueeze(Unsqueeze { axes }), &[z])?;
    }
    let zero = Array {
        shape: vec![1],
        data: Data::Float(vec![0.0]),
    };
    let zero = scope.constant_parameter("fgmf.zero", &zero)?;
    let none = scope.add("fgmf.other", Op::Binary(Binary::Mul), &[z, zero])?;
    let both = scope.add("fgmf.classes", Op::Concat(Concat { axis: 1 }), &[none, z])?;
    Ok((both, true))
}

/// The element type of the images, if it is not float32.
fn input_precision(graph: &GraphProto, input: &str) -> Option<i32> {
    let declared = graph.input.iter().find(|i| i.name == input)?;
    let tensor = declared.r#type.as_ref()?.tensor_type.as_ref()?;
    (tensor.elem_type != dtype::FLOAT).then_some(tensor.elem_type)
}

fn check_opset(model: &ModelProto) -> Result<i64> {
    let version = model
        .opset_import
        .iter()
        .find(|o| is_standard(&o.domain))
        .and_then(|o| o.version);
    match version {
        Some(v) if OPSETS.contains(&v) => Ok(v),
        Some(found) => Err(Error::OperatorSet {
            least: *OPSETS.start(),
            most: *OPSETS.end(),
            found,
        }),
        None => Err(Error::Graph(
            "expected an ONNX model with a standard operator set, found none".to_owned(),
        )),
    }
}
