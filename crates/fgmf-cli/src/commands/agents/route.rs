//! Which command was asked for.

use super::{attack, evaluate, explain, list, train};
use crate::arguments::Arguments;
use crate::outcome::Outcome;
use crate::team_arguments::{Agents, AgentsCommand};
use anyhow::Result;

pub(crate) fn run(global: &Arguments, a: &Agents) -> Result<Outcome> {
    match &a.command {
        AgentsCommand::List => list::run(global),
        AgentsCommand::Train(a) => train::run(global, a),
        AgentsCommand::Evaluate(a) => evaluate::run(global, a),
        AgentsCommand::Attack(a) => attack::run(global, a),
        AgentsCommand::Explain(a) => explain::run(global, a),
    }
}
