//! What can keep a record from being drawn.

/// Result of drawing.
pub type Result<T> = std::result::Result<T, Error>;

/// What was being drawn, what was needed and what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{drawing}: expected {expected}, found {found}")]
pub struct Error {
    /// What was being drawn.
    pub drawing: &'static str,
    /// What was needed.
    pub expected: &'static str,
    /// What was given.
    pub found: String,
}

impl Error {
    pub(crate) fn new(drawing: &'static str, expected: &'static str, found: impl ToString) -> Self {
        Self {
            drawing,
            expected,
            found: found.to_string(),
        }
    }
}
