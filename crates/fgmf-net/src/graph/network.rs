//! A network as data: values, nodes, parameters, in the order they are computed.

use super::budget::Budget;
use super::op::{MAX_VALUES, Op};
use crate::error::{Error, Result};
use crate::tensor::{Precision, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Names a value of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

/// Size of an axis: fixed, or a multiple of the batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// This many times the batch size.
    Batch(usize),
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(d) => write!(f, "{d}"),
            Self::Batch(1) => write!(f, "n"),
            Self::Batch(k) => write!(f, "{k}n"),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The image batch.
    Input,
    /// Stored in the network.
    Parameter {
        /// The numbers.
        tensor: Tensor,
        /// Whether training may change them.
        trainable: bool,
    },
    /// Output of a node.
    Node {
        /// Its position in [`Network::nodes`].
        node: usize,
    },
}

/// A value: an edge of the graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// Unique name, as in the ONNX file.
    pub name: String,
    /// Origin.
    pub source: Source,
    /// Shape.
    pub shape: Vec<Dim>,
}

/// An operator applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Inputs, all present.
    pub inputs: Vec<ValueId>,
    /// Outputs.
    pub outputs: Vec<ValueId>,
}

/// A classifier: images `[n, c, h, w]` in declared bounds to logits `[n, k]`.
#[derive(Clone, Debug)]
pub struct Network {
    /// Name of the graph.
    pub name: String,
    /// Free text kept in the file's metadata: bounds, classes, what made the model.
    pub metadata: BTreeMap<String, String>,
    /// What reading a file made different from what it says, in plain words; not written.
    pub notes: Vec<String>,
    values: Vec<Value>,
    nodes: Vec<Node>,
    input: ValueId,
    output: ValueId,
    beside: Vec<ValueId>,
}

/// What [`Network::graft_with`] asks for each node.
pub type Replace<'a> =
    dyn FnMut(&mut Builder, &Node, &[ValueId]) -> Result<Option<Vec<ValueId>>> + 'a;

/// Most examples that run at once. Every node is checked at every batch size up to it.
pub(crate) const LARGEST_CHUNK: usize = 32;

/// Batch sizes that shapes are inferred at; two, so that what depends on the batch shows.
pub(crate) const PROBES: [usize; 2] = [3, 5];

impl Network {
    /// Values, in definition order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Nodes, in execution order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The image batch.
    pub fn input(&self) -> ValueId {
        self.input
    }

    /// The logits.
    pub fn output(&self) -> ValueId {
        self.output
    }

    /// Values that are written to a file as further outputs, behind the logits: what the network
    /// says besides its answer.
    pub fn beside(&self) -> &[ValueId] {
        &self.beside
    }

    /// The same network with no output beside the logits.
    pub fn alone(&self) -> Self {
        Self {
            beside: Vec::new(),
            ..self.clone()
        }
    }

    /// A value by id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// A value by name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(ValueId)
    }

    /// Shape of one image, `[c, h, w]`.
    pub fn image_shape(&self) -> [usize; 3] {
        let size = |i: usize| match self.values[self.input.0].shape.get(i) {
            Some(Dim::Fixed(d)) => *d,
            _ => 0,
        };
        [size(1), size(2), size(3)]
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self.values[self.output.0].shape.as_slice() {
            [_, Dim::Fixed(k)] => *k,
            _ => 0,
        }
    }

    /// Ids of all parameters that training may change, in definition order.
    pub fn trainable(&self) -> Vec<ValueId> {
        let is = |v: &Value| {
            matches!(
                v.source,
                Source::Parameter {
                    trainable: true,
                    ..
                }
            )
        };
        (0..self.values.len())
            .filter(|&i| is(&self.values[i]))
            .map(ValueId)
            .collect()
    }

    /// A stored parameter.
    pub fn parameter(&self, id: ValueId) -> Option<&Tensor> {
        match &self.values[id.0].source {
            Source::Parameter { tensor, .. } => Some(tensor),
            _ => None,
        }
    }

    /// Replaces a parameter by one of the same shape and precision.
    pub fn set_parameter(&mut self, id: ValueId, new: Tensor) -> Result<()> {
        match &mut self.values[id.0].source {
            Source::Parameter { tensor, .. }
                if tensor.shape() == new.shape() && tensor.precision() == new.precision() =>
            {
                *tensor = new;
                Ok(())
            }
            Source::Parameter { tensor, .. } => Err(Error::call(
                "set parameter",
                format!("shape {:?}", tensor.shape()),
                format!("{:?}", new.shape()),
            )),
            _ => Err(Error::call(
                "set parameter",
                "a parameter",
                &self.values[id.0].name,
            )),
        }
    }

    /// Sets whether training may change a parameter.
    pub fn set_trainable(&mut self, id: ValueId, on: bool) {
        if let Source::Parameter { trainable, .. } = &mut self.values[id.0].source {
            *trainable = on;
        }
    }

    /// The node that makes a value, if one does.
    pub fn producer(&self, id: ValueId) -> Option<usize> {
        match self.values[id.0].source {
            Source::Node { node } => Some(node),
            _ => None,
        }
    }

    /// Precision of the stored arrays; `None` if there are none.
    pub fn precision(&self) -> Option<Precision> {
        (0..self.values.len())
            .find_map(|i| self.parameter(ValueId(i)))
            .map(Tensor::precision)
    }

    /// Number of trainable numbers.
    pub fn parameter_count(&self) -> usize {
        self.trainable()
            .iter()
            .filter_map(|&id| self.parameter(id))
            .map(Tensor::len)
            .sum()
    }

    /// Multiplications of one forward pass for one image (convolutions and matrix products), as
    /// twice as many FLOPs.
    pub fn flops(&self) -> u64 {
        self.nodes
            .iter()
            .fold(0u64, |sum, n| sum.saturating_add(self.node_flops(n)))
    }

    /// The part of [`Self::flops`] that convolutions have.
    pub(crate) fn convolution_flops(&self) -> u64 {
        self.nodes
            .iter()
            .filter(|n| matches!(n.op, Op::Conv(_) | Op::ConvTranspose(_)))
            .map(|n| self.node_flops(n))
            .sum()
    }

    /// Numbers stored in the network.
    pub fn stored_numbers(&self) -> usize {
        self.values
            .iter()
            .map(|v| {
                if let Source::Parameter { tensor, .. } = &v.source {
                    tensor.len()
                } else {
                    0
                }
            })
            .sum()
    }

    /// Numbers of all values that nodes make for one image.
    pub fn numbers_per_image(&self) -> usize {
        let outputs = self.nodes.iter().flat_map(|n| &n.outputs);
        outputs
            .map(|id| {
                concrete(&self.values[id.0].shape, 1)
                    .iter()
                    .product::<usize>()
            })
            .sum()
    }

    fn node_flops(&self, node: &Node) -> u64 {
        let shapes = |id: &ValueId| concrete(&self.values[id.0].shape, 1);
        let (Some(x), Some(w), Some(y)) = (
            node.inputs.first(),
            node.inputs.get(1),
            node.outputs.first(),
        ) else {
            return 0;
        };
        let (x, w) = (shapes(x), shapes(w));
        let y: usize = shapes(y).iter().product();
        let per_output = match &node.op {
            Op::Conv(_) => w[1..].iter().product(),
            Op::ConvTranspose(_) => {
                return 2 * (x.iter().product::<usize>() * w[1..].iter().product::<usize>()) as u64;
            }
            Op::Gemm(g) => x[usize::from(!g.trans_a)],
            Op::MatMul(_) => x[x.len() - 1],
            _ => return 0,
        };
        2 * (y * per_output) as u64
    }

    /// Every parameter at another precision.
    pub fn cast(&self, precision: Precision) -> Self {
        let mut out = self.clone();
        for value in &mut out.values {
            if let Source::Parameter { tensor, .. } = &mut value.source {
                *tensor = tensor.cast(precision);
            }
        }
        out
    }

    /// Copies this network's parameters and nodes into a builder, reading `input` instead of its
    /// own images; returns the logits. This is how a layer is put in front of a finished network.
    pub fn graft(&self, builder: &mut Builder, input: ValueId) -> Result<ValueId> {
        self.graft_with(builder, input, &mut |_, _, _| Ok(None))
    }

    /// [`Network::graft`] with nodes of another make: `replace` sees each node with its inputs in
    /// the new network, and may return the outputs to put in the place of the node's own.
    pub fn graft_with(
        &self,
        builder: &mut Builder,
        input: ValueId,
        replace: &mut Replace<'_>,
    ) -> Result<ValueId> {
        let mut map: HashMap<ValueId, ValueId> = HashMap::from([(self.input, input)]);
        for (i, value) in self.values.iter().enumerate() {
            if let Source::Parameter { tensor, trainable } = &value.source {
                let name = builder.fresh(&value.name);
                map.insert(
                    ValueId(i),
                    builder.parameter(&name, tensor.clone(), *trainable)?,
                );
            }
        }
        for node in &self.nodes {
            let inputs: Vec<ValueId> = node.inputs.iter().map(|id| map[id]).collect();
            let outputs = match replace(builder, node, &inputs)? {
                Some(outputs) => outputs,
                None => {
                    let names: Vec<String> = node
                        .outputs
                        .iter()
                        .map(|id| builder.fresh(&self.values[id.0].name))
                        .collect();
                    builder.nodes(&node.name, node.op.clone(), &inputs, &names)?
                }
            };
            map.extend(node.outputs.iter().copied().zip(outputs));
        }
        Ok(map[&self.output])
    }
}

pub(crate) fn concrete(shape: &[Dim], n: usize) -> Vec<usize> {
    let size = |d: &Dim| match d {
        Dim::Fixed(d) => *d,
        Dim::Batch(k) => k * n,
    };
    shape.iter().map(size).collect()
}

fn views(shapes: &[Vec<usize>]) -> Vec<&[usize]> {
    shapes.iter().map(Vec::as_slice).collect()
}

fn infer_node(node: &Node, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
    let wrong = |reason: String| Error::node(&node.name, node.op.name(), reason);
    let outputs = node.op.operator().infer(inputs).map_err(wrong)?;
    for shape in &outputs {
        let size = shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        if size.is_none_or(|s| s > MAX_VALUES || s == 0) {
            return Err(wrong(format!(
                "expected between 1 and {} values, found shape {shape:?}",
                MAX_VALUES
            )));
        }
    }
    if outputs.len() != node.outputs.len() {
        return Err(wrong(format!(
            "expected {} outputs, found {}",
            outputs.len(),
            node.outputs.len()
        )));
    }
    Ok(outputs)
}

/// Adds values and nodes one after another; every node is checked as it is added.
#[derive(Debug)]
pub struct Builder {
    net: Network,
    names: HashSet<String>,
    counter: usize,
    budget: Budget,
}

impl Builder {
    /// Starts a network that takes images of the shape `[c, h, w]`.
    pub fn new(name: &str, input: &str, image: [usize; 3]) -> Result<Self> {
        let size = image.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        if size.is_none_or(|s| s == 0 || s > MAX_VALUES) {
            return Err(Error::Graph(format!(
                "expected images of positive size, found {image:?}"
            )));
        }
        let shape = vec![
            Dim::Batch(1),
            Dim::Fixed(image[0]),
            Dim::Fixed(image[1]),
            Dim::Fixed(image[2]),
        ];
        let value = Value {
            name: input.to_owned(),
            source: Source::Input,
            shape,
        };
        let net = Network {
            name: name.to_owned(),
            metadata: BTreeMap::new(),
            notes: Vec::new(),
            values: vec![value],
            nodes: Vec::new(),
            input: ValueId(0),
            output: ValueId(0),
            beside: Vec::new(),
        };
        Ok(Self {
            net,
            names: HashSet::from([input.to_owned()]),
            counter: 0,
            budget: Budget::default(),
        })
    }

    /// The image batch.
    pub fn input(&self) -> ValueId {
        self.net.input
    }

    /// The network so far.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// `base`, with a number behind it if it is taken.
    pub fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        while self.names.contains(&name) {
            self.counter += 1;
            name = format!("{base}_{}", self.counter);
        }
        name
    }

    fn value(&mut self, name: String, source: Source, shape: Vec<Dim>) -> Result<ValueId> {
        if !self.names.insert(name.clone()) {
            return Err(twice(&name));
        }
        self.net.values.push(Value {
            name,
            source,
            shape,
        });
        Ok(ValueId(self.net.values.len() - 1))
    }

    /// Adds a stored array.
    pub fn parameter(&mut self, name: &str, tensor: Tensor, trainable: bool) -> Result<ValueId> {
        let wrong = |reason| Error::Graph(format!("stored array `{name}`: {reason}"));
        self.budget.stored(tensor.len()).map_err(wrong)?;
        let shape = tensor.shape().iter().map(|&d| Dim::Fixed(d)).collect();
        self.value(
            name.to_owned(),
            Source::Parameter { tensor, trainable },
            shape,
        )
    }

    /// Adds a node with one output of the same name.
    pub fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let ids = self.nodes(name, op, inputs, &[name.to_owned()])?;
        Ok(ids[0])
    }

    /// Adds a node with named outputs. Its shapes are checked at every batch size that a chunk may
    /// have.
    pub fn nodes(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        outputs: &[String],
    ) -> Result<Vec<ValueId>> {
        let mut node = Node {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.iter().map(|_| ValueId(0)).collect(),
        };
        let input_shapes = |n: usize| -> Vec<Vec<usize>> {
            inputs
                .iter()
                .map(|id| concrete(&self.net.values[id.0].shape, n))
                .collect()
        };
        let probe = |n: usize| infer_node(&node, &views(&input_shapes(n)));
        let (at, at_other) = (probe(PROBES[0])?, probe(PROBES[1])?);
        let index = self.net.nodes.len();
        let wrong = |reason: String| Error::node(name, node.op.name(), reason);
        let shapes = at
            .iter()
            .zip(&at_other)
            .map(|(a, b)| symbolic(a, b))
            .collect::<Option<Vec<_>>>();
        let shapes = shapes.ok_or_else(|| {
            wrong(format!(
                "expected sizes that grow with the batch, found {at:?} and {at_other:?}"
            ))
        })?;
        // Two sizes do not show everything: a slice of the batch may fit them and not one image.
        for n in 1..=LARGEST_CHUNK {
            let expected: Vec<Vec<usize>> = shapes.iter().map(|s| concrete(s, n)).collect();
            let found = node
                .op
                .operator()
                .infer(&views(&input_shapes(n)))
                .map_err(|e| wrong(format!("at batch size {n}: {e}")))?;
            if found != expected {
                return Err(wrong(format!(
                    "expected shapes {expected:?} at batch size {n}, found {found:?}"
                )));
            }
        }
        let numbers = shapes
            .iter()
            .map(|s| concrete(s, 1).iter().product::<usize>())
            .sum();
        self.budget.node(numbers).map_err(wrong)?;
        for (i, name) in outputs.iter().enumerate() {
            if self.names.contains(name) || outputs[..i].contains(name) {
                return Err(twice(name));
            }
        }
        for (slot, (output, shape)) in outputs.iter().zip(shapes).enumerate() {
            node.outputs[slot] = self.value(output.clone(), Source::Node { node: index }, shape)?;
        }
        let ids = node.outputs.clone();
        self.net.nodes.push(node);
        Ok(ids)
    }

    /// Ends the network at the logits, `[n, k]` with k ≥ 2.
    pub fn finish(self, output: ValueId) -> Result<Network> {
        self.finish_with(output, &[])
    }

    /// [`Builder::finish`] with further outputs, which nodes make and which differ from the logits.
    pub fn finish_with(mut self, output: ValueId, beside: &[ValueId]) -> Result<Network> {
        match self.net.values[output.0].shape.as_slice() {
            [Dim::Batch(1), Dim::Fixed(k)] if *k >= 2 => {}
            other => {
                let found: Vec<String> = other.iter().map(ToString::to_string).collect();
                return Err(Error::Graph(format!(
                    "expected logits of shape [n, k] with k at least 2, found [{}]",
                    found.join(", ")
                )));
            }
        }
        let made = |id: &&ValueId| self.net.producer(**id).is_none() || **id == output;
        if let Some(id) = beside.iter().find(made) {
            return Err(Error::Graph(format!(
                "expected an output beside the logits that a node makes, found `{}`",
                self.net.value(*id).name
            )));
        }
        self.net.output = output;
        self.net.beside = beside.to_vec();
        Ok(self.net)
    }
}

fn twice(name: &str) -> Error {
    Error::Graph(format!("expected unique value names, found `{name}` twice"))
}

/// The shape that is `a` at the first probe and `b` at the second.
fn symbolic(a: &[usize], b: &[usize]) -> Option<Vec<Dim>> {
    let dim = |(&x, &y): (&usize, &usize)| {
        if x == y {
            Some(Dim::Fixed(x))
        } else {
            let k = y.checked_sub(x)? / (PROBES[1] - PROBES[0]);
            (k > 0 && k * PROBES[0] == x && k * PROBES[1] == y).then_some(Dim::Batch(k))
        }
    };
    if a.len() != b.len() {
        return None;
    }
    a.iter().zip(b).map(dim).collect()
}
