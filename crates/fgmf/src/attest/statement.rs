//! What an audit says of a model, as an in-toto statement v1 with a test result.
//!
//! The subject is the model's file. Tests are the checks of the policy. The files of the bundle are
//! an extension of the predicate, `fgmf`: readers who do not know it ignore it.

use crate::attest::canonical::canonical_json;
use crate::attest::files::FileDigest;
use crate::error::{Error, Result};
use crate::record::{AuditRecord, CheckOutcome};
use serde_json::{Value, json};
use std::path::Path;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";

fn resource(name: &str, sha256: &str) -> Value {
    json!({ "name": name, "digest": { "sha256": sha256 } })
}

/// The statement of an audit, as the bytes that are signed. `model_sha256` is that of the model's
/// file as it lies on the disk, and `files` are those of the bundle.
pub fn audit_statement(
    record: &AuditRecord,
    model_sha256: &str,
    files: &[FileDigest],
) -> Result<String> {
    let of = |outcome: CheckOutcome| -> Vec<&str> {
        let checks = record.checks.iter().filter(|c| c.outcome == outcome);
        checks.map(|c| c.id.as_str()).collect()
    };
    let name = Path::new(&record.model.file).file_name();
    let name = name.map_or_else(|| "model".into(), |n| n.to_string_lossy());
    let evidence = files.iter().map(|f| resource(&f.name, &f.sha256));
    let data = &record.data;
    let statement = json!({
        "_type": STATEMENT,
        "subject": [resource(&name, model_sha256)],
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": record.outcome.name(),
            "configuration": [
                resource("policy.toml", &record.policy.sha256),
                resource(&format!("{} ({})", data.name, data.split), &data.sha256),
            ],
            "passedTests": of(CheckOutcome::Passed),
            "warnedTests": of(CheckOutcome::Warned),
            "failedTests": of(CheckOutcome::Failed),
            "fgmf": {
                "version": record.version,
                "model": record.model.sha256,
                "evidence": evidence.collect::<Vec<_>>(),
            },
        },
    });
    canonical_json(&statement)
}

/// A statement that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// SHA-256 of the model's file.
    pub model_sha256: String,
    /// Result in a word.
    pub result: String,
    /// Ids of the checks by outcome: passed, warned, failed.
    pub tests: [Vec<String>; 3],
    /// The files of the bundle.
    pub files: Vec<FileDigest>,
}

impl Statement {
    /// Reads the bytes of a statement; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Record`] when it is no statement of an audit.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Self> {
        let wrong = || {
            Error::record(
                path,
                "expected an in-toto statement of an audit, found none",
            )
        };
        let value: Value = serde_json::from_slice(bytes).map_err(|_| wrong())?;
        let text = |v: &Value, at: &str| v.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let is = |at: &str, expected: &str| text(&value, at).as_deref() == Some(expected);
        if !is("/_type", STATEMENT) || !is("/predicateType", TEST_RESULT) {
            return Err(wrong());
        }
        let list = |at: &str| {
            value
                .pointer(at)
                .and_then(Value::as_array)
                .ok_or_else(wrong)
        };
        let tests = |at: &str| -> Result<Vec<String>> {
            let ids = list(at)?.iter().map(|v| v.as_str().map(str::to_owned));
            ids.collect::<Option<_>>().ok_or_else(wrong)
        };
        let file = |v: &Value| {
            Some(FileDigest {
                name: text(v, "/name")?,
                sha256: text(v, "/digest/sha256")?,
            })
        };
        let files = list("/predicate/fgmf/evidence")?.iter().map(file);
        Ok(Self {
            model_sha256: text(&value, "/subject/0/digest/sha256").ok_or_else(wrong)?,
            result: text(&value, "/predicate/result").ok_or_else(wrong)?,
            tests: [
                tests("/predicate/passedTests")?,
                tests("/predicate/warnedTests")?,
                tests("/predicate/failedTests")?,
            ],
            files: files.collect::<Option<_>>().ok_or_else(wrong)?,
        })
    }
}
