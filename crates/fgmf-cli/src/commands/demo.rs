//! `fgmf demo`: the whole framework on embedded images. Its report grows as the run goes on.

use crate::arguments::{Arguments, Demo};
use crate::commands::shared::{data_record, machine, percent};
use crate::commands::train::train;
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::data::{Dataset, EMBEDDED, Split, load};
use fgmf::store::{Folder, write};
use fgmf::study::{
    ATTACK, CASE_IMAGES, RADII, ReportModel, case_settings, explain_models, judge_model,
    judge_settings, plans, remove_curve_state,
};
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::Session;
use fgmf_record::ReportRecord;
use fgmf_report::render_html;
use std::time::Instant;

/// Radius trained against and attacked at.
const EPS: f64 = 0.1;

/// How much a demo does.
struct Extent {
    epochs: usize,
    limit: Option<usize>,
    /// Test images that each model is judged on.
    judged: usize,
    /// Test images that are explained.
    explained: usize,
    /// What people are told to expect.
    time: &'static str,
}

impl Extent {
    fn of(a: &Demo) -> Self {
        let whole = Self {
            epochs: a.epochs.unwrap_or(30),
            limit: a.limit,
            judged: usize::MAX,
            explained: CASE_IMAGES,
            time: "a minute or two on 2 cores, the first page after some 20 seconds",
        };
        if !a.quick {
            return whole;
        }
        Self {
            epochs: a.epochs.unwrap_or(10),
            limit: a.limit.or(Some(2000)),
            judged: 200,
            explained: 60,
            time: "some 20 seconds on 2 cores",
        }
    }
}

pub(crate) fn run(global: &Arguments, a: &Demo) -> Result<Outcome> {
    let started = Instant::now();
    let extent = Extent::of(a);
    let page = a.out.join("report.html");
    console::say(
        global.quiet,
        &format!(
            "demo: two small networks, one hardened and one not, attacked and explained: {}; {}",
            extent.time,
            page.display()
        ),
    );
    let _claim = Folder::claim(&a.out)?;
    let (mut training, mut testing) = (load(EMBEDDED, Split::Train)?, load(EMBEDDED, Split::Test)?);
    if let Some(n) = extent.limit {
        training.truncate(n)?;
    }
    testing.truncate(extent.judged.min(testing.len()))?;
    let threat = ThreatModel::new(Norm::Linf, EPS, [0.0, 1.0])?;
    let mut report = ReportRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        command: command(a),
        seed: a.seed,
        seconds: 0.0,
        machine: machine(),
        train: data_record(&training),
        test: data_record(&testing),
        threat: threat.record(),
        attack: ATTACK.into(),
        models: Vec::new(),
        explanations: Vec::new(),
        cases: Vec::new(),
        settings: serde_json::json!({
            "curve": judge_settings(&RADII)?,
            "explanations": case_settings(extent.explained)?,
        }),
        pending: Vec::new(),
        shortened: shortened(a, &extent),
    };
    let mut subjects: Vec<ReportModel> = Vec::new();
    let mut rest: Vec<_> = plans(EMBEDDED, EPS, (extent.epochs, extent.limit, a.seed))?.into();
    // The standard twin is trained in a fraction of the time: with it the first page comes early.
    while let Some((id, title, config)) = rest.pop() {
        let (net, run) = train(global, &config, None, &training, &a.out.join(id), id)?;
        let file = format!("{id}/model.onnx");
        let subject = ReportModel::of_run((id, title), Session::new(net), &run, file);
        let judged = judge(global, a, &subject, &testing, &threat)?;
        report.models.insert(0, judged);
        subjects.insert(0, subject);
        report.pending = rest
            .iter()
            .map(|(_, t, _)| format!("the model {t}"))
            .collect();
        report
            .pending
            .push("explanations before and after the attack".into());
        report.seconds = started.elapsed().as_secs_f64();
        write(&page, render_html(&report).as_bytes())?;
        console::say(global.quiet, &format!("{}: with {title}", page.display()));
    }
    let bar = console::bar(global.quiet, subjects.len(), "explaining");
    let mut watch = |done: usize| bar.set_position(done as u64);
    (report.explanations, report.cases) = explain_models(
        &subjects,
        (&testing, extent.explained),
        &threat,
        a.seed,
        &mut watch,
    )?;
    bar.finish_and_clear();
    report.pending.clear();
    report.seconds = started.elapsed().as_secs_f64();
    let json = serde_json::to_string(&report)?;
    write(&a.out.join("report.json"), json.as_bytes())?;
    write(&page, render_html(&report).as_bytes())?;
    for s in &subjects {
        remove_curve_state(&curve_state(a, s), &RADII)?;
    }
    if global.json {
        console::result(&json)?;
        return Ok(Outcome::Done);
    }
    for m in &report.models {
        let at = m.curve.iter().find(|p| (p.eps - EPS).abs() < 1e-9);
        let proved = at.and_then(|p| p.proved).map(|p| percent(p.value));
        console::result(&format!(
            "{:<28} clean {:>6}   attacked (eps {EPS}) {:>6}   proved {:>6}",
            m.title,
            percent(m.clean.value),
            percent(at.map_or(0.0, |p| p.robust.value)),
            proved.unwrap_or_else(|| "–".into())
        ))?;
    }
    console::result(&format!("{}  ({:.0} s)", page.display(), report.seconds))?;
    Ok(Outcome::Done)
}

fn curve_state(a: &Demo, s: &ReportModel) -> std::path::PathBuf {
    a.out.join(s.id).join("judged.jsonl")
}

fn judge(
    global: &Arguments,
    a: &Demo,
    s: &ReportModel,
    data: &Dataset,
    threat: &ThreatModel,
) -> Result<fgmf_record::ModelRecord> {
    console::say(
        global.quiet,
        &format!(
            "{}: attacking {} images at {} radii",
            s.id,
            data.len(),
            RADII.len()
        ),
    );
    let bar = console::bar(
        global.quiet,
        RADII.len() * data.len(),
        &format!("{} eps", s.id),
    );
    let mut watch = |radii: usize, n: usize| bar.set_position((radii * data.len() + n) as u64);
    let state = curve_state(a, s);
    let judged = judge_model(s, data, (threat, &RADII), a.seed, Some(&state), &mut watch)?;
    bar.finish_and_clear();
    Ok(judged)
}

/// What a reader of a short run's page must know.
fn shortened(a: &Demo, extent: &Extent) -> String {
    if !a.quick {
        return String::new();
    }
    let images = extent.limit.map_or_else(|| "all".into(), |n| n.to_string());
    format!(
        "Trained for {} epochs on {images} images, judged on {} and explained on {}. The figures \
         are rough; the whole run, without --quick, takes a minute or two.",
        extent.epochs, extent.judged, extent.explained
    )
}

/// The command that makes the same report again.
fn command(a: &Demo) -> String {
    let extent = Extent::of(a);
    let quick = if a.quick { " --quick" } else { "" };
    let limit = a
        .limit
        .map_or_else(String::new, |n| format!(" --limit {n}"));
    format!(
        "fgmf demo{quick} --seed {} --epochs {}{limit} --out {}",
        a.seed,
        extent.epochs,
        a.out.display()
    )
}
