//! `fgmf verify` and `fgmf compare`.

use crate::arguments::{Arguments, Compare, Verify};
use crate::commands::audit_table::{comparison, verified};
use crate::commands::memory::images_at_once;
use crate::commands::model::{UserModel, identity};
use crate::commands::shared::{data_for, data_record};
use crate::commands::sign::entropy;
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::attest::PublicKey;
use fgmf::explain::Work;
use fgmf::study::{
    AuditJob, POLICY, Policy, VerifiedRow, compare_audits, read_audit, verify_checks, verify_files,
    verify_images, verify_searches,
};
use fgmf_net::Session;
use fgmf_record::AuditRecord;
use serde_json::json;

pub(crate) fn run(global: &Arguments, a: &Verify) -> Result<Outcome> {
    let key = match &a.key {
        None => None,
        Some(path) => {
            let pem = std::fs::read_to_string(path).map_err(Error::io(path))?;
            Some(PublicKey::from_pem(path, &pem)?)
        }
    };
    let mut not_made = Vec::new();
    if key.is_none() {
        not_made.push("the signature: no --key was given, so anybody may have written this");
    }
    let mut rows = verify_files(&a.audit, key.as_ref())?;
    let whole = |rows: &[VerifiedRow]| rows.iter().all(|r| r.faults.is_empty());
    if whole(&rows) {
        let record = read_audit(&a.audit)?;
        rows.push(verify_checks(&a.audit, &record)?);
        match (&a.model, &a.data) {
            (Some(_), Some(_)) => rows.extend(with_model(global, a, &record)?),
            _ => not_made.push("images and searches: they need --model and --data"),
        }
    } else {
        not_made.push("everything behind the files, because they are not as they were written");
    }
    let text = if global.json {
        let row = |r: &VerifiedRow| json!({ "what": r.what, "faults": r.faults });
        let rows: Vec<_> = rows.iter().map(row).collect();
        serde_json::to_string_pretty(&json!({ "rows": rows, "not_made": not_made }))?
    } else {
        verified(&rows, &not_made)
    };
    console::result(&text)?;
    Ok(if whole(&rows) {
        Outcome::Done
    } else {
        Outcome::BelowThreshold
    })
}

fn with_model(global: &Arguments, a: &Verify, record: &AuditRecord) -> Result<Vec<VerifiedRow>> {
    let (Some(path), Some(data)) = (&a.model, &a.data) else {
        return Ok(Vec::new());
    };
    let policy = a.audit.join(POLICY);
    let bytes = std::fs::read(&policy).map_err(Error::io(&policy))?;
    let policy = Policy::read(&policy, &bytes)?;
    let model = UserModel::open(path, &a.input)?;
    let data = data_for(&model.net, data, "test", policy.images, model.fit)?;
    let (file, mut net) = (model.file, Session::new(model.net));
    let held = 64 * data.len() + 5120 * data.shape().iter().product::<usize>();
    let cap = images_at_once(&mut [&mut net], None, 256, held, Work::ATTACK)?;
    let job = AuditJob {
        net: &net,
        file: &file,
        identity: &identity(&file),
        data: &data,
        facts: &data_record(&data),
        policy: &policy,
        folder: &a.audit,
        cap,
    };
    let mut rows = verify_images(&job, record)?;
    if rows.iter().any(|r| !r.faults.is_empty()) {
        return Ok(rows);
    }
    // A sample that can be foreseen can be prepared for.
    let seed = match a.seed {
        Some(seed) => seed,
        None => {
            let bytes = entropy()?;
            u64::from_le_bytes(std::array::from_fn(|i| bytes[i]))
        }
    };
    let bar = console::bar(global.quiet, record.robustness.len(), "searching");
    let mut watch = |done: usize, _: usize| bar.set_position(done as u64);
    rows.extend(verify_searches(&job, record, (a.sample, seed), &mut watch)?);
    bar.finish_and_clear();
    Ok(rows)
}

pub(crate) fn compare(global: &Arguments, a: &Compare) -> Result<Outcome> {
    let found = compare_audits(&read_audit(&a.first)?, &read_audit(&a.second)?)?;
    let text = if global.json {
        serde_json::to_string_pretty(&found)?
    } else {
        comparison(&found)
    };
    console::result(&text)?;
    Ok(Outcome::Done)
}
