//! `fgmf harden`: a user's model, trained further against attacks.

use crate::arguments::{Arguments, Harden};
use crate::commands::memory::check_training;
use crate::commands::model::UserModel;
use crate::commands::shared::{
    data_for, data_record, ended_without, interval, machine, percent, threat_on,
};
use crate::commands::train::train;
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::data::{Dataset, class_names};
use fgmf::defend::SgamParams;
use fgmf::store::{Folder, read_if_there, write};
use fgmf::study::{
    ATTACK, ReportModel, case_settings, explain_models, judge_model, judge_settings,
    remove_curve_state,
};
use fgmf::threat::ThreatModel;
use fgmf::train::{
    AugmentParams, GivenModel, ObjectiveConfig, RateTest, Run, TrainConfig, ValidationParams,
    find_rate, training_bytes,
};
use fgmf_net::{Network, Session};
use fgmf_record::{ModelRecord, Preprocessing, Proportion, ReportRecord};
use fgmf_report::render_html;
use std::path::Path;
use std::time::Instant;

/// Radii of the page, in radii trained against.
const RADII: [f64; 5] = [0.0, 0.5, 1.0, 1.5, 2.0];
/// Images that the page explains: so many of small ones, and fewer of large ones.
const EXPLAINED: [usize; 2] = [12, 50];
/// Pixels of an image that is small.
const SMALL: usize = 64 * 64;
/// Learning rate that the search for one begins with.
const FIRST_RATE: f64 = 1e-3;

pub(crate) fn run(global: &Arguments, a: &Harden) -> Result<Outcome> {
    let started = Instant::now();
    let mut user = UserModel::open(&a.model, &a.input)?;
    let net = &user.net;
    let data = data_for(net, &a.data, "train", a.limit, user.fit)?;
    let tests = match a.judge {
        0 => None,
        n => Some(data_for(net, &a.data, "test", Some(n), user.fit)?),
    };
    let threat = threat_on(a.norm.parse()?, a.eps, net.image_shape())?;
    user.guard(&data)?;
    let names = class_names(&user.net).or_else(|| named(&data, &user.net));
    let config = settings(a, &user)?;
    config.check()?;
    let start = GivenModel::read(&config, &a.model, names)?;
    for note in start.notes() {
        console::say(false, &format!("note: {}", one_line(note)));
    }
    let threads = rayon::current_num_threads();
    let least = || Ok(training_bytes(&config, Some(&start), &data, threads)?);
    check_training(a.memory, least)?;
    let given = ReportModel::given(("given", "As given"), Session::new(user.net), &user.file);
    let config = TrainConfig {
        learning_rate: match a.lr {
            Some(rate) => rate,
            None => rate(global, &config, &start, &data, &a.out)?.chosen,
        },
        ..config
    };
    let (net, run) = train(global, &config, Some(&start), &data, &a.out, "hardening")?;
    for note in &run.notes {
        console::say(false, &format!("note: {}", one_line(note)));
    }
    let title = ("hardened", "Hardened");
    let hardened = ReportModel::of_run(title, Session::new(net), &run, "model.onnx".into());
    let report = match &tests {
        None => None,
        Some(tests) => {
            let page = Page {
                global,
                a,
                threat: &threat,
                data: &data,
                tests,
                started,
                images: config.start.as_ref().and_then(|s| s.preprocessing.as_ref()),
            };
            Some(page.write(&[hardened, given])?)
        }
    };
    say(global, a, &run, report.as_ref())?;
    let better = run.kept.is_none_or(|kept| kept.epoch > 0);
    let mut left_out = data.left_out().to_vec();
    left_out.extend(tests.iter().flat_map(Dataset::left_out).cloned());
    Ok(match ended_without(&left_out) {
        Outcome::Done if !better => Outcome::BelowThreshold,
        ended => ended,
    })
}

/// Class names of the data, for a model that has none, if they are more than numbers.
fn named(data: &Dataset, net: &Network) -> Option<Vec<String>> {
    let names = data.classes();
    let numbers = names.iter().all(|n| n.parse::<usize>().is_ok());
    (names.len() == net.classes() && !numbers).then(|| names.to_vec())
}

fn settings(a: &Harden, user: &UserModel) -> Result<TrainConfig> {
    let objective = ObjectiveConfig::parse(&a.objective)?;
    let mut config = TrainConfig::going_on(&a.data, user.file.clone(), objective, a.eps);
    config.learning_rate = a.lr.unwrap_or(FIRST_RATE);
    config.limit = a.limit;
    config.freeze.clone_from(&a.freeze);
    config.sgam = a.sgam.then(SgamParams::default);
    config.augment = AugmentParams {
        flip: a.flip,
        shift: a.shift,
    };
    config.validation = Some(ValidationParams {
        share: a.validation,
        ..ValidationParams::default()
    });
    config.norm = a.norm.parse()?;
    config.epochs = a.epochs;
    config.batch = a.batch;
    config.seed = a.seed;
    Ok(config)
}

/// The learning rate, found or read from where an earlier run has put it.
fn rate(
    global: &Arguments,
    config: &TrainConfig,
    start: &GivenModel,
    data: &Dataset,
    out: &Path,
) -> Result<RateTest> {
    let _claim = Folder::claim(out)?;
    let path = out.join("rate.json");
    if let Some(bytes) = read_if_there(&path)? {
        let found: RateTest =
            serde_json::from_slice(&bytes).map_err(|e| Error::record(&path, e))?;
        if found.config == *config && found.data_sha256 == data.sha256() {
            return Ok(found);
        }
        let expected = "expected the learning rate of this run, found that of one with other \
            settings or data; choose another folder";
        return Err(Error::record(&path, expected).into());
    }
    let mut watch = |trial: usize, rate: f64, loss: Option<f64>| {
        let loss = loss.map_or_else(|| "failed".to_owned(), |l| format!("attacked loss {l:.3}"));
        let line = format!("learning rate: trial {trial}, {rate:.1e}: {loss}");
        console::say(global.quiet, &line);
    };
    let found = find_rate(config, start, data, &mut watch)?;
    write(&path, &serde_json::to_vec_pretty(&found)?)?;
    console::say(
        global.quiet,
        &format!("learning rate: {:.1e}", found.chosen),
    );
    Ok(found)
}

/// The page that shows the model before and after.
struct Page<'a> {
    global: &'a Arguments,
    a: &'a Harden,
    threat: &'a ThreatModel,
    data: &'a Dataset,
    tests: &'a Dataset,
    started: Instant,
    images: Option<&'a Preprocessing>,
}

impl Page<'_> {
    /// Judges and explains the models, the hardened one first; writes report.html and report.json.
    fn write(&self, models: &[ReportModel; 2]) -> Result<ReportRecord> {
        let _claim = Folder::claim(&self.a.out)?;
        let radii = RADII.map(|share| share * self.threat.eps());
        let [_, h, w] = self.tests.shape();
        let explained = EXPLAINED[1] * SMALL / (h * w);
        let explained = explained.clamp(EXPLAINED[0], EXPLAINED[1]);
        let explained = explained.min(self.tests.len());
        let mut report = ReportRecord {
            version: env!("CARGO_PKG_VERSION").into(),
            command: command(self.a, self.images),
            seed: self.a.seed,
            seconds: 0.0,
            machine: machine(),
            train: data_record(self.data),
            test: data_record(self.tests),
            threat: self.threat.record(),
            attack: ATTACK.into(),
            models: Vec::new(),
            explanations: Vec::new(),
            cases: Vec::new(),
            settings: serde_json::json!({
                "curve": judge_settings(&radii)?,
                "explanations": case_settings(explained)?,
            }),
            pending: vec!["explanations before and after the attack".into()],
            shortened: String::new(),
        };
        let state = |s: &ReportModel| self.a.out.join(format!("judged-{}.jsonl", s.id));
        for s in models {
            report.models.push(self.judge(s, &radii, &state(s))?);
        }
        self.save(&mut report)?;
        let bar = console::bar(self.global.quiet, models.len(), "explaining");
        let mut watch = |done: usize| bar.set_position(done as u64);
        let seen = (self.tests, explained);
        let maps = explain_models(models, seen, self.threat, self.a.seed, &mut watch);
        bar.finish_and_clear();
        match maps {
            Ok((means, cases)) => (report.explanations, report.cases) = (means, cases),
            // The figures stand without pictures.
            Err(e) => {
                let reason = one_line(&e.to_string());
                console::say(false, &format!("note: the page shows no maps: {reason}"));
            }
        }
        report.pending.clear();
        self.save(&mut report)?;
        for s in models {
            remove_curve_state(&state(s), &radii)?;
        }
        Ok(report)
    }

    fn judge(&self, s: &ReportModel, radii: &[f64], state: &Path) -> Result<ModelRecord> {
        let n = self.tests.len();
        let bar = console::bar(self.global.quiet, radii.len() * n, &format!("{} eps", s.id));
        let mut watch = |done: usize, at: usize| bar.set_position((done * n + at) as u64);
        let judged = judge_model(
            s,
            self.tests,
            (self.threat, radii),
            self.a.seed,
            Some(state),
            &mut watch,
        )?;
        bar.finish_and_clear();
        Ok(judged)
    }

    fn save(&self, report: &mut ReportRecord) -> Result<()> {
        report.seconds = self.started.elapsed().as_secs_f64();
        let json = serde_json::to_string(report)?;
        write(&self.a.out.join("report.json"), json.as_bytes())?;
        write(
            &self.a.out.join("report.html"),
            render_html(report).as_bytes(),
        )?;
        Ok(())
    }
}

/// Figures and files on standard output.
fn say(global: &Arguments, a: &Harden, run: &Run, report: Option<&ReportRecord>) -> Result<()> {
    if global.json {
        let both = serde_json::json!({ "run": run, "report": report });
        return console::result(&serde_json::to_string_pretty(&both)?);
    }
    let mut lines = Vec::new();
    let share = |p: &Proportion| format!("{:>6} {}", percent(p.value), interval(p.interval));
    if let Some(kept) = &run.kept {
        let (v, before) = (&kept.validation, &kept.before);
        lines.push(format!(
            "kept epoch {} of {}: of {} images held out {} withstand PGD, {} as given",
            kept.epoch,
            run.log.len(),
            v.robust.n,
            v.robust.count,
            before.robust.count
        ));
        if kept.epoch == 0 {
            lines.push(
                "no epoch withstood more: the file has the numbers that it came with".to_owned(),
            );
        }
    }
    for m in report.iter().flat_map(|r| &r.models) {
        let at = m.curve.iter().find(|p| (p.eps - a.eps).abs() < 1e-12);
        let attacked = at.map_or_else(|| "not measured".to_owned(), |p| share(&p.robust));
        let loss = m.clean_loss.map(|v| format!(", loss {v:.3}"));
        let proved = at.and_then(|p| p.proved);
        let proved = proved.map(|p| format!("   proved {}", share(&p)));
        lines.push(format!(
            "{:<10} clean {}{}   attacked at most {attacked}{}, n = {}",
            m.title,
            share(&m.clean),
            loss.unwrap_or_default(),
            proved.unwrap_or_default(),
            m.clean.n
        ));
        for flag in &m.flags {
            lines.push(format!("  sign of masking: {}", one_line(flag)));
        }
    }
    lines.push(a.out.join("model.onnx").display().to_string());
    if report.is_some() {
        lines.push(a.out.join("report.html").display().to_string());
    }
    console::result(&lines.join("\n"))
}

/// The command that does the same again.
fn command(a: &Harden, images: Option<&Preprocessing>) -> String {
    let mut words = vec![
        "fgmf harden".to_owned(),
        a.model.display().to_string(),
        format!("--data {}", a.data),
        format!("--out {}", a.out.display()),
        format!(
            "--eps {} --norm {} --objective {}",
            a.eps, a.norm, a.objective
        ),
        format!(
            "--epochs {} --batch {} --seed {}",
            a.epochs, a.batch, a.seed
        ),
        format!("--validation {} --judge {}", a.validation, a.judge),
    ];
    let mut more = |on: bool, text: String| {
        if on {
            words.push(text);
        }
    };
    more(a.sgam, "--sgam".into());
    more(a.flip, "--flip".into());
    more(a.shift > 0, format!("--shift {}", a.shift));
    more(
        !a.freeze.is_empty(),
        format!("--freeze '{}'", a.freeze.join(",")),
    );
    more(a.lr.is_some(), format!("--lr {}", a.lr.unwrap_or_default()));
    more(
        a.limit.is_some(),
        format!("--limit {}", a.limit.unwrap_or_default()),
    );
    more(
        images.is_some(),
        images.map_or_else(String::new, Preprocessing::flags),
    );
    more(a.input.resize, "--resize".into());
    for name in a.input.output.iter() {
        more(true, format!("--output '{name}'"));
    }
    for [h, w] in a.input.input_size.iter() {
        more(true, format!("--input-size {h}x{w}"));
    }
    let scaled = [
        a.input.crop_pct.map(|pct| format!("--crop-pct {pct}")),
        a.input
            .interpolation
            .map(|how| format!("--interpolation {how}")),
    ];
    for text in scaled.into_iter().flatten() {
        more(true, text);
    }
    more(a.input.as_it_is, "--as-it-is".into());
    words.join(" ")
}
