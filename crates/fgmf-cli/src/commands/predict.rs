//! `fgmf predict`.

use crate::arguments::{Arguments, Predict};
use crate::commands::images::Images;
use crate::commands::model::UserModel;
use crate::commands::shared::{
    ExplainedModel, data_record, ended_without, interval, percent, warn_of_chance,
};
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::data::class_names;
use fgmf::model::{misclassified, predictions};
use fgmf::store::{Folder, build, write, write_floats};
use fgmf_record::{Accuracy, PredictionRecord, PredictionRow, Proportion, ScoredClass};

/// Images in a model call.
const CALL: usize = 32;
/// Classes named an image.
const TOP: usize = 5;

pub(crate) fn run(global: &Arguments, a: &Predict) -> Result<Outcome> {
    let mut user = UserModel::open(&a.model, &a.input)?;
    let mut images = Images::new(&a.inputs, a.limit, user.fit, &user.net)?;
    if let Some(data) = images.data() {
        user.guard(data)?;
    }
    images.check(&user.net)?;
    let names = class_names(&user.net);
    let model = ExplainedModel::new(user)?;
    let n = images.len();
    let mut logits: Vec<f32> = Vec::new();
    let (mut rows, mut right) = (Vec::new(), 0);
    let bar = console::bar(global.quiet, n, "predicting");
    for start in (0..n).step_by(CALL) {
        let count = CALL.min(n - start);
        let found = model.net.logits(&images.batch(&model.net, start, count)?)?;
        let chosen = predictions(&found);
        if let Some(data) = images.data() {
            let wrong = misclassified(&found, &data.labels()[start..start + count]);
            right += wrong.iter().filter(|w| !**w).count();
        }
        let scores = found.to_f32();
        for (j, row) in scores.chunks_exact(scores.len() / count).enumerate() {
            let z: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            let p = model.probabilities(&z);
            let mut order: Vec<usize> = (0..p.len()).collect();
            order.sort_by(|a, b| p[*b].total_cmp(&p[*a]).then(a.cmp(b)));
            let scored = |&class: &usize| ScoredClass {
                class,
                name: names.as_ref().map(|names| names[class].clone()),
                probability: p[class],
                logit: z[class],
            };
            rows.push(PredictionRow {
                image: match images.data() {
                    Some(_) => (start + j).to_string(),
                    None => images.name(start + j),
                },
                label: images.truth(start + j),
                class: chosen[j],
                top: order.iter().take(TOP).map(scored).collect(),
            });
        }
        logits.extend(scores);
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    let accuracy = images.data().map(|_| {
        warn_of_chance(right, n, model.net.classes());
        let right = Proportion::new(right, n);
        Accuracy {
            accuracy: right.value,
            n,
            interval: right.interval,
        }
    });
    let record = PredictionRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        model: model.file.clone(),
        data: images.data().map(data_record),
        scores_before: model.before.clone(),
        accuracy,
        images: rows,
        left_out: images.left_out(),
    };
    let json = serde_json::to_string_pretty(&record)?;
    if let Some(out) = &a.out {
        let _claim = Folder::claim(out)?;
        let shape = [n, logits.len() / n];
        write_floats(&out.join("logits.safetensors"), "logits", &shape, &logits)?;
        write(&out.join("predictions.json"), json.as_bytes())?;
    }
    console::result(&if global.json { json } else { table(&record) })?;
    Ok(ended_without(&record.left_out))
}

/// Images that a table has lines for.
const LINES: usize = 40;

fn table(r: &PredictionRecord) -> String {
    let mut lines = Vec::new();
    for row in r.images.iter().take(LINES) {
        let class = |c: &ScoredClass| {
            let name = c
                .name
                .clone()
                .unwrap_or_else(|| format!("class {}", c.class));
            format!("{} {}", one_line(&name), percent(c.probability))
        };
        let top: Vec<String> = row.top.iter().take(3).map(class).collect();
        let mark = match row.label {
            Some(label) if label == row.class => "right  ",
            Some(_) => "wrong  ",
            None => "",
        };
        lines.push(format!(
            "{}  {mark}{}",
            one_line(&row.image),
            top.join(", ")
        ));
    }
    if r.images.len() > LINES {
        let more = r.images.len() - LINES;
        lines.push(format!("and {more} more; --json or --out DIR has all"));
    }
    if let Some(a) = &r.accuracy {
        lines.push(format!(
            "accuracy {} {}, n = {}",
            percent(a.accuracy),
            interval(a.interval),
            a.n
        ));
    }
    lines.join("\n")
}
