//! Everything needed to check the report and to make it again.

use serde_json::Value;

use crate::escape::{count, escape, norm, number};
use crate::legend::named;
use fgmf_record::{DataRecord, ModelRecord, ReportRecord};

/// The command, what was used, and every setting.
pub(crate) fn all(report: &ReportRecord) -> String {
    let models: String = report
        .models
        .iter()
        .enumerate()
        .map(|(i, m)| model(i, m))
        .collect();
    format!(
        "<h3>Run it again</h3><pre class=\"command\">{}</pre><p>The same version, \
            seed and data on the same machine give the same figures.</p>{}<h3>Settings of attack \
            and explainers</h3><details><summary>All settings</summary>{}</details>{models}",
        escape(&report.command),
        run(report),
        tree(&report.settings)
    )
}

fn run(report: &ReportRecord) -> String {
    let [low, high] = report.threat.bounds;
    let threat = format!(
        "{} radius {}, pixels from {} to {}",
        norm(report.threat.norm),
        number(report.threat.eps),
        number(low),
        number(high)
    );
    let machine = format!(
        "{}, {} threads",
        escape(&report.machine.cpu),
        report.machine.threads
    );
    let rows = [
        ("Version", format!("fgmf {}", escape(&report.version))),
        ("Seed", report.seed.to_string()),
        ("Threat", threat),
        ("Attack", escape(&report.attack)),
        ("Training data", data(&report.train)),
        ("Test data", data(&report.test)),
        ("Machine", machine),
        ("Wall time", format!("{} s", number(report.seconds))),
    ];
    definitions(&rows)
}

pub(crate) fn data(data: &DataRecord) -> String {
    let classes: Vec<String> = data.classes.iter().map(|c| escape(c)).collect();
    format!(
        "{}, {} split, {} examples<br>{}<br><span class=\"detail\">classes: {}</span>",
        escape(&data.name),
        data.split,
        count(data.n),
        hash(&data.sha256),
        classes.join(", ")
    )
}

fn model(style: usize, model: &ModelRecord) -> String {
    let rows = [
        (
            "File",
            format!(
                "<code>{}</code><br>{}",
                escape(&model.file),
                hash(&model.sha256)
            ),
        ),
        (
            "Architecture",
            format!(
                "{}, {} parameters",
                escape(&model.architecture),
                count(model.parameters)
            ),
        ),
        ("Objective", escape(&model.objective)),
    ];
    format!(
        "<h3>{}</h3>{}<details><summary>All settings of training</summary>{}</details>",
        named(style, &model.title),
        definitions(&rows),
        tree(&model.settings)
    )
}

pub(crate) fn definitions(rows: &[(&str, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(k, v)| format!("<div><dt>{k}</dt><dd>{v}</dd></div>"))
        .collect();
    format!("<dl class=\"definitions\">{rows}</dl>")
}

pub(crate) fn hash(hex: &str) -> String {
    format!("<code class=\"hash\">sha256 {}</code>", escape(hex))
}

/// JSON as nested definition lists; lists of plain values stay on one line.
pub(crate) fn tree(value: &Value) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let rows: String = map
                .iter()
                .map(|(k, v)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(k), tree(v)))
                .collect();
            format!("<dl class=\"tree\">{rows}</dl>")
        }
        Value::Array(items) if items.iter().any(|v| v.is_object() || v.is_array()) => {
            let items: String = items
                .iter()
                .map(|v| format!("<li>{}</li>", tree(v)))
                .collect();
            format!("<ol>{items}</ol>")
        }
        Value::Array(items) => format!(
            "<code>[{}]</code>",
            items.iter().map(plain).collect::<Vec<_>>().join(", ")
        ),
        plain_value => format!("<code>{}</code>", plain(plain_value)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => escape(text),
        other => escape(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_the_settings_is_written() {
        let page = tree(
            &serde_json::json!({"pgd": {"steps": 20, "fills": ["zero", "noise"], "stages": [{"lr": 0.1}]}, "none": null, "empty": {}}),
        );
        for leaf in [
            "<dt>steps</dt><dd><code>20</code>",
            "[zero, noise]",
            "<li><dl class=\"tree\"><div><dt>lr</dt>",
            "<code>null</code>",
            "<code>{}</code>",
        ] {
            assert!(page.contains(leaf), "{leaf} in {page}");
        }
    }
}
