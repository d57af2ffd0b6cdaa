//! What a model expects of its images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done to an image with values from 0 to 1 before a model's own graph sees it:
/// (`scale` · x − `mean`) / `std`, a channel at a time, with the channels in the order that the
/// model takes. Mean and deviation are in units of the scaled values, as training code states them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Largest value of a pixel: 1, or 255 for models that take bytes.
    pub scale: f64,
    /// Mean, one a channel of the model.
    pub mean: Vec<f64>,
    /// Deviation, one a channel of the model.
    pub std: Vec<f64>,
    /// Whether the model takes blue first.
    pub bgr: bool,
}

impl Preprocessing {
    /// What changes nothing, for this many channels.
    pub fn none(channels: usize) -> Self {
        Self {
            scale: 1.0,
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            bgr: false,
        }
    }

    /// Whether images pass as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::none(self.mean.len())
    }

    /// The flags that ask for it, as they are typed.
    pub fn flags(&self) -> String {
        let list = |v: &[f64]| {
            let all: Vec<String> = v.iter().map(f64::to_string).collect();
            all.join(",")
        };
        let colours = if self.bgr { " --bgr" } else { "" };
        format!(
            "--scale {} --mean {} --std {}{colours}",
            self.scale,
            list(&self.mean),
            list(&self.std)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_what_is_typed() {
        let caffe = Preprocessing {
            scale: 255.0,
            mean: vec![104.0, 117.0, 123.0],
            std: vec![1.0; 3],
            bgr: true,
        };
        let expected = "--scale 255 --mean 104,117,123 --std 1,1,1 --bgr";
        assert_eq!(caffe.flags(), expected);
        assert!(!caffe.is_none() && Preprocessing::none(3).is_none());
    }
}
