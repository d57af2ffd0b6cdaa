//! What attacks do at each radius, from the smallest to the largest.
//!
//! Balls are nested, so an image that broke the model at a radius breaks it at every larger one:
//! images of the radius before are handed to the next, which projects and judges them anew.

use crate::attest::files::digest_of;
use crate::error::Result;
use crate::record::{AuditAttack, ExampleRecord, Proportion, VerdictRecord};
use crate::study::adversarial::read_adversarial;
use crate::study::audit::job::{AuditJob, adversarial_name};
use crate::study::audit::stages::Stages;
use crate::study::breach::Breach;
use crate::study::entry::Entry;
use crate::study::suite::run_suite;
use crate::study::suite_state::remove;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the attacks did at a radius.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AtRadius {
    pub(crate) attacks: Vec<AuditAttack>,
    pub(crate) verdict: VerdictRecord,
    pub(crate) examples: Vec<ExampleRecord>,
    pub(crate) in_8_bits: Proportion,
    pub(crate) sha256: String,
}

/// The name under which images of a radius are counted at larger ones.
pub(crate) fn finder(eps: &str) -> String {
    format!("eps {eps}")
}

/// One entry a radius of the policy, each a stage.
pub(crate) fn robustness(
    job: &AuditJob<'_>,
    entries: &[Entry],
    stages: &mut Stages,
    watch: &mut dyn FnMut(&str, usize),
) -> Result<Vec<AtRadius>> {
    let mut out: Vec<AtRadius> = Vec::new();
    for (number, (eps, _)) in job.policy.eps.iter().enumerate() {
        let name = format!("robust-{}", number + 1);
        let state = job.state_of(&name);
        let before = out.last();
        let found = stages.of(&name, || {
            let mut heard = |done: usize, _: usize, _: usize| watch(eps, done);
            at_radius(job, entries, (number, before), &state, &mut heard)
        })?;
        // Its stage is on the disk, so its own state is needed no more.
        remove(&state)?;
        out.push(found);
    }
    Ok(out)
}

fn at_radius(
    job: &AuditJob<'_>,
    entries: &[Entry],
    (number, before): (usize, Option<&AtRadius>),
    state: &Path,
    watch: &mut dyn FnMut(usize, usize, usize),
) -> Result<AtRadius> {
    let threat = job.threat(job.policy.eps[number].1)?;
    let suite = job.suite(&threat);
    let mut outcome = run_suite(entries, &suite, Some(state), watch)?;
    if let Some(before) = before {
        let (eps, radius) = &job.policy.eps[number - 1];
        let path = job.folder.join(adversarial_name(number - 1));
        let smaller = job.threat(*radius)?;
        let kept = read_adversarial(&path, job.data, &smaller, job.identity, false)?;
        let fallen = before.examples.iter().filter(|e| e.broken_by.is_some());
        let breaches: Vec<Breach> = fallen
            .map(|e| Breach {
                example: e.index,
                finder: finder(eps),
                point: kept.x.rows(e.index, 1).to_f32(),
            })
            .collect();
        outcome.admit(&suite, &breaches)?;
    }
    let path = job.folder.join(adversarial_name(number));
    outcome.save_adversarial(&suite, &path)?;
    let in_8_bits = outcome.in_8_bits(&suite)?;
    let attacks = outcome.rows.into_iter().map(|row| AuditAttack {
        name: row.name,
        attempted: row.attempted,
        broken: row.broken,
        passes: row.passes,
        settings: row.params,
    });
    Ok(AtRadius {
        attacks: attacks.collect(),
        verdict: outcome.verdict,
        examples: outcome.examples,
        in_8_bits,
        sha256: digest_of(&path)?,
    })
}
