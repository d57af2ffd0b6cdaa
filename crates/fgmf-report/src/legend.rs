//! Which line is whose: the style of each model, in words, tables and charts.

use crate::escape::escape;
use fgmf_record::{ModelRecord, ReportRecord};

/// Series styles before they repeat.
pub(crate) const STYLES: usize = 6;
/// SVG dash patterns of the styles; empty is solid.
pub(crate) const DASHES: [&str; STYLES] = ["", "7 4", "2 3", "9 3 2 3", "12 4", "4 2"];

/// The key of a style: a short line with its marker.
pub(crate) fn key(style: usize) -> String {
    let style = style % STYLES;
    let (dash, dot) = (DASHES[style], marker(style, 15.0, 6.0, 4.0));
    format!(
        "<svg class=\"key s{style}\" viewBox=\"0 0 30 12\" width=\"30\" height=\"12\" \
            aria-hidden=\"true\"><path class=\"line\" stroke-dasharray=\"{dash}\" d=\"M1 \
            6H29\"/>{dot}</svg>"
    )
}

/// The marker of a style, with its centre at (x, y) and about r from there to its edge.
pub(crate) fn marker(style: usize, x: f64, y: f64, r: f64) -> String {
    let polygon = |points: &[(f64, f64)]| {
        let path: Vec<String> = points
            .iter()
            .map(|(a, b)| format!("{:.1} {:.1}", x + a * r, y + b * r))
            .collect();
        format!(r#"<path class="dot" d="M{}Z"/>"#, path.join("L"))
    };
    match style % STYLES {
        0 => format!(r#"<circle class="dot" cx="{x:.1}" cy="{y:.1}" r="{r}"/>"#),
        1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
        3 => polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => polygon(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
        _ => polygon(&[(-1.2, -0.4), (1.2, -0.4), (1.2, 0.4), (-1.2, 0.4)]),
    }
}

/// Position and title of the model with this id; an unknown id is its own title.
pub(crate) fn model<'a>(report: &'a ReportRecord, id: &'a str) -> (usize, &'a str) {
    let found = report.models.iter().position(|m| m.id == id);
    found.map_or((report.models.len(), id), |i| {
        (i, report.models[i].title.as_str())
    })
}

/// Table heads, one a model: key and title.
pub(crate) fn model_heads<'a>(
    models: impl IntoIterator<Item = (usize, &'a ModelRecord)>,
) -> String {
    let head =
        |(i, m): (usize, &ModelRecord)| format!("<th scope=\"col\">{}</th>", named(i, &m.title));
    models.into_iter().map(head).collect()
}

/// The key of a model (line, marker, colour) and its title.
pub(crate) fn named(style: usize, title: &str) -> String {
    format!(
        r#"<span class="named">{}{}</span>"#,
        key(style),
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_differ_in_marker_and_dash() {
        let keys: Vec<String> = (0..STYLES).map(key).collect();
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|b| a != b));
        }
        assert_eq!(key(0), key(STYLES));
    }
}
