//! The list of defences: ids, and how each is made from its settings.

use crate::defend::base::{Defence, DefenceBuild};
use crate::error::Result;
use crate::method::{Family, List};

/// All defences; the build script writes the list.
pub(crate) static LIST: List<DefenceBuild> = List::new(
    Family::Defence,
    "defence",
    include!(concat!(env!("OUT_DIR"), "/defend.rs")),
);

/// Ids of all defences, for [`by_id`].
pub fn ids() -> Vec<&'static str> {
    LIST.ids()
}

/// The defence of that id, with default settings.
pub fn by_id(id: &str) -> Option<Defence> {
    with_parameters(id, serde_json::json!({})).ok()
}

/// The defence of that id with these settings; what is left out has its default.
///
/// An error names an unknown defence or an unknown setting. Some ranges are checked when the
/// defence meets a network.
pub fn with_parameters(id: &str, settings: serde_json::Value) -> Result<Defence> {
    (LIST.find(id)?.build)(settings)
}
