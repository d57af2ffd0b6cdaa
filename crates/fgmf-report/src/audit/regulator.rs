//! One page for whoever supervises: clause by clause, what was measured, what a person must add,
//! and what is not covered.

use crate::audit::clauses::{CLAUSES, Clause, DRAFTS, State};
use crate::escape::escape;
use crate::html::table;
use fgmf_record::AuditRecord;

fn words(state: State) -> (&'static str, &'static str) {
    match state {
        State::Measured => ("good", "measured"),
        State::Person => ("warn", "a person must add"),
        State::NotCovered => ("bad", "not covered"),
    }
}

/// A clause about explanations is measured only where the policy asked for explanations.
fn state(record: &AuditRecord, clause: &Clause) -> State {
    let explains = clause.clause.starts_with("Art. 13(3)(b)(iv)");
    if explains && record.explainers.is_empty() {
        State::NotCovered
    } else {
        clause.state
    }
}

/// The page.
pub(crate) fn page(record: &AuditRecord) -> String {
    let row = |c: &Clause| {
        let (class, word) = words(state(record, c));
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td><b class=\"{class}\">{word}</b></td>\
             <td>{}</td></tr>",
            c.clause, c.asks, c.here
        )
    };
    let rows: String = CLAUSES.iter().map(row).collect();
    let heads = ["Clause", "asks for", "state", "where, or what is missing"];
    let heads: String = heads
        .iter()
        .map(|h| format!("<th scope=\"col\">{h}</th>"))
        .collect();
    let drafts: String = DRAFTS
        .iter()
        .map(|[id, state, date]| {
            format!("<tr><th scope=\"row\">{id}</th><td>{state}</td><td>{date}</td></tr>")
        })
        .collect();
    let draft_heads: String = ["Standard", "state", "as of"]
        .map(|h| format!("<th scope=\"col\">{h}</th>"))
        .concat();
    format!(
        "<p>What this audit gives to clauses of Regulation (EU) 2024/1689 (as amended by \
         Regulation (EU) 2026/1744) and to two standards. “Measured” says that a figure or file \
         exists. It does not say that the figure is good enough, nor that a duty is met.</p>{}\
         <h3>Signature of the responsible person</h3>\
         <dl class=\"blanks\"><div><dt>Name</dt><dd></dd></div>\
         <div><dt>Role</dt><dd></dd></div><div><dt>Date</dt><dd></dd></div><div><dt>Signature</dt>\
         <dd></dd></div></dl><p class=\"detail\">Policy {}, model {}.</p>\
         <h3>Standards that are not final</h3><p>None of these was cited in the Official Journal \
         on 24 September 2026. They are named for orientation alone.</p>{}",
        table("clauses", ["Clauses", ""], &heads, &rows),
        escape(&record.policy.sha256),
        escape(&record.model.sha256),
        table("", ["Drafts", ""], &draft_heads, &drafts),
    )
}
