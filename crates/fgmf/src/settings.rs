//! Settings of methods as JSON.

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Settings from JSON; an error names what is wrong.
pub(crate) fn read<P: DeserializeOwned>(parameters: serde_json::Value) -> Result<P> {
    let shown = parameters.to_string();
    if !parameters.is_object() {
        return Err(Error::parameter(
            "parameters",
            "an object of settings by name",
            shown,
        ));
    }
    serde_json::from_value(parameters).map_err(|e| {
        Error::parameter(
            "parameters",
            format!("the settings of the method by name ({e})"),
            shown,
        )
    })
}

/// [`read`], where what is left out is as in `base`.
pub(crate) fn read_over<P: Serialize + DeserializeOwned>(
    base: &P,
    given: serde_json::Value,
) -> Result<P> {
    let mut all = serde_json::json!(base);
    match (all.as_object_mut(), given) {
        (Some(fields), serde_json::Value::Object(given)) => fields.extend(given),
        (_, given) => {
            return Err(Error::parameter(
                "parameters",
                "an object of settings by name",
                given,
            ));
        }
    }
    read(all)
}
