//! An audit held against its files, its model and its data.
//!
//! What was found proves "at most": an image inside the ball that the model gets wrong needs no
//! trust in whoever searched. That nothing was found elsewhere is a claim about searches. A random
//! sample of them is run once more and has to give the same bytes.

use crate::attest::envelope::open_bundle;
use crate::attest::files::{FileFault, digest_of, faults, file_at};
use crate::attest::keys::PublicKey;
use crate::attest::statement::{Statement, audit_statement};
use crate::error::{Error, Result};
use crate::model::answer::misclassified;
use crate::record::{AuditExample, AuditRecord, RobustnessRow};
use crate::rng::{Purpose, Stream};
use crate::store::atomic::read_if_there;
use crate::study::adversarial::read_adversarial;
use crate::study::audit::answers::answers;
use crate::study::audit::checks;
use crate::study::audit::job::{AUDIT, AuditJob, POLICY, ScoredNet};
use crate::study::audit::policy::Policy;
use crate::study::suite::search_again;
use crate::study::suites::suite;
use std::path::Path;

/// Name of the statement in the folder of an audit.
pub const STATEMENT: &str = "statement.json";
/// Name of the signed statement there.
pub const BUNDLE: &str = "bundle.sigstore.json";

/// Images in a model call.
const CALL: usize = 256;

/// Something that was held against what the audit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRow {
    /// What was looked at.
    pub what: String,
    /// What was wrong, each with the name of a file or the number of an image; empty if nothing.
    pub faults: Vec<String>,
}

fn row(what: impl Into<String>, faults: Vec<String>) -> VerifiedRow {
    VerifiedRow {
        what: what.into(),
        faults,
    }
}

fn named(fault: FileFault) -> String {
    format!("{} {}", fault.name, fault.what)
}

fn text_of(path: &Path) -> Result<String> {
    let none = || Error::record(path, "expected a file of an audit, found none");
    let bytes = read_if_there(path)?.ok_or_else(none)?;
    String::from_utf8(bytes).map_err(|_| Error::record(path, "expected text, found other bytes"))
}

/// The record of an audit.
///
/// # Errors
/// [`Error::Record`] when the folder has none, or it is none.
pub fn read_audit(folder: &Path) -> Result<AuditRecord> {
    let path = folder.join(AUDIT);
    serde_json::from_str(&text_of(&path)?).map_err(|e| Error::record(&path, e))
}

/// The files of a folder against its statement, and the statement against its signature, if there
/// is a key. Needs neither model nor data. A fault names its file.
pub fn verify_files(folder: &Path, key: Option<&PublicKey>) -> Result<Vec<VerifiedRow>> {
    let path = folder.join(STATEMENT);
    let statement = text_of(&path)?;
    let mut out = Vec::new();
    if let Some(key) = key {
        let signed = folder.join(BUNDLE);
        let opened = text_of(&signed).and_then(|text| open_bundle(&signed, &text, key));
        let faults = match opened {
            Err(e) => vec![e.to_string()],
            Ok(payload) if payload != statement.as_bytes() => {
                vec![format!("{STATEMENT} is not what {BUNDLE} signs")]
            }
            Ok(_) => Vec::new(),
        };
        out.push(row("the signature of the statement", faults));
    }
    let read = match Statement::read(&path, statement.as_bytes()) {
        Ok(read) => read,
        Err(e) => {
            out.push(row("the statement", vec![e.to_string()]));
            return Ok(out);
        }
    };
    let found = faults(folder, &read.files, &[STATEMENT, BUNDLE])?;
    let number = read.files.len();
    out.push(row(
        format!("the digests of {number} files"),
        found.into_iter().map(named).collect(),
    ));
    let own = read_audit(folder)
        .and_then(|record| audit_statement(&record, &read.model_sha256, &read.files));
    let faults = match own {
        Ok(own) if own == statement => Vec::new(),
        Ok(_) => vec![format!("{STATEMENT} says something other than {AUDIT}")],
        Err(e) => vec![e.to_string()],
    };
    out.push(row("the statement against the record", faults));
    Ok(out)
}

/// The record against its policy: the hash, and every check from its figures once more.
pub fn verify_checks(folder: &Path, record: &AuditRecord) -> Result<VerifiedRow> {
    let path = folder.join(POLICY);
    let policy = Policy::read(&path, text_of(&path)?.as_bytes())?;
    let mut wrong = Vec::new();
    if policy.sha256 != record.policy.sha256 {
        wrong.push(format!("{POLICY} is not the policy of {AUDIT}"));
    }
    let masking = record
        .robustness
        .iter()
        .map(|r| checks::masking(&r.eps, &r.verdict, policy.worst_verdict));
    let thresholds = policy.thresholds.iter();
    let thresholds = thresholds.map(|t| checks::threshold(t, &record.figures));
    let own: Vec<_> = masking.chain(thresholds).collect();
    if own != record.checks || checks::worst(&own) != record.outcome {
        wrong.push(format!(
            "{AUDIT}: its checks do not follow from its figures"
        ));
    }
    Ok(row("the checks, from the figures and the policy", wrong))
}

/// The record against the model and the data: hashes, answers on clean images, and every stored
/// image that broke the model, once more.
pub fn verify_images(job: &AuditJob<'_>, record: &AuditRecord) -> Result<Vec<VerifiedRow>> {
    let mut wrong = Vec::new();
    if job.file.sha256 != record.model.sha256 || job.file != &unnamed(record, job) {
        wrong.push(format!(
            "{AUDIT} is about another model, or another preparation of images"
        ));
    }
    if job.facts.sha256 != record.data.sha256 {
        wrong.push(format!("{AUDIT} is about other images"));
    }
    if record.examples.len() != job.data.len() {
        wrong.push(format!("{AUDIT} has {} images", record.examples.len()));
    }
    let stop = !wrong.is_empty();
    let mut out = vec![row("the model and the data", wrong)];
    if stop {
        return Ok(out);
    }
    let clean = answers(job, &ScoredNet::of(job.net)?, None, &mut |_| ())?;
    let differs = |e: &&AuditExample| {
        let i = e.index;
        e.label != job.data.label(i)
            || e.predicted != clean.predicted[i]
            || e.right != clean.right[i]
    };
    let mut wrong: Vec<String> = record
        .examples
        .iter()
        .filter(differs)
        .map(|e| format!("{AUDIT}: image {} is answered in another way", e.index))
        .collect();
    let right = clean.right.iter().filter(|r| **r).count();
    wrong.extend(count(record, "accuracy", right));
    out.push(row(
        format!("the answers to {} clean images", clean.right.len()),
        wrong,
    ));
    for (k, robustness) in record.robustness.iter().enumerate() {
        out.push(at_radius(job, record, (k, robustness))?);
    }
    Ok(out)
}

/// The model's record under the name by which the job was given it.
fn unnamed(record: &AuditRecord, job: &AuditJob<'_>) -> crate::record::ModelFile {
    crate::record::ModelFile {
        file: job.file.file.clone(),
        ..record.model.clone()
    }
}

/// A fault where a figure counts otherwise.
fn count(record: &AuditRecord, id: &str, found: usize) -> Option<String> {
    let stated = record.figure(id).and_then(|f| f.count);
    let text = || {
        let stated = stated.map_or_else(|| "nothing".into(), |c| c.to_string());
        format!("{AUDIT}: `{id}` counts {stated}, and {found} were counted")
    };
    (stated != Some(found)).then(text)
}

fn at_radius(
    job: &AuditJob<'_>,
    record: &AuditRecord,
    (k, robustness): (usize, &RobustnessRow),
) -> Result<VerifiedRow> {
    let what = format!("every stored image at eps {}, once more", robustness.eps);
    let path = file_at(job.folder, &robustness.adversarial)?;
    let name = &robustness.adversarial;
    let stored = digest_of(&path);
    if stored.as_ref().ok() != Some(&robustness.adversarial_sha256) {
        return Ok(row(
            what,
            vec![format!("{name} is not the file that {AUDIT} names")],
        ));
    }
    let threat = job.threat(robustness.threat.eps)?;
    // Labels, the clean images, the ball and its bounds are checked as the file is read.
    let kept = match read_adversarial(&path, job.data, &threat, job.identity, false) {
        Ok(kept) => kept,
        Err(e) => return Ok(row(what, vec![format!("{name}: {e}")])),
    };
    let mut wrong = Vec::new();
    let mut stand = 0;
    for start in (0..job.data.len()).step_by(CALL.min(job.cap.max(1))) {
        let n = CALL.min(job.cap.max(1)).min(job.data.len() - start);
        let labels = &job.data.labels()[start..start + n];
        let logits = job.net.logits(&kept.x.rows(start, n))?;
        for (i, missed) in misclassified(&logits, labels).into_iter().enumerate() {
            let example = &record.examples[start + i];
            stand += usize::from(!missed);
            if example.robust.get(k) != Some(&!missed) {
                let (said, found) = if missed {
                    ("stands", "is wrong")
                } else {
                    ("fell", "is right")
                };
                let i = start + i;
                wrong.push(format!(
                    "{name}: image {i} {said} by {AUDIT}, and {found} here"
                ));
            }
        }
    }
    wrong.extend(count(
        record,
        &format!("robust-accuracy@{}", robustness.eps),
        stand,
    ));
    Ok(row(what, wrong))
}

/// Searches of `sample` images at each radius, drawn by `seed`, run once more: each has to end as
/// the record and the stored images say, bit for bit.
pub fn verify_searches(
    job: &AuditJob<'_>,
    record: &AuditRecord,
    (sample, seed): (usize, u64),
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Vec<VerifiedRow>> {
    let entries = suite(&job.policy.suite, job.net, job.policy.norm)?;
    let mut out = Vec::new();
    let radii = record.robustness.len();
    for (k, robustness) in record.robustness.iter().enumerate() {
        watch(k, radii);
        let right = record.examples.iter().filter(|e| e.right);
        let right: Vec<usize> = right.map(|e| e.index).collect();
        let mut draws = Stream::new(seed, Purpose::Evaluation, k as u64, 0);
        let order = draws.permutation(right.len());
        let mut rows: Vec<usize> = order.into_iter().take(sample).map(|i| right[i]).collect();
        rows.sort_unstable();
        let what = format!(
            "the searches of {} images at eps {}",
            rows.len(),
            robustness.eps
        );
        if rows.is_empty() {
            out.push(row(what, Vec::new()));
            continue;
        }
        let threat = job.threat(robustness.threat.eps)?;
        let path = file_at(job.folder, &robustness.adversarial)?;
        let kept = read_adversarial(&path, job.data, &threat, job.identity, false)?;
        let found = search_again(&entries, &job.suite(&threat), &rows)?;
        let mut wrong = Vec::new();
        for (i, image) in rows.into_iter().zip(found) {
            let stands = record.examples[i].robust.get(k) == Some(&true);
            let stored = kept.x.rows(i, 1).to_f32();
            let same = |a: &[f32]| {
                a.iter()
                    .zip(&stored)
                    .all(|(a, b)| a.to_bits() == b.to_bits())
            };
            let fault = match &image {
                Some(_) if stands => "a search breaks it, and the record says that it stands",
                Some(image) if !same(image) => "a search ends at another image",
                // What broke it was handed over by a smaller radius or by a probe.
                _ => continue,
            };
            wrong.push(format!("{}: image {i}: {fault}", robustness.adversarial));
        }
        out.push(row(what, wrong));
    }
    watch(radii, radii);
    Ok(out)
}
