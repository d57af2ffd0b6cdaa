//! Explainers x metrics x inputs: one run that goes on after a kill.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, image_names};
use crate::explain::sealed::explain;
use crate::explain::subject::Subject;
use crate::metric::base::{Metric, MetricValues};
use crate::metric::map_shift;
use crate::metric::parts::info::{Figure, Info};
use crate::model::access::Scores;
use crate::model::answer::argmax;
use crate::model::oracle::Oracle;
use crate::record::{
    CriteriaRow, ExplainerTest, FigureRow, InputRecord, InputTest, MethodRecord, NothingFound,
};
use crate::study::compare;
use crate::study::evaluation_state::{EvaluationHeader, EvaluationState};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use std::path::Path;

/// The same examples in one form: clean, or attacked.
#[derive(Clone, Debug)]
pub struct EvaluationInput {
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
pub struct EvaluationJob<'a> {
    /// The model.
    pub oracle: &'a Oracle<'a>,
    /// Explainers.
    pub explainers: &'a [Box<dyn Explainer>],
    /// Metrics.
    pub metrics: &'a [Box<dyn Metric>],
    /// Inputs, the clean one first.
    pub inputs: &'a [EvaluationInput],
    /// Which changes count as small.
    pub threat: &'a ThreatModel,
    /// Seed, most images in a model call, and names of the examples: those of the first input's
    /// images if none are given, so that every input has the same draws.
    pub context: Context<'a>,
}

/// Examples that are explained and judged together, and after which a run can go on. Only mosaics,
/// whose tiles are examples of one block, depend on it.
pub(crate) const BLOCK: usize = 64;

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
    /// Maps that are the same everywhere, which have no figures.
    pub nothing_found: Vec<NothingFound>,
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
/// the first and on it. A map that is the same everywhere has no figures. `state` names a file
/// that keeps what was done, so that the same call goes on after a kill, to the same values; the
/// caller removes it. `watch` hears (steps done, all).
pub fn evaluate(
    job: &EvaluationJob<'_>,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    evaluate_maps(job, state, watch, &mut |_, _, _| ())
}

/// [`evaluate`] that also hands out the maps it judges: position of explainer and input in the job,
/// and the maps of the next examples. Maps of steps that `state` remembers are not made again.
pub fn evaluate_maps(
    job: &EvaluationJob<'_>,
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
    let what = serde_json::json!({
        "explainers": explainers,
        "metrics": metrics,
        "inputs": inputs,
        "threat": job.threat.record(),
        "seed": job.context.seed,
        "names": job.context.names,
    });
    let mut state = EvaluationState::open(state, &EvaluationHeader::new(&what, &logits))?;
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
    let (rows, nothing_found) = rows.finish(&infos(job));
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
        nothing_found,
        input_tests,
        explainer_tests,
        criteria,
    })
}

pub(crate) fn infos(job: &EvaluationJob<'_>) -> Vec<&'static Info> {
    let shift = (job.inputs.len() > 1).then_some(&map_shift::INFO);
    job.metrics.iter().map(|m| m.info()).chain(shift).collect()
}

/// Values of all metrics on a block of one input, figure by figure in the order of [`infos`], then
/// 1 for each map that is the same everywhere; and the maps. `first` keeps the maps of the first
/// input.
pub(crate) fn one(
    job: &EvaluationJob<'_>,
    explainer: &dyn Explainer,
    number: usize,
    (start, len): (usize, usize),
    first: &mut Option<Vec<Attribution>>,
) -> Result<(MetricValues, Vec<Attribution>)> {
    let names = match job.context.names {
        Some(names) => names[start..start + len].to_vec(),
        None => image_names(&job.inputs[0].x.rows(start, len)),
    };
    let context = Context {
        names: Some(&names),
        ..job.context
    };
    let maps = |input: &EvaluationInput| {
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
    let mut out = MetricValues::new();
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
            let mut scores = map_shift::score(before, &found)?;
            check_scores(&map_shift::INFO, &scores, len)?;
            leave_out(&mut scores, before);
            out.extend(scores);
        }
    }
    leave_out(&mut out, &found);
    out.push(found.iter().map(|m| m.is_empty().then_some(1.0)).collect());
    Ok((out, found))
}

/// Takes out the values of examples whose map is the same everywhere: they would be chance.
fn leave_out(scores: &mut MetricValues, maps: &[Attribution]) {
    for (i, _) in maps.iter().enumerate().filter(|(_, m)| m.is_empty()) {
        scores.iter_mut().for_each(|figure| figure[i] = None);
    }
}

pub(crate) fn input_record(
    job: &EvaluationJob<'_>,
    input: &EvaluationInput,
    logits: &[f64],
) -> InputRecord {
    InputRecord {
        name: input.name.clone(),
        parameters: input.parameters.clone(),
        predicted: logits
            .chunks_exact(job.oracle.classes())
            .map(argmax)
            .collect(),
        explained: input.targets.clone(),
    }
}

pub(crate) fn check(job: &EvaluationJob<'_>) -> Result<usize> {
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

pub(crate) fn check_scores(info: &Info, scores: &MetricValues, len: usize) -> Result<()> {
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
pub(crate) struct Rows(Vec<(String, String, MetricValues)>);

impl Rows {
    fn add(&mut self, explainer: &str, input: &str, block: MetricValues) {
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

    fn finish(self, infos: &[&'static Info]) -> (Vec<FigureRow>, Vec<NothingFound>) {
        let figures: Vec<(&Info, &Figure)> = infos
            .iter()
            .flat_map(|i| i.figures.iter().map(move |f| (*i, f)))
            .collect();
        let (mut out, mut nothing) = (Vec::new(), Vec::new());
        for (explainer, input, mut scores) in self.0 {
            let maps = scores
                .pop()
                .map_or(0, |empty| empty.iter().flatten().count());
            if maps > 0 {
                nothing.push(NothingFound {
                    explainer: explainer.clone(),
                    input: input.clone(),
                    maps,
                });
            }
            for ((info, figure), values) in figures.iter().zip(scores) {
                // The shift of the first input against itself says nothing.
                if values.iter().all(Option::is_none) && info.id == map_shift::INFO.id {
                    continue;
                }
                out.push(compare::row(&explainer, info.id, figure, &input, values));
            }
        }
        (out, nothing)
    }
}
