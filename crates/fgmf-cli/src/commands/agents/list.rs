//! `fgmf agents list`.

use crate::arguments::Arguments;
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::agent::{environment, environments};
use serde_json::json;

pub(super) fn run(global: &Arguments) -> Result<Outcome> {
    let mut rows = Vec::new();
    for name in environments() {
        let world = environment(&name)?;
        let spec = world.spec();
        let planes: Vec<&str> = spec.planes.iter().map(|p| p.name).collect();
        rows.push(json!({
            "env": name,
            "agents": spec.agents,
            "view": spec.view,
            "actions": spec.actions,
            "planes": planes,
            "horizon": spec.horizon,
        }));
    }
    if global.json {
        console::result(&serde_json::to_string_pretty(&rows)?)?;
        return Ok(Outcome::Done);
    }
    let mut text = format!("{:<38} agents  view      steps  actions\n", "environment");
    for name in environments() {
        let world = environment(&name)?;
        let spec = world.spec();
        let [c, h, w] = spec.view;
        text += &format!(
            "{name:<38} {:>6}  {:<8}  {:>5}  {}\n",
            spec.agents,
            format!("{c}x{h}x{w}"),
            spec.horizon,
            spec.actions.join(", "),
        );
    }
    text += "With `:new` at the end, a kitchen has the dynamics in which a cook starts the pot.";
    console::result(&text)?;
    Ok(Outcome::Done)
}
