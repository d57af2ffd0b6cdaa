//! What `fgmf attack` prints, and how it ends.

use crate::arguments::{Arguments, Attack};
use crate::commands::shared::{ended_without, heading, interval, percent};
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf_record::{AttackRecord, Level, QueryRecord};

/// Prints a record whose JSON is `text`, and says whether the thresholds that were asked for hold.
pub(super) fn ended_with(
    global: &Arguments,
    a: &Attack,
    record: &AttackRecord,
    text: String,
    left_out: &[String],
) -> Result<Outcome> {
    console::result(&if global.json { text } else { table(record) })?;
    let masked = a.fail_on_masking && record.verdict.level != Level::Trustworthy;
    let robust = record.overall.robust_accuracy;
    let low = a.min_robust.is_some_and(|m| robust < m);
    let ended = ended_without(left_out);
    Ok(if masked || low {
        Outcome::BelowThreshold
    } else {
        ended
    })
}

fn table(r: &AttackRecord) -> String {
    let mut lines = vec![
        heading(&r.model, &r.data, &r.threat),
        format!(
            "{:<32}{:>8}  {:<18}{:>8}{:>9}{:>12}{:>9}",
            "", "right", "Wilson 95%", "tried", "broken", "passes", "seconds"
        ),
        format!(
            "{:<32}{:>8}  {:<18}",
            "clean",
            percent(r.clean.accuracy),
            interval(r.clean.interval)
        ),
    ];
    for row in &r.attacks {
        lines.push(format!(
            "{:<32}{:>8}  {:<18}{:>8}{:>9}{:>12}{:>9.1}",
            row.name,
            percent(row.robust_accuracy),
            interval(row.interval),
            row.attempted,
            row.broken,
            row.passes.forward + row.passes.backward,
            row.seconds
        ));
    }
    lines.push(format!(
        "{:<32}{:>8}  {:<18}",
        "worst case",
        percent(r.overall.robust_accuracy),
        interval(r.overall.interval)
    ));
    for p in &r.curve {
        let label = format!("all attacks at eps {}", p.eps);
        lines.push(format!(
            "{label:<32}{:>8}  {:<18}",
            percent(p.robust.value),
            interval(p.robust.interval)
        ));
    }
    if let Some(kept) = &r.in_8_bits {
        let (count, n) = (kept.count, kept.n);
        lines.push(format!(
            "saved with 8 bits a channel, {count} of {n} adversarial images still fool the model"
        ));
    }
    if r.stopped_early {
        lines.push(format!(
            "stopped after {} examples: the answer to --min-robust is known",
            r.clean.n
        ));
    }
    if let Some(q) = &r.queries {
        lines.push(queries(q));
        if q.cut_short > 0 {
            lines.push(format!(
                "{} of the images that stand were given up: no image was left to ask about",
                q.cut_short
            ));
        }
        lines.push("the model gave no gradients: robust accuracy is an upper bound".to_owned());
    }
    lines.push(format!(
        "masking verdict: {} (checks: {})",
        r.verdict.level,
        r.verdict.checks.join(", ")
    ));
    lines.extend(
        r.verdict
            .flags
            .iter()
            .map(|f| format!("  {}: {} ({})", f.id, f.advice, counts(&f.evidence))),
    );
    lines.join("\n")
}

/// Evidence without the lists of examples, which attack.json holds.
fn counts(evidence: &serde_json::Value) -> serde_json::Value {
    let Some(fields) = evidence.as_object() else {
        return evidence.clone();
    };
    fields
        .iter()
        .filter(|(_, v)| !v.is_array())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// What was asked of a model behind an address.
fn queries(q: &QueryRecord) -> String {
    let limits = [
        ("--queries", q.budget),
        ("--queries-per-image", q.per_image),
    ];
    let limits = limits
        .into_iter()
        .filter_map(|(flag, n)| Some(format!(", {flag} {}", n?)));
    let lost = match q.unanswered {
        0 => String::new(),
        n => format!(", {n} of them without an answer"),
    };
    format!(
        "images asked about: {}{lost}{}",
        q.asked,
        limits.collect::<String>()
    )
}
