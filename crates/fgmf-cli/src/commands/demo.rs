//! `fgmf demo`: the whole framework on embedded images, in one report.

mod cases;
mod curve;

use super::train::train;
use super::{create, data_record, machine, percent, write};
use crate::arguments::{Arguments, Demo};
use crate::{Outcome, console};
use anyhow::Result;
use fgmf::data::{Dataset, EMBEDDED, Split, load};
use fgmf::defend::SgamParams;
use fgmf::threat::{Norm, ThreatModel};
use fgmf::train::{ObjectiveConfig, Run, TrainConfig};
use fgmf_net::Session;
use fgmf_net::zoo::Architecture;
use fgmf_record::{ModelRecord, ReportRecord};
use fgmf_report::render_html;
use std::time::Instant;

/// Radius trained against and attacked at.
const EPS: f64 = 0.1;

/// A trained model of the demo.
pub(super) struct Subject {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) net: Session,
    pub(super) run: Run,
}

pub(crate) fn run(global: &Arguments, a: &Demo) -> Result<Outcome> {
    let started = Instant::now();
    create(&a.out)?;
    let (mut training, testing) = (load(EMBEDDED, Split::Train)?, load(EMBEDDED, Split::Test)?);
    if let Some(n) = a.limit {
        training.truncate(n)?;
    }
    let threat = ThreatModel::new(Norm::Linf, EPS, [0.0, 1.0])?;
    let subjects = subjects(global, a, &training)?;
    let models = subjects
        .iter()
        .map(|s| model_record(global, a, s, &testing, &threat))
        .collect::<Result<Vec<_>>>()?;
    let (explanations, cases) =
        cases::explain_models(global, &subjects, &testing, &threat, a.seed)?;
    let report = ReportRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        command: command(a),
        seed: a.seed,
        seconds: started.elapsed().as_secs_f64(),
        machine: machine(),
        train: data_record(&training),
        test: data_record(&testing),
        threat: threat.record(),
        attack: curve::ATTACK.into(),
        models,
        explanations,
        cases,
        settings: serde_json::json!({ "curve": curve::settings()?, "explanations": cases::settings()? }),
    };
    write(
        &a.out.join("report.json"),
        serde_json::to_string(&report)?.as_bytes(),
    )?;
    let page = a.out.join("report.html");
    write(&page, render_html(&report).as_bytes())?;
    if global.json {
        console::result(&serde_json::to_string(&report)?);
    } else {
        for m in &report.models {
            let robust = m
                .curve
                .iter()
                .find(|p| (p.eps - EPS).abs() < 1e-9)
                .map_or(0.0, |p| p.robust.value);
            console::result(&format!(
                "{:<28} clean {:>6}   attacked (eps {EPS}) {:>6}",
                m.title,
                percent(m.clean.value),
                percent(robust)
            ));
        }
        console::result(&format!("{}  ({:.0} s)", page.display(), report.seconds));
    }
    Ok(Outcome::Done)
}

/// The command that makes the same report again.
fn command(a: &Demo) -> String {
    let limit = a
        .limit
        .map_or_else(String::new, |n| format!(" --limit {n}"));
    format!(
        "fgmf demo --seed {} --epochs {}{limit} --out {}",
        a.seed,
        a.epochs,
        a.out.display()
    )
}

/// The full framework and its standard twin: same data, network, epochs and seed.
fn subjects(global: &Arguments, a: &Demo, data: &Dataset) -> Result<Vec<Subject>> {
    let config = |objective: &str| -> Result<TrainConfig> {
        let mut config = TrainConfig::new(
            EMBEDDED,
            Architecture::CnnTiny,
            ObjectiveConfig::parse(objective)?,
            EPS,
        );
        config.limit = a.limit;
        config.epochs = a.epochs;
        config.seed = a.seed;
        Ok(config)
    };
    let hardened = TrainConfig {
        sgam: Some(SgamParams::default()),
        ..config("scor-pio")?
    };
    let plans = [
        ("fgmf", "Hardened (FGMF)", hardened),
        ("standard", "Standard training", config("standard")?),
    ];
    plans
        .into_iter()
        .map(|(id, title, config)| {
            let (net, run) = train(global, &config, data, &a.out.join(id), id)?;
            Ok(Subject {
                id,
                title,
                net: Session::new(net),
                run,
            })
        })
        .collect()
}

fn model_record(
    global: &Arguments,
    a: &Demo,
    s: &Subject,
    data: &Dataset,
    threat: &ThreatModel,
) -> Result<ModelRecord> {
    let measured = curve::measure(global, s, data, threat, a.seed)?;
    Ok(ModelRecord {
        id: s.id.into(),
        title: s.title.into(),
        architecture: s.run.config.architecture.name().into(),
        objective: s.run.config.objective.name().into(),
        file: format!("{}/model.onnx", s.id),
        sha256: s.run.model_sha256.clone(),
        parameters: s.net.parameter_count(),
        training: s.run.log.clone(),
        clean: measured.clean,
        curve: measured.points,
        checks: measured.checks,
        flags: measured.flags,
        settings: serde_json::to_value(&s.run.config)?,
    })
}
