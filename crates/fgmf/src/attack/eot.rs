//! Expectation over transformation (Athalye et al. 2018): any attack that follows gradients, on the average of several passes.
//!
//! L̄(x) = 1/m Σ L_j(x), and so for logits, values and gradients, where pass j draws its own random numbers. A network of this library
//! draws none: its passes are identical, and one is made instead of m. It is of use where the model handed to the attack is a
//! randomised one ([`Noisy`], or any other [`Gradients`] that says it [`draws`](Scores::draws)).
//!
//! Cost: that of the attack, times m where the model draws.
//!
//! Difference from AutoAttack's code: the logits that decide on success are averages too (there: those of the last pass).

use super::{Batch, Candidate, WhiteBox};
use crate::error::{Error, Result};
use crate::oracle::{FeatureGradient, Gradients, LossGradient, Scores};
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use fgmf_net::head::Head;
use fgmf_net::{Network, Tensor, ValueId};
use std::sync::atomic::{AtomicU64, Ordering};

/// An attack on the average of several passes.
#[derive(Clone, Debug)]
pub struct Eot<A> {
    attack: A,
    samples: usize,
}

impl<A: WhiteBox> Eot<A> {
    /// `samples`, 1 to 10,000, passes for each pass of the attack.
    pub fn new(attack: A, samples: usize) -> Result<Self> {
        if !(1..=10_000).contains(&samples) {
            return Err(Error::parameter("samples", "1 to 10000", samples));
        }
        Ok(Self { attack, samples })
    }
}

impl<A: WhiteBox> WhiteBox for Eot<A> {
    fn id(&self) -> &'static str {
        self.attack.id()
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({ "eot_samples": self.samples, "attack": self.attack.parameters() })
    }

    fn perturb(&self, model: &dyn Gradients, batch: &Batch, threat: &ThreatModel, seed: u64) -> Result<Candidate> {
        if !model.draws() {
            return self.attack.perturb(model, batch, threat, seed);
        }
        self.attack.perturb(&Averaged { model, samples: self.samples }, batch, threat, seed)
    }
}

/// A model whose answers are averages.
struct Averaged<'a> {
    model: &'a dyn Gradients,
    samples: usize,
}

impl Averaged<'_> {
    /// The mean of the tensors that `pass` gives.
    fn mean<const N: usize>(&self, mut pass: impl FnMut() -> Result<[Tensor; N]>) -> Result<[Tensor; N]> {
        let mut sum = pass()?;
        for _ in 1..self.samples {
            let next = pass()?;
            sum = std::array::from_fn(|i| sum[i].add(&next[i]));
        }
        Ok(sum.map(|t| t.affine(1.0 / self.samples as f64, 0.0)))
    }
}

impl Scores for Averaged<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let [logits] = self.mean(|| Ok([self.model.logits(x)?]))?;
        Ok(logits)
    }
}

impl Gradients for Averaged<'_> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn loss_gradient(&self, x: &Tensor, head: &dyn Head) -> Result<LossGradient> {
        let mut losses = vec![0.0; x.shape()[0]];
        let [logits, gradient] = self.mean(|| {
            let at = self.model.loss_gradient(x, head)?;
            losses.iter_mut().zip(&at.losses).for_each(|(sum, l)| *sum += l / self.samples as f64);
            Ok([at.logits, at.gradient])
        })?;
        Ok(LossGradient { losses, logits, gradient })
    }

    fn feature_gradient(&self, x: &Tensor, head: &dyn Head, at: ValueId) -> Result<FeatureGradient> {
        let mut losses = vec![0.0; x.shape()[0]];
        let [logits, value, gradient] = self.mean(|| {
            let at = self.model.feature_gradient(x, head, at)?;
            losses.iter_mut().zip(&at.losses).for_each(|(sum, l)| *sum += l / self.samples as f64);
            Ok([at.logits, at.value, at.gradient])
        })?;
        Ok(FeatureGradient { losses, logits, value, gradient })
    }
}

/// A model behind Gaussian noise on its images, other noise each pass: a randomised defence. Seeded, so that a run can be repeated; but
/// what an example draws depends on the passes before, so a batch does not give what its examples give one by one.
pub struct Noisy<'a> {
    model: &'a dyn Gradients,
    deviation: f32,
    seed: u64,
    calls: AtomicU64,
}

impl<'a> Noisy<'a> {
    /// `deviation`, 0 or more, in input units.
    pub fn new(model: &'a dyn Gradients, deviation: f64, seed: u64) -> Result<Self> {
        if !(deviation.is_finite() && deviation >= 0.0) {
            return Err(Error::parameter("deviation", "a finite number, 0 or more", deviation));
        }
        Ok(Self { model, deviation: deviation as f32, seed, calls: AtomicU64::new(0) })
    }

    fn noisy(&self, x: &Tensor) -> Tensor {
        let mut rng = Stream::new(self.seed, Purpose::Evaluation, self.calls.fetch_add(1, Ordering::Relaxed), 0);
        Tensor::new(x.shape(), x.to_f32().into_iter().map(|v| v + self.deviation * rng.normal()).collect::<Vec<f32>>())
    }
}

impl Scores for Noisy<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.model.logits(&self.noisy(x))
    }

    fn draws(&self) -> bool {
        true
    }
}

impl Gradients for Noisy<'_> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn loss_gradient(&self, x: &Tensor, head: &dyn Head) -> Result<LossGradient> {
        self.model.loss_gradient(&self.noisy(x), head)
    }

    fn feature_gradient(&self, x: &Tensor, head: &dyn Head, at: ValueId) -> Result<FeatureGradient> {
        self.model.feature_gradient(&self.noisy(x), head, at)
    }
}
