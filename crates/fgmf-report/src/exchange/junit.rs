//! Checks as JUnit XML: one test case a check. A check that warns is a passed case with its message
//! on standard output, as JUnit has no third outcome.

use crate::escape::escape;
use fgmf_record::{AuditCheck, AuditRecord, CheckOutcome};

/// Text as XML 1.0 may hold it: other control characters cannot be written there at all.
fn plain(text: &str) -> String {
    let known = |c: char| {
        if c.is_control() && !"\t\n\r".contains(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    escape(&text.chars().map(known).collect::<String>())
}

/// The checks of an audit as JUnit XML.
pub fn junit(record: &AuditRecord) -> String {
    let of = |outcome| {
        record
            .checks
            .iter()
            .filter(|c| c.outcome == outcome)
            .count()
    };
    let case = |c: &AuditCheck| {
        let head = format!(
            "<testcase name=\"{}\" classname=\"fgmf.audit\">",
            plain(&c.id)
        );
        let (condition, found) = (plain(&c.condition), plain(&c.found));
        let body = match c.outcome {
            CheckOutcome::Failed => {
                format!("<failure message=\"{condition}: {found}\">{found}</failure>")
            }
            CheckOutcome::Warned => {
                format!("<system-out>WARNED: {condition}: {found}</system-out>")
            }
            CheckOutcome::Passed => format!("<system-out>{condition}: {found}</system-out>"),
        };
        format!("  {head}{body}</testcase>\n")
    };
    let cases: String = record.checks.iter().map(case).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"{}\" \
         tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"0\">\n{cases}</testsuite>\n\
         </testsuites>\n",
        plain(&record.title),
        record.checks.len(),
        of(CheckOutcome::Failed),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture;

    #[test]
    fn failures_are_counted_and_hostile_text_stays_text() {
        let mut record = fixture::audit();
        record.checks[0].outcome = CheckOutcome::Failed;
        record.checks[0].found = "</failure><x a=\"\u{1}\">".into();
        let text = junit(&record);
        assert_eq!(
            crate::fixture::unbalanced(
                &text.replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "")
            ),
            None
        );
        assert!(
            text.contains("failures=\"1\"") && text.contains("&lt;/failure&gt;"),
            "{text}"
        );
        assert!(text.contains('\u{fffd}') && !text.contains('\u{1}'));
    }
}
