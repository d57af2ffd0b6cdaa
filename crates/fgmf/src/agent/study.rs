//! A team measured: clean, at random, and under attacks, over the same episodes.

use crate::agent::base::MakeEnvironment;
use crate::agent::draws::ActionDraw;
use crate::agent::figure::{mean_return, normalised_return};
use crate::agent::interfere::budget::{AttackBudget, Reach};
use crate::agent::interfere::list::interference;
use crate::agent::play::{Interfered, PlaySettings, UniformPolicy, play};
use crate::agent::victims::worst_victims;
use crate::error::Result;
use crate::model::Gradients;
use crate::record::{
    EpisodePlayed, MethodRecord, ModelFile, PlayedRecord, TeamAttackRecord, ThreatRecord,
};
use crate::threat::ThreatModel;

/// First seed of the episodes on which victims are chosen: others than those that are reported.
const CHOOSING_SEED: u64 = 1 << 41;
/// Episodes for the choice of victims, at most.
const CHOOSING: usize = 20;

/// What a suite of attacks on a team is made of.
pub struct TeamAttackJob<'a> {
    /// Makes the environment.
    pub make: &'a MakeEnvironment<'a>,
    /// The shared policy.
    pub policy: &'a dyn Gradients,
    /// Its file.
    pub file: ModelFile,
    /// Attacks by name.
    pub attacks: Vec<String>,
    /// How far views may be moved.
    pub threat: ThreatModel,
    /// How many agents may be attacked at once.
    pub victims: usize,
    /// Episodes that are reported.
    pub play: PlaySettings,
}

/// Returns of episodes beside clean and random ones.
fn record(
    name: &str,
    (method, victims): (Option<MethodRecord>, Vec<usize>),
    episodes: Vec<EpisodePlayed>,
    (clean, random): (&[EpisodePlayed], &[EpisodePlayed]),
) -> Result<PlayedRecord> {
    let attacked: u64 = episodes.iter().map(|e| e.attacked).sum();
    let flipped: u64 = episodes.iter().map(|e| e.flipped).sum();
    Ok(PlayedRecord {
        name: name.to_owned(),
        method,
        victims,
        mean: mean_return(&episodes),
        normalised: normalised_return(&episodes, clean, random)?,
        flips: flipped as f64 / attacked.max(1) as f64,
        episodes,
    })
}

/// Plays a policy as it is, greedily, and random play, over the same episodes.
///
/// # Errors
/// Those of [`play`].
pub fn evaluate_team(
    make: &MakeEnvironment<'_>,
    policy: &dyn Gradients,
    settings: &PlaySettings,
) -> Result<Vec<PlayedRecord>> {
    let spec = make()?.spec().clone();
    let drawn = |draw| PlaySettings { draw, ..*settings };
    let sampled = play(make, policy, None, &drawn(ActionDraw::Sampled))?;
    let greedy = play(make, policy, None, &drawn(ActionDraw::Greedy))?;
    let uniform = UniformPolicy::new(&spec);
    let random = play(make, &uniform, None, &drawn(ActionDraw::Sampled))?;
    [
        ("sampled", &sampled),
        ("greedy", &greedy),
        ("random", &random),
    ]
    .into_iter()
    .map(|(name, e)| record(name, (None, Vec::new()), e.clone(), (&sampled, &random)))
    .collect()
}

/// Runs every attack on the victims that it hurts most. Victims are chosen on other episodes than
/// those that are reported. The worst attack is that of the least mean return.
///
/// `watch` is called before each attack.
///
/// # Errors
/// Those of [`play`] and of the settings.
pub fn attack_team(
    job: &TeamAttackJob<'_>,
    watch: &mut dyn FnMut(&str),
) -> Result<TeamAttackRecord> {
    let spec = (job.make)()?.spec().clone();
    watch("clean");
    let clean = play(job.make, job.policy, None, &job.play)?;
    let uniform = UniformPolicy::new(&spec);
    let drawn = PlaySettings {
        draw: ActionDraw::Sampled,
        ..job.play
    };
    let random = play(job.make, &uniform, None, &drawn)?;
    let both = (&clean[..], &random[..]);
    let mut played = vec![
        record("clean", (None, Vec::new()), clean.clone(), both)?,
        record("random", (None, Vec::new()), random.clone(), both)?,
    ];
    let choosing = PlaySettings {
        episodes: job.play.episodes.min(CHOOSING),
        first_seed: CHOOSING_SEED,
        ..job.play
    };
    let reach = Reach::Ball(job.threat);
    for name in &job.attacks {
        watch(name);
        let attack = interference(name, job.policy)?;
        let with = attack.as_ref();
        let chosen = worst_victims(job.make, job.policy, with, reach, job.victims, &choosing)?;
        let victims = chosen.victims;
        let budget = AttackBudget {
            reach,
            victims: victims.clone(),
        };
        let interfered = Interfered {
            with,
            budget: &budget,
        };
        let episodes = play(job.make, job.policy, Some(interfered), &job.play)?;
        let method = MethodRecord {
            id: with.id().to_owned(),
            parameters: with.parameters(),
        };
        played.push(record(name, (Some(method), victims), episodes, both)?);
    }
    let attacks = played.iter().filter(|p| p.method.is_some());
    let worst = attacks.min_by(|a, b| a.mean.value.total_cmp(&b.mean.value));
    let worst = worst.map(|p| p.name.clone());
    let [lo, hi] = job.threat.bounds();
    let draw = match job.play.draw {
        ActionDraw::Sampled => "sampled",
        ActionDraw::Greedy => "greedy",
    };
    Ok(TeamAttackRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        model: job.file.clone(),
        env: spec.id,
        draw: draw.to_owned(),
        threat: ThreatRecord {
            norm: job.threat.norm(),
            eps: job.threat.eps(),
            bounds: [lo, hi],
        },
        played,
        worst,
    })
}
