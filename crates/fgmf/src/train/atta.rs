//! ATTA: adversarial training whose search goes on from the image of the epoch before.
//!
//! The objective is the mean over the batch of L(x_S, y), where x_0 is where the search of this
//! image ended when it was visited last (the image itself at first), and
//! x_{t+1} = Π(x_t + α s(∇L(x_t, y))). Π projects onto ball and bounds, s is the direction of
//! steepest ascent of the norm (the sign in Linf), S is `steps` and α is `step_size` radii.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 1 | S, 1 to 1,000 |
//! | `step_size` | 0.5 | α in radii, above 0 |
//!
//! Cost: `2 steps + 3` passes an example. Memory: a byte for each number of the training images.
//! Reference: `zheng2020`.
//!
//! Differences from the paper: (1) where the radius grows, what is kept grows with it, because it
//! is kept in units of the radius, in steps of 1/127; (2) nothing is set back to the image every
//! few epochs; (3) flips and shifts move what is kept as they move the image, which the paper does
//! by inverse transforms; (4) the default step is ours.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::settings::{complete, read};
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, cross_entropy_at,
};
use crate::train::parts::search::Search;
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "atta",
    line: "Minimises cross-entropy at points whose search goes on from epoch to epoch.",
    revision: 1,
    reference: "zheng2020",
    example: r#"{"steps": 2}"#,
    build: ObjectiveBuild {
        complete: complete::<AttaParams>,
        make: |settings| Ok(Box::new(read::<AttaParams>(settings)?.check()?)),
    },
}];

/// Settings of [`Atta`]; the table is in the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttaParams {
    /// Steps of a visit.
    pub steps: usize,
    /// Length of a step as a share of the radius.
    pub step_size: f64,
}

impl Default for AttaParams {
    fn default() -> Self {
        Self {
            steps: 1,
            step_size: 0.5,
        }
    }
}

impl AttaParams {
    /// The checked objective.
    pub fn check(self) -> Result<Atta> {
        let search = Search {
            steps: self.steps,
            step_size: self.step_size,
        };
        search.check()?;
        Ok(Atta { search })
    }
}

/// Adversarial training with transferred points; see the module.
#[derive(Clone, Debug)]
pub struct Atta {
    search: Search,
}

impl Objective for Atta {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let eps = context.threat.eps() as f32;
        let clean = batch.x.to_f32();
        let start = match context.displacement {
            Some(d) => {
                let moved = clean.iter().zip(d.to_f32());
                moved.map(|(x, d)| x + eps * d).collect()
            }
            None => clean.clone(),
        };
        let head = CrossEntropy::labels(&batch.labels);
        let search = &self.search;
        let end = search.ascend(net, &batch.x, start, &head, context.threat)?;
        let kept = context.displacement.filter(|_| eps > 0.0).map(|_| {
            let moved = end.to_f32().into_iter().zip(&clean);
            let d = moved.map(|(x, o)| (x - o) / eps).collect();
            Tensor::new(batch.x.shape(), d)
        });
        Ok(Step {
            displacement: kept,
            ..cross_entropy_at(net, batch, &end, context)?
        })
    }

    fn keeps_displacements(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::base::{finish, mean, step_on};
    use crate::train::parts::checks::{batch, context, gradient_matches, net, threat};
    use fgmf_net::Precision;

    /// Two visits of one step are one visit of two, while the weights stay; what is kept stays in
    /// the ball.
    #[test]
    fn visits_of_one_step_make_a_search_of_many() {
        let (net, batch, threat) = (net(), batch(5), threat());
        let visit = |steps: usize, from: &Tensor| {
            let params = AttaParams {
                steps,
                ..AttaParams::default()
            };
            let context = StepContext {
                displacement: Some(from),
                ..context(&threat)
            };
            let step = params.check().unwrap().step(&net, &batch, &context);
            step.unwrap().displacement.unwrap()
        };
        let zero = Tensor::full(batch.x.shape(), 0.0, Precision::F32);
        let twice = visit(1, &visit(1, &zero)).to_f32();
        for (a, b) in twice.iter().zip(visit(2, &zero).to_f32()) {
            assert!((a - b).abs() < 1e-5 && a.abs() < 1.0 + 1e-5, "{a} {b}");
        }
        assert!(twice.iter().any(|v| v.abs() > 0.99));
    }

    #[test]
    fn objective_gradient_matches_differences() {
        let (net, batch, threat) = (net(), batch(4), threat());
        // The points are those of the unmoved network.
        let search = AttaParams::default().check().unwrap().search;
        let head = CrossEntropy::labels(&batch.labels);
        let end = search.ascend(&net, &batch.x, batch.x.to_f32(), &head, &threat);
        let end = end.unwrap();
        let context = context(&threat);
        gradient_matches(&net, |net| {
            let run = step_on(net, &end, &head, &batch, 1, &context).unwrap();
            let loss = mean(&run.losses);
            (finish(run, &batch.labels, Vec::new()), loss)
        });
        let own = AttaParams::default().check().unwrap();
        let step = own.step(&net, &batch, &context).unwrap();
        let at = step_on(&net, &end, &head, &batch, 1, &context).unwrap();
        assert!((step.parts[0].1 - mean(&at.losses)).abs() < 1e-12);
        assert!(step.displacement.is_none());
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |steps, step_size| {
            let params = AttaParams { steps, step_size };
            params.check().unwrap_err().to_string()
        };
        assert!(refused(0, 0.5).contains("steps"));
        assert!(refused(1, 0.0).contains("step_size"));
    }
}
