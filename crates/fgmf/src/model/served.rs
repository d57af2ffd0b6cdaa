//! A model that answers at random: a transform of the image drawn at each query.
//!
//! [`Served`] answers query t for the image x with the network at A_t(x). The draw is named by
//! (seed, t, content of x), so that an example is answered alike alone and in a batch as long as
//! queries come in the same order, and two examples of one query differ. The attacker's way through
//! it is the mean of many draws, [`super::Averaged`].
//!
//! Cost: one pass of the model behind for each query.

use crate::error::Result;
use crate::model::access::{FeatureGradient, Gradients, Scores};
use crate::model::transform::{Transform, check, content};
use crate::rng::{Purpose, Stream};
use fgmf_net::head::Head;
use fgmf_net::{Network, Tensor, ValueId};
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

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
        Self {
            model,
            transform,
            seed,
            queries: AtomicU64::new(0),
        }
    }

    fn each(
        &self,
        names: &[f32],
        values: &[f32],
        query: u64,
        f: impl Fn(&[f32], &mut Stream) -> Vec<f32> + Sync,
    ) -> Vec<f32> {
        let size = self.image_shape().iter().product::<usize>().max(1);
        let row = |(name, v): (&[f32], &[f32])| {
            f(
                v,
                &mut Stream::new(self.seed, Purpose::Evaluation, query, content(name)),
            )
        };
        let rows: Vec<Vec<f32>> = names
            .par_chunks_exact(size)
            .zip(values.par_chunks_exact(size))
            .map(row)
            .collect();
        rows.concat()
    }

    fn seen(&self, x: &Tensor, query: u64) -> Tensor {
        let (values, shape) = (x.to_f32(), self.image_shape());
        let out = self.each(&values, &values, query, |v, rng| {
            self.transform.apply(v, shape, rng)
        });
        Tensor::new(x.shape(), out).cast(x.precision())
    }
}

impl Scores for Served<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        check(self, x)?;
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

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        check(self, x)?;
        let query = self.queries.fetch_add(1, Ordering::Relaxed);
        let mut out = self
            .model
            .feature_gradient(&self.seen(x, query), head, at)?;
        if at == self.network().input() {
            let shape = self.image_shape();
            let back = self.each(&x.to_f32(), &out.gradient.to_f32(), query, |g, rng| {
                self.transform.pull_back(g, shape, rng)
            });
            out.gradient = Tensor::new(x.shape(), back).cast(x.precision());
            out.value = x.clone();
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::tests::{base, images};
    use crate::defend::noise::AdditiveNoiseParams;
    use crate::defend::resize_pad::ResizePadParams;
    use crate::model::oracle::Oracle;
    use fgmf_net::head::Logit;

    #[test]
    fn a_batch_is_answered_like_its_examples_and_queries_differ() {
        let (net, x) = (base(), images(3));
        let oracle = Oracle::new(&net);
        let (noise, pad) = (
            AdditiveNoiseParams::default().check().unwrap(),
            ResizePadParams::default().check().unwrap(),
        );
        for transform in [&noise as &dyn Transform, &pad] {
            let fresh = || Served::new(&oracle, transform, 7);
            let (whole, again) = (fresh(), fresh());
            let first = whole.logits(&x).unwrap().to_f32();
            assert_eq!(
                first,
                again.logits(&x).unwrap().to_f32(),
                "{}",
                transform.id()
            );
            assert_ne!(
                first,
                whole.logits(&x).unwrap().to_f32(),
                "{}",
                transform.id()
            );
            for i in 0..3 {
                assert_eq!(
                    fresh().logits(&x.rows(i, 1)).unwrap().to_f32(),
                    first[i * 3..i * 3 + 3],
                    "{}",
                    transform.id()
                );
            }
            assert!(
                whole
                    .logits(&Tensor::new(&[1, 144], vec![0.0f32; 144]))
                    .is_err()
            );
        }
    }

    /// The gradient of a query is the derivative of that query's answer, by central differences
    /// along one direction.
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
            pad.apply(
                &x.to_f32(),
                [1, 12, 12],
                &mut Stream::new(2, Purpose::Evaluation, 0, content(&x.to_f32())),
            ),
        );
        assert_eq!(net.logits(&seen).unwrap().to_f32(), at.logits.to_f32());
        let own = oracle
            .loss_gradient(&seen, &Logit::new(&[1]))
            .unwrap()
            .gradient
            .to_f32();
        let want = pad.pull_back(
            &own,
            [1, 12, 12],
            &mut Stream::new(2, Purpose::Evaluation, 0, content(&x.to_f32())),
        );
        assert_eq!(at.gradient.to_f32(), want);
    }
}
