//! `fgmf predict`.

use crate::arguments::{Arguments, Predict};
use crate::commands::model::UserModel;
use crate::commands::shared::{
    ExplainedModel, data_for, data_record, ended_without, interval, percent, warn_of_chance,
};
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::data::{StillImage, class_names, read_image_of, read_image_to_fit};
use fgmf::model::{misclassified, predictions};
use fgmf::store::{Folder, Whole, build, write};
use fgmf_net::Tensor;
use fgmf_record::{Accuracy, PredictionRecord, PredictionRow, Proportion, ScoredClass};
use std::io::Write;
use std::path::Path;

/// Images in a model call.
const CALL: usize = 32;
/// Classes named an image.
const TOP: usize = 5;

/// Images to be classified, in order.
struct Inputs {
    /// File, or number in the data.
    names: Vec<String>,
    /// True classes, where they are known.
    labels: Option<Vec<usize>>,
}

pub(crate) fn run(global: &Arguments, a: &Predict) -> Result<Outcome> {
    let mut user = UserModel::open(&a.model, &a.input)?;
    let data = match &a.data {
        Some(data) => {
            let data = data_for(&user.net, data, &a.split, a.limit, a.input.resize)?;
            user.guard(&data)?;
            Some(data)
        }
        None => None,
    };
    let shape = user.net.image_shape();
    let (pictures, mut left_out) = match &data {
        Some(data) => (Vec::new(), data.left_out().to_vec()),
        None => read_pictures(a, shape)?,
    };
    let inputs = match &data {
        Some(data) => Inputs {
            names: (0..data.len()).map(|i| i.to_string()).collect(),
            labels: Some(data.labels().to_vec()),
        },
        None => Inputs {
            names: pictures.iter().map(|(name, _)| name.clone()).collect(),
            labels: None,
        },
    };
    let names = class_names(&user.net);
    let model = ExplainedModel::new(user)?;
    let n = inputs.names.len();
    let mut logits: Vec<f32> = Vec::new();
    let (mut rows, mut right) = (Vec::new(), 0);
    let bar = console::bar(global.quiet, n, "predicting");
    for start in (0..n).step_by(CALL) {
        let count = CALL.min(n - start);
        let values = (start..start + count).flat_map(|i| match &data {
            Some(data) => data.image(i),
            None => {
                let bytes = pictures[i].1.bytes.iter();
                bytes.map(|&b| f32::from(b) / 255.0).collect()
            }
        });
        let [c, h, w] = shape;
        let x = Tensor::new::<f32>(&[count, c, h, w], values.collect());
        let found = model.net.logits(&x)?;
        let chosen = predictions(&found);
        if let Some(labels) = &inputs.labels {
            let wrong = misclassified(&found, &labels[start..start + count]);
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
                image: inputs.names[start + j].clone(),
                label: inputs.labels.as_ref().map(|l| l[start + j]),
                class: chosen[j],
                top: order.iter().take(TOP).map(scored).collect(),
            });
        }
        logits.extend(scores);
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    let accuracy = inputs.labels.is_some().then(|| {
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
        data: data.as_ref().map(data_record),
        scores_before: model.before.clone(),
        accuracy,
        images: rows,
        left_out: std::mem::take(&mut left_out),
    };
    let json = serde_json::to_string_pretty(&record)?;
    if let Some(out) = &a.out {
        let _claim = Folder::claim(out)?;
        write_logits(&out.join("logits.safetensors"), &logits, n)?;
        write(&out.join("predictions.json"), json.as_bytes())?;
    }
    console::result(&if global.json { json } else { table(&record) })?;
    Ok(ended_without(&record.left_out))
}

type Named = Vec<(String, StillImage)>;

/// The pictures that can be read, and what is wrong with the others. An error if all are bad.
fn read_pictures(a: &Predict, shape: [usize; 3]) -> Result<(Named, Vec<String>)> {
    let (mut pictures, mut left_out, mut first) = (Vec::new(), Vec::new(), None);
    for path in &a.images {
        let read = if a.input.resize {
            read_image_to_fit(path, shape)
        } else {
            read_image_of(path, shape)
        };
        match read {
            Ok(image) => {
                for note in &image.notes {
                    let path = one_line(&path.to_string_lossy());
                    console::say(false, &format!("note: {path}: {note}"));
                }
                pictures.push((path.display().to_string(), image));
            }
            Err(error) => {
                left_out.push(error.to_string());
                first = first.or(Some(error));
            }
        }
    }
    match first {
        Some(error) if pictures.is_empty() => Err(error.into()),
        _ => Ok((pictures, left_out)),
    }
}

/// One array `logits [n, k]`, F32.
fn write_logits(path: &Path, logits: &[f32], n: usize) -> Result<()> {
    let header = serde_json::json!({ "logits": {
        "dtype": "F32", "shape": [n, logits.len() / n], "data_offsets": [0, 4 * logits.len()],
    }});
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = Whole::create(path)?;
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(fgmf::Error::io(path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    let bytes: Vec<u8> = logits.iter().flat_map(|v| v.to_le_bytes()).collect();
    put(&bytes)?;
    Ok(file.finish()?)
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
