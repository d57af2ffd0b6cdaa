//! `report.html` of an audit: a page for whoever works with the model, one for whoever supervises
//! it, and the figures for whoever builds it. No script, no request, nothing but the record read.

use crate::audit::{annex, operator, regulator};
use crate::escape::{count, escape, norm};
use crate::html::section;
use crate::page::{Page, foot};
use fgmf_record::AuditRecord;

/// A part of the page: anchor, title, body.
type Part = (&'static str, &'static str, fn(&AuditRecord) -> String);

const PARTS: [Part; 10] = [
    ("operator", "For whoever works with it", operator::page),
    ("regulator", "For whoever supervises it", regulator::page),
    ("checks", "Annex: what was stated beforehand", annex::checks),
    ("robustness", "Annex: attacks", annex::robustness),
    ("classes", "Annex: classes", annex::classes),
    ("resilience", "Annex: changed images", annex::resilience),
    ("calibration", "Annex: probabilities", annex::calibration),
    ("explanations", "Annex: explanations", annex::explanations),
    ("coverage", "Annex: tested and not tested", annex::coverage),
    ("evidence", "Annex: what it rests on", annex::evidence),
];

/// The page as HTML. Every string of the record is escaped.
pub fn render_audit(record: &AuditRecord) -> String {
    let title = escape(&record.title);
    let eps: Vec<String> = record.robustness.iter().map(|r| escape(&r.eps)).collect();
    let threat = record.robustness.first().map_or_else(
        || "no attack".to_owned(),
        |r| format!("{}, eps {}", norm(r.threat.norm), eps.join(", ")),
    );
    let data = &record.data;
    let page = Page {
        class: "audit",
        style: concat!(include_str!("../page.css"), include_str!("audit.css")),
        kind: "FGMF audit",
        title: &title,
        subject: escape(
            record
                .model
                .file
                .rsplit(['/', '\\'])
                .next()
                .unwrap_or_default(),
        ),
        facts: vec![
            ("Result", operator::result(record).to_owned()),
            (
                "Images",
                format!(
                    "{}, {} part, {}",
                    escape(&data.name),
                    data.split,
                    count(data.n)
                ),
            ),
            ("Attacker", threat),
            (
                "Made by",
                format!("fgmf {}, seed {}", escape(&record.version), record.seed),
            ),
        ],
        lead: String::new(),
        contents: PARTS.iter().map(|&(id, title, _)| (id, title)).collect(),
    };
    let parts = PARTS
        .iter()
        .map(|(id, title, body)| section(id, title, &body(record)));
    let parts: String = parts.collect();
    page.head() + &parts + &foot(&record.version, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture;
    use crate::fixture::unbalanced;
    use fgmf_record::CheckOutcome;

    #[test]
    fn the_page_is_balanced_asks_for_nothing_and_claims_nothing() {
        let page = render_audit(&fixture::audit());
        assert_eq!(unbalanced(&page), None);
        for word in [
            "http://", "https://", "<script", "@import", "url(h", "onload", "src=",
        ] {
            assert!(!page.contains(word), "{word}");
        }
        let words = page.to_lowercase();
        for word in ["conforms", "compliant", "complies", "certified"] {
            assert!(!words.contains(word), "{word}");
        }
    }

    #[test]
    fn the_three_sentences_of_the_operator_are_there() {
        let page = render_audit(&fixture::audit());
        for text in [
            "1,000 images",
            "15 of 100 answers were wrong",
            "28 of 100 were wrong",
            "Do not rely on it",
            "Gaussian blur",
            "Shirt",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn hostile_strings_stay_text() {
        let mut record = fixture::audit();
        let evil = "</title><script>alert('x')</script><img src=\"http://evil\" onerror=x>";
        (record.title, record.version) = (evil.into(), evil.into());
        (record.model.file, record.data.name) = (evil.into(), evil.into());
        record.data.classes[0] = evil.into();
        record.checks[0].found = evil.into();
        record.checks[0].outcome = CheckOutcome::Failed;
        record.robustness[0].eps = evil.into();
        record.robustness[0].verdict.checks = vec![evil.into()];
        record.resilience[0].what = evil.into();
        record.coverage.not_tested[0].by = evil.into();
        for figure in &mut record.figures {
            (figure.id, figure.what) = (evil.into(), evil.into());
        }
        let page = render_audit(&record);
        assert_eq!(unbalanced(&page), None);
        assert!(!page.contains("<script") && !page.contains("<img"));
    }

    #[test]
    fn gaps_are_named() {
        let mut record = fixture::audit();
        (record.figures, record.checks) = (vec![], vec![]);
        (record.robustness, record.resilience) = (vec![], vec![]);
        (record.confusion, record.calibration) = (vec![], vec![]);
        let page = render_audit(&record);
        assert_eq!(unbalanced(&page), None);
        assert!(page.contains("not measured") && page.contains("Nothing was stated beforehand"));
    }
}
