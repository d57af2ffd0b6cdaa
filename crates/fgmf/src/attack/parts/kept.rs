//! What a search keeps where one wrong answer settles nothing
//! ([`settles`](crate::model::access::Scores::settles)): the point of largest loss.

use crate::model::access::Scores;
use crate::threat::ThreatModel;

/// The point of largest loss inside the ball, where the model asks for it; nothing for a model that
/// one answer settles, of which each attack keeps what its paper says.
pub(crate) struct Kept {
    wanted: bool,
    found: Option<(bool, f64, Vec<f32>)>,
}

impl Kept {
    pub(crate) fn new(model: &dyn Scores) -> Self {
        Self {
            wanted: !model.settles(),
            found: None,
        }
    }

    /// Takes in a point, whether it is misclassified, and its loss.
    pub(crate) fn offer(
        &mut self,
        threat: &ThreatModel,
        origin: &[f32],
        x: &[f32],
        (broken, loss): (bool, f64),
    ) {
        let better = |(b, l): (bool, f64)| (broken, loss) > (b, l);
        if self.wanted
            && !loss.is_nan()
            && self.found.as_ref().is_none_or(|f| better((f.0, f.1)))
            && threat.distance(origin, x) <= threat.eps() * (1.0 + 1e-6)
        {
            self.found = Some((broken, loss, x.to_vec()));
        }
    }

    /// The point kept, if any.
    pub(crate) fn point(self) -> Option<Vec<f32>> {
        self.found.map(|f| f.2)
    }
}
