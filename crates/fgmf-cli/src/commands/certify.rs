//! `fgmf certify`.

use crate::arguments::{Arguments, Certify, PatchSize};
use crate::commands::certify_ball;
use crate::commands::chosen::Settings;
use crate::commands::memory::images_at_once;
use crate::commands::model::{UserModel, identity, identity_fields};
use crate::commands::shared::{
    data_for, data_record, ended_without, how_chosen, interval, percent, warn_of_chance,
};
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::attack::patch::{PatchAttack, patch_attack};
use fgmf::certify::{BlindFill, MaskSet};
use fgmf::explain::Work;
use fgmf::store::{Folder, build, refuse_another, remove, write};
use fgmf::study::{CertifyJob, certify};
use fgmf::threat::PatchThreat;
use fgmf_net::Session;
use fgmf_record::{CertifyRecord, Proof, Proportion};
use serde_json::json;

pub(crate) fn run(global: &Arguments, a: &Certify) -> Result<Outcome> {
    if let Some(m) = a.min_proved.filter(|m| !(0.0..=1.0).contains(m)) {
        return Err(Error::parameter("min-proved", "0 to 1", m).into());
    }
    let patch = match (a.threat.as_str(), a.eps, a.patch) {
        ("patch", None, Some(patch)) => patch,
        ("patch", _, _) => {
            let found = "--eps, the radius of a norm";
            return Err(Error::parameter("threat", "linf, l2 or l1", found).into());
        }
        (norm, Some(eps), _) => return certify_ball::run(global, a, norm.parse()?, eps),
        (norm, None, _) => {
            let expected = format!("the radius of {norm}");
            return Err(Error::parameter("eps", expected, "none").into());
        }
    };
    let settings = Settings::read(a.settings.as_deref())?;
    let ids: Vec<&str> = a.attack.iter().map(String::as_str).collect();
    settings.check(&ids)?;
    let attacks = ids.iter().map(|id| patch_attack(id, settings.of(id)));
    let attacks = attacks.collect::<fgmf::Result<Vec<_>>>()?;
    let fill: BlindFill = a.fill.parse()?;
    let mut model = UserModel::open(&a.model, &a.input)?;
    let data = data_for(&model.net, &a.data, &a.split, a.limit, model.fit)?;
    model.guard(&data)?;
    let (file, mut net) = (model.file, Session::new(model.net));
    let [_, h, w] = net.image_shape();
    let size = match patch {
        PatchSize::Sides(sides) => sides,
        PatchSize::Share(share) => [PatchThreat::side_of_share(share, [h, w])?; 2],
    };
    let threat = PatchThreat::new(size, a.patches, [0.0, 1.0], [h, w])?;
    let masks = MaskSet::covering([h, w], &threat, a.masks)?;
    // What is said of each image, and the images of a block with what is asked about at once.
    let held = 256 * data.len() + 512 * data.shape().iter().product::<usize>();
    images_at_once(&mut [&mut net], a.memory, usize::MAX, held, Work::ATTACK)?;
    let _claim = Folder::claim(&a.out)?;
    let method = |a: &dyn PatchAttack| json!({ "id": a.id(), "parameters": a.parameters() });
    let made: Vec<_> = attacks.iter().map(|a| method(a.as_ref())).collect();
    let attacked = (!made.is_empty()).then(|| json!({ "attacks": made }));
    let out = a.out.join("certify.json");
    refuse_another(
        &out,
        &json!({
            "model": identity_fields(&file),
            "data": { "sha256": data.sha256() },
            "threat": threat.record(),
            "masks": masks.record(),
            "fill": fill.to_string(),
            "seed": a.seed,
            "attack": attacked,
        }),
    )?;
    let bar = console::bar(global.quiet, data.len(), "proving");
    let mut watch = |done: usize, right: usize| {
        bar.set_position(done as u64);
        let share = percent(right as f64 / done.max(1) as f64);
        bar.set_message(format!("{share} proved right"));
    };
    let state = a.out.join("certify.state.jsonl");
    let job = CertifyJob {
        net: &net,
        model_sha256: &identity(&file),
        data: &data,
        threat: &threat,
        masks: &masks,
        fill,
        attacks: &attacks,
        seed: a.seed,
    };
    let outcome = certify(&job, Some(&state), &mut watch)?;
    bar.finish_and_clear();
    let clean = outcome.share(|i| i.prediction == Some(i.label));
    warn_of_chance(clean.count, clean.n, net.classes());
    let record = CertifyRecord {
        model: file,
        data: data_record(&data),
        threat: threat.record(),
        masks: masks.record(),
        fill: fill.to_string(),
        seed: a.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        clean,
        defended: outcome.share(|i| i.defended == Some(i.label)),
        false_alarms: outcome.share(|i| i.alarm),
        proved_right: outcome.share(|i| i.proof == Proof::Right),
        proved_detected: outcome.share(|i| i.proof != Proof::Open),
        pictures: outcome.pictures(&job)?,
        passes: outcome.passes,
        seconds: outcome.seconds,
        attack: outcome.attack,
        images: outcome.images,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write(&out, text.as_bytes())?;
    let page = fgmf_report::certify_page(&record)?;
    write(&a.out.join("certify.html"), page.as_bytes())?;
    remove(&state)?;
    console::result(&if global.json { text } else { table(&record) })?;
    let fell = record.attack.map(|a| a.contradictions).unwrap_or_default();
    if !fell.is_empty() {
        // No image that was proved can fall: the proof, or what ran it, is wrong.
        let expected =
            "no proved image to fall to a patch; this is a bug of fgmf, please report it";
        let found = format!("{} of them: {fell:?}", fell.len());
        return Err(Error::mismatch("certify", expected, found).into());
    }
    let low = a.min_proved.is_some_and(|m| record.proved_right.value < m);
    let ended = ended_without(data.left_out());
    Ok(if low { Outcome::BelowThreshold } else { ended })
}

fn table(r: &CertifyRecord) -> String {
    let [rows, columns] = r.threat.size;
    let patches = match r.threat.count {
        1 => "a patch".to_owned(),
        n => format!("{n} patches"),
    };
    let mut lines = vec![
        format!(
            "{} on {} ({}, n = {}{}), {patches} of {rows}x{columns} anywhere",
            one_line(&r.model.file),
            one_line(&r.data.name),
            r.data.split,
            r.data.n,
            how_chosen(&r.data),
        ),
        format!(
            "{} masks of {}x{}, filled with {}: {} pairs",
            r.masks.masks, r.masks.size[0], r.masks.size[1], r.fill, r.masks.pairs
        ),
        format!("{:<44}{:>8}  Wilson 95%", "", "share"),
    ];
    let mut line = |name: &str, p: &Proportion| {
        let (share, bounds) = (percent(p.value), interval(p.interval));
        lines.push(format!("{name:<44}{share:>8}  {bounds}"));
    };
    line("right, bare model", &r.clean);
    line("right, defended model", &r.defended);
    line("false alarms of the detector", &r.false_alarms);
    line("proved right", &r.proved_right);
    line("proved right or detected", &r.proved_detected);
    if let Some(attack) = &r.attack {
        line("right under attack, bare model", &attack.bare);
        line("right under attack, defended model", &attack.defended);
        line("right or alarm under attack, detector", &attack.detected);
    }
    let n = r.images.len().max(1) as f64;
    lines.push(format!(
        "{} passes ({:.0} an image), {:.1} s ({:.1} ms an image)",
        r.passes.forward,
        r.passes.forward as f64 / n,
        r.seconds,
        1e3 * r.seconds / n
    ));
    if let Some(attack) = &r.attack {
        let ids: Vec<&str> = attack.attacks.iter().map(|a| a.id.as_str()).collect();
        lines.push(format!(
            "attacks: {}; {} passes, {:.1} s; images proved and fallen: {}",
            ids.join(", "),
            attack.passes.forward + attack.passes.backward,
            attack.seconds,
            attack.contradictions.len()
        ));
    }
    lines.join("\n")
}
