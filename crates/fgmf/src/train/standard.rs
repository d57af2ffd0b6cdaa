//! Standard training: the cross-entropy on clean images.
//!
//! For images x with labels y and the network's softmax p, the objective is the mean over the batch
//! of L(x, y) = −ln p_y(x). It promises nothing under attack; it is the control that every other
//! objective is compared with.
//!
//! It has no parameters. Cost: 3 passes an example (one forward, two backward: to values and to
//! weights). Reference: `goodfellow2015`, whose undefended networks it trains.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::settings::{Ordered, nothing};
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, finish, mean, step_on,
};
use fgmf_net::Session;
use fgmf_net::head::CrossEntropy;

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "standard",
    line: "Minimises cross-entropy on clean images.",
    revision: 1,
    reference: "goodfellow2015",
    example: "{}",
    build: ObjectiveBuild {
        complete: |settings| {
            nothing(settings)?;
            Ok(Ordered::Object(Vec::new()))
        },
        make: |settings| {
            nothing(settings)?;
            Ok(Box::new(Standard))
        },
    },
}];

/// Cross-entropy on clean images.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

impl Objective for Standard {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let run = step_on(
            net,
            &batch.x,
            &CrossEntropy::labels(&batch.labels),
            batch,
            1,
            context,
        )?;
        let loss = mean(&run.losses);
        Ok(finish(run, &batch.labels, vec![("cross-entropy", loss)]))
    }

    fn attacks(&self) -> bool {
        false
    }
}
