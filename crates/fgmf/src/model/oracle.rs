//! What an attack or explainer may ask of a model, as narrow as it can be, and counted.
//!
//! `Scores ⊂ Gradients ⊂ Curvature`: a black-box attack is handed `&dyn Scores` and cannot reach a
//! gradient.

use crate::error::Result;
use crate::model::access::{Curvature, FeatureGradient, Gradients, Scores, Variants};
use crate::record::Passes;
use fgmf_net::LossGradients;
use fgmf_net::head::Head;
use fgmf_net::{Network, Precision, Rules, Session, Tensor, ValueId};
use std::sync::atomic::{AtomicU64, Ordering};

/// Most numbers of an image's feature maps that are kept for variants of it: 16 MiB.
const SHARED: usize = 1 << 22;

/// A network seen from outside: counts every pass per example.
#[derive(Debug)]
pub struct Oracle<'a> {
    session: &'a Session,
    rules: Rules,
    forward: AtomicU64,
    backward: AtomicU64,
    hessian: AtomicU64,
}

impl<'a> Oracle<'a> {
    /// A network with its true derivatives.
    pub fn new(session: &'a Session) -> Self {
        Self::with_rules(session, Rules::exact())
    }

    /// A network with backward rules: what a deployment serves, or what an attacker substitutes.
    pub fn with_rules(session: &'a Session, rules: Rules) -> Self {
        Self {
            session,
            rules,
            forward: AtomicU64::new(0),
            backward: AtomicU64::new(0),
            hessian: AtomicU64::new(0),
        }
    }

    /// What runs the network.
    pub fn session(&self) -> &'a Session {
        self.session
    }

    /// Passes so far.
    pub fn passes(&self) -> Passes {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Passes {
            forward: read(&self.forward),
            backward: read(&self.backward),
            hessian: read(&self.hessian),
        }
    }

    fn count(&self, x: &Tensor, counters: &[&AtomicU64]) {
        let n = x.shape().first().copied().unwrap_or(0) as u64;
        for counter in counters {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }
}

impl Scores for Oracle<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.session.image_shape()
    }

    fn classes(&self) -> usize {
        self.session.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.count(x, &[&self.forward]);
        Ok(self.session.logits(x)?)
    }

    /// A variant counts as a pass; the maps that they share do not.
    fn variants(&self, x: &Tensor) -> Result<Option<Variants<'_>>> {
        let single = x.precision() == Precision::F32
            && self.session.precision().is_none_or(|p| p == Precision::F32);
        if !single || self.session.numbers_per_image() > SHARED {
            return Ok(None);
        }
        let around = self.session.surroundings(x)?;
        Ok(Some(Box::new(move |window, owner, patches| {
            self.count(patches, &[&self.forward]);
            Ok(self
                .session
                .window_logits(&around, window, owner, patches)?)
        })))
    }
}

impl Gradients for Oracle<'_> {
    fn network(&self) -> &Network {
        self.session
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        self.count(x, &[&self.forward, &self.backward]);
        let mut run = self.session.loss_gradients(x, head, &[at], &self.rules)?;
        Ok(FeatureGradient {
            losses: run.losses,
            logits: run.logits,
            value: run.values.swap_remove(0),
            gradient: run.gradients.swap_remove(0),
        })
    }

    fn features(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: &[ValueId],
        rules: &Rules,
    ) -> Result<LossGradients> {
        self.count(x, &[&self.forward, &self.backward]);
        Ok(self
            .session
            .loss_gradients(x, head, at, &self.rules.overlaid(rules))?)
    }
}

impl Curvature for Oracle<'_> {
    fn hvp(&self, x: &Tensor, head: &dyn Head, v: &Tensor) -> Result<(Tensor, Tensor)> {
        self.count(x, &[&self.hessian]);
        Ok(self.session.hvp(x, head, v)?)
    }
}
