//! `fgmf agents explain`.

use super::policy::Policy;
use crate::arguments::Arguments;
use crate::console;
use crate::outcome::Outcome;
use crate::team_arguments::TeamExplain;
use anyhow::Result;
use fgmf::agent::{
    AttackBudget, DeletionSettings, Interfered, Reach, StripSettings, deletion, environment,
    interference, strip_row,
};
use fgmf::model::Oracle;
use fgmf::store::{Folder, write};
use fgmf::threat::{Norm, ThreatModel};
use fgmf_record::StripRecord;
use fgmf_report::render_strip;

/// Shares of the objects that are erased.
const SHARES: [f64; 3] = [0.1, 0.2, 0.4];

pub(super) fn run(global: &Arguments, a: &TeamExplain) -> Result<Outcome> {
    let policy = Policy::read(&a.play)?;
    let oracle = Oracle::new(&policy.net);
    let world = environment(&policy.env)?;
    let spec = world.spec();
    let _claim = Folder::claim(&a.out)?;
    let play = policy.settings(1);
    let settings = StripSettings {
        seed: play.first_seed,
        draw: play.draw,
        frames: a.frames,
    };
    let make = policy.make();
    console::say(global.quiet, "playing and explaining one episode");
    let clean = strip_row(&make, &oracle, None, &settings, None)?;
    let steps: Vec<u64> = clean.frames.iter().map(|f| f.step).collect();
    let mut rows = vec![clean];
    let mut attack = String::new();
    if let Some(name) = &a.attack {
        let with = interference(name, &oracle)?;
        let victims = a
            .victims
            .clone()
            .unwrap_or_else(|| (0..spec.agents).collect());
        let budget = AttackBudget {
            reach: Reach::Ball(ThreatModel::new(Norm::Linf, a.eps, [0.0, 1.0])?),
            victims,
        };
        budget.check(spec)?;
        attack = format!(
            "{name} within {} (Linf) on agents {:?}",
            a.eps, budget.victims
        );
        console::say(global.quiet, &format!("the same under {attack}"));
        let interfered = Interfered {
            with: with.as_ref(),
            budget: &budget,
        };
        rows.push(strip_row(
            &make,
            &oracle,
            Some(interfered),
            &settings,
            Some(&steps),
        )?);
    }
    let measured = match a.deletion {
        Some(episodes) => {
            console::say(global.quiet, &format!("deletion over {episodes} episodes"));
            let settings = DeletionSettings {
                shares: SHARES.to_vec(),
                play: policy.settings(episodes),
            };
            Some(deletion(&make, &oracle, &settings)?)
        }
        None => None,
    };
    let strip = StripRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        model: policy.file.clone(),
        env: policy.env.clone(),
        actions: spec.actions.iter().map(|a| (*a).to_owned()).collect(),
        seed: settings.seed,
        attack,
        rows,
        deletion: measured,
    };
    let json = serde_json::to_string_pretty(&strip)?;
    write(&a.out.join("strip.json"), json.as_bytes())?;
    let page = a.out.join("strip.html");
    write(&page, render_strip(&strip).as_bytes())?;
    if global.json {
        console::result(&json)?;
    } else {
        let returns: Vec<String> = strip
            .rows
            .iter()
            .map(|r| format!("{} {:.1}", r.name, r.value))
            .collect();
        console::result(&format!(
            "returns: {}\n{}",
            returns.join(", "),
            page.display()
        ))?;
    }
    Ok(Outcome::Done)
}
