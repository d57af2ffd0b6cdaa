//! What is to be said of a map besides its values, in galleries and reports alike.

use crate::explain::base::Attribution;
use crate::record::{MapFacts, doubts};

/// The facts of a map, with the doubts that its figures raise: the method's own completeness gap,
/// and those that `figure` knows by name.
pub fn map_facts(map: &Attribution, figure: impl Fn(&str) -> Option<f64>) -> MapFacts {
    let gap = |name: &str| (name == "completeness-gap").then_some(map.completeness_gap);
    MapFacts {
        layer: map.layer.clone(),
        note: map.note.clone(),
        withheld: map.withheld.clone(),
        doubts: doubts(|name| gap(name).unwrap_or_else(|| figure(name))),
    }
}
