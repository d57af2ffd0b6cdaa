//! Adversarial points that something other than the attacks of a suite found.

/// A point that may be adversarial. It counts once it has been projected and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// Position of the example in the data set.
    pub example: usize,
    /// Who found it, as in the rows of a suite.
    pub finder: String,
    /// The image.
    pub point: Vec<f32>,
}
