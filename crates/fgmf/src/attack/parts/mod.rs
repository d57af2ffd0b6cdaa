//! What several attacks share.

pub(crate) mod estimate;
pub(crate) mod kept;
