//! `fgmf evaluate`.

use super::{check_fit, create, data_record, read_model, write};
use crate::Outcome;
use crate::arguments::{Arguments, Evaluate};
use crate::console;
use anyhow::Result;
use fgmf::Error;
use fgmf::attack::{ApgdParams, Attack, Batch, PgdParams, predictions, run_attack};
use fgmf::data::{Dataset, load};
use fgmf::evaluate::{Input, Job, Metric, evaluate, ids, read_adversarial};
use fgmf::explain::{Context, IDS, applicable, with_parameters};
use fgmf::oracle::{Oracle, Scores};
use fgmf::record::{EvaluationRecord, FigureRow, ModelFile};
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::Tensor;
use serde_json::{Value, json};

pub(crate) fn run(global: &Arguments, a: &Evaluate) -> Result<Outcome> {
    let threat = ThreatModel::new(Norm::parse(&a.norm)?, a.eps, [0.0, 1.0])?;
    let usual: Vec<&str> = ids().into_iter().filter(|id| !OPTIONAL.contains(id)).collect();
    let settings = Settings::read(a)?;
    let metrics: Vec<Box<dyn Metric>> =
        chosen("metrics", &a.metrics, &ids(), &usual, |id| fgmf::evaluate::with_parameters(id, settings.of(id)))?;
    let (net, sha256) = read_model(&a.model)?;
    let mut data = load(&a.data, a.split.parse()?)?;
    data.truncate(a.limit)?;
    check_fit(&net, &data)?;
    let oracle = Oracle::new(&net);
    let able = applicable(&oracle);
    let explainers = chosen("explainers", &a.explainers, &IDS, &able, |id| with_parameters(id, settings.of(id)))?;
    let used: Vec<&str> = explainers.iter().map(|e| e.id()).chain(metrics.iter().map(|m| m.info().id)).collect();
    settings.check(&used)?;
    let inputs = inputs(a, &oracle, &data, &threat)?;
    create(&a.out)?;
    let bar = console::bar(global.quiet, 1, "evaluating");
    let mut watch = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let state = a.out.join("evaluation.state.jsonl");
    let context = Context { seed: a.seed, first_index: 0, cap: a.cap };
    let job = Job { oracle: &oracle, explainers: &explainers, metrics: &metrics, inputs: &inputs, threat: &threat, context };
    let found = evaluate(&job, Some(&state), &mut watch)?;
    bar.finish_and_clear();
    let record = EvaluationRecord {
        model: ModelFile { file: a.model.display().to_string(), sha256 },
        data: data_record(&data),
        threat: threat.record(),
        seed: a.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        inputs: found.inputs,
        explainers: found.explainers,
        metrics: found.metrics,
        rows: found.rows,
        input_tests: found.input_tests,
        explainer_tests: found.explainer_tests,
        criteria: found.criteria,
    };
    let json = serde_json::to_string_pretty(&record)?;
    write(&a.out.join("evaluation.json"), json.as_bytes())?;
    std::fs::remove_file(&state).map_err(Error::io(&state))?;
    console::result(&if global.json { json } else { table(&record) });
    Ok(Outcome::Done)
}

/// Costs hundreds of explanations an image, and is about a smoothed map instead of the explainer's own.
const OPTIONAL: [&str; 1] = ["certified-top-k"];

/// `--settings`: settings by id.
struct Settings(serde_json::Map<String, Value>);

impl Settings {
    fn read(a: &Evaluate) -> Result<Self> {
        let given = a.settings.as_deref().unwrap_or("{}");
        let refused = |found: &dyn std::fmt::Display| Error::parameter("settings", "a JSON object of settings by id", found);
        match serde_json::from_str(given).map_err(|e| refused(&e))? {
            Value::Object(settings) => Ok(Self(settings)),
            _ => Err(refused(&given).into()),
        }
    }

    fn of(&self, id: &str) -> Value {
        self.0.get(id).cloned().unwrap_or_else(|| json!({}))
    }

    /// Settings that nothing uses are a mistake.
    fn check(&self, used: &[&str]) -> Result<()> {
        match self.0.keys().find(|id| !used.contains(&id.as_str())) {
            Some(id) => Err(Error::parameter("settings", format!("ids that are evaluated: {}", used.join(", ")), id).into()),
            None => Ok(()),
        }
    }
}

/// The methods of a list of ids of `known`, or those of `all` for the list `all`.
fn chosen<T: ?Sized>(
    name: &'static str,
    wanted: &[String],
    known: &[&str],
    all: &[&str],
    make: impl Fn(&str) -> fgmf::Result<Box<T>>,
) -> Result<Vec<Box<T>>> {
    let wanted: Vec<&str> = if wanted == ["all"] { all.to_vec() } else { wanted.iter().map(String::as_str).collect() };
    let one = |id: &&str| match known.contains(id) {
        true => Ok(make(id)?),
        false => Err(Error::parameter(name, format!("all, or of {}", known.join(", ")), id).into()),
    };
    wanted.iter().map(one).collect()
}

/// The clean images and, if asked for, the attacked ones. What is attacked is the model's own answer, so that no image is left out.
fn inputs(a: &Evaluate, oracle: &Oracle<'_>, data: &Dataset, threat: &ThreatModel) -> Result<Vec<Input>> {
    let index: Vec<usize> = (0..data.len()).collect();
    let [c, h, w] = data.shape();
    let x = Tensor::new::<f32>(&[data.len(), c, h, w], data.images(&index));
    let labels = predictions(&oracle.logits(&x)?);
    let own = match a.explain.as_str() {
        "clean" => false,
        "own" => true,
        other => return Err(Error::parameter("explain", "clean or own", other).into()),
    };
    let attack = match a.attack.as_str() {
        "none" => None,
        "pgd" => Some(Attack::White(Box::new(PgdParams::default().check()?))),
        "apgd" => Some(Attack::White(Box::new(ApgdParams::default().check()?))),
        other => return Err(Error::parameter("attack", "pgd, apgd or none", other).into()),
    };
    let mut out = vec![Input { name: "clean".into(), parameters: json!({}), x: x.clone(), targets: labels.clone() }];
    let moved = match (&a.adversarial, attack) {
        (Some(path), _) => {
            let moved = read_adversarial(path, x.shape())?;
            Some((
                "adversarial".to_owned(),
                json!({ "file": path, "sha256": fgmf::hash::sha256(&std::fs::read(path).map_err(Error::io(path))?) }),
                moved,
            ))
        }
        (None, Some(attack)) => {
            let batch = Batch { x, labels: labels.clone(), index: index.iter().map(|&i| i as u64).collect() };
            let found = run_attack(&attack, oracle, &batch, threat, a.seed)?;
            Some((attack.id().to_owned(), attack.parameters(), found.adversarial))
        }
        (None, None) => None,
    };
    if let Some((name, parameters, x)) = moved {
        let targets = if own { predictions(&oracle.logits(&x)?) } else { labels };
        out.push(Input { name, parameters, x, targets });
    }
    Ok(out)
}

/// A line an explainer and figure: means with intervals on each input, and the test between them.
fn table(r: &EvaluationRecord) -> String {
    let inputs: Vec<&str> = r.inputs.iter().map(|i| i.name.as_str()).collect();
    let mut lines = vec![format!(
        "{} on {} ({}, n = {}), {} eps {}, seed {}; mean [95% interval]; p: Wilcoxon signed-rank of {}",
        r.model.file,
        r.data.name,
        r.data.split,
        r.data.n,
        r.threat.norm,
        r.threat.eps,
        r.seed,
        inputs.join(" against ")
    )];
    let heads: String = inputs.iter().map(|i| format!("{i:<27}")).collect();
    lines.push(format!("{:<26}{:<22}{:<8}{heads}{}", "figure", "explainer", "better", if inputs.len() > 1 { "p" } else { "" }));
    let mut figures: Vec<&str> = Vec::new();
    r.rows.iter().for_each(|row| {
        if !figures.contains(&row.figure.as_str()) {
            figures.push(&row.figure)
        }
    });
    for figure in figures {
        for explainer in &r.explainers {
            let row = |input: &&str| r.rows.iter().find(|x| x.figure == figure && x.explainer == explainer.id && x.input == *input);
            let rows: Vec<Option<&FigureRow>> = inputs.iter().map(row).collect();
            let better = rows.iter().flatten().next().map_or("", |x| x.better.as_str());
            let cells: String = rows.iter().map(|x| format!("{:<27}", x.map_or_else(String::new, |x| cell(x, r.data.n)))).collect();
            let test = r.input_tests.iter().find(|t| t.figure == figure && t.explainer == explainer.id);
            let p = test.map_or_else(String::new, |t| format!("{:.2e}", t.paired.wilcoxon.p));
            lines.push(format!("{figure:<26}{:<22}{better:<8}{cells}{p}", explainer.id));
        }
    }
    for row in &r.criteria {
        let weights: Vec<String> = row.criteria.iter().zip(&row.weights).map(|(c, w)| format!("{c} {w:.2}")).collect();
        lines.push(format!("entropy-weighted criteria, {} (weights: {})", row.input, weights.join(", ")));
        lines.extend(row.scores.iter().map(|(explainer, score)| format!("{:<26}{explainer:<22}{score:.3}", "")));
    }
    lines.join("\n")
}

fn cell(row: &FigureRow, n: usize) -> String {
    if row.n == 0 {
        return "not defined".into();
    }
    let short = |v: f64| if v.abs() < 1e-12 || (1e-3..1e4).contains(&v.abs()) { format!("{v:.3}") } else { format!("{v:.1e}") };
    let text = format!("{} [{}, {}]", short(row.mean), short(row.interval[0]), short(row.interval[1]));
    if row.n == n { text } else { format!("{text} n={}", row.n) }
}
