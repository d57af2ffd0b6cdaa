//! Metrics of explanations that question the model: a small trait for each, and one entry that runs
//! explainers x metrics x inputs.
//!
//! [`INFOS`] lists them with family, figures, direction, range, needs and reference;
//! `docs/metrics.md` is that list. Pure figures of maps are in [`crate::metric`].

mod adversarial;
mod attacked_stability;
mod cells;
mod certified_top_k;
mod compare;
mod criteria;
mod curve;
mod deletion;
mod efficient_mprt;
mod entropy;
mod faithfulness_correlation;
mod fill;
mod impute;
mod infidelity;
mod info;
mod insertion;
mod lerf_morf;
mod map_attack;
mod map_shift;
mod max_sensitivity;
mod mosaic;
mod mprt;
mod noise;
mod randomise;
mod relative_stability;
mod road;
mod sensitivity_n;
mod smooth_mprt;
mod smooth_net;
mod sparseness;
mod state;
mod subject;
mod subsets;
mod sufficiency;
mod surrogate;

use crate::error::{Error, Result};
use crate::explain::{Attribution, Context, Explainer, explain, read, read_over};
use crate::oracle::{Oracle, Scores as _};
use crate::record::{CriteriaRow, ExplainerTest, FigureRow, InputRecord, InputTest, MethodRecord};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use state::State;
use std::path::Path;

pub use adversarial::read_adversarial;
pub use attacked_stability::{AttackedStability, AttackedStabilityParams};
pub use certified_top_k::{CertifiedTopK, CertifiedTopKParams};
pub use criteria::{Criteria, CriteriaParams};
pub use curve::CurveParams;
pub use deletion::Deletion;
pub use efficient_mprt::{EfficientMprt, EfficientMprtParams};
pub use entropy::Entropy;
pub use faithfulness_correlation::{FaithfulnessCorrelation, FaithfulnessCorrelationParams};
pub use fill::Fill;
pub use infidelity::{Infidelity, InfidelityParams};
pub use info::{Direction, Family, Figure, Info, Need};
pub use insertion::Insertion;
pub use lerf_morf::LerfMinusMorf;
pub use max_sensitivity::MaxSensitivity;
pub use mosaic::{Mosaic, MosaicParams};
pub use mprt::{Mprt, MprtParams};
pub use noise::NoiseParams;
pub use relative_stability::RelativeStability;
pub use road::{Road, RoadParams};
pub use sensitivity_n::{SensitivityN, SensitivityNParams};
pub use smooth_mprt::{SmoothMprt, SmoothMprtParams};
pub use sparseness::Sparseness;
pub use subject::{Output, Subject};
pub use subsets::Reading;
pub use sufficiency::{Sufficiency, SufficiencyParams};

/// Values of a metric: a row a figure, in it a value an example, none where the figure is not
/// defined for it.
pub type Scores = Vec<Vec<Option<f64>>>;

/// A metric. Implement this; call [`evaluate`].
pub trait Metric: Sync {
    /// The metric as data.
    fn info(&self) -> &'static Info;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// One row for each figure of [`Metric::info`].
    fn score(&self, subject: &Subject<'_>) -> Result<Scores>;
}

/// All metrics as data, in the order of the documentation.
pub const INFOS: [&Info; 20] = [
    &deletion::INFO,
    &insertion::INFO,
    &lerf_morf::INFO,
    &road::INFO,
    &infidelity::INFO,
    &faithfulness_correlation::INFO,
    &sensitivity_n::INFO,
    &sufficiency::INFO,
    &attacked_stability::INFO,
    &map_shift::INFO,
    &max_sensitivity::INFO,
    &relative_stability::INFO,
    &sparseness::INFO,
    &entropy::INFO,
    &mosaic::INFO,
    &mprt::INFO,
    &smooth_mprt::INFO,
    &efficient_mprt::INFO,
    &criteria::INFO,
    &certified_top_k::INFO,
];

/// The metric of that id, with default parameters. `map-shift` has none: [`evaluate`] adds it where
/// there are two inputs.
pub fn by_id(id: &str) -> Option<Box<dyn Metric>> {
    with_parameters(id, serde_json::json!({})).ok()
}

/// The metric of that id with these parameters, by name as in [`Metric::parameters`]; what is left
/// out has its default.
///
/// An error names an unknown metric, an unknown parameter, or one out of range.
pub fn with_parameters(id: &str, parameters: serde_json::Value) -> Result<Box<dyn Metric>> {
    Ok(match id {
        "deletion" => Box::new(Deletion::new(read_over(&Deletion::DEFAULT, parameters)?)?),
        "insertion" => Box::new(Insertion::new(read_over(&Insertion::DEFAULT, parameters)?)?),
        "lerf-minus-morf" => Box::new(LerfMinusMorf::new(read_over(
            &LerfMinusMorf::DEFAULT,
            parameters,
        )?)?),
        "road" => Box::new(read::<RoadParams>(parameters)?.check()?),
        "infidelity" => Box::new(read::<InfidelityParams>(parameters)?.check()?),
        "faithfulness-correlation" => {
            Box::new(read::<FaithfulnessCorrelationParams>(parameters)?.check()?)
        }
        "sensitivity-n" => Box::new(read::<SensitivityNParams>(parameters)?.check()?),
        "sufficiency" => Box::new(read::<SufficiencyParams>(parameters)?.check()?),
        "attacked-stability" => Box::new(read::<AttackedStabilityParams>(parameters)?.check()?),
        "max-sensitivity" => Box::new(MaxSensitivity::new(read_over(
            &MaxSensitivity::DEFAULT,
            parameters,
        )?)?),
        "relative-stability" => Box::new(RelativeStability::new(read_over(
            &RelativeStability::DEFAULT,
            parameters,
        )?)?),
        "mosaic" => Box::new(read::<MosaicParams>(parameters)?.check()?),
        "mprt" => Box::new(read::<MprtParams>(parameters)?.check()?),
        "smooth-mprt" => Box::new(read::<SmoothMprtParams>(parameters)?.check()?),
        "efficient-mprt" => Box::new(read::<EfficientMprtParams>(parameters)?.check()?),
        "criteria" => Box::new(read::<CriteriaParams>(parameters)?.check()?),
        "certified-top-k" => Box::new(read::<CertifiedTopKParams>(parameters)?.check()?),
        "sparseness" => Box::new(read::<Nothing>(parameters).map(|_| Sparseness)?),
        "entropy" => Box::new(read::<Nothing>(parameters).map(|_| Entropy)?),
        _ => return Err(Error::parameter("metrics", ids().join(", "), id)),
    })
}

/// Settings of a metric that has none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Ids that [`by_id`] knows, in order.
pub fn ids() -> Vec<&'static str> {
    INFOS
        .iter()
        .map(|i| i.id)
        .filter(|id| *id != map_shift::INFO.id)
        .collect()
}

/// `docs/metrics.md`: the list as Markdown.
pub fn table() -> String {
    fn name(v: &impl serde::Serialize) -> String {
        serde_json::json!(v).as_str().unwrap_or_default().to_owned()
    }
    let bound = |v: f64| match v {
        f64::INFINITY => "∞".into(),
        f64::NEG_INFINITY => "−∞".into(),
        v => v.to_string(),
    };
    let row = |info: &Info, figure: &Figure| {
        let needs: Vec<String> = info.needs.iter().map(name).collect();
        format!(
            "| [`{0}`](methods/{0}.md) | {1} | `{2}` | {3} | {4} to {5} | {6} | `{7}` |\n",
            info.id,
            name(&info.family),
            figure.id,
            name(&figure.better),
            bound(figure.range[0]),
            bound(figure.range[1]),
            if needs.is_empty() {
                "–".into()
            } else {
                needs.join(", ")
            },
            info.reference
        )
    };
    let rows: String = INFOS
        .iter()
        .flat_map(|i| i.figures.iter().map(|f| row(i, f)))
        .collect();
    format!(
        "# Metrics of explanations\n\nGenerated from `INFOS` in \
            `crates/fgmf/src/evaluate/mod.rs`, as `docs/methods/` is. A metric gives one or more \
            figures for each example; `needs` is what it asks for besides images, maps and scores \
            of the model.\n\n| metric | family | figure | better | range | needs | reference |\n| \
            --- | --- | --- | --- | --- | --- | --- |\n{rows}"
    )
}

/// The same examples in one form: clean, or attacked.
#[derive(Clone, Debug)]
pub struct Input {
    /// `clean`, or the attack's name.
    pub name: String,
    /// What made it, for the record.
    pub parameters: serde_json::Value,
    /// `[n, c, h, w]`.
    pub x: Tensor,
    /// Class explained, one an example.
    pub targets: Vec<usize>,
}

/// What is to be evaluated.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The model.
    pub oracle: &'a Oracle<'a>,
    /// Explainers.
    pub explainers: &'a [Box<dyn Explainer>],
    /// Metrics.
    pub metrics: &'a [Box<dyn Metric>],
    /// Inputs, the clean one first.
    pub inputs: &'a [Input],
    /// Which changes count as small.
    pub threat: &'a ThreatModel,
    /// Seed, position of the first example in its data set, most images in a model call.
    pub context: Context,
}

/// Examples that are explained and judged together, and after which a run can go on. Only mosaics,
/// whose tiles are examples of one block, depend on it.
const BLOCK: usize = 64;

/// What came out of [`evaluate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Inputs.
    pub inputs: Vec<InputRecord>,
    /// Explainers.
    pub explainers: Vec<MethodRecord>,
    /// Metrics.
    pub metrics: Vec<MethodRecord>,
    /// Figures.
    pub rows: Vec<FigureRow>,
    /// The first input against each of the others.
    pub input_tests: Vec<InputTest>,
    /// Every pair of explainers.
    pub explainer_tests: Vec<ExplainerTest>,
    /// The five criteria as one score, if they were asked for.
    pub criteria: Vec<CriteriaRow>,
}

/// Runs every explainer and metric on every input.
///
/// Checks that the inputs hold the same number of examples, that ids are unique, that every metric
/// keeps to its figures and gives finite values; shapes, targets and pixels are checked by
/// [`explain`]. Where there is a second input, `map-shift` compares the maps of the same example on
/// the first and on it. `state` names a file that keeps what was done, so that the same call goes
/// on after a kill, to the same values; the caller removes it. `watch` hears (steps done, all).
pub fn evaluate(
    job: &Job<'_>,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    evaluate_maps(job, state, watch, &mut |_, _, _| ())
}

/// [`evaluate`] that also hands out the maps it judges: position of explainer and input in the job,
/// and the maps of the next examples. Maps of steps that `state` remembers are not made again.
pub fn evaluate_maps(
    job: &Job<'_>,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize),
    seen: &mut dyn FnMut(usize, usize, &[Attribution]),
) -> Result<Evaluation> {
    let n = check(job)?;
    let methods = |id: &str, parameters| MethodRecord {
        id: id.into(),
        parameters,
    };
    let explainers: Vec<MethodRecord> = job
        .explainers
        .iter()
        .map(|e| methods(e.id(), e.parameters()))
        .collect();
    let metrics: Vec<MethodRecord> = job
        .metrics
        .iter()
        .map(|m| methods(m.info().id, m.parameters()))
        .collect();
    let logits = job
        .inputs
        .iter()
        .map(|i| Ok(job.oracle.logits(&i.x)?.to_f64()))
        .collect::<Result<Vec<_>>>()?;
    let inputs: Vec<InputRecord> = job
        .inputs
        .iter()
        .zip(&logits)
        .map(|(i, z)| input_record(job, i, z))
        .collect();
    // The logits stand for the model and the images.
    let what = (
        env!("CARGO_PKG_VERSION"),
        &explainers,
        &metrics,
        &inputs,
        &logits,
        job.threat.record(),
    );
    let mut state = State::open(state, &(what, job.context.seed, job.context.first_index))?;
    let blocks: Vec<(usize, usize)> = (0..n)
        .step_by(BLOCK)
        .map(|s| (s, BLOCK.min(n - s)))
        .collect();
    let total = blocks.len() * job.inputs.len() * job.explainers.len();
    let mut rows = Rows::default();
    let mut done = 0;
    for (place, explainer) in job.explainers.iter().enumerate() {
        for &(start, len) in &blocks {
            let mut first: Option<Vec<Attribution>> = None;
            for (number, input) in job.inputs.iter().enumerate() {
                let key = format!("{}/{}/{start}", input.name, explainer.id());
                let found = match state.get(&key) {
                    Some(found) => found,
                    None => {
                        let (found, maps) =
                            one(job, explainer.as_ref(), number, (start, len), &mut first)?;
                        state.put(&key, &found)?;
                        seen(place, number, &maps);
                        first = first.or((number == 0).then_some(maps));
                        found
                    }
                };
                rows.add(explainer.id(), &input.name, found);
                done += 1;
                watch(done, total);
            }
        }
    }
    let rows = rows.finish(&infos(job));
    let names: Vec<&str> = job.inputs.iter().map(|i| i.name.as_str()).collect();
    let ids: Vec<&str> = job.explainers.iter().map(|e| e.id()).collect();
    let (input_tests, explainer_tests) = (
        compare::inputs(&rows, &names, &ids)?,
        compare::explainers(&rows, &names, &ids)?,
    );
    let criteria = compare::criteria(&rows, &names, &ids)?;
    Ok(Evaluation {
        inputs,
        explainers,
        metrics,
        rows,
        input_tests,
        explainer_tests,
        criteria,
    })
}

fn infos(job: &Job<'_>) -> Vec<&'static Info> {
    let shift = (job.inputs.len() > 1).then_some(&map_shift::INFO);
    job.metrics.iter().map(|m| m.info()).chain(shift).collect()
}

/// Values of all metrics on a block of one input, figure by figure in the order of [`infos`], and
/// its maps. `first` keeps the maps of the first input.
fn one(
    job: &Job<'_>,
    explainer: &dyn Explainer,
    number: usize,
    (start, len): (usize, usize),
    first: &mut Option<Vec<Attribution>>,
) -> Result<(Scores, Vec<Attribution>)> {
    let context = Context {
        first_index: job.context.first_index.wrapping_add(start as u64),
        ..job.context
    };
    let maps = |input: &Input| {
        explain(
            explainer,
            job.oracle,
            &input.x.rows(start, len),
            &input.targets[start..start + len],
            &context,
        )
    };
    let input = &job.inputs[number];
    let found = maps(input)?;
    let x = input.x.rows(start, len);
    let subject = Subject {
        oracle: job.oracle,
        explainer,
        x: &x,
        targets: &input.targets[start..start + len],
        maps: &found,
        threat: job.threat,
        context,
    };
    let mut out = Scores::new();
    for metric in job.metrics {
        let scores = metric.score(&subject)?;
        check_scores(metric.info(), &scores, len)?;
        out.extend(scores);
    }
    if job.inputs.len() > 1 {
        if number == 0 {
            out.extend(map_shift::INFO.figures.iter().map(|_| vec![None; len]));
        } else {
            let before = match first {
                Some(maps) => maps,
                // The first input of this block came from the state of an earlier run.
                None => first.insert(maps(&job.inputs[0])?),
            };
            let scores = map_shift::score(before, &found)?;
            check_scores(&map_shift::INFO, &scores, len)?;
            out.extend(scores);
        }
    }
    Ok((out, found))
}

fn input_record(job: &Job<'_>, input: &Input, logits: &[f64]) -> InputRecord {
    InputRecord {
        name: input.name.clone(),
        parameters: input.parameters.clone(),
        predicted: logits
            .chunks_exact(job.oracle.classes())
            .map(subject::predicted)
            .collect(),
        explained: input.targets.clone(),
    }
}

fn check(job: &Job<'_>) -> Result<usize> {
    let n = job.inputs.first().map_or(0, |i| i.targets.len());
    if n == 0 || job.explainers.is_empty() {
        return Err(Error::mismatch(
            "evaluate",
            "at least one example and one explainer",
            format!("{n} and {}", job.explainers.len()),
        ));
    }
    if let Some(i) = job
        .inputs
        .iter()
        .find(|i| i.targets.len() != n || i.x.shape().first() != Some(&n))
    {
        return Err(Error::mismatch(
            "evaluate",
            format!("{n} images and targets in every input"),
            format!("{:?} in `{}`", i.x.shape(), i.name),
        ));
    }
    let names = job.inputs.iter().map(|i| i.name.as_str());
    let all: [Vec<&str>; 3] = [
        names.collect(),
        job.explainers.iter().map(|e| e.id()).collect(),
        job.metrics.iter().map(|m| m.info().id).collect(),
    ];
    for list in all {
        if let Some((_, twice)) = list
            .iter()
            .enumerate()
            .find(|(i, name)| list[..*i].contains(name))
        {
            return Err(Error::mismatch(
                "evaluate",
                "each input, explainer and metric once",
                format!("`{twice}` twice"),
            ));
        }
    }
    Ok(n)
}

fn check_scores(info: &Info, scores: &Scores, len: usize) -> Result<()> {
    let expected = || {
        format!(
            "{} figures of {len} finite values from {}",
            info.figures.len(),
            info.id
        )
    };
    if scores.len() != info.figures.len() || scores.iter().any(|s| s.len() != len) {
        let found: Vec<usize> = scores.iter().map(Vec::len).collect();
        return Err(Error::mismatch(
            "evaluate",
            expected(),
            format!("{found:?}"),
        ));
    }
    match scores.iter().flatten().flatten().find(|v| !v.is_finite()) {
        Some(v) => Err(Error::mismatch("evaluate", expected(), v)),
        None => Ok(()),
    }
}

/// Values gathered block by block, in the order of their arrival.
#[derive(Default)]
struct Rows(Vec<(String, String, Scores)>);

impl Rows {
    fn add(&mut self, explainer: &str, input: &str, block: Scores) {
        match self
            .0
            .iter_mut()
            .find(|(e, i, _)| e == explainer && i == input)
        {
            Some((_, _, all)) => all
                .iter_mut()
                .zip(block)
                .for_each(|(all, more)| all.extend(more)),
            None => self.0.push((explainer.into(), input.into(), block)),
        }
    }

    fn finish(self, infos: &[&'static Info]) -> Vec<FigureRow> {
        let figures: Vec<(&Info, &Figure)> = infos
            .iter()
            .flat_map(|i| i.figures.iter().map(move |f| (*i, f)))
            .collect();
        let mut out = Vec::new();
        for (explainer, input, scores) in self.0 {
            for ((info, figure), values) in figures.iter().zip(scores) {
                // The shift of the first input against itself says nothing.
                if values.iter().all(Option::is_none) && info.id == map_shift::INFO.id {
                    continue;
                }
                out.push(compare::row(&explainer, info.id, figure, &input, values));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
