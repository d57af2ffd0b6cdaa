//! A term that goes with any objective, on a share of each batch.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::train::base::{Objective, Step, StepContext};
use crate::train::salience::SalienceSource;
use fgmf_net::{Session, Tensor};

/// λ R, where R is a mean over images.
pub trait MapTerm: Send + Sync {
    /// Id of the objective that adds it.
    const ID: &'static str;
    /// What logs call R.
    const PART: &'static str;

    /// The gradient of λ R in every trainable parameter, and R.
    ///
    /// # Errors
    /// Those of the network.
    fn evaluate(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<(Vec<Tensor>, f64)>;

    /// Share of the batch that it looks at, above 0, at most 1.
    fn share(&self) -> f64;

    /// Rows for each of these images.
    fn rows(&self) -> usize;

    /// Salient pixels that it asks for.
    fn salience(&self) -> Option<SalienceSource> {
        None
    }
}

/// J + λ R, with J the objective inside, which [`Objective::take`] gives.
pub struct WithTerm<T> {
    pub(crate) term: T,
    inner: Option<Box<dyn Objective>>,
}

impl<T: MapTerm> WithTerm<T> {
    /// With nothing inside yet.
    pub(crate) fn new(term: T) -> Self {
        Self { term, inner: None }
    }

    /// J.
    pub(crate) fn inner(&self) -> Result<&dyn Objective> {
        let inner = self.inner.as_deref();
        inner.ok_or_else(|| Error::mismatch(T::ID, "an objective inside", "none"))
    }
}

/// An error unless `share` of a batch is above 0 and at most 1.
pub(crate) fn check_share(share: f64) -> Result<()> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(Error::parameter("share", "above 0, at most 1", share))
}

/// The first `share` of a batch, at least one image.
pub(crate) fn front(batch: &Batch, share: f64) -> Batch {
    let n = (share * batch.len() as f64).ceil() as usize;
    let rows: Vec<usize> = (0..n.clamp(1, batch.len().max(1))).collect();
    batch.select(&rows)
}

impl<T: MapTerm> Objective for WithTerm<T> {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let mut step = self.inner()?.step(net, batch, context)?;
        let mut found = 0.0;
        if context.threat.eps() > 0.0 {
            let looked_at = front(batch, self.term.share());
            let kept = context.displacement.map(|d| d.rows(0, looked_at.len()));
            let context = StepContext {
                displacement: kept.as_ref(),
                ..*context
            };
            let (gradients, value) = self.term.evaluate(net, &looked_at, &context)?;
            for (sum, g) in step.gradients.iter_mut().zip(&gradients) {
                *sum = sum.add(g);
            }
            found = value;
        }
        step.parts.push((T::PART, found));
        Ok(step)
    }

    fn salience(&self) -> Option<SalienceSource> {
        let inner = self.inner.as_ref().and_then(|inner| inner.salience());
        self.term.salience().or(inner)
    }

    fn take(&mut self, inner: Box<dyn Objective>) -> Result<()> {
        if self.term.salience().is_some() && inner.salience().is_some() {
            let expected = "an objective without salient pixels of its own";
            return Err(Error::parameter("inner", expected, "one that keeps them"));
        }
        self.inner = Some(inner);
        Ok(())
    }

    fn attacks(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.attacks())
    }

    fn rows(&self) -> usize {
        let inner = self.inner.as_ref().map_or(1, |inner| inner.rows());
        inner.max(self.term.rows())
    }

    fn replays(&self) -> usize {
        self.inner.as_ref().map_or(1, |inner| inner.replays())
    }

    fn copies(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.copies())
    }

    fn keeps_displacements(&self) -> bool {
        let inner = self.inner.as_ref();
        inner.is_some_and(|inner| inner.keeps_displacements())
    }
}
