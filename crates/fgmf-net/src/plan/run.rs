//! One chunk on its way through a plan.

use super::memory::{Arena, Buffer, Slot};
use super::view::View;
use super::window::Around;
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
    /// For variants of images: what they differ from.
    pub(super) around: Option<Around<'a>>,
    pub(super) values: Vec<Slot>,
    cotangents: Vec<Slot>,
    /// Slopes of activations of values in rows, by the value that they make.
    pub(super) slopes: Vec<Option<Vec<f32>>>,
    /// Sums for parameters, row-major.
    parameters: Vec<Option<Vec<f32>>>,
    /// What nodes that run as they are keep, by node.
    pub(super) saved: Vec<Option<Saved>>,
    /// Window taps of pooling maxima, by node.
    pub(super) taps: Vec<Option<Vec<u8>>>,
    pub(super) statistics: Vec<Statistics>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        net: &'a Network,
        rules: &'a Rules,
        x: &Tensor,
        arena: Arena,
    ) -> Self {
        let count = net.values().len();
        let empty = || (0..count).map(|_| Slot::default()).collect::<Vec<_>>();
        let mut values = empty();
        values[net.input().0].set_rows(x.clone(), false);
        Self {
            plan,
            net,
            rules,
            n: x.shape()[0],
            arena,
            around: None,
            values,
            cotangents: empty(),
            slopes: vec![None; count],
            parameters: vec![None; count],
            saved: net.nodes().iter().map(|_| None).collect(),
            taps: vec![None; net.nodes().len()],
            statistics: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> (Arena, Vec<Statistics>) {
        for patch in self.around.into_iter().flat_map(|a| a.patches).flatten() {
            self.arena.give(patch.values);
        }
        for slot in self.values.iter_mut().chain(&mut self.cotangents) {
            slot.free(&mut self.arena);
        }
        (self.arena, self.statistics)
    }

    /// Images of one piece: a training step's chunk is shared by the threads.
    pub(super) fn piece(&self) -> usize {
        if self.plan.purpose.mode == crate::op::Mode::Train {
            PIECE.min(self.n)
        } else {
            self.n
        }
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
        self.complete(id);
        if let Source::Parameter { tensor, .. } = &self.net.value(id).source {
            return tensor.clone();
        }
        let shape = self.shape(id);
        if let (Some(view), true) = (&self.plan.views[id.0], self.values[id.0].rows.is_none()) {
            let base = self.tensor(view.base);
            if view.is_all_of(base.shape(), &shape) {
                self.values[id.0].set_rows(base.reshape(&shape), false);
            } else {
                let mut rows = self.arena.take_rows(shape.iter().product());
                view.gather(&shape, &base.values::<f32>(), &mut rows);
                self.values[id.0].set_rows(Tensor::new(&shape, rows), true);
            }
        }
        let slot = &mut self.values[id.0];
        slot.make_rows(&shape, &mut self.arena);
        slot.rows
            .clone()
            .unwrap_or_else(|| unreachable!("a plan keeps the values that its steps read"))
    }

    /// A value as part of the array that holds it.
    pub(super) fn part(&mut self, id: ValueId) -> (Tensor, View) {
        match &self.plan.views[id.0] {
            Some(view) => (self.tensor(view.base), view.clone()),
            None => (self.tensor(id), View::whole(id, &self.shape(id))),
        }
    }

    /// A blocked value, after [`Self::make_blocked`].
    pub(super) fn blocked(&self, id: ValueId) -> &[f32] {
        self.values[id.0]
            .blocked
            .as_deref()
            .unwrap_or_else(|| unreachable!("a plan keeps the values that its steps read"))
    }

    pub(super) fn make_blocked(&mut self, id: ValueId) {
        self.complete(id);
        if self.values[id.0].is_empty() {
            // A view, or a parameter.
            let rows = self.tensor(id);
            self.values[id.0].rows.get_or_insert(rows);
        }
        let shape = self.shape(id);
        self.values[id.0].make_blocked(&shape, &mut self.arena);
    }

    pub(super) fn put_blocked(&mut self, id: ValueId, value: Buffer) {
        self.values[id.0].blocked = Some(value);
    }

    /// Rows in a buffer of the arena.
    pub(super) fn put_rows(&mut self, id: ValueId, value: Vec<f32>) {
        let value = Tensor::new(&self.shape(id), value);
        self.values[id.0].set_rows(value, true);
    }

    pub(super) fn put_tensor(&mut self, id: ValueId, value: Tensor) {
        self.values[id.0].set_rows(value, false);
    }

    /// Frees a value.
    pub(super) fn release(&mut self, id: ValueId) {
        if let Some(patch) = self.around.as_mut().and_then(|a| a.patches[id.0].take()) {
            self.arena.give(patch.values);
        }
        self.values[id.0].free(&mut self.arena);
    }

    /// Frees a value and its cotangent.
    pub(super) fn forget(&mut self, id: ValueId) {
        self.release(id);
        self.cotangents[id.0].free(&mut self.arena);
        if let Some(slope) = self.slopes[id.0].take() {
            self.arena.give_rows(slope);
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
        slot.make_rows(&shape, &mut self.arena);
        slot.rows.clone()
    }

    /// Takes the cotangent of a value out, blocked; [`Self::done_with`] takes it back.
    pub(super) fn take_cotangent(&mut self, id: ValueId) -> Buffer {
        let shape = self.shape(id);
        self.cotangents[id.0].make_blocked(&shape, &mut self.arena);
        self.cotangents[id.0]
            .blocked
            .take()
            .unwrap_or_else(|| unreachable!("a backward step has a cotangent"))
    }

    /// Whether the gradient of a value was asked for.
    pub(super) fn wanted(&self, id: ValueId) -> bool {
        self.plan.purpose.gradients.contains(&id)
    }

    /// Hands back a cotangent that [`Self::take_cotangent`] took: kept if it was asked for.
    pub(super) fn done_with(&mut self, id: ValueId, g: Buffer) {
        if self.wanted(id) {
            self.cotangents[id.0].blocked = Some(g);
        } else {
            self.arena.give(g);
        }
    }

    pub(super) fn keep_saved(&mut self, node: usize, saved: Saved) {
        if let Saved::BatchStatistics {
            mean,
            variance,
            count,
        } = &saved
        {
            self.statistics.push(Statistics {
                node,
                mean: mean.to_f64(),
                variance: variance.to_f64(),
                count: *count,
            });
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

    /// Adds rows in a buffer of the arena to a cotangent, or starts it.
    pub(super) fn add_rows_cotangent(&mut self, id: ValueId, g: Vec<f32>) {
        let g = Tensor::new(&self.shape(id), g);
        self.accumulate(id, g, true);
    }

    /// Adds to a cotangent, or starts it.
    pub(super) fn add_cotangent(&mut self, id: ValueId, g: Tensor) {
        self.accumulate(id, g, false);
    }

    /// Adds the cotangent `g` of `from` to that of `to`.
    pub(super) fn hand_on(&mut self, from: ValueId, g: Tensor, to: ValueId) {
        let ours = self.cotangents[from.0].ours;
        self.accumulate(to, g, ours);
    }

    /// Adds a cotangent of part of a value, in a buffer of the arena.
    pub(super) fn add_part_cotangent(&mut self, part: &View, shape: &[usize], g: Vec<f32>) {
        self.accumulate_part(part, shape, Tensor::new(shape, g), true);
    }

    /// Adds rows to a cotangent, or starts it; `ours` says whether their memory is the arena's.
    fn accumulate(&mut self, id: ValueId, g: Tensor, ours: bool) {
        let shape = self.shape(id);
        if let Some(view) = &self.plan.views[id.0] {
            return self.accumulate_part(view, &shape, g, ours);
        }
        let mut new = Slot {
            rows: Some(g),
            ours,
            blocked: None,
        };
        if self.plan.homes[id.0] == Home::Blocked {
            new.make_blocked(&shape, &mut self.arena);
            if let Some(b) = new.blocked.take() {
                self.add_blocked_cotangent(id, b);
            }
        } else if self.cotangents[id.0].rows.is_none() {
            self.cotangents[id.0] = new;
            return;
        } else if let Some(g) = &new.rows {
            self.change_cotangent(id, |sum| add_assign(&g.values::<f32>(), sum));
        }
        new.free(&mut self.arena);
    }

    fn accumulate_part(&mut self, part: &View, shape: &[usize], g: Tensor, ours: bool) {
        let whole = self.shape(part.base);
        if part.is_all_of(&whole, shape) {
            return self.accumulate(part.base, g.reshape(&whole), ours);
        }
        self.change_cotangent(part.base, |sum| {
            part.scatter_add(shape, &g.values::<f32>(), sum)
        });
        Slot {
            rows: Some(g),
            ours,
            blocked: None,
        }
        .free(&mut self.arena);
    }

    /// Changes the cotangent of a value in rows where it lies; zeros if there is none.
    fn change_cotangent(&mut self, id: ValueId, change: impl FnOnce(&mut [f32])) {
        let shape = self.shape(id);
        let Slot { rows, ours, .. } = std::mem::take(&mut self.cotangents[id.0]);
        let (mut sum, ours) = match rows.map(Tensor::reclaim) {
            Some(Ok(sum)) => (sum, ours),
            Some(Err(shared)) => {
                let mut sum = self.arena.take_rows(shared.len());
                sum.copy_from_slice(&shared.values::<f32>());
                (sum, true)
            }
            None => {
                let mut sum = self.arena.take_rows(shape.iter().product());
                sum.fill(0.0);
                (sum, true)
            }
        };
        change(&mut sum);
        self.cotangents[id.0].set_rows(Tensor::new(&shape, sum), ours);
    }

    /// [`Self::add_cotangent`] from a blocked array.
    pub(super) fn add_blocked_cotangent(&mut self, id: ValueId, g: Buffer) {
        if self.plan.homes[id.0] == Home::Rows {
            let mut slot = Slot {
                blocked: Some(g),
                ..Slot::default()
            };
            slot.make_rows(&self.shape(id), &mut self.arena);
            if let Some(t) = slot.rows.take() {
                self.accumulate(id, t, true);
            }
            slot.free(&mut self.arena);
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
            return self.parameters[id.0]
                .take()
                .map_or_else(zeros, |g| Tensor::new(&shape, g));
        }
        self.cotangent_rows(id).unwrap_or_else(zeros)
    }
}
