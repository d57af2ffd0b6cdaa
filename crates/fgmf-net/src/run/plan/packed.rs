//! Weights as the kernels read them, packed once for all plans of a network.

use super::memory::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Which packing of a node's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Packing {
    /// For the forward pass, as stored.
    Forward,
    /// For the forward pass, scaled by the batch normalisation behind.
    ForwardFolded,
    /// For the gradient to the input, as stored.
    Backward,
    /// For the gradient to the input, scaled likewise.
    BackwardFolded,
}

/// Packed weights by node, shared between plans, and the memory of those that are out of date.
#[derive(Debug, Default)]
pub(super) struct Packed {
    weights: Mutex<ByPacking<Arc<Vec<f32>>>>,
    memory: Mutex<ByPacking<Vec<f32>>>,
}

pub(super) type ByPacking<T> = HashMap<(usize, Packing), T>;

impl Packed {
    pub(super) fn get(
        &self,
        node: usize,
        packing: Packing,
        pack: impl FnOnce(&mut Vec<f32>),
    ) -> Arc<Vec<f32>> {
        let key = (node, packing);
        if let Some(found) = lock(&self.weights).get(&key) {
            return found.clone();
        }
        // Packed outside the lock, so that several nodes are packed at once.
        let mut made = lock(&self.memory).remove(&key).unwrap_or_default();
        pack(&mut made);
        lock(&self.weights)
            .entry(key)
            .or_insert(Arc::new(made))
            .clone()
    }

    /// Numbers that packed weights hold.
    pub(super) fn numbers(&self) -> usize {
        lock(&self.weights).values().map(|w| w.len()).sum()
    }

    /// Drops the weights, and memory kept for others.
    pub(super) fn release(&self) {
        lock(&self.weights).clear();
        lock(&self.memory).clear();
    }

    /// Drops the weights and keeps their memory, if no plan holds them.
    pub(super) fn forget(&mut self) {
        let weights = std::mem::take(
            self.weights
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let free = weights
            .into_iter()
            .filter_map(|(key, w)| Some((key, Arc::into_inner(w)?)));
        lock(&self.memory).extend(free);
    }
}
