//! Parameter gradients of input gradients, without a second backward pass through the first.
//!
//! For a scalar f of the network's answer, a point p and a direction v that is held,
//! w ⟨v, ∇_x f(p)⟩ = w (f(p + h v) − f(p − h v)) / 2h + O(h²), and so are the gradients of both in
//! the parameters. Two rows of a training step with the weights ± w / 2h therefore give the
//! gradient of a penalty on an input gradient.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::train::base::{StepContext, step_on};
use crate::train::parts::rows::answer_of;
use fgmf_net::head::{CrossEntropy, Head, Logit};
use fgmf_net::{Dual, ParameterGradients, Session, Tensor};
use std::ops::Range;

/// What is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// The cross-entropy at the label.
    CrossEntropy,
    /// The label's logit without the mean of all: z_y − Σ z / k.
    CentredLogit,
}

/// A row's f, and its weight in the objective of its example.
#[derive(Clone, Copy, Debug)]
struct Term {
    of: Scalar,
    weight: f64,
}

/// Rows of a step, `group` for each example, and the head that weighs them. The objective is the
/// mean over examples of Σ weight · f over the example's rows.
pub(crate) struct SlopeTerms<'a> {
    labels: &'a [usize],
    group: usize,
    rows: Vec<f32>,
    terms: Vec<Term>,
}

/// Slopes of the centred logits of the labels at points of a batch.
pub(crate) fn slopes(oracle: &Oracle<'_>, batch: &Batch, points: &[f32]) -> Result<Vec<f32>> {
    let mut terms = SlopeTerms::new(&batch.labels, 1);
    let size = points.len() / batch.len().max(1);
    for point in points.chunks_exact(size.max(1)) {
        terms.value(Scalar::CentredLogit, point, 1.0);
    }
    let x = Tensor::new(batch.x.shape(), points.to_vec());
    Ok(oracle.loss_gradient(&x, &terms)?.gradient.to_f32())
}

/// ⟨g, u⟩.
pub(crate) fn dot(g: &[f32], u: &[f32]) -> f64 {
    g.iter().zip(u).map(|(g, u)| f64::from(g * u)).sum()
}

/// Sign, with 0 for 0.
pub(crate) fn sign(v: f32) -> f32 {
    if v == 0.0 { 0.0 } else { v.signum() }
}

impl<'a> SlopeTerms<'a> {
    /// None yet; every example will have `group` rows, one for each value and two for each slope.
    pub(crate) fn new(labels: &'a [usize], group: usize) -> Self {
        Self {
            labels,
            group,
            rows: Vec::new(),
            terms: Vec::new(),
        }
    }

    /// Adds weight · f(p).
    pub(crate) fn value(&mut self, of: Scalar, point: &[f32], weight: f64) {
        self.rows.extend_from_slice(point);
        self.terms.push(Term { of, weight });
    }

    /// Adds weight · ⟨v, ∇f(p)⟩ by the rows p + h v and p − h v. Where h is 0 it adds nothing.
    pub(crate) fn slope(&mut self, of: Scalar, point: &[f32], v: &[f32], h: f64, weight: f64) {
        let weight = if h > 0.0 { weight / (2.0 * h) } else { 0.0 };
        for sign in [1.0, -1.0] {
            let by = (sign * h) as f32;
            self.rows
                .extend(point.iter().zip(v).map(|(p, v)| p + by * v));
            self.terms.push(Term {
                of,
                weight: sign * weight,
            });
        }
    }

    /// The step on all rows of a batch, with the logits of the first row of each group.
    pub(crate) fn step(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<ParameterGradients> {
        let rows = self.images(&batch.x.shape()[1..]);
        let run = step_on(net, &rows, self, batch, self.group, context)?;
        Ok(answer_of(run, self.group, 0))
    }

    /// All rows as images of `shape`, `[c, h, w]`.
    fn images(&self, shape: &[usize]) -> Tensor {
        let shape = [&[self.terms.len()], shape].concat();
        Tensor::new(&shape, self.rows.clone())
    }

    /// Mean over examples of Σ weight · f, over the rows `which` of each group.
    pub(crate) fn mean(&self, values: &[f64], which: Range<usize>) -> f64 {
        let all = values.iter().zip(&self.terms).enumerate();
        let counted = all.filter(|(row, _)| which.contains(&(row % self.group)));
        let sum: f64 = counted.map(|(_, (f, term))| term.weight * f).sum();
        sum / self.labels.len().max(1) as f64
    }
}

impl Head for SlopeTerms<'_> {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let labels: Vec<usize> = examples
            .clone()
            .map(|row| self.labels[row / self.group])
            .collect();
        let n = labels.len();
        let terms = &self.terms[examples];
        let column = |f: &dyn Fn(&Term) -> f64| -> Dual {
            let values: Vec<f64> = terms.iter().map(f).collect();
            Tensor::new(&[n, 1], values).cast(logits.precision()).into()
        };
        // The mean over rows counts each row of a group as one of so many.
        let share = self.group as f64;
        let of = |scalar: Scalar| {
            column(&move |t: &Term| {
                if t.of == scalar {
                    share * t.weight
                } else {
                    0.0
                }
            })
        };
        let (entropies, to_entropy) = CrossEntropy::labels(&labels).evaluate(logits, 0..n);
        let (own, to_logit) = Logit::new(&labels).evaluate(logits, 0..n);
        let k = logits.shape()[1];
        let centred = to_logit.affine(1.0, -1.0 / k as f64);
        let means = logits.value.to_f64();
        let means = means
            .chunks_exact(k)
            .map(|z| z.iter().sum::<f64>() / k as f64);
        let logit = own.iter().zip(means).map(|(z, mean)| z - mean);
        let values = terms.iter().zip(entropies.iter().zip(logit));
        let values = values
            .map(|(term, (entropy, logit))| match term.of {
                Scalar::CrossEntropy => *entropy,
                Scalar::CentredLogit => logit,
            })
            .collect();
        let entropy = to_entropy.mul(&of(Scalar::CrossEntropy));
        (values, entropy.add(&centred.mul(&of(Scalar::CentredLogit))))
    }

    fn group(&self) -> usize {
        self.group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parts::checks::{batch, net};
    use fgmf_net::{Mode, Precision, Rules};

    /// Against the exact mixed derivative of dual numbers in double precision: the tangent, along
    /// v in the images, of the gradient in the parameters. The error falls as h².
    #[test]
    fn slopes_approach_the_exact_mixed_derivative() {
        let (net, batch) = (net().cast(Precision::F64), batch(3));
        let x = batch.x.to_f32();
        let v: Vec<f32> = (0..x.len())
            .map(|i| 0.2 * ((i * 29 % 17) as f32 / 8.0 - 1.0))
            .collect();
        let trains = net.trainable();
        for of in [Scalar::CrossEntropy, Scalar::CentredLogit] {
            let whole = |h: f64| {
                let mut terms = SlopeTerms::new(&batch.labels, 2);
                for (p, v) in x.chunks_exact(64).zip(v.chunks_exact(64)) {
                    terms.slope(of, p, v, h, 1.0);
                }
                let images = terms.images(&[1, 8, 8]).cast(Precision::F64);
                let run = net.parameter_gradients(&images, &terms, Mode::Evaluate);
                run.unwrap().gradients
            };
            let wide = |v: &[f32]| Tensor::new(batch.x.shape(), v.to_vec()).cast(Precision::F64);
            let image = Dual::new(wide(&x), wide(&v));
            let tape = net.forward(&image, Mode::Evaluate).unwrap();
            let logits = tape.value(net.output()).clone();
            let mut values = SlopeTerms::new(&batch.labels, 1);
            x.chunks_exact(64)
                .for_each(|p| values.value(of, p, 1.0 / 3.0));
            let (_, cotangent) = values.evaluate(&logits, 0..3);
            let seeds = vec![(net.output(), cotangent)];
            let exact = net
                .backward(&tape, seeds, &trains, &Rules::exact())
                .unwrap();
            let error = |h: f64| {
                let found = whole(h);
                let pairs = found.iter().zip(&exact);
                let squares = pairs.map(|(a, b)| {
                    let d = a.sub(&b.tangent_or_zeros());
                    d.dot(&d)
                });
                squares.sum::<f64>().sqrt()
            };
            let size = exact.iter().map(|g| {
                let t = g.tangent_or_zeros();
                t.dot(&t)
            });
            let size = size.sum::<f64>().sqrt();
            let (coarse, fine) = (error(1.0), error(0.5));
            assert!(size > 0.0 && fine < 0.05 * size, "{of:?}: {fine} of {size}");
            let falls = coarse / fine;
            assert!((3.5..4.5).contains(&falls), "{of:?}: {coarse}, {fine}");
            assert!(error(0.1) < 2e-3 * size, "{of:?}");
        }
    }

    #[test]
    fn values_are_weighed_and_no_step_adds_nothing() {
        let labels = [1];
        let mut terms = SlopeTerms::new(&labels, 3);
        terms.value(Scalar::CrossEntropy, &[0.5], 2.0);
        terms.slope(Scalar::CentredLogit, &[0.5], &[1.0], 0.0, 1.0);
        let z: Dual = Tensor::new(&[3, 2], vec![0.0f64, 0.0, 0.0, 4.0, 0.0, 2.0]).into();
        let (values, cotangent) = terms.evaluate(&z, 0..3);
        assert!((values[0] - 2f64.ln()).abs() < 1e-12);
        assert_eq!(values[1..], [2.0, 1.0]);
        assert_eq!(cotangent.value.to_f64(), [3.0, -3.0, 0.0, 0.0, 0.0, 0.0]);
        assert!((terms.mean(&values, 0..1) - 2.0 * 2f64.ln()).abs() < 1e-12);
        assert!(terms.mean(&values, 1..3).abs() < 1e-12);
    }
}
