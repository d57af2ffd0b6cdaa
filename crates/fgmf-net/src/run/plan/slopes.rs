//! The way back: cotangents of values, gradients of parameters.

use super::memory::{Buffer, Slot};
use super::places::Home;
use super::run::Run;
use super::view::View;
use crate::graph::{Source, ValueId};
use crate::tensor::Tensor;
use fgmf_kernels::{Pass, add_assign};

impl Run<'_> {
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
        self.places.purpose.gradients.contains(&id)
    }

    /// Hands back a cotangent that [`Self::take_cotangent`] took: kept if it was asked for.
    pub(super) fn done_with(&mut self, id: ValueId, g: Buffer) {
        if self.wanted(id) {
            self.cotangents[id.0].blocked = Some(g);
        } else {
            self.arena.give(g);
        }
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
        if let Some(view) = &self.places.views[id.0] {
            return self.accumulate_part(view, &shape, g, ours);
        }
        let mut new = Slot {
            rows: Some(g),
            ours,
            blocked: None,
        };
        if self.net.parameter(id).is_some() {
            if let Some(g) = &new.rows {
                self.add_parameter(id, g.to_f32());
            }
        } else if self.places.homes[id.0] == Home::Blocked {
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
        if self.places.views[part.base.0].is_some() {
            // Nothing reads the cotangent of a view: what holds the view gets it.
            let mut sum = self.arena.take_rows(whole.iter().product());
            sum.fill(0.0);
            part.scatter_add(shape, &g.values::<f32>(), &mut sum);
            self.accumulate(part.base, Tensor::new(&whole, sum), true);
        } else {
            self.change_cotangent(part.base, |sum| {
                part.scatter_add(shape, &g.values::<f32>(), sum)
            });
        }
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
        if self.places.homes[id.0] == Home::Rows {
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
