//! Attacks on maps: the prediction stays, the explanation is shifted.

pub(crate) mod cells;
pub(crate) mod followed;
pub(crate) mod share;
pub(crate) mod smooth_net;
pub(crate) mod walk;
