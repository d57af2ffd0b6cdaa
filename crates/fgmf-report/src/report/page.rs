//! `report.html`: one self-contained page from a [`ReportRecord`]. No script, no request, nothing
//! but the record read.

use crate::escape::{count, escape, norm, number};
use crate::html::section;
use crate::page::{Page, foot};
use crate::report::{cases, methods, parameters, summary, tables};
use fgmf_record::ReportRecord;

/// A part of the page: anchor, title, body.
type Section = (&'static str, &'static str, fn(&ReportRecord) -> String);

const SECTIONS: [Section; 7] = [
    ("accuracy", "Accuracy against eps", tables::accuracy),
    ("images", "Images before and after the attack", cases::pages),
    ("masking", "Signs of masking", tables::masking),
    (
        "explanations",
        "How far explanations move under attack",
        tables::explanations,
    ),
    ("training", "Training", tables::training),
    ("parameters", "Every parameter", parameters::all),
    ("methods", "What the methods are", methods::notes),
];

/// The page as HTML: key figures, summary, accuracy against eps, images before and after the
/// attack, signs of masking, explanations under attack, training curves, every parameter, and what
/// the methods are. Every string of the record is escaped; numbers that are not finite and pictures
/// whose size does not match are named as such in their place.
pub fn render_html(report: &ReportRecord) -> String {
    let page = Page {
        class: "",
        style: include_str!("../page.css"),
        kind: "FGMF report",
        title: "Robustness and explanations",
        subject: subject(report),
        facts: facts(report),
        lead: summary::state(report) + &summary::tiles(report) + &summary::words(report),
        contents: SECTIONS.iter().map(|&(id, title, _)| (id, title)).collect(),
    };
    let sections: String = SECTIONS
        .iter()
        .map(|(id, title, body)| section(id, title, &body(report)))
        .collect();
    page.head() + &sections + &foot(&report.version, "")
}

fn subject(report: &ReportRecord) -> String {
    let names: Vec<String> = report.models.iter().map(|m| escape(&m.title)).collect();
    if names.is_empty() {
        "No model".to_owned()
    } else {
        names.join(" and ")
    }
}

fn facts(report: &ReportRecord) -> Vec<(&'static str, String)> {
    let (test, version) = (&report.test, escape(&report.version));
    vec![
        (
            "Test data",
            format!(
                "{}, {} split, {} images",
                escape(&test.name),
                test.split,
                count(test.n)
            ),
        ),
        (
            "Threat",
            format!(
                "{} within {} of the image",
                norm(report.threat.norm),
                number(report.threat.eps)
            ),
        ),
        ("Made by", format!("fgmf {version}, seed {}", report.seed)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, unbalanced};
    use fgmf_record::Proportion;

    #[test]
    fn page_is_balanced_and_asks_for_nothing() {
        let page = render_html(&fixture::report());
        assert_eq!(unbalanced(&page), None);
        for (at, _) in page
            .match_indices("src=")
            .chain(page.match_indices("href="))
        {
            let rest = page[at..].split_once('=').map_or("", |p| p.1);
            assert!(
                rest.starts_with("\"data:image/png;base64,") || rest.starts_with("\"#"),
                "{}",
                &rest[..40]
            );
        }
        for word in [
            "http://", "https://", "<script", "@import", "url(h", "onload",
        ] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn figures_of_the_record_are_on_the_page() {
        let page = render_html(&fixture::report());
        for text in [
            "83.6%",
            "72.0%",
            "[69.8,\u{a0}74.1], n\u{a0}=\u{a0}1,700",
            "#3 — Boot",
            "after, withheld: agreement 0.08",
            "before, in doubt: a doubt",
            "fgmf demo --seed 7",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert_eq!(
            page.matches("One sentence on agreement.").count(),
            1,
            "a reading stands once, in the legend"
        );
        assert!(page.contains("none of the signs checked here was seen"));
    }

    #[test]
    fn hostile_strings_stay_text() {
        let mut report = fixture::report();
        let evil = "</title><script>alert('x')</script><img src=\"http://evil\" onerror=x>";
        report.test.classes[0] = evil.to_owned();
        (report.command, report.attack, report.version) =
            (evil.to_owned(), evil.to_owned(), evil.to_owned());
        report.models[0].title = evil.to_owned();
        report.models[1].flags = vec![evil.to_owned()];
        report.cases[0].views[0].facts[0][0].withheld = Some(evil.to_owned());
        report.cases[0].views[0].figures[0].name = evil.to_owned();
        report.settings = serde_json::json!({ evil: [evil] });
        let page = render_html(&report);
        assert_eq!(unbalanced(&page), None);
        assert!(
            !page.contains("<script")
                && !page.contains("src=\"http")
                && page.contains("&lt;script&gt;")
        );
    }

    #[test]
    fn gaps_in_the_record_are_named() {
        let mut report = fixture::report();
        report.models[0].clean = Proportion::new(0, 0);
        report.models[0].training[0].parts[0].1 = f64::NAN;
        report.explanations[0].mean = f64::INFINITY;
        let view = &mut report.cases[0].views[0];
        view.pgca[0].values.pop();
        view.perturbation.values[0] = f32::NAN;
        view.model = "unknown".to_owned();
        view.clean_prediction = (99, f64::NAN);
        let page = render_html(&report);
        assert_eq!(unbalanced(&page), None);
        assert!(
            page.matches("no data").count() >= 2
                && page.contains("class 99")
                && page.contains("infinite")
        );

        report.cases[0].views.clear();
        assert_eq!(unbalanced(&render_html(&report)), None);
        (report.models, report.cases, report.explanations) = (vec![], vec![], vec![]);
        report.threat.eps = f64::NAN;
        assert_eq!(unbalanced(&render_html(&report)), None);
    }
}
