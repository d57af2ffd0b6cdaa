//! What an attack or explainer may ask of a model, as narrow as it can be.
//!
//! `Scores ⊂ Gradients ⊂ Curvature`: a black-box attack is handed `&dyn Scores` and cannot reach a
//! gradient.

use crate::error::{Error, Result};
use fgmf_net::LossGradients;
use fgmf_net::head::Head;
use fgmf_net::{Network, Rules, Tensor, ValueId};
use std::ops::Range;

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
/// its pixels inside the window, `[n, c, rows, columns]`, as in
/// [`Session::window_logits`](fgmf_net::Session::window_logits).
pub type Variants<'m> =
    Box<dyn Fn(&[Range<usize>; 2], &[usize], &Tensor) -> Result<Tensor> + Sync + 'm>;

/// Maps `[h, w]` that came with an answer, of the rows that are looked at.
pub type ShownMaps<'m> = Box<dyn Fn(&[usize]) -> Result<Vec<Vec<f32>>> + 'm>;

/// What a model gives for images.
pub struct ShownAnswer<'m> {
    /// `[n, k]`.
    pub logits: Tensor,
    /// The maps beside them, if the model serves any. They are made when they are looked at, and
    /// are part of the query either way.
    pub maps: Option<ShownMaps<'m>>,
}

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

    /// Whether its answers come with maps ([`Self::answered`]).
    fn shows_maps(&self) -> bool {
        false
    }

    /// Logits of images `[n, c, h, w]`, with the maps that are served beside them: one query an
    /// image.
    fn answered(&self, x: &Tensor) -> Result<ShownAnswer<'_>> {
        let logits = self.logits(x)?;
        Ok(ShownAnswer { logits, maps: None })
    }

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

    /// Whether there are gradients at all. A model that answers from elsewhere has none: it refuses
    /// whatever asks for more than scores.
    fn differentiable(&self) -> bool {
        true
    }

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
