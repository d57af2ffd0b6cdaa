//! What a step of a plan does.

use super::packed::Packed;
use super::places::Needs;
use super::run::Run;
use crate::graph::{Network, ValueId};

/// One step of a plan: a node or several fused ones.
pub(super) trait Step: std::fmt::Debug + Send + Sync {
    /// Values read.
    fn inputs(&self) -> Vec<ValueId>;
    /// Values made.
    fn outputs(&self) -> Vec<ValueId>;
    /// Values that the backward step reads.
    fn keeps(&self, plan: &Needs) -> Vec<ValueId>;
    /// Packs weights.
    fn prepare(&self, _net: &Network, _packed: &Packed, _needs: &Needs) {}
    fn forward(&self, run: &mut Run<'_>);
    /// The forward pass of variants inside the window that differs, if the step can and it pays.
    fn window(&self, _run: &mut Run<'_>) -> bool {
        false
    }
    /// Takes the cotangents of the outputs and adds those of the inputs and parameters.
    fn backward(&self, run: &mut Run<'_>);
}
