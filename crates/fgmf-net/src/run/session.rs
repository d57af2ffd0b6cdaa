//! A network that runs: its weights, packed, its plans and the memory of its chunks.

use super::chunks::usual_chunk;
use super::cpu::Cpu;
use super::engine::Engine;
use super::walk::{self, Tape};
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::graph::op::Mode;
use crate::graph::{Network, ValueId};
use crate::rule::Rules;
use crate::tensor::{Precision, Tensor};
use std::ops::Deref;
use std::sync::Arc;

/// A [`Network`] and what runs it.
///
/// A session owns its network, so that weights change through it alone and nothing that was made of
/// old weights is used again. Reading the graph through a session is free: it derefs to the
/// network. A clone starts without plans and packed weights.
#[derive(Debug)]
pub struct Session {
    network: Network,
    pub(super) cpu: Cpu,
    /// Most examples in a chunk that evaluates.
    most: usize,
    identity: Identity,
}

/// Which session, and which of the weights that it has had.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    session: Arc<()>,
    generation: u64,
}

impl Identity {
    /// An error unless what was made by `other` was made by this session with its present weights.
    pub(super) fn check(&self, operation: &'static str, other: &Self) -> Result<()> {
        if !Arc::ptr_eq(&self.session, &other.session) {
            return Err(Error::call(
                operation,
                "surroundings made by this session",
                "those of another session",
            ));
        }
        if self.generation != other.generation {
            return Err(Error::call(
                operation,
                "surroundings made with the present weights",
                "those of weights that have changed since",
            ));
        }
        Ok(())
    }
}

impl Session {
    /// Takes a network to run it.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            cpu: Cpu::default(),
            most: usize::MAX,
            identity: Identity::default(),
        }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Gives the network back.
    pub fn into_network(self) -> Network {
        self.network
    }

    /// [`Network::cast`], in a session of its own with this one's limit.
    pub fn cast(&self, precision: Precision) -> Self {
        Self {
            most: self.most,
            ..Self::new(self.network.cast(precision))
        }
    }

    /// What runs chunks.
    pub(super) fn engine(&self) -> &dyn Engine {
        &self.cpu
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// [`Network::set_parameter`]; what was made of the old weights is forgotten.
    pub fn set_parameter(&mut self, id: ValueId, new: Tensor) -> Result<()> {
        self.network.set_parameter(id, new)?;
        self.cpu.cache.forget_weights();
        self.identity.generation += 1;
        Ok(())
    }

    /// [`Network::set_trainable`]. Plans stay: each names the gradients that it computes.
    pub fn set_trainable(&mut self, id: ValueId, on: bool) {
        self.network.set_trainable(id, on);
    }

    /// Examples in a chunk that evaluates. The network decides, or [`Self::limit_chunks`] if fewer.
    pub fn chunk(&self) -> usize {
        usual_chunk(self).min(self.most)
    }

    /// Keeps chunks at `most` examples, at least one; bounds memory and changes no result.
    pub fn limit_chunks(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Numbers that weights hold as the kernels read them; they are packed when they are first
    /// used.
    pub fn packed_numbers(&self) -> usize {
        self.cpu.cache.packed_numbers()
    }

    /// Gives back the memory of plans, packed weights and chunks that are not at work. They are
    /// made again when they are needed; changes no result.
    pub fn release(&self) {
        self.cpu.cache.release();
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// An error unless `x` is a batch of this network's images.
    pub fn check_images(&self, x: &Tensor) -> Result<()> {
        let [c, h, w] = self.image_shape();
        match x.shape() {
            [n, rest @ ..] if *n > 0 && rest == [c, h, w] => {}
            shape => {
                return Err(Error::call(
                    "run network",
                    format!("images of shape [n, {c}, {h}, {w}]"),
                    format!("{shape:?}"),
                ));
            }
        }
        match self.precision() {
            Some(p) if p != x.precision() => Err(Error::call(
                "run network",
                format!("images in {p:?}"),
                format!("{:?}", x.precision()),
            )),
            _ => Ok(()),
        }
    }

    /// Forward pass over one chunk, `x [n, c, h, w]`, node by node. With a tangent on `x`, every
    /// value carries its Jacobian-vector product.
    pub fn forward(&self, x: &Dual, mode: Mode) -> Result<Tape> {
        self.check_images(&x.value)?;
        Ok(walk::forward(self, x, mode))
    }

    /// Backward pass: pulls the cotangents of some values back to the `wanted` values. Only nodes
    /// between the two run; `rules` may replace the derivative of single nodes. A wanted value that
    /// nothing depends on gets zeros.
    pub fn backward(
        &self,
        tape: &Tape,
        cotangents: Vec<(ValueId, Dual)>,
        wanted: &[ValueId],
        rules: &Rules,
    ) -> Result<Vec<Dual>> {
        walk::backward(self, tape, cotangents, wanted, rules)
    }
}

impl Deref for Session {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

impl Clone for Session {
    fn clone(&self) -> Self {
        Self {
            most: self.most,
            ..Self::new(self.network.clone())
        }
    }
}
