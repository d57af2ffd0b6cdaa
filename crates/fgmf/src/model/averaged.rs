//! Means over draws: of a model that answers at random, and of gradients around a point.
//!
//! [`Averaged`] (expectation over transformation, Athalye et al. 2018) asks a model several times
//! and gives the mean of losses, logits and gradients: L̄(x) = 1/m Σⱼ Lⱼ(x), where answer j draws
//! its own random numbers. [`Smoothed`] answers as a model does but for gradients, which are means
//! over images with noise: ḡ(x) = 1/m Σⱼ ∇L(x + σ uⱼ), u standard normal. That sees over the kinks
//! of a rough loss, where the gradient at the point itself says nothing of the point beside it
//! (Tramèr et al. 2020); jumps, which have no gradient, it does not see.
//!
//! Cost: `samples` passes for each of `Averaged`; one forward pass more for `Smoothed`.

use crate::error::{Error, Result};
use crate::model::access::{FeatureGradient, Gradients, Scores};
use crate::model::served::Served;
use crate::model::transform::Transform;
use fgmf_net::head::Head;
use fgmf_net::{Network, Tensor, ValueId};

fn at_least_one(samples: usize) -> Result<usize> {
    if samples == 0 {
        return Err(Error::parameter("samples", "1 or more", samples));
    }
    Ok(samples)
}

/// The mean of several answers of a model that answers at random, as a model of its own.
pub struct Averaged<'a> {
    model: &'a dyn Gradients,
    samples: usize,
}

impl<'a> Averaged<'a> {
    /// The mean over `samples` answers, 1 or more.
    pub fn new(model: &'a dyn Gradients, samples: usize) -> Result<Self> {
        Ok(Self {
            model,
            samples: at_least_one(samples)?,
        })
    }

    fn mean<T>(&self, ask: impl Fn() -> Result<T>, add: impl Fn(T, T) -> T) -> Result<T> {
        let first = ask()?;
        (1..self.samples).try_fold(first, |sum, _| Ok(add(sum, ask()?)))
    }
}

impl Scores for Averaged<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn draws(&self) -> bool {
        self.model.draws()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let sum = self.mean(|| self.model.logits(x), |a, b| a.add(&b))?;
        Ok(sum.affine(1.0 / self.samples as f64, 0.0))
    }
}

impl Gradients for Averaged<'_> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        let sum = self.mean(
            || self.model.feature_gradient(x, head, at),
            |a: FeatureGradient, b| a.plus(&b),
        )?;
        Ok(sum.times(1.0 / self.samples as f64))
    }
}

/// A model with the mean gradient of the images around a point in the place of its gradient.
pub struct Smoothed<'a> {
    model: &'a dyn Gradients,
    noisy: Served<'a>,
    samples: usize,
}

impl<'a> Smoothed<'a> {
    /// Gradients are means over `samples` draws of the noise, 1 or more.
    pub fn new(
        model: &'a dyn Gradients,
        noise: &'a dyn Transform,
        samples: usize,
        seed: u64,
    ) -> Result<Self> {
        Ok(Self {
            model,
            noisy: Served::new(model, noise, seed),
            samples: at_least_one(samples)?,
        })
    }
}

impl Scores for Smoothed<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn draws(&self) -> bool {
        self.model.draws()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.model.logits(x)
    }
}

impl Gradients for Smoothed<'_> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        let around = Averaged::new(&self.noisy, self.samples)?.feature_gradient(x, head, at)?;
        let logits = self.model.logits(x)?;
        let (losses, _) = head.evaluate(&logits.clone().into(), 0..x.shape()[0]);
        Ok(FeatureGradient {
            losses,
            logits,
            ..around
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::noise::AdditiveNoiseParams;
    use crate::model::oracle::Oracle;
    use fgmf_net::head::Logit;
    use fgmf_net::op::{Gemm, Op, Unary};
    use fgmf_net::{Builder, Precision, Session};

    /// On a linear model the mean gradient is the gradient, whatever the noise, and mean logits
    /// close in on the clean ones.
    #[test]
    fn expectation_removes_the_noise() {
        let weights = vec![vec![0.5, -1.0, 0.25, 2.0], vec![-0.5, 0.0, 1.0, 0.75]];
        let net = fgmf_testkit::toys::linear(&weights, &[0.1, -0.1], [1, 2, 2])
            .cast(fgmf_net::Precision::F32);
        let oracle = Oracle::new(&net);
        let noise = AdditiveNoiseParams { deviation: 0.2 }.check().unwrap();
        let served = Served::new(&oracle, &noise, 3);
        let x = Tensor::new(&[1, 1, 2, 2], vec![0.2f32, 0.4, 0.6, 0.8]);
        let eot = Averaged::new(&served, 400).unwrap();
        let at = eot.loss_gradient(&x, &Logit::new(&[0])).unwrap();
        assert!(
            at.gradient
                .to_f64()
                .iter()
                .zip(&weights[0])
                .all(|(a, b)| (a - b).abs() < 1e-4)
        );
        let (clean, mean) = (net.logits(&x).unwrap().to_f64(), at.logits.to_f64());
        // Five standard errors: σ ‖w‖ / √400.
        let error = |w: &[f64]| 5.0 * 0.2 * w.iter().map(|v| v * v).sum::<f64>().sqrt() / 20.0;
        assert!((0..2).all(|k| (clean[k] - mean[k]).abs() < error(&weights[k])));
        assert!(Averaged::new(&served, 0).is_err());
    }

    /// Below its kink a rectifier has no slope; the smoothed one is the share of the noise that
    /// reaches over the kink. What is answered stays the same.
    #[test]
    fn smoothing_changes_gradients_only() {
        let mut b = Builder::new("steps", "image", [1, 1, 1]).unwrap();
        let image = b.input();
        let weight = b
            .parameter("weight", Tensor::new(&[2, 1], vec![1.0f32, -1.0]), false)
            .unwrap();
        let flat = b
            .node(
                "flat",
                Op::Flatten(fgmf_net::op::Flatten { axis: 1 }),
                &[image],
            )
            .unwrap();
        let bent = b.node("bent", Op::Unary(Unary::Relu), &[flat]).unwrap();
        let logits = b
            .node("logits", Op::Gemm(Gemm::DENSE), &[bent, weight])
            .unwrap();
        let net = Session::new(b.finish(logits).unwrap()).cast(Precision::F32);
        let oracle = Oracle::new(&net);
        let noise = AdditiveNoiseParams { deviation: 0.5 }.check().unwrap();
        let x = Tensor::new(&[1, 1, 1, 1], vec![-0.25f32]);
        let smoothed = Smoothed::new(&oracle, &noise, 4000, 1).unwrap();
        let at = smoothed.loss_gradient(&x, &Logit::new(&[0])).unwrap();
        assert_eq!(
            (at.logits.to_f64(), at.losses),
            (net.logits(&x).unwrap().to_f64(), vec![0.0])
        );
        // The rectifier's slope is 0 here, and 1 where -0.25 + 0.5 u is above 0: with probability
        // 0.3085.
        let g = at.gradient.to_f64()[0];
        assert!(
            (g - 0.3085).abs() < 5.0 * (0.3085f64 * 0.6915 / 4000.0).sqrt(),
            "{g}"
        );
        assert!(Smoothed::new(&oracle, &noise, 0, 1).is_err());
    }
}
