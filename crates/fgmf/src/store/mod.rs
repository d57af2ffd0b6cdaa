//! Files that survive a kill: whole or absent, or with every line that was finished.

pub(crate) mod atomic;
pub(crate) mod finished;
pub(crate) mod journal;
pub(crate) mod model;

pub use atomic::{Whole, write};
pub use finished::refuse_another;
pub use model::{read_model, write_model};
