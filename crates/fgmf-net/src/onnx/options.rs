//! What a reader says of a file that leaves something open.

/// Metadata entry that names the output that gives the scores, for files that have several.
pub const OUTPUT_KEY: &str = "fgmf.output";

/// What is taken of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// Name of the output that gives the scores; without one see the module's description.
    pub output: Option<String>,
}
