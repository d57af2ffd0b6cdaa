//! The summary in words and the key figures.

use crate::escape::{capital, count, decimal, escape, listed, number, percent};
use crate::html::interval_words;
use crate::legend::named;
use fgmf_record::{MeanRecord, ModelRecord, Norm, Proportion, ReportRecord, ThreatRecord};

/// Robust accuracy at the threat's radius, if the curve has that point.
pub(crate) fn at_threat<'a>(
    report: &ReportRecord,
    model: &'a ModelRecord,
) -> Option<&'a Proportion> {
    model
        .curve
        .iter()
        .find(|p| same_radius(p.eps, report.threat.eps))
        .map(|p| &p.robust)
}

/// Whether two radii are one radius that was written down twice.
pub(crate) fn same_radius(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1e-6)
}

/// One paragraph in plain words, and how to read the figures under attack.
pub(crate) fn words(report: &ReportRecord) -> String {
    if report.models.is_empty() {
        return "<div class=\"summary\"><p class=\"lead\">This report holds no model.</p></div>"
            .to_owned();
    }
    let sentences = [
        trained(report),
        unattacked(report),
        attacked(report),
        masked(report),
        explained(report),
    ]
    .join(" ");
    format!(
        "<div class=\"summary\"><p class=\"lead\">{sentences}</p><p \
            class=\"note\"><b>How to read the figures under attack.</b> {} The full suite, with \
            more attacks that know the defence or need no gradient, is a separate command, \
            <code>fgmf attack --suite adaptive</code>. Gradient masking is looked for, named and \
            never counted as robustness.</p></div>",
        origin(report)
    )
}

/// Which attacks the figures come from, and what follows from that.
fn origin(report: &ReportRecord) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in report.models.iter().flat_map(|m| &m.attacks) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let bound = "an upper bound: a stronger attack can only lower them.";
    let all: Vec<String> = names.iter().map(|n| escape(n)).collect();
    let mut text = match all.as_slice() {
        [] => format!("They come from the attack named above, so they are {bound}"),
        [one] => format!("They come from one attack ({one}), so they are {bound}"),
        _ => format!(
            "They come from {} attacks ({}). An image counts as right only if it withstands each \
                of them. The figures are {bound}",
            count(all.len()),
            listed(&all)
        ),
    };
    for model in report.models.iter().filter(|m| !m.attacks.is_empty()) {
        let spared: Vec<String> = names
            .iter()
            .filter(|n| !model.attacks.contains(n))
            .map(|n| escape(n))
            .collect();
        if !spared.is_empty() {
            let title = escape(&model.title);
            text += &format!(" {title} was not attacked with {}.", listed(&spared));
        }
    }
    text
}

/// Three or four tiles: accuracy without and under attack, signs of masking, steadiness of the
/// explanations.
pub(crate) fn tiles(report: &ReportRecord) -> String {
    if report.models.is_empty() {
        return String::new();
    }
    let each = |figure: &dyn Fn(usize, &ModelRecord) -> String| -> String {
        report
            .models
            .iter()
            .enumerate()
            .map(|(i, m)| figure(i, m))
            .collect()
    };
    let clean = each(&|i, m| figure(&share(&m.clean), i, &m.title, &interval_words(&m.clean)));
    let robust = each(&|i, m| {
        let Some(p) = at_threat(report, m) else {
            return figure("–", i, &m.title, "not measured at this radius");
        };
        let warning = if m.flags.is_empty() {
            ""
        } else {
            "<br><span class=\"warn\">⚠ signs of masking: not counted as robustness</span>"
        };
        figure(&share(p), i, &m.title, &(interval_words(p) + warning))
    });
    let masking = each(&|i, m| {
        let detail = if m.flags.is_empty() {
            "none of the signs checked here was seen"
        } else {
            "listed under Signs of masking"
        };
        figure(&m.flags.len().to_string(), i, &m.title, detail)
    });
    let mut tiles = tile("Accuracy without attack", &clean)
        + &tile(
            &format!("Accuracy under attack, eps {}", number(report.threat.eps)),
            &robust,
        );
    tiles += &tile("Signs of masking", &masking);
    if let Some(name) = report.explanations.first().map(|e| e.name.as_str()) {
        let figures: String = report
            .models
            .iter()
            .enumerate()
            .filter_map(|(i, m)| {
                let mean = mean_of(report, name, &m.id)?;
                let detail = format!(
                    "95% interval {} to {}, n\u{a0}=\u{a0}{}",
                    decimal(mean.interval[0]),
                    decimal(mean.interval[1]),
                    count(mean.n)
                );
                Some(figure(&decimal(mean.mean), i, &m.title, &detail))
            })
            .collect();
        tiles += &tile(&escape(&capital(name)), &figures);
    }
    format!("<div class=\"tiles\">{tiles}</div>")
}

fn tile(label: &str, figures: &str) -> String {
    format!("<div class=\"tile\"><h3>{label}</h3>{figures}</div>")
}

fn figure(value: &str, style: usize, title: &str, detail: &str) -> String {
    format!(
        "<div class=\"figure\"><b>{value}</b>{}<span class=\"detail\">{detail}</span></div>",
        named(style, title)
    )
}

fn share(p: &Proportion) -> String {
    if p.n == 0 {
        "–".to_owned()
    } else {
        percent(p.value)
    }
}

fn trained(report: &ReportRecord) -> String {
    let models: Vec<String> = report
        .models
        .iter()
        .map(|m| {
            format!(
                "<b>{}</b> ({}, trained with {})",
                escape(&m.title),
                escape(&m.architecture),
                escape(&m.objective)
            )
        })
        .collect();
    let how_many = match models.len() {
        1 => "One image classifier was".to_owned(),
        2 => "Two image classifiers were".to_owned(),
        n => format!("{n} image classifiers were"),
    };
    let (train, test) = (&report.train, &report.test);
    format!(
        "{how_many} trained on {} images of {} ({} classes): {}. The figures below come \
            from {} images of the {} split.",
        count(train.n),
        escape(&train.name),
        train.classes.len(),
        listed(&models),
        count(test.n),
        test.split
    )
}

fn unattacked(report: &ReportRecord) -> String {
    format!(
        "Without attack, {}.",
        clauses(report, "names", |m| Some(&m.clean))
    )
}

fn attacked(report: &ReportRecord) -> String {
    let shares = clauses(report, "still names", |m| at_threat(report, m));
    format!(
        "Under attack ({}), where {}, {shares}.",
        escape(&report.attack),
        allowance(&report.threat)
    )
}

/// `A names 84% of the images correctly (...) and B 91% (...)`: what stays the same is said once.
fn clauses<'a>(
    report: &'a ReportRecord,
    verb: &str,
    share: impl Fn(&'a ModelRecord) -> Option<&'a Proportion>,
) -> String {
    let mut first: Option<&Proportion> = None;
    let mut clause = |model: &'a ModelRecord| {
        let title = escape(&model.title);
        let Some(p) = share(model).filter(|p| p.n > 0) else {
            return format!("{title} was not measured");
        };
        let value = percent(p.value);
        let words = match first {
            None => format!(
                "{title} {verb} <b>{value}</b> of the images correctly ({})",
                interval_words(p)
            ),
            Some(one) if one.n == p.n => {
                format!(
                    "{title} <b>{value}</b> ({} to {})",
                    percent(p.interval[0]),
                    percent(p.interval[1])
                )
            }
            Some(_) => format!("{title} <b>{value}</b> ({})", interval_words(p)),
        };
        first = first.or(Some(p));
        words
    };
    listed(&report.models.iter().map(&mut clause).collect::<Vec<_>>())
}

/// What the attacker may do, in words.
fn allowance(threat: &ThreatRecord) -> String {
    let (eps, [low, high]) = (number(threat.eps), threat.bounds);
    let range = format!("{} to {}", number(low), number(high));
    match threat.norm {
        Norm::Linf => format!("every pixel may change by at most {eps} on a scale of {range}"),
        Norm::L2 => format!(
            "the whole change may have a Euclidean length of at most {eps}, with pixels \
                from {range}"
        ),
        Norm::L1 => format!(
            "the changes of all pixels may add up to at most {eps}, with pixels from {range}"
        ),
    }
}

fn masked(report: &ReportRecord) -> String {
    let flagged: Vec<String> = report
        .models
        .iter()
        .filter(|m| !m.flags.is_empty())
        .map(|m| {
            format!(
                "{} ({} {})",
                escape(&m.title),
                m.flags.len(),
                if m.flags.len() == 1 { "sign" } else { "signs" }
            )
        })
        .collect();
    if flagged.is_empty() {
        return "None of the signs of gradient masking checked here was seen.".to_owned();
    }
    format!(
        "Signs of gradient masking were seen in {}; accuracy under attack is not counted \
            as robustness there.",
        listed(&flagged)
    )
}

/// What stands in the place of figures of explanations.
pub(crate) fn no_explanations(report: &ReportRecord) -> &'static str {
    if report.pending.is_empty() {
        "How far explanations move under attack was not measured."
    } else {
        "How far explanations move under attack is still to come."
    }
}

fn explained(report: &ReportRecord) -> String {
    let Some(first) = report.explanations.first() else {
        return no_explanations(report).to_owned();
    };
    let means: Vec<(&ModelRecord, &MeanRecord)> = report
        .models
        .iter()
        .filter_map(|m| Some((m, mean_of(report, &first.name, &m.id)?)))
        .collect();
    let n_of_first = means.first().map(|(_, e)| e.n);
    let part = |(i, (m, e)): (usize, &(&ModelRecord, &MeanRecord))| {
        let name = if i == 0 { "95% interval " } else { "" };
        let n = if i == 0 || Some(e.n) != n_of_first {
            format!(", n\u{a0}=\u{a0}{}", count(e.n))
        } else {
            String::new()
        };
        let interval = format!(
            "{name}{} to {}{n}",
            decimal(e.interval[0]),
            decimal(e.interval[1])
        );
        format!(
            "<b>{}</b> for {} ({interval})",
            decimal(e.mean),
            escape(&m.title)
        )
    };
    let parts: Vec<String> = means.iter().enumerate().map(part).collect();
    let verdict = match means.as_slice() {
        [(_, a), (_, b)] if a.interval[0] > b.interval[1] || b.interval[0] > a.interval[1] => {
            " The two intervals are apart."
        }
        [_, _] => " The two intervals overlap, so this figure does not tell the two models apart.",
        _ => "",
    };
    format!(
        "Explanations, compared before and after the same attack ({}): {}. {}{verdict}",
        escape(&first.name),
        listed(&parts),
        escape(&first.reading)
    )
}

/// The figure of this name for this model.
pub(crate) fn mean_of<'a>(
    report: &'a ReportRecord,
    name: &str,
    model: &str,
) -> Option<&'a MeanRecord> {
    report
        .explanations
        .iter()
        .find(|e| e.name == name && e.model == model)
}

/// What a reader must know first: that the run is not done, or that it was a short one.
pub(crate) fn state(report: &ReportRecord) -> String {
    let mut out = String::new();
    if !report.pending.is_empty() {
        let items: String = report
            .pending
            .iter()
            .map(|p| format!("<li>{}</li>", escape(p)))
            .collect();
        out += &format!(
            "<div class=\"state\"><p><b>This page is not finished.</b> The run goes on and writes \
             it anew. Still to come:</p><ul>{items}</ul></div>"
        );
    }
    if !report.shortened.is_empty() {
        out += &format!(
            "<div class=\"state\"><p><b>A short run.</b> {}</p></div>",
            escape(&report.shortened)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_flagged_model_is_never_called_robust() {
        let mut report = fixture::report();
        assert!(words(&report).contains("None of the signs") && !tiles(&report).contains("⚠"));
        report.models[0].flags = vec!["more steps do not help".to_owned()];
        assert!(words(&report).contains(
            "seen in Hardened (1 sign); accuracy under attack is not counted as robustness there."
        ));
        assert!(tiles(&report).contains("not counted as robustness"));
    }

    #[test]
    fn overlapping_intervals_are_not_a_difference() {
        let mut report = fixture::report();
        assert!(words(&report).contains("intervals are apart"));
        report.explanations[1].interval = report.explanations[0].interval;
        assert!(words(&report).contains("does not tell the two models apart"));
    }

    #[test]
    fn a_page_that_grows_says_what_is_still_to_come() {
        let mut report = fixture::report();
        report.explanations.clear();
        assert!(words(&report).contains("was not measured"));
        report.pending = vec!["explanations".to_owned()];
        assert!(words(&report).contains("is still to come"));
        assert!(!words(&report).contains("was not measured"));
    }

    /// The demo runs three attacks on a model with a mask layer and two on the other.
    #[test]
    fn the_origin_of_the_figures_is_what_the_record_says() {
        let mut report = fixture::report();
        assert!(words(&report).contains("They come from one attack (pgd-20), so"));
        let names = ["pgd-20", "pgd-20-frozen-mask", "random-<search>"].map(str::to_owned);
        report.models[0].attacks = names.to_vec();
        report.models[1].attacks = vec![names[0].clone(), names[2].clone()];
        let page = words(&report);
        assert!(
            page.contains(
                "They come from 3 attacks (pgd-20, pgd-20-frozen-mask and random-&lt;search&gt;)."
            ) && page.contains("Standard was not attacked with pgd-20-frozen-mask.")
                && page.matches("was not attacked").count() == 1,
            "{page}"
        );
        report.models.iter_mut().for_each(|m| m.attacks.clear());
        assert!(words(&report).contains("They come from the attack named above, so"));
    }

    #[test]
    fn a_radius_off_the_curve_is_not_filled_in() {
        let mut report = fixture::report();
        assert!((at_threat(&report, &report.models[0]).unwrap().value - 0.72).abs() < 1e-9);
        report.threat.eps = 0.07;
        assert_eq!(at_threat(&report, &report.models[0]), None);
        assert!(
            words(&report).contains("Hardened was not measured")
                && tiles(&report).contains("not measured at this radius")
        );
    }
}
