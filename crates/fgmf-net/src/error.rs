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

    /// A file is not an ONNX model that we can read.
    #[error("{}: {reason}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Expected and found.
        reason: String,
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
