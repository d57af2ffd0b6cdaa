//! One page for whoever works with the model and knows no machine learning: what was tested, how
//! often it was wrong, when not to rely on it, and what a warning looks like.

use crate::escape::{count, escape, percent};
use fgmf_record::{AuditFigure, AuditRecord, CheckOutcome, ResilienceRow};

/// A fall of accuracy that is worth a sentence.
const FALL: f64 = 0.05;
/// The p below which it is told from chance.
const SURE: f64 = 0.05;

/// The result in words.
pub(crate) fn result(record: &AuditRecord) -> &'static str {
    match record.outcome {
        _ if record.checks.is_empty() => "nothing was required",
        CheckOutcome::Passed => "all that was required holds",
        CheckOutcome::Warned => "what was required holds, with reservations",
        CheckOutcome::Failed => "something that was required does not hold",
    }
}

/// Wrong answers of a hundred: `15 of 100 answers were wrong (13 to 17)`.
fn wrong(figure: Option<&AuditFigure>, what: &str) -> String {
    let Some(f) = figure.filter(|f| f.n > 0) else {
        return "this was not measured".to_owned();
    };
    let of = |share: f64| (100.0 * (1.0 - share)).round().max(0.0);
    let [low, high] = f.interval;
    format!(
        "<b>{} of 100 {what}wrong</b> (between {} and {} of 100 if other images of this kind are \
         shown)",
        of(f.value),
        of(high),
        of(low)
    )
}

fn mark(outcome: CheckOutcome) -> (&'static str, &'static str) {
    match outcome {
        CheckOutcome::Passed => ("good", "✓"),
        CheckOutcome::Warned => ("warn", "!"),
        CheckOutcome::Failed => ("bad", "✗"),
    }
}

/// The page.
pub(crate) fn page(record: &AuditRecord) -> String {
    let (class, sign) = mark(record.outcome);
    let tested = format!(
        "<p class=\"lead\"><b>What was tested.</b> The model was shown {} images of {} kinds of \
         things from {}, as they are, changed as cameras and files change them, and changed on \
         purpose to mislead it.</p>",
        count(record.data.n),
        record.graph.classes,
        escape(&record.data.name),
    );
    let attacked: Vec<String> = record
        .robustness
        .iter()
        .map(|r| {
            let figure = record.figure(&format!("robust-accuracy@{}", r.eps));
            let parts = (r.threat.eps * 255.0 * 10.0).round() / 10.0;
            format!(
                "When somebody changes an image on purpose by at most {parts} of 255 steps of \
             brightness {}, {}.",
                match r.threat.norm {
                    fgmf_record::Norm::Linf => "at each pixel",
                    _ => "over the whole image",
                },
                wrong(figure, "were ")
            )
        })
        .collect();
    let often = format!(
        "<p class=\"lead\"><b>How often it was wrong.</b> On images as they are, {}. {} A more \
         skilled attacker may do worse damage than this.</p>",
        wrong(record.figure("accuracy"), "answers were "),
        attacked.join(" ")
    );
    format!(
        "<p class=\"state {class}\"><span aria-hidden=\"true\">{sign}</span> In this audit {}. \
         This is a measurement, and no permission to use the model.</p>{tested}{often}{}{}",
        result(record),
        when_not(record),
        alarm(record)
    )
}

fn fallen(row: &&ResilienceRow) -> bool {
    row.against_clean.difference <= -FALL && row.against_clean.p < SURE
}

/// When not to rely on it.
fn when_not(record: &AuditRecord) -> String {
    let mut items = Vec::new();
    for row in record.resilience.iter().filter(fallen) {
        let points = (-100.0 * row.against_clean.difference).round();
        items.push(format!(
            "when images look like this: {} (about {points} more wrong answers of 100)",
            escape(&row.what)
        ));
    }
    let clean = record.figure("accuracy").map_or(0.0, |f| f.interval[0]);
    let recalls = record.figures.iter().filter_map(|f| {
        let class = f.id.strip_prefix("recall:")?;
        (f.interval[1] < clean).then_some((class, f))
    });
    let mut recalls: Vec<(&str, &AuditFigure)> = recalls.collect();
    recalls.sort_by(|a, b| a.1.value.total_cmp(&b.1.value));
    for (class, f) in recalls.into_iter().take(5) {
        items.push(format!(
            "when the thing shown may be <b>{}</b>: it is missed {} times of 100",
            escape(class),
            (100.0 * (1.0 - f.value)).round()
        ));
    }
    if let Some(f) = record
        .figure("calibration-error")
        .filter(|f| f.interval[0] > FALL)
    {
        items.push(format!(
            "when it only says how sure it is: the percentage that it names is off by {} points on \
             average",
            (100.0 * f.value).round()
        ));
    }
    if let Some(f) = record
        .figure("non-finite-noticed")
        .filter(|f| f.value < 1.0)
    {
        items.push(format!(
            "when the camera or the file is faulty: of images with a broken value it answered {} \
             of {} as if nothing were wrong",
            f.n - f.count.unwrap_or(0).min(f.n),
            f.n
        ));
    }
    if record
        .robustness
        .iter()
        .any(|r| r.verdict.level != fgmf_record::Level::Trustworthy)
    {
        items.push(
            "when somebody may want to mislead it: signs were seen that the attacks were hindered, \
             so the true figure may be worse"
                .to_owned(),
        );
    }
    items.push(
        "for anything that this page does not name: other kinds of images, other tasks, people who \
         hide or wear something to mislead it, or a model that was changed since"
            .to_owned(),
    );
    let items: String = items.iter().map(|i| format!("<li>{i}.</li>")).collect();
    format!("<h3>Do not rely on it</h3><ul class=\"plain\">{items}</ul>")
}

/// What a warning looks like.
fn alarm(record: &AuditRecord) -> String {
    let share = |kind: &str| {
        let f = record.figure(&format!("withheld:pgca:{kind}"))?;
        (f.n > 0).then(|| (percent(f.value), f.n))
    };
    let text = match (share("clean"), share("attacked")) {
        (Some((clean, n)), attacked) => {
            let attacked = attacked.map_or_else(String::new, |(share, n)| {
                format!(
                    ", and for {share} of {} images that had misled the model",
                    count(n)
                )
            });
            format!(
                "A coloured map shows which parts of the image an answer rests on. If its two \
                 halves contradict each other, the map is withheld and the reason stands in its \
                 place. Take that as a warning. It happened for {clean} of {} ordinary \
                 images{attacked}. A map that is shown can be wrong, too.",
                count(n)
            )
        }
        _ => "No warnings were measured in this audit. Do not expect the model to say when it is \
              wrong."
            .to_owned(),
    };
    format!("<h3>What a warning looks like</h3><p>{text}</p>")
}
