//! From messages to a network: the walk over the nodes.

use super::array::{Array, Data, Known};
use super::attributes::{Attributes, MOST_AXES as LONGEST};
use super::fold::evaluate;
use super::nodes::convert;
use super::plan::{Plan, Step, is_standard, plan};
use super::proto::{DimensionProto, GraphProto, ModelProto, Size, ValueInfoProto, dtype};
use super::site::Site;
use super::spelled::merge;
use super::{FROZEN, OPSETS, frozen_names};
use crate::error::{Error, Result};
use crate::network::{Builder, Dim, Network, PROBES, ValueId, concrete};
use crate::op::{Expand, Op};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What a part of a file turns into, or what is wrong with it.
type Reading<T> = std::result::Result<T, String>;

/// Most numbers in all computed constants together.
const MOST_FOLDED_IN_ALL: usize = 1 << 24;
/// Most axes of a value.
const MOST_AXES: usize = 8;

/// Operators that fail where a shape holds a fixed batch size.
const SHAPED: [&str; 9] = [
    "Reshape", "Expand", "Concat", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div",
];

/// The network so far and all values that later nodes may use.
pub(super) struct Reader<'a> {
    pub(super) builder: Builder,
    pub(super) plan: Plan<'a>,
    /// Batch size that the file fixes.
    pub(super) fixed_batch: Option<i64>,
    known: HashMap<&'a str, Known>,
    ids: HashMap<&'a str, ValueId>,
    folded: usize,
}

pub(super) fn network(mut model: ModelProto) -> Result<Network> {
    check_opset(&model)?;
    let graph = model
        .graph
        .as_mut()
        .ok_or_else(|| Error::Graph("expected an ONNX model, found no graph in it".to_owned()))?;
    if !graph.sparse_initializer.is_empty() {
        return Err(Error::Graph(
            "expected dense stored arrays, found sparse ones".to_owned(),
        ));
    }
    let mut metadata: BTreeMap<String, String> = model
        .metadata_props
        .iter()
        .map(|p| (p.key.clone(), p.value.clone()))
        .collect();
    let frozen: Option<HashSet<String>> = metadata.remove(FROZEN).map(|list| frozen_names(&list));
    merge(graph, frozen.as_ref());
    let graph = &*graph;

    let (input, image, fixed_batch) = image_input(graph)?;
    let output = graph
        .output
        .first()
        .ok_or_else(|| Error::Graph("expected an output, found none".to_owned()))?;
    let plan = plan(graph, input, &output.name, frozen.as_ref())?;
    let builder = Builder::new(&graph.name, input, image)?;
    let ids = HashMap::from([(input, builder.input())]);
    let mut reader = Reader {
        builder,
        plan,
        fixed_batch,
        known: HashMap::new(),
        ids,
        folded: 0,
    };
    reader.add_parameters()?;
    for step in std::mem::take(&mut reader.plan.steps) {
        let hint = |reason: String| match fixed_batch {
            Some(n) if SHAPED.contains(&step.node.op_type.as_str()) => {
                format!(
                    "{reason} (the file fixes the batch size at {n}; export it with a \
                        free first axis)"
                )
            }
            _ => reason,
        };
        reader
            .step(&step)
            .map_err(|reason| Error::node(step.name, &step.node.op_type, hint(reason)))?;
    }
    let logits = reader.ids.get(output.name.as_str());
    let logits = *logits.ok_or_else(|| {
        Error::Graph(format!(
            "expected logits that depend on the image, found the constant `{}`",
            output.name
        ))
    })?;
    let mut net = reader.builder.finish(logits)?;
    net.metadata = metadata;
    Ok(net)
}

fn check_opset(model: &ModelProto) -> Result<()> {
    let version = model
        .opset_import
        .iter()
        .find(|o| is_standard(&o.domain))
        .and_then(|o| o.version);
    match version {
        Some(v) if OPSETS.contains(&v) => Ok(()),
        Some(v) => Err(Error::Graph(format!(
            "expected operator set {} to {}, found {v}",
            OPSETS.start(),
            OPSETS.end()
        ))),
        None => Err(Error::Graph(
            "expected an ONNX model with a standard operator set, found none".to_owned(),
        )),
    }
}

/// The only input that is not stored: its name, `[c, h, w]`, and the batch size if it is fixed.
fn image_input(graph: &GraphProto) -> Result<(&str, [usize; 3], Option<i64>)> {
    let stored: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let real: Vec<&ValueInfoProto> = graph
        .input
        .iter()
        .filter(|i| !stored.contains(i.name.as_str()))
        .collect();
    let [input] = real.as_slice() else {
        let names: Vec<&str> = real.iter().map(|i| i.name.as_str()).collect();
        return Err(Error::Graph(format!(
            "expected one input, the images, found {}: {names:?}",
            real.len()
        )));
    };
    let wrong = |found: String| {
        Error::Graph(format!(
            "expected input `{}` to be float32 images [n, c, h, w] with fixed c, h, w, \
                found {found}",
            input.name
        ))
    };
    let tensor = input
        .r#type
        .as_ref()
        .and_then(|t| t.tensor_type.as_ref())
        .ok_or_else(|| wrong("no tensor type".to_owned()))?;
    if tensor.elem_type != dtype::FLOAT {
        return Err(wrong(format!("data type {}", tensor.elem_type)));
    }
    let dims = tensor
        .shape
        .as_ref()
        .map(|s| s.dim.as_slice())
        .unwrap_or_default();
    let fixed = |d: &DimensionProto| match d.value {
        Some(Size::Value(v)) if v > 0 => Some(v),
        _ => None,
    };
    let sizes: Vec<Option<i64>> = dims.iter().map(fixed).collect();
    match sizes.as_slice() {
        [batch, Some(c), Some(h), Some(w)] => {
            Ok((&input.name, [*c as usize, *h as usize, *w as usize], *batch))
        }
        _ => {
            let shown: Vec<String> = sizes
                .iter()
                .map(|s| s.map_or("?".to_owned(), |s| s.to_string()))
                .collect();
            Err(wrong(format!("shape [{}]", shown.join(", "))))
        }
    }
}

impl<'a> Reader<'a> {
    fn add_parameters(&mut self) -> Result<()> {
        for (t, trainable) in std::mem::take(&mut self.plan.parameters) {
            let array = Array::decode(t)
                .map_err(|reason| Error::Graph(format!("stored array {reason}")))?;
            let tensor = tensor(&array)
                .map_err(|reason| Error::Graph(format!("stored array `{}`: {reason}", t.name)))?;
            let id = self.builder.parameter(&t.name, tensor, trainable)?;
            self.ids.insert(&t.name, id);
        }
        Ok(())
    }

    fn step(&mut self, step: &Step<'a>) -> Reading<()> {
        let node = step.node;
        if !is_standard(&node.domain) {
            return Err(format!(
                "expected an operator of the standard domain, found domain `{}`",
                node.domain
            ));
        }
        if step.constant {
            let known = self.fold(step)?;
            self.known
                .extend(node.output.first().map(|o| (o.as_str(), known)));
            return Ok(());
        }
        let (op, inputs) = convert(&mut Site {
            reader: self,
            node,
            attributes: Attributes(&node.attribute),
        })?;
        let outputs = if let Op::Split(s) = &op {
            s.sizes.len()
        } else {
            1
        };
        if let Some(extra) = node
            .output
            .iter()
            .skip(outputs)
            .find(|o| self.plan.read.contains(o.as_str()))
        {
            return Err(format!(
                "expected only the first output to be used, found `{extra}` in use"
            ));
        }
        let name_at = |i: usize| node.output.get(i).filter(|o| !o.is_empty());
        let names: Vec<String> = (0..outputs)
            .map(|i| {
                name_at(i)
                    .cloned()
                    .unwrap_or_else(|| self.builder.fresh(&format!("{}/output{i}", step.name)))
            })
            .collect();
        let made = self
            .builder
            .nodes(step.name, op.clone(), &inputs, &names)
            .map_err(|e| match e {
                Error::Node { reason, .. } => reason,
                other => other.to_string(),
            })?;
        if self.mixes_examples(&op, &inputs) {
            return Err(
                "expected an operator that treats each example on its own, found one that \
                works along the batch axis"
                    .to_owned(),
            );
        }
        for (i, id) in made.into_iter().enumerate() {
            if self.dims(id).len() > MOST_AXES {
                return Err(format!(
                    "expected at most {MOST_AXES} axes, found {}",
                    self.dims(id).len()
                ));
            }
            self.ids.extend(name_at(i).map(|o| (o.as_str(), id)));
        }
        Ok(())
    }

    fn fold(&mut self, step: &Step<'a>) -> Reading<Known> {
        let node = step.node;
        let pair = if matches!(node.op_type.as_str(), "Shape" | "Size") {
            self.shape_node(step)?
        } else {
            let inputs: Vec<Option<Known>> = node
                .input
                .iter()
                .map(|i| {
                    if i.is_empty() {
                        Ok(None)
                    } else {
                        self.constant(i)
                    }
                })
                .collect::<Reading<_>>()?;
            let at = |p: usize| {
                evaluate(
                    node,
                    &inputs
                        .iter()
                        .map(|k| k.as_ref().map(|k| k.0[p].as_ref()))
                        .collect::<Vec<_>>(),
                )
            };
            let first = Arc::new(at(0)?);
            let once = inputs
                .iter()
                .flatten()
                .all(|k| Arc::ptr_eq(&k.0[0], &k.0[1]));
            Known([first.clone(), if once { first } else { Arc::new(at(1)?) }])
        };
        if pair.0.iter().any(|a| a.shape.len() > LONGEST) {
            return Err(format!(
                "expected constants of at most {LONGEST} axes, found {}",
                pair.0[0].shape.len()
            ));
        }
        self.folded += pair.0[0].len() + pair.0[1].len();
        if self.folded > MOST_FOLDED_IN_ALL {
            return Err(format!(
                "expected at most {MOST_FOLDED_IN_ALL} numbers in computed constants"
            ));
        }
        Ok(pair)
    }

    fn shape_node(&mut self, step: &Step<'a>) -> Reading<Known> {
        let input = step
            .node
            .input
            .first()
            .map(String::as_str)
            .unwrap_or_default();
        let shapes = match self.constant(input)? {
            Some(k) => k.0.map(|a| a.shape.clone()),
            None => PROBES.map(|n| {
                self.ids
                    .get(input)
                    .map_or_else(Vec::new, |&id| concrete(&self.dims(id), n))
            }),
        };
        if step.node.op_type == "Size" {
            return Ok(Known(shapes.map(|s| {
                Arc::new(Array {
                    shape: vec![],
                    data: Data::Int(vec![s.iter().product::<usize>() as i64]),
                })
            })));
        }
        let a = Attributes(&step.node.attribute);
        let (start, end) = (a.int_or("start", 0)?, a.int_or("end", i64::MAX)?);
        let cut = |s: &Vec<usize>| {
            let rank = s.len() as i64;
            let at =
                |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
            s.get(at(start)..at(end))
                .unwrap_or_default()
                .iter()
                .map(|&d| d as i64)
                .collect()
        };
        let pair = shapes.map(|s| Arc::new(Array::ints(cut(&s))));
        Ok(if pair[0] == pair[1] {
            Known([pair[0].clone(), pair[0].clone()])
        } else {
            Known(pair)
        })
    }

    /// A value known at reading time; `None` if it is computed from the image.
    pub(super) fn constant(&mut self, name: &str) -> Reading<Option<Known>> {
        if let Some(known) = self.known.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some((&name, t)) = self.plan.stored.get_key_value(name) else {
            return Ok(None);
        };
        let known = Known::constant(Array::decode(t)?);
        self.known.insert(name, known.clone());
        Ok(Some(known))
    }

    /// A value that a node of the network reads; constants become parameters.
    pub(super) fn operand(&mut self, name: &'a str, integers: bool) -> Reading<ValueId> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        let known = self
            .constant(name)?
            .ok_or_else(|| format!("expected a value `{name}`, found none"))?;
        if matches!(known.0[0].data, Data::Int(_)) && !integers {
            return Err(format!(
                "expected floating-point numbers, found the integers `{name}`"
            ));
        }
        let id = match known.same() {
            Some(array) => self.constant_parameter(name, array)?,
            None => self.batch_constant(name, &known)?,
        };
        self.ids.insert(name, id);
        Ok(id)
    }

    pub(super) fn constant_parameter(&mut self, name: &str, array: &Array) -> Reading<ValueId> {
        let fresh = self.builder.fresh(name);
        let tensor = tensor(array)?;
        self.builder
            .parameter(&fresh, tensor, false)
            .map_err(|e| e.to_string())
    }

    /// One number repeated in a shape that grows with the batch.
    fn batch_constant(&mut self, name: &str, known: &Known) -> Reading<ValueId> {
        let [a, b] = known.0.each_ref().map(|k| k.to_floats());
        let wrong = || {
            format!("expected a constant, found `{name}`, whose numbers depend on the batch size")
        };
        let value = *a.first().ok_or_else(wrong)?;
        if a.iter().chain(&b).any(|v| v.to_bits() != value.to_bits())
            || known.0[0].shape.len() != known.0[1].shape.len()
        {
            return Err(wrong());
        }
        let size = |(&x, &y): (&usize, &usize)| {
            if x == y {
                Ok(Some(x))
            } else if [x, y] == PROBES {
                Ok(None)
            } else {
                Err(wrong())
            }
        };
        let shape = known.0[0]
            .shape
            .iter()
            .zip(&known.0[1].shape)
            .map(size)
            .collect::<Reading<_>>()?;
        let one = self.constant_parameter(
            &format!("{name}/value"),
            &Array {
                shape: vec![1],
                data: Data::Float(vec![value]),
            },
        )?;
        let inputs = [one, self.builder.input()];
        let made = self.builder.fresh(name);
        self.builder
            .node(&made, Op::Expand(Expand { shape }), &inputs)
            .map_err(|e| e.to_string())
    }

    pub(super) fn dims(&self, id: ValueId) -> Vec<Dim> {
        self.builder.network().value(id).shape.clone()
    }

    /// Whether an operator works along an axis that grows with the batch.
    fn mixes_examples(&self, op: &Op, inputs: &[ValueId]) -> bool {
        let dims: Vec<Vec<Dim>> = inputs.iter().map(|&id| self.dims(id)).collect();
        let grows = |i: usize, axis: i64| {
            let at = if axis < 0 {
                axis + dims[i].len() as i64
            } else {
                axis
            };
            usize::try_from(at).is_ok_and(|at| matches!(dims[i].get(at), Some(Dim::Batch(_))))
        };
        let beyond = |from: i64| (from..dims[0].len() as i64).any(|a| grows(0, a));
        let others = || {
            dims.iter()
                .skip(1)
                .flatten()
                .any(|d| matches!(d, Dim::Batch(_)))
        };
        match op {
            Op::Softmax(s) => grows(0, s.axis),
            Op::Reduce(r) => r.axes.iter().any(|&a| grows(0, a)),
            Op::LayerNorm(l) => {
                beyond(if l.axis < 0 {
                    l.axis + dims[0].len() as i64
                } else {
                    l.axis
                }) || others()
            }
            Op::Gather(g) => grows(0, g.axis),
            Op::TopK(t) => grows(0, t.axis),
            Op::Concat(c) => (0..dims.len()).any(|i| grows(i, c.axis)),
            Op::Split(s) => grows(0, s.axis),
            Op::Conv(_) | Op::ConvTranspose(_) | Op::BatchNorm(_) => beyond(1) || others(),
            Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool(_) | Op::Resize(_) => {
                beyond(1)
            }
            Op::MatMul(_) => grows(0, -1) || grows(1, -2),
            Op::Gemm(g) => {
                grows(0, if g.trans_a { 0 } else { 1 }) || grows(1, if g.trans_b { 1 } else { 0 })
            }
            _ => false,
        }
    }
}

/// A parameter of this content; single numbers have shape `[1]`.
fn tensor(array: &Array) -> Reading<Tensor> {
    if array.len() == 0 || array.shape.len() > MOST_AXES {
        return Err(format!(
            "expected at least one number and at most {MOST_AXES} axes, found shape {:?}",
            array.shape
        ));
    }
    let shape = if array.shape.is_empty() {
        &[1][..]
    } else {
        &array.shape
    };
    Ok(Tensor::new(shape, array.to_floats()))
}
