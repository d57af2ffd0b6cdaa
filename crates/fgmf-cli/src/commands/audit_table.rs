//! An audit, a comparison and a verification as lines.

use crate::console::one_line;
use fgmf::study::VerifiedRow;
use fgmf_record::{AuditComparison, AuditFigure, AuditRecord, IntervalKind};

fn figure(f: &AuditFigure) -> String {
    let [low, high] = f.interval;
    // Shares in per cent, means as they are.
    let text = if f.interval_by == IntervalKind::Wilson {
        let percent = |v: f64| format!("{:.1}", 100.0 * v);
        format!(
            "{}% [{}, {}]",
            percent(f.value),
            percent(low),
            percent(high)
        )
    } else {
        format!("{:.3} [{low:.3}, {high:.3}]", f.value)
    };
    format!("  {:<46}{text:<24} n = {}", one_line(&f.id), f.n)
}

/// The checks, the figures that are not of single classes, and what was not tested.
pub(super) fn table(r: &AuditRecord) -> String {
    let mut lines = vec![
        format!("{}: {}", one_line(&r.title), r.outcome),
        format!(
            "{}, {} ({}, n = {}), policy {}",
            one_line(&r.model.file),
            one_line(&r.data.name),
            r.data.split,
            r.data.n,
            &r.policy.sha256[..12.min(r.policy.sha256.len())]
        ),
        String::new(),
        "checks".to_owned(),
    ];
    lines.extend(r.checks.iter().map(|c| {
        let (condition, found) = (one_line(&c.condition), one_line(&c.found));
        format!("  {:<7} {condition}\n          {found}", c.outcome)
    }));
    lines.push("\nfigures [95% interval]".into());
    let by_class = |f: &&AuditFigure| !f.id.contains("recall:");
    lines.extend(r.figures.iter().filter(by_class).map(figure));
    let ids: Vec<&str> = r
        .coverage
        .not_tested
        .iter()
        .map(|i| i.id.as_str())
        .collect();
    lines.push(format!("\nnot tested: {}", ids.join(", ")));
    lines.join("\n")
}

/// Two audits side by side.
pub(super) fn comparison(c: &AuditComparison) -> String {
    let mut lines = vec![
        format!(
            "second less first, {} images; p of McNemar's exact test, Holm-corrected",
            c.n
        ),
        format!(
            "{:<32}{:>8}{:>9}  {:<28}{}",
            "", "first", "second", "difference [95%]", "p"
        ),
    ];
    lines.extend(c.rows.iter().map(|r| {
        let percent = |v: f64| format!("{:.1}%", 100.0 * v);
        let points = |v: f64| format!("{:+.1}", 100.0 * v);
        let [low, high] = r.paired.interval.map(points);
        let difference = format!("{} [{low}, {high}]", points(r.paired.difference));
        format!(
            "{:<32}{:>8}{:>9}  {difference:<28}{:.1e}",
            one_line(&r.figure),
            percent(r.values[0]),
            percent(r.values[1]),
            r.holm
        )
    }));
    lines.join("\n")
}

/// What was verified, and what was wrong.
pub(super) fn verified(rows: &[VerifiedRow], not_made: &[&str]) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let word = if row.faults.is_empty() {
            "holds"
        } else {
            "FAULT"
        };
        lines.push(format!("{word}  {}", one_line(&row.what)));
        lines.extend(
            row.faults
                .iter()
                .map(|f| format!("         {}", one_line(f))),
        );
    }
    lines.extend(not_made.iter().map(|what| format!("not made  {what}")));
    lines.join("\n")
}
