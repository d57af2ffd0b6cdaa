//! What several attacks share.

pub(crate) mod estimate;
pub(crate) mod hint;
pub(crate) mod kept;
