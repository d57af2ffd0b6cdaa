//! Two audits of the same images, image by image.

use crate::error::{Error, Result};
use crate::measure::mcnemar::mcnemar;
use crate::measure::paired::holm;
use crate::record::{AuditComparison, AuditExample, AuditRecord, FigureDifference, RobustnessRow};

/// Clean accuracy, and robust accuracy at each radius that both audits have.
///
/// # Errors
/// [`Error::Mismatch`] when the audits are of other images, or of another norm.
pub fn compare_audits(first: &AuditRecord, second: &AuditRecord) -> Result<AuditComparison> {
    let differ = |what: &str, a: String, b: String| {
        let expected = format!("audits of the same {what} ({a})");
        Err(Error::mismatch("compare audits", expected, b))
    };
    if first.data.sha256 != second.data.sha256 || first.examples.len() != second.examples.len() {
        return differ(
            "images",
            first.data.sha256.clone(),
            second.data.sha256.clone(),
        );
    }
    let norm = |r: &AuditRecord| r.robustness.first().map(|row| row.threat.norm);
    if norm(first) != norm(second) {
        let word = |r| norm(r).map_or("none", |n| n.name()).to_owned();
        return differ("norm", word(first), word(second));
    }
    let answers = |r: &AuditRecord, of: &dyn Fn(&AuditExample) -> bool| -> Vec<bool> {
        r.examples.iter().map(of).collect()
    };
    let right = |e: &AuditExample| e.right;
    let clean = [answers(first, &right), answers(second, &right)];
    let mut rows = vec![difference("accuracy".into(), &clean)?];
    for (i, row) in first.robustness.iter().enumerate() {
        let same = |r: &RobustnessRow| (r.threat.eps - row.threat.eps).abs() <= 1e-12;
        if let Some(j) = second.robustness.iter().position(same) {
            let stands = |r: &AuditRecord, k: usize| {
                answers(r, &|e: &AuditExample| e.robust.get(k) == Some(&true))
            };
            let both = [stands(first, i), stands(second, j)];
            rows.push(difference(format!("robust-accuracy@{}", row.eps), &both)?);
        }
    }
    let p: Vec<f64> = rows.iter().map(|r| r.paired.p).collect();
    rows.iter_mut()
        .zip(holm(&p))
        .for_each(|(row, p)| row.holm = p);
    Ok(AuditComparison {
        models: [first, second].map(|r| r.model.sha256.clone()),
        n: first.examples.len(),
        rows,
    })
}

fn difference(figure: String, [first, second]: &[Vec<bool>; 2]) -> Result<FigureDifference> {
    let share = |v: &[bool]| v.iter().filter(|r| **r).count() as f64 / v.len().max(1) as f64;
    Ok(FigureDifference {
        figure,
        values: [share(first), share(second)],
        paired: mcnemar(first, second)?,
        holm: 1.0,
    })
}
