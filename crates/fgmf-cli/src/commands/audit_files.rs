//! The files of an audit beside its images.

use anyhow::Result;
use fgmf::attest::{audit_statement, digest_files, digest_of};
use fgmf::store::{remove, write};
use fgmf::study::{AUDIT, BUNDLE, POLICY, STATEMENT};
use fgmf_record::AuditRecord;
use std::path::Path;

/// Writes everything that follows from a record: the record itself, its schema, the report, the
/// files for other tools, and last the statement about all of them. A signature of an earlier
/// statement goes. Gives the text of the record.
pub(super) fn write_bundle(folder: &Path, model: &Path, record: &AuditRecord) -> Result<String> {
    let text = serde_json::to_string_pretty(record)? + "\n";
    let schema = serde_json::to_string_pretty(&AuditRecord::schema())? + "\n";
    let files = [
        (AUDIT, text.clone()),
        ("audit.schema.json", schema),
        ("report.html", fgmf_report::render_audit(record)),
        ("bom.cdx.json", fgmf_report::cyclonedx(record)),
        ("junit.xml", fgmf_report::junit(record)),
        ("metrics.prom", fgmf_report::open_metrics(record)),
        ("card.yaml", fgmf_report::model_card(record)),
        ("check.py", fgmf_report::check_script(record)),
    ];
    let mut names = vec![POLICY.to_owned()];
    names.extend(record.robustness.iter().map(|r| r.adversarial.clone()));
    for (name, text) in &files {
        write(&folder.join(name), text.as_bytes())?;
        names.push((*name).to_owned());
    }
    names.sort_unstable();
    let digests = digest_files(folder, &names)?;
    let statement = audit_statement(record, &digest_of(model)?, &digests)?;
    let path = folder.join(STATEMENT);
    let before = std::fs::read(&path).unwrap_or_default();
    if before != statement.as_bytes() {
        remove(&folder.join(BUNDLE))?;
    }
    write(&path, statement.as_bytes())?;
    Ok(text)
}
