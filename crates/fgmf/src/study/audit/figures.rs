//! The figures of an audit, each with what it rests on and what it does not say.

use crate::error::Result;
use crate::measure::calibration::{calibration_error, calibration_interval};
use crate::metric::map_shift;
use crate::record::{
    AuditFigure, CalibrationBin, Direction, ExampleRecord, FigureRow, IntervalKind, Proportion,
    mean_interval,
};
use crate::study::audit::answers::Answered;
use crate::study::audit::explanations::{ATTACKED, CLEAN, Explanations, Methods, WITHHOLDS};
use crate::study::audit::job::AuditJob;
use crate::study::audit::robustness::AtRadius;

/// Resamples behind the interval of the calibration error.
const ROUNDS: usize = 1000;

const SHARE: &str = "a share of these images; other images, cameras or classes may differ";
const CLASS: &str = "one class of these images, so few of them; intervals of several classes are \
                     not corrected for their number";
const WORST: &str = "the lowest of all classes; the interval is that of this one class, as if it \
                     had been chosen beforehand";
const BOUND: &str = "an upper bound: no attack of the suite broke more, another one may; it speaks \
                     of perturbations within the ball and of nothing else";
const ERROR: &str = "biased upwards where bins hold few images; it speaks of the class named alone";
const MAP: &str = "a figure of maps, not of truth: methods that a metric likes may still mislead";
const NOTICED: &str = "one value in the middle of an image";

fn share(id: String, what: String, p: Proportion, limits: &str, better: Direction) -> AuditFigure {
    AuditFigure {
        id,
        what,
        value: p.value,
        interval: p.interval,
        interval_by: IntervalKind::Wilson,
        n: p.n,
        count: Some(p.count),
        better,
        limits: limits.into(),
    }
}

fn mean(id: String, what: String, values: &[f64], better: Direction) -> AuditFigure {
    let (value, interval) = mean_interval(values);
    AuditFigure {
        id,
        what,
        value,
        interval,
        interval_by: IntervalKind::Normal,
        n: values.len(),
        count: None,
        better,
        limits: MAP.into(),
    }
}

fn count(of: impl Iterator<Item = bool>) -> Proportion {
    let (right, n) = of.fold((0, 0), |(right, n), r| (right + usize::from(r), n + 1));
    Proportion::new(right, n)
}

/// The share that is right of each class that has images, with the class.
fn by_class(labels: &[usize], right: &[bool], classes: usize) -> Vec<(usize, Proportion)> {
    let of = |k: usize| {
        let rows = labels.iter().zip(right).filter(move |(l, _)| **l == k);
        (k, count(rows.map(|(_, r)| *r)))
    };
    (0..classes).map(of).filter(|(_, p)| p.n > 0).collect()
}

fn lowest(classes: &[(usize, Proportion)]) -> Option<Proportion> {
    let all = classes.iter().map(|(_, p)| *p);
    all.min_by(|a, b| a.value.total_cmp(&b.value))
}

/// Names of classes as ids have them.
fn class(job: &AuditJob<'_>, k: usize) -> String {
    job.facts.class_name(k)
}

/// Clean accuracy, recall of each class, calibration.
pub(crate) fn clean(
    job: &AuditJob<'_>,
    found: &Answered,
    bins: &[CalibrationBin],
) -> Result<Vec<AuditFigure>> {
    let labels = job.data.labels();
    let mut out = vec![share(
        "accuracy".into(),
        "images whose class is right".into(),
        count(found.right.iter().copied()),
        SHARE,
        Direction::Higher,
    )];
    let classes = by_class(labels, &found.right, job.facts.classes.len());
    if let Some(p) = lowest(&classes) {
        let what = "images that are right, of the class with the fewest".to_owned();
        out.push(share(
            "worst-recall".into(),
            what,
            p,
            WORST,
            Direction::Higher,
        ));
    }
    for (k, p) in classes {
        let name = class(job, k);
        let what = format!("images of {name} that are right");
        out.push(share(
            format!("recall:{name}"),
            what,
            p,
            CLASS,
            Direction::Higher,
        ));
    }
    let interval = calibration_interval(
        &found.confidence,
        &found.right,
        job.policy.bins,
        ROUNDS,
        job.policy.seed,
    )?;
    out.push(AuditFigure {
        id: "calibration-error".into(),
        what: "mean gap between the probability named and the share right".into(),
        value: calibration_error(bins),
        interval,
        interval_by: IntervalKind::Bootstrap,
        n: found.right.len(),
        count: None,
        better: Direction::Lower,
        limits: ERROR.into(),
    });
    Ok(out)
}

/// Robust accuracy at a radius, and that of each class.
pub(crate) fn robust(job: &AuditJob<'_>, eps: &str, found: &AtRadius) -> Vec<AuditFigure> {
    let stands: Vec<bool> = found
        .examples
        .iter()
        .map(|e: &ExampleRecord| e.robust)
        .collect();
    let what = format!("images whose class stays right after every attack at eps {eps}");
    let mut out = vec![share(
        format!("robust-accuracy@{eps}"),
        what,
        count(stands.iter().copied()),
        BOUND,
        Direction::Higher,
    )];
    let classes = by_class(job.data.labels(), &stands, job.facts.classes.len());
    if let Some(p) = lowest(&classes) {
        let id = format!("worst-robust-recall@{eps}");
        let what = format!("images that stay right at eps {eps}, of the class with the fewest");
        out.push(share(id, what, p, WORST, Direction::Higher));
    }
    for (k, p) in classes {
        let name = class(job, k);
        let id = format!("robust-recall:{name}@{eps}");
        let what = format!("images of {name} that stay right at eps {eps}");
        out.push(share(id, what, p, CLASS, Direction::Higher));
    }
    let what =
        format!("images that broke the model at eps {eps}, and still do with 8 bits a value");
    out.push(share(
        format!("survives-8-bits@{eps}"),
        what,
        found.in_8_bits,
        "a rounded image may lie outside the ball by half a step",
        Direction::Lower,
    ));
    out
}

/// The share right of changed images.
pub(crate) fn changed(id: &str, what: &str, right: &[bool]) -> AuditFigure {
    let what = format!("images whose class is right: {what}");
    let right = count(right.iter().copied());
    share(
        format!("accuracy:{id}"),
        what,
        right,
        SHARE,
        Direction::Higher,
    )
}

/// How often a value that is no number is noticed.
pub(crate) fn noticed(found: &[bool]) -> AuditFigure {
    let what = "images with a value that is no number, which the model refuses or gives no class";
    let found = count(found.iter().copied());
    share(
        "non-finite-noticed".into(),
        what.into(),
        found,
        NOTICED,
        Direction::Higher,
    )
}

fn explanation(row: &FigureRow, input: &str) -> AuditFigure {
    let values: Vec<f64> = row.values.iter().flatten().copied().collect();
    let what = match input {
        CLEAN => format!("{} of {}, clean images", row.figure, row.explainer),
        _ => format!(
            "{} of {}, images that broke the model",
            row.figure, row.explainer
        ),
    };
    mean(
        explanation_id(&row.explainer, &row.figure, input),
        what,
        &values,
        row.better,
    )
}

fn explanation_id(explainer: &str, figure: &str, input: &str) -> String {
    format!("explanation:{explainer}:{figure}:{input}")
}

/// Figures of explainers.
pub(crate) fn explained(found: &Explanations) -> Vec<AuditFigure> {
    let clean = found.clean.rows.iter().map(|row| explanation(row, CLEAN));
    let attacked = found
        .attacked
        .rows
        .iter()
        .filter(|row| row.input == ATTACKED);
    let attacked = attacked.map(|row| explanation(row, ATTACKED));
    let mut out: Vec<AuditFigure> = clean.chain(attacked).collect();
    for (kind, maps) in &found.withheld {
        let what = format!("maps that are withheld, {kind} images");
        let withheld = count(maps.withheld.iter().copied());
        out.push(share(
            format!("withheld:{WITHHOLDS}:{kind}"),
            what,
            withheld,
            "what is withheld is not shown; what is shown may still be wrong",
            Direction::Lower,
        ));
        let what = format!("agreement of the two parts of a map, {kind} images");
        let id = format!("agreement:{WITHHOLDS}:{kind}");
        out.push(mean(id, what, &maps.agreement, Direction::Higher));
    }
    out
}

/// Every id that an audit of this policy may have.
pub(crate) fn ids(job: &AuditJob<'_>, changes: &[&str], methods: Option<&Methods>) -> Vec<String> {
    let counts = job.data.class_counts();
    let classes = counts.iter().enumerate().filter(|(_, n)| **n > 0);
    let classes: Vec<String> = classes.map(|(k, _)| class(job, k)).collect();
    let mut out: Vec<String> = ["accuracy", "worst-recall", "calibration-error"]
        .map(str::to_owned)
        .to_vec();
    out.extend(classes.iter().map(|c| format!("recall:{c}")));
    for (eps, _) in &job.policy.eps {
        let whole = ["robust-accuracy", "worst-robust-recall", "survives-8-bits"];
        out.extend(whole.map(|name| format!("{name}@{eps}")));
        out.extend(classes.iter().map(|c| format!("robust-recall:{c}@{eps}")));
    }
    out.extend(changes.iter().map(|id| format!("accuracy:{id}")));
    out.push("non-finite-noticed".into());
    let Some(methods) = methods else {
        return out;
    };
    for explainer in methods.explainers.iter().map(|e| e.id()) {
        let figures = methods.metrics.iter().flat_map(|m| m.info().figures);
        for figure in figures {
            for kind in [CLEAN, ATTACKED] {
                out.push(explanation_id(explainer, figure.id, kind));
            }
        }
        for figure in map_shift::INFO.figures {
            out.push(explanation_id(explainer, figure.id, ATTACKED));
        }
        if explainer == WITHHOLDS {
            for kind in [CLEAN, ATTACKED] {
                out.push(format!("withheld:{explainer}:{kind}"));
                out.push(format!("agreement:{explainer}:{kind}"));
            }
        }
    }
    out
}
