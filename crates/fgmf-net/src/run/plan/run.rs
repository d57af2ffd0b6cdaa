//! One chunk on its way through a plan.

use super::memory::{Arena, Buffer, Slot};
use super::places::{Around, Places};
use super::view::View;
use crate::graph::op::Saved;
use crate::graph::{Network, Source, ValueId, concrete};
use crate::rule::Rules;
use crate::run::engine::Statistics;
use crate::tensor::Tensor;

/// Images that one thread takes of a chunk in a training step.
const PIECE: usize = 16;

/// Values, cotangents and parameter gradients of a chunk.
pub(super) struct Run<'a> {
    pub(super) places: &'a Places,
    pub(super) net: &'a Network,
    pub(super) rules: &'a Rules,
    /// Images.
    pub(super) n: usize,
    pub(super) arena: Arena,
    /// For variants of images: what they differ from.
    pub(super) around: Option<Around<'a>>,
    pub(super) values: Vec<Slot>,
    pub(super) cotangents: Vec<Slot>,
    /// Slopes of activations of values in rows, by the value that they make.
    pub(super) slopes: Vec<Option<Vec<f32>>>,
    /// Sums for parameters, row-major.
    pub(super) parameters: Vec<Option<Vec<f32>>>,
    /// What nodes that run as they are keep, by node.
    pub(super) saved: Vec<Option<Saved>>,
    /// Window taps of pooling maxima, by node.
    pub(super) taps: Vec<Option<Vec<u8>>>,
    pub(super) statistics: Vec<Statistics>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        places: &'a Places,
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
            places,
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
        if self.places.purpose.mode == crate::graph::op::Mode::Train {
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
        if let (Some(view), true) = (&self.places.views[id.0], self.values[id.0].rows.is_none()) {
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
        match &self.places.views[id.0] {
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
        self.places.needs.of(id)
    }

    pub(super) fn keep_saved(&mut self, node: usize, saved: Saved) {
        self.statistics.extend(Statistics::of(node, &saved));
        self.saved[node] = Some(saved);
    }
}
