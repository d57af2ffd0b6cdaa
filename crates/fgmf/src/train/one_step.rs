//! Training on one step from a random point: FGSM from a random start, and Noise-FGSM.
//!
//! The objective is the mean over the batch of L(x′, y), where x′ is one step from x + η with
//! random noise η, and s is the direction of steepest ascent of the norm (the sign in Linf):
//!
//! - `fgsm-rs`: η is uniform in the ball, and x′ = Π(x + η + α s(∇L(x + η, y))). Π projects onto
//!   ball and bounds; α is `step_size` radii.
//! - `n-fgsm`: η is uniform in a ball of `noise` radii, and x′ = C(x + η + α s(∇L(x + η, y))). C
//!   clips to the bounds of an image and to nothing else, so that x′ may lie
//!   `noise` + `step_size` radii away from x: outside the ball, as the paper has it.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `step_size` | 1.25 (`fgsm-rs`), 1 (`n-fgsm`) | α in radii, above 0 |
//! | `noise` (`n-fgsm`) | 2 | radii, 0 or more |
//!
//! Cost: 5 passes an example, where a standard step costs 3.
//!
//! Differences from the papers: (1) x + η is brought into the bounds of an image before the
//! gradient is taken, as in the authors' code and not in the text; (2) L2 and L1 are ours, with
//! noise and step of that norm; (3) the gradient of the search is taken with batch normalisation in
//! evaluation mode, where the authors have it in training mode.
//!
//! Both can lose their robustness from one epoch to the next (catastrophic overfitting): check with
//! an attack of many steps. References: `wong2020` (`fgsm-rs`), `dejorge2022` (`n-fgsm`).

use crate::data::batch::Batch;
use crate::error::Result;
use crate::settings::{complete, read};
use crate::train::base::{
    Attacked, Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, attacked_step,
    check_weight, cross_entropy_at,
};
use crate::train::parts::search::{Search, starts};
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[
    ObjectiveMethod {
        id: "fgsm-rs",
        line: "Minimises cross-entropy one step from a random point of the ball.",
        revision: 1,
        reference: "wong2020",
        example: r#"{"step_size": 1.25}"#,
        build: ObjectiveBuild {
            complete: complete::<FgsmRsParams>,
            make: |settings| Ok(Box::new(read::<FgsmRsParams>(settings)?.check()?)),
        },
    },
    ObjectiveMethod {
        id: "n-fgsm",
        line: "Minimises cross-entropy one step from strong noise, outside the ball too.",
        revision: 1,
        reference: "dejorge2022",
        example: r#"{"noise": 2.0}"#,
        build: ObjectiveBuild {
            complete: complete::<NoiseFgsmParams>,
            make: |settings| Ok(Box::new(read::<NoiseFgsmParams>(settings)?.check()?)),
        },
    },
];

/// Settings of FGSM from a random start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FgsmRsParams {
    /// Length of the step in radii.
    pub step_size: f64,
}

impl Default for FgsmRsParams {
    fn default() -> Self {
        Self { step_size: 1.25 }
    }
}

impl FgsmRsParams {
    /// The checked objective.
    pub fn check(self) -> Result<OneStep> {
        OneStep::new(self.step_size, None)
    }
}

/// Settings of Noise-FGSM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseFgsmParams {
    /// Radius of the noise in radii of the threat.
    pub noise: f64,
    /// Length of the step in radii.
    pub step_size: f64,
}

impl Default for NoiseFgsmParams {
    fn default() -> Self {
        Self {
            noise: 2.0,
            step_size: 1.0,
        }
    }
}

impl NoiseFgsmParams {
    /// The checked objective.
    pub fn check(self) -> Result<OneStep> {
        check_weight("noise", self.noise, 0.0)?;
        OneStep::new(self.step_size, Some(self.noise))
    }
}

/// Training on one step; see the module.
#[derive(Clone, Debug)]
pub struct OneStep {
    search: Search,
    /// Radius of the noise of Noise-FGSM; without it the ball holds start and point.
    noise: Option<f64>,
}

impl OneStep {
    fn new(step_size: f64, noise: Option<f64>) -> Result<Self> {
        let search = Search {
            steps: 1,
            step_size,
        };
        search.check()?;
        Ok(Self { search, noise })
    }
}

impl Attacked for OneStep {
    fn points(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Tensor> {
        let threat = context.threat;
        let head = CrossEntropy::labels(&batch.labels);
        let wide = threat.with_eps(self.noise.unwrap_or(1.0) * threat.eps())?;
        let start = starts(batch, context, |x, rng| wide.random_start(x, rng));
        let bring = |origin: &[f32], x: &mut [f32]| match self.noise {
            None => threat.project(origin, x),
            Some(_) => threat.clip(x),
        };
        let search = &self.search;
        search.ascend_by(net, &batch.x, start, &head, threat, bring)
    }

    fn step_at(
        &self,
        net: &Session,
        batch: &Batch,
        points: &Tensor,
        context: &StepContext<'_>,
    ) -> Result<Step> {
        cross_entropy_at(net, batch, points, context)
    }
}

impl Objective for OneStep {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        attacked_step(self, net, batch, context)
    }

    fn attacked(&self) -> Option<&dyn Attacked> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::access::Gradients as _;
    use crate::model::oracle::Oracle;
    use crate::train::parts::checks::{
        attacked_gradient_matches, batch, context, net, points_stay_inside, threat,
    };

    #[test]
    fn points_of_fgsm_rs_stay_inside_and_its_gradient_is_the_objectives() {
        let objective = FgsmRsParams::default().check().unwrap();
        points_stay_inside(&objective);
        attacked_gradient_matches(&objective, |parts| parts[0].1);
    }

    /// x′ − (x + η) is one step along the gradient at x + η, and x′ leaves the ball.
    #[test]
    fn points_of_n_fgsm_are_a_step_from_the_noise_without_projection() {
        let (net, batch, threat) = (net(), batch(4), threat());
        let context = context(&threat);
        let objective = NoiseFgsmParams::default().check().unwrap();
        attacked_gradient_matches(&objective, |parts| parts[0].1);
        let points = objective.points(&net, &batch, &context).unwrap().to_f32();
        let wide = threat.with_eps(0.2).unwrap();
        let noisy = starts(&batch, &context, |x, rng| wide.random_start(x, rng));
        let at = Tensor::new(batch.x.shape(), noisy.clone());
        let head = CrossEntropy::labels(&batch.labels);
        let g = Oracle::new(&net)
            .loss_gradient(&at, &head)
            .unwrap()
            .gradient;
        for ((x, n), g) in points.iter().zip(&noisy).zip(g.to_f32()) {
            let expected = (n + 0.1 * g.signum()).clamp(0.0, 1.0);
            assert!((x - expected).abs() < 1e-6, "{x} against {expected}");
        }
        let clean = batch.x.to_f32();
        let far = clean.iter().zip(&points).map(|(o, x)| (o - x).abs());
        let far = far.fold(0.0, f32::max);
        assert!(far > 0.2 && far < 0.3 + 1e-6, "{far}");
        assert!(points.iter().all(|v| (0.0..=1.0).contains(v)));
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        for step_size in [0.0, -1.0, f64::NAN] {
            let error = FgsmRsParams { step_size }.check().unwrap_err();
            assert!(error.to_string().contains("`step_size`"));
        }
        for noise in [-0.1, f64::INFINITY] {
            let params = NoiseFgsmParams {
                noise,
                ..NoiseFgsmParams::default()
            };
            assert!(params.check().unwrap_err().to_string().contains("`noise`"));
        }
    }
}
