//! `fgmf agents train`.

use crate::arguments::Arguments;
use crate::console;
use crate::outcome::Outcome;
use crate::team_arguments::TeamTrain;
use anyhow::Result;
use fgmf::Error;
use fgmf::agent::{PolicyKind, TeamConfig, TeamProgress, environment, fit_team};
use fgmf::store::Folder;

fn settings(a: &TeamTrain) -> Result<TeamConfig> {
    let mut config = TeamConfig::new(&a.env);
    if !(1.0..=1e12).contains(&a.steps) {
        return Err(Error::parameter("steps", "1 to 10^12", a.steps).into());
    }
    config.steps = a.steps as u64;
    config.network = match a.network.as_str() {
        "conv" => PolicyKind::Conv,
        "dense" => PolicyKind::Dense,
        other => return Err(Error::parameter("network", "conv or dense", other).into()),
    };
    config.lanes = a.lanes.unwrap_or(config.lanes);
    config.length = a.length.unwrap_or(config.length);
    config.learning_rate = a.lr.unwrap_or(config.learning_rate);
    config.entropy = a.entropy.unwrap_or(config.entropy);
    config.seed = a.seed;
    Ok(config)
}

pub(super) fn run(global: &Arguments, a: &TeamTrain) -> Result<Outcome> {
    let config = settings(a)?;
    config.check()?;
    environment(&a.env)?;
    let _claim = Folder::claim(&a.out)?;
    let bar = console::bar(global.quiet, config.iterations(), "training");
    let mut watch = |p: &TeamProgress<'_>| {
        let last = p.last;
        let shown = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), |v| format!("{v:.1}"));
        let text = format!(
            "iteration {}/{}, {} steps  return {}  evaluated {}  best {}  entropy {:.2}",
            last.iteration,
            p.iterations,
            last.steps,
            shown(last.training),
            shown(last.evaluation),
            shown(p.best.map(|b| b.evaluation)),
            last.entropy,
        );
        bar.set_position(last.iteration as u64);
        bar.set_message(text.clone());
        if bar.is_hidden() {
            console::say(global.quiet, &text);
        }
    };
    let make = || environment(&config.env);
    let (net, run) = fit_team(&config, &make, &a.out, &mut watch)?;
    bar.finish_and_clear();
    if global.json {
        console::result(&serde_json::to_string_pretty(&run)?)?;
    } else {
        console::result(&format!(
            "{}: {} parameters, best mean return {:.1} over {} episodes, after iteration {} of \
                {}\n{}",
            config.env,
            net.parameter_count(),
            run.best.evaluation,
            config.evaluation_episodes,
            run.best.iteration,
            run.log.len(),
            a.out.join("actor.onnx").display(),
        ))?;
    }
    Ok(Outcome::Done)
}
