//! What every page has around its sections: head, masthead, contents and foot. No page asks for
//! anything: pictures and style are in it, and there is no script.

use crate::escape::escape;
use crate::html::list;

/// A page but for its sections. Texts are HTML already.
pub(crate) struct Page<'a> {
    /// Class of the body; empty for none.
    pub(crate) class: &'a str,
    pub(crate) style: &'a str,
    /// What kind of page it is.
    pub(crate) kind: &'a str,
    pub(crate) title: &'a str,
    /// What it is about.
    pub(crate) subject: String,
    pub(crate) facts: Vec<(&'a str, String)>,
    /// Behind the facts, before the contents.
    pub(crate) lead: String,
    /// Anchors and titles.
    pub(crate) contents: Vec<(&'a str, &'a str)>,
}

impl Page<'_> {
    /// Everything up to the first section.
    pub(crate) fn head(self) -> String {
        let class = if self.class.is_empty() {
            String::new()
        } else {
            format!(" class=\"{}\"", self.class)
        };
        let contents: String = self
            .contents
            .iter()
            .map(|(id, title)| format!("<li><a href=\"#{id}\">{title}</a></li>"))
            .collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
                <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
                img-src data:; style-src 'unsafe-inline'\">\n<meta name=\"viewport\" \
                content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" \
                content=\"light dark\">\n<title>{title}</title>\n<style>\n\
                {style}</style>\n</head>\n<body{class}>\n<header><p \
                class=\"kind\">{kind}</p><h1>{title}</h1><p \
                class=\"subject\">{subject}</p>{facts}{lead}<nav \
                aria-label=\"Contents\"><ol>{contents}</ol></nav></header>\n<main>\n",
            title = self.title,
            style = self.style,
            kind = self.kind,
            subject = self.subject,
            facts = list("facts", self.facts),
            lead = self.lead,
        )
    }
}

/// Everything behind the last section; `more` stands at the end of the foot.
pub(crate) fn foot(version: &str, more: &str) -> String {
    format!(
        "</main>\n<footer><p>Made by fgmf {}. This page loads nothing and runs no \
            script.{more}</p></footer>\n</body>\n</html>\n",
        escape(version)
    )
}
