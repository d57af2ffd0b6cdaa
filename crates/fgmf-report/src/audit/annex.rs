//! The engineer's annex: every figure, with what it rests on.

use crate::chart::{Axis, Chart, Point, Series, Ticks};
use crate::escape::{count, decimal, escape, number, percent};
use crate::facts;
use crate::html::{list, mean_detail, stacked, table};
use fgmf_record::{AuditFigure, AuditRecord, CheckOutcome, IntervalKind, Level, Proportion};

fn heads(names: &[&str]) -> String {
    names
        .iter()
        .map(|h| format!("<th scope=\"col\">{h}</th>"))
        .collect()
}

fn nothing(text: &str) -> String {
    format!("<p>{text}</p>")
}

/// A figure as a cell: value above, interval and images below.
fn cell(figure: Option<&AuditFigure>) -> String {
    let Some(f) = figure.filter(|f| f.n > 0) else {
        return stacked("–", "not measured");
    };
    if f.interval_by == IntervalKind::Wilson {
        let [low, high] = f.interval.map(|v| 100.0 * v);
        let bounds = format!("[{low:.1},\u{a0}{high:.1}], n\u{a0}=\u{a0}{}", count(f.n));
        return stacked(&percent(f.value), &bounds);
    }
    stacked(&decimal(f.value), &mean_detail(f.interval, f.n))
}

/// What was stated beforehand, and whether it holds.
pub(crate) fn checks(record: &AuditRecord) -> String {
    if record.checks.is_empty() {
        return nothing("Nothing was stated beforehand, so nothing can fail.");
    }
    let rows: String = record
        .checks
        .iter()
        .map(|c| {
            let class = match c.outcome {
                CheckOutcome::Passed => "good",
                CheckOutcome::Warned => "warn",
                CheckOutcome::Failed => "bad",
            };
            format!(
                "<tr><th scope=\"row\">{}</th><td><b class=\"{class}\">{}</b></td><td>{}</td></tr>",
                escape(&c.condition),
                c.outcome,
                escape(&c.found)
            )
        })
        .collect();
    format!(
        "<p>A threshold is PASSED where the whole 95% interval keeps to it, WARNED where the value \
         does and the interval does not, FAILED where the value does not.</p>{}",
        table(
            "",
            ["Checks", ""],
            &heads(&["Condition", "outcome", "found"]),
            &rows
        )
    )
}

/// Accuracy against eps, and what each attack did.
pub(crate) fn robustness(record: &AuditRecord) -> String {
    if record.robustness.is_empty() {
        return nothing("Attacks: not measured.");
    }
    let of = |eps: &str| record.figure(&format!("robust-accuracy@{eps}"));
    let point = |x: f64, f: &AuditFigure| Point {
        x,
        y: f.value,
        band: Some(f.interval),
    };
    let clean = record.figure("accuracy").map(|f| point(0.0, f));
    let attacked = record.robustness.iter();
    let attacked = attacked.filter_map(|r| Some(point(r.threat.eps, of(&r.eps)?)));
    let points: Vec<Point> = clean.into_iter().chain(attacked).collect();
    let farthest = record
        .robustness
        .iter()
        .map(|r| r.threat.eps)
        .fold(0.0, f64::max);
    let chart = |size| Chart {
        label: "Accuracy against eps; the table holds the same numbers.".to_owned(),
        size,
        x: Axis {
            title: "eps, in pixel units of 0 to 1".to_owned(),
            range: Some([0.0, farthest]),
            ticks: Ticks::Plain,
        },
        y: Axis {
            title: "accuracy".to_owned(),
            range: Some([0.0, 1.0]),
            ticks: Ticks::Percent,
        },
        mark: None,
        series: vec![Series {
            style: 0,
            points: points
                .iter()
                .map(|p| Point {
                    x: p.x,
                    y: p.y,
                    band: p.band,
                })
                .collect(),
        }],
    };
    let chart = if points.len() > 1 {
        format!(
            "<figure class=\"curve\"><div class=\"wide\">{}</div><div class=\"narrow\">{}</div>\
             </figure>",
            chart([600.0, 340.0]).svg(),
            chart([400.0, 300.0]).svg()
        )
    } else {
        String::new()
    };
    let mut out = format!(
        "<p>Worst case of all attacks for each image: an upper bound on what the model withstands. \
         Every image that broke it is kept.</p>{chart}"
    );
    for r in &record.robustness {
        let eps = escape(&r.eps);
        let class = if r.verdict.level == Level::Trustworthy {
            "good"
        } else {
            "warn"
        };
        let flags: String = r
            .verdict
            .flags
            .iter()
            .map(|f| format!("<li>{}: {}</li>", escape(&f.id), escape(&f.advice)))
            .collect();
        let flags = if flags.is_empty() {
            flags
        } else {
            format!("<ul>{flags}</ul>")
        };
        let rows: String = r
            .attacks
            .iter()
            .map(|a| {
                format!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td></tr>",
                    escape(&a.name),
                    count(a.attempted),
                    count(a.broken),
                    count(a.passes.forward as usize),
                    count(a.passes.backward as usize),
                )
            })
            .collect();
        let attack_heads = [
            "Attack",
            "images",
            "broken",
            "forward passes",
            "backward passes",
        ];
        let label = format!("Attacks at eps {eps}");
        out += &format!(
            "<h3>eps {eps}</h3>{}<p>Verdict on gradient masking: <b class=\"{class}\">{}</b>, {} \
             checks made ({}).</p>{flags}{}",
            list(
                "facts",
                [
                    ("Clean", cell(record.figure("accuracy"))),
                    ("Robust", cell(of(&r.eps))),
                    (
                        "Lowest class",
                        cell(record.figure(&format!("worst-robust-recall@{}", r.eps))),
                    ),
                    (
                        "Broken images that survive 8 bits",
                        cell(record.figure(&format!("survives-8-bits@{}", r.eps))),
                    ),
                ]
            ),
            r.verdict.level,
            r.verdict.checks.len(),
            escape(&r.verdict.checks.join(", ")),
            table("numbers", [&label, ""], &heads(&attack_heads), &rows),
        );
    }
    out
}

/// Accuracy of each class, and the confusion matrix.
pub(crate) fn classes(record: &AuditRecord) -> String {
    if record.confusion.is_empty() {
        return nothing("Classes: not measured.");
    }
    let name = |k: usize| record.data.class_name(k);
    let some = |k: &usize| record.class_counts.get(*k).is_some_and(|n| *n > 0);
    let all: Vec<usize> = (0..record.confusion.len()).filter(some).collect();
    let mut names = vec!["Class".to_owned(), "clean".to_owned()];
    names.extend(
        record
            .robustness
            .iter()
            .map(|r| format!("eps {}", escape(&r.eps))),
    );
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let row = |k: &usize| {
        let class = name(*k);
        let clean = cell(record.figure(&format!("recall:{class}")));
        let robust: String = record
            .robustness
            .iter()
            .map(|r| {
                let id = format!("robust-recall:{class}@{}", r.eps);
                format!("<td>{}</td>", cell(record.figure(&id)))
            })
            .collect();
        let class = escape(&class);
        format!("<tr><th scope=\"row\">{class}</th><td>{clean}</td>{robust}</tr>")
    };
    let rows: String = all.iter().map(row).collect();
    let recalls = table(
        "numbers",
        ["Accuracy of each class", ""],
        &heads(&names),
        &rows,
    );
    // A matrix of many classes is read by machines: audit.json has it.
    let matrix = if record.confusion.len() > 20 {
        nothing("The confusion matrix is in audit.json.")
    } else {
        let columns: Vec<String> = (0..record.confusion.len())
            .map(|k| escape(&name(k)))
            .collect();
        let mut top = vec!["True class"];
        top.extend(columns.iter().map(String::as_str));
        let row = |(k, counts): (usize, &Vec<usize>)| {
            let cell = |(j, n): (usize, &usize)| {
                let class = if j == k { " class=\"own\"" } else { "" };
                format!("<td{class}>{n}</td>")
            };
            let cells: String = counts.iter().enumerate().map(cell).collect();
            format!(
                "<tr><th scope=\"row\">{}</th>{cells}</tr>",
                escape(&name(k))
            )
        };
        let rows: String = record.confusion.iter().enumerate().map(row).collect();
        let caption = "Rows: true class. Columns: class that the model names.";
        table("matrix", ["Confusion matrix", caption], &heads(&top), &rows)
    };
    format!("{recalls}<h3>What is taken for what</h3>{matrix}")
}

/// Accuracy on changed images.
pub(crate) fn resilience(record: &AuditRecord) -> String {
    if record.resilience.is_empty() {
        return nothing("Changed images: not measured.");
    }
    let row = |r: &fgmf_record::ResilienceRow| {
        let p = &r.against_clean;
        let points = |v: f64| format!("{:+.1}", 100.0 * v).replace('-', "\u{2212}");
        let interval = format!(
            "[{},\u{a0}{}]",
            points(p.interval[0]),
            points(p.interval[1])
        );
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td><td>{}</td></tr>",
            escape(&r.what),
            cell(record.figure(&format!("accuracy:{}", r.id))),
            stacked(&points(p.difference), &interval),
            count(p.only_first),
            count(p.only_second),
            number(p.p),
        )
    };
    let rows: String = record.resilience.iter().map(row).collect();
    let names = [
        "Change",
        "accuracy",
        "points against clean",
        "lost",
        "gained",
        "p (McNemar)",
    ];
    let noticed = record.figure("non-finite-noticed");
    format!(
        "<p>Nobody chose these changes to do harm. p-values are not corrected for their \
         number.</p>{}<p>A value that is no number in the middle of an image was noticed (the \
         model refused, or named no class) in {}.</p>",
        table("numbers", ["Changed images", ""], &heads(&names), &rows),
        noticed.map_or_else(
            || "no measured case".to_owned(),
            |f| format!("{} of {} cases", count(f.count.unwrap_or(0)), count(f.n))
        )
    )
}

/// Probabilities named against shares right.
pub(crate) fn calibration(record: &AuditRecord) -> String {
    if record.calibration.is_empty() {
        return nothing("Probabilities: not measured.");
    }
    let row = |b: &fgmf_record::CalibrationBin| {
        let right = Proportion::new(b.right, b.n);
        format!(
            "<tr><th scope=\"row\">{} to {}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            percent(b.above),
            percent(b.up_to),
            count(b.n),
            percent(b.confidence),
            percent(right.value)
        )
    };
    let rows: String = record
        .calibration
        .iter()
        .filter(|b| b.n > 0)
        .map(row)
        .collect();
    let names = ["Probability named", "images", "mean probability", "right"];
    format!(
        "<p>Expected calibration error:</p>{}{}",
        list(
            "facts",
            [(
                "Calibration error",
                cell(record.figure("calibration-error"))
            )]
        ),
        table("numbers", ["Calibration", ""], &heads(&names), &rows)
    )
}

/// Figures of explainers.
pub(crate) fn explanations(record: &AuditRecord) -> String {
    if record.explainers.is_empty() {
        return nothing("Explanations: not measured, because the policy did not ask for them.");
    }
    let wanted = ["explanation:", "withheld:", "agreement:"];
    let of = |f: &&AuditFigure| wanted.iter().any(|w| f.id.starts_with(w));
    let row = |f: &AuditFigure| {
        let (what, better, value) = (escape(&f.what), f.better, cell(Some(f)));
        format!("<tr><th scope=\"row\">{what}</th><td>{value}</td><td>{better}</td></tr>")
    };
    let rows: String = record.figures.iter().filter(of).map(row).collect();
    let figures = table(
        "numbers",
        ["Figures", ""],
        &heads(&["Figure", "value", "better"]),
        &rows,
    );
    if record.shifts.is_empty() {
        return figures + &nothing("No image broke the model, so no attacked image was explained.");
    }
    let row = |s: &fgmf_record::ShiftRow| {
        let p = &s.paired;
        format!(
            "<tr><th scope=\"row\">{}, {}</th><td>{}</td><td>{}</td></tr>",
            escape(&s.explainer),
            escape(&s.figure),
            stacked(&decimal(p.difference), &mean_detail(p.interval, p.n)),
            number(p.wilcoxon.p)
        )
    };
    let rows: String = record.shifts.iter().map(row).collect();
    let names = ["Figure", "attacked less clean", "p (Wilcoxon)"];
    let shifts = table("numbers", ["Shifts", ""], &heads(&names), &rows);
    format!(
        "{figures}<h3>The same images before and after the attack</h3><p>Those that broke the \
         model; the class explained is the one that it named before.</p>{shifts}"
    )
}

/// Threats that something looked at, and those that nothing did.
pub(crate) fn coverage(record: &AuditRecord) -> String {
    let rows = |items: &[fgmf_record::CoverageItem]| -> String {
        items
            .iter()
            .map(|i| {
                format!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
                    escape(&i.id),
                    escape(&i.name),
                    escape(&i.by)
                )
            })
            .collect()
    };
    let c = &record.coverage;
    format!(
        "<p>By {}. “Tested” says that something looked, not that the threat is ruled \
         out.</p><h3>Not tested</h3>{}<h3>Tested</h3>{}",
        escape(&c.vocabularies.join(" and ")),
        table(
            "",
            ["Not tested", ""],
            &heads(&["Id", "name", "why not"]),
            &rows(&c.not_tested)
        ),
        table(
            "",
            ["Tested", ""],
            &heads(&["Id", "name", "by"]),
            &rows(&c.tested)
        ),
    )
}

/// Model, data, policy, files.
pub(crate) fn evidence(record: &AuditRecord) -> String {
    let [c, h, w] = record.graph.image;
    let thresholds = &record.policy.thresholds;
    let files: String = record
        .robustness
        .iter()
        .map(|r| {
            let name = escape(&r.adversarial);
            format!("<li>{name} {}</li>", facts::hash(&r.adversarial_sha256))
        })
        .collect();
    let rows = [
        ("Model", facts::model_file(&record.model)),
        (
            "Graph",
            format!(
                "images {c} x {h} x {w}, {} classes, {} stored numbers",
                record.graph.classes,
                count(record.graph.stored_numbers)
            ),
        ),
        ("Data", facts::data(&record.data)),
        (
            "Policy",
            format!(
                "{}; suite {}, {} thresholds",
                facts::hash(&record.policy.sha256),
                escape(&record.policy.suite),
                thresholds.len()
            ),
        ),
        (
            "Build",
            format!(
                "fgmf {}, numerics {}, {}",
                escape(&record.version),
                record.build.numerics,
                escape(&record.build.instruction_set)
            ),
        ),
        ("Images that broke it", format!("<ul>{files}</ul>")),
    ];
    format!(
        "{}<p>To check it: <code>fgmf verify FOLDER --key KEY --model MODEL --data DATA</code>, \
or, without anything of ours, <code>python check.py MODEL</code>.</p>",
        list("definitions", rows)
    )
}
