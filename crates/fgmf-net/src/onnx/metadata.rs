//! What the metadata says about training, and about outputs.

use std::collections::HashSet;

/// Metadata entry that names the stored arrays that do not train.
pub(super) const FROZEN: &str = "fgmf.frozen";

/// Metadata entry that names the outputs that are not the scores and are kept.
pub(super) const BESIDE: &str = "fgmf.beside";

/// Names joined by commas; commas within names are escaped.
pub(super) fn name_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let escaped: Vec<String> = names
        .map(|n| n.replace('%', "%25").replace(',', "%2C"))
        .collect();
    escaped.join(",")
}

/// The names of [`name_list`].
pub(super) fn names(list: &str) -> HashSet<String> {
    list.split(',')
        .filter(|n| !n.is_empty())
        .map(|n| n.replace("%2C", ",").replace("%25", "%"))
        .collect()
}
