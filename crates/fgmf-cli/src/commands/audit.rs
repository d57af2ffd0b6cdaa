//! `fgmf audit`.

use crate::arguments::{Arguments, Audit};
use crate::commands::audit_files::write_bundle;
use crate::commands::audit_table::table;
use crate::commands::memory::images_at_once;
use crate::commands::model::{UserModel, identity, identity_fields};
use crate::commands::shared::{data_for, data_record, warn_of_chance};
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::explain::Work;
use fgmf::store::{Folder, build, read_if_there, refuse_another};
use fgmf::study::{AUDIT, AuditJob, Policy, remove_audit_state, run_audit};
use fgmf_net::Session;
use fgmf_record::CheckOutcome;
use serde_json::json;

pub(crate) fn run(global: &Arguments, a: &Audit) -> Result<Outcome> {
    let none = || fgmf::Error::record(&a.policy, "expected a policy, found no file");
    let bytes = read_if_there(&a.policy)?.ok_or_else(none)?;
    let policy = Policy::read(&a.policy, &bytes)?;
    let mut model = UserModel::open(&a.model, &a.input)?;
    let data = data_for(&model.net, &a.data, "test", policy.images, model.fit)?;
    model.guard(&data)?;
    let (file, mut net) = (model.file, Session::new(model.net));
    let held = 64 * data.len() + 5120 * data.shape().iter().product::<usize>();
    let cap = images_at_once(&mut [&mut net], a.memory, usize::MAX, held, Work::ATTACK)?;
    let _claim = Folder::claim(&a.out)?;
    refuse_another(
        &a.out.join(AUDIT),
        &json!({
            "model": identity_fields(&file),
            "data": { "sha256": data.sha256() },
            "policy": { "sha256": policy.sha256 },
            "build": build(),
        }),
    )?;
    let job = AuditJob {
        net: &net,
        file: &file,
        identity: &identity(&file),
        data: &data,
        facts: &data_record(&data),
        policy: &policy,
        folder: &a.out,
        cap: cap.min(MOST),
    };
    let bar = console::bar(global.quiet, 1, "auditing");
    let mut watch = |stage: &str, done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(console::one_line(stage));
    };
    let record = run_audit(&job, &bytes, &mut watch)?;
    bar.finish_and_clear();
    if let Some(clean) = record.figure("accuracy") {
        warn_of_chance(clean.count.unwrap_or(0), clean.n, net.classes());
    }
    let text = write_bundle(&a.out, &a.model, &record)?;
    remove_audit_state(&a.out)?;
    console::result(&if global.json { text } else { table(&record) })?;
    Ok(match record.outcome {
        CheckOutcome::Failed => Outcome::BelowThreshold,
        _ if !data.left_out().is_empty() => Outcome::Incomplete,
        _ => Outcome::Done,
    })
}

/// Most images in a model call: more gain nothing.
const MOST: usize = 256;
