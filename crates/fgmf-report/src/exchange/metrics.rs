//! Figures as OpenMetrics text.

use fgmf_record::{AuditFigure, AuditRecord};

/// A label value: backslash, quote and line feed are escaped, as the format says.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// What a family of metrics takes from a figure.
type Column = fn(&AuditFigure) -> f64;

/// The figures of an audit as OpenMetrics text: value, both ends of the interval, images, and the
/// checks as 0 (FAILED), 1 (WARNED) and 2 (PASSED).
pub fn open_metrics(record: &AuditRecord) -> String {
    let model = label(&record.model.sha256);
    let mut out = String::new();
    let families: [(&str, &str, Column); 4] = [
        ("fgmf_figure", "Measured value.", |f| f.value),
        ("fgmf_figure_low", "Lower end of the 95% interval.", |f| {
            f.interval[0]
        }),
        ("fgmf_figure_high", "Upper end of the 95% interval.", |f| {
            f.interval[1]
        }),
        ("fgmf_figure_images", "Images behind the value.", |f| {
            f.n as f64
        }),
    ];
    for (name, help, value) in families {
        out += &format!("# TYPE {name} gauge\n# HELP {name} {help}\n");
        for f in &record.figures {
            let id = label(&f.id);
            out += &format!("{name}{{id=\"{id}\",model=\"{model}\"}} {}\n", value(f));
        }
    }
    out += "# TYPE fgmf_check gauge\n# HELP fgmf_check 0 failed, 1 warned, 2 passed.\n";
    for c in &record.checks {
        let state = 2 - c.outcome as usize;
        out += &format!(
            "fgmf_check{{id=\"{}\",model=\"{model}\"}} {state}\n",
            label(&c.id)
        );
    }
    out + "# EOF\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture;

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let mut record = fixture::audit();
        record.figures[0].id = "a\"b\\c\nd".into();
        let text = open_metrics(&record);
        assert!(text.contains(r#"fgmf_figure{id="a\"b\\c\nd","#), "{text}");
        assert!(text.ends_with("# EOF\n"));
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(name.starts_with("fgmf_") && name.ends_with("\"}"), "{line}");
        }
        let failed = fgmf_record::CheckOutcome::Failed;
        record.checks[0].outcome = failed;
        assert!(
            open_metrics(&record)
                .lines()
                .any(|l| l.starts_with("fgmf_check") && l.ends_with(" 0"))
        );
    }
}
