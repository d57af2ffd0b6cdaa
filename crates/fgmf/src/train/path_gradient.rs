//! Path gradient: another objective, and how steep the loss is somewhere on the way to the point
//! that is attacked.
//!
//! The term is the mean over a share of the batch of
//!
//! R = eps ‖∇L(x + τ eps d, y)‖*, τ uniform in 0 to 1, drawn anew for each visit,
//!
//! where ‖·‖* is the dual of the norm of the threat (L1 for a threat in Linf), and d is where the
//! search of the image ended at its last visit, in radii, if the objective inside keeps that, and
//! else the direction s(∇L(x)) of steepest ascent. Integrated Gradients of the loss from x to
//! x + eps d are eps d times the mean of that gradient over τ, so that with |d| at most 1 their
//! 1-norm is at most the mean of R: one draw stands for the path that robust attribution
//! regularisation sums over. The objective is J + λ R with J the objective inside. With
//! v = eps s(∇L) held, R = ⟨v, ∇L⟩, and slopes are differences of L at two points h before and
//! behind: two rows, and no derivative of a derivative.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `inner` | `{"name": "scor-pio"}` | J: any objective |
//! | `weight` | 0.1 | λ, 0 or more |
//! | `share` | 0.25 | of the batch, above 0, at most 1 |
//! | `step` | 0.5 | h in radii, above 0, at most 1 |
//!
//! Cost: that of J, and for each image of the share 2 passes for the gradient and 6 for the rows
//! (2 more where J keeps no points).
//!
//! Differences from the paper: (1) the bound instead of the sum over the path, with one point for
//! 50; (2) the attack is the objective's own, where theirs maximises the sum. Reference:
//! `chen2019rar`.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::rng::{Purpose, Stream};
use crate::settings::{complete, read};
use crate::train::base::{
    ObjectiveBuild, ObjectiveMethod, StepContext, check_difference, check_weight,
};
use crate::train::parts::around::{MapTerm, WithTerm, check_share};
use crate::train::parts::slope::{Scalar, SlopeTerms, dot};
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "path-gradient",
    line: "Adds to another objective how steep the loss is on the way to the attacked point.",
    revision: 1,
    reference: "chen2019rar",
    example: r#"{"inner": {"name": "pgd-at", "steps": 2}, "weight": 0.2}"#,
    build: ObjectiveBuild {
        complete: complete::<PathGradientParams>,
        make: |settings| Ok(Box::new(read::<PathGradientParams>(settings)?.check()?)),
    },
}];

/// Settings of [`PathGradient`]; the table is in the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathGradientParams {
    /// The objective inside: its `name`, and its settings beside it.
    pub inner: Value,
    /// Weight of the term.
    pub weight: f64,
    /// Share of the batch.
    pub share: f64,
    /// h in radii.
    pub step: f64,
}

impl Default for PathGradientParams {
    fn default() -> Self {
        Self {
            inner: json!({ "name": "scor-pio" }),
            weight: 0.1,
            share: 0.25,
            step: 0.5,
        }
    }
}

impl PathGradientParams {
    /// The checked wrapper.
    pub fn check(self) -> Result<WithTerm<PathGradient>> {
        check_weight("weight", self.weight, 0.0)?;
        check_share(self.share)?;
        check_difference(self.step)?;
        Ok(WithTerm::new(PathGradient { params: self }))
    }
}

/// Path gradient; see the module.
#[derive(Clone, Debug)]
pub struct PathGradient {
    params: PathGradientParams,
}

/// ∇L at points of a batch.
fn gradient_at(oracle: &Oracle<'_>, batch: &Batch, points: &[f32]) -> Result<Vec<f32>> {
    let x = Tensor::new(batch.x.shape(), points.to_vec());
    let head = CrossEntropy::labels(&batch.labels);
    Ok(oracle.loss_gradient(&x, &head)?.gradient.to_f32())
}

impl PathGradient {
    /// x + τ eps d of each image, in the bounds.
    fn points(oracle: &Oracle<'_>, batch: &Batch, context: &StepContext<'_>) -> Result<Vec<f32>> {
        let clean = batch.x.to_f32();
        let size = (clean.len() / batch.len().max(1)).max(1);
        let eps = context.threat.eps() as f32;
        let d = match context.displacement {
            Some(d) => d.to_f32(),
            None => {
                let mut s = gradient_at(oracle, batch, &clean)?;
                s.chunks_exact_mut(size)
                    .for_each(|s| context.threat.steepest(s));
                s
            }
        };
        let mut points = Vec::with_capacity(clean.len());
        let rows = clean.chunks_exact(size).zip(d.chunks_exact(size));
        for ((x, d), &image) in rows.zip(&batch.index) {
            let purpose = Purpose::Training;
            let tau = Stream::new(context.seed, purpose, context.epoch, image).unit();
            let start = points.len();
            points.extend(x.iter().zip(d).map(|(x, d)| x + tau * eps * d));
            context.threat.project(x, &mut points[start..]);
        }
        Ok(points)
    }

    /// λ R of some images at `points`, where the loss has the gradient `there`: its gradient in the
    /// weights, and R.
    fn term(
        &self,
        net: &Session,
        batch: &Batch,
        (points, there): (&[f32], &[f32]),
        context: &StepContext<'_>,
    ) -> Result<(Vec<Tensor>, f64)> {
        let size = (points.len() / batch.len().max(1)).max(1);
        let eps = context.threat.eps() as f32;
        let mut terms = SlopeTerms::new(&batch.labels, 2);
        let mut sum = 0.0;
        for (point, g) in points.chunks_exact(size).zip(there.chunks_exact(size)) {
            let mut v = g.to_vec();
            context.threat.steepest(&mut v);
            v.iter_mut().for_each(|v| *v *= eps);
            sum += dot(g, &v);
            let of = Scalar::CrossEntropy;
            // v is one radius long, so that h counts radii.
            terms.slope(of, point, &v, self.params.step, self.params.weight);
        }
        let run = terms.step(net, batch, context)?;
        Ok((run.gradients, sum / batch.len().max(1) as f64))
    }
}

impl MapTerm for PathGradient {
    const ID: &'static str = "path-gradient";
    const PART: &'static str = "steepness on the path";

    fn evaluate(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<(Vec<Tensor>, f64)> {
        let oracle = Oracle::new(net);
        let points = Self::points(&oracle, batch, context)?;
        let there = gradient_at(&oracle, batch, &points)?;
        self.term(net, batch, (&points, &there), context)
    }

    fn share(&self) -> f64 {
        self.params.share
    }

    fn rows(&self) -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::base::{Objective, Step};
    use crate::train::parts::checks::{batch, context, gradient_matches, net, threat};
    use crate::train::pgd_at::{PgdAt, PgdAtParams};
    use fgmf_net::Precision;

    fn wrapped(params: PathGradientParams) -> WithTerm<PathGradient> {
        let mut made = params.check().unwrap();
        let inner = PgdAt::new(PgdAtParams::default()).unwrap();
        made.take(Box::new(inner)).unwrap();
        made
    }

    /// Two classes with z = (w·x, 0): ∇L = −(1 − p) w at the point, p the probability there. With d
    /// kept at 0 the point is the image.
    #[test]
    fn steepness_of_a_linear_model_is_that_of_the_closed_form() {
        let weights: Vec<f64> = (0..64).map(|i| 0.05 * (f64::from(i % 7) - 3.2)).collect();
        let net =
            fgmf_testkit::toys::linear(&[weights.clone(), vec![0.0; 64]], &[0.0; 2], [1, 8, 8]);
        let net = Session::new(net.cast(Precision::F32).into_network());
        let one = Batch {
            labels: vec![0],
            ..batch(1)
        };
        let threat = threat();
        let still = Tensor::full(one.x.shape(), 0.0, Precision::F32);
        let context = StepContext {
            displacement: Some(&still),
            ..context(&threat)
        };
        let objective = wrapped(PathGradientParams::default());
        let (_, found) = objective.term.evaluate(&net, &one, &context).unwrap();
        let score: f64 = one
            .x
            .to_f64()
            .iter()
            .zip(&weights)
            .map(|(x, w)| x * w)
            .sum();
        let p = 1.0 / (1.0 + (-score).exp());
        let length: f64 = weights.iter().map(|w| w.abs()).sum();
        let expected = threat.eps() * (1.0 - p) * length;
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }

    /// Points are on the way to what is kept, in ball and bounds; without it, on the way along the
    /// sign of the gradient.
    #[test]
    fn points_lie_on_the_path() {
        let (net, batch, threat) = (net(), batch(5), threat());
        let kept: Vec<f32> = (0..5 * 64).map(|i| (i % 3) as f32 - 1.0).collect();
        let kept = Tensor::new(batch.x.shape(), kept);
        let context = StepContext {
            displacement: Some(&kept),
            ..context(&threat)
        };
        let oracle = Oracle::new(&net);
        let points = PathGradient::points(&oracle, &batch, &context).unwrap();
        let clean = batch.x.to_f32();
        let rows = points.chunks_exact(64).zip(clean.chunks_exact(64));
        let mut shares = Vec::new();
        for ((p, x), d) in rows.zip(kept.to_f32().chunks_exact(64)) {
            assert!(threat.contains(x, p));
            let share = |i: usize| (p[i] - x[i]) / (0.1 * d[i]);
            let at: Vec<usize> = (0..64).filter(|&i| d[i] != 0.0).collect();
            assert!(at.iter().all(|&i| (share(i) - share(at[0])).abs() < 1e-4));
            shares.push(share(at[0]));
        }
        assert!(shares.iter().all(|s| (0.0..=1.0).contains(s)), "{shares:?}");
        assert!(
            shares.iter().any(|s| (s - shares[0]).abs() > 0.05),
            "{shares:?}"
        );
    }

    /// R's gradient in the weights, against differences of R with the points and v held.
    #[test]
    fn objective_gradient_matches_differences() {
        let (batch, threat) = (batch(4), threat().with_eps(0.02).unwrap());
        let context = context(&threat);
        let objective = wrapped(PathGradientParams {
            weight: 1.0,
            step: 0.25,
            ..PathGradientParams::default()
        });
        let points = PathGradient::points(&Oracle::new(&net()), &batch, &context).unwrap();
        gradient_matches(&net(), |other| {
            let there = gradient_at(&Oracle::new(other), &batch, &points).unwrap();
            let held = (points.as_slice(), there.as_slice());
            let (gradients, value) = objective.term.term(other, &batch, held, &context).unwrap();
            let inner = objective.inner().unwrap();
            let step = inner.step(other, &batch, &context).unwrap();
            (Step { gradients, ..step }, value)
        });
    }
}
