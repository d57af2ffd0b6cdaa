//! Buffers that are used again, and values in the layouts they are asked for.

use crate::tensor::Tensor;
use fgmf_kernels::{blocked_len, from_blocked, to_blocked};

/// Buffers that nothing uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Arena(Vec<Vec<f32>>);

impl Arena {
    /// A buffer of `len` numbers, whatever they are: the smallest that is large enough, if one is free.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        let fits = |(i, b): (usize, &Vec<f32>)| (b.capacity() >= len).then_some((b.capacity(), i));
        match self.0.iter().enumerate().filter_map(fits).min() {
            Some((_, i)) => {
                let mut buffer = self.0.swap_remove(i);
                buffer.resize(len, 0.0);
                buffer
            }
            None => vec![0.0; len],
        }
    }

    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        self.0.push(buffer);
    }
}

/// A value or cotangent in one layout or both.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) rows: Option<Tensor>,
    pub(super) blocked: Option<Vec<f32>>,
}

impl Slot {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_none() && self.blocked.is_none()
    }

    /// Sees to it that the rows are there; `shape` is the value's.
    pub(super) fn make_rows(&mut self, shape: &[usize]) {
        if self.rows.is_none()
            && let Some(b) = &self.blocked
        {
            let mut rows = vec![0.0; shape.iter().product()];
            from_blocked(shape[1], shape[2..].iter().product(), b, &mut rows);
            self.rows = Some(Tensor::new(shape, rows));
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
}
