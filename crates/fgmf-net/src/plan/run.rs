//! One chunk on its way through a plan.

use super::memory::{Arena, Slot};
use super::{Home, Plan, Statistics};
use crate::network::{Network, Source, ValueId, concrete};
use crate::op::Saved;
use crate::rule::Rules;
use crate::tensor::Tensor;
use fgmf_kernels::{Pass, add_assign};

/// Images that one thread takes of a chunk in a training step.
const PIECE: usize = 16;

/// Values, cotangents and parameter gradients of a chunk.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) net: &'a Network,
    pub(super) rules: &'a Rules,
    /// Images.
    pub(super) n: usize,
    pub(super) arena: Arena,
    values: Vec<Slot>,
    cotangents: Vec<Slot>,
    /// Sums for parameters, row-major.
    parameters: Vec<Option<Vec<f32>>>,
    /// What nodes that run as they are keep, by node.
    pub(super) saved: Vec<Option<Saved>>,
    /// Window taps of pooling maxima, by node.
    pub(super) taps: Vec<Option<Vec<u8>>>,
    pub(super) statistics: Vec<Statistics>,
}

impl<'a> Run<'a> {
    pub(super) fn new(plan: &'a Plan, net: &'a Network, rules: &'a Rules, x: &Tensor, arena: Arena) -> Self {
        let count = net.values().len();
        let empty = || (0..count).map(|_| Slot::default()).collect::<Vec<_>>();
        let mut values = empty();
        values[net.input().0].rows = Some(x.clone());
        Self {
            plan,
            net,
            rules,
            n: x.shape()[0],
            arena,
            values,
            cotangents: empty(),
            parameters: vec![None; count],
            saved: net.nodes().iter().map(|_| None).collect(),
            taps: vec![None; net.nodes().len()],
            statistics: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> (Arena, Vec<Statistics>) {
        for slot in self.values.iter_mut().chain(&mut self.cotangents) {
            if let Some(b) = slot.blocked.take() {
                self.arena.give(b);
            }
        }
        (self.arena, self.statistics)
    }

    /// Images of one piece: a training step's chunk is shared by the threads.
    pub(super) fn piece(&self) -> usize {
        if self.plan.purpose.mode == crate::op::Mode::Train { PIECE.min(self.n) } else { self.n }
    }

    /// Numbers of a piece of an array of `len` numbers.
    pub(super) fn piece_len(&self, len: usize) -> usize {
        (len / self.n * self.piece()).max(1)
    }

    pub(super) fn shape(&self, id: ValueId) -> Vec<usize> {
        concrete(&self.net.value(id).shape, self.n)
    }

    /// Channels and cells of a plane of a value.
    pub(super) fn planes(&self, id: ValueId) -> (usize, usize) {
        let shape = self.shape(id);
        (shape[1], shape[2..].iter().product())
    }

    /// A value in rows.
    pub(super) fn tensor(&mut self, id: ValueId) -> Tensor {
        if let Source::Parameter { tensor, .. } = &self.net.value(id).source {
            return tensor.clone();
        }
        let shape = self.shape(id);
        let slot = &mut self.values[id.0];
        slot.make_rows(&shape);
        slot.rows.clone().unwrap_or_else(|| unreachable!("a plan keeps the values that its steps read"))
    }

    /// A blocked value, after [`Self::make_blocked`].
    pub(super) fn blocked(&self, id: ValueId) -> &[f32] {
        self.values[id.0].blocked.as_deref().unwrap_or_else(|| unreachable!("a plan keeps the values that its steps read"))
    }

    pub(super) fn make_blocked(&mut self, id: ValueId) {
        let shape = self.shape(id);
        self.values[id.0].make_blocked(&shape, &mut self.arena);
    }

    pub(super) fn put_blocked(&mut self, id: ValueId, value: Vec<f32>) {
        self.values[id.0].blocked = Some(value);
    }

    pub(super) fn put_rows(&mut self, id: ValueId, value: Tensor) {
        self.values[id.0].rows = Some(value);
    }

    /// Frees a value.
    pub(super) fn release(&mut self, id: ValueId) {
        let slot = std::mem::take(&mut self.values[id.0]);
        if let Some(b) = slot.blocked {
            self.arena.give(b);
        }
    }

    /// Frees a value and its cotangent.
    pub(super) fn forget(&mut self, id: ValueId) {
        self.release(id);
        let slot = std::mem::take(&mut self.cotangents[id.0]);
        if let Some(b) = slot.blocked {
            self.arena.give(b);
        }
    }

    pub(super) fn needs(&self, id: ValueId) -> bool {
        self.plan.needs.of(id)
    }

    pub(super) fn has_cotangent(&self, id: ValueId) -> bool {
        !self.cotangents[id.0].is_empty()
    }

    /// A cotangent in rows, if one arrived.
    pub(super) fn cotangent_rows(&mut self, id: ValueId) -> Option<Tensor> {
        let shape = self.shape(id);
        let slot = &mut self.cotangents[id.0];
        slot.make_rows(&shape);
        slot.rows.clone()
    }

    /// Takes the cotangent of a value out, blocked; [`Self::done_with`] takes it back.
    pub(super) fn take_cotangent(&mut self, id: ValueId) -> Vec<f32> {
        let shape = self.shape(id);
        self.cotangents[id.0].make_blocked(&shape, &mut self.arena);
        self.cotangents[id.0].blocked.take().unwrap_or_else(|| unreachable!("a backward step has a cotangent"))
    }

    /// Whether the gradient of a value was asked for.
    pub(super) fn wanted(&self, id: ValueId) -> bool {
        self.plan.purpose.gradients.contains(&id)
    }

    /// Hands back a cotangent that [`Self::take_cotangent`] took: kept if it was asked for.
    pub(super) fn done_with(&mut self, id: ValueId, g: Vec<f32>) {
        if self.wanted(id) {
            self.cotangents[id.0].blocked = Some(g);
        } else {
            self.arena.give(g);
        }
    }

    pub(super) fn keep_saved(&mut self, node: usize, saved: Saved) {
        if let Saved::BatchStatistics { mean, variance, count } = &saved {
            self.statistics.push(Statistics { node, mean: mean.to_f64(), variance: variance.to_f64(), count: *count });
        }
        self.saved[node] = Some(saved);
    }

    /// A blocked cotangent, counting only where the value `gate` is positive.
    pub(super) fn pass<'g>(&'g self, g: &'g [f32], gate: Option<ValueId>) -> Pass<'g> {
        match gate {
            Some(id) => Pass::gated(g, self.blocked(id)),
            None => Pass::new(g),
        }
    }

    /// Adds to a cotangent, or starts it.
    pub(super) fn add_cotangent(&mut self, id: ValueId, g: Tensor) {
        if self.plan.homes[id.0] == Home::Blocked {
            let mut slot = Slot { rows: Some(g), blocked: None };
            let shape = self.shape(id);
            slot.make_blocked(&shape, &mut self.arena);
            if let Some(b) = slot.blocked {
                self.add_blocked_cotangent(id, b);
            }
            return;
        }
        let slot = &mut self.cotangents[id.0];
        slot.rows = Some(match slot.rows.take() {
            Some(old) => old.add(&g),
            None => g,
        });
    }

    /// [`Self::add_cotangent`] from a blocked array.
    pub(super) fn add_blocked_cotangent(&mut self, id: ValueId, g: Vec<f32>) {
        if self.plan.homes[id.0] == Home::Rows {
            let mut slot = Slot { rows: None, blocked: Some(g) };
            slot.make_rows(&self.shape(id));
            if let Some(t) = slot.rows {
                self.add_cotangent(id, t);
            }
            return;
        }
        match &mut self.cotangents[id.0].blocked {
            Some(old) => {
                add_assign(&g, old);
                self.arena.give(g);
            }
            empty => *empty = Some(g),
        }
        // A copy in rows would be out of date.
        self.cotangents[id.0].rows = None;
    }

    /// Adds to a parameter's gradient, row-major, or starts it.
    pub(super) fn add_parameter(&mut self, id: ValueId, g: Vec<f32>) {
        match &mut self.parameters[id.0] {
            Some(old) => add_assign(&g, old),
            empty => *empty = Some(g),
        }
    }

    /// The gradient of a value or parameter; zeros where nothing depends on it.
    pub(super) fn gradient(&mut self, id: ValueId) -> Tensor {
        let shape = self.shape(id);
        let zeros = || Tensor::new(&shape, vec![0.0f32; shape.iter().product()]);
        if let Source::Parameter { .. } = self.net.value(id).source {
            return self.parameters[id.0].take().map_or_else(zeros, |g| Tensor::new(&shape, g));
        }
        self.cotangent_rows(id).unwrap_or_else(zeros)
    }
}
