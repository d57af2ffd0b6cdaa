//! Models as users have them: what a model expects of its images and calls its classes is found
//! beside it, put in front of it, and checked against labelled images.

pub(crate) mod beside;
pub(crate) mod front;
pub(crate) mod guard;
pub(crate) mod options;
pub(crate) mod reading;
pub(crate) mod resampling;
pub(crate) mod settings_file;

pub use crate::record::Preprocessing;
pub use beside::{Beside, find_beside, read_labels};
pub use front::preprocessed;
pub use guard::{Better, better_setting};
pub use options::options_beside;
