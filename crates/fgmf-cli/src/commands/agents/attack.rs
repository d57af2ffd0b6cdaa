//! `fgmf agents attack`.

use super::policy::Policy;
use super::table::lines;
use crate::arguments::Arguments;
use crate::console;
use crate::outcome::Outcome;
use crate::team_arguments::TeamAttack;
use anyhow::Result;
use fgmf::agent::{TeamAttackJob, attack_team};
use fgmf::model::Oracle;
use fgmf::store::{Folder, write};
use fgmf::threat::ThreatModel;

pub(super) fn run(global: &Arguments, a: &TeamAttack) -> Result<Outcome> {
    let policy = Policy::read(&a.play)?;
    let oracle = Oracle::new(&policy.net);
    let threat = ThreatModel::new(a.norm.parse()?, a.eps, [0.0, 1.0])?;
    let _claim = Folder::claim(&a.out)?;
    let job = TeamAttackJob {
        make: &policy.make(),
        policy: &oracle,
        file: policy.file.clone(),
        attacks: a.attacks.clone(),
        threat,
        victims: a.agents,
        play: policy.settings(a.episodes),
    };
    let record = attack_team(&job, &mut |name| {
        console::say(global.quiet, &format!("playing: {name}"));
    })?;
    let json = serde_json::to_string_pretty(&record)?;
    write(&a.out.join("agents-attack.json"), json.as_bytes())?;
    if global.json {
        console::result(&json)?;
    } else {
        let worst = record.worst.as_deref().unwrap_or("none");
        console::result(&format!(
            "{}, {} within {} on {} agent(s), {} episodes\n{}\nworst: {worst}. Upper bounds: no \
                adversary was trained.",
            policy.env,
            a.norm,
            a.eps,
            a.agents,
            a.episodes,
            lines(&record.played),
        ))?;
    }
    let worst = record
        .played
        .iter()
        .find(|p| Some(&p.name) == record.worst.as_ref());
    let value = worst.and_then(|p| p.normalised).map(|n| n.value);
    match (a.min_return, value) {
        (Some(least), Some(value)) if value < least => Ok(Outcome::BelowThreshold),
        (Some(_), None) => Ok(Outcome::BelowThreshold),
        _ => Ok(Outcome::Done),
    }
}
