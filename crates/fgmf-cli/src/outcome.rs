//! How a command that did not fail ended.

/// Decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It ran, but a threshold that was asked for does not hold.
    BelowThreshold,
    /// It ran, but some of the pictures named could not be read.
    Incomplete,
}
