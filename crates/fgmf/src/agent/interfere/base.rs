//! What an interference is: it is handed the views of its victims, and hands back others.

use crate::agent::base::AgentSpec;
use crate::error::Result;
use crate::threat::ThreatModel;
use fgmf_net::Tensor;

/// Views of victims at one moment, one row each.
pub struct TeamMoment<'a> {
    /// The environment's.
    pub spec: &'a AgentSpec,
    /// Views as the policy is given them, `[rows, c, h, w]`.
    pub views: &'a Tensor,
    /// The same as raw counts, `[rows, c, h, w]`.
    pub raw: &'a [u8],
    /// Whether each value of a view may be changed.
    pub open: &'a [bool],
    /// How far, where a ball is the budget.
    pub threat: Option<&'a ThreatModel>,
    /// Episode of each row.
    pub episodes: &'a [u64],
    /// Agent of each row.
    pub agents: &'a [usize],
    /// Steps of the episode so far.
    pub step: u64,
    /// Of the interference's own draws.
    pub seed: u64,
}

impl TeamMoment<'_> {
    /// Name of a row's draws among those of its episode.
    pub(crate) fn index(&self, row: usize) -> u64 {
        self.step << 16 | self.agents[row] as u64
    }
}

/// Something that changes what agents see. The entry ([`play`](crate::agent::play)) checks what
/// comes back against the budget, whatever it is.
pub trait Interference: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// The views that the victims are shown, of the shape of [`TeamMoment::views`].
    ///
    /// # Errors
    /// Those of the model that it asks.
    fn views(&self, at: &TeamMoment<'_>) -> Result<Tensor>;
}
