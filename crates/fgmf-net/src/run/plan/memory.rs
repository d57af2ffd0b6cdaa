//! Buffers that are used again, and values in the layouts they are asked for.

use crate::tensor::Tensor;
use fgmf_kernels::{AttentionScratch, blocked_len, from_blocked, to_blocked};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The first numbers of a piece of memory that keeps its size, so that it never has to be cleared
/// again.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<f32>,
    len: usize,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

/// Memory that nothing uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Arena {
    free: Vec<Vec<f32>>,
    pub(super) attention: AttentionScratch,
}

impl Arena {
    /// A buffer of `len` numbers, whatever they are: the smallest memory that is large enough, if
    /// any is free.
    pub(super) fn take(&mut self, len: usize) -> Buffer {
        let mut memory = self.smallest(len, usize::MAX);
        if memory.len() < len {
            memory.resize(len, 0.0);
        }
        Buffer { memory, len }
    }

    pub(super) fn give(&mut self, buffer: Buffer) {
        self.free.push(buffer.memory);
    }

    /// [`Self::take`] for a value in rows, whose tensor holds exactly its numbers: memory is cut to
    /// them, and what is cut off would have to be cleared when it is used again, so that much
    /// larger memory is left for others.
    pub(super) fn take_rows(&mut self, len: usize) -> Vec<f32> {
        let mut memory = self.smallest(len, len.saturating_mul(2));
        memory.resize(len, 0.0);
        memory
    }

    /// Pieces of memory that are free.
    pub(super) fn spare(&self) -> usize {
        self.free.len()
    }

    pub(super) fn give_rows(&mut self, memory: Vec<f32>) {
        self.free.push(memory);
    }

    /// The smallest memory with room for `len` numbers and no more than `most`, the one that holds
    /// `len` before one that holds fewer (a chunk before had fewer images); new memory if none is
    /// free.
    fn smallest(&mut self, len: usize, most: usize) -> Vec<f32> {
        let fits = |(i, m): (usize, &Vec<f32>)| {
            (len..=most)
                .contains(&m.capacity())
                .then_some((m.len() < len, m.capacity(), i))
        };
        match self.free.iter().enumerate().filter_map(fits).min() {
            Some((_, _, i)) => self.free.swap_remove(i),
            None => vec![0.0; len],
        }
    }
}

/// A value or cotangent in one layout or both.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) rows: Option<Tensor>,
    /// Whether the rows' memory comes from an arena and goes back there.
    pub(super) ours: bool,
    pub(super) blocked: Option<Buffer>,
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
            let mut rows = arena.take_rows(shape.iter().product());
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
        let Self {
            rows,
            ours,
            blocked,
        } = std::mem::take(self);
        if let Some(b) = blocked {
            arena.give(b);
        }
        if let Some(b) = rows.filter(|_| ours).and_then(|t| t.reclaim().ok()) {
            arena.give_rows(b);
        }
    }
}

/// Free pieces of memory from which on an arena takes no results back: some come from elsewhere,
/// and would pile up.
const SPARE: usize = 128;

/// One arena for each chunk that runs at a time.
#[derive(Debug, Default)]
pub(crate) struct Arenas(Mutex<Vec<Arena>>);

impl Arenas {
    /// An arena for a chunk; [`Self::give`] takes it back.
    pub(super) fn take(&self) -> Arena {
        lock(&self.0).pop().unwrap_or_default()
    }

    pub(super) fn give(&self, arena: Arena) {
        lock(&self.0).push(arena);
    }

    /// Gives back the memory of arenas that no chunk has.
    pub(super) fn release(&self) {
        lock(&self.0).clear();
    }

    /// Takes back the memory of results that have been copied: a piece for the arena that has the
    /// fewest.
    pub(crate) fn reuse(&self, results: impl Iterator<Item = Tensor>) {
        let mut arenas = lock(&self.0);
        for memory in results.filter_map(|t| t.reclaim().ok()) {
            if let Some(arena) = arenas
                .iter_mut()
                .min_by_key(|a| a.spare())
                .filter(|a| a.spare() < SPARE)
            {
                arena.give_rows(memory);
            }
        }
    }
}

/// What a stored panic of another thread left is still usable: these hold caches only.
pub(super) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
