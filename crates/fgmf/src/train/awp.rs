//! AWP: the gradient of an adversarial objective at weights that are moved against it.
//!
//! J is the objective inside, at weights w, on points x′ that it finds at w. Each array of weights
//! moves by
//!
//! v = γ ‖w‖ g / ‖g‖, g = ∇J(w),
//!
//! which raises J. The step's gradient is ∇J(w + v), with the same x′; the weights themselves stay
//! at w. Only arrays of rank 2 or more move: weights of convolutions and dense layers, neither
//! biases nor normalisation.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `inner` | `{"name": "pgd-at"}` | J: any objective that searches for points |
//! | `gamma` | 0.005 | γ, 0 to 1 |
//!
//! Cost: that of J, and once more that of J without its search (3 passes a row).
//!
//! Differences from the authors' code: (1) the direction is the gradient itself, where theirs is
//! one step of gradient descent on a copy of the network, which is the same direction; (2) weight
//! decay and moments of the optimiser act at w, where theirs act at w + v; (3) v is used from the
//! first epoch on. γ is 0.01 in their adversarial training and 0.005 in their TRADES. The parts of
//! the objective, and the statistics of batch normalisation, are those at w + v.
//! Reference: `wu2020`.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::settings::{complete, read};
use crate::train::base::{
    Attacked, Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, attacked_step,
};
use crate::train::salience::SalienceSource;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "awp",
    line: "Takes the gradient of another objective at weights that are moved against it.",
    revision: 1,
    reference: "wu2020",
    example: r#"{"inner": {"name": "trades", "steps": 2}, "gamma": 0.005}"#,
    build: ObjectiveBuild {
        complete: complete::<AwpParams>,
        make: |settings| Ok(Box::new(read::<AwpParams>(settings)?.check()?)),
    },
}];

/// Settings of [`Awp`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwpParams {
    /// The objective inside: its `name`, and its settings beside it.
    pub inner: Value,
    /// How far weights move, as a share of their norm.
    pub gamma: f64,
}

impl Default for AwpParams {
    fn default() -> Self {
        Self {
            inner: json!({ "name": "pgd-at" }),
            gamma: 0.005,
        }
    }
}

impl AwpParams {
    /// The checked wrapper, which [`Objective::take`] gives its objective. It does not look at
    /// `inner`.
    pub fn check(self) -> Result<Awp> {
        if !(0.0..=1.0).contains(&self.gamma) {
            return Err(Error::parameter("gamma", "0 to 1", self.gamma));
        }
        Ok(Awp {
            gamma: self.gamma,
            inner: None,
        })
    }
}

/// Adversarial weight perturbation; see the module.
pub struct Awp {
    gamma: f64,
    inner: Option<Box<dyn Objective>>,
}

impl Awp {
    fn inner(&self) -> Result<&dyn Attacked> {
        let inner = self.inner.as_deref().and_then(Objective::attacked);
        inner.ok_or_else(|| Error::mismatch("awp", "an objective inside", "none"))
    }
}

/// The network with each array of weights moved by γ ‖w‖ g / ‖g‖.
fn moved(net: &Session, gradients: &[Tensor], gamma: f64) -> Result<Session> {
    let mut there = net.clone();
    for (id, g) in net.trainable().into_iter().zip(gradients) {
        let Some(w) = net.parameter(id).filter(|w| w.rank() >= 2) else {
            continue;
        };
        let length = g.dot(g).sqrt();
        if length > 0.0 {
            let share = gamma * w.dot(w).sqrt() / length;
            there.set_parameter(id, w.add(&g.affine(share, 0.0)))?;
        }
    }
    Ok(there)
}

impl Attacked for Awp {
    fn points(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Tensor> {
        self.inner()?.points(net, batch, context)
    }

    fn step_at(
        &self,
        net: &Session,
        batch: &Batch,
        points: &Tensor,
        context: &StepContext<'_>,
    ) -> Result<Step> {
        let inner = self.inner()?;
        let here = inner.step_at(net, batch, points, context)?;
        let there = moved(net, &here.gradients, self.gamma)?;
        inner.step_at(&there, batch, points, context)
    }
}

impl Objective for Awp {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        attacked_step(self, net, batch, context)
    }

    fn salience(&self) -> Option<SalienceSource> {
        self.inner.as_ref()?.salience()
    }

    fn attacked(&self) -> Option<&dyn Attacked> {
        Some(self)
    }

    fn take(&mut self, inner: Box<dyn Objective>) -> Result<()> {
        if inner.attacked().is_none() {
            let expected = "an objective that searches for points, such as pgd-at or trades";
            return Err(Error::parameter("inner", expected, "one without a search"));
        }
        self.inner = Some(inner);
        Ok(())
    }

    fn rows(&self) -> usize {
        self.inner.as_ref().map_or(1, |inner| inner.rows())
    }

    fn copies(&self) -> usize {
        1 + self.inner.as_ref().map_or(0, |inner| inner.copies())
    }

    fn attacks(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.attacks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parts::checks::{batch, context, net, points_stay_inside, threat};
    use crate::train::pgd_at::{PgdAt, PgdAtParams};

    fn awp(gamma: f64) -> Awp {
        let params = AwpParams {
            gamma,
            ..AwpParams::default()
        };
        let mut awp = params.check().unwrap();
        let inner = PgdAt::new(PgdAtParams::default()).unwrap();
        awp.take(Box::new(inner)).unwrap();
        awp
    }

    /// Each array of weights moves by γ of its norm, others stay, the loss rises, and the gradient
    /// is that of the objective at the moved weights.
    #[test]
    fn weights_move_against_the_objective_for_the_gradient_only() {
        let (net, batch, threat) = (net(), batch(6), threat());
        let context = context(&threat);
        let objective = awp(0.05);
        let points = objective.points(&net, &batch, &context).unwrap();
        points_stay_inside(&objective);
        let inner = objective.inner().unwrap();
        let here = inner.step_at(&net, &batch, &points, &context).unwrap();
        let there = moved(&net, &here.gradients, 0.05).unwrap();
        let mut ranks = [0, 0];
        for id in net.trainable() {
            let (old, new) = (net.parameter(id).unwrap(), there.parameter(id).unwrap());
            let by = new.sub(old);
            let share = (by.dot(&by) / old.dot(old).max(1e-30)).sqrt();
            if old.rank() >= 2 {
                assert!((share - 0.05).abs() < 1e-5, "{share}");
                ranks[1] += 1;
            } else {
                assert!(share < 1e-12, "{share}");
                ranks[0] += 1;
            }
        }
        assert!(ranks[0] > 0 && ranks[1] > 0);
        let step = objective.step_at(&net, &batch, &points, &context).unwrap();
        assert!(step.parts[0].1 > here.parts[0].1);
        let at = inner.step_at(&there, &batch, &points, &context).unwrap();
        for (a, b) in step.gradients.iter().zip(&at.gradients) {
            assert_eq!(a.to_f32(), b.to_f32());
        }
        let still = awp(0.0).step_at(&net, &batch, &points, &context).unwrap();
        for (a, b) in still.gradients.iter().zip(&here.gradients) {
            assert_eq!(a.to_f32(), b.to_f32());
        }
    }

    #[test]
    fn gamma_out_of_range_and_a_missing_objective_are_refused() {
        for gamma in [-0.1, 1.1, f64::NAN] {
            let inner = AwpParams::default().inner;
            let refused = AwpParams { inner, gamma }.check().err().unwrap();
            assert!(refused.to_string().contains("`gamma`"));
        }
        let empty = AwpParams::default().check().unwrap();
        let threat = threat();
        let step = empty.step(&net(), &batch(2), &context(&threat));
        assert!(step.unwrap_err().to_string().contains("inside"));
    }
}
