//! From a graph to steps: each node in turn, with as many of the following ones as fit behind it.

use super::attention::Attention;
use super::blocked::{ActivateBlocked, Add, Channel, ChannelGate, GlobalAverage, Pool, Pooling};
use super::compiled::Plan;
use super::conv::FusedConv;
use super::dense::Dense;
use super::generic::Generic;
use super::last::{FromLast, ToLast};
use super::norm::TrainedNorm;
use super::packed::Packed;
use super::places::{Home, LANES, Needs, Places};
use super::rows::{ActivateRows, LayerNormRows, Scale, SoftmaxRows};
use super::step::Step;
use super::view::View;
use crate::error::{Error, Result};
use crate::graph::op::{Binary, Gemm, Mode, Op, Reduce, ReduceKind, Unary};
use crate::graph::{Dim, Network, Node, Source, ValueId, concrete};
use crate::run::engine::Purpose;
use crate::tensor::{Precision, Tensor};
use fgmf_kernels::{Activation, BlockedConv, Pool2d, max_pool_blocked_fits};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::OnceLock;

pub(super) fn compile(net: &Network, purpose: &Purpose, packed: &Packed) -> Result<Plan> {
    if net.precision().is_some_and(|p| p != Precision::F32) {
        return Err(Error::call("compile network", "parameters in F32", "F64"));
    }
    let mut compiler = Compiler::new(net, purpose);
    for node in 0..net.nodes().len() {
        if !compiler.covered(node) {
            let step = compiler.step(node);
            for id in step.outputs() {
                compiler.made[id.0] = true;
            }
            compiler.steps.push(step);
        }
    }
    let Compiler {
        needs,
        homes,
        views,
        steps,
        ..
    } = compiler;
    steps
        .par_iter()
        .for_each(|s| s.prepare(net, packed, &needs));
    let dead = dead_values(purpose, &needs, &views, &steps);
    Ok(Plan {
        places: Places {
            purpose: purpose.clone(),
            homes,
            views,
            needs,
        },
        steps,
        dead,
    })
}

/// For each step, the values that nothing reads after it.
fn dead_values(
    purpose: &Purpose,
    needs: &Needs,
    views: &[Option<View>],
    steps: &[Box<dyn Step>],
) -> Vec<Vec<ValueId>> {
    let mut last = vec![None; views.len()];
    let mut kept = vec![false; views.len()];
    for id in purpose.values.iter().chain(&purpose.gradients) {
        kept[id.0] = true;
    }
    // Who reads a view reads what holds it.
    let with_base = |id: ValueId| {
        [Some(id), views[id.0].as_ref().map(|v| v.base)]
            .into_iter()
            .flatten()
    };
    for (i, step) in steps.iter().enumerate() {
        step.outputs()
            .into_iter()
            .chain(step.inputs())
            .flat_map(with_base)
            .for_each(|id| last[id.0] = Some(i));
        if step.inputs().iter().any(|&id| needs.of(id)) {
            step.keeps(needs)
                .into_iter()
                .flat_map(with_base)
                .for_each(|id| kept[id.0] = true);
        }
    }
    let mut dead = vec![Vec::new(); steps.len()];
    for (i, step) in last.iter().enumerate() {
        if let Some(step) = step.filter(|_| !kept[i]) {
            dead[step].push(ValueId(i));
        }
    }
    dead
}

struct Compiler<'a> {
    net: &'a Network,
    purpose: &'a Purpose,
    needs: Needs,
    /// Nodes that read each value, with repeats.
    readers: Vec<Vec<usize>>,
    /// Values that must exist by themselves.
    exposed: Vec<bool>,
    homes: Vec<Home>,
    views: Vec<Option<View>>,
    fused: Vec<bool>,
    made: Vec<bool>,
    /// Feature maps that dense layers read as they lie, by node.
    maps: HashMap<usize, ValueId>,
    /// Steps that wait for their last node.
    waiting: HashMap<usize, Attention>,
    steps: Vec<Box<dyn Step>>,
}

impl<'a> Compiler<'a> {
    fn new(net: &'a Network, purpose: &'a Purpose) -> Self {
        let count = net.values().len();
        let mut needs = vec![false; count];
        let mut exposed = vec![false; count];
        for id in purpose
            .values
            .iter()
            .chain(&purpose.gradients)
            .chain([&net.output()])
        {
            exposed[id.0] = true;
        }
        purpose.gradients.iter().for_each(|id| needs[id.0] = true);
        let mut readers = vec![Vec::new(); count];
        for (i, node) in net.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|id| readers[id.0].push(i));
            if node.inputs.iter().any(|id| needs[id.0]) {
                node.outputs.iter().for_each(|id| needs[id.0] = true);
            }
        }
        let made = net
            .values()
            .iter()
            .map(|v| !matches!(v.source, Source::Node { .. }))
            .collect();
        Self {
            net,
            purpose,
            needs: Needs(needs),
            readers,
            exposed,
            homes: vec![Home::Rows; count],
            views: vec![None; count],
            maps: HashMap::new(),
            waiting: HashMap::new(),
            fused: vec![false; net.nodes().len()],
            made,
            steps: Vec::new(),
        }
    }

    /// Shape of a value for one image.
    fn shape(&self, id: ValueId) -> Vec<usize> {
        concrete(&self.net.value(id).shape, 1)
    }

    /// Whether each image has one row of the value's first axis: blocked maps are so.
    fn per_image(&self, id: ValueId) -> bool {
        self.net.value(id).shape.first() == Some(&Dim::Batch(1))
    }

    fn is_blocked(&self, id: ValueId) -> bool {
        self.homes[id.0] == Home::Blocked
    }

    fn stored(&self, id: ValueId) -> Option<Vec<f64>> {
        self.net.parameter(id).map(Tensor::to_f64)
    }

    /// The only node that reads a value, if the value need not exist by itself.
    fn follower(&self, id: ValueId) -> Option<usize> {
        match self.readers[id.0].as_slice() {
            [only] if !self.exposed[id.0] && !self.purpose.ruled.contains(only) => Some(*only),
            _ => None,
        }
    }

    /// Makes a rectifier behind `y` part of the step that makes `y`.
    fn fuse_relu(&mut self, y: ValueId) -> Option<ValueId> {
        let node = self.follower(y)?;
        matches!(self.net.nodes()[node].op, Op::Unary(Unary::Relu)).then(|| self.fuse(node))
    }

    /// Makes an addition behind `y` part of the step that makes `y`: what is added, and the sum.
    fn fuse_add(&mut self, y: ValueId) -> Option<(ValueId, ValueId)> {
        let node = self.follower(y)?;
        let Op::Binary(Binary::Add) = self.net.nodes()[node].op else {
            return None;
        };
        let [a, b] = self.net.nodes()[node].inputs[..] else {
            return None;
        };
        let other = if a == y { b } else { a };
        let stored = matches!(self.net.value(other).source, Source::Parameter { .. });
        let fits = self.made[other.0] && !stored && self.homes[other.0] == self.homes[y.0];
        (fits && self.net.value(other).shape == self.net.value(y).shape)
            .then(|| (other, self.fuse(node)))
    }

    fn fuse(&mut self, node: usize) -> ValueId {
        self.fused[node] = true;
        self.net.nodes()[node].outputs[0]
    }

    fn relu(&mut self, y: ValueId) -> (bool, ValueId) {
        self.fuse_relu(y).map_or((false, y), |y| (true, y))
    }

    /// Makes an activation behind rows `y` part of the dense layer that makes them.
    fn fuse_activation(&mut self, y: ValueId) -> Option<(Activation, ValueId)> {
        let node = self.follower(y)?;
        let Op::Unary(u) = self.net.nodes()[node].op else {
            return None;
        };
        let kind = curve(u)?;
        Some((kind, self.fuse(node)))
    }

    /// Whether the node needs no step of its own here.
    fn covered(&mut self, node: usize) -> bool {
        let product = matches!(self.net.nodes()[node].op, Op::MatMul(_))
            && !self.purpose.ruled.contains(&node);
        self.fused[node]
            || (self.turned_back(node).is_none() && self.view(node))
            || self.flattened(node)
            || (product && self.attention(node))
    }

    /// Whether the node's outputs can be read where its input lies; then it needs no step.
    fn view(&mut self, node: usize) -> bool {
        let net = self.net;
        let n = &net.nodes()[node];
        let x = n.inputs[0];
        let hidden = n.outputs.iter().all(|y| !self.exposed[y.0]);
        if !hidden
            || self.purpose.ruled.contains(&node)
            || self.is_blocked(x)
            || net.parameter(x).is_some()
        {
            return false;
        }
        // At two batch sizes: strides that depend on it are no strides.
        let found: Option<Vec<View>> = [3, 5]
            .map(|images| {
                let shape = |id: ValueId| concrete(&net.value(id).shape, images);
                let from = self.views[x.0]
                    .clone()
                    .unwrap_or_else(|| View::whole(x, &shape(x)));
                let factor = self.factor(n);
                let through = |(i, &y): (usize, &ValueId)| match factor {
                    Some(f) => Some(View {
                        factor: from.factor * f,
                        ..from.clone()
                    }),
                    None => from.through(&n.op, i, &shape(x), &shape(y)),
                };
                n.outputs
                    .iter()
                    .enumerate()
                    .map(through)
                    .collect::<Option<Vec<View>>>()
            })
            .into_iter()
            .reduce(|a, b| a.filter(|a| b.as_ref() == Some(a)))
            .flatten();
        let Some(found) = found else { return false };
        for (&y, view) in n.outputs.iter().zip(found) {
            self.views[y.0] = Some(view);
            self.made[y.0] = true;
        }
        true
    }

    /// Whether the node makes rows of a feature map that only a dense layer reads, which can read
    /// the map instead.
    fn flattened(&mut self, node: usize) -> bool {
        let n = &self.net.nodes()[node];
        let (x, y) = (n.inputs[0], n.outputs[0]);
        if !matches!(n.op, Op::Flatten(_) | Op::Reshape(_))
            || !self.is_blocked(x)
            || self.purpose.ruled.contains(&node)
        {
            return false;
        }
        let (map, Some(dense)) = (self.shape(x), self.follower(y)) else {
            return false;
        };
        let follower = &self.net.nodes()[dense];
        let weight = match (&follower.op, &follower.inputs[..]) {
            (Op::Gemm(op), &[rows, weight, ..]) if rows == y && self.plain(dense, op) => weight,
            (Op::MatMul(_), &[rows, weight]) if rows == y => weight,
            _ => return false,
        };
        let matrix = self.net.parameter(weight).is_some_and(|w| w.rank() == 2);
        let fits = self.per_image(y)
            && map[1].is_multiple_of(LANES)
            && self.shape(y) == [1, map.iter().product()];
        let reads = matrix && fits && !self.needs.of(weight);
        if reads {
            self.maps.insert(dense, x);
        }
        reads
    }

    /// What a dense layer reads: rows, or a feature map of so many channels and cells.
    fn dense_input(&self, node: usize) -> (ValueId, Option<[usize; 2]>) {
        match self.maps.get(&node) {
            Some(&map) => {
                let shape = self.shape(map);
                (map, Some([shape[1], shape[2..].iter().product()]))
            }
            None => (self.net.nodes()[node].inputs[0], None),
        }
    }

    /// The stored number that a node multiplies its first input with, if a matrix product or a
    /// transposition reads the result.
    fn factor(&self, n: &Node) -> Option<f32> {
        let reader = self.follower(n.outputs[0])?;
        matches!(
            self.net.nodes()[reader].op,
            Op::MatMul(_) | Op::Transpose(_)
        )
        .then(|| self.scalar(n))?
    }

    /// The stored number that a node multiplies its first input with.
    fn scalar(&self, n: &Node) -> Option<f32> {
        let &[x, by] = &n.inputs[..] else { return None };
        let by = self
            .net
            .parameter(by)
            .filter(|b| b.len() == 1 && !self.needs.of(n.inputs[1]))?
            .item();
        let same = self.net.value(n.outputs[0]).shape == self.net.value(x).shape;
        match n.op {
            Op::Binary(Binary::Mul) if same => Some(by as f32),
            Op::Binary(Binary::Div) if same => Some((1.0 / by) as f32),
            _ => None,
        }
    }

    /// Makes the nodes from the product of queries and keys to that with the values one step, which
    /// runs at the last of them.
    fn attention(&mut self, node: usize) -> bool {
        let net = self.net;
        let nodes = net.nodes();
        let &[q, k] = &nodes[node].inputs[..] else {
            return false;
        };
        let stored = |id: ValueId| net.parameter(id).is_some();
        let (mut scores, mut scale, mut taken) = (nodes[node].outputs[0], 1.0, vec![node]);
        if stored(q)
            || stored(k)
            || self.is_blocked(q)
            || self.is_blocked(k)
            || self.shape(scores).len() != 4
        {
            return false;
        }
        let Some(mut next) = self.follower(scores) else {
            return false;
        };
        if let Some(by) = self
            .scalar(&nodes[next])
            .filter(|_| nodes[next].inputs[0] == scores)
        {
            (scale, scores) = (by, nodes[next].outputs[0]);
            taken.push(next);
            let Some(after) = self.follower(scores) else {
                return false;
            };
            next = after;
        }
        let Op::Softmax(op) = &nodes[next].op else {
            return false;
        };
        let weights = nodes[next].outputs[0];
        taken.push(next);
        let Some(last) = self.follower(weights) else {
            return false;
        };
        let (Op::MatMul(_), &[left, v]) = (&nodes[last].op, &nodes[last].inputs[..]) else {
            return false;
        };
        let shape = |id: ValueId| net.value(id).shape.as_slice();
        let alike = [q, k, v]
            .iter()
            .all(|&id| shape(id).len() == 4 && shape(id)[..2] == shape(q)[..2]);
        if op.log
            || !matches!(op.axis, -1 | 3)
            || left != weights
            || stored(v)
            || self.is_blocked(v)
            || !alike
        {
            return false;
        }
        let mut y = nodes[last].outputs[0];
        let joined = self.joined(y);
        if let Some((all, nodes)) = joined {
            y = all;
            taken.extend(nodes);
        }
        taken.into_iter().for_each(|i| self.fused[i] = true);
        self.waiting.insert(
            last,
            Attention {
                q,
                k,
                v,
                scale,
                weights,
                y,
                joined: joined.is_some(),
            },
        );
        true
    }

    /// The value that puts heads side by side behind `y` `[n, h, t, d]`, and its nodes: a
    /// transposition and a change of shape.
    fn joined(&self, y: ValueId) -> Option<(ValueId, [usize; 2])> {
        let nodes = self.net.nodes();
        let turn = self.follower(y)?;
        let Op::Transpose(t) = &nodes[turn].op else {
            return None;
        };
        let merge = self
            .follower(nodes[turn].outputs[0])
            .filter(|_| t.perm == [0, 2, 1, 3])?;
        let all = nodes[merge].outputs[0];
        let [outer, h, rows, d] = self.shape(y)[..] else {
            return None;
        };
        (matches!(nodes[merge].op, Op::Reshape(_)) && self.shape(all) == [outer, rows, h * d])
            .then_some((all, [turn, merge]))
    }

    fn step(&mut self, node: usize) -> Box<dyn Step> {
        if let Some(step) = self.waiting.remove(&node) {
            return Box::new(step);
        }
        let special = if self.purpose.ruled.contains(&node) {
            None
        } else {
            self.special(node)
        };
        special.unwrap_or_else(|| Box::new(Generic::new(self.net, node)))
    }

    fn special(&mut self, node: usize) -> Option<Box<dyn Step>> {
        let n = &self.net.nodes()[node];
        let (x, y) = (n.inputs[0], n.outputs[0]);
        let on_map = self.is_blocked(x);
        match &n.op {
            Op::Conv(op) => self.conv(node, op),
            Op::BatchNorm(op) if on_map => self.batch_norm(node, op),
            Op::Binary(op @ (Binary::Add | Binary::Sub))
                if on_map && self.is_blocked(n.inputs[1]) =>
            {
                self.add(node, *op == Binary::Sub)
            }
            Op::Unary(u) => self.activate(*u, x, y),
            Op::MaxPool(op) if on_map => self.pool(node, &op.0, Pooling::Max),
            Op::AveragePool(op) if on_map => {
                self.pool(node, &op.window, Pooling::Mean(op.count_include_pad))
            }
            Op::GlobalAveragePool(_) if on_map => Some(Box::new(GlobalAverage { x, y })),
            Op::Reduce(op) if on_map && self.is_plane_mean(op, x) => {
                Some(Box::new(GlobalAverage { x, y }))
            }
            Op::Transpose(op) if on_map && op.perm == [0, 2, 3, 1] => {
                Some(Box::new(ToLast { x, y }))
            }
            Op::Transpose(_) => {
                let (step, nodes) = self.turned_back(node)?;
                nodes.into_iter().for_each(|i| self.fused[i] = true);
                self.homes[step.y.0] = Home::Blocked;
                Some(Box::new(step))
            }
            Op::Gemm(op) => self.gemm(node, op),
            Op::MatMul(_) => self.matmul(node),
            Op::LayerNorm(op) => {
                let (last, rank) = (self.shape(x).last().copied()?, self.shape(x).len() as i64);
                let axis_is_last = op.axis == -1 || op.axis == rank - 1;
                let stored = self.stored(n.inputs[1])?.len() == last
                    && n.inputs[2..].iter().all(|&b| self.stored(b).is_some());
                let step = LayerNormRows {
                    x,
                    scale: n.inputs[1],
                    bias: n.inputs.get(2).copied(),
                    epsilon: op.epsilon,
                    y,
                };
                (axis_is_last && stored).then(|| Box::new(step) as Box<dyn Step>)
            }
            Op::Softmax(op)
                if !op.log && (op.axis == -1 || op.axis == self.shape(x).len() as i64 - 1) =>
            {
                Some(Box::new(SoftmaxRows { x, y }))
            }
            Op::Binary(_) => self.channel_gate(node).or_else(|| self.scale(node)),
            _ => None,
        }
    }

    /// Whether each plane of a map becomes its mean.
    fn is_plane_mean(&self, op: &Reduce, x: ValueId) -> bool {
        let mut axes: Vec<i64> = op.axes.iter().map(|a| a.rem_euclid(4)).collect();
        axes.sort_unstable();
        op.kind == ReduceKind::Mean && self.shape(x).len() == 4 && axes == [2, 3]
    }

    /// Rows `[n, h, w, c]` that a transposition makes a map, which a stored number a channel may
    /// scale and which is added to a blocked map: one step, and the nodes behind the transposition
    /// that it covers.
    fn turned_back(&self, node: usize) -> Option<(FromLast, Vec<usize>)> {
        let n = &self.net.nodes()[node];
        let x = n.inputs[0];
        let turns = matches!(&n.op, Op::Transpose(t) if t.perm == [0, 3, 1, 2]);
        if !turns
            || self.purpose.ruled.contains(&node)
            || self.is_blocked(x)
            || !self.per_image(x)
            || self.net.parameter(x).is_some()
        {
            return None;
        }
        let channels = self.shape(x)[3];
        let (mut y, mut scale, mut nodes) = (n.outputs[0], None, Vec::new());
        let mut next = self.follower(y)?;
        if let Op::Binary(Binary::Mul) = self.net.nodes()[next].op {
            let factors = self.per_channel(y, &self.net.nodes()[next], channels)?;
            let mut factors: Vec<f32> = factors.into_iter().map(|v| v as f32).collect();
            factors.resize(channels.next_multiple_of(LANES), 0.0);
            scale = Some(factors);
            nodes.push(next);
            y = self.net.nodes()[next].outputs[0];
            next = self.follower(y)?;
        }
        let (Op::Binary(Binary::Add), &[a, b]) = (
            &self.net.nodes()[next].op,
            &self.net.nodes()[next].inputs[..],
        ) else {
            return None;
        };
        let add = if a == y { b } else { a };
        let fits = add != y
            && self.made[add.0]
            && self.is_blocked(add)
            && self.net.value(add).shape == self.net.value(y).shape;
        nodes.push(next);
        let y = self.net.nodes()[next].outputs[0];
        fits.then_some((FromLast { x, scale, add, y }, nodes))
    }

    fn conv(&mut self, node: usize, op: &crate::graph::op::Conv) -> Option<Box<dyn Step>> {
        let net = self.net;
        let [x, weight] = net.nodes()[node].inputs[..2] else {
            return None;
        };
        let bias = net.nodes()[node].inputs.get(2).copied();
        net.parameter(weight).filter(|_| self.per_image(x))?;
        if let Some(b) = bias {
            net.parameter(b)?;
        }
        let conv = BlockedConv::new(&op.geometry(&self.shape(x), net.parameter(weight)?.shape()))?;
        let mut y = net.nodes()[node].outputs[0];
        self.homes[y.0] = Home::Blocked;
        let mut fold = None;
        let trained = |id: ValueId| self.needs.of(id);
        if !trained(weight)
            && !bias.is_some_and(trained)
            && let Some(norm) = self.follower(y)
            && let Some(folded) = self.running(norm)
        {
            fold = Some(folded);
            y = self.fuse(norm);
            self.homes[y.0] = Home::Blocked;
        }
        let mut add = None;
        if let Some((other, sum)) = self.fuse_add(y) {
            (add, y) = (Some(other), sum);
            self.homes[y.0] = Home::Blocked;
        }
        let (relu, y) = self.relu(y);
        self.homes[y.0] = Home::Blocked;
        Some(Box::new(FusedConv {
            node,
            conv,
            x,
            weight,
            bias,
            fold,
            add,
            relu,
            y,
            packed: OnceLock::new(),
        }))
    }

    /// Factor and offset of each channel of a batch normalisation with running statistics that are
    /// not trained.
    fn running(&self, node: usize) -> Option<(Vec<f32>, Vec<f32>)> {
        let n = &self.net.nodes()[node];
        let Op::BatchNorm(op) = &n.op else {
            return None;
        };
        if self.purpose.mode != Mode::Evaluate || n.inputs[1..].iter().any(|&id| self.needs.of(id))
        {
            return None;
        }
        let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| self.stored(n.inputs[i]));
        let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
        let slope: Vec<f64> = scale
            .iter()
            .zip(&variance)
            .map(|(s, v)| s / (v + op.epsilon).sqrt())
            .collect();
        let shift = bias
            .iter()
            .zip(&slope)
            .zip(&mean)
            .map(|((b, s), m)| (b - s * m) as f32)
            .collect();
        Some((slope.iter().map(|&s| s as f32).collect(), shift))
    }

    fn batch_norm(
        &mut self,
        node: usize,
        op: &crate::graph::op::BatchNorm,
    ) -> Option<Box<dyn Step>> {
        let n = &self.net.nodes()[node];
        let (x, y, inputs) = (n.inputs[0], n.outputs[0], n.inputs.clone());
        let lanes = self.shape(x)[1].next_multiple_of(LANES);
        if self.purpose.mode == Mode::Train {
            if inputs[1..]
                .iter()
                .any(|&id| self.net.parameter(id).is_none())
            {
                return None;
            }
            self.homes[y.0] = Home::Blocked;
            let (relu, y) = self.relu(y);
            self.homes[y.0] = Home::Blocked;
            return Some(Box::new(TrainedNorm {
                node,
                epsilon: op.epsilon,
                x,
                scale: inputs[1],
                bias: inputs[2],
                relu,
                y,
            }));
        }
        let (mut scale, mut shift) = self.running(node)?;
        scale.resize(lanes, 0.0);
        shift.resize(lanes, 0.0);
        let (relu, y) = self.relu(y);
        self.homes[y.0] = Home::Blocked;
        Some(Box::new(Channel {
            x,
            scale,
            shift,
            relu,
            y,
        }))
    }

    fn add(&mut self, node: usize, minus: bool) -> Option<Box<dyn Step>> {
        let n = &self.net.nodes()[node];
        let (a, b, y) = (n.inputs[0], n.inputs[1], n.outputs[0]);
        if self.net.value(a).shape != self.net.value(b).shape {
            return None;
        }
        let (relu, y) = self.relu(y);
        self.homes[y.0] = Home::Blocked;
        Some(Box::new(Add {
            a,
            b,
            minus,
            relu,
            y,
        }))
    }

    fn activate(&mut self, u: Unary, x: ValueId, y: ValueId) -> Option<Box<dyn Step>> {
        let kind = curve(u)?;
        let (kind, y) = match self.fuse_silu(kind, x, y) {
            Some(product) => (Activation::Silu, product),
            None => (kind, y),
        };
        if self.is_blocked(x) {
            self.homes[y.0] = Home::Blocked;
            return Some(Box::new(ActivateBlocked { kind, x, y }));
        }
        Some(Box::new(ActivateRows { kind, x, y }))
    }

    /// Makes `x σ(x)` of `y = σ(x)` and the product with `x` behind it, as exporters write SiLU.
    fn fuse_silu(&mut self, kind: Activation, x: ValueId, y: ValueId) -> Option<ValueId> {
        let node = self.follower(y).filter(|_| kind == Activation::Sigmoid)?;
        let n = &self.net.nodes()[node];
        let product = matches!(n.op, Op::Binary(Binary::Mul));
        (product && matches!(n.inputs[..], [a, b] if [a, b] == [x, y] || [a, b] == [y, x]))
            .then(|| self.fuse(node))
    }

    /// A feature map times one number for each of its channels, which another branch computed: the
    /// gate of squeeze-and-excitation.
    fn channel_gate(&mut self, node: usize) -> Option<Box<dyn Step>> {
        let n = &self.net.nodes()[node];
        let [a, b] = n.inputs[..] else { return None };
        let (x, gate) = if self.is_blocked(a) { (a, b) } else { (b, a) };
        let (map, numbers) = (self.shape(x), self.shape(gate));
        let fits = self.is_blocked(x)
            && !self.is_blocked(gate)
            && self.per_image(gate)
            && map.len() == 4
            && numbers == [1, map[1], 1, 1]
            && self.net.parameter(gate).is_none();
        if !fits || !matches!(n.op, Op::Binary(Binary::Mul)) {
            return None;
        }
        let y = n.outputs[0];
        self.homes[y.0] = Home::Blocked;
        Some(Box::new(ChannelGate { x, gate, y }))
    }

    fn pool(
        &mut self,
        node: usize,
        window: &crate::graph::op::Window,
        kind: Pooling,
    ) -> Option<Box<dyn Step>> {
        let n = &self.net.nodes()[node];
        let (x, y) = (n.inputs[0], n.outputs[0]);
        let one = window.geometry(&self.shape(x));
        let shape = Pool2d {
            planes: one.planes.div_ceil(LANES),
            ..one
        };
        if kind == Pooling::Max && !max_pool_blocked_fits(&shape) {
            return None;
        }
        self.homes[y.0] = Home::Blocked;
        Some(Box::new(Pool {
            node,
            kind,
            shape,
            x,
            y,
        }))
    }

    /// Whether the product has a stored weight and nothing but a vector is added to it.
    #[allow(clippy::float_cmp, reason = "only exactly 1 changes nothing")]
    fn plain(&self, node: usize, op: &Gemm) -> bool {
        let n = &self.net.nodes()[node];
        let outputs = self.shape(n.outputs[0])[1];
        let vector = n.inputs.get(2).is_none_or(|&b| self.is_vector(b, outputs));
        vector
            && op.alpha == 1.0
            && op.beta == 1.0
            && !op.trans_a
            && self.net.parameter(n.inputs[1]).is_some()
    }

    /// Whether a value is stored and holds one number for each of `len` columns.
    fn is_vector(&self, id: ValueId, len: usize) -> bool {
        let of = |b: &Tensor| b.shape().last() == Some(&len) && b.len() == len;
        self.net.parameter(id).is_some_and(of)
    }

    fn gemm(&mut self, node: usize, op: &Gemm) -> Option<Box<dyn Step>> {
        if !self.plain(node, op) {
            return None;
        }
        let n = &self.net.nodes()[node];
        let (weight, bias, y) = (n.inputs[1], n.inputs.get(2).copied(), n.outputs[0]);
        let (x, map) = self.dense_input(node);
        if self.net.parameter(x).is_some() {
            return None;
        }
        let (relu, mut y) = self.relu(y);
        let mut activation = None;
        if !relu
            && map.is_none()
            && let Some((kind, z)) = self.fuse_activation(y)
        {
            (activation, y) = (Some(kind), z);
        }
        Some(Box::new(Dense {
            x,
            map,
            weight,
            transposed: op.trans_b,
            bias,
            add: None,
            relu,
            activation,
            y,
            packed: OnceLock::new(),
        }))
    }

    fn matmul(&mut self, node: usize) -> Option<Box<dyn Step>> {
        let n = &self.net.nodes()[node];
        let (weight, mut y) = (n.inputs[1], n.outputs[0]);
        let (x, map) = self.dense_input(node);
        if self.net.parameter(weight)?.rank() != 2 || self.net.parameter(x).is_some() {
            return None;
        }
        let outputs = self.shape(y).last().copied()?;
        let mut bias = None;
        if let Some(next) = self.follower(y)
            && let Op::Binary(Binary::Add) = self.net.nodes()[next].op
        {
            let others: Vec<ValueId> = self.net.nodes()[next]
                .inputs
                .iter()
                .copied()
                .filter(|&id| id != y)
                .collect();
            if let Some(&b) = others.iter().find(|&&id| self.is_vector(id, outputs)) {
                bias = Some(b);
                y = self.fuse(next);
            }
        }
        let mut add = None;
        if map.is_none()
            && let Some((other, sum)) = self.fuse_add(y)
        {
            (add, y) = (Some(other), sum);
        }
        let (relu, mut y) = self.relu(y);
        let mut activation = None;
        if !relu
            && map.is_none()
            && let Some((kind, z)) = self.fuse_activation(y)
        {
            (activation, y) = (Some(kind), z);
        }
        Some(Box::new(Dense {
            x,
            map,
            weight,
            transposed: false,
            bias,
            add,
            relu,
            activation,
            y,
            packed: OnceLock::new(),
        }))
    }

    /// Arithmetic of `[n, c, h, w]` with stored numbers, one or one a channel; what follows of the
    /// same kind joins it.
    fn scale(&mut self, node: usize) -> Option<Box<dyn Step>> {
        let x = self.net.nodes()[node].inputs[0];
        let &[_, Dim::Fixed(channels), _, _] = self.net.value(x).shape.as_slice() else {
            return None;
        };
        if self.net.parameter(x).is_some() {
            return None;
        }
        let (mut scale, mut shift) = (vec![1.0; channels], vec![0.0; channels]);
        let mut y = x;
        let mut next = Some(node);
        while let Some(node) = next {
            let n = &self.net.nodes()[node];
            let Op::Binary(op @ (Binary::Add | Binary::Sub | Binary::Mul | Binary::Div)) = n.op
            else {
                break;
            };
            let Some(by) = self.per_channel(y, n, channels) else {
                break;
            };
            for c in 0..channels {
                match op {
                    Binary::Add => shift[c] += by[c],
                    Binary::Sub => shift[c] -= by[c],
                    Binary::Mul => (scale[c], shift[c]) = (scale[c] * by[c], shift[c] * by[c]),
                    _ => (scale[c], shift[c]) = (scale[c] / by[c], shift[c] / by[c]),
                }
            }
            y = self.fuse(node);
            next = self.follower(y);
        }
        if y == x {
            return None;
        }
        let blocked = self.is_blocked(x);
        let len = if blocked {
            channels.next_multiple_of(LANES)
        } else {
            channels
        };
        let [scale, shift] = [scale, shift].map(|v| {
            let mut v: Vec<f32> = v.into_iter().map(|v| v as f32).collect();
            v.resize(len, 0.0);
            v
        });
        if !blocked {
            return Some(Box::new(Scale { x, scale, shift, y }));
        }
        self.homes[y.0] = Home::Blocked;
        Some(Box::new(Channel {
            x,
            scale,
            shift,
            relu: false,
            y,
        }))
    }

    /// What a node joins with `x`, if it is stored: one number a channel, and not trained. `x` is
    /// the first operand, or either of a product or a sum.
    fn per_channel(&self, x: ValueId, n: &crate::graph::Node, channels: usize) -> Option<Vec<f64>> {
        let [a, b] = n.inputs[..] else { return None };
        let either = matches!(n.op, Op::Binary(Binary::Mul | Binary::Add));
        let (first, b) = if either && b == x { (b, a) } else { (a, b) };
        if first != x
            || self.needs.of(b)
            || self.net.value(n.outputs[0]).shape != self.net.value(x).shape
        {
            return None;
        }
        let stored = self.net.parameter(b)?;
        let each = [1, channels, 1, 1];
        let aligned = stored.rank() <= 4
            && stored
                .shape()
                .iter()
                .rev()
                .zip(each.iter().rev())
                .all(|(&s, &e)| s == e || s == 1);
        match stored.len() {
            1 => Some(vec![stored.item(); channels]),
            len if len == channels && aligned => Some(stored.to_f64()),
            _ => None,
        }
    }
}

/// The activation that a node computes, if the kernels have it.
fn curve(u: Unary) -> Option<Activation> {
    Some(match u {
        Unary::Relu => Activation::Relu,
        Unary::LeakyRelu { alpha } => Activation::LeakyRelu(alpha as f32),
        Unary::Gelu => Activation::Gelu,
        Unary::GeluTanh => Activation::GeluTanh,
        Unary::Softplus => Activation::Softplus,
        Unary::Sigmoid => Activation::Sigmoid,
        Unary::Tanh => Activation::Tanh,
        Unary::HardSwish => Activation::HardSwish,
        Unary::HardSigmoid { alpha, beta } => Activation::HardSigmoid(alpha as f32, beta as f32),
        Unary::Clip { min, max } => Activation::Clip(min as f32, max as f32),
        _ => return None,
    })
}
