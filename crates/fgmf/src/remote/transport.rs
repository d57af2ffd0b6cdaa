//! What carries images to a model and scores back.

use serde::{Deserialize, Serialize};

/// What a model answers with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreKind {
    /// Unbounded scores, one a class.
    #[default]
    Logits,
    /// Probabilities, one a class. Their logarithms are taken for logits.
    Probabilities,
    /// The number of the class named, one an image.
    Label,
}

/// What a model says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Facts {
    /// `[c, h, w]`.
    pub(crate) image_shape: [usize; 3],
    pub(crate) classes: usize,
    pub(crate) scores: ScoreKind,
    /// Whatever else tells it from another model.
    pub(crate) id: String,
}

/// Largest side of an image, number of channels or of classes that is believed.
const LARGEST: usize = 1 << 20;

impl Facts {
    /// A failure unless the numbers can be those of a classifier.
    pub(crate) fn check(self) -> Result<Self, Failure> {
        let [c, h, w] = self.image_shape;
        let sides = [c, h, w].iter().all(|s| (1..=LARGEST).contains(s));
        let whole = c.checked_mul(h).and_then(|p| p.checked_mul(w));
        if !sides || whole.is_none_or(|p| p > 1 << 28) {
            let found = format!("{:?}", self.image_shape);
            return Err(Failure::lasting(
                "images of shape [c, h, w], 1 or more each",
                found,
            ));
        }
        if !(2..=LARGEST).contains(&self.classes) {
            return Err(Failure::lasting("2 classes or more", self.classes));
        }
        Ok(self)
    }
}

/// Scores as they came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) expected: String,
    pub(crate) found: String,
    /// Whether it may pass, so that the same request is worth sending again.
    pub(crate) passing: bool,
}

impl Failure {
    pub(crate) fn lasting(expected: impl ToString, found: impl ToString) -> Self {
        Self {
            expected: expected.to_string(),
            found: found.to_string(),
            passing: false,
        }
    }

    pub(crate) fn passing(expected: impl ToString, found: impl ToString) -> Self {
        Self {
            passing: true,
            ..Self::lasting(expected, found)
        }
    }
}

/// A way to a model.
pub(crate) trait Transport: Send {
    /// What the model says of itself.
    fn facts(&self) -> &Facts;

    /// Scores of `n` images, `[n, c, h, w]` row by row. The answer is as it came.
    fn ask(&mut self, n: usize, images: &[f32]) -> Result<Reply, Failure>;
}

/// The beginning of a text, for an error.
pub(crate) fn beginning(text: &str) -> String {
    let text = text.trim();
    let short: String = text.chars().take(200).collect();
    let more = if short.len() < text.len() { " …" } else { "" };
    format!("`{short}{more}`")
}
