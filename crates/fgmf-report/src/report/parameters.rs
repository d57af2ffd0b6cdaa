//! Everything needed to check the report and to make it again.

use crate::escape::{count, escape, norm, number};
use crate::facts::{data, hash, tree};
use crate::html::list;
use crate::legend::named;
use fgmf_record::{ModelRecord, ReportRecord};

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
        ("Training data", data(&report.train)),
        ("Test data", data(&report.test)),
        ("Machine", machine),
        ("Wall time", format!("{} s", number(report.seconds))),
    ];
    list("definitions", rows)
}

fn model(style: usize, model: &ModelRecord) -> String {
    let objective = if model.objective.is_empty() {
        "not known: the model came in as it is".to_owned()
    } else {
        escape(&model.objective)
    };
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
        ("Objective", objective),
    ];
    format!(
        "<h3>{}</h3>{}<details><summary>All settings</summary>{}</details>",
        named(style, &model.title),
        list("definitions", rows),
        tree(&model.settings)
    )
}
