//! Statements about files that others can check: canonical JSON, digests, signatures, envelopes.

pub(crate) mod canonical;
pub(crate) mod envelope;
pub(crate) mod files;
pub(crate) mod keys;
pub(crate) mod statement;

pub use canonical::canonical_json;
pub use envelope::{PAYLOAD_TYPE, open_bundle, pre_authentication, sign_bundle};
pub use files::{FileDigest, FileFault, digest_files, digest_of, faults, file_at};
pub use keys::{PrivateKey, PublicKey};
pub use statement::{Statement, audit_statement};
