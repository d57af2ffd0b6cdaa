//! Adversarial points that something other than the attacks of a suite found.

use crate::attack::base::{BlackBox, Candidate, Ending, Seed, images};
use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Scores;
use crate::threat::ThreatModel;
use serde_json::json;

/// A point that may be adversarial. It counts once it has been projected and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// Position of the example in the data set.
    pub example: usize,
    /// Who found it, as in the rows of a suite.
    pub finder: String,
    /// The image.
    pub point: Vec<f32>,
}

/// Hands points to the sealed entry, which projects and judges them. The index of an example is the
/// position of its point.
pub(crate) struct Handed<'a>(pub(crate) &'a [&'a Breach]);

impl BlackBox for Handed<'_> {
    fn id(&self) -> &'static str {
        "handed"
    }

    fn parameters(&self) -> serde_json::Value {
        json!({})
    }

    fn perturb(
        &self,
        _: &dyn Scores,
        batch: &Batch,
        _: &ThreatModel,
        _: Seed,
    ) -> Result<Candidate> {
        let point = |&i: &u64| self.0[i as usize].point.as_slice();
        Ok(Candidate {
            x: images(batch, batch.index.iter().map(point)),
            endings: vec![Ending::StepsExhausted; batch.len()],
        })
    }
}
