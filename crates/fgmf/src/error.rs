//! The one error type of the library: misuse and input/output. How an attack or a training run
//! *ended* is data, not an error.

use std::path::{Path, PathBuf};

/// Result of the library.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network could not be read, checked or run.
    #[error(transparent)]
    Network(#[from] fgmf_net::Error),

    /// A data set, image or label file is not what it claims to be.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Data {
        /// File or folder.
        path: PathBuf,
        /// What a valid file has here.
        expected: String,
        /// What this file has.
        found: String,
    },

    /// A parameter is out of its documented range.
    #[error("parameter `{name}`: expected {expected}, found {found}")]
    Parameter {
        /// Parameter as written in a config or on the command line.
        name: &'static str,
        /// The documented range.
        expected: String,
        /// The value given.
        found: String,
    },

    /// Two things that must fit together do not (shapes, classes, counts).
    #[error("{operation}: expected {expected}, found {found}")]
    Mismatch {
        /// What was being done.
        operation: &'static str,
        /// What was needed.
        expected: String,
        /// What was given.
        found: String,
    },

    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },

    /// An oracle's budget of forward passes is used up. Attacks turn this into an ending; it
    /// reaches callers of a bare oracle.
    #[error("the budget of {limit} forward passes is used up")]
    Budget {
        /// The budget, in examples.
        limit: u64,
    },

    /// A model behind an address did not answer as it should.
    #[error("{address}: expected {expected}, found {found}")]
    Remote {
        /// The address as given.
        address: String,
        /// What an answer has here.
        expected: String,
        /// What came.
        found: String,
    },

    /// A stored run, record or config cannot be used.
    #[error("{}: {reason}", path.display())]
    Record {
        /// File.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl From<crate::record::UnknownWord> for Error {
    fn from(unknown: crate::record::UnknownWord) -> Self {
        Self::parameter(unknown.parameter, unknown.expected, unknown.found)
    }
}

impl Error {
    /// [`Error::Data`] from anything printable.
    pub fn data(path: &Path, expected: impl ToString, found: impl ToString) -> Self {
        Self::Data {
            path: path.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// [`Error::Parameter`] from anything printable.
    pub fn parameter(name: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Parameter {
            name,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// [`Error::Mismatch`] from anything printable.
    pub fn mismatch(
        operation: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Mismatch {
            operation,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Wraps an [`std::io::Error`] with the path it is about.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// [`Error::Record`] from anything printable.
    pub fn record(path: &Path, reason: impl ToString) -> Self {
        Self::Record {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
