//! Files that survive a kill: whole or absent, or with every line that was finished.

pub(crate) mod atomic;
pub(crate) mod build;
pub(crate) mod disk;
pub(crate) mod finished;
pub(crate) mod floats;
pub(crate) mod folder;
pub(crate) mod journal;
pub(crate) mod model;
pub(crate) mod seal;

pub use atomic::{Whole, read_if_there, remove, write};
pub use build::build;
pub use finished::refuse_another;
pub use floats::write_floats;
pub use folder::Folder;
pub use model::{network_of, read_files, read_model, write_model};
