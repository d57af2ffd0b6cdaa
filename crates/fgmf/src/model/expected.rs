//! The exact expectation of a model behind a random transform that has few outcomes.
//!
//! L̄(x) = Σₒ pₒ L(Aₒ x), and so for logits and gradients, ∇L̄(x) = Σₒ pₒ Aₒᵀ ∇L(Aₒ x), over every
//! map A that may be drawn: what [`super::Averaged`] closes in on with growing numbers of draws.
//! Nothing is drawn: the same query gets the same answer.
//!
//! Cost: one pass of the model behind for each outcome.

use crate::error::{Error, Result};
use crate::model::access::{FeatureGradient, Gradients, Scores};
use crate::model::outcome::Outcome;
use crate::model::transform::{Transform, check};
use fgmf_net::head::Head;
use fgmf_net::{Network, Tensor, ValueId};

/// The expectation of a model over a transform, as a model of its own.
pub struct Expected<'a> {
    model: &'a dyn Gradients,
    outcomes: Vec<Outcome>,
}

impl<'a> Expected<'a> {
    /// The model behind the transform; an error if the transform has too many outcomes to list.
    pub fn new(model: &'a dyn Gradients, transform: &dyn Transform) -> Result<Self> {
        let listed = || {
            Error::mismatch(
                "exact expectation",
                "a transform that lists its outcomes",
                transform.id(),
            )
        };
        Ok(Self::over(
            model,
            transform.outcomes(model.image_shape()).ok_or_else(listed)?,
        ))
    }

    /// The model behind these outcomes; of one alone, what an attacker faces who knows the draw.
    pub fn over(model: &'a dyn Gradients, outcomes: Vec<Outcome>) -> Self {
        Self { model, outcomes }
    }

    /// Every answer that may be given, `[n, k]`, with its probability.
    pub fn answers(&self, x: &Tensor) -> Result<Vec<(f64, Tensor)>> {
        self.outcomes
            .iter()
            .map(|o| Ok((o.probability, self.model.logits(&o.seen(x))?)))
            .collect()
    }
}

impl Scores for Expected<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        check(self, x)?;
        let mut sum = Tensor::new::<f64>(
            &[x.shape()[0], self.classes()],
            vec![0.0; x.shape()[0] * self.classes()],
        )
        .cast(x.precision());
        for (probability, logits) in self.answers(x)? {
            sum = sum.add(&logits.affine(probability, 0.0));
        }
        Ok(sum)
    }

    /// The point that most outcomes get wrong is looked for, not the first that their mean gets
    /// wrong.
    fn settles(&self) -> bool {
        self.outcomes.len() == 1
    }
}

impl Gradients for Expected<'_> {
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
        let mut sum: Option<FeatureGradient> = None;
        for outcome in &self.outcomes {
            let mut answer = self.model.feature_gradient(&outcome.seen(x), head, at)?;
            if at == self.network().input() {
                answer.gradient = outcome.pulled_back(&answer.gradient);
                answer.value = x.clone();
            }
            let share = answer.times(outcome.probability);
            sum = Some(sum.map_or_else(|| share.clone(), |s| s.plus(&share)));
        }
        sum.ok_or_else(|| Error::mismatch("exact expectation", "one outcome or more", 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::tests::{base, images};
    use crate::defend::noise::AdditiveNoiseParams;
    use crate::defend::resize_pad::ResizePadParams;
    use crate::model::averaged::Averaged;
    use crate::model::oracle::Oracle;
    use crate::model::served::Served;
    use fgmf_net::Precision;
    use fgmf_net::head::{CrossEntropy, Logit};

    /// On a linear model w · x the gradient is Σ p Aᵀ w, entry j the sum of p w over where pixel j
    /// may land; here 1 x 2 images from ¼ on: the whole image with probability ⅔, or its right
    /// pixel at either place with ⅙.
    #[test]
    fn on_a_linear_model_it_is_known() {
        let net =
            fgmf_testkit::toys::linear(&[vec![2.0, -1.0], vec![0.5, 4.0]], &[0.25, 0.0], [1, 1, 2])
                .cast(Precision::F64);
        let oracle = Oracle::new(&net);
        let expected =
            Expected::new(&oracle, &ResizePadParams { least: 0.25 }.check().unwrap()).unwrap();
        let x = Tensor::new(&[1, 1, 1, 2], vec![0.5f64, 0.75]);
        let close = |a: &[f64], b: [f64; 2]| {
            assert!(
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12),
                "{a:?} and {b:?}"
            )
        };
        let at = expected.loss_gradient(&x, &Logit::new(&[0])).unwrap();
        close(&at.gradient.to_f64(), [4.0 / 3.0, -0.5]);
        let logits = [
            0.25 + (1.0 - 0.75) * 2.0 / 3.0 + 0.75 * (2.0 - 1.0) / 6.0,
            (0.25 + 3.0) * 2.0 / 3.0 + 0.75 * (0.5 + 4.0) / 6.0,
        ];
        close(&at.logits.to_f64(), logits);
        close(&expected.logits(&x).unwrap().to_f64(), logits);
        assert!((at.losses[0] - logits[0]).abs() < 1e-12);
        assert!(
            expected
                .logits(&Tensor::new(&[1, 2], vec![0.5f64, 0.75]))
                .is_err()
        );
    }

    /// The gradient is the derivative of the expected loss, by central differences in double
    /// precision.
    #[test]
    fn the_gradient_is_that_of_the_expected_loss() {
        let net = base().cast(Precision::F64);
        let oracle = Oracle::new(&net);
        let expected =
            Expected::new(&oracle, &ResizePadParams { least: 0.7 }.check().unwrap()).unwrap();
        let x = images(2).cast(Precision::F64);
        let head = CrossEntropy::labels(&[1, 2]);
        let at = expected.loss_gradient(&x, &head).unwrap();
        let direction: Vec<f64> = (0..x.len())
            .map(|i| ((i * 7 + 2) % 13) as f64 / 13.0 - 0.4)
            .collect();
        let moved = |h: f64| {
            let values: Vec<f64> = x
                .to_f64()
                .iter()
                .zip(&direction)
                .map(|(v, d)| v + h * d)
                .collect();
            let at = expected
                .loss_gradient(&Tensor::new(x.shape(), values), &head)
                .unwrap();
            at.losses.iter().sum::<f64>()
        };
        let along: f64 = at
            .gradient
            .to_f64()
            .iter()
            .zip(&direction)
            .map(|(g, d)| g * d)
            .sum();
        let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!(
            (along - difference).abs() < 1e-6 * (1.0 + along.abs()),
            "{along} and {difference}"
        );
    }

    /// The mean of many draws closes in on it: within five standard errors of the draws themselves.
    #[test]
    fn draws_close_in_on_it() {
        let (net, x) = (base(), images(1));
        let oracle = Oracle::new(&net);
        let pad = ResizePadParams { least: 0.7 }.check().unwrap();
        let expected = Expected::new(&oracle, &pad).unwrap();
        let (exact, answers) = (
            expected.logits(&x).unwrap().to_f64(),
            expected.answers(&x).unwrap(),
        );
        let drawn = Averaged::new(&Served::new(&oracle, &pad, 4), 2000)
            .unwrap()
            .logits(&x)
            .unwrap()
            .to_f64();
        for k in 0..3 {
            let variance: f64 = answers
                .iter()
                .map(|(p, z)| p * (z.to_f64()[k] - exact[k]).powi(2))
                .sum();
            assert!(
                (drawn[k] - exact[k]).abs() < 5.0 * (variance / 2000.0).sqrt(),
                "{drawn:?} and {exact:?}"
            );
        }
        assert!(!expected.draws() && !expected.settles());
        let noise = AdditiveNoiseParams::default().check().unwrap();
        assert!(
            Expected::new(&oracle, &noise).is_err_and(|e| e.to_string().contains("additive-noise"))
        );
    }
}
