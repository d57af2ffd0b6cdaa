//! Adversarial training: the cross-entropy at the end of a PGD search.
//!
//! The objective is the mean over the batch of L(x_S, y), where x_0 is a random point of the ball
//! around x and x_{t+1} = Π(x_t + α s(∇L(x_t, y))). Π projects onto ball and bounds, s is the
//! direction of steepest ascent of the norm (the sign in Linf), S is `steps` and α is `step_size`
//! radii.
//!
//! The parameters stand at [`PgdAtParams`]. Cost: `2 steps + 3` passes an example, where a standard
//! step costs 3. Reference: `madry2018`.
//!
//! Differences from the attack of the same name: (1) the search does not stop at the first success,
//! because the step wants the largest loss; (2) the point is the last one, not the best one.

use crate::attack::base::Start;
use crate::attack::loss::AttackLoss;
use crate::attack::pgd::PgdParams;
use crate::data::batch::Batch;
use crate::error::Result;
use crate::settings::{complete, read};
use crate::train::base::{
    Attacked, Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, attacked_step,
    cross_entropy_at,
};
use crate::train::parts::search::{Search, starts};
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "pgd-at",
    line: "Minimises cross-entropy at the end of a PGD search.",
    revision: 1,
    reference: "madry2018",
    example: r#"{"steps": 3}"#,
    build: ObjectiveBuild {
        complete: complete::<PgdAtParams>,
        make: |settings| Ok(Box::new(PgdAt::new(read(settings)?)?)),
    },
}];

/// Settings of [`PgdAt`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 7 | 1 to 1,000 |
/// | `step_size` | 0.25 | in radii, above 0 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PgdAtParams {
    /// Attack steps.
    pub steps: usize,
    /// Length of a step as a share of the radius.
    pub step_size: f64,
}

impl Default for PgdAtParams {
    fn default() -> Self {
        Self {
            steps: 7,
            step_size: 0.25,
        }
    }
}

/// Adversarial training; see the module.
#[derive(Clone, Debug)]
pub struct PgdAt {
    params: PgdAtParams,
}

impl PgdAt {
    /// Checked settings.
    pub fn new(params: PgdAtParams) -> Result<Self> {
        let attack = PgdParams {
            steps: params.steps,
            step_size: Some(params.step_size),
            restarts: 1,
            start: Start::Random,
            loss: AttackLoss::CrossEntropy,
        };
        attack.check()?;
        Ok(Self { params })
    }
}

impl Attacked for PgdAt {
    fn points(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Tensor> {
        let search = Search {
            steps: self.params.steps,
            step_size: self.params.step_size,
        };
        let start = starts(batch, context, |x, rng| context.threat.random_start(x, rng));
        let head = CrossEntropy::labels(&batch.labels);
        search.ascend(net, &batch.x, start, &head, context.threat)
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

impl Objective for PgdAt {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        attacked_step(self, net, batch, context)
    }

    fn attacked(&self) -> Option<&dyn Attacked> {
        Some(self)
    }
}
