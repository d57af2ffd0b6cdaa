//! All environments, by name.

use crate::agent::base::Environment;
use crate::agent::overcooked::{Dynamics, Overcooked};
use crate::agent::pursuit::{Pursuit, PursuitParams};
use crate::error::{Error, Result};

/// Names of all environments. Those of Overcooked have the old dynamics, in which a full pot starts
/// by itself; `:new` at the end gives the new ones.
pub fn environments() -> Vec<String> {
    let kitchens = Overcooked::layouts().map(|l| format!("overcooked:{l}"));
    kitchens.chain(["pursuit".to_owned()]).collect()
}

/// A fresh environment by its name.
///
/// # Errors
/// [`Error::Parameter`] for an unknown name; it lists those that are known.
pub fn environment(name: &str) -> Result<Box<dyn Environment>> {
    let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
    match kind {
        "overcooked" => {
            let (layout, dynamics) = match rest.strip_suffix(":new") {
                Some(layout) => (layout, Dynamics::New),
                None => (rest, Dynamics::Old),
            };
            Ok(Box::new(Overcooked::new(layout, dynamics)?))
        }
        "pursuit" if rest.is_empty() => Ok(Box::new(Pursuit::new(PursuitParams::default())?)),
        _ => Err(Error::parameter("env", environments().join(", "), name)),
    }
}
