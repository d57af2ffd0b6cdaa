//! Training a team: rollouts, updates, evaluations, and the best policy kept.

use crate::agent::base::{AgentSpec, MakeEnvironment};
use crate::agent::draws::ActionDraw;
use crate::agent::lanes::Lanes;
use crate::agent::learn::config::TeamConfig;
use crate::agent::learn::network::{actor, actor_critic};
use crate::agent::learn::returns::ReturnScale;
use crate::agent::learn::rollout::Rollout;
use crate::agent::learn::state::{self, BestPolicy, IterationRecord, TeamState};
use crate::agent::play::{PlaySettings, play};
use crate::error::{Error, Result};
use crate::model::Oracle;
use crate::record::BuildRecord;
use crate::rng::{Purpose, Stream};
use crate::store::build::build;
use crate::store::finished::refuse_another;
use crate::store::{atomic, model};
use crate::train::optimise::{Optimiser, OptimiserState, clip};
use fgmf_net::op::Mode;
use fgmf_net::{Network, Session};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// First seed of the episodes that evaluate a run: no training episode and no later evaluation has
/// it.
const EVALUATION_SEED: u64 = 1 << 40;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct TeamProgress<'a> {
    /// Iterations of the run.
    pub iterations: usize,
    /// The last one.
    pub last: &'a IterationRecord,
    /// The best policy so far.
    pub best: Option<BestPolicy>,
}

/// A finished run: `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TeamRun {
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    pub build: BuildRecord,
    /// Every setting.
    pub config: TeamConfig,
    /// Hash of `actor.onnx`.
    pub model_sha256: String,
    /// The policy that was kept.
    pub best: BestPolicy,
    /// One record an iteration.
    pub log: Vec<IterationRecord>,
}

/// Trains a team with shared parameters (IPPO, de Witt et al. 2020) and writes `actor.onnx`,
/// `actor-critic.onnx`, `run.json` and `log.jsonl` into a folder. The policy kept is that of the
/// best evaluation. The same call goes on after a kill, to the same bytes, on any number of
/// threads.
///
/// Costs an iteration of `lanes` · `length` · agents forward passes, and `epochs` times as many
/// training passes.
///
/// # Errors
/// Those of the settings; [`Error::Record`] for the folder of another run; [`Error::Mismatch`] if
/// the loss is not finite.
pub fn fit_team(
    config: &TeamConfig,
    make: &MakeEnvironment<'_>,
    folder: &Path,
    watch: &mut dyn FnMut(&TeamProgress<'_>),
) -> Result<(Network, TeamRun)> {
    config.check()?;
    let (done, resume) = (folder.join("run.json"), folder.join("resume.safetensors"));
    if let Some(run) = finished(config, &done)? {
        return Ok((model::read_model(&folder.join("actor.onnx"))?.0, run));
    }
    let mut state = fresh(config, make)?;
    state::load(&resume, config, &mut state)?;
    let spec = state.lanes.spec().clone();
    for iteration in state.log.len()..config.iterations() {
        let record = iterate(config, &spec, &mut state, iteration)?;
        let record = evaluated(config, make, &spec, &mut state, record)?;
        state.log.push(record);
        state::save(&resume, config, &state)?;
        write_log(folder, &state.log)?;
        if let Some(last) = state.log.last() {
            watch(&TeamProgress {
                iterations: config.iterations(),
                last,
                best: state.best.as_ref().map(|b| b.0),
            });
        }
    }
    let nothing = || Error::mismatch("train a team", "one evaluation or more", "none");
    let (best, net) = state.best.ok_or_else(nothing)?;
    model::write_model(&folder.join("actor-critic.onnx"), &net)?;
    let policy = actor(&spec, config.network, &net)?;
    let run = TeamRun {
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        config: config.clone(),
        model_sha256: model::write_model(&folder.join("actor.onnx"), &policy)?,
        best,
        log: state.log,
    };
    let json = serde_json::to_vec_pretty(&run).map_err(|e| Error::record(&done, e))?;
    atomic::write(&done, &json)?;
    atomic::remove(&resume)?;
    Ok((policy, run))
}

/// The finished run in a folder, if it is this one; an error if it is another one.
fn finished(config: &TeamConfig, path: &Path) -> Result<Option<TeamRun>> {
    let Some(bytes) = atomic::read_if_there(path)? else {
        return Ok(None);
    };
    let own = serde_json::json!({ "config": config, "build": build() });
    refuse_another(path, &own)?;
    let run = serde_json::from_slice(&bytes).map_err(|e| Error::record(path, e))?;
    Ok(Some(run))
}

/// Before the first step.
fn fresh(config: &TeamConfig, make: &MakeEnvironment<'_>) -> Result<TeamState> {
    let mut lanes = Lanes::new(make, config.lanes)?;
    for lane in 0..lanes.len() {
        let seed = config
            .seed
            .wrapping_mul(1_000_003)
            .wrapping_add(lane as u64);
        lanes.reset(lane, Some(seed));
    }
    let net = actor_critic(lanes.spec(), config.network, config.seed)?;
    Ok(TeamState {
        optimiser: OptimiserState::new(&net),
        net: Session::new(net),
        scale: ReturnScale::default(),
        running: vec![0.0; lanes.len()],
        lanes,
        log: Vec::new(),
        best: None,
    })
}

/// One iteration: a rollout, and the updates that it is good for.
fn iterate(
    config: &TeamConfig,
    spec: &AgentSpec,
    state: &mut TeamState,
    iteration: usize,
) -> Result<IterationRecord> {
    let share = iteration as f64 / config.iterations() as f64;
    let shaping = match config.shaping {
        s if s > 0.0 => (1.0 - share / s).max(0.0),
        _ => 0.0,
    };
    let before = state.scale;
    let mut rollout = Rollout::play(
        config,
        &state.net,
        &mut state.lanes,
        &mut state.running,
        (iteration, shaping, &before),
    )?;
    state.scale.update(&rollout.returns, &mut state.net)?;
    rollout.teach(&before, &state.scale);
    let optimiser = Optimiser::Adamw {
        beta1: 0.9,
        beta2: 0.999,
        weight_decay: 0.0,
    };
    let rate = config.learning_rate * (1.0 - share);
    let (mut loss, mut updates) = (0.0, 0.0);
    for epoch in 0..config.epochs {
        let (round, pass) = (iteration as u64, epoch as u64);
        let mut draws = Stream::new(config.seed, Purpose::Shuffle, round, pass);
        let order = draws.permutation(rollout.len());
        for chosen in order.chunks(order.len().div_ceil(config.minibatches)) {
            let (x, head) = rollout.batch(config, |raw| spec.scaled(raw), chosen);
            let mut found = state.net.parameter_gradients(&x, &head, Mode::Train)?;
            let mean = found.losses.iter().sum::<f64>() / found.losses.len() as f64;
            let norm = clip(&mut found.gradients, config.gradient_clip);
            if !(mean.is_finite() && norm.is_finite()) {
                let found = format!("{mean} in iteration {}", iteration + 1);
                let found = format!("{found}; try a smaller learning rate");
                return Err(Error::mismatch("train a team", "a finite loss", found));
            }
            let gradients = &found.gradients;
            state
                .optimiser
                .apply(&mut state.net, gradients, &optimiser, rate)?;
            loss += mean;
            updates += 1.0;
        }
    }
    let ended = &rollout.ended;
    let mean = ended.iter().sum::<f64>() / ended.len().max(1) as f64;
    Ok(IterationRecord {
        iteration: iteration + 1,
        steps: ((iteration + 1) * config.lanes * config.length) as u64,
        training: (!ended.is_empty()).then_some(mean),
        evaluation: None,
        loss: loss / updates,
        entropy: rollout.entropy,
    })
}

/// Evaluates the policy where it is its turn, and keeps it if it is the best.
fn evaluated(
    config: &TeamConfig,
    make: &MakeEnvironment<'_>,
    spec: &AgentSpec,
    state: &mut TeamState,
    mut record: IterationRecord,
) -> Result<IterationRecord> {
    let turn = record.iteration.is_multiple_of(config.evaluate_every);
    if !turn && record.iteration < config.iterations() {
        return Ok(record);
    }
    let policy = Session::new(actor(spec, config.network, &state.net)?);
    let settings = PlaySettings {
        episodes: config.evaluation_episodes,
        first_seed: EVALUATION_SEED,
        draw: ActionDraw::Sampled,
    };
    let played = play(make, &Oracle::new(&policy), None, &settings)?;
    let mean = played.iter().map(|e| e.value).sum::<f64>() / played.len() as f64;
    record.evaluation = Some(mean);
    if state.best.as_ref().is_none_or(|(b, _)| mean > b.evaluation) {
        let best = BestPolicy {
            iteration: record.iteration,
            evaluation: mean,
        };
        state.best = Some((best, state.net.network().clone()));
    }
    Ok(record)
}

fn write_log(folder: &Path, log: &[IterationRecord]) -> Result<()> {
    let path = folder.join("log.jsonl");
    let mut text = String::new();
    for record in log {
        text += &serde_json::to_string(record).map_err(|e| Error::record(&path, e))?;
        text.push('\n');
    }
    atomic::write(&path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::learn::config::PolicyKind;
    use crate::agent::toy::Marks;

    fn config() -> TeamConfig {
        TeamConfig {
            network: PolicyKind::Dense,
            steps: 16 * 32 * 12,
            lanes: 16,
            length: 32,
            minibatches: 4,
            learning_rate: 5e-3,
            gamma: 0.0,
            evaluate_every: 4,
            evaluation_episodes: 16,
            ..TeamConfig::new("marks")
        }
    }

    fn trained(config: &TeamConfig, folder: &Path, stop: usize) -> Option<TeamRun> {
        // A kill: the watcher's panic leaves what a killed process leaves.
        let run = || {
            fit_team(config, &Marks::make, folder, &mut |p| {
                assert!(p.last.iteration < stop, "killed");
            })
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
            .ok()
            .map(|r| r.unwrap().1)
    }

    /// The best return is 8, that of random play 2. An agent that is blind stays at 2.
    #[test]
    fn the_known_best_play_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let run = trained(&config(), folder.path(), usize::MAX).unwrap();
        assert!(run.best.evaluation > 7.5, "{:?}", run.best);
        assert_eq!(run.log.len(), 12);
        let evaluations = run.log.iter().filter_map(|r| r.evaluation);
        let largest = evaluations.fold(f64::NEG_INFINITY, f64::max);
        assert!(
            (run.best.evaluation - largest).abs() < 1e-12,
            "the best is kept"
        );
        // The file that was written plays as well, and a second call finds it.
        let (net, again) = fit_team(&config(), &Marks::make, folder.path(), &mut |_| {
            panic!("it is done")
        })
        .unwrap();
        assert_eq!(again, run);
        let session = Session::new(net);
        let settings = PlaySettings {
            episodes: 50,
            first_seed: 900,
            draw: ActionDraw::Greedy,
        };
        let played = play(&Marks::make, &Oracle::new(&session), None, &settings).unwrap();
        let mean = played.iter().map(|e| e.value).sum::<f64>() / 50.0;
        assert!(mean > 7.8, "{mean}");
        let other = TeamConfig {
            seed: 1,
            ..config()
        };
        assert!(fit_team(&other, &Marks::make, folder.path(), &mut |_| ()).is_err());
    }

    #[test]
    fn a_killed_run_goes_on_to_the_same_bytes_on_any_number_of_threads() {
        let short = TeamConfig {
            steps: 16 * 32 * 5,
            evaluate_every: 2,
            network: PolicyKind::Conv,
            ..config()
        };
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let pool = |n| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(n)
                .build()
                .unwrap()
        };
        let whole = pool(1).install(|| trained(&short, folders[0].path(), usize::MAX));
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let killed = pool(2).install(|| trained(&short, folders[1].path(), 3));
        std::panic::set_hook(hook);
        assert!(killed.is_none());
        let other = TeamConfig {
            entropy: 0.02,
            ..short.clone()
        };
        let refused = fit_team(&other, &Marks::make, folders[1].path(), &mut |_| ());
        assert!(refused.unwrap_err().to_string().contains("other settings"));
        let went_on = pool(2).install(|| trained(&short, folders[1].path(), usize::MAX));
        assert_eq!(went_on, whole);
        for file in ["actor.onnx", "actor-critic.onnx", "run.json", "log.jsonl"] {
            let [a, b] = [0, 1].map(|i| std::fs::read(folders[i].path().join(file)).unwrap());
            assert_eq!(a, b, "{file}");
        }
    }
}
