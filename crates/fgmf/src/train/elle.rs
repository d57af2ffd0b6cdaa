//! ELLE: training on one step, with the loss held linear between random points of the ball.
//!
//! The objective is the mean over the batch of
//!
//! J = L(x′, y) + λ (L(x_c, y) − (1 − a) L(x_a, y) − a L(x_b, y))²,
//!
//! where x′ is one step of a radius from x along the steepest ascent of L (the sign in Linf), x_a
//! and x_b are uniform in the ball, a is uniform in [0, 1), and x_c = (1 − a) x_a + a x_b.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `weight` | 1000 | λ, 0 or more |
//!
//! Cost: 14 passes an example (2 for the search, 3 for each of four rows).
//!
//! Differences from the authors' code: (1) x_a and x_b, and with them x_c, are brought into the
//! bounds of an image, as is x′; (2) all rows pass batch normalisation together, in chunks of 32
//! rows; (3) λ is constant (their ELLE-A switches it on when the error jumps). Theirs is 1000 up to
//! a radius of 8/255, then 5000 and 10000; it weighs squared losses, so it has no unit of pixels.
//! Reference: `abad2024`.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::settings::{complete, read};
use crate::train::base::{
    Attacked, Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, attacked_step,
    check_weight, finish, mean,
};
use crate::train::parts::rows::{Weighed, mean_at, step_on_rows};
use crate::train::parts::search::{Search, starts};
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "elle",
    line: "Trains on one step and keeps the loss linear between random points of the ball.",
    revision: 1,
    reference: "abad2024",
    example: r#"{"weight": 1000.0}"#,
    build: ObjectiveBuild {
        complete: complete::<ElleParams>,
        make: |settings| Ok(Box::new(read::<ElleParams>(settings)?.check()?)),
    },
}];

/// Settings of [`Elle`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ElleParams {
    /// Weight of the squared deviation.
    pub weight: f64,
}

impl Default for ElleParams {
    fn default() -> Self {
        Self { weight: 1000.0 }
    }
}

impl ElleParams {
    /// The checked objective.
    pub fn check(self) -> Result<Elle> {
        check_weight("weight", self.weight, 0.0)?;
        Ok(Elle {
            weight: self.weight,
        })
    }
}

/// ELLE; see the module.
#[derive(Clone, Debug)]
pub struct Elle {
    weight: f64,
}

/// Three points on a line for each image, end to end, and the share a of the second.
struct Lines {
    from: Vec<f32>,
    to: Vec<f32>,
    between: Vec<f32>,
    shares: Vec<f64>,
}

impl Lines {
    fn draw(batch: &Batch, context: &StepContext<'_>) -> Self {
        let (mut to, mut between, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        let from = starts(batch, context, |x, rng| {
            let a = context.threat.random_start(x, rng);
            let b = context.threat.random_start(x, rng);
            let share = rng.unit();
            between.extend(a.iter().zip(&b).map(|(a, b)| (1.0 - share) * a + share * b));
            shares.push(f64::from(share));
            to.extend(b);
            a
        });
        Self {
            from,
            to,
            between,
            shares,
        }
    }
}

/// L(x_c) − (1 − a) L(x_a) − a L(x_b), of the losses at x′, x_a, x_b, x_c.
fn deviation(losses: &[f64], share: f64) -> f64 {
    losses[3] - (1.0 - share) * losses[1] - share * losses[2]
}

impl Attacked for Elle {
    fn points(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Tensor> {
        let head = CrossEntropy::labels(&batch.labels);
        let search = Search {
            steps: 1,
            step_size: 1.0,
        };
        search.ascend(net, &batch.x, batch.x.to_f32(), &head, context.threat)
    }

    fn step_at(
        &self,
        net: &Session,
        batch: &Batch,
        points: &Tensor,
        context: &StepContext<'_>,
    ) -> Result<Step> {
        let lines = Lines::draw(batch, context);
        let attacked = points.to_f32();
        let rows = [&attacked[..], &lines.from, &lines.to, &lines.between];
        let head = Weighed {
            labels: &batch.labels,
            group: 4,
            weigh: |example: usize, losses: &[f64]| {
                let a = lines.shares[example];
                let slope = 2.0 * self.weight * deviation(losses, a);
                vec![1.0, -(1.0 - a) * slope, -a * slope, slope]
            },
        };
        let run = step_on_rows(net, &rows, &head, 0, batch, context)?;
        let groups = run.losses.chunks_exact(4).zip(&lines.shares);
        let squares: Vec<f64> = groups.map(|(l, a)| deviation(l, *a).powi(2)).collect();
        let parts = vec![
            ("attacked cross-entropy", mean_at(&run.losses, 4, 0)),
            ("squared deviation from linear", mean(&squares)),
        ];
        Ok(finish(run, &batch.labels, parts))
    }
}

impl Objective for Elle {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        attacked_step(self, net, batch, context)
    }

    fn attacked(&self) -> Option<&dyn Attacked> {
        Some(self)
    }

    fn rows(&self) -> usize {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parts::checks::{
        attacked_gradient_matches, batch, context, points_stay_inside, threat,
    };

    #[test]
    fn objective_gradient_matches_differences() {
        let elle = ElleParams::default().check().unwrap();
        points_stay_inside(&elle);
        attacked_gradient_matches(&elle, |parts| parts[0].1 + 1000.0 * parts[1].1);
    }

    #[test]
    fn lines_stay_in_the_ball_and_are_straight() {
        let (batch, threat) = (batch(4), threat());
        let lines = Lines::draw(&batch, &context(&threat));
        let clean = batch.x.to_f32();
        let share = |i: usize| lines.shares[i / 64] as f32;
        for points in [&lines.from, &lines.to, &lines.between] {
            for (o, x) in clean.chunks_exact(64).zip(points.chunks_exact(64)) {
                assert!(threat.contains(o, x));
            }
        }
        for (i, c) in lines.between.iter().enumerate() {
            let straight = lines.from[i] + share(i) * (lines.to[i] - lines.from[i]);
            assert!((c - straight).abs() < 1e-6);
        }
        assert_ne!(lines.from, lines.to);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            let refused = ElleParams { weight }.check().unwrap_err();
            assert!(refused.to_string().contains("`weight`"));
        }
    }
}
