//! `fgmf predict`.

use crate::arguments::{Arguments, Predict};
use crate::commands::address::{ANSWERS, ModelAtAddress, at_address};
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
use fgmf::model::{Scores, misclassified, predictions};
use fgmf::store::{Folder, build, remove, write, write_floats};
use fgmf_net::{Network, Tensor};
use fgmf_record::{Accuracy, ModelFile, PredictionRecord, PredictionRow, Proportion, ScoredClass};
use serde_json::json;

/// Images in a model call.
const CALL: usize = 32;
/// Classes named an image.
const TOP: usize = 5;

/// What answers.
enum Answering {
    File(Box<ExplainedModel>),
    Address(Box<ModelAtAddress>),
}

impl Answering {
    fn net(&self) -> &Network {
        match self {
            Self::File(model) => &model.net,
            Self::Address(at) => &at.net,
        }
    }

    fn file(&self) -> &ModelFile {
        match self {
            Self::File(model) => &model.file,
            Self::Address(at) => &at.file,
        }
    }

    fn logits(&self, x: &Tensor) -> fgmf::Result<Tensor> {
        match self {
            Self::File(model) => Ok(model.net.logits(x)?),
            Self::Address(at) => at.model.logits(x),
        }
    }

    fn probabilities(&self, scores: &[f64]) -> Vec<f64> {
        match self {
            Self::File(model) => model.probabilities(scores),
            Self::Address(at) => at.probabilities(scores),
        }
    }

    fn before(&self) -> Option<String> {
        match self {
            Self::File(model) => model.before.clone(),
            Self::Address(_) => None,
        }
    }
}

pub(crate) fn run(global: &Arguments, a: &Predict) -> Result<Outcome> {
    if let Some(at) = at_address(&a.model, &a.input, &a.remote)? {
        let mut images = Images::new(&a.inputs, a.limit, at.fit, &at.net)?;
        images.check(&at.net)?;
        at.model.check_budget(images.len())?;
        let Some(out) = &a.out else {
            return predict(global, a, &images, &Answering::Address(Box::new(at)));
        };
        let _claim = Folder::claim(out)?;
        let answers = out.join(ANSWERS);
        at.model
            .keep_in(&answers, &json!({ "command": "predict" }))?;
        let outcome = predict(global, a, &images, &Answering::Address(Box::new(at)))?;
        remove(&answers)?;
        return Ok(outcome);
    }
    let mut user = UserModel::open(&a.model, &a.input)?;
    let mut images = Images::new(&a.inputs, a.limit, user.fit, &user.net)?;
    if let Some(data) = images.data() {
        user.guard(data)?;
    }
    images.check(&user.net)?;
    let model = Answering::File(Box::new(ExplainedModel::new(user)?));
    let _claim = a.out.as_ref().map(|out| Folder::claim(out)).transpose()?;
    predict(global, a, &images, &model)
}

/// Writes to the folder of the results, which is claimed.
fn predict(global: &Arguments, a: &Predict, images: &Images, model: &Answering) -> Result<Outcome> {
    let names = class_names(model.net());
    let n = images.len();
    let mut logits: Vec<f32> = Vec::new();
    let (mut rows, mut right) = (Vec::new(), 0);
    let bar = console::bar(global.quiet, n, "predicting");
    for start in (0..n).step_by(CALL) {
        let count = CALL.min(n - start);
        let found = model.logits(&images.batch(model.net(), start, count)?)?;
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
        warn_of_chance(right, n, model.net().classes());
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
        model: model.file().clone(),
        data: images.data().map(data_record),
        scores_before: model.before(),
        accuracy,
        images: rows,
        left_out: images.left_out(),
    };
    let json = serde_json::to_string_pretty(&record)?;
    if let Some(out) = &a.out {
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
