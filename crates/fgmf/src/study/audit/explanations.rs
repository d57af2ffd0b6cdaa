//! Explanations: of the model's own answers on clean images, and on the very images that broke it.

use crate::error::Result;
use crate::explain::base::{Context, Explainer, image_names};
use crate::explain::list::with_parameters;
use crate::explain::sealed::explain;
use crate::metric::base::Metric;
use crate::metric::list::with_parameters as metric_with;
use crate::model::answer::predictions;
use crate::model::oracle::Oracle;
use crate::record::{FigureRow, InputTest, MethodRecord};
use crate::store::atomic;
use crate::study::adversarial::read_adversarial;
use crate::study::audit::job::{AuditJob, ScoredNet, adversarial_name};
use crate::study::audit::policy::ExplanationPolicy;
use crate::study::audit::robustness::AtRadius;
use crate::study::audit::stages::Stages;
use crate::study::evaluation::{EvaluationInput, EvaluationJob, evaluate};
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// Images that are explained together where maps are counted.
const BLOCK: usize = 64;

/// The explainer that withholds maps.
pub(crate) const WITHHOLDS: &str = "pgca";

/// The words for the two kinds of images.
pub(crate) const CLEAN: &str = "clean";
/// The images that broke the model.
pub(crate) const ATTACKED: &str = "attacked";

/// What was measured of explanations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Explained {
    pub(crate) rows: Vec<FigureRow>,
    pub(crate) tests: Vec<InputTest>,
}

/// Maps that were counted: whether each was withheld, and how well its parts agree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Withheld {
    pub(crate) withheld: Vec<bool>,
    pub(crate) agreement: Vec<f64>,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Explanations {
    pub(crate) explainers: Vec<MethodRecord>,
    /// On clean images; figures of input `clean`.
    pub(crate) clean: Explained,
    /// On images that broke the model; inputs `clean` and `attacked`.
    pub(crate) attacked: Explained,
    /// By kind of images.
    pub(crate) withheld: Vec<(&'static str, Withheld)>,
}

/// The methods of a policy.
pub(crate) struct Methods {
    pub(crate) explainers: Vec<Box<dyn Explainer>>,
    pub(crate) metrics: Vec<Box<dyn Metric>>,
}

impl Methods {
    /// An error names an id that is none.
    pub(crate) fn of(policy: &ExplanationPolicy) -> Result<Self> {
        let none = || serde_json::json!({});
        let explainers = policy
            .explainers
            .iter()
            .map(|id| with_parameters(id, none()));
        let metrics = policy.metrics.iter().map(|id| metric_with(id, none()));
        Ok(Self {
            explainers: explainers.collect::<Result<_>>()?,
            metrics: metrics.collect::<Result<_>>()?,
        })
    }
}

/// Measures what the policy asks for; nothing if it asks for nothing.
pub(crate) fn explanations(
    job: &AuditJob<'_>,
    scored: &ScoredNet,
    methods: Option<&Methods>,
    broken: Option<&AtRadius>,
    stages: &mut Stages,
    watch: &mut dyn FnMut(&str, usize, usize),
) -> Result<Explanations> {
    let (Some(methods), Some(policy)) = (methods, &job.policy.explanations) else {
        return Ok(Explanations::default());
    };
    let n = policy.images.min(job.data.len());
    let all: Vec<usize> = (0..n).collect();
    let clean = images(job, &all)?;
    let fallen = broken.map_or(&[][..], |b| &b.examples);
    let fallen = fallen.iter().filter(|e| e.broken_by.is_some());
    let fallen: Vec<usize> = fallen.map(|e| e.index).take(policy.images).collect();
    let record = |e: &dyn Explainer| MethodRecord {
        id: e.id().into(),
        parameters: e.parameters(),
    };
    let mut out = Explanations {
        explainers: methods
            .explainers
            .iter()
            .map(|e| record(e.as_ref()))
            .collect(),
        ..Explanations::default()
    };
    out.clean = measured(
        job,
        scored,
        methods,
        &[(CLEAN, clean.clone())],
        stages,
        watch,
    )?;
    out.withheld
        .extend(withheld(job, scored, methods, (CLEAN, &clean), stages)?);
    if !fallen.is_empty() {
        let number = job.policy.eps.len() - 1;
        let path = job.folder.join(adversarial_name(number));
        let threat = job.threat(job.policy.eps[number].1)?;
        let kept = read_adversarial(&path, job.data, &threat, job.identity, false)?;
        let x = kept.x.select(0, &fallen);
        let before = images(job, &fallen)?;
        let pair = [(CLEAN, before), (ATTACKED, x.clone())];
        out.attacked = measured(job, scored, methods, &pair, stages, watch)?;
        out.withheld
            .extend(withheld(job, scored, methods, (ATTACKED, &x), stages)?);
    }
    Ok(out)
}

fn images(job: &AuditJob<'_>, rows: &[usize]) -> Result<Tensor> {
    let [c, h, w] = job.data.shape();
    Ok(Tensor::new::<f32>(
        &[rows.len(), c, h, w],
        job.data.images(rows)?,
    ))
}

/// Explainers and metrics on the inputs; the last one names the stage. The class explained is the
/// one that the model names on the first input.
fn measured(
    job: &AuditJob<'_>,
    scored: &ScoredNet,
    methods: &Methods,
    inputs: &[(&str, Tensor)],
    stages: &mut Stages,
    watch: &mut dyn FnMut(&str, usize, usize),
) -> Result<Explained> {
    let (Some((_, first)), Some((kind, _))) = (inputs.first(), inputs.last()) else {
        return Ok(Explained::default());
    };
    let name = format!("explanations-{kind}");
    let state = job.state_of(&name);
    let found = stages.of(&name, || {
        let net = scored.session(job.net);
        let oracle = Oracle::new(net);
        let targets = predictions(&net.logits(first)?);
        let input = |(name, x): &(&str, Tensor)| EvaluationInput {
            name: (*name).to_owned(),
            parameters: serde_json::json!({}),
            x: x.clone(),
            targets: targets.clone(),
        };
        let inputs: Vec<EvaluationInput> = inputs.iter().map(input).collect();
        let largest = job.policy.eps.last().map_or(0.0, |e| e.1);
        let threat = job.threat(largest)?;
        let evaluation = EvaluationJob {
            oracle: &oracle,
            explainers: &methods.explainers,
            metrics: &methods.metrics,
            inputs: &inputs,
            threat: &threat,
            context: Context {
                seed: job.policy.seed,
                names: None,
                cap: job.cap,
            },
        };
        let mut heard = |done: usize, all: usize| watch(kind, done, all);
        let found = evaluate(&evaluation, Some(&state), &mut heard)?;
        Ok(Explained {
            rows: found.rows,
            tests: found.input_tests,
        })
    })?;
    atomic::remove(&state)?;
    Ok(found)
}

/// How many maps are withheld, block by block, if one of the explainers withholds any.
fn withheld(
    job: &AuditJob<'_>,
    scored: &ScoredNet,
    methods: &Methods,
    (kind, x): (&'static str, &Tensor),
    stages: &mut Stages,
) -> Result<Option<(&'static str, Withheld)>> {
    let Some(explainer) = methods.explainers.iter().find(|e| e.id() == WITHHOLDS) else {
        return Ok(None);
    };
    let n = x.shape()[0];
    let mut out = Withheld::default();
    for start in (0..n).step_by(BLOCK) {
        let found: Withheld = stages.of(&format!("withheld-{kind}-{start}"), || {
            let x = x.rows(start, BLOCK.min(n - start));
            let net = scored.session(job.net);
            let names = image_names(&x);
            let context = Context {
                seed: job.policy.seed,
                names: Some(&names),
                cap: job.cap,
            };
            // What an operator would be shown: the map of the class named on this very image.
            let targets = predictions(&net.logits(&x)?);
            let maps = explain(
                explainer.as_ref(),
                &Oracle::new(net),
                &x,
                &targets,
                &context,
            )?;
            Ok(Withheld {
                withheld: maps.iter().map(|m| m.withheld.is_some()).collect(),
                agreement: maps.iter().filter_map(|m| m.agreement).collect(),
            })
        })?;
        out.withheld.extend(found.withheld);
        out.agreement.extend(found.agreement);
    }
    Ok(Some((kind, out)))
}
