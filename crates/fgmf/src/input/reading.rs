//! Short files beside a model, and numbers in them.

use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// Longest file that is looked at, in bytes.
const LONGEST: u64 = 16 << 20;

/// A short text file; `None` where there is none.
pub(crate) fn text(path: &Path) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if length > LONGEST {
        let found = format!("expected at most {LONGEST} bytes, found {length}");
        return Err(Error::record(path, found));
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    Ok(Some(text.trim_start_matches('\u{feff}').to_owned()))
}

/// A JSON file; `None` where there is none.
pub(crate) fn json(path: &Path) -> Result<Option<Value>> {
    let parsed = text(path)?.map(|t| serde_json::from_str(&t).map_err(|e| Error::record(path, e)));
    parsed.transpose()
}

/// Numbers, one a channel: a single number holds for all.
pub(crate) fn numbers(
    value: &Value,
    key: &str,
    channels: usize,
    path: &Path,
) -> Result<Option<Vec<f64>>> {
    let list = match &value[key] {
        Value::Null => return Ok(None),
        Value::Array(list) => list.iter().map(Value::as_f64).collect(),
        one => one.as_f64().map(|v| vec![v]),
    };
    match list {
        Some(one) if one.len() == 1 => Ok(Some(vec![one[0]; channels])),
        Some(all) if all.len() == channels => Ok(Some(all)),
        _ => {
            let found = &value[key];
            let expected = format!("expected `{key}` with {channels} numbers, found {found}");
            Err(Error::record(path, expected))
        }
    }
}
