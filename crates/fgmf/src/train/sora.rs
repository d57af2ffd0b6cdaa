//! SORA: one step from a random point, whose length follows how straight the loss was before.
//!
//! The objective is the mean over the batch of L(x′, y). For an image x with label y, noise η
//! uniform in the ball and a share u uniform in [0, 1] for each number of the image,
//!
//! x′ = C(x + η + a u s(g)), g = ∇L(x + η, y), a = min(λ eps, α / (1 − c)).
//!
//! C clips to the bounds of an image and to nothing else, so that x′ may leave the ball. s is the
//! direction of steepest ascent of the norm (the sign in Linf), the product with u is taken number
//! by number, λ is `longest` and α is `reach`.
//!
//! c says how straight the loss is along the step. With g′ = ∇L(x′, y), which the training pass
//! gives as well, it is a running mean over the batches:
//!
//! c ← (1 − β) c + β mean over the batch of clip(⟨s(g), g′⟩ / ⟨s(g), g⟩, −1, 1).
//!
//! To second order ⟨s, g′⟩ = ⟨s, g⟩ + ⟨s, H r⟩ for the step r: 1 − c is the bend along the step,
//! and the step is the longer the straighter the loss is. c begins at 0.99, is part of the state
//! of a run, and survives a kill. PertAlign, the mean cosine between g and g′, is logged as
//! `alignment`; the paper has it fall before catastrophic overfitting shows.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `longest` | 2 | λ, the largest length in radii, above 0 |
//! | `reach` | 0.02 | α, the length at c = 0 in pixel units, above 0 |
//! | `rate` | 0.05 | β, above 0, at most 1 |
//!
//! Cost: 5 passes an example, where a standard step costs 3.
//!
//! Read: the abstract, a public summary of the paper that states the steps, the formula of a and
//! the constants (0.02, 0.05, twice the radius, 0.99), and notes on what the authors' code
//! computes. The full text could not be had. No line of the authors' code is used, because its
//! licence forbids that. Ours are: (1) g is taken with batch normalisation in evaluation mode and
//! g′ in training mode, so that c mixes both modes; (2) x + η is brought into the bounds before the
//! gradient is taken; (3) images with ⟨s(g), g⟩ = 0 do not count in c; (4) steps in L2 and L1.
//! Reference: `teymourian2026`.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::settings::{complete, read};
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, finish, mean,
    step_on_with_images,
};
use crate::train::parts::search::starts;
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "sora",
    line: "Minimises cross-entropy one step from noise, as far as the loss was straight.",
    revision: 1,
    reference: "teymourian2026",
    example: r#"{"longest": 1.5}"#,
    build: ObjectiveBuild {
        complete: complete::<SoraParams>,
        make: |settings| Ok(Box::new(read::<SoraParams>(settings)?.check()?)),
    },
}];

/// c before the first batch.
const START: f64 = 0.99;

/// Settings of [`Sora`]; the table is in the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoraParams {
    /// Longest step in radii.
    pub longest: f64,
    /// Length of the step where the loss has turned, in pixel units.
    pub reach: f64,
    /// Share of a batch in the running mean.
    pub rate: f64,
}

impl Default for SoraParams {
    fn default() -> Self {
        Self {
            longest: 2.0,
            reach: 0.02,
            rate: 0.05,
        }
    }
}

impl SoraParams {
    /// The checked objective.
    pub fn check(self) -> Result<Sora> {
        for (name, value) in [("longest", self.longest), ("reach", self.reach)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::parameter(name, "a finite number above 0", value));
            }
        }
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            return Err(Error::parameter("rate", "above 0, at most 1", self.rate));
        }
        Ok(Sora { params: self })
    }
}

/// One step of a length that follows the bend of the loss; see the module.
#[derive(Clone, Debug)]
pub struct Sora {
    params: SoraParams,
}

/// Points of a batch, and what the search for them saw.
struct SoraStep {
    points: Tensor,
    /// ∇L(x + η), end to end.
    gradient: Vec<f32>,
    /// s(g), end to end.
    direction: Vec<f32>,
}

impl Sora {
    /// Length a of the step for the running mean `c`, at the radius `eps`.
    fn length(&self, c: f64, eps: f64) -> f64 {
        let longest = self.params.longest * eps;
        (self.params.reach / (1.0 - c).max(0.0)).min(longest)
    }

    fn search(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
        length: f64,
    ) -> Result<SoraStep> {
        let (threat, shape) = (context.threat, batch.x.shape());
        let mut shares = Vec::with_capacity(batch.x.len());
        let mut x = starts(batch, context, |x, rng| {
            let start = threat.random_start(x, rng);
            shares.extend(x.iter().map(|_| rng.unit()));
            start
        });
        let head = CrossEntropy::labels(&batch.labels);
        let at = Oracle::new(net).loss_gradient(&Tensor::new(shape, x.clone()), &head)?;
        let gradient = at.gradient.to_f32();
        let mut direction = gradient.clone();
        let size = (x.len() / batch.len().max(1)).max(1);
        direction
            .chunks_exact_mut(size)
            .for_each(|s| threat.steepest(s));
        let steps = direction.iter().zip(&shares);
        x.iter_mut()
            .zip(steps)
            .for_each(|(x, (s, u))| *x += length as f32 * u * s);
        threat.clip(&mut x);
        Ok(SoraStep {
            points: Tensor::new(shape, x),
            gradient,
            direction,
        })
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

/// Of each image ⟨s, g′⟩ / ⟨s, g⟩ between −1 and 1, and the cosine of g and g′, as means over the
/// images for which they exist; none where they exist for no image.
fn straightness(found: &SoraStep, there: &[f32], size: usize) -> Option<[f64; 2]> {
    let (mut sums, mut n) = ([0.0; 2], 0);
    let rows = found
        .gradient
        .chunks_exact(size)
        .zip(there.chunks_exact(size));
    for ((g, there), s) in rows.zip(found.direction.chunks_exact(size)) {
        let rise = dot(s, g);
        let lengths = (dot(g, g) * dot(there, there)).sqrt();
        if rise > 0.0 && lengths > 0.0 {
            sums[0] += (dot(s, there) / rise).clamp(-1.0, 1.0);
            sums[1] += dot(g, there) / lengths;
            n += 1;
        }
    }
    (n > 0).then(|| sums.map(|sum| sum / f64::from(n)))
}

impl Objective for Sora {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let c = context.carried.first().copied().unwrap_or(START);
        let length = self.length(c, context.threat.eps());
        let found = self.search(net, batch, context, length)?;
        let head = CrossEntropy::labels(&batch.labels);
        let (run, g) = step_on_with_images(net, &found.points, &head, batch, context)?;
        // The pass gives the gradient of the mean over the batch.
        let there = g.affine(batch.len() as f64, 0.0).to_f32();
        let size = (there.len() / batch.len().max(1)).max(1);
        let seen = straightness(&found, &there, size);
        let beta = self.params.rate;
        let next = seen.map_or(c, |[now, _]| (1.0 - beta) * c + beta * now);
        let parts = vec![
            ("attacked cross-entropy", mean(&run.losses)),
            ("alignment", seen.map_or(0.0, |[_, cosine]| cosine)),
            ("step", length),
        ];
        Ok(Step {
            carried: vec![next],
            ..finish(run, &batch.labels, parts)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::{Norm, ThreatModel};
    use crate::train::base::cross_entropy_at;
    use crate::train::parts::checks::{batch, context, net, threat};
    use fgmf_net::Precision;
    use fgmf_testkit::toys;

    fn sora() -> Sora {
        SoraParams::default().check().unwrap()
    }

    #[test]
    fn steps_are_as_long_as_the_loss_is_straight() {
        let eps = 0.1;
        for (c, length) in [
            (1.0, 0.2),
            (0.99, 0.2),
            (0.8, 0.1),
            (0.0, 0.02),
            (-1.0, 0.01),
        ] {
            let found = sora().length(c, eps);
            assert!((found - length).abs() < 1e-12, "{c}: {found}");
        }
        assert!(sora().length(0.99, 0.0).abs() < 1e-12);
    }

    /// For two classes with z = (0, w·x) the gradient is ± (1 − p_y) w: the step goes along ± w,
    /// and ⟨s, g′⟩ / ⟨s, g⟩ is (1 − p_y(x′)) / (1 − p_y(x + η)), cut to 1, as this loss is convex.
    /// From c = 0.8 on.
    #[test]
    fn the_running_mean_of_a_linear_model_is_that_of_the_closed_form() {
        let w = [0.5, -0.25, 2.0, -1.0];
        let net = toys::linear(&[vec![0.0; 4], w.to_vec()], &[0.0; 2], [1, 2, 2]);
        let net = net.cast(Precision::F32);
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        for (label, sign) in [(1, -1.0f32), (0, 1.0)] {
            let batch = Batch {
                x: Tensor::new(&[1, 1, 2, 2], vec![0.5f32; 4]),
                labels: vec![label],
                index: vec![3],
            };
            let carried = [0.8];
            let context = StepContext {
                carried: &carried,
                ..context(&threat)
            };
            let mut shares = Vec::new();
            let noisy = starts(&batch, &context, |x, rng| {
                let start = threat.random_start(x, rng);
                shares.extend(x.iter().map(|_| rng.unit()));
                start
            });
            let plain = |i: usize| noisy[i] + 0.1 * shares[i] * sign * w[i].signum() as f32;
            let found = sora().search(&net, &batch, &context, 0.1).unwrap();
            let points = found.points.to_f32();
            for (i, x) in points.iter().enumerate() {
                assert!((x - plain(i)).abs() < 1e-6, "{x} {}", plain(i));
            }
            let wrong = |x: &[f32]| {
                let z: f64 = w.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum();
                1.0 / (1.0 + (f64::from(-sign) * z).exp())
            };
            let ratio = (wrong(&points) / wrong(&noisy)).min(1.0);
            let step = sora().step(&net, &batch, &context).unwrap();
            let expected = 0.95 * 0.8 + 0.05 * ratio;
            assert!((step.carried[0] - expected).abs() < 1e-6);
            // Both gradients are multiples of w.
            assert!((step.parts[1].1 - 1.0).abs() < 1e-6);
            assert!((step.parts[2].1 - 0.1).abs() < 1e-12);
        }
    }

    #[test]
    fn a_loss_that_bends_down_lowers_the_mean() {
        let found = SoraStep {
            points: Tensor::new(&[2, 1, 1, 2], vec![0.0f32; 4]),
            gradient: vec![2.0, -1.0, 0.0, 0.0],
            direction: vec![1.0, -1.0, 0.0, 0.0],
        };
        // ⟨s, g′⟩ = −1.5 of 3; the second image has no gradient and does not count.
        let [ratio, cosine] = straightness(&found, &[-1.0, 0.5, 1.0, 1.0], 2).unwrap();
        assert!((ratio + 0.5).abs() < 1e-12 && (cosine + 1.0).abs() < 1e-12);
        let [ratio, _] = straightness(&found, &[9.0, 0.0, 0.0, 0.0], 2).unwrap();
        assert!((ratio - 1.0).abs() < 1e-12);
        assert!(straightness(&found, &[0.0; 4], 2).is_none());
    }

    /// The gradient of the step is that of the cross-entropy at the points; they stay in the bounds
    /// and may leave the ball.
    #[test]
    fn the_step_is_that_of_the_cross_entropy_at_the_points() {
        let (net, batch, threat) = (net(), batch(5), threat());
        let context = context(&threat);
        let step = sora().step(&net, &batch, &context).unwrap();
        let length = sora().length(START, 0.1);
        let found = sora().search(&net, &batch, &context, length).unwrap();
        let at = cross_entropy_at(&net, &batch, &found.points, &context).unwrap();
        for (a, b) in step.gradients.iter().zip(&at.gradients) {
            for (a, b) in a.to_f32().iter().zip(b.to_f32()) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
        let points = found.points.to_f32();
        assert!(points.iter().all(|v| (0.0..=1.0).contains(v)));
        let far = points
            .iter()
            .zip(batch.x.to_f32())
            .map(|(x, o)| (x - o).abs());
        let far = far.fold(0.0, f32::max);
        assert!(far > 0.15 && far < 0.3 + 1e-6, "{far}");
        assert!(step.carried[0] > 0.89 && step.carried[0] <= 0.9905);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |longest, reach, rate| {
            let params = SoraParams {
                longest,
                reach,
                rate,
            };
            params.check().unwrap_err().to_string()
        };
        assert!(refused(0.0, 0.02, 0.05).contains("`longest`"));
        assert!(refused(2.0, f64::NAN, 0.05).contains("`reach`"));
        assert!(refused(2.0, 0.02, 1.5).contains("`rate`"));
    }
}
