//! What was stated beforehand, held against what was found.
//!
//! A threshold t on a figure with value v and 95% interval [l, u]: FAILED where v is on the wrong
//! side of t; PASSED where l (for `least`) or u (for `most`) is on the right side, too; WARNED
//! between the two. A figure that was not measured is FAILED.

use crate::record::{AuditCheck, AuditFigure, CheckOutcome, Level, ThresholdRecord, VerdictRecord};

/// Whether a value and its interval keep to a threshold.
fn holds(t: &ThresholdRecord, figure: &AuditFigure) -> CheckOutcome {
    let inside = |v: f64| t.least.is_none_or(|l| v >= l) && t.most.is_none_or(|m| v <= m);
    if !inside(figure.value) {
        CheckOutcome::Failed
    } else if figure.interval.into_iter().all(inside) {
        CheckOutcome::Passed
    } else {
        CheckOutcome::Warned
    }
}

fn condition(t: &ThresholdRecord) -> String {
    let least = t.least.map(|l| format!("at least {l}"));
    let most = t.most.map(|m| format!("at most {m}"));
    let bounds: Vec<String> = least.into_iter().chain(most).collect();
    format!("{} is {}", t.figure, bounds.join(" and "))
}

/// A figure as messages have it.
pub(crate) fn words(f: &AuditFigure) -> String {
    let [low, high] = f.interval;
    format!(
        "{:.4}, 95% interval [{low:.4}, {high:.4}], n = {}",
        f.value, f.n
    )
}

/// A threshold, held against the figures.
pub(crate) fn threshold(t: &ThresholdRecord, figures: &[AuditFigure]) -> AuditCheck {
    let figure = figures.iter().find(|f| f.id == t.figure && f.n > 0);
    AuditCheck {
        id: t.figure.clone(),
        condition: condition(t),
        outcome: figure.map_or(CheckOutcome::Failed, |f| holds(t, f)),
        found: figure.map_or_else(|| "not measured".to_owned(), words),
    }
}

/// The masking verdict of a radius, held against the worst that is allowed.
pub(crate) fn masking(eps: &str, verdict: &VerdictRecord, worst: Level) -> AuditCheck {
    let outcome = match verdict.level {
        Level::Trustworthy => CheckOutcome::Passed,
        level if level <= worst => CheckOutcome::Warned,
        _ => CheckOutcome::Failed,
    };
    let flags: Vec<&str> = verdict.flags.iter().map(|f| f.id.as_str()).collect();
    let flags = if flags.is_empty() {
        "no sign".to_owned()
    } else {
        flags.join(", ")
    };
    let checks = verdict.checks.len();
    AuditCheck {
        id: format!("masking@{eps}"),
        condition: format!("the masking verdict at eps {eps} is {worst} or better"),
        outcome,
        found: format!("{}: {flags}, {checks} checks made", verdict.level),
    }
}

/// The worst of all; PASSED where nothing was stated.
pub(crate) fn worst(checks: &[AuditCheck]) -> CheckOutcome {
    let all = checks.iter().map(|c| c.outcome);
    all.max().unwrap_or(CheckOutcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Direction, IntervalKind};

    fn figure(value: f64, interval: [f64; 2], n: usize) -> AuditFigure {
        AuditFigure {
            id: "a".into(),
            what: String::new(),
            value,
            interval,
            interval_by: IntervalKind::Wilson,
            n,
            count: None,
            better: Direction::Higher,
            limits: String::new(),
        }
    }

    #[test]
    fn a_threshold_inside_the_interval_is_not_resolved() {
        let figures = [figure(0.7, [0.6, 0.8], 80)];
        let of = |least: Option<f64>, most: Option<f64>| {
            let t = ThresholdRecord {
                figure: "a".into(),
                least,
                most,
            };
            threshold(&t, &figures).outcome
        };
        assert_eq!(of(Some(0.6), None), CheckOutcome::Passed);
        assert_eq!(of(Some(0.65), None), CheckOutcome::Warned);
        assert_eq!(of(Some(0.71), None), CheckOutcome::Failed);
        assert_eq!(of(None, Some(0.8)), CheckOutcome::Passed);
        assert_eq!(of(None, Some(0.75)), CheckOutcome::Warned);
        assert_eq!(of(None, Some(0.69)), CheckOutcome::Failed);
        assert_eq!(of(Some(0.5), Some(0.75)), CheckOutcome::Warned);
        let other = ThresholdRecord {
            figure: "b".into(),
            least: Some(0.0),
            most: None,
        };
        let missing = threshold(&other, &figures);
        assert_eq!(
            (missing.outcome, missing.found.as_str()),
            (CheckOutcome::Failed, "not measured")
        );
        let empty = threshold(
            &ThresholdRecord {
                figure: "a".into(),
                ..other
            },
            &[figure(0.0, [0.0, 1.0], 0)],
        );
        assert_eq!(empty.outcome, CheckOutcome::Failed);
    }

    #[test]
    fn masking_that_is_allowed_warns() {
        let of = |level, worst| {
            let verdict = VerdictRecord {
                level,
                checks: vec!["c".into()],
                flags: Vec::new(),
            };
            masking("0.1", &verdict, worst).outcome
        };
        assert_eq!(
            of(Level::Trustworthy, Level::Trustworthy),
            CheckOutcome::Passed
        );
        assert_eq!(
            of(Level::Suspicious, Level::Suspicious),
            CheckOutcome::Warned
        );
        assert_eq!(
            of(Level::Suspicious, Level::Trustworthy),
            CheckOutcome::Failed
        );
        assert_eq!(of(Level::Masked, Level::Suspicious), CheckOutcome::Failed);
        assert_eq!(worst(&[]), CheckOutcome::Passed);
    }
}
