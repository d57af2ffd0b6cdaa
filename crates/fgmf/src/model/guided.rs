//! A model whose losses and slopes another network gives.

use crate::error::{Error, Result};
use crate::model::access::{FeatureGradient, Gradients, Scores};
use fgmf_net::head::Head;
use fgmf_net::{Network, Rules, Session, Tensor, ValueId};

/// Another network of the same task that an attacker follows.
pub struct Guide {
    session: Session,
    /// Values of its graph that are taken for the images times a factor. Its slope in the images
    /// is the sum of its slopes in these, times their factors.
    fronts: Vec<(ValueId, f64)>,
}

impl Guide {
    /// A network, with its values that are taken for the images times a factor; none of them for
    /// its true slopes.
    pub fn new(session: Session, fronts: Vec<(ValueId, f64)>) -> Self {
        Self { session, fronts }
    }

    /// Losses of images `[n, c, h, w]`, and what is followed in the place of slopes, of their
    /// shape. Where the guide has another precision than the images, the largest slope of each
    /// example is 1.
    pub fn slopes(&self, x: &Tensor, head: &dyn Head) -> Result<(Vec<f64>, Tensor)> {
        let input = [(self.session.input(), 1.0)];
        let fronts = if self.fronts.is_empty() {
            &input[..]
        } else {
            &self.fronts
        };
        let at: Vec<ValueId> = fronts.iter().map(|f| f.0).collect();
        let seen = x.cast(self.session.precision().unwrap_or(x.precision()));
        let found = self
            .session
            .loss_gradients(&seen, head, &at, &Rules::exact())?;
        let parts = found.gradients.into_iter().zip(fronts);
        let sum = parts
            .map(|(g, (_, factor))| g.affine(*factor, 0.0))
            .reduce(|a, b| a.add(&b));
        let none = || Error::mismatch("guide", "a value to follow", "none");
        let sum = sum.ok_or_else(none)?;
        if sum.precision() == x.precision() {
            return Ok((found.losses, sum));
        }
        // Single precision would lose small slopes again; only their direction is followed.
        let mut slopes = sum.to_f64();
        let size = slopes.len() / x.shape()[0].max(1);
        for row in slopes.chunks_exact_mut(size.max(1)) {
            let largest = row.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            if largest > 0.0 && largest.is_finite() {
                row.iter_mut().for_each(|v| *v /= largest);
            }
        }
        Ok((
            found.losses,
            Tensor::new(sum.shape(), slopes).cast(x.precision()),
        ))
    }
}

/// A model with the losses and slopes of a guide. Scores are the model's own, so that the model
/// says when a search has found something.
pub struct Guided<'a> {
    model: &'a dyn Gradients,
    guide: &'a Guide,
}

impl<'a> Guided<'a> {
    /// A guide of the same images and classes.
    pub fn new(model: &'a dyn Gradients, guide: &'a Guide) -> Self {
        Self { model, guide }
    }
}

impl Scores for Guided<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.model.logits(x)
    }

    fn draws(&self) -> bool {
        self.model.draws()
    }
}

impl Gradients for Guided<'_> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        if at != self.network().input() {
            let inner = "a value inside the network";
            return Err(Error::mismatch(
                "guided model",
                "slopes in the images",
                inner,
            ));
        }
        let (losses, gradient) = self.guide.slopes(x, head)?;
        Ok(FeatureGradient {
            losses,
            logits: self.model.logits(x)?,
            value: x.clone(),
            gradient,
        })
    }
}
