//! Buffers that are used again, and values in the layouts they are asked for.

use crate::tensor::Tensor;
use fgmf_kernels::{AttentionScratch, blocked_len, from_blocked, to_blocked};

/// Buffers that nothing uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Arena {
    free: Vec<Vec<f32>>,
    pub(super) attention: AttentionScratch,
}

impl Arena {
    /// A buffer of `len` numbers, whatever they are: one of that length if it is free, or the smallest that is large enough.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        // Of one length nothing need be cleared.
        let fits = |(i, b): (usize, &Vec<f32>)| (b.capacity() >= len).then_some((b.len() != len, b.capacity(), i));
        match self.free.iter().enumerate().filter_map(fits).min() {
            Some((_, _, i)) => {
                let mut buffer = self.free.swap_remove(i);
                buffer.resize(len, 0.0);
                buffer
            }
            None => vec![0.0; len],
        }
    }

    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        self.free.push(buffer);
    }
}

/// A value or cotangent in one layout or both.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) rows: Option<Tensor>,
    /// Whether the rows' memory comes from an arena and goes back there.
    pub(super) ours: bool,
    pub(super) blocked: Option<Vec<f32>>,
}

impl Slot {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_none() && self.blocked.is_none()
    }

    pub(super) fn set_rows(&mut self, rows: Tensor, ours: bool) {
        (self.rows, self.ours) = (Some(rows), ours);
    }

    /// Sees to it that the rows are there; `shape` is the value's.
    pub(super) fn make_rows(&mut self, shape: &[usize], arena: &mut Arena) {
        if self.rows.is_none()
            && let Some(b) = &self.blocked
        {
            let mut rows = arena.take(shape.iter().product());
            from_blocked(shape[1], shape[2..].iter().product(), b, &mut rows);
            self.set_rows(Tensor::new(shape, rows), true);
        }
    }

    /// Sees to it that the blocked form is there.
    pub(super) fn make_blocked(&mut self, shape: &[usize], arena: &mut Arena) {
        if self.blocked.is_none()
            && let Some(rows) = &self.rows
        {
            let plane = shape[2..].iter().product();
            let mut blocked = arena.take(blocked_len(shape[0], shape[1], plane));
            to_blocked(shape[1], plane, &rows.values::<f32>(), &mut blocked);
            self.blocked = Some(blocked);
        }
    }

    /// Empties the slot.
    pub(super) fn free(&mut self, arena: &mut Arena) {
        let Self { rows, ours, blocked } = std::mem::take(self);
        if let Some(b) = blocked {
            arena.give(b);
        }
        if let Some(b) = rows.filter(|_| ours).and_then(|t| t.reclaim().ok()) {
            arena.give(b);
        }
    }
}
