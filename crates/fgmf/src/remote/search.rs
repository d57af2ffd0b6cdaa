//! A model behind an address as a search sees it: with what it may spend.

use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::remote::remote_model::RemoteModel;
use fgmf_net::Tensor;
use std::sync::atomic::{AtomicU64, Ordering};

/// The part of a budget that one search has. A search that is refused ends, and keeps what it has.
pub struct RemoteSearch<'a> {
    model: &'a RemoteModel,
    /// Images of the budget left for the judgement of what the search finds.
    reserve: u64,
    /// Most images that the search may ask about, of those that were asked before, too: so that
    /// a run that goes on ends its searches where it would have.
    allowance: Option<u64>,
    used: AtomicU64,
}

impl<'a> RemoteSearch<'a> {
    /// The model, `reserve` images of its budget left alone, and at most `allowance` images.
    pub fn new(model: &'a RemoteModel, reserve: u64, allowance: Option<u64>) -> Self {
        Self {
            model,
            reserve,
            allowance,
            used: AtomicU64::new(0),
        }
    }

    /// Images asked about so far, new and known.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Scores for RemoteSearch<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let n = x.shape().first().copied().unwrap_or(0) as u64;
        if let Some(limit) = self.allowance.filter(|limit| self.used() + n > *limit) {
            return Err(Error::Budget { limit });
        }
        if !self.model.affords(x, self.reserve) {
            let limit = self.model.queries().budget.unwrap_or_default();
            return Err(Error::Budget { limit });
        }
        self.used.fetch_add(n, Ordering::Relaxed);
        self.model.logits(x)
    }
}
