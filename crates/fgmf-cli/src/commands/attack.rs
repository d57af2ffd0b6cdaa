//! `fgmf attack`.

use crate::arguments::{Arguments, Attack};
use crate::commands::address::at_address;
use crate::commands::attack_remote;
use crate::commands::attack_served;
use crate::commands::attack_table::ended_with;
use crate::commands::memory::images_at_once;
use crate::commands::model::{UserModel, identity, identity_fields, input_of_another};
use crate::commands::shared::{data_for, data_record, percent, threat_on, warn_of_chance};
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::explain::Work;
use fgmf::store::{Folder, build, refuse_another, write};
use fgmf::study::{
    SuiteJob, curve, remove_curve_state, remove_state, run_suite_until, suite, transfer,
};
use fgmf_net::Session;
use fgmf_record::{Accuracy, AttackRecord, RobustAccuracy};
use serde_json::json;

pub(crate) fn run(global: &Arguments, a: &Attack) -> Result<Outcome> {
    if let Some(m) = a.min_robust.filter(|m| !(0.0..=1.0).contains(m)) {
        return Err(Error::parameter("min-robust", "0 to 1", m).into());
    }
    let norm = a.norm.parse()?;
    if let Some(model) = at_address(&a.model, &a.input, &a.remote)? {
        if a.served.served.is_some() {
            let expected = "a model file: what a server gives is tried on one";
            return Err(Error::parameter("served", expected, &model.file.file).into());
        }
        return attack_remote::run(global, a, model, norm);
    }
    if a.served.served.is_some() {
        return attack_served::run(global, a, norm);
    }
    if a.queries_per_image.is_some() {
        let expected = "an address as MODEL, or --served: only there images are counted";
        let found = a.model.display();
        return Err(Error::parameter("queries-per-image", expected, found).into());
    }
    let suite_name = a.suite.as_deref().unwrap_or("adaptive");
    let mut model = UserModel::open(&a.model, &a.input)?;
    // A run that may stop early needs images in a mixed order.
    let limit = a.limit.or(a.stop_early.then_some(usize::MAX));
    let data = data_for(&model.net, &a.data, &a.split, limit, model.fit)?;
    model.guard(&data)?;
    let (file, mut net) = (model.file, Session::new(model.net));
    let threat = threat_on(norm, a.eps, net.image_shape())?;
    let radii = a.curve.as_deref().unwrap_or_default();
    radii
        .iter()
        .try_for_each(|&eps| threat_on(norm, eps, net.image_shape()).map(drop))?;
    let mut entries = suite(suite_name, &net, threat.norm())?;
    let mut surrogate = match &a.surrogate {
        Some(path) => {
            let read = UserModel::open(path, &input_of_another(&a.input))?;
            Some(Session::new(read.net))
        }
        None => None,
    };
    // What is said of each example, and copies of a block and of what the verdict looks at.
    let held = 64 * data.len() + 5120 * data.shape().iter().product::<usize>();
    let mut nets: Vec<&mut Session> = std::iter::once(&mut net).chain(&mut surrogate).collect();
    let cap = images_at_once(&mut nets, a.memory, usize::MAX, held, Work::ATTACK)?;
    if let Some(surrogate) = &surrogate {
        entries.push(transfer(surrogate)?);
    }
    let _claim = Folder::claim(&a.out)?;
    let out = a.out.join("attack.json");
    refuse_another(
        &out,
        &json!({
            "model": identity_fields(&file),
            "data": { "sha256": data.sha256() },
            "threat": threat.record(),
            "suite": suite_name,
            "seed": a.seed,
        }),
    )?;
    let bar = console::bar(global.quiet, data.len(), "attacking");
    let mut watch = |done: usize, _: usize, standing: usize| {
        bar.set_position(done as u64);
        bar.set_message(format!(
            "{} still right",
            percent(standing as f64 / done.max(1) as f64)
        ));
    };
    let state = a.out.join("attack.state.jsonl");
    let job = SuiteJob {
        net: &net,
        model_sha256: &identity(&file),
        data: &data,
        threat: &threat,
        seed: a.seed,
        cap,
    };
    let threshold = a.min_robust.filter(|_| a.stop_early);
    let mut outcome = run_suite_until(&entries, &job, Some(&state), threshold, &mut watch)?;
    bar.finish_and_clear();
    let bar = console::bar(global.quiet, radii.len() * data.len(), "curve");
    let mut watch = |radii: usize, n: usize| bar.set_position((radii * data.len() + n) as u64);
    let known = &outcome.examples;
    let curve = curve(
        &entries,
        &job,
        radii,
        false,
        known,
        Some(&state),
        &mut watch,
    )?;
    outcome.admit(&job, &curve.breaches)?;
    bar.finish_and_clear();
    outcome.save_adversarial(&job, &a.out.join("adversarial.safetensors"))?;
    let in_8_bits = outcome.in_8_bits(&job)?;
    let (clean, overall) = (outcome.clean(), outcome.overall());
    warn_of_chance(clean.count, clean.n, net.classes());
    let record = AttackRecord {
        model: file,
        data: data_record(&data),
        threat: threat.record(),
        suite: suite_name.into(),
        seed: a.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        clean: Accuracy {
            accuracy: clean.value,
            n: clean.n,
            interval: clean.interval,
        },
        attacks: outcome.rows,
        overall: RobustAccuracy {
            robust_accuracy: overall.value,
            interval: overall.interval,
            n: overall.n,
        },
        verdict: outcome.verdict,
        examples: outcome.examples,
        in_8_bits: (in_8_bits.n > 0).then_some(in_8_bits),
        stopped_early: outcome.stopped,
        curve: curve.points,
        queries: None,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write(&out, text.as_bytes())?;
    remove_state(&state)?;
    remove_curve_state(&state, radii)?;
    ended_with(global, a, &record, text, data.left_out())
}
