//! `fgmf evaluate`.

use crate::arguments::{Arguments, Evaluate};
use crate::commands::attacked::Attacker;
use crate::commands::chosen::{Settings, chosen, metrics};
use crate::commands::memory::{images_at_once, work_of};
use crate::commands::model::{UserModel, identity, identity_fields};
use crate::commands::shared::{
    ExplainedModel, data_for, data_record, ended_without, how_chosen, warn_of_chance,
};
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::explain::{Context, applicable, with_parameters};
use fgmf::model::Oracle;
use fgmf::store::{Folder, build, refuse_another, remove, write};
use fgmf::study::{EvaluationInput, EvaluationJob, evaluate};
use fgmf_net::Tensor;
use fgmf_record::{EvaluationRecord, FigureRow};
use serde_json::json;
use std::path::Path;
use std::time::Instant;

pub(crate) fn run(global: &Arguments, a: &Evaluate) -> Result<Outcome> {
    let settings = Settings::read(a.settings.as_deref())?;
    let metrics = metrics(&a.metrics, &settings)?;
    let mut model = UserModel::open(&a.model, &a.input)?;
    let data = data_for(&model.net, &a.data, &a.split, Some(a.limit), model.fit)?;
    model.guard(&data)?;
    let ExplainedModel {
        mut net,
        file,
        before,
        ..
    } = ExplainedModel::new(model)?;
    let identity = identity(&file);
    let [c, h, w] = data.shape();
    let attacker = Attacker::new(
        &a.attacked,
        "pgd",
        [c, h, w],
        Some(&data),
        &identity,
        a.seed,
    )?;
    let rows: Vec<usize> = (0..data.len()).collect();
    let x = Tensor::new::<f32>(&[data.len(), c, h, w], data.images(&rows)?);
    // Attacked images, and two copies on the way to them.
    let (mib, work) = (a.memory.memory, work_of(&a.explainers, &metrics));
    let cap = images_at_once(&mut [&mut net], mib, a.memory.cap, 3 * x.len(), work)?;
    let oracle = Oracle::new(&net);
    let able = if a.explainers == ["all"] {
        applicable(&oracle, cap, &|id| with_parameters(id, settings.of(id)))
    } else {
        Vec::new()
    };
    let explainers = chosen(&a.explainers, &able, |id| {
        with_parameters(id, settings.of(id))
    })?;
    let used: Vec<&str> = explainers
        .iter()
        .map(|e| e.id())
        .chain(metrics.iter().map(|m| m.info().id))
        .collect();
    settings.check(&used)?;
    let out = a.out.join("evaluation.json");
    let method = |id: &str, parameters| json!({ "id": id, "parameters": parameters });
    let explained = explainers.iter().map(|e| method(e.id(), e.parameters()));
    let measured = metrics.iter().map(|m| method(m.info().id, m.parameters()));
    refuse_another(
        &out,
        &json!({
            "model": identity_fields(&file),
            "data": { "sha256": data.sha256() },
            "threat": attacker.threat().record(),
            "seed": a.seed,
            "explainers": explained.collect::<Vec<_>>(),
            "metrics": measured.collect::<Vec<_>>(),
        }),
    )?;
    let inputs = attacker.inputs(&oracle, &x, 0, None)?;
    // What is explained on clean images is the model's own answer.
    let answers = inputs.first().map_or(&[][..], |clean| &clean.targets);
    let right = answers.iter().zip(data.labels()).filter(|(a, b)| a == b);
    warn_of_chance(right.count(), answers.len(), net.classes());
    let _claim = Folder::claim(&a.out)?;
    let state = a.out.join("evaluation.state.jsonl");
    let context = Context {
        seed: a.seed,
        names: None,
        cap,
    };
    let job = EvaluationJob {
        oracle: &oracle,
        explainers: &explainers,
        metrics: &metrics,
        inputs: &inputs,
        threat: attacker.threat(),
        context,
    };
    say_time(global, &job, &state)?;
    let bar = console::bar(global.quiet, 1, "evaluating");
    let mut watch = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let found = evaluate(&job, Some(&state), &mut watch)?;
    bar.finish_and_clear();
    let record = EvaluationRecord {
        model: file,
        data: data_record(&data),
        threat: attacker.threat().record(),
        seed: a.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        inputs: found.inputs,
        explainers: found.explainers,
        metrics: found.metrics,
        rows: found.rows,
        nothing_found: found.nothing_found,
        explained_before: before,
        input_tests: found.input_tests,
        explainer_tests: found.explainer_tests,
        criteria: found.criteria,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write(&out, text.as_bytes())?;
    remove(&state)?;
    console::result(&if global.json { text } else { table(&record) })?;
    Ok(ended_without(data.left_out()))
}

/// A block a figure, in it a line an explainer: means with intervals on each input, and the test
/// between them. No line of it is longer than 100 columns.
fn table(r: &EvaluationRecord) -> String {
    let inputs: Vec<&str> = r.inputs.iter().map(|i| i.name.as_str()).collect();
    let mut lines = vec![
        one_line(&r.model.file),
        format!(
            "{} ({}, n = {}{})",
            one_line(&r.data.name),
            r.data.split,
            r.data.n,
            how_chosen(&r.data)
        ),
        format!(
            "{} eps {}, seed {}; mean [95% interval]",
            r.threat.norm, r.threat.eps, r.seed
        ),
    ];
    if inputs.len() > 1 {
        lines.push(format!(
            "p: Wilcoxon signed-rank test of {}",
            inputs.join(" against ")
        ));
    }
    let ids = r.explainers.iter().map(|e| e.id.len());
    let first = ids.max().unwrap_or(0) + 2;
    let cells = r.rows.iter().map(|row| cell(row, r.data.n).len());
    let width = cells.max().unwrap_or(0).max(12) + 2;
    let mut figures: Vec<&str> = Vec::new();
    r.rows.iter().for_each(|row| {
        if !figures.contains(&row.figure.as_str()) {
            figures.push(&row.figure)
        }
    });
    for figure in figures {
        let rows = || r.rows.iter().filter(move |row| row.figure == figure);
        let better = rows().next().map_or("", |row| row.better.name());
        let heads: String = inputs.iter().map(|i| format!("{i:<width$}")).collect();
        let p = if inputs.len() > 1 { "p" } else { "" };
        lines.push(format!("\n{figure} ({better} is better)"));
        lines.push(format!("{:<first$}{heads}{p}", "").trim_end().to_owned());
        for explainer in &r.explainers {
            let on = |input: &&str| {
                let mut rows = rows();
                let row = rows.find(|x| x.explainer == explainer.id && x.input == *input);
                let text = row.map_or_else(String::new, |row| cell(row, r.data.n));
                format!("{text:<width$}")
            };
            let cells: String = inputs.iter().map(on).collect();
            let mut tests = r.input_tests.iter();
            let test = tests.find(|t| t.figure == figure && t.explainer == explainer.id);
            let p = test.map_or_else(String::new, |t| format!("{:.1e}", t.paired.wilcoxon.p));
            let line = format!("{:<first$}{cells}{p}", explainer.id);
            lines.push(line.trim_end().to_owned());
        }
    }
    lines.extend(r.nothing_found.iter().map(|f| {
        format!(
            "nothing found for the class by {} on {}: {} of {} maps, left out of every figure",
            f.explainer, f.input, f.maps, r.data.n
        )
    }));
    for row in &r.criteria {
        lines.push(format!("\nentropy-weighted criteria, {}", row.input));
        let weights = row.criteria.iter().zip(&row.weights);
        lines.extend(
            weights.map(|(criterion, weight)| format!("  {criterion}: weight {weight:.2}")),
        );
        let scores = row.scores.iter();
        lines.extend(scores.map(|(explainer, score)| format!("{explainer:<first$}{score:.3}")));
    }
    lines.join("\n")
}

/// Images from which on a run says how long it will take.
const LONG: usize = 10;

/// Says how long a run of some images will take, by its first image.
fn say_time(global: &Arguments, job: &EvaluationJob<'_>, state: &Path) -> Result<()> {
    let n = job.inputs.first().map_or(0, |i| i.targets.len());
    // A run that goes on has been told already, and has less to do.
    if global.quiet || n < LONG || state.exists() {
        return Ok(());
    }
    let first = job.inputs.iter().map(|input| EvaluationInput {
        x: input.x.rows(0, 1),
        targets: input.targets[..1].to_vec(),
        ..input.clone()
    });
    let inputs: Vec<EvaluationInput> = first.collect();
    let started = Instant::now();
    evaluate(
        &EvaluationJob {
            inputs: &inputs,
            ..*job
        },
        None,
        &mut |_, _| (),
    )?;
    let seconds = started.elapsed().as_secs_f64();
    console::say(
        false,
        &format!(
            "{n} images: {} or less, by the first one ({seconds:.1} s); fewer --explainers, \
             --metrics or -n take less",
            duration(seconds * n as f64)
        ),
    );
    Ok(())
}

/// A time in words, rounded up.
fn duration(seconds: f64) -> String {
    match (seconds / 60.0).ceil() {
        minutes if minutes <= 1.0 => "about a minute".to_owned(),
        minutes if minutes <= 90.0 => format!("about {minutes} minutes"),
        minutes => format!("about {} hours", (minutes / 60.0).ceil()),
    }
}

fn cell(row: &FigureRow, n: usize) -> String {
    if row.n == 0 {
        return "not defined".into();
    }
    let short = |v: f64| {
        if v.abs() < 1e-12 || (1e-3..1e4).contains(&v.abs()) {
            format!("{v:.3}")
        } else {
            format!("{v:.1e}")
        }
    };
    let text = format!(
        "{} [{}, {}]",
        short(row.mean),
        short(row.interval[0]),
        short(row.interval[1])
    );
    if row.n == n {
        text
    } else {
        format!("{text} n={}", row.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        assert_eq!(duration(3.0), "about a minute");
        assert_eq!(duration(61.0), "about 2 minutes");
        assert_eq!(duration(5401.0), "about 2 hours");
    }
}
