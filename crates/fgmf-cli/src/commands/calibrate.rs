//! `fgmf calibrate`.

use crate::arguments::{Arguments, Calibrate};
use crate::commands::chosen::{Settings, metrics};
use crate::commands::memory::{images_at_once, work_of};
use crate::commands::model::{UserModel, identity_fields};
use crate::commands::shared::{
    ExplainedModel, data_for, data_record, ended_without, how_chosen, percent, threat_on,
};
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::explain::{Context, with_parameters};
use fgmf::measure::RiskLevels;
use fgmf::model::{Oracle, Scores, predictions};
use fgmf::store::{build, refuse_another, write};
use fgmf::study::{EvaluationInput, EvaluationJob, calibration_pairs, promise, promise_sentence};
use fgmf::threat::Norm;
use fgmf_net::Tensor;
use fgmf_record::{MapCalibrationRecord, MethodRecord};
use serde_json::json;

/// The figure that says which maps are bad.
const METRIC: &str = "lerf-minus-morf";

pub(crate) fn run(global: &Arguments, a: &Calibrate) -> Result<Outcome> {
    let levels = RiskLevels {
        alpha: a.alpha,
        delta: a.delta,
        start: a.start,
    };
    // What is out of range is refused before anything is computed.
    promise(&[], a.tau, &levels)?;
    let settings = Settings::read(a.settings.as_deref())?;
    let metrics = metrics(&[METRIC.to_owned()], &settings)?;
    let explainer = with_parameters(&a.method, settings.of(&a.method))?;
    settings.check(&[&a.method, METRIC])?;
    let mut model = UserModel::open(&a.model, &a.input)?;
    let data = data_for(&model.net, &a.data, &a.split, Some(a.limit), model.fit)?;
    model.guard(&data)?;
    let ExplainedModel { mut net, file, .. } = ExplainedModel::new(model)?;
    let method = |id: &str, parameters| MethodRecord {
        id: id.into(),
        parameters,
    };
    let mut record = MapCalibrationRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        model: file,
        data: data_record(&data),
        explainer: method(explainer.id(), explainer.parameters()),
        metric: method(METRIC, metrics[0].parameters()),
        seed: a.seed,
        alpha: a.alpha,
        delta: a.delta,
        tau: a.tau,
        start: a.start,
        promise: None,
        pairs: Vec::new(),
    };
    refuse_another(
        &a.out,
        &json!({
            "model": identity_fields(&record.model),
            "data": { "sha256": record.data.sha256 },
            "explainer": record.explainer,
            "metric": record.metric,
            "seed": a.seed,
            "alpha": a.alpha,
            "delta": a.delta,
            "tau": a.tau,
            "start": a.start,
        }),
    )?;
    let [c, h, w] = data.shape();
    let rows: Vec<usize> = (0..data.len()).collect();
    let x = Tensor::new::<f32>(&[data.len(), c, h, w], data.images(&rows)?);
    // The methods inside this one count, too.
    let inside = record.explainer.parameters.to_string().contains("\"deep-");
    let named = inside.then(|| "deep-shap".to_owned());
    let ids: Vec<String> = named.into_iter().chain([a.method.clone()]).collect();
    let (mib, work) = (a.memory.memory, work_of(&ids, &metrics));
    let cap = images_at_once(&mut [&mut net], mib, a.memory.cap, x.len(), work)?;
    let oracle = Oracle::new(&net);
    let inputs = [EvaluationInput {
        name: "clean".into(),
        parameters: json!({}),
        targets: predictions(&oracle.logits(&x)?),
        x,
    }];
    let job = EvaluationJob {
        oracle: &oracle,
        explainers: &[explainer],
        metrics: &metrics,
        inputs: &inputs,
        // Asked for by metrics of attacked maps alone.
        threat: &threat_on(Norm::Linf, 0.1, [c, h, w])?,
        context: Context {
            seed: a.seed,
            names: None,
            cap,
        },
    };
    let bar = console::bar(global.quiet, 1, "calibrating");
    let mut watch = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    record.pairs = calibration_pairs(&job, &mut watch)?;
    bar.finish_and_clear();
    record.promise = promise(&record.pairs, a.tau, &levels)?;
    let text = serde_json::to_string_pretty(&record)?;
    write(&a.out, text.as_bytes())?;
    console::result(&if global.json { text } else { told(&record) })?;
    Ok(match (ended_without(data.left_out()), &record.promise) {
        (Outcome::Done, None) => Outcome::BelowThreshold,
        (ended, _) => ended,
    })
}

/// What a reader is told: model, data, counts, promise.
fn told(r: &MapCalibrationRecord) -> String {
    let known = r.pairs.iter().flatten();
    let bad = known.clone().filter(|p| p.figure < r.tau).count();
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
            "{}: {} maps, {bad} of them bad ({} below {})",
            r.explainer.id,
            known.count(),
            r.metric.id,
            r.tau
        ),
    ];
    if let Some(p) = &r.promise {
        let from = if p.threshold <= f64::MIN {
            "every agreement".to_owned()
        } else {
            format!("agreement above {:.4}", p.threshold)
        };
        lines.push(format!(
            "{from}: {} shown ({}), {} of them bad, p = {:.4}",
            p.shown,
            percent(p.share),
            p.bad,
            p.p
        ));
    }
    lines.push(promise_sentence(r));
    lines.join("\n")
}
