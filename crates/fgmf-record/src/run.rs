//! What a run was made of: model, data, threat, methods, machine.

use crate::preprocessing::Preprocessing;
use crate::words::{Norm, Split};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelFile {
    /// Path as given.
    pub file: String,
    /// Hash of the file, hexadecimal.
    pub sha256: String,
    /// What was done to images before the file's own graph saw them; absent if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// The output that was taken for the scores; absent if none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Height and width of the images, where the file leaves them free; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_size: Option<[usize; 2]>,
}

/// The data a run used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataRecord {
    /// Name or path as given.
    pub name: String,
    /// Its part.
    pub split: Split,
    /// Examples used.
    pub n: usize,
    /// Hash of the pixels and labels used, hexadecimal.
    pub sha256: String,
    /// Class names, by label.
    pub classes: Vec<String>,
    /// How the examples were chosen among those of the split; absent for all, or for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Files that were left out because they could not be used, with the reason; absent if none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl DataRecord {
    /// The name of a class, or its number if it has none.
    pub fn class_name(&self, label: usize) -> String {
        let name = self.classes.get(label);
        name.cloned().unwrap_or_else(|| unnamed_class(label))
    }
}

/// A class of which only the number is known.
pub(crate) fn unnamed_class(label: usize) -> String {
    format!("class {label}")
}

/// What the attacker may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreatRecord {
    /// Norm of a perturbation.
    pub norm: Norm,
    /// Radius, in input units.
    pub eps: f64,
    /// Smallest and largest pixel value.
    pub bounds: [f64; 2],
}

/// The machine a run was made on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Processor as the system names it.
    pub cpu: String,
    /// Threads used.
    pub threads: usize,
}

/// What decides the bytes of a result besides settings, data and version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuildRecord {
    /// Rises by one whenever numbers move.
    pub numerics: u32,
    /// Of the single-precision kernels: `avx512`, `avx2` or `portable`.
    pub instruction_set: String,
}

/// A method and every setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MethodRecord {
    /// Id.
    pub id: String,
    /// Settings.
    pub parameters: serde_json::Value,
}
