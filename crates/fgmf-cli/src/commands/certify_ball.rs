//! `fgmf certify` of a norm ball: a bracket around robust accuracy.

use crate::arguments::{Arguments, Certify};
use crate::commands::memory::images_at_once;
use crate::commands::model::{UserModel, identity, identity_fields};
use crate::commands::shared::{
    data_for, data_record, ended_without, heading, interval, percent, threat_on, warn_of_chance,
};
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::explain::Work;
use fgmf::store::{Folder, build, refuse_another, remove, write};
use fgmf::study::{
    SuiteJob, bracket, bracket_pictures, prove_balls, remove_state, run_suite, suite,
};
use fgmf_net::Session;
use fgmf_record::{BracketRecord, Norm, Proof, Proportion};
use serde_json::json;

/// How answers are proved.
const BOUNDS: &str = "ibp";

pub(super) fn run(global: &Arguments, a: &Certify, norm: Norm, eps: f64) -> Result<Outcome> {
    let suite_name = a.suite.as_deref().unwrap_or("quick");
    let mut model = UserModel::open(&a.model, &a.input)?;
    let data = data_for(&model.net, &a.data, &a.split, a.limit, model.fit)?;
    model.guard(&data)?;
    let (file, mut net) = (model.file, Session::new(model.net));
    let threat = threat_on(norm, eps, net.image_shape())?;
    let entries = suite(suite_name, &net, norm)?;
    // What is said of each image, and the images of a block with what they become.
    let held = 256 * data.len() + 5120 * data.shape().iter().product::<usize>();
    let cap = images_at_once(&mut [&mut net], a.memory, usize::MAX, held, Work::ATTACK)?;
    let _claim = Folder::claim(&a.out)?;
    let out = a.out.join("certify.json");
    refuse_another(
        &out,
        &json!({
            "model": identity_fields(&file),
            "data": { "sha256": data.sha256() },
            "threat": threat.record(),
            "bounds": BOUNDS,
            "suite": suite_name,
            "seed": a.seed,
        }),
    )?;
    let job = SuiteJob {
        net: &net,
        model_sha256: &identity(&file),
        data: &data,
        threat: &threat,
        seed: a.seed,
        cap,
    };
    let bar = console::bar(global.quiet, data.len(), "proving");
    let mut watch = |done: usize, right: usize| {
        bar.set_position(done as u64);
        let share = percent(right as f64 / done.max(1) as f64);
        bar.set_message(format!("{share} proved right"));
    };
    let states = ["certify.state.jsonl", "attack.state.jsonl"].map(|name| a.out.join(name));
    let proofs = prove_balls(&job, Some(&states[0]), &mut watch)?;
    bar.finish_and_clear();
    let bar = console::bar(global.quiet, data.len(), "attacking");
    let mut watch = |done: usize, _: usize, standing: usize| {
        bar.set_position(done as u64);
        let share = percent(standing as f64 / done.max(1) as f64);
        bar.set_message(format!("{share} still right"));
    };
    let attacked = run_suite(&entries, &job, Some(&states[1]), &mut watch)?;
    bar.finish_and_clear();
    let clean = attacked.clean();
    warn_of_chance(clean.count, clean.n, net.classes());
    let images = bracket(&proofs, &attacked);
    let proved = images.iter().filter(|i| i.proof == Proof::Right).count();
    let fell = images.iter().filter(|i| i.is_contradiction());
    let record = BracketRecord {
        model: file,
        data: data_record(&data),
        threat: threat.record(),
        bounds: BOUNDS.into(),
        suite: suite_name.into(),
        seed: a.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        clean,
        proved: Proportion::new(proved, images.len()),
        attacked: attacked.overall(),
        passes: proofs.passes,
        seconds: proofs.seconds,
        contradictions: fell.map(|i| i.example.index).collect(),
        pictures: bracket_pictures(&images, &attacked, &job)?,
        attacks: attacked.rows,
        images,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write(&out, text.as_bytes())?;
    let page = fgmf_report::bracket_page(&record)?;
    write(&a.out.join("certify.html"), page.as_bytes())?;
    remove(&states[0])?;
    remove_state(&states[1])?;
    console::result(&if global.json { text } else { table(&record) })?;
    if !record.contradictions.is_empty() {
        // No image that was proved can fall: the proof, or what ran it, is wrong.
        let expected = "no proved image to fall; this is a bug of fgmf, please report it";
        let fell = &record.contradictions;
        let found = format!("{} of them: {fell:?}", fell.len());
        return Err(Error::mismatch("certify", expected, found).into());
    }
    let low = a.min_proved.is_some_and(|m| record.proved.value < m);
    let ended = ended_without(data.left_out());
    Ok(if low { Outcome::BelowThreshold } else { ended })
}

fn table(r: &BracketRecord) -> String {
    let mut lines = vec![
        heading(&r.model, &r.data, &r.threat),
        format!("{:<44}{:>8}  Wilson 95%", "", "share"),
    ];
    let mut line = |name: &str, p: &Proportion| {
        let (share, bounds) = (percent(p.value), interval(p.interval));
        lines.push(format!("{name:<44}{share:>8}  {bounds}"));
    };
    line("right", &r.clean);
    line(&format!("right under attack ({})", r.suite), &r.attacked);
    line(&format!("proved right ({})", r.bounds), &r.proved);
    let n = r.images.len().max(1) as f64;
    lines.push(format!(
        "robust accuracy of these images: {} to {}",
        percent(r.proved.value),
        percent(r.attacked.value)
    ));
    lines.push(format!(
        "bounds: {:.1} s ({:.2} ms an image); attacks: {:.1} s; images proved and fallen: {}",
        r.seconds,
        1e3 * r.seconds / n,
        r.attacks.iter().map(|row| row.seconds).sum::<f64>(),
        r.contradictions.len()
    ));
    lines.join("\n")
}
