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
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::rng::{Purpose, Stream};
use crate::settings::{complete, read};
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, finish, mean, step_on,
};
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

impl PgdAt {
    /// Where the search ends for each image of the batch, `[n, c, h, w]`.
    pub(crate) fn ends(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<Tensor> {
        let oracle = Oracle::new(net);
        let head = CrossEntropy::labels(&batch.labels);
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len();
        let alpha = (self.params.step_size * context.threat.eps()) as f32;
        let mut x: Vec<f32> = Vec::with_capacity(clean.len());
        for (origin, &index) in clean.chunks_exact(size).zip(&batch.index) {
            let mut rng = Stream::new(context.seed, Purpose::Training, context.epoch, index);
            x.extend(context.threat.random_start(origin, &mut rng));
        }
        for _ in 0..self.params.steps {
            let at = oracle.loss_gradient(&Tensor::new(batch.x.shape(), x.clone()), &head)?;
            let mut g = at.gradient.to_f32();
            for ((x, g), origin) in x
                .chunks_exact_mut(size)
                .zip(g.chunks_exact_mut(size))
                .zip(clean.chunks_exact(size))
            {
                context.threat.steepest(g);
                x.iter_mut().zip(g).for_each(|(v, d)| *v += alpha * *d);
                context.threat.project(origin, x);
            }
        }
        Ok(Tensor::new(batch.x.shape(), x))
    }
}

impl Objective for PgdAt {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let x = self.ends(net, batch, context)?;
        let head = CrossEntropy::labels(&batch.labels);
        let run = step_on(net, &x, &head, batch, 1, context)?;
        let loss = mean(&run.losses);
        Ok(finish(
            run,
            &batch.labels,
            vec![("attacked cross-entropy", loss)],
        ))
    }
}
