//! An audit: everything that a policy asks for, in stages that survive a kill.

use crate::error::{Error, Result};
use crate::measure::calibration::calibration;
use crate::measure::mcnemar::mcnemar;
use crate::record::{
    AuditExample, AuditRecord, GraphFacts, PolicyRecord, ResilienceRow, RobustnessRow, ShiftRow,
};
use crate::store::atomic;
use crate::store::build::build;
use crate::study::audit::answers::{Answered, answers, non_finite};
use crate::study::audit::corruption::{Corruption, corruptions};
use crate::study::audit::coverage::coverage;
use crate::study::audit::explanations::{Explanations, Methods, explanations};
use crate::study::audit::job::{AuditJob, POLICY, ScoredNet, adversarial_name};
use crate::study::audit::robustness::{AtRadius, robustness};
use crate::study::audit::stages::Stages;
use crate::study::audit::{checks, figures};
use crate::study::entry::Entry;
use crate::study::suites::suite;
use serde_json::json;

/// Version of the format of `audit.json`.
const FORMAT: u32 = 1;

/// What the stages gave.
struct Measured {
    clean: Answered,
    changed: Vec<(Corruption, Answered)>,
    non_finite: Vec<bool>,
    radii: Vec<AtRadius>,
    explanations: Explanations,
}

/// Runs an audit, or goes on with one that was killed, to the same record. `policy` is the file
/// whose hash the job's policy has; it lies in the folder before anything runs. `watch` hears
/// (stage, done, all).
///
/// # Errors
/// [`Error::Parameter`] for an attack, explainer, metric or change that is none, and for a
/// threshold on a figure that this policy does not measure; [`Error::Record`] when the folder holds
/// another policy or the state of another audit; whatever the parts give.
pub fn run_audit(
    job: &AuditJob<'_>,
    policy: &[u8],
    watch: &mut dyn FnMut(&str, usize, usize),
) -> Result<AuditRecord> {
    let entries = suite(&job.policy.suite, job.net, job.policy.norm)?;
    let changes = corruptions(job.policy.resilience.as_deref())?;
    let fits = |c: &Corruption| c.fits(job.data.shape());
    let changes: Vec<Corruption> = changes.into_iter().filter(fits).collect();
    let methods = job.policy.explanations.as_ref().map(Methods::of);
    let methods = methods.transpose()?;
    known(job, &changes, methods.as_ref())?;
    keep_policy(job, policy)?;
    let header = json!({
        "policy": job.policy.sha256,
        "model": job.identity,
        "data": job.data.sha256(),
        "version": env!("CARGO_PKG_VERSION"),
        "build": build(),
    });
    let mut stages = Stages::open(&job.state(), &header)?;
    let scored = ScoredNet::of(job.net)?;
    let n = job.data.len();
    let clean = stages.of("clean", || {
        answers(job, &scored, None, &mut |done| {
            watch("clean images", done, n)
        })
    })?;
    let mut changed = Vec::with_capacity(changes.len());
    for change in changes {
        let found = stages.of(&format!("changed-{}", change.id), || {
            answers(job, &scored, Some(&change), &mut |done| {
                watch(change.what, done, n)
            })
        })?;
        changed.push((change, found));
    }
    let non_finite = stages.of("non-finite", || non_finite(job))?;
    let radii = robustness(job, &entries, &mut stages, &mut |eps, done| {
        watch(&format!("attacks at eps {eps}"), done, n);
    })?;
    let explanations = explanations(
        job,
        &scored,
        methods.as_ref(),
        radii.last(),
        &mut stages,
        &mut |kind, done, all| watch(&format!("explanations, {kind}"), done, all),
    )?;
    let measured = Measured {
        clean,
        changed,
        non_finite,
        radii,
        explanations,
    };
    record(job, &entries, &scored, measured)
}

/// Refuses a threshold on a figure that will not be measured, before anything is.
fn known(job: &AuditJob<'_>, changes: &[Corruption], methods: Option<&Methods>) -> Result<()> {
    let changes: Vec<&str> = changes.iter().map(|c| c.id).collect();
    let ids = figures::ids(job, &changes, methods);
    let thresholds = &job.policy.thresholds;
    match thresholds.iter().find(|t| !ids.contains(&t.figure)) {
        None => Ok(()),
        Some(t) => Err(Error::parameter("threshold", ids.join(", "), &t.figure)),
    }
}

/// Puts the policy into the folder, or finds it there.
fn keep_policy(job: &AuditJob<'_>, policy: &[u8]) -> Result<()> {
    let path = job.folder.join(POLICY);
    if crate::hash::sha256(policy) != job.policy.sha256 {
        let expected = "the bytes that the policy was read from";
        return Err(Error::mismatch("audit", expected, "others"));
    }
    match atomic::read_if_there(&path)? {
        Some(found) if found == policy => Ok(()),
        Some(_) => {
            let text = "expected the policy of this audit, found another; choose another folder";
            Err(Error::record(&path, text))
        }
        None => atomic::write(&path, policy),
    }
}

fn record(
    job: &AuditJob<'_>,
    entries: &[Entry],
    scored: &ScoredNet,
    found: Measured,
) -> Result<AuditRecord> {
    let policy = job.policy;
    let bins = calibration(&found.clean.confidence, &found.clean.right, policy.bins)?;
    let mut all = figures::clean(job, &found.clean, &bins)?;
    let mut robustness = Vec::new();
    let mut checked = Vec::new();
    for (number, ((eps, radius), at)) in policy.eps.iter().zip(&found.radii).enumerate() {
        all.extend(figures::robust(job, eps, at));
        checked.push(checks::masking(eps, &at.verdict, policy.worst_verdict));
        robustness.push(RobustnessRow {
            threat: job.threat(*radius)?.record(),
            eps: eps.clone(),
            attacks: at.attacks.clone(),
            verdict: at.verdict.clone(),
            adversarial: adversarial_name(number),
            adversarial_sha256: at.sha256.clone(),
        });
    }
    let mut resilience = Vec::new();
    for (change, answers) in &found.changed {
        all.push(figures::changed(change.id, change.what, &answers.right));
        resilience.push(ResilienceRow {
            id: change.id.into(),
            what: change.what.into(),
            against_clean: mcnemar(&found.clean.right, &answers.right)?,
        });
    }
    all.push(figures::noticed(&found.non_finite));
    all.extend(figures::explained(&found.explanations));
    let thresholds = policy.thresholds.iter();
    checked.extend(thresholds.map(|t| checks::threshold(t, &all)));
    let shifts = found.explanations.attacked.tests.iter().map(|t| ShiftRow {
        explainer: t.explainer.clone(),
        figure: t.figure.clone(),
        paired: t.paired.clone(),
    });
    Ok(AuditRecord {
        format: FORMAT,
        title: policy.title.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        policy: PolicyRecord {
            sha256: policy.sha256.clone(),
            suite: policy.suite.clone(),
            thresholds: policy.thresholds.clone(),
            worst_verdict: policy.worst_verdict,
        },
        model: job.file.clone(),
        graph: GraphFacts {
            image: job.net.image_shape(),
            classes: job.net.classes(),
            stored_numbers: job.net.stored_numbers(),
            scores_squashed_by: scored.operators.clone(),
        },
        data: job.facts.clone(),
        class_counts: job.data.class_counts(),
        seed: policy.seed,
        outcome: checks::worst(&checked),
        checks: checked,
        figures: all,
        confusion: confusion(job, &found.clean.predicted),
        calibration: bins,
        robustness,
        resilience,
        shifts: shifts.collect(),
        explainers: found.explanations.explainers.clone(),
        coverage: coverage(entries),
        examples: examples(job, &found),
    })
}

/// Images by true class (row) and class named (column).
fn confusion(job: &AuditJob<'_>, predicted: &[usize]) -> Vec<Vec<usize>> {
    let classes = job.net.classes().max(job.facts.classes.len());
    let mut out = vec![vec![0; classes]; classes];
    for (&label, &named) in job.data.labels().iter().zip(predicted) {
        out[label][named] += 1;
    }
    out
}

fn examples(job: &AuditJob<'_>, found: &Measured) -> Vec<AuditExample> {
    let labels = job.data.labels().iter().enumerate();
    let example = |(i, &label): (usize, &usize)| AuditExample {
        index: i,
        label,
        predicted: found.clean.predicted[i],
        right: found.clean.right[i],
        robust: found.radii.iter().map(|r| r.examples[i].robust).collect(),
    };
    labels.map(example).collect()
}
