//! `fgmf attack --served`: what maps that are served give to attackers by scores.

use crate::arguments::{Arguments, Attack, Served};
use crate::commands::memory::images_at_once;
use crate::commands::model::{UserModel, identity, identity_fields};
use crate::commands::shared::{
    data_for, data_record, ended_without, heading, interval, percent, threat_on, warn_of_chance,
};
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::explain::{MapSign, ServedForm, ServedFormParams, Work};
use fgmf::store::{Folder, build, refuse_another, remove, write};
use fgmf::study::{
    LeakageJob, ServedKind, blind_rows, leakage, leakage_attacks, leakage_forms, whole_faithfulness,
};
use fgmf::threat::Norm;
use fgmf_net::{Network, Session};
use fgmf_record::{LeakageRecord, Proportion, QueryRatio};
use serde_json::json;

/// Queries of an attack on one image unless others are asked for.
const BUDGET: u64 = 1000;

/// Explainer unless another is named.
const EXPLAINER: &str = "pgca";

/// Attacks unless others are named.
const ATTACKS: &str = "square,nes,evolution";

pub(super) fn run(global: &Arguments, a: &Attack, norm: Norm) -> Result<Outcome> {
    check(a)?;
    let kind = kind(&a.served)?;
    let budget = a.queries_per_image.unwrap_or(BUDGET);
    let names = a.suite.as_deref().unwrap_or(ATTACKS);
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    let attacks = leakage_attacks(&names, budget)?;
    let wanted = forms(&a.served)?;
    let mut model = UserModel::open(&a.model, &a.input)?;
    let whole = kind.explainer(&model.net)?;
    let forms = made(&kind, &model.net, &wanted)?;
    let data = data_for(&model.net, &a.data, &a.split, a.limit, model.fit)?;
    model.guard(&data)?;
    let (file, mut net) = (model.file, Session::new(model.net));
    let threat = threat_on(norm, a.eps, net.image_shape())?;
    // What is said of each image, and the images of a block with what they become.
    let held = 4096 * data.len() + 512 * data.shape().iter().product::<usize>();
    images_at_once(&mut [&mut net], a.memory, usize::MAX, held, Work::ATTACK)?;
    let _claim = Folder::claim(&a.out)?;
    let job = LeakageJob {
        net: &net,
        model_sha256: &identity(&file),
        data: &data,
        threat: &threat,
        attacks: &attacks,
        budget,
        whole: whole.as_deref(),
        forms: &forms,
        maps: a.served.map_budget,
        seed: a.seed,
    };
    let out = a.out.join("leakage.json");
    let own = json!({
        "model": identity_fields(&file),
        "data": { "sha256": data.sha256() },
        "threat": threat.record(),
        "served": kind.word(),
        "explainer": job.explainer_record(),
        "attacks": job.attack_records(),
        "budget": budget,
        "maps": job.maps,
        "seed": a.seed,
        "forms": job.form_records(),
    });
    refuse_another(&out, &own)?;
    let bar = console::bar(global.quiet, data.len(), "attacking");
    let state = a.out.join("leakage.state.jsonl");
    let found = leakage(&job, Some(&state), &mut |done| {
        bar.set_position(done as u64)
    })?;
    bar.finish_and_clear();
    let clean = Proportion::new(found.images.len(), data.len());
    warn_of_chance(clean.count, clean.n, net.classes());
    let [blind, by_image] = blind_rows(&job, &found.images);
    let record = LeakageRecord {
        model: file,
        data: data_record(&data),
        threat: threat.record(),
        served: kind.word().into(),
        explainer: job.explainer_record(),
        attacks: job.attack_records(),
        budget,
        maps: job.maps,
        seed: a.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        clean,
        blind,
        by_image,
        faithfulness: whole_faithfulness(&found.images),
        forms: job.form_records(),
        leaks: leakage_forms(&job, &found.images)?,
        passes: found.passes,
        images: found.images,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write(&out, text.as_bytes())?;
    remove(&state)?;
    console::result(&if global.json { text } else { table(&record) })?;
    Ok(ended_without(data.left_out()))
}

fn refused(flag: &'static str, expected: &str, found: impl std::fmt::Display) -> anyhow::Error {
    Error::parameter(flag, expected, found).into()
}

/// An error for a flag that a run with `--served` does not have.
fn check(a: &Attack) -> Result<()> {
    let others = [
        ("curve", a.curve.is_some()),
        ("min-robust", a.min_robust.is_some()),
        ("surrogate", a.surrogate.is_some()),
        ("fail-on-masking", a.fail_on_masking),
    ];
    if let Some((flag, _)) = others.into_iter().find(|(_, given)| *given) {
        return Err(refused(flag, "a run without --served", "both"));
    }
    if a.served.map_budget == Some(0) {
        return Err(refused("map-budget", "1 or more", 0));
    }
    Ok(())
}

fn kind(served: &Served) -> Result<ServedKind> {
    let explainer = served.served_explainer.as_deref();
    let settings = served.served_settings.as_deref();
    let own = explainer.is_some() || settings.is_some();
    match served.served.as_deref() {
        Some("maps") => {
            let text = settings.unwrap_or("{}");
            let settings = serde_json::from_str(text).map_err(|e| {
                let found = format!("{text} ({e})");
                refused("served-settings", "a JSON object of settings", found)
            })?;
            Ok(ServedKind::Maps(
                explainer.unwrap_or(EXPLAINER).into(),
                settings,
            ))
        }
        Some(word) if own => Err(refused("served-explainer", "--served maps", word)),
        Some("mask") => Ok(ServedKind::Mask),
        Some(word) if served.map_flags() => Err(refused(
            "map-side, map-bits, map-sign, map-budget",
            "--served maps or mask",
            word,
        )),
        _ => Ok(ServedKind::Scores),
    }
}

/// A number, or none for a word.
fn number_or<T: std::str::FromStr>(
    flag: &'static str,
    word: &str,
    given: &str,
) -> Result<Option<T>> {
    if given == word {
        return Ok(None);
    }
    let wrong = |_| refused(flag, &format!("a number, or `{word}`"), given);
    given.parse().map(Some).map_err(wrong)
}

/// Every side with every number of bits and every sign that was asked for.
fn forms(served: &Served) -> Result<Vec<ServedFormParams>> {
    let usual = ServedFormParams::default();
    let sides = served
        .map_side
        .iter()
        .map(|s| number_or("map-side", "full", s));
    let bits = served
        .map_bits
        .iter()
        .map(|b| number_or("map-bits", "exact", b));
    let signs = served.map_sign.iter().map(|s| Ok(s.parse::<MapSign>()?));
    let mut sides = sides.collect::<Result<Vec<Option<usize>>>>()?;
    let mut bits = bits.collect::<Result<Vec<Option<u8>>>>()?;
    let mut signs = signs.collect::<Result<Vec<MapSign>>>()?;
    if sides.is_empty() {
        sides.push(usual.side);
    }
    if bits.is_empty() {
        bits.push(usual.bits);
    }
    if signs.is_empty() {
        signs.push(usual.sign);
    }
    let mut out = Vec::new();
    for &side in &sides {
        for &bits in &bits {
            for &sign in &signs {
                let form = ServedFormParams {
                    side,
                    bits,
                    sign,
                    ..usual.clone()
                };
                if out.contains(&form) {
                    return Err(refused("map-side", "every form once", "one twice"));
                }
                out.push(form);
            }
        }
    }
    Ok(out)
}

/// The forms around what makes the maps; none where scores alone are served.
fn made(kind: &ServedKind, net: &Network, wanted: &[ServedFormParams]) -> Result<Vec<ServedForm>> {
    let mut out = Vec::new();
    for form in wanted {
        out.extend(kind.form(net, form)?);
    }
    Ok(out)
}

/// A figure with its interval.
fn with_interval((value, [lo, hi]): (f64, [f64; 2])) -> String {
    format!("{value:.3} [{lo:.3}, {hi:.3}]")
}

fn shown_ratio(ratio: &QueryRatio) -> String {
    let value = ratio.ratio.map_or_else(|| "–".into(), with_interval);
    format!("{value} (n = {})", ratio.n)
}

fn table(r: &LeakageRecord) -> String {
    let mut lines = vec![
        heading(&r.model, &r.data, &r.threat),
        format!(
            "{} images are named rightly and attacked; at most {} queries each; seed {}",
            r.clean.count, r.budget, r.seed
        ),
    ];
    let share = |p: &Proportion| format!("{} {}", percent(p.value), interval(p.interval));
    let head = |first: &str| {
        let (second, third, fourth) = ("success, Wilson 95%", "mean", "median");
        format!("\n{first:<18}{second:<28}{third:>7}{fourth:>8}")
    };
    let line = |attack: &str, success: &Proportion, mean: f64, median: f64| {
        format!("{attack:<18}{:<28}{mean:>7.1}{median:>8.1}", share(success))
    };
    for (name, rows) in [("scores alone", &r.blind), ("image for a map", &r.by_image)] {
        lines.push(head(name));
        let all = rows.iter();
        lines.extend(all.map(|row| line(&row.attack, &row.success, row.mean, row.median)));
    }
    if let (Some(explainer), Some(whole)) = (&r.explainer, r.faithfulness) {
        let text = with_interval(whole);
        lines.push(format!(
            "\nmaps of {}, LeRF minus MoRF (ROAD) {text}",
            explainer.id
        ));
    }
    for (form, leak) in r.forms.iter().zip(&r.leaks) {
        let of = |name: &str| form.parameters[name].to_string().replace('"', "");
        let name = |name: &str, none: &str| of(name).replace("null", none);
        lines.push(format!(
            "\nside {}, bits {}, {}: {} bits\nfaithfulness {}, kept {}",
            name("side", "full"),
            name("bits", "exact"),
            of("sign"),
            leak.bits_served,
            with_interval(leak.faithfulness),
            leak.kept.map_or_else(|| "–".into(), with_interval),
        ));
        lines.push(head("maps"));
        let all = leak.rows.iter();
        lines.extend(all.map(|row| line(&row.attack, &row.success, row.mean, row.median)));
        let (over, image) = ("over scores alone", "over image for a map");
        lines.push(format!("{:<18}{over:<34}{image}", "queries"));
        let rows = leak.rows.iter();
        let ratios = rows.map(|row| (row.attack.as_str(), &row.ratio, &row.over_image));
        for (name, over, image) in ratios.chain([("all", &leak.all, &leak.all_over_image)]) {
            let [over, image] = [over, image].map(shown_ratio);
            lines.push(format!("{name:<18}{over:<34}{image}"));
        }
    }
    lines.join("\n")
}
