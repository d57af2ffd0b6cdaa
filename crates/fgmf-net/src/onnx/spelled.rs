//! GELU as exporters spell it for operator sets that lack it: a few nodes of arithmetic around one
//! `Erf` or `Tanh`.
//!
//! A spelling is known by what it computes, not by how it is written: the nodes between some value
//! x and some value y, all of them elementwise and of x and constant numbers alone, are evaluated
//! on a grid of x; where that is GELU to 1e-6, one `Gelu` node takes their place. It keeps the name
//! of the last of them. Nothing that is read elsewhere disappears.

use super::array::{Array, is_float};
use super::fold::evaluate;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, kind};
use super::survey::is_standard;
use crate::dual::Dual;
use crate::graph::op::{Binary, Mode, Op, Unary};
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};

/// Most values before `Erf` or `Tanh` that are tried as x.
const BEFORE: usize = 10;
/// Most nodes behind it.
const BEHIND: usize = 5;
/// Most nodes of a spelling. The longest that exporters write has eleven.
const NODES: usize = 24;

/// One spelling.
struct Found {
    /// All its nodes.
    nodes: HashSet<usize>,
    /// The last of them.
    last: usize,
    gelu: NodeProto,
}

/// Puts every spelled GELU back together. `frozen` names the stored arrays that do not train, where
/// the file says so.
pub(super) fn merge(graph: &mut GraphProto, frozen: Option<&HashSet<String>>) {
    let mut found = Spellings::new(graph, frozen).all();
    let inner: HashSet<usize> = found
        .iter()
        .flat_map(|f| f.nodes.iter().copied().filter(|&i| i != f.last))
        .collect();
    for f in &mut found {
        graph.node[f.last] = std::mem::take(&mut f.gelu);
    }
    let mut at = 0..;
    graph
        .node
        .retain(|_| !at.next().is_some_and(|i| inner.contains(&i)));
}

/// What a node computes, if it is arithmetic that a spelling may hold.
fn operator(node: &NodeProto) -> Option<Op> {
    let op = match node.op_type.as_str() {
        "Erf" => Op::Unary(Unary::Erf),
        "Tanh" => Op::Unary(Unary::Tanh),
        "Add" => Op::Binary(Binary::Add),
        "Sub" => Op::Binary(Binary::Sub),
        "Mul" => Op::Binary(Binary::Mul),
        "Div" => Op::Binary(Binary::Div),
        "Pow" => Op::Binary(Binary::Pow),
        _ => return None,
    };
    let inputs = if matches!(op, Op::Unary(_)) { 1 } else { 2 };
    (is_standard(&node.domain) && node.input.len() == inputs && node.output.len() == 1)
        .then_some(op)
}

/// The only number of an array that keeps the rank of whatever it meets.
fn number(array: &Array) -> Option<f64> {
    (array.len() == 1 && array.shape.len() <= 1).then(|| f64::from(array.to_floats()[0]))
}

struct Spellings<'a> {
    nodes: &'a [NodeProto],
    /// Single numbers that do not train.
    numbers: HashMap<&'a str, Tensor>,
    /// The node that makes a value.
    maker: HashMap<&'a str, usize>,
    /// The nodes that read a value; one that does not exist for outputs of the graph.
    readers: HashMap<&'a str, HashSet<usize>>,
}

impl<'a> Spellings<'a> {
    fn new(graph: &'a GraphProto, frozen: Option<&HashSet<String>>) -> Self {
        let (mut numbers, mut maker, mut readers) = (
            HashMap::new(),
            HashMap::new(),
            HashMap::<&str, HashSet<usize>>::new(),
        );
        let still = |t: &&TensorProto| {
            is_float(t) && t.dims.len() <= 1 && frozen.is_none_or(|names| names.contains(&t.name))
        };
        for t in graph.initializer.iter().filter(still) {
            numbers.extend(
                Array::decode(t)
                    .ok()
                    .and_then(|a| number(&a))
                    .map(|v| (t.name.as_str(), Tensor::new(&[1], vec![v]))),
            );
        }
        for (i, node) in graph.node.iter().enumerate() {
            node.input.iter().for_each(|name| {
                readers.entry(name).or_default().insert(i);
            });
            maker.extend(node.output.iter().map(|name| (name.as_str(), i)));
            if let ("Constant", [name]) = (node.op_type.as_str(), node.output.as_slice()) {
                numbers.extend(
                    evaluate(node, &[])
                        .ok()
                        .and_then(|a| number(&a))
                        .map(|v| (name.as_str(), Tensor::new(&[1], vec![v]))),
                );
            }
        }
        for output in &graph.output {
            readers.entry(&output.name).or_default().insert(usize::MAX);
        }
        Self {
            nodes: &graph.node,
            numbers,
            maker,
            readers,
        }
    }

    fn all(&self) -> Vec<Found> {
        let grid = Tensor::new(&[49], (-24..=24).map(|i| f64::from(i) / 4.0).collect());
        let mut taken = HashSet::new();
        let mut out = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let form = match operator(node) {
                Some(Op::Unary(Unary::Erf)) => Unary::Gelu,
                Some(Op::Unary(Unary::Tanh)) => Unary::GeluTanh,
                _ => continue,
            };
            if let Some(found) = self
                .around(i, form, &grid)
                .filter(|f| f.nodes.is_disjoint(&taken))
            {
                taken.extend(&found.nodes);
                out.push(found);
            }
        }
        out
    }

    /// The nodes behind node `seed` of which each alone reads the one before.
    fn behind(&self, seed: usize) -> Vec<usize> {
        let mut out = Vec::new();
        let mut last = seed;
        while out.len() < BEHIND {
            let readers = self.nodes[last].output.first();
            let readers = readers.and_then(|name| self.readers.get(name.as_str()));
            let only = readers
                .filter(|r| r.len() == 1)
                .and_then(|r| r.iter().next());
            match only.filter(|&&r| self.nodes.get(r).is_some_and(|n| operator(n).is_some())) {
                Some(&next) => out.push(next),
                None => break,
            }
            last = out[out.len() - 1];
        }
        out
    }

    /// The spelling around node `seed`.
    fn around(&self, seed: usize, form: Unary, grid: &Tensor) -> Option<Found> {
        let wanted = form.run(&grid.clone().into(), 0).value.to_f64();
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
        let before = self.before(seed);
        for last in self.behind(seed) {
            let y = self.nodes[last].output[0].as_str();
            for &x in &before {
                let known = HashMap::from([(x, Some(grid.clone().into()))]);
                let mut look = Look {
                    all: self,
                    seed,
                    known,
                    nodes: HashSet::new(),
                };
                let Some(made) = look.value(y).map(|y| y.value.to_f64()) else {
                    continue;
                };
                if made.len() == wanted.len() && made.iter().zip(&wanted).all(close) {
                    let nodes = look.nodes;
                    let stays = |&i: &usize| {
                        i == last
                            || self
                                .readers
                                .get(self.nodes[i].output[0].as_str())
                                .is_some_and(|r| r.is_subset(&nodes))
                    };
                    return nodes.iter().all(stays).then(|| Found {
                        gelu: self.gelu(last, x, form),
                        nodes: nodes.clone(),
                        last,
                    });
                }
            }
        }
        None
    }

    /// Values that node `seed` is computed from by arithmetic with numbers, the nearest first.
    fn before(&self, seed: usize) -> Vec<&'a str> {
        let mut out: Vec<&str> = self.nodes[seed].input.iter().map(String::as_str).collect();
        let mut next = 0;
        while next < out.len() && out.len() < BEFORE {
            if let Some(node) = self
                .maker
                .get(out[next])
                .map(|&i| &self.nodes[i])
                .filter(|n| operator(n).is_some())
            {
                for name in node.input.iter().map(String::as_str) {
                    if !self.numbers.contains_key(name) && !out.contains(&name) {
                        out.push(name);
                    }
                }
            }
            next += 1;
        }
        out
    }

    fn gelu(&self, last: usize, x: &str, form: Unary) -> NodeProto {
        let text = AttributeProto {
            name: "approximate".into(),
            s: Some(b"tanh".to_vec()),
            r#type: kind::STRING,
            ..Default::default()
        };
        let NodeProto {
            output,
            name,
            domain,
            ..
        } = self.nodes[last].clone();
        let attribute = if form == Unary::GeluTanh {
            vec![text]
        } else {
            Vec::new()
        };
        NodeProto {
            op_type: "Gelu".into(),
            input: vec![x.to_owned()],
            output,
            name,
            domain,
            attribute,
        }
    }
}

/// Values as functions of one of them, around one `Erf` or `Tanh`.
struct Look<'s, 'a> {
    all: &'s Spellings<'a>,
    seed: usize,
    known: HashMap<&'a str, Option<Dual>>,
    /// Nodes that have been looked at.
    nodes: HashSet<usize>,
}

impl<'a> Look<'_, 'a> {
    /// A value, `None` where it depends on something else than what is known.
    fn value(&mut self, name: &'a str) -> Option<Dual> {
        if let Some(done) = self.known.get(name) {
            return done.clone();
        }
        if let Some(number) = self.all.numbers.get(name) {
            return Some(number.clone().into());
        }
        // Until it is computed: a file may hold a value that is made from itself.
        self.known.insert(name, None);
        let made = self.computed(*self.all.maker.get(name)?);
        self.known.insert(name, made.clone());
        made
    }

    fn computed(&mut self, at: usize) -> Option<Dual> {
        let node = &self.all.nodes[at];
        let op = operator(node)?;
        // Another of its kind belongs to another spelling.
        if (matches!(op, Op::Unary(_)) && at != self.seed) || self.nodes.len() == NODES {
            return None;
        }
        self.nodes.insert(at);
        let inputs = node
            .input
            .iter()
            .map(|i| self.value(i))
            .collect::<Option<Vec<_>>>()?;
        op.operator()
            .forward(&inputs.iter().collect::<Vec<_>>(), Mode::Evaluate)
            .0
            .pop()
    }
}
