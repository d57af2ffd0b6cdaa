//! Methods named on the command line, and their settings.

use anyhow::Result;
use fgmf::Error;
use fgmf::metric::{Metric, ids};
use serde_json::{Value, json};

/// `--settings`: settings by id.
pub(super) struct Settings(serde_json::Map<String, Value>);

impl Settings {
    pub(super) fn read(given: Option<&str>) -> Result<Self> {
        let given = given.unwrap_or("{}").trim_start_matches('\u{feff}');
        let refused = |found: &dyn std::fmt::Display| {
            Error::parameter("settings", "a JSON object of settings by id", found)
        };
        match serde_json::from_str(given).map_err(|e| refused(&e))? {
            Value::Object(settings) => Ok(Self(settings)),
            _ => Err(refused(&given).into()),
        }
    }

    pub(super) fn of(&self, id: &str) -> Value {
        self.0.get(id).cloned().unwrap_or_else(|| json!({}))
    }

    /// Settings that nothing uses are a mistake.
    pub(super) fn check(&self, used: &[&str]) -> Result<()> {
        match self.0.keys().find(|id| !used.contains(&id.as_str())) {
            Some(id) => Err(Error::parameter(
                "settings",
                format!("ids that are used: {}", used.join(", ")),
                id,
            )
            .into()),
            None => Ok(()),
        }
    }
}

/// The methods of a list of ids, or those of `all` for the list `all`.
pub(super) fn chosen<T: ?Sized>(
    wanted: &[String],
    all: &[&str],
    make: impl Fn(&str) -> fgmf::Result<Box<T>>,
) -> Result<Vec<Box<T>>> {
    let wanted: Vec<&str> = if wanted == ["all"] {
        all.to_vec()
    } else {
        wanted.iter().map(String::as_str).collect()
    };
    wanted.iter().map(|id| Ok(make(id)?)).collect()
}

/// Costs hundreds of explanations an image, and is about a smoothed map instead of the explainer's
/// own.
const OPTIONAL: [&str; 1] = ["certified-top-k"];

/// The metrics of a list of ids; `all` leaves out the optional ones.
pub(super) fn metrics(wanted: &[String], settings: &Settings) -> Result<Vec<Box<dyn Metric>>> {
    let usual: Vec<&str> = ids()
        .into_iter()
        .filter(|id| !OPTIONAL.contains(id))
        .collect();
    chosen(wanted, &usual, |id| {
        fgmf::metric::with_parameters(id, settings.of(id))
    })
}
