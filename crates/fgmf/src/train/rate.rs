//! The learning rate, found by short trials.

use crate::data::batch::batch_of;
use crate::data::dataset::Dataset;
use crate::data::request::spread;
use crate::error::{Error, Result};
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use crate::train::base::{Attacked as _, StepContext, mean};
use crate::train::checkpoint::Checkpoint;
use crate::train::config::TrainConfig;
use crate::train::given::GivenModel;
use crate::train::pgd_at::{PgdAt, PgdAtParams};
use crate::train::stepper::Stepper;
use crate::train::validation::ValidationParams;
use fgmf_net::Session;
use fgmf_net::head::CrossEntropy;
use serde::{Deserialize, Serialize};

/// Two neighbouring rates are this far apart.
const FACTOR: f64 = 3.0;
/// Most rates that are tried.
const TRIALS: usize = 5;
/// A trial has this share of the steps of the run,
const SHARE: f64 = 0.05;
/// but at least and at most so many.
const STEPS: [usize; 2] = [10, 300];
/// Images held out that a trial is judged on, at most.
const JUDGED: usize = 128;

/// What was tried, and what is best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateTest {
    /// The settings, with the rate that the test began with.
    pub config: TrainConfig,
    /// Hash of the training data.
    pub data_sha256: String,
    /// Steps of a trial.
    pub steps: usize,
    /// Images that a trial was judged on.
    pub judged: usize,
    /// Rates in the order that they were tried in, each with the mean cross-entropy at the end of a
    /// PGD search on these images; none where training failed.
    pub trials: Vec<(f64, Option<f64>)>,
    /// The rate with the smallest.
    pub chosen: f64,
}

/// Finds a learning rate for going on from a model. Each trial is the whole run in a twentieth of
/// its steps: the rate rises and falls, and the radius grows, as in the run. It is judged by the
/// mean cross-entropy at the end of a PGD search at the full radius, on at most 128 images held
/// out. `watch` hears the number of each trial, its rate and its loss. The search begins at
/// `config.learning_rate`, and goes on by factors of 3 in the direction that makes the loss
/// smaller, for five trials at most.
///
/// A rate that is best after a few steps at a constant rate is another one: it is that at which a
/// network forgets fastest, because a constant answer has a small attacked loss.
///
/// # Errors
/// Those of the settings and of the network; [`Error::Mismatch`] when training failed at every
/// rate.
pub fn find_rate(
    config: &TrainConfig,
    start: &GivenModel,
    data: &Dataset,
    watch: &mut dyn FnMut(usize, f64, Option<f64>),
) -> Result<RateTest> {
    let validation = config.validation.clone().unwrap_or_default();
    let [rows, held] = validation.split(data)?;
    let labels: Vec<usize> = held.iter().map(|&i| data.label(i)).collect();
    let judged: Vec<usize> = spread(&labels, JUDGED)
        .into_iter()
        .map(|i| held[i])
        .collect();
    let all = config.epochs * rows.len().div_ceil(config.batch);
    let steps = ((all as f64 * SHARE).ceil() as usize).clamp(STEPS[0], STEPS[1]);
    let mut trials: Vec<(f64, Option<f64>)> = Vec::new();
    let mut try_rate = |rate: f64| -> Result<f64> {
        let loss = trial(config, rate, start, (data, &rows, &judged), steps)?;
        trials.push((rate, loss));
        watch(trials.len(), rate, loss);
        Ok(loss.unwrap_or(f64::INFINITY))
    };
    let first = config.learning_rate;
    let mut best = (first, try_rate(first)?);
    let mut left = TRIALS - 1;
    for factor in [1.0 / FACTOR, FACTOR] {
        let before = best.0;
        while left > 0 && best.0 * factor <= 10.0 {
            let rate = best.0 * factor;
            let loss = try_rate(rate)?;
            left -= 1;
            // Rates that both fail tell no direction; smaller ones fail less.
            if loss >= best.1 && !(loss.is_infinite() && factor < 1.0) {
                break;
            }
            best = (rate, loss);
        }
        if best.0.to_bits() != before.to_bits() {
            break;
        }
    }
    if best.1.is_infinite() {
        let found = "a loss that is not finite at every rate tried";
        return Err(Error::mismatch(
            "find a learning rate",
            "a finite loss",
            found,
        ));
    }
    Ok(RateTest {
        config: config.clone(),
        data_sha256: data.sha256(),
        steps,
        judged: judged.len(),
        trials,
        chosen: best.0,
    })
}

/// The attacked loss after a short run at this rate; none where it fails.
fn trial(
    config: &TrainConfig,
    rate: f64,
    start: &GivenModel,
    (data, rows, judged): (&Dataset, &[usize], &[usize]),
    steps: usize,
) -> Result<Option<f64>> {
    let config = TrainConfig {
        learning_rate: rate,
        ..config.clone()
    };
    let stepper = Stepper::new(&config, data)?;
    let mut state = Checkpoint::new(start.network().clone());
    stepper.refresh(&mut state, 0)?;
    let order = Stream::new(config.seed, Purpose::Shuffle, 0, 0).permutation(rows.len());
    let mut order = order.into_iter().map(|i| rows[i]).cycle();
    for i in 0..steps {
        let chosen: Vec<usize> = order.by_ref().take(config.batch.min(rows.len())).collect();
        let made = stepper.step(&mut state, &chosen, 0, i as f64 / steps as f64)?;
        if made.odd().is_some() {
            return Ok(None);
        }
    }
    let net = match config.ema {
        Some(_) => Session::new(state.optimiser.average),
        None => state.net,
    };
    attacked_loss(&net, (data, judged), &stepper.threat, config.seed)
}

/// Mean cross-entropy at the end of a PGD search; none where it is not finite.
fn attacked_loss(
    net: &Session,
    (data, rows): (&Dataset, &[usize]),
    threat: &ThreatModel,
    seed: u64,
) -> Result<Option<f64>> {
    let search = PgdAt::new(PgdAtParams::default())?;
    let context = StepContext {
        threat,
        seed,
        epoch: 0,
        salience: None,
        displacement: None,
        carried: &[],
    };
    let mut losses = Vec::new();
    for rows in rows.chunks(ValidationParams::CALL) {
        let batch = batch_of(data, rows)?;
        let x = search.points(net, &batch, &context)?;
        let head = CrossEntropy::labels(&batch.labels);
        losses.extend(Oracle::new(net).loss_gradient(&x, &head)?.losses);
    }
    Ok(Some(mean(&losses)).filter(|v| v.is_finite()))
}
