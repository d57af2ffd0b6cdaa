//! Errors of networks: building, reading, running.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What is wrong with a network or with how it was asked to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node's operator, attributes or input shapes are wrong.
    #[error("node `{node}` ({operator}): {reason}")]
    Node {
        /// Name of the node.
        node: String,
        /// Operator name as in ONNX.
        operator: String,
        /// Expected and found.
        reason: String,
    },

    /// The graph as a whole is wrong.
    #[error("graph: {0}")]
    Graph(String),

    /// A file's operator set is none of those that are read.
    #[error("graph: expected operator set {least} to {most}, found {found}")]
    OperatorSet {
        /// First that is read.
        least: i64,
        /// Last that is read.
        most: i64,
        /// The file's.
        found: i64,
    },

    /// A model would be read if it had been exported otherwise.
    #[error("graph: {reason}")]
    Export {
        /// What went wrong in the export.
        fault: ExportFault,
        /// Expected and found.
        reason: String,
    },

    /// A file is not an ONNX model that we can read.
    #[error("{}: {}", path.display(), without_kind(source))]
    File {
        /// File.
        path: PathBuf,
        /// What is wrong with what is in it.
        source: Box<Error>,
    },

    /// The network was called with arrays that do not fit it.
    #[error("{operation}: expected {expected}, found {found}")]
    Call {
        /// What was asked for.
        operation: &'static str,
        /// What fits.
        expected: String,
        /// What came.
        found: String,
    },

    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
}

/// What can go wrong when a model is exported to ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFault {
    /// The images are not floating-point numbers.
    Precision,
    /// Stored numbers lie in another file.
    ExternalData,
    /// The file is a pointer of Git LFS.
    Pointer,
    /// The network was exported as it trains.
    TrainingMode,
    /// The scores are asked for by a name that no output has.
    Output,
    /// The file leaves the size of its images free, or fixes another one than is stated.
    Size,
}

/// The text of an error whose file is named: that a graph is wrong goes without saying.
fn without_kind(error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix("graph: ")
        .map_or(text.clone(), str::to_owned)
}

impl Error {
    /// [`Error::Call`] from anything printable.
    pub fn call(operation: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Call {
            operation,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    pub(crate) fn node(node: &str, operator: &str, reason: impl ToString) -> Self {
        Self::Node {
            node: node.to_owned(),
            operator: operator.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
