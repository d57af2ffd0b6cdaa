//! Small pieces of HTML.

use base64::Engine;

use crate::escape::{count, decimal, escape, percent};
use fgmf_record::Proportion;

/// `95% interval 69.4% to 75.0%, n = 1,000`, with spaces that do not break.
pub(crate) fn interval_words(p: &Proportion) -> String {
    if p.n == 0 {
        return "no examples".to_owned();
    }
    format!(
        "95% interval {} to {}, n\u{a0}=\u{a0}{}",
        percent(p.interval[0]),
        percent(p.interval[1]),
        count(p.n)
    )
}

/// Table cell content: value above, detail below.
pub(crate) fn stacked(value: &str, detail: &str) -> String {
    format!(r#"<b>{value}</b><span class="detail">{detail}</span>"#)
}

/// [`stacked`] of a proportion.
pub(crate) fn proportion_cell(p: &Proportion) -> String {
    if p.n == 0 {
        return stacked("–", "n\u{a0}=\u{a0}0");
    }
    let bounds = format!(
        "[{:.1},\u{a0}{:.1}], n\u{a0}=\u{a0}{}",
        100.0 * p.interval[0],
        100.0 * p.interval[1],
        count(p.n)
    );
    stacked(&percent(p.value), &bounds)
}

/// A PNG as an `img` with its own size, so that the page does not jump.
pub(crate) fn inline_png(png: &[u8], size: (usize, usize), alt: &str) -> String {
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    let (width, height, alt) = (size.0, size.1, escape(alt));
    format!(
        r#"<img alt="{alt}" width="{width}" height="{height}" src="data:image/png;base64,{data}">"#
    )
}

/// A section of the page with its anchor.
pub(crate) fn section(id: &str, title: &str, body: &str) -> String {
    format!("<section id=\"{id}\"><h2>{title}</h2>{body}</section>\n")
}

/// A definition list of that class; names and values are HTML already.
pub(crate) fn list<N: std::fmt::Display, V: std::fmt::Display>(
    class: &str,
    items: impl IntoIterator<Item = (N, V)>,
) -> String {
    let items: String = items
        .into_iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
        .collect();
    format!("<dl class=\"{class}\">{items}</dl>")
}

/// A table that scrolls by itself, also for readers who have no pointer; `label` tells it from the
/// others of the page. An empty class or caption is left out. Heads, and rows with their `tr`, are
/// HTML already.
pub(crate) fn table(class: &str, [label, caption]: [&str; 2], heads: &str, rows: &str) -> String {
    let class = if class.is_empty() {
        String::new()
    } else {
        format!(" class=\"{class}\"")
    };
    let caption = if caption.is_empty() {
        String::new()
    } else {
        format!("<caption>{caption}</caption>")
    };
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" \
            tabindex=\"0\"><table{class}>{caption}<thead><tr>{heads}</tr></thead>\
            <tbody>{rows}</tbody></table></div>"
    )
}

/// `[0.312, 0.498], n = 1,000` of a mean, with spaces that do not break.
pub(crate) fn mean_detail(interval: [f64; 2], n: usize) -> String {
    format!(
        "[{},\u{a0}{}], n\u{a0}=\u{a0}{}",
        decimal(interval[0]),
        decimal(interval[1]),
        count(n)
    )
}
