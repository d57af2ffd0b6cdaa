//! Explanations before and after the attack: figures over many images, pictures of a few.

use crate::attack::{Attack, PgdParams, run_attack};
use crate::data::{Batch, Dataset, batch_of};
use crate::defend::MASK;
use crate::error::{Error, Result};
use crate::explain::{
    Attribution, Context, Explainer, IntegratedGradientsParams, PgcaParams, explain, image_names,
    make,
};
use crate::measure::{mean_interval, spearman, top_k_overlap};
use crate::metric::with_parameters as metric;
use crate::model::softmax;
use crate::model::{Oracle, predictions};
use crate::record::{CaseRecord, CaseView, Figure, MapFacts, MapRecord, MeanRecord};
use crate::study::evaluation::{EvaluationInput, EvaluationJob, evaluate};
use crate::study::marks::map_facts;
use crate::study::report_model::ReportModel;
use crate::threat::ThreatModel;
use fgmf_net::Tensor;

/// Images that the figures are over, from the first test image on.
pub const CASE_IMAGES: usize = 200;
/// Images drawn.
const PICTURES: usize = 6;
/// Share of the pixels that the overlap looks at.
const TOP: f64 = 0.1;

/// One model's view of all images.
struct View {
    outcome: Tensor,
    clean: Tensor,
    attacked: Tensor,
    masks: Option<[Tensor; 2]>,
    pgca: [Vec<Attribution>; 2],
    gradients: [Vec<Attribution>; 2],
}

fn explainers() -> Result<(impl Explainer, impl Explainer)> {
    Ok((
        PgcaParams::published().check(&make)?,
        IntegratedGradientsParams::default().check()?,
    ))
}

/// What is explained and how, for the record.
pub fn case_settings(images: usize) -> Result<serde_json::Value> {
    let (pgca, ig) = explainers()?;
    Ok(serde_json::json!({
        "images": images,
        "top": TOP,
        "attack": PgdParams::default(),
        "pgca": pgca.parameters(),
        "integrated-gradients": ig.parameters(),
    }))
}

/// Explains the first `images` of the data by every model, before and after an attack: means over
/// all of them, and pictures of a few. `watch` hears the models done.
pub fn explain_models(
    subjects: &[ReportModel],
    (data, images): (&Dataset, usize),
    threat: &ThreatModel,
    seed: u64,
    watch: &mut dyn FnMut(usize),
) -> Result<(Vec<MeanRecord>, Vec<CaseRecord>)> {
    let n = images.min(data.len());
    let rows: Vec<usize> = (0..n).collect();
    let batch = batch_of(data, &rows)?;
    let mut views = Vec::new();
    for s in subjects {
        views.push(view(s, &batch, threat, seed)?);
        watch(views.len());
    }
    Ok((
        means(subjects, &views)?,
        pictures(subjects, &views, &batch, data, (threat, seed))?,
    ))
}

fn view(s: &ReportModel, batch: &Batch, threat: &ThreatModel, seed: u64) -> Result<View> {
    let oracle = Oracle::new(&s.net);
    let attack = Attack::White(Box::new(PgdParams::default().check()?));
    let adversarial = run_attack(&attack, &oracle, batch, threat, seed)?.adversarial;
    let (pgca, ig) = explainers()?;
    // Clean and attacked maps have the same draws.
    let names = image_names(&batch.x);
    let context = Context {
        seed,
        names: Some(&names),
        ..Context::default()
    };
    let both = |e: &dyn Explainer| -> Result<[Vec<Attribution>; 2]> {
        Ok([
            explain(e, &oracle, &batch.x, &batch.labels, &context)?,
            explain(e, &oracle, &adversarial, &batch.labels, &context)?,
        ])
    };
    let masks = match s.net.find(MASK) {
        Some(id) => {
            let at = |x: &Tensor| {
                s.net
                    .values_at(x, &[id])
                    .map(|mut v| v.swap_remove(0))
                    .map_err(Error::from)
            };
            Some([at(&batch.x)?, at(&adversarial)?])
        }
        None => None,
    };
    let logits = |x: &Tensor| s.net.logits(x).map_err(Error::from);
    Ok(View {
        clean: logits(&batch.x)?,
        attacked: logits(&adversarial)?,
        outcome: adversarial.clone(),
        masks,
        pgca: both(&pgca)?,
        gradients: both(&ig)?,
    })
}

/// Overlap of the largest tenth and rank correlation of two maps.
fn likeness(before: &Attribution, after: &Attribution) -> Result<[f64; 2]> {
    let absolute = |a: &Attribution| {
        a.values
            .values
            .iter()
            .map(|v| v.abs())
            .collect::<Vec<f32>>()
    };
    Ok([
        top_k_overlap(&absolute(before), &absolute(after), TOP)?,
        spearman(&before.values.values, &after.values.values)?,
    ])
}

fn means(subjects: &[ReportModel], views: &[View]) -> Result<Vec<MeanRecord>> {
    let mut out = Vec::new();
    for (method, pick) in [("PGCA", 0), ("Integrated Gradients", 1)] {
        for (figure, name, reading) in [
            (
                0,
                "top-10% overlap, clean against attacked",
                "Share of the most important tenth of the pixels that stays the same \
                    when the image is attacked; 1 means that the explanation stays put.",
            ),
            (
                1,
                "rank correlation, clean against attacked",
                "Spearman correlation of all pixels before and after the attack; 1 means \
                    the same order, 0 none in common.",
            ),
        ] {
            for (s, v) in subjects.iter().zip(views) {
                let maps = if pick == 0 { &v.pgca } else { &v.gradients };
                let pairs = maps[0].iter().zip(&maps[1]);
                let values = pairs
                    .filter(|(a, b)| !a.is_empty() && !b.is_empty())
                    .map(|(a, b)| Ok(likeness(a, b)?[figure]))
                    .collect::<Result<Vec<f64>>>()?;
                let (mean, interval) = mean_interval(&values);
                out.push(MeanRecord {
                    model: s.id.into(),
                    name: format!("{method}: {name}"),
                    reading: reading.into(),
                    mean,
                    interval,
                    n: values.len(),
                });
            }
        }
    }
    for (s, v) in subjects.iter().zip(views) {
        let found = v.pgca[0].iter().filter(|a| !a.is_empty());
        let values: Vec<f64> = found.filter_map(|a| a.agreement).collect();
        let (mean, interval) = mean_interval(&values);
        let reading = "Spearman correlation of the perturbation map and Grad-CAM++ on clean \
            images: how far the two kinds of evidence say the same.";
        out.push(MeanRecord {
            model: s.id.into(),
            name: "PGCA: agreement of its two parts".into(),
            reading: reading.into(),
            mean,
            interval,
            n: values.len(),
        });
    }
    Ok(out)
}

/// The first test images, one a class, that every model gets right before the attack.
fn pictures(
    subjects: &[ReportModel],
    views: &[View],
    batch: &Batch,
    data: &Dataset,
    judged: (&ThreatModel, u64),
) -> Result<Vec<CaseRecord>> {
    let right: Vec<Vec<usize>> = views.iter().map(|v| predictions(&v.clean)).collect();
    let mut seen = vec![false; data.classes().len()];
    let mut out = Vec::new();
    for (i, &label) in batch.labels.iter().enumerate() {
        if out.len() == PICTURES || seen[label] || right.iter().any(|p| p[i] != label) {
            continue;
        }
        seen[label] = true;
        let views = subjects
            .iter()
            .zip(views)
            .map(|(s, v)| case_view(s, v, batch, i, judged))
            .collect::<Result<Vec<_>>>()?;
        out.push(CaseRecord {
            index: batch.index[i] as usize,
            label,
            image: map(&batch.x, i),
            views,
        });
    }
    Ok(out)
}

fn map(x: &Tensor, i: usize) -> MapRecord {
    let shape = x.shape();
    MapRecord {
        channels: shape[1],
        height: shape[2],
        width: shape[3],
        values: x.rows(i, 1).to_f32(),
    }
}

fn prediction(logits: &Tensor, i: usize) -> (usize, f64) {
    let row = logits.rows(i, 1);
    let class = predictions(&row)[0];
    (class, softmax(&row.to_f64())[class])
}

fn case_view(
    s: &ReportModel,
    v: &View,
    batch: &Batch,
    i: usize,
    judged: (&ThreatModel, u64),
) -> Result<CaseView> {
    let figure = |name: &str, value: f64, reading: &str| Figure {
        name: name.into(),
        value,
        reading: reading.into(),
    };
    let (pgca, ig) = (
        likeness(&v.pgca[0][i], &v.pgca[1][i])?,
        likeness(&v.gradients[0][i], &v.gradients[1][i])?,
    );
    let agreement = |k: usize| v.pgca[k][i].agreement.unwrap_or(0.0);
    let figures = vec![
        figure(
            "agreement, clean",
            agreement(0),
            "Spearman correlation of PGCA's two parts on the clean image.",
        ),
        figure(
            "agreement, attacked",
            agreement(1),
            "The same on the attacked image; a drop warns that the explanation is not to \
                be relied on.",
        ),
        figure(
            "PGCA overlap",
            pgca[0],
            "Share of PGCA's top tenth of the pixels that the attack leaves in place.",
        ),
        figure(
            "IG overlap",
            ig[0],
            "The same for Integrated Gradients, by absolute value.",
        ),
        figure(
            "IG completeness gap",
            v.gradients[0][i].completeness_gap.unwrap_or(0.0),
            "How far the Integrated Gradients of the clean image miss the change of the \
                score that they should add up to; below 0.05 is good.",
        ),
    ];
    let pair =
        |maps: &[Vec<Attribution>; 2]| [maps[0][i].values.clone(), maps[1][i].values.clone()];
    Ok(CaseView {
        model: s.id.into(),
        clean_prediction: prediction(&v.clean, i),
        attacked_prediction: prediction(&v.attacked, i),
        perturbation: map(&v.outcome.sub(&batch.x), i),
        attacked: map(&v.outcome, i),
        mask: v.masks.as_ref().map(|m| [map(&m[0], i), map(&m[1], i)]),
        pgca: pair(&v.pgca),
        integrated_gradients: pair(&v.gradients),
        figures,
        facts: facts(s, v, batch, i, judged)?,
    })
}

/// What is known of the maps of image `i`: the figures behind the doubts are those that
/// `fgmf explain` computes of the same image.
fn facts(
    s: &ReportModel,
    v: &View,
    batch: &Batch,
    i: usize,
    (threat, seed): (&ThreatModel, u64),
) -> Result<[[MapFacts; 2]; 2]> {
    let (pgca, ig) = explainers()?;
    let explainers: [Box<dyn Explainer>; 2] = [Box::new(pgca), Box::new(ig)];
    let inputs = [("clean", &batch.x), ("pgd", &v.outcome)].map(|(name, x)| EvaluationInput {
        name: name.into(),
        parameters: serde_json::json!({}),
        x: x.rows(i, 1),
        targets: vec![batch.labels[i]],
    });
    let job = EvaluationJob {
        oracle: &Oracle::new(&s.net),
        explainers: &explainers,
        metrics: &[metric("lerf-minus-morf", serde_json::json!({}))?],
        inputs: &inputs,
        threat,
        context: Context {
            seed,
            ..Context::default()
        },
    };
    let rows = evaluate(&job, None, &mut |_, _| ())?.rows;
    let maps = [&v.pgca, &v.gradients];
    Ok([0, 1].map(|method| {
        [0, 1].map(|input| {
            map_facts(&maps[method][input][i], |figure| {
                let (id, name) = (explainers[method].id(), &inputs[input].name);
                let mut rows = rows.iter();
                let row =
                    rows.find(|r| r.explainer == id && r.input == *name && r.figure == figure);
                row.and_then(|r| r.values[0])
            })
        })
    }))
}
