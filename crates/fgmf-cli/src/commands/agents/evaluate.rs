//! `fgmf agents evaluate`.

use super::policy::Policy;
use super::table::lines;
use crate::arguments::Arguments;
use crate::console;
use crate::outcome::Outcome;
use crate::team_arguments::TeamEvaluate;
use anyhow::Result;
use fgmf::agent::evaluate_team;
use fgmf::model::Oracle;

pub(super) fn run(global: &Arguments, a: &TeamEvaluate) -> Result<Outcome> {
    let policy = Policy::read(&a.play)?;
    let oracle = Oracle::new(&policy.net);
    let played = evaluate_team(&policy.make(), &oracle, &policy.settings(a.episodes))?;
    if global.json {
        console::result(&serde_json::to_string_pretty(&played)?)?;
        return Ok(Outcome::Done);
    }
    let mut text = format!(
        "{}, {} episodes\n{}",
        policy.env,
        a.episodes,
        lines(&played)
    );
    for p in &played {
        let mut totals = std::collections::BTreeMap::<&str, u64>::new();
        for (what, count) in p.episodes.iter().flat_map(|e| &e.events) {
            *totals.entry(what).or_default() += count;
        }
        let each = |(what, count): (&&str, &u64)| {
            format!("{what} {:.1}", *count as f64 / a.episodes as f64)
        };
        let events: Vec<String> = totals.iter().map(each).collect();
        text += &format!("\n{}: {} an episode", p.name, events.join(", "));
    }
    console::result(&text)?;
    Ok(Outcome::Done)
}
