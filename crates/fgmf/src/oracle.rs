//! What an attack or explainer may ask of a model, as narrow as it can be, and counted.
//!
//! `Scores ⊂ Gradients ⊂ Curvature`: a black-box attack is handed `&dyn Scores` and cannot reach a
//! gradient.

use crate::error::{Error, Result};
pub use crate::record::Passes;
use fgmf_net::batch::LossGradients;
use fgmf_net::head::Head;
use fgmf_net::{Network, Precision, Rules, Tensor, ValueId};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most numbers of an image's feature maps that are kept for variants of it: 16 MiB.
const SHARED: usize = 1 << 22;

/// Loss and its gradient in the images.
#[derive(Clone, Debug)]
pub struct LossGradient {
    /// One an example.
    pub losses: Vec<f64>,
    /// `[n, k]`.
    pub logits: Tensor,
    /// `[n, c, h, w]`.
    pub gradient: Tensor,
}

/// A loss, and some value of the graph with the loss's gradient in it.
#[derive(Clone, Debug)]
pub struct FeatureGradient {
    /// One an example.
    pub losses: Vec<f64>,
    /// `[n, k]`.
    pub logits: Tensor,
    /// The value, `[n, …]`.
    pub value: Tensor,
    /// Gradient of the loss in it, of the same shape.
    pub gradient: Tensor,
}

/// Logits of variants of images: window (rows, columns), which image each variant comes from, and
/// its pixels inside the window, `[n, c, rows, columns]`, as [`Network::window_logits`].
pub type Variants<'m> =
    Box<dyn Fn(&[Range<usize>; 2], &[usize], &Tensor) -> Result<Tensor> + Sync + 'm>;
impl FeatureGradient {
    /// The sum of two, entry by entry.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            losses: self
                .losses
                .iter()
                .zip(&other.losses)
                .map(|(a, b)| a + b)
                .collect(),
            logits: self.logits.add(&other.logits),
            value: self.value.add(&other.value),
            gradient: self.gradient.add(&other.gradient),
        }
    }

    /// Every entry times a factor.
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self {
            losses: self.losses.iter().map(|l| l * factor).collect(),
            logits: self.logits.affine(factor, 0.0),
            value: self.value.affine(factor, 0.0),
            gradient: self.gradient.affine(factor, 0.0),
        }
    }
}

/// Logits, and nothing else.
pub trait Scores: Sync {
    /// `[c, h, w]`.
    fn image_shape(&self) -> [usize; 3];

    /// Number of classes.
    fn classes(&self) -> usize;

    /// Logits `[n, k]` of images `[n, c, h, w]`.
    fn logits(&self, x: &Tensor) -> Result<Tensor>;

    /// For variants of these images that differ inside one window, if the model computes them
    /// faster than whole images.
    fn variants(&self, _x: &Tensor) -> Result<Option<Variants<'_>>> {
        Ok(None)
    }

    /// Whether it draws random numbers, so that the same images can get other logits. No operator
    /// of a [`Network`] does.
    fn draws(&self) -> bool {
        false
    }

    /// Whether one adversarial answer settles an example, so that a search may end there. Not where
    /// the next answer may be another, nor where the point is meant for another model; there
    /// searches go on to the largest loss.
    fn settles(&self) -> bool {
        !self.draws()
    }
}

/// Logits and gradients.
pub trait Gradients: Scores {
    /// The graph, to choose values from.
    fn network(&self) -> &Network;

    /// A loss and its gradient in the images.
    fn loss_gradient(&self, x: &Tensor, head: &dyn Head) -> Result<LossGradient> {
        let at = self.feature_gradient(x, head, self.network().input())?;
        Ok(LossGradient {
            losses: at.losses,
            logits: at.logits,
            gradient: at.gradient,
        })
    }

    /// A value of the graph and the loss's gradient in it.
    fn feature_gradient(&self, x: &Tensor, head: &dyn Head, at: ValueId)
    -> Result<FeatureGradient>;

    /// Several values of the graph and the loss's gradients in them, with backward rules in place
    /// of the derivatives of single nodes. Explainers that look into a network need it. Models that
    /// are more than one network (an average, a random transform in front) have no such view and
    /// refuse.
    fn features(
        &self,
        _x: &Tensor,
        _head: &dyn Head,
        _at: &[ValueId],
        _rules: &Rules,
    ) -> Result<LossGradients> {
        Err(Error::mismatch(
            "look into a network",
            "a model that is one network",
            "a model that wraps or averages others",
        ))
    }
}

/// Logits, gradients and curvature.
pub trait Curvature: Gradients {
    /// Gradient and Hessian-vector product of each example's loss in its image.
    fn hvp(&self, x: &Tensor, head: &dyn Head, v: &Tensor) -> Result<(Tensor, Tensor)>;
}

/// A network seen from outside: counts every pass per example, and may refuse more than a budget.
#[derive(Debug)]
pub struct Oracle<'a> {
    network: &'a Network,
    rules: Rules,
    budget: Option<u64>,
    forward: AtomicU64,
    backward: AtomicU64,
    hessian: AtomicU64,
}

impl<'a> Oracle<'a> {
    /// A network with its true derivatives.
    pub fn new(network: &'a Network) -> Self {
        Self::with_rules(network, Rules::exact())
    }

    /// A network with backward rules: what a deployment serves, or what an attacker substitutes.
    pub fn with_rules(network: &'a Network, rules: Rules) -> Self {
        Self {
            network,
            rules,
            budget: None,
            forward: AtomicU64::new(0),
            backward: AtomicU64::new(0),
            hessian: AtomicU64::new(0),
        }
    }

    /// Refuses calls once `passes` forward passes (in examples) have been made; a call that starts
    /// below the limit finishes.
    #[must_use]
    pub fn budget(mut self, passes: u64) -> Self {
        self.budget = Some(passes);
        self
    }

    /// Whether it may refuse: then what is asked first gets an answer, and searches have to take
    /// turns.
    pub fn has_budget(&self) -> bool {
        self.budget.is_some()
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

    fn count(&self, x: &Tensor, counters: &[&AtomicU64]) -> Result<()> {
        let used = self.forward.load(Ordering::Relaxed);
        match self.budget {
            Some(limit) if used >= limit => Err(Error::Budget { limit }),
            _ => {
                let n = x.shape().first().copied().unwrap_or(0) as u64;
                counters
                    .iter()
                    .for_each(|c| _ = c.fetch_add(n, Ordering::Relaxed));
                Ok(())
            }
        }
    }
}

impl Scores for Oracle<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.network.image_shape()
    }

    fn classes(&self) -> usize {
        self.network.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.count(x, &[&self.forward])?;
        Ok(self.network.logits(x)?)
    }

    /// A variant counts as a pass; the maps that they share do not.
    fn variants(&self, x: &Tensor) -> Result<Option<Variants<'_>>> {
        let single = x.precision() == Precision::F32
            && self.network.precision().is_none_or(|p| p == Precision::F32);
        if !single || self.network.numbers_per_image() > SHARED {
            return Ok(None);
        }
        let around = self.network.surroundings(x)?;
        Ok(Some(Box::new(move |window, owner, patches| {
            self.count(patches, &[&self.forward])?;
            Ok(self
                .network
                .window_logits(&around, window, owner, patches)?)
        })))
    }
}

impl Gradients for Oracle<'_> {
    fn network(&self) -> &Network {
        self.network
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        self.count(x, &[&self.forward, &self.backward])?;
        let mut run = self.network.loss_gradients(x, head, &[at], &self.rules)?;
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
        self.count(x, &[&self.forward, &self.backward])?;
        Ok(self
            .network
            .loss_gradients(x, head, at, &self.rules.overlaid(rules))?)
    }
}

impl Curvature for Oracle<'_> {
    fn hvp(&self, x: &Tensor, head: &dyn Head, v: &Tensor) -> Result<(Tensor, Tensor)> {
        self.count(x, &[&self.hessian])?;
        Ok(self.network.hvp(x, head, v)?)
    }
}
