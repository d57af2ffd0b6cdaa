//! Models that answer at random: a transform of the image drawn at each query, and the expectation over it.
//!
//! [`Served`] answers query t for the image x with the network at A_t(x). The draw is named by (seed, t, content of x), so that
//! an example is answered alike alone and in a batch as long as queries come in the same order, and two examples of one
//! query differ. [`Averaged`] (expectation over transformation, Athalye et al. 2018) asks any model several times and averages
//! losses, logits and gradients: the attacker's way through a model that answers at random.
//!
//! Cost: one pass of the model behind for each query of `Served`, `samples` for each of `Averaged`.

use crate::error::{Error, Result};
use crate::oracle::{FeatureGradient, Gradients, LossGradient, Scores};
use crate::rng::{Purpose, Stream};
use fgmf_net::head::Head;
use fgmf_net::{Network, Tensor, ValueId};
use std::sync::atomic::{AtomicU64, Ordering};

/// A linear or affine map of the image, drawn from a stream.
pub trait Transform: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// What the network sees of an image `[c, h, w]`.
    fn apply(&self, image: &[f32], shape: [usize; 3], rng: &mut Stream) -> Vec<f32>;

    /// A cotangent of that, pulled back to the image; the stream draws the same map again.
    fn pull_back(&self, cotangent: &[f32], shape: [usize; 3], rng: &mut Stream) -> Vec<f32>;
}

/// A model behind a random transform of its images.
pub struct Served<'a> {
    model: &'a dyn Gradients,
    transform: &'a dyn Transform,
    seed: u64,
    queries: AtomicU64,
}

impl<'a> Served<'a> {
    /// The model as a deployment with this seed serves it.
    pub fn new(model: &'a dyn Gradients, transform: &'a dyn Transform, seed: u64) -> Self {
        Self { model, transform, seed, queries: AtomicU64::new(0) }
    }

    fn each(&self, names: &[f32], values: &[f32], query: u64, f: impl Fn(&[f32], &mut Stream) -> Vec<f32>) -> Vec<f32> {
        let size = self.image_shape().iter().product::<usize>().max(1);
        let row = |(name, v): (&[f32], &[f32])| f(v, &mut Stream::new(self.seed, Purpose::Evaluation, query, content(name)));
        names.chunks_exact(size).zip(values.chunks_exact(size)).flat_map(row).collect()
    }

    fn seen(&self, x: &Tensor, query: u64) -> Tensor {
        let (values, shape) = (x.to_f32(), self.image_shape());
        let out = self.each(&values, &values, query, |v, rng| self.transform.apply(v, shape, rng));
        Tensor::new(x.shape(), out).cast(x.precision())
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        let [c, h, w] = self.image_shape();
        match x.shape() {
            [_, rest @ ..] if rest == [c, h, w] => Ok(()),
            other => Err(Error::mismatch("query", format!("images of shape [n, {c}, {h}, {w}]"), format!("{other:?}"))),
        }
    }
}

/// FNV-1a of an image's bits.
fn content(image: &[f32]) -> u64 {
    let bytes = image.iter().flat_map(|v| v.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

impl Scores for Served<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        let query = self.queries.fetch_add(1, Ordering::Relaxed);
        self.model.logits(&self.seen(x, query))
    }

    fn draws(&self) -> bool {
        true
    }
}

impl Gradients for Served<'_> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn loss_gradient(&self, x: &Tensor, head: &dyn Head) -> Result<LossGradient> {
        let at = self.feature_gradient(x, head, self.network().input())?;
        Ok(LossGradient { losses: at.losses, logits: at.logits, gradient: at.gradient })
    }

    fn feature_gradient(&self, x: &Tensor, head: &dyn Head, at: ValueId) -> Result<FeatureGradient> {
        self.check(x)?;
        let query = self.queries.fetch_add(1, Ordering::Relaxed);
        let mut out = self.model.feature_gradient(&self.seen(x, query), head, at)?;
        if at == self.network().input() {
            let shape = self.image_shape();
            let back = self.each(&x.to_f32(), &out.gradient.to_f32(), query, |g, rng| self.transform.pull_back(g, shape, rng));
            out.gradient = Tensor::new(x.shape(), back).cast(x.precision());
            out.value = x.clone();
        }
        Ok(out)
    }
}

/// The mean of several answers of a model that answers at random, as a model of its own.
pub struct Averaged<'a> {
    model: &'a dyn Gradients,
    samples: usize,
}

impl<'a> Averaged<'a> {
    /// The mean over `samples` answers, 1 or more.
    pub fn new(model: &'a dyn Gradients, samples: usize) -> Result<Self> {
        if samples == 0 {
            return Err(Error::parameter("samples", "1 or more", samples));
        }
        Ok(Self { model, samples })
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

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let sum = self.mean(|| self.model.logits(x), |a, b| a.add(&b))?;
        Ok(sum.affine(1.0 / self.samples as f64, 0.0))
    }
}

impl Gradients for Averaged<'_> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn loss_gradient(&self, x: &Tensor, head: &dyn Head) -> Result<LossGradient> {
        let at = self.feature_gradient(x, head, self.network().input())?;
        Ok(LossGradient { losses: at.losses, logits: at.logits, gradient: at.gradient })
    }

    fn feature_gradient(&self, x: &Tensor, head: &dyn Head, at: ValueId) -> Result<FeatureGradient> {
        let add = |a: FeatureGradient, b: FeatureGradient| FeatureGradient {
            losses: a.losses.iter().zip(&b.losses).map(|(a, b)| a + b).collect(),
            logits: a.logits.add(&b.logits),
            value: a.value.add(&b.value),
            gradient: a.gradient.add(&b.gradient),
        };
        let sum = self.mean(|| self.model.feature_gradient(x, head, at), add)?;
        let share = 1.0 / self.samples as f64;
        Ok(FeatureGradient {
            losses: sum.losses.iter().map(|l| l * share).collect(),
            logits: sum.logits.affine(share, 0.0),
            value: sum.value.affine(share, 0.0),
            gradient: sum.gradient.affine(share, 0.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{base, images};
    use super::super::{AdditiveNoiseParams, ResizePadParams};
    use super::*;
    use crate::oracle::Oracle;
    use fgmf_net::head::Logit;

    #[test]
    fn a_batch_is_answered_like_its_examples_and_queries_differ() {
        let (net, x) = (base(), images(3));
        let oracle = Oracle::new(&net);
        let (noise, pad) = (AdditiveNoiseParams::default().check().unwrap(), ResizePadParams::default().check().unwrap());
        for transform in [&noise as &dyn Transform, &pad] {
            let fresh = || Served::new(&oracle, transform, 7);
            let (whole, again) = (fresh(), fresh());
            let first = whole.logits(&x).unwrap().to_f32();
            assert_eq!(first, again.logits(&x).unwrap().to_f32(), "{}", transform.id());
            assert_ne!(first, whole.logits(&x).unwrap().to_f32(), "{}", transform.id());
            for i in 0..3 {
                assert_eq!(fresh().logits(&x.rows(i, 1)).unwrap().to_f32(), first[i * 3..i * 3 + 3], "{}", transform.id());
            }
            assert!(whole.logits(&Tensor::new(&[1, 144], vec![0.0f32; 144])).is_err());
        }
    }

    /// The gradient of a query is the derivative of that query's answer, by central differences along one direction.
    #[test]
    fn gradients_belong_to_the_draw() {
        let net = base();
        let x = images(1);
        let oracle = Oracle::new(&net);
        let pad = ResizePadParams { least: 0.6 }.check().unwrap();
        let served = Served::new(&oracle, &pad, 2);
        let at = served.loss_gradient(&x, &Logit::new(&[1])).unwrap();
        let seen = Tensor::new(
            &[1, 1, 12, 12],
            pad.apply(&x.to_f32(), [1, 12, 12], &mut Stream::new(2, Purpose::Evaluation, 0, content(&x.to_f32()))),
        );
        assert_eq!(net.logits(&seen).unwrap().to_f32(), at.logits.to_f32());
        let own = oracle.loss_gradient(&seen, &Logit::new(&[1])).unwrap().gradient.to_f32();
        let want = pad.pull_back(&own, [1, 12, 12], &mut Stream::new(2, Purpose::Evaluation, 0, content(&x.to_f32())));
        assert_eq!(at.gradient.to_f32(), want);
    }

    /// On a linear model the mean gradient is the gradient, whatever the noise, and mean logits close in on the clean ones.
    #[test]
    fn expectation_removes_the_noise() {
        let weights = vec![vec![0.5, -1.0, 0.25, 2.0], vec![-0.5, 0.0, 1.0, 0.75]];
        let net = fgmf_testkit::toys::linear(&weights, &[0.1, -0.1], [1, 2, 2]).cast(fgmf_net::Precision::F32);
        let oracle = Oracle::new(&net);
        let noise = AdditiveNoiseParams { deviation: 0.2 }.check().unwrap();
        let served = Served::new(&oracle, &noise, 3);
        let x = Tensor::new(&[1, 1, 2, 2], vec![0.2f32, 0.4, 0.6, 0.8]);
        let eot = Averaged::new(&served, 400).unwrap();
        let at = eot.loss_gradient(&x, &Logit::new(&[0])).unwrap();
        assert!(at.gradient.to_f64().iter().zip(&weights[0]).all(|(a, b)| (a - b).abs() < 1e-4));
        let (clean, mean) = (net.logits(&x).unwrap().to_f64(), at.logits.to_f64());
        // Five standard errors: σ ‖w‖ / √400.
        let error = |w: &[f64]| 5.0 * 0.2 * w.iter().map(|v| v * v).sum::<f64>().sqrt() / 20.0;
        assert!((0..2).all(|k| (clean[k] - mean[k]).abs() < error(&weights[k])));
        assert!(Averaged::new(&served, 0).is_err());
    }
}
