//! A CycloneDX 1.7 bill of materials with the model's card: what the model is, what it was measured
//! on, and each share with its interval.

use fgmf_record::{AuditFigure, AuditRecord};
use serde_json::{Value, json};

fn name_of(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// A figure as a performance metric. Ids with `:` and `@` hold the class and the radius; they are
/// the slice.
fn metric(figure: &AuditFigure) -> Value {
    let end = figure.id.find([':', '@']).unwrap_or(figure.id.len());
    let (kind, slice) = figure.id.split_at(end);
    let slice = slice.trim_start_matches([':', '@']);
    let mut out = json!({
        "type": kind,
        "value": figure.value.to_string(),
        "confidenceInterval": {
            "lowerBound": figure.interval[0].to_string(),
            "upperBound": figure.interval[1].to_string(),
        },
    });
    if !slice.is_empty() {
        out["slice"] = slice.into();
    }
    out
}

/// The bill of materials of an audited model. It holds no time and no serial number, so that the
/// same audit gives the same bytes.
pub fn cyclonedx(record: &AuditRecord) -> String {
    let (data, model) = (&record.data, &record.model);
    let [c, h, w] = record.graph.image;
    let limits: Vec<&str> = {
        let mut all: Vec<&str> = record.figures.iter().map(|f| f.limits.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let not_tested = record.coverage.not_tested.iter();
    let not_tested = not_tested.map(|i| format!("not tested: {} {} ({})", i.id, i.name, i.by));
    let limits: Vec<String> = limits
        .into_iter()
        .map(str::to_owned)
        .chain(not_tested)
        .collect();
    let graphic = |(row, counts): (usize, &Vec<usize>)| {
        let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
        format!("{}: {}", data.class_name(row), counts.join(" "))
    };
    let confusion: Vec<String> = record.confusion.iter().enumerate().map(graphic).collect();
    let property = |name: &str, value: String| json!({ "name": name, "value": value });
    let outputs = format!("scores of {} classes", record.graph.classes);
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": {
            "tools": { "components": [{
                "type": "application", "name": "fgmf", "version": record.version,
            }] },
        },
        "components": [
            {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": name_of(&model.file),
                "hashes": [{ "alg": "SHA-256", "content": model.sha256 }],
                "modelCard": {
                    "modelParameters": {
                        "task": "image classification",
                        "inputs": [{ "format": format!("image {c}x{h}x{w}, values from 0 to 1") }],
                        "outputs": [{ "format": outputs }],
                        "datasets": [{ "ref": "data" }],
                    },
                    "quantitativeAnalysis": {
                        "performanceMetrics":
                            record.figures.iter().map(metric).collect::<Vec<_>>(),
                    },
                    "considerations": { "technicalLimitations": limits },
                    "properties": [
                        property("fgmf:outcome", record.outcome.name().into()),
                        property("fgmf:policy:sha256", record.policy.sha256.clone()),
                        property("fgmf:stored-numbers", record.graph.stored_numbers.to_string()),
                        property("fgmf:confusion", confusion.join("; ")),
                    ],
                },
            },
            {
                "type": "data",
                "bom-ref": "data",
                "name": data.name,
                "hashes": [{ "alg": "SHA-256", "content": data.sha256 }],
                "data": [{
                    "type": "dataset",
                    "name": format!("{}, {} part, {} images", data.name, data.split, data.n),
                }],
            },
        ],
    });
    format!("{bom:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture;

    #[test]
    fn a_figure_is_a_metric_with_its_slice_and_interval() {
        let record = fixture::audit();
        let bom: Value = serde_json::from_str(&cyclonedx(&record)).unwrap();
        let metrics = &bom["components"][0]["modelCard"]["quantitativeAnalysis"];
        let metrics = metrics["performanceMetrics"].as_array().unwrap();
        assert_eq!(metrics.len(), record.figures.len());
        let robust = metrics
            .iter()
            .find(|m| m["type"] == "robust-accuracy")
            .unwrap();
        assert_eq!(robust["slice"], "8/255");
        let figure = record.figure("robust-accuracy@8/255").unwrap();
        assert_eq!(robust["value"], figure.value.to_string());
        assert_eq!(
            robust["confidenceInterval"]["lowerBound"],
            figure.interval[0].to_string()
        );
        assert!(metrics[0].get("slice").is_none());
    }
}
