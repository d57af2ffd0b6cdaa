//! `fgmf.toml`: what flags say of a model's images, in a file beside the model.
//!
//! ```toml
//! scale = 255
//! mean = [123.7, 116.3, 103.5]
//! std = [58.4, 57.1, 57.4]
//! bgr = true
//! labels = "names.txt"       # beside this file
//! crop_pct = 0.875
//! interpolation = "bicubic"
//! output = "probabilities"   # of a file with several outputs
//! input_size = "224x192"     # of a file that leaves it free
//! ```

use crate::data::scaling::{Interpolation, Scaling};
use crate::error::{Error, Result};
use crate::input::reading::{numbers, text};
use crate::record::Preprocessing;
use fgmf_net::onnx::ReadOptions;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Its name.
pub(crate) const NAME: &str = "fgmf.toml";

const KEYS: [&str; 9] = [
    "scale",
    "mean",
    "std",
    "bgr",
    "labels",
    "crop_pct",
    "interpolation",
    "output",
    "input_size",
];

/// What the file says.
#[derive(Default)]
pub(crate) struct SettingsFile {
    pub(crate) preprocessing: Option<Preprocessing>,
    pub(crate) scaling: Option<Scaling>,
    /// The file of class names.
    pub(crate) labels: Option<PathBuf>,
}

/// What the file at `path` says of how a model is read, before its images are known.
///
/// # Errors
/// [`Error::Record`] when it is no TOML, or a value is none.
pub(crate) fn options(path: &Path) -> Result<ReadOptions> {
    let Some(text) = text(path)? else {
        return Ok(ReadOptions::default());
    };
    let v: Value = toml::from_str(&text).map_err(|e| Error::record(path, e))?;
    let output = match v.get("output") {
        None => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(found) => {
            let expected = format!("expected `output` as text, found {found}");
            return Err(Error::record(path, expected));
        }
    };
    let size = v.get("input_size").map(|size| match size {
        Value::String(text) => ReadOptions::parse_size(text),
        other => ReadOptions::parse_size(&other.to_string()),
    });
    let size = size.transpose();
    let size = size.map_err(|e| Error::record(path, format!("`input_size`: {e}")))?;
    Ok(ReadOptions { output, size })
}

/// What the file at `path` says for a model of images of this shape; `None` where there is none.
///
/// # Errors
/// [`Error::Record`] when it is no TOML, has a key that is not known, or a value that is none.
pub(crate) fn read(path: &Path, shape: [usize; 3]) -> Result<Option<SettingsFile>> {
    let Some(text) = text(path)? else {
        return Ok(None);
    };
    let v: Value = toml::from_str(&text).map_err(|e| Error::record(path, e))?;
    let keys = v.as_object().into_iter().flat_map(|o| o.keys());
    if let Some(odd) = keys.into_iter().find(|k| !KEYS.contains(&k.as_str())) {
        let known = KEYS.join(", ");
        return Err(Error::record(
            path,
            format!("expected {known}, found `{odd}`"),
        ));
    }
    let wrong = |key: &str, kind: &str| {
        let found = &v[key];
        Error::record(path, format!("expected `{key}` as {kind}, found {found}"))
    };
    // A key whose value JSON has no word for reads as null.
    let stated = |key: &str| v.get(key).is_some();
    let number = |key: &'static str| match v[key].as_f64() {
        None if stated(key) => Err(wrong(key, "a number")),
        found => Ok(found),
    };
    let word = |key: &'static str| match v[key].as_str() {
        None if stated(key) => Err(wrong(key, "text")),
        found => Ok(found),
    };
    let bgr = match v["bgr"].as_bool() {
        None if stated("bgr") => return Err(wrong("bgr", "true or false")),
        found => found,
    };
    let list = |key: &'static str| match numbers(&v, key, shape[0], path)? {
        None if stated(key) => Err(wrong(key, "numbers")),
        found => Ok(found),
    };
    let (scale, mean, std) = (number("scale")?, list("mean")?, list("std")?);
    let none = Preprocessing::none(shape[0]);
    let any = scale.is_some() || mean.is_some() || std.is_some() || bgr.is_some();
    let (crop_pct, interpolation) = (number("crop_pct")?, word("interpolation")?);
    let scaling = (crop_pct.is_some() || interpolation.is_some()).then(|| {
        let interpolation = interpolation.map_or(Ok(Interpolation::Bilinear), str::parse)?;
        Scaling::cropped(shape, crop_pct.unwrap_or(1.0), interpolation)
    });
    let labels = word("labels")?;
    Ok(Some(SettingsFile {
        preprocessing: any.then(|| Preprocessing {
            scale: scale.unwrap_or(none.scale),
            mean: mean.unwrap_or(none.mean),
            std: std.unwrap_or(none.std),
            bgr: bgr.unwrap_or(none.bgr),
        }),
        scaling: scaling.transpose().map_err(|e| Error::record(path, e))?,
        labels: labels.map(|file| path.with_file_name(file)),
    }))
}
