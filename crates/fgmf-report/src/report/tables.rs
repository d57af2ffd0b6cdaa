//! Sections of figures: accuracy against eps, signs of masking, explanations under attack, training
//! curves.

use crate::chart::{Axis, Chart, Point, Series, Ticks};
use crate::escape::{capital, count, decimal, escape, norm, number, percent};
use crate::html::{mean_detail, proportion_cell, stacked, table};
use crate::legend::{model_heads, named};
use crate::report::summary::{mean_of, no_explanations, same_radius};
use fgmf_record::{CurvePoint, EpochRecord, ModelRecord, MonitorRecord, Proportion, ReportRecord};

/// Chart and table of accuracy against eps.
pub(crate) fn accuracy(report: &ReportRecord) -> String {
    if report.models.is_empty() {
        return nothing("No model was measured.");
    }
    let intro = format!(
        "Share of the {} test images whose class is still right after an attack of that \
            radius. Bands and brackets are 95% Wilson intervals.{}",
        count(report.test.n),
        proofs(report)
    );
    let entry = |(i, m): (usize, &ModelRecord)| {
        let warning = if m.flags.is_empty() {
            ""
        } else {
            " <span class=\"warn\">⚠ signs of masking</span>"
        };
        format!("<span>{}{warning}</span>", named(i, &m.title))
    };
    let legend: String = report.models.iter().enumerate().map(entry).collect();
    let legend = legend + &proved_legend(report);
    let chart = |width: f64, height: f64| curve_chart(report, [width, height]).svg();
    format!(
        "<p>{intro}</p><div class=\"{}\"><figure class=\"curve\"><div \
            class=\"legend\">{legend}</div><div class=\"wide\">{}</div><div \
            class=\"narrow\">{}</div></figure>{}</div>",
        // A third model needs the width of the page for its column.
        if report.models.len() <= 2 {
            "pair"
        } else {
            "stack"
        },
        chart(600.0, 500.0),
        chart(400.0, 340.0),
        curve_table(report)
    )
}

/// Whether something is proved of a model at a radius above 0.
fn has_proofs(model: &ModelRecord) -> bool {
    let above = |p: &CurvePoint| p.eps > 0.0 && p.proved.is_some_and(|proved| proved.count > 0);
    model.curve.iter().any(above)
}

/// What proofs are, and of which model there are none.
fn proofs(report: &ReportRecord) -> String {
    let mut text = String::new();
    if report.models.iter().any(has_proofs) {
        text += " <b>Proved</b> are images of which interval bounds show that no change of that \
            size alters the answer, whatever the attack. Between this share and the one above \
            lies the truth.";
    }
    for model in report.models.iter().filter(|m| !m.unbounded.is_empty()) {
        let (title, why) = (escape(&model.title), escape(&model.unbounded));
        text += &format!(" Nothing is proved of {title}: {why}.");
    }
    text
}

/// Position of a model's line of proofs among the styles.
fn proved_style(models: usize, model: usize) -> usize {
    models + model
}

fn proved_legend(report: &ReportRecord) -> String {
    let models = report.models.iter().enumerate();
    models
        .filter(|(_, m)| has_proofs(m))
        .map(|(i, m)| {
            let key = proved_style(report.models.len(), i);
            format!(
                "<span>{}</span>",
                named(key, &format!("{}, proved", m.title))
            )
        })
        .collect()
}

fn curve_chart(report: &ReportRecord, size: [f64; 2]) -> Chart {
    let proved = report
        .models
        .iter()
        .enumerate()
        .filter(|(_, m)| has_proofs(m));
    let proved = proved.map(|(i, model)| Series {
        style: proved_style(report.models.len(), i),
        points: model
            .curve
            .iter()
            .filter_map(|p| {
                let proved = p.proved.filter(|proved| proved.n > 0)?;
                Some(Point {
                    x: p.eps,
                    y: proved.value,
                    band: Some(proved.interval),
                })
            })
            .collect(),
    });
    let series = report.models.iter().enumerate().map(|(style, model)| {
        let point = |p: &CurvePoint| Point {
            x: p.eps,
            y: p.robust.value,
            band: Some(p.robust.interval),
        };
        Series {
            style,
            points: curve(model)
                .iter()
                .filter(|p| p.robust.n > 0)
                .map(point)
                .collect(),
        }
    });
    let eps = report.threat.eps;
    let axis = |title: String, range, ticks| Axis {
        title,
        range,
        ticks,
    };
    let farthest = report
        .models
        .iter()
        .flat_map(|m| &m.curve)
        .map(|p| p.eps)
        .fold(eps, f64::max);
    Chart {
        label: "Accuracy against eps; the table below holds the same numbers.".to_owned(),
        size,
        x: axis(
            format!(
                "eps, {} radius of the attack, in input units",
                norm(report.threat.norm)
            ),
            Some([0.0, farthest]),
            Ticks::Plain,
        ),
        y: axis("accuracy".to_owned(), Some([0.0, 1.0]), Ticks::Percent),
        mark: Some((eps, format!("threat, eps {}", number(eps)))),
        // The hardened model comes first in the record and lies on top in the chart.
        series: proved.chain(series.rev()).collect(),
    }
}

/// The curve with the unattacked accuracy at 0 unless it holds that point itself.
fn curve(model: &ModelRecord) -> Vec<CurvePoint> {
    let mut points = model.curve.clone();
    if !points.iter().any(|p| same_radius(p.eps, 0.0)) {
        points.push(CurvePoint {
            eps: 0.0,
            robust: model.clean,
            proved: None,
        });
    }
    points.sort_by(|a, b| a.eps.total_cmp(&b.eps));
    points
}

/// What is proved at a radius above 0, on a line of its own.
fn proved_detail(point: &CurvePoint) -> String {
    let share = |p: Proportion| {
        let percent = percent(p.value);
        format!("<br><span class=\"detail\">proved {percent}</span>")
    };
    let proved = point.proved.filter(|p| p.n > 0 && point.eps > 0.0);
    proved.map_or_else(String::new, share)
}

fn curve_table(report: &ReportRecord) -> String {
    let curves: Vec<Vec<CurvePoint>> = report.models.iter().map(curve).collect();
    let mut radii: Vec<f64> = curves.iter().flatten().map(|p| p.eps).collect();
    radii.sort_by(f64::total_cmp);
    radii.dedup_by(|a, b| same_radius(*a, *b));
    let row = |&eps: &f64| {
        let cell = |curve: &Vec<CurvePoint>| {
            let point = curve.iter().find(|p| same_radius(p.eps, eps));
            format!(
                "<td>{}</td>",
                point.map_or_else(
                    || stacked("–", "not measured"),
                    |p| proportion_cell(&p.robust) + &proved_detail(p)
                )
            )
        };
        let threat = same_radius(eps, report.threat.eps);
        let note = if same_radius(eps, 0.0) {
            " <span class=\"detail\">no attack</span>"
        } else if threat {
            " <span class=\"detail\">threat</span>"
        } else {
            ""
        };
        let class = if threat { " class=\"threat\"" } else { "" };
        format!(
            "<tr{class}><th scope=\"row\">{}{note}</th>{}</tr>",
            number(eps),
            curves.iter().map(cell).collect::<String>()
        )
    };
    let heads = model_heads(report.models.iter().enumerate());
    let rows: String = radii.iter().map(row).collect();
    table(
        "numbers",
        [
            "Accuracy against eps",
            "Percent of images, [95% interval in percent], images.",
        ],
        &format!("<th scope=\"col\">eps</th>{heads}"),
        &rows,
    )
}

/// Flags of each model, or the words for none.
pub(crate) fn masking(report: &ReportRecord) -> String {
    let intro = "A defence that only hides its gradient looks robust until somebody attacks it \
        another way. This run looked for signs of that; where one is seen, accuracy under attack \
        is not counted as robustness. Seeing none is no proof that there is none.";
    let each = report.models.iter().enumerate().map(|(i, model)| {
        let found = if model.flags.is_empty() {
            "<p class=\"good\">✓ none of the signs checked here was seen</p>".to_owned()
        } else {
            let items: String = model
                .flags
                .iter()
                .map(|f| format!("<li>{}</li>", escape(f)))
                .collect();
            format!(
                "<p class=\"bad\">⚠ {} seen</p><ul>{items}</ul>",
                count(model.flags.len())
            )
        };
        let checks = escape(&model.checks.join(", "));
        format!(
            "<div class=\"panel\"><h3>{}</h3>{found}<p class=\"detail\">Checked: \
            {checks}.</p></div>",
            named(i, &model.title)
        )
    });
    format!(
        "<p>{intro}</p><div class=\"panels\">{}</div>",
        each.collect::<String>()
    )
}

/// Means over many examples, one row a figure, the models side by side.
pub(crate) fn explanations(report: &ReportRecord) -> String {
    let mut names: Vec<&str> = Vec::new();
    for mean in &report.explanations {
        if !names.contains(&mean.name.as_str()) {
            names.push(&mean.name);
        }
    }
    if names.is_empty() {
        return nothing(no_explanations(report));
    }
    let cell = |name: &str, model: &ModelRecord| {
        let text = mean_of(report, name, &model.id).map_or_else(
            || stacked("–", "not measured"),
            |e| stacked(&decimal(e.mean), &mean_detail(e.interval, e.n)),
        );
        format!("<td>{text}</td>")
    };
    let row = |name: &&str| {
        let reading = report
            .explanations
            .iter()
            .find(|e| e.name == **name)
            .map_or("", |e| &e.reading);
        let cells: String = report.models.iter().map(|m| cell(name, m)).collect();
        format!(
            "<tr><th scope=\"row\">{}<span class=\"detail\">{}</span></th>{cells}</tr>",
            escape(&capital(name)),
            escape(reading)
        )
    };
    let heads = model_heads(report.models.iter().enumerate());
    let rows: String = names.iter().map(row).collect();
    format!(
        "<p>The same explainer is run on each image before and after the attack. An \
            explanation that moves a lot although the image still shows the same thing is a poor \
            basis for a decision.</p>{}",
        table(
            "means",
            [
                "How far explanations move under attack",
                "Mean, [95% interval of the mean], images.",
            ],
            &format!("<th scope=\"col\">figure</th>{heads}"),
            &rows
        )
    )
}

/// Small charts of accuracy and of each part of the objective, a row a model.
pub(crate) fn training(report: &ReportRecord) -> String {
    let trained = |(_, m): &(usize, &ModelRecord)| !m.training.is_empty();
    let each = report.models.iter().enumerate().filter(trained);
    let each = each.map(|(style, model)| {
        let log = &model.training;
        let mut charts = epochs(style, "training accuracy", Ticks::Percent, log, |e| {
            Some(e.train_accuracy)
        });
        if log.iter().any(|e| e.validation.is_some()) {
            charts += &epochs(style, "held out, no attack", Ticks::Percent, log, |e| {
                e.validation.map(|v| v.clean.value)
            });
            charts += &epochs(style, "held out, attacked", Ticks::Percent, log, |e| {
                e.validation.map(|v| v.robust.value)
            });
        }
        for (title, ticks, of) in WATCHED {
            if log
                .iter()
                .any(|e| e.monitor.as_ref().and_then(of).is_some())
            {
                let value = |e: &EpochRecord| e.monitor.as_ref().and_then(of);
                charts += &epochs(style, title, ticks, log, value);
            }
        }
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in log.iter().flat_map(|e| &e.parts) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        for name in names {
            charts += &epochs(style, name, Ticks::Plain, log, |e| {
                e.parts.iter().find(|p| p.0 == name).map(|p| p.1)
            });
        }
        charts += &epochs(style, "learning rate", Ticks::Plain, log, |e| {
            Some(e.learning_rate)
        });
        let seconds: f64 = log.iter().map(|e| e.seconds).sum();
        let last = log.last().map_or_else(String::new, |e| {
            format!(", last training accuracy {}", percent(e.train_accuracy))
        });
        let facts = format!(
            "{} epochs, {} s{last}",
            count(log.len()),
            number(seconds.round())
        );
        format!(
            "<div class=\"run\"><h3>{}</h3><p class=\"detail\">{facts}</p><div \
                class=\"multiples\">{charts}</div></div>",
            named(style, &model.title)
        )
    });
    let runs: String = each.collect();
    if runs.is_empty() {
        nothing("No model was trained.")
    } else {
        runs
    }
}

/// What is looked at after an epoch: title, axis, and where it stands.
type Watched = (&'static str, Ticks, fn(&MonitorRecord) -> Option<f64>);

const WATCHED: [Watched; 5] = [
    ("training images under PGD", Ticks::Percent, |m| {
        Some(m.robust)
    }),
    ("gradient on salient pixels", Ticks::Plain, |m| {
        Some(m.salient)
    }),
    ("gradient on other pixels", Ticks::Plain, |m| Some(m.rest)),
    ("gradient like the image", Ticks::Percent, |m| {
        Some(m.alignment)
    }),
    ("top curvature", Ticks::Plain, |m| m.curvature),
];

fn epochs(
    style: usize,
    title: &str,
    ticks: Ticks,
    log: &[EpochRecord],
    value: impl Fn(&EpochRecord) -> Option<f64>,
) -> String {
    let point = |e: &EpochRecord| {
        Some(Point {
            x: e.epoch as f64,
            y: value(e)?,
            band: None,
        })
    };
    let chart = Chart {
        label: format!("{title} by epoch"),
        size: [212.0, 160.0],
        x: Axis {
            title: "epoch".to_owned(),
            range: None,
            ticks: Ticks::Whole,
        },
        y: Axis {
            title: String::new(),
            range: (ticks == Ticks::Percent).then_some([0.0, 1.0]),
            ticks,
        },
        mark: None,
        series: vec![Series {
            style,
            points: log.iter().filter_map(point).collect(),
        }],
    };
    format!(
        "<figure><figcaption>{}</figcaption>{}</figure>",
        escape(title),
        chart.svg()
    )
}

fn nothing(words: &str) -> String {
    format!("<p class=\"detail\">{words}</p>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn proofs_are_a_line_a_cell_and_a_word() {
        let mut report = fixture::report();
        let page = accuracy(&report);
        assert!(page.contains("<b>Proved</b> are images of which interval bounds show"));
        assert!(page.contains("Hardened, proved") && !page.contains("Standard, proved"));
        assert_eq!(page.matches(">proved 36.0%<").count(), 2, "{page}");
        let with = curve_chart(&report, [600.0, 500.0]).series.len();
        report.models[1].unbounded = "no rule for <Mul>".to_owned();
        for point in &mut report.models[0].curve {
            point.proved = None;
        }
        let page = accuracy(&report);
        assert!(page.contains("Nothing is proved of Standard: no rule for &lt;Mul&gt;."));
        assert!(!page.contains("<b>Proved</b>") && !page.contains(">proved "));
        assert_eq!(curve_chart(&report, [600.0, 500.0]).series.len() + 1, with);
    }

    #[test]
    fn the_curve_starts_at_the_unattacked_accuracy_once() {
        let mut report = fixture::report();
        let with_clean = curve(&report.models[0]);
        assert!(
            with_clean[0].robust == report.models[0].clean
                && with_clean.len() == report.models[0].curve.len() + 1
        );
        report.models[0].curve = with_clean.clone();
        assert_eq!(curve(&report.models[0]), with_clean);
    }

    #[test]
    fn figures_of_one_name_share_a_row() {
        let report = fixture::report();
        let rows = explanations(&report);
        assert_eq!(
            (
                rows.matches("<tr>").count(),
                rows.matches("Overlap").count()
            ),
            (2, 1),
            "{rows}"
        );
    }
}
