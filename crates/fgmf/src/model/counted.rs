//! A model whose passes are counted, and that may refuse more than a budget.
//!
//! Any model can stand behind it: a network, one that answers at random, an average. A query counts
//! as one pass an image, whatever the model does to answer it.

use crate::error::{Error, Result};
use crate::model::access::{
    FeatureGradient, Gradients, LossGradient, Scores, ShownAnswer, Variants,
};
use crate::record::Passes;
use fgmf_net::LossGradients;
use fgmf_net::head::Head;
use fgmf_net::{Network, Rules, Tensor, ValueId};
use std::sync::atomic::{AtomicU64, Ordering};

/// A model seen from outside: counts every pass, and may refuse more than a budget.
pub struct Counted<'a, M: ?Sized> {
    model: &'a M,
    budget: Option<u64>,
    forward: AtomicU64,
    backward: AtomicU64,
}

impl<'a, M: Scores + ?Sized> Counted<'a, M> {
    /// The model, no pass made yet.
    pub fn new(model: &'a M) -> Self {
        Self {
            model,
            budget: None,
            forward: AtomicU64::new(0),
            backward: AtomicU64::new(0),
        }
    }

    /// Refuses calls once `passes` forward passes (in examples) have been made; a call that starts
    /// below the limit finishes.
    #[must_use]
    pub fn budget(mut self, passes: u64) -> Self {
        self.budget = Some(passes);
        self
    }

    /// Passes so far, in examples.
    pub fn passes(&self) -> Passes {
        Passes {
            forward: self.forward.load(Ordering::Relaxed),
            backward: self.backward.load(Ordering::Relaxed),
            ..Passes::default()
        }
    }

    fn count(&self, x: &Tensor, counters: &[&AtomicU64]) -> Result<()> {
        let used = self.forward.load(Ordering::Relaxed);
        if let Some(limit) = self.budget.filter(|&limit| used >= limit) {
            return Err(Error::Budget { limit });
        }
        let n = x.shape().first().copied().unwrap_or(0) as u64;
        for counter in counters {
            counter.fetch_add(n, Ordering::Relaxed);
        }
        Ok(())
    }

    /// An error unless these are logits of `x`. A model of the caller's own may answer anything.
    fn check_logits(&self, x: &Tensor, logits: &Tensor) -> Result<()> {
        let expected = [x.shape().first().copied().unwrap_or(0), self.classes()];
        fits("logits of a model", &expected, logits)
    }
}

fn fits(what: &'static str, expected: &[usize], found: &Tensor) -> Result<()> {
    if found.shape() == expected {
        return Ok(());
    }
    let (expected, found) = (format!("{expected:?}"), format!("{:?}", found.shape()));
    Err(Error::mismatch(what, expected, found))
}

impl<M: Scores + ?Sized> Scores for Counted<'_, M> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.count(x, &[&self.forward])?;
        let logits = self.model.logits(x)?;
        self.check_logits(x, &logits)?;
        Ok(logits)
    }

    fn shows_maps(&self) -> bool {
        self.model.shows_maps()
    }

    /// An answer counts as one pass, with its map or without.
    fn answered(&self, x: &Tensor) -> Result<ShownAnswer<'_>> {
        self.count(x, &[&self.forward])?;
        let answer = self.model.answered(x)?;
        self.check_logits(x, &answer.logits)?;
        Ok(answer)
    }

    /// A variant counts as a pass; the maps that they share do not.
    fn variants(&self, x: &Tensor) -> Result<Option<Variants<'_>>> {
        let Some(ask) = self.model.variants(x)? else {
            return Ok(None);
        };
        Ok(Some(Box::new(move |window, owner, patches| {
            self.count(patches, &[&self.forward])?;
            ask(window, owner, patches)
        })))
    }

    fn draws(&self) -> bool {
        self.model.draws()
    }

    fn settles(&self) -> bool {
        self.model.settles()
    }
}

impl<M: Gradients + ?Sized> Gradients for Counted<'_, M> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn differentiable(&self) -> bool {
        self.model.differentiable()
    }

    /// The gradient has the precision of the images, whatever the model computes in.
    fn loss_gradient(&self, x: &Tensor, head: &dyn Head) -> Result<LossGradient> {
        self.count(x, &[&self.forward, &self.backward])?;
        let at = self.model.loss_gradient(x, head)?;
        self.check_logits(x, &at.logits)?;
        fits("gradient of a model", x.shape(), &at.gradient)?;
        let expected = x.shape()[0];
        if at.losses.len() != expected {
            let found = at.losses.len();
            return Err(Error::mismatch("losses of a model", expected, found));
        }
        Ok(LossGradient {
            gradient: at.gradient.cast(x.precision()),
            ..at
        })
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        self.count(x, &[&self.forward, &self.backward])?;
        self.model.feature_gradient(x, head, at)
    }

    fn features(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: &[ValueId],
        rules: &Rules,
    ) -> Result<LossGradients> {
        self.count(x, &[&self.forward, &self.backward])?;
        self.model.features(x, head, at, rules)
    }
}
