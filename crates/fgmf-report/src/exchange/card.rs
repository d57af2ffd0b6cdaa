//! The block of a Hugging Face model card that states results: `model-index`, as YAML. Texts are
//! JSON strings, which YAML 1.2 reads as they are.

use fgmf_record::{AuditFigure, AuditRecord, IntervalKind};
use serde_json::{Value, json};

/// Whole figures: those of single classes would fill a page.
fn stated(f: &&AuditFigure) -> bool {
    f.interval_by == IntervalKind::Wilson && !f.id.contains("recall:")
}

/// The `model-index` of an audited model.
pub fn model_card(record: &AuditRecord) -> String {
    let text = |t: &str| Value::from(t).to_string();
    let name = record
        .model
        .file
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or("model");
    let name = name.trim_end_matches(".onnx");
    let mut out = format!(
        "model-index:\n- name: {}\n  results:\n  - task:\n      type: image-classification\n    \
         dataset:\n      type: {}\n      name: {}\n      split: {}\n    metrics:\n",
        text(name),
        text(&record.data.name),
        text(&record.data.name),
        record.data.split,
    );
    for f in record.figures.iter().filter(stated) {
        // The card has no field for an interval; `args` is for what a metric was computed with.
        let args = json!({
            "id": f.id, "n": f.n, "interval_95": f.interval, "policy_sha256": record.policy.sha256,
        });
        let name = text(&f.what);
        let kind = if f.id == "accuracy" {
            "accuracy"
        } else {
            f.id.as_str()
        };
        out += &format!(
            "    - type: {}\n      value: {}\n      name: {name}\n      args: {args}\n",
            text(kind),
            f.value,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture;

    #[test]
    fn shares_are_stated_with_their_intervals() {
        let mut record = fixture::audit();
        record.data.name = "evil\": x\n- y".into();
        let text = model_card(&record);
        assert!(text.contains(r#"name: "evil\": x\n- y""#), "{text}");
        assert!(text.contains("type: \"robust-accuracy@8/255\"") && text.contains("interval_95"));
        assert_eq!(
            text.matches("- type:").count(),
            record.figures.iter().filter(stated).count()
        );
    }
}
