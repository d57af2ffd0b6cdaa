//! What a run was made of, as every page states it.

use crate::escape::{count, escape};
use crate::html::list;
use fgmf_record::{DataRecord, ModelFile};
use serde_json::Value;

/// The data used.
pub(crate) fn data(data: &DataRecord) -> String {
    let classes: Vec<String> = data.classes.iter().map(|c| escape(c)).collect();
    let chosen = data.chosen.as_ref();
    let chosen = chosen.map_or_else(String::new, |how| format!(", {}", escape(how)));
    format!(
        "{}, {} split, {} examples{chosen}<br>{}<br><span class=\"detail\">classes: {}</span>",
        escape(&data.name),
        data.split,
        count(data.n),
        hash(&data.sha256),
        classes.join(", ")
    )
}

/// A model file and its hash.
pub(crate) fn model_file(model: &ModelFile) -> String {
    format!(
        "<code>{}</code><br>{}",
        escape(&model.file),
        hash(&model.sha256)
    )
}

/// A hash.
pub(crate) fn hash(hex: &str) -> String {
    format!("<code class=\"hash\">sha256 {}</code>", escape(hex))
}

/// JSON as nested definition lists; lists of plain values stay on one line.
pub(crate) fn tree(value: &Value) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => {
            list("tree", map.iter().map(|(k, v)| (escape(k), tree(v))))
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
        let page = tree(&serde_json::json!({
            "pgd": {"steps": 20, "fills": ["zero", "noise"], "stages": [{"lr": 0.1}]},
            "none": null,
            "empty": {},
        }));
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
