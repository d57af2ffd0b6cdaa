//! Which command was asked for.

use super::{
    agents, amortise, attack, audit, calibrate, certify, demo, evaluate, explain, harden, info,
    predict, sign, train, verify,
};
use crate::arguments::{Arguments, Command};
use crate::outcome::Outcome;
use anyhow::Result;

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    match &arguments.command {
        Command::Demo(a) => demo::run(arguments, a),
        Command::Train(a) => train::run(arguments, a),
        Command::Attack(a) => attack::run(arguments, a),
        Command::Certify(a) => certify::run(arguments, a),
        Command::Explain(a) => explain::run(arguments, a),
        Command::Evaluate(a) => evaluate::run(arguments, a),
        Command::Amortise(a) => amortise::run(arguments, a),
        Command::Calibrate(a) => calibrate::run(arguments, a),
        Command::Predict(a) => predict::run(arguments, a),
        Command::Harden(a) => harden::run(arguments, a),
        Command::Audit(a) => audit::run(arguments, a),
        Command::Keygen(a) => sign::keygen(arguments, a),
        Command::Sign(a) => sign::sign(arguments, a),
        Command::Verify(a) => verify::run(arguments, a),
        Command::Compare(a) => verify::compare(arguments, a),
        Command::Info(a) => info::run(arguments, a),
        Command::Agents(a) => agents::run(arguments, a),
    }
}
