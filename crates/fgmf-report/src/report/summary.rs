//! The summary in words and the key figures.

use crate::escape::{capital, count, decimal, escape, listed, number, percent};
use crate::html::interval_words;
use crate::legend::named;
use fgmf_record::{
    CurvePoint, MeanRecord, ModelRecord, Norm, Proportion, ReportRecord, ThreatRecord,
};

/// The point of the curve at the threat's radius, if it has one.
fn threat_point<'a>(report: &ReportRecord, model: &'a ModelRecord) -> Option<&'a CurvePoint> {
    let mut points = model.curve.iter();
    points.find(|p| same_radius(p.eps, report.threat.eps))
}

/// Robust accuracy at the threat's radius, if the curve has that point.
pub(crate) fn at_threat<'a>(
    report: &ReportRecord,
    model: &'a ModelRecord,
) -> Option<&'a Proportion> {
    threat_point(report, model).map(|p| &p.robust)
}

/// What is proved at the threat's radius, if that was asked.
fn proved<'a>(report: &ReportRecord, model: &'a ModelRecord) -> Option<&'a Proportion> {
    let point = threat_point(report, model)?;
    point.proved.as_ref().filter(|p| p.n > 0)
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
    let mut sentences = vec![trained(report)];
    sentences.extend(report.models.iter().map(|m| answers(report, m)));
    sentences.extend([allowance(&report.threat), masked(report), explained(report)]);
    let sentences = sentences.join(" ");
    format!(
        "<div class=\"summary\"><p class=\"lead\">{sentences}</p><p \
            class=\"note\"><b>How to read the figures under attack.</b> {} The full suite, with \
            more attacks that know the defence or need no gradient, is a separate command, \
            <code>fgmf attack --suite adaptive</code>.</p></div>",
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
    let what = escape(&report.attack);
    let all: Vec<String> = names.iter().map(|n| escape(n)).collect();
    let mut text = match all.as_slice() {
        [] => format!("They come from this attack: {what}. So they are {bound}"),
        [one] => format!("They come from one attack ({one}): {what}. So they are {bound}"),
        _ => format!(
            "They come from {} attacks ({}): {what}. An image counts as right only if it \
                withstands each of them. The figures are {bound}",
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

/// Three to five tiles: accuracy without and under attack, what is proved, signs of masking,
/// steadiness of the explanations.
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
    let clean = each(&|i, m| {
        let loss = m.clean_loss.map(|v| format!("<br>cross-entropy {v:.3}"));
        let detail = interval_words(&m.clean) + &loss.unwrap_or_default();
        figure(&share(&m.clean), i, &m.title, &detail)
    });
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
    if report
        .models
        .iter()
        .any(|m| proved(report, m).is_some_and(|p| p.count > 0))
    {
        let figures = each(&|i, m| match proved(report, m) {
            Some(p) => figure(&share(p), i, &m.title, &interval_words(p)),
            None => figure("–", i, &m.title, "no bounds for this network"),
        });
        let title = format!("Proved right, eps {}", number(report.threat.eps));
        tiles += &tile(&title, &figures);
    }
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
    format!("<div class=\"tile\"><p class=\"tile-title\">{label}</p>{figures}</div>")
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
    if report.models.iter().any(|m| m.objective.is_empty()) {
        return gone_on(report);
    }
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
    let train = &report.train;
    format!(
        "{how_many} trained on {} images of {} ({} classes): {}.",
        count(train.n),
        escape(&train.name),
        train.classes.len(),
        listed(&models)
    )
}

/// What became of a model that came in.
fn gone_on(report: &ReportRecord) -> String {
    let train = &report.train;
    let one = |m: &ModelRecord| {
        let title = escape(&m.title);
        if m.objective.is_empty() {
            return format!("<b>{title}</b> is the model that came in.");
        }
        format!(
            "<b>{title}</b> is the same network after {} epochs of {} on images of {} ({} images, \
                {} classes).",
            count(m.training.len()),
            escape(&m.objective),
            escape(&train.name),
            count(train.n),
            train.classes.len()
        )
    };
    let sentences: Vec<String> = report.models.iter().map(one).collect();
    sentences.join(" ")
}

/// How many images a model answers rightly, in two numbers.
fn answers(report: &ReportRecord, model: &ModelRecord) -> String {
    let title = escape(&model.title);
    let right = |p: &Proportion| format!("<b>{}</b> of {}", count(p.count), count(p.n));
    let measured = |p: &&Proportion| p.n > 0;
    let clean = Some(&model.clean).filter(measured).map(right);
    let attacked = at_threat(report, model).filter(measured).map(right);
    match (clean, attacked) {
        (Some(clean), Some(attacked)) => {
            let proved = proved(report, model).filter(|p| p.count > 0).map(|p| {
                let share = right(p);
                format!(" For {share} it is proved that no attack of this size can change that.")
            });
            format!(
                "{title} gives the right class for {clean} test images, and for {attacked} once \
                 they are attacked.{}",
                proved.unwrap_or_default()
            )
        }
        (Some(clean), None) => format!(
            "{title} gives the right class for {clean} test images; it was not measured under \
             this attack."
        ),
        (None, _) => format!("{title} was not measured."),
    }
}

/// What the attacker may do, in words.
fn allowance(threat: &ThreatRecord) -> String {
    let (eps, [low, high]) = (number(threat.eps), threat.bounds);
    let range = format!("{} to {}", number(low), number(high));
    match threat.norm {
        Norm::Linf => {
            format!("The attack may change every pixel by at most {eps} on a scale of {range}.")
        }
        Norm::L2 => format!(
            "The change that the attack makes may have a Euclidean length of at most {eps}, with \
             pixels from {range}."
        ),
        Norm::L1 => format!(
            "The changes of all pixels may add up to at most {eps}, with pixels from {range}."
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

/// Which of all figures of explanations tell the two models apart.
fn explained(report: &ReportRecord) -> String {
    let mut names: Vec<&str> = Vec::new();
    for mean in &report.explanations {
        if !names.contains(&mean.name.as_str()) {
            names.push(&mean.name);
        }
    }
    let [first, second] = report.models.as_slice() else {
        return if names.is_empty() {
            no_explanations(report).to_owned()
        } else {
            String::new()
        };
    };
    if names.is_empty() {
        return no_explanations(report).to_owned();
    }
    let apart = |name: &&&str| {
        let of = |m: &ModelRecord| mean_of(report, name, &m.id).map(|e| e.interval);
        of(first)
            .zip(of(second))
            .is_some_and(|(a, b)| a[0] > b[1] || b[0] > a[1])
    };
    let told: Vec<String> = names.iter().filter(apart).map(|n| escape(n)).collect();
    let (all, some) = (names.len(), told.len());
    let figures = "figures of the explanations";
    match (all, some) {
        (1, 0) => "The figure of the explanations does not tell the two models apart: \
                   its intervals overlap."
            .to_owned(),
        (_, 0) => format!(
            "None of the {all} {figures} tells the two models apart: their intervals overlap."
        ),
        _ => format!(
            "Of {all} {figures}, {some} {} the two models apart, because the intervals do not \
             overlap: {}.",
            if some == 1 { "tells" } else { "tell" },
            told.join("; ")
        ),
    }
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
        assert!(words(&report).contains("Of 1 figures of the explanations, 1 tells"));
        let mut same = report.explanations.clone();
        for mean in &mut same {
            mean.name = "<another>".to_owned();
            mean.interval = [0.2, 0.4];
        }
        report.explanations.splice(0..0, same);
        // The figure that tells the models apart is named, wherever it stands.
        assert!(
            words(&report).contains(
                "Of 2 figures of the explanations, 1 tells the two models apart, because \
                 the intervals do not overlap: overlap of PGCA, clean against attacked."
            ),
            "{}",
            words(&report)
        );
        report.explanations.truncate(2);
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
        assert!(
            words(&report)
                .contains("They come from one attack (pgd-20): PGD, 20 steps, 1 restart. So")
        );
        let names = ["pgd-20", "pgd-20-frozen-mask", "random-<search>"].map(str::to_owned);
        report.models[0].attacks = names.to_vec();
        report.models[1].attacks = vec![names[0].clone(), names[2].clone()];
        let page = words(&report);
        assert!(
            page.contains(
                "They come from 3 attacks (pgd-20, pgd-20-frozen-mask and \
                    random-&lt;search&gt;): PGD"
            ) && page.contains("Standard was not attacked with pgd-20-frozen-mask.")
                && page.matches("was not attacked").count() == 1,
            "{page}"
        );
        report.models.iter_mut().for_each(|m| m.attacks.clear());
        assert!(
            words(&report).contains("They come from this attack: PGD, 20 steps, 1 restart. So")
        );
    }

    #[test]
    fn a_model_that_came_in_is_not_called_trained() {
        let mut report = fixture::report();
        report.models[1].objective.clear();
        report.models[1].training.clear();
        let page = words(&report);
        assert!(
            page.contains("<b>Standard</b> is the model that came in."),
            "{page}"
        );
        assert!(
            page.contains("<b>Hardened</b> is the same network after"),
            "{page}"
        );
        assert!(!page.contains("classifiers were trained"), "{page}");
    }

    #[test]
    fn what_is_proved_is_said_of_the_model_it_is_proved_of() {
        let mut report = fixture::report();
        let page = words(&report);
        let count = report.models[0].curve[1].proved.unwrap().count;
        let said = format!("For <b>{count}</b> of 1,700 it is proved that no attack");
        assert!(page.contains(&said), "{page}");
        assert_eq!(page.matches("it is proved").count(), 1);
        assert!(tiles(&report).contains("Proved right, eps 0.1"));
        assert!(tiles(&report).contains("no bounds for this network"));
        for point in report.models.iter_mut().flat_map(|m| &mut m.curve) {
            point.proved = point.proved.map(|p| Proportion::new(0, p.n));
        }
        assert!(!words(&report).contains("it is proved") && !tiles(&report).contains("Proved"));
    }

    #[test]
    fn a_radius_off_the_curve_is_not_filled_in() {
        let mut report = fixture::report();
        assert!((at_threat(&report, &report.models[0]).unwrap().value - 0.72).abs() < 1e-9);
        report.threat.eps = 0.07;
        assert_eq!(at_threat(&report, &report.models[0]), None);
        assert!(
            words(&report).contains("it was not measured under")
                && tiles(&report).contains("not measured at this radius")
        );
    }
}
