//! `fgmf evaluate`.

use crate::arguments::{Arguments, Evaluate};
use crate::commands::attacked::Attacker;
use crate::commands::chosen::{Settings, chosen, metrics};
use crate::commands::memory::{images_at_once, work_of};
use crate::commands::shared::{data_for, data_record, how_chosen, read_model, warn_of_chance};
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::explain::{Context, applicable, with_parameters};
use fgmf::model::Oracle;
use fgmf::store::{Folder, build, refuse_another, remove, write};
use fgmf::study::{EvaluationJob, evaluate};
use fgmf_net::Tensor;
use fgmf_record::{EvaluationRecord, FigureRow, ModelFile};
use serde_json::json;

pub(crate) fn run(global: &Arguments, a: &Evaluate) -> Result<Outcome> {
    let settings = Settings::read(a.settings.as_deref())?;
    let metrics = metrics(&a.metrics, &settings)?;
    let (mut net, sha256) = read_model(&a.model)?;
    let data = data_for(&net, &a.data, &a.split, Some(a.limit))?;
    let [c, h, w] = data.shape();
    let attacker = Attacker::new(&a.attacked, "pgd", [c, h, w], Some(&data), &sha256, a.seed)?;
    let rows: Vec<usize> = (0..data.len()).collect();
    let x = Tensor::new::<f32>(&[data.len(), c, h, w], data.images(&rows));
    // Attacked images, and two copies on the way to them.
    let (mib, work) = (a.memory.memory, work_of(&a.explainers, &metrics));
    let cap = images_at_once(&mut [&mut net], mib, a.memory.cap, 3 * x.len(), work)?;
    let oracle = Oracle::new(&net);
    let able = if a.explainers == ["all"] {
        applicable(&oracle, cap)
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
            "model": { "sha256": sha256 },
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
    let bar = console::bar(global.quiet, 1, "evaluating");
    let mut watch = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let state = a.out.join("evaluation.state.jsonl");
    let context = Context {
        seed: a.seed,
        first_index: 0,
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
    let found = evaluate(&job, Some(&state), &mut watch)?;
    bar.finish_and_clear();
    let record = EvaluationRecord {
        model: ModelFile {
            file: a.model.display().to_string(),
            sha256,
        },
        data: data_record(&data),
        threat: attacker.threat().record(),
        seed: a.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        inputs: found.inputs,
        explainers: found.explainers,
        metrics: found.metrics,
        rows: found.rows,
        input_tests: found.input_tests,
        explainer_tests: found.explainer_tests,
        criteria: found.criteria,
    };
    let text = serde_json::to_string_pretty(&record)?;
    write(&out, text.as_bytes())?;
    remove(&state)?;
    console::result(&if global.json { text } else { table(&record) })?;
    Ok(Outcome::Done)
}

/// A line an explainer and figure: means with intervals on each input, and the test between them.
fn table(r: &EvaluationRecord) -> String {
    let inputs: Vec<&str> = r.inputs.iter().map(|i| i.name.as_str()).collect();
    let mut lines = vec![format!(
        "{} on {} ({}, n = {}{}), {} eps {}, seed {}; mean [95% interval]; p: Wilcoxon \
            signed-rank of {}",
        one_line(&r.model.file),
        one_line(&r.data.name),
        r.data.split,
        r.data.n,
        how_chosen(&r.data),
        r.threat.norm,
        r.threat.eps,
        r.seed,
        inputs.join(" against ")
    )];
    let widest =
        |names: &mut dyn Iterator<Item = &str>| names.map(str::len).max().unwrap_or(0).max(20) + 2;
    let first = widest(&mut r.rows.iter().map(|row| row.figure.as_str()));
    let second = widest(&mut r.explainers.iter().map(|e| e.id.as_str()));
    let heads: String = inputs.iter().map(|i| format!("{i:<28}")).collect();
    lines.push(format!(
        "{:<first$}{:<second$}{:<8}{heads}{}",
        "figure",
        "explainer",
        "better",
        if inputs.len() > 1 { "p" } else { "" }
    ));
    let mut figures: Vec<&str> = Vec::new();
    r.rows.iter().for_each(|row| {
        if !figures.contains(&row.figure.as_str()) {
            figures.push(&row.figure)
        }
    });
    for figure in figures {
        for explainer in &r.explainers {
            let row = |input: &&str| {
                r.rows.iter().find(|x| {
                    x.figure == figure && x.explainer == explainer.id && x.input == *input
                })
            };
            let rows: Vec<Option<&FigureRow>> = inputs.iter().map(row).collect();
            let better = rows.iter().flatten().next().map_or("", |x| x.better.name());
            let cells: String = rows
                .iter()
                .map(|x| format!("{:<28}", x.map_or_else(String::new, |x| cell(x, r.data.n))))
                .collect();
            let test = r
                .input_tests
                .iter()
                .find(|t| t.figure == figure && t.explainer == explainer.id);
            let p = test.map_or_else(String::new, |t| format!("{:.2e}", t.paired.wilcoxon.p));
            lines.push(
                format!(
                    "{figure:<first$}{:<second$}{better:<8}{cells}{p}",
                    explainer.id
                )
                .trim_end()
                .to_owned(),
            );
        }
    }
    for row in &r.criteria {
        let weights: Vec<String> = row
            .criteria
            .iter()
            .zip(&row.weights)
            .map(|(c, w)| format!("{c} {w:.2}"))
            .collect();
        lines.push(format!(
            "entropy-weighted criteria, {} (weights: {})",
            row.input,
            weights.join(", ")
        ));
        lines.extend(
            row.scores
                .iter()
                .map(|(explainer, score)| format!("{:<first$}{explainer:<second$}{score:.3}", "")),
        );
    }
    lines.join("\n")
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
