//! Records of finished runs: the same run may be made again, another one's record is not
//! overwritten.

use crate::error::{Error, Result};
use crate::store::atomic;
use crate::store::journal::differences;
use std::path::Path;

/// An error if a record stands at `path` that belongs to another run.
///
/// `own` names what makes the run: fields of the record, nested as in it. Fields of the record that
/// `own` lacks may be anything. An error names the fields that differ.
pub fn refuse_another(path: &Path, own: &serde_json::Value) -> Result<()> {
    let Some(bytes) = atomic::read_if_there(path)? else {
        return Ok(());
    };
    let refused = |found: String| {
        let way = "choose another folder, or delete the file";
        let text = format!("expected no finished run but this one, found {found}; {way}");
        Error::record(path, text)
    };
    let found = serde_json::from_slice(&bytes).map_err(|e| refused(format!("no record ({e})")))?;
    // Read as the other is: a number may be read as its neighbour.
    let own = serde_json::from_str(&own.to_string()).map_err(|e| Error::record(path, e))?;
    let others = differences(&own, &found);
    if others.is_empty() {
        return Ok(());
    }
    Err(refused(format!("one with another {}", others.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_run_passes_and_another_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluation.json");
        let own = json!({"model": {"sha256": "a"}, "seed": 1});
        refuse_another(&path, &own).unwrap();
        let same = json!({"model": {"sha256": "a", "file": "m"}, "seed": 1, "rows": []});
        std::fs::write(&path, same.to_string()).unwrap();
        refuse_another(&path, &own).unwrap();
        let other = json!({"model": {"sha256": "b"}, "seed": 2});
        std::fs::write(&path, other.to_string()).unwrap();
        let error = refuse_another(&path, &own).unwrap_err().to_string();
        assert!(error.contains("another model.sha256, seed"), "{error}");
        std::fs::write(&path, "{").unwrap();
        let error = refuse_another(&path, &own).unwrap_err().to_string();
        assert!(error.contains("no record"), "{error}");
    }
}
