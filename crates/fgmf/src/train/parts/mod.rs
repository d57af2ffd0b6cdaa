//! What several objectives share.

pub(crate) mod around;
pub(crate) mod bounded;
#[cfg(test)]
pub(crate) mod checks;
pub(crate) mod divergence;
pub(crate) mod rows;
pub(crate) mod search;
pub(crate) mod slope;
