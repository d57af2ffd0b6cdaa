//! The one entry to a team at play: it shows agents their views, lets an interference change those
//! of its victims within a budget, draws actions, and steps the worlds.
//!
//! An interference is handed copies, of victims only. What it hands back is checked anew before an
//! agent sees it. Episodes are named by their seeds, and the draw of an action by episode, step and
//! agent, so that clean and attacked episodes differ by the interference alone.

use crate::agent::base::{AgentSpec, MakeEnvironment, Transition};
use crate::agent::draws::{ActionDraw, action_number};
use crate::agent::interfere::base::{Interference, TeamMoment};
use crate::agent::interfere::budget::{AttackBudget, Reach};
use crate::agent::lanes::Lanes;
use crate::error::{Error, Result};
use crate::model::{Scores, argmax};
use crate::record::{EpisodePlayed, SceneRecord};
use fgmf_net::Tensor;

/// Episodes side by side.
const LANES: usize = 64;

/// Which episodes are played, and how.
#[derive(Clone, Copy, Debug)]
pub struct PlaySettings {
    /// How many.
    pub episodes: usize,
    /// Seed of the first; the others count on from it.
    pub first_seed: u64,
    /// How agents act on their scores.
    pub draw: ActionDraw,
}

/// An interference and what it may do.
#[derive(Clone, Copy)]
pub struct Interfered<'a> {
    /// What interferes.
    pub with: &'a dyn Interference,
    /// What it may do.
    pub budget: &'a AttackBudget,
}

/// One step of one episode, for whoever watches.
pub struct TeamFrame<'a> {
    /// The environment's.
    pub spec: &'a AgentSpec,
    /// Seed of the episode.
    pub episode: u64,
    /// Steps before this one.
    pub step: u64,
    /// The world before the step.
    pub scene: &'a dyn Fn() -> SceneRecord,
    /// True views, raw counts `[agents, c, h, w]`.
    pub raw: &'a [u8],
    /// Views as the agents were shown them, `[agents, c, h, w]`.
    pub shown: &'a [f32],
    /// Scores of the actions at these views, `[agents, k]`.
    pub scores: &'a [f64],
    /// Actions taken.
    pub actions: &'a [usize],
    /// What came of it.
    pub came: &'a Transition,
}

/// Called with every step.
pub type WatchTeam<'a> = dyn FnMut(&TeamFrame<'_>) -> Result<()> + 'a;

/// Plays episodes.
///
/// # Errors
/// [`Error::Mismatch`] if the policy does not fit the environment or the interference goes beyond
/// its budget; [`Error::Parameter`] for settings out of their range.
pub fn play(
    make: &MakeEnvironment<'_>,
    policy: &dyn Scores,
    interfered: Option<Interfered<'_>>,
    settings: &PlaySettings,
) -> Result<Vec<EpisodePlayed>> {
    play_watched(make, policy, interfered, settings, &mut |_| Ok(()))
}

/// [`play`], with somebody who watches.
///
/// # Errors
/// Those of [`play`] and of the watcher.
pub fn play_watched(
    make: &MakeEnvironment<'_>,
    policy: &dyn Scores,
    interfered: Option<Interfered<'_>>,
    settings: &PlaySettings,
    watch: &mut WatchTeam<'_>,
) -> Result<Vec<EpisodePlayed>> {
    if !(1..=1_000_000).contains(&settings.episodes) {
        return Err(Error::parameter(
            "episodes",
            "1 to 1,000,000",
            settings.episodes,
        ));
    }
    let mut out = Vec::with_capacity(settings.episodes);
    while out.len() < settings.episodes {
        let count = LANES.min(settings.episodes - out.len());
        let first = settings.first_seed.wrapping_add(out.len() as u64);
        let mut lanes = Lanes::new(make, count)?;
        check_policy(lanes.spec(), policy)?;
        if let Some(i) = &interfered {
            i.budget.check(lanes.spec())?;
        }
        let seeds: Vec<u64> = (0..count as u64).map(|i| first.wrapping_add(i)).collect();
        out.extend(side_by_side(
            &mut lanes,
            &seeds,
            policy,
            interfered,
            settings.draw,
            watch,
        )?);
    }
    Ok(out)
}

/// An error unless the policy takes the views and has a score for each action.
pub(crate) fn check_policy(spec: &AgentSpec, policy: &dyn Scores) -> Result<()> {
    let (k, found) = (spec.actions.len(), policy.image_shape());
    if found == spec.view && policy.classes() == k {
        return Ok(());
    }
    let expected = format!(
        "views {:?} and {k} scores, as {} has them",
        spec.view, spec.id
    );
    let found = format!("{found:?} and {}", policy.classes());
    Err(Error::mismatch("use a policy", expected, found))
}

/// Plays one episode a lane.
fn side_by_side(
    lanes: &mut Lanes,
    seeds: &[u64],
    policy: &dyn Scores,
    interfered: Option<Interfered<'_>>,
    draw: ActionDraw,
    watch: &mut WatchTeam<'_>,
) -> Result<Vec<EpisodePlayed>> {
    let spec = lanes.spec().clone();
    let (n, k, size) = (spec.agents, spec.actions.len(), spec.size());
    let mut played: Vec<EpisodePlayed> = seeds.iter().map(|&s| EpisodePlayed::new(s)).collect();
    let mut active: Vec<usize> = (0..seeds.len()).collect();
    active
        .iter()
        .for_each(|&lane| lanes.reset(lane, Some(seeds[lane])));
    for step in 0.. {
        if active.is_empty() {
            break;
        }
        let raw = lanes.observe(&active);
        let mut x = spec.scaled(&raw);
        let mut changed = vec![false; active.len() * n];
        let mut greedy = Vec::new();
        if let Some(i) = interfered {
            let clean = policy.logits(&x)?.to_f64();
            greedy = clean.chunks_exact(k).map(argmax).collect();
            let episodes: Vec<u64> = active.iter().map(|&l| seeds[l]).collect();
            x = disturbed(&spec, i, (&raw, &x), &episodes, step, &mut changed)?;
        }
        let scores = policy.logits(&x)?.to_f64();
        if let Some(z) = scores.iter().find(|z| z.is_nan()) {
            return Err(Error::mismatch("play", "scores that are numbers", z));
        }
        let actions: Vec<usize> = scores
            .chunks_exact(k)
            .enumerate()
            .map(|(row, z)| {
                let seed = seeds[active[row / n]];
                draw.choose(z, action_number(0, seed, step, row % n))
            })
            .collect();
        for (row, touched) in changed.iter().enumerate().filter(|(_, t)| **t) {
            let episode = &mut played[active[row / n]];
            episode.attacked += u64::from(*touched);
            let now = argmax(&scores[row * k..(row + 1) * k]);
            episode.flipped += u64::from(now != greedy[row]);
        }
        let scenes: Vec<SceneRecord> = active
            .iter()
            .take(1)
            .map(|&l| lanes.world(l).scene())
            .collect();
        let came = lanes.step(&active, &actions)?;
        let shown = x.to_f32();
        for (at, (&lane, step_made)) in active.iter().zip(&came).enumerate() {
            let of = |width: usize| at * n * width..(at + 1) * n * width;
            // Whoever wants pictures plays one episode; others pay for none.
            let scene = || scenes.get(at).cloned().unwrap_or_default();
            watch(&TeamFrame {
                spec: &spec,
                episode: seeds[lane],
                step,
                scene: &scene,
                raw: &raw[of(size)],
                shown: &shown[of(size)],
                scores: &scores[of(k)],
                actions: &actions[of(1)],
                came: step_made,
            })?;
            played[lane].steps += 1;
            played[lane].value += step_made.reward();
            for event in &step_made.events {
                *played[lane]
                    .events
                    .entry(event.what.to_owned())
                    .or_default() += 1;
            }
        }
        let goes_on = active.iter().zip(&came).filter(|(_, c)| !c.over());
        active = goes_on.map(|(&lane, _)| lane).collect();
    }
    Ok(played)
}

/// Views with those of the victims changed; `changed` says which are.
fn disturbed(
    spec: &AgentSpec,
    i: Interfered<'_>,
    (raw, x): (&[u8], &Tensor),
    episodes: &[u64],
    step: u64,
    changed: &mut [bool],
) -> Result<Tensor> {
    let (n, size) = (spec.agents, spec.size());
    let rows: Vec<usize> = (0..changed.len())
        .filter(|row| i.budget.victims.contains(&(row % n)))
        .collect();
    if rows.is_empty() {
        return Ok(x.clone());
    }
    let mut views = x.to_f32();
    let part = |row: usize| row * size..(row + 1) * size;
    let mut shape = x.shape().to_vec();
    shape[0] = rows.len();
    let chosen: Vec<f32> = rows.iter().flat_map(|&r| views[part(r)].to_vec()).collect();
    let counts: Vec<u8> = rows.iter().flat_map(|&r| raw[part(r)].to_vec()).collect();
    let open = spec.open();
    let found = i.with.views(&TeamMoment {
        spec,
        views: &Tensor::new::<f32>(&shape, chosen),
        raw: &counts,
        open: &open,
        threat: match &i.budget.reach {
            Reach::Ball(threat) => Some(threat),
            Reach::Erase(_) => None,
        },
        episodes: &rows.iter().map(|r| episodes[r / n]).collect::<Vec<_>>(),
        agents: &rows.iter().map(|r| r % n).collect::<Vec<_>>(),
        step,
        seed: 0,
    })?;
    if found.shape() != shape {
        let expected = format!("views of shape {shape:?}");
        return Err(Error::mismatch(
            "interfere",
            expected,
            format!("{:?}", found.shape()),
        ));
    }
    for (&row, view) in rows.iter().zip(found.to_f32().chunks_exact(size)) {
        changed[row] = i.budget.allows(&open, &views[part(row)], view)?;
        views[part(row)].copy_from_slice(view);
    }
    Ok(Tensor::new::<f32>(x.shape(), views))
}

/// A policy that takes every action equally often: where returns start to count.
#[derive(Clone, Debug)]
pub struct UniformPolicy {
    view: [usize; 3],
    actions: usize,
}

impl UniformPolicy {
    /// For an environment.
    pub fn new(spec: &AgentSpec) -> Self {
        Self {
            view: spec.view,
            actions: spec.actions.len(),
        }
    }
}

impl Scores for UniformPolicy {
    fn image_shape(&self) -> [usize; 3] {
        self.view
    }

    fn classes(&self) -> usize {
        self.actions
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let shape = [x.shape()[0], self.actions];
        Ok(Tensor::full(&shape, 0.0, x.precision()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::base::Environment;
    use crate::agent::interfere::gradient::{GradientAttack, GradientLoss};
    use crate::agent::interfere::list::{interference, interferences};
    use crate::agent::toy::{Marks, best_policy};
    use crate::agent::victims::worst_victims;
    use crate::model::Oracle;
    use crate::threat::{Norm, ThreatModel};

    const GREEDY: PlaySettings = PlaySettings {
        episodes: 70,
        first_seed: 5,
        draw: ActionDraw::Greedy,
    };

    fn budget(eps: f64, victims: &[usize]) -> AttackBudget {
        AttackBudget {
            reach: Reach::Ball(ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap()),
            victims: victims.to_vec(),
        }
    }

    fn mean(played: &[EpisodePlayed]) -> f64 {
        played.iter().map(|e| e.value).sum::<f64>() / played.len() as f64
    }

    /// The best play earns 8, random play 2 and a policy of nothing as much.
    #[test]
    fn returns_of_known_policies() {
        let net = best_policy(9.0);
        let played = play(&Marks::make, &Oracle::new(&net), None, &GREEDY).unwrap();
        assert_eq!(played.len(), 70);
        assert!(
            played
                .iter()
                .all(|e| (e.value - 8.0).abs() < 1e-12 && e.steps == 8)
        );
        assert_eq!((played[3].seed, played[3].events["named"]), (8, 16));
        let spec = Marks::new(0).spec().clone();
        let random = PlaySettings {
            draw: ActionDraw::Sampled,
            ..GREEDY
        };
        let drawn = play(&Marks::make, &UniformPolicy::new(&spec), None, &random).unwrap();
        // 2, and 5 standard errors of a mean of 1,120 draws of probability ¼, times 8.
        assert!((mean(&drawn) - 2.0).abs() < 5.0 * 8.0 * (0.1875f64 / 1120.0).sqrt());
    }

    /// A linear policy of slope 1: the margin changes by up to 2 ε, so it breaks from ½ on and not
    /// before. Only the victim errs.
    #[test]
    fn margin_breaks_a_linear_policy_where_it_should() {
        let net = best_policy(1.0);
        let policy = Oracle::new(&net);
        for name in ["pgd-margin", "pgd-kl"] {
            let attack = interference(name, &policy).unwrap();
            let at = |eps: f64, victims: &[usize]| {
                let with = Interfered {
                    with: attack.as_ref(),
                    budget: &budget(eps, victims),
                };
                play(&Marks::make, &policy, Some(with), &GREEDY).unwrap()
            };
            let below = at(0.49, &[0, 1]);
            assert!((mean(&below) - 8.0).abs() < 1e-12, "{name}");
            assert!(
                below.iter().all(|e| e.attacked == 16 && e.flipped == 0),
                "{name}"
            );
            let one = at(0.51, &[1]);
            let both = at(0.51, &[0, 1]);
            if name == "pgd-margin" {
                assert!((mean(&one) - 4.0).abs() < 1e-12, "{name}: {}", mean(&one));
                assert!(mean(&both).abs() < 1e-12, "{name}");
                assert!(one.iter().all(|e| (e.attacked, e.flipped) == (8, 8)));
            }
        }
    }

    /// Noise of the same radius breaks less, and all attacks share the episodes.
    #[test]
    fn noise_is_weaker_and_draws_are_common() {
        let net = best_policy(1.0);
        let policy = Oracle::new(&net);
        let of = |name: &str| {
            let attack = interference(name, &policy).unwrap();
            let with = Interfered {
                with: attack.as_ref(),
                budget: &budget(0.6, &[0, 1]),
            };
            play(&Marks::make, &policy, Some(with), &GREEDY).unwrap()
        };
        let all = interferences().map(of);
        assert!(mean(&all[0]) > mean(&all[2]) + 1.0);
        // A budget of nothing changes no bit of an episode, also where actions are drawn.
        let drawn = PlaySettings {
            draw: ActionDraw::Sampled,
            ..GREEDY
        };
        let attack = GradientAttack::new(&policy, GradientLoss::Margin, 3, 2).unwrap();
        let with = Interfered {
            with: &attack,
            budget: &budget(0.0, &[0, 1]),
        };
        let attacked = play(&Marks::make, &policy, Some(with), &drawn).unwrap();
        let clean = play(&Marks::make, &policy, None, &drawn).unwrap();
        assert_eq!(attacked, clean);
        assert!(GradientAttack::new(&policy, GradientLoss::Margin, 0, 1).is_err());
        assert!(interference("magic", &policy).is_err());
    }

    /// Both agents matter alike here, so either may be chosen, and two cost more than one.
    #[test]
    fn victims_are_the_costliest_set() {
        let net = best_policy(1.0);
        let policy = Oracle::new(&net);
        let attack = interference("pgd-margin", &policy).unwrap();
        let reach = budget(0.6, &[]).reach;
        let of = |k| worst_victims(&Marks::make, &policy, attack.as_ref(), reach, k, &GREEDY);
        let one = of(1).unwrap();
        assert_eq!((one.victims, one.tried.len()), (vec![0], 2));
        let two = of(2).unwrap();
        assert_eq!(two.victims, [0, 1]);
        assert!(two.tried[0].1 < 1e-12 && one.tried[0].1 > 3.9);
        assert!(of(0).is_err() && of(3).is_err());
    }

    /// The entry refuses what goes beyond the budget, and hands over victims only.
    #[test]
    fn the_entry_checks_what_comes_back() {
        struct Cheat(fn(usize, f32) -> f32);
        impl Interference for Cheat {
            fn id(&self) -> &'static str {
                "cheat"
            }
            fn parameters(&self) -> serde_json::Value {
                serde_json::json!({})
            }
            fn views(&self, at: &TeamMoment<'_>) -> Result<Tensor> {
                assert!(at.agents.iter().all(|&a| a == 1));
                let size = at.spec.size();
                let values = at.views.to_f32().into_iter().enumerate();
                let made = values.map(|(i, v)| (self.0)(i % size, v)).collect();
                Ok(Tensor::new::<f32>(at.views.shape(), made))
            }
        }
        let net = best_policy(1.0);
        let policy = Oracle::new(&net);
        let with = |cheat: &Cheat| {
            let interfered = Interfered {
                with: cheat,
                budget: &budget(0.1, &[1]),
            };
            play(&Marks::make, &policy, Some(interfered), &GREEDY)
        };
        let fair = |i: usize, v: f32| if i == 4 { (v - 0.05).max(0.0) } else { v };
        assert!(with(&Cheat(fair)).is_ok());
        type Change = fn(usize, f32) -> f32;
        let wrong: [(Change, &str); 3] = [
            (|i, v| if i == 4 { 1.0 - v } else { v }, "distance"),
            (|i, v| if i == 0 { v - 0.05 } else { v }, "fixed"),
            (|_, _| f32::NAN, "finite"),
        ];
        for (change, word) in wrong {
            let error = with(&Cheat(change)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let stranger = Interfered {
            with: &Cheat(|_, v| v),
            budget: &budget(0.1, &[2]),
        };
        assert!(play(&Marks::make, &policy, Some(stranger), &GREEDY).is_err());
        let none = PlaySettings {
            episodes: 0,
            ..GREEDY
        };
        assert!(play(&Marks::make, &policy, None, &none).is_err());
    }

    /// A policy of another environment is told what was needed.
    #[test]
    fn a_policy_that_does_not_fit_is_refused() {
        let net = best_policy(1.0);
        let make = || crate::agent::list::environment("overcooked:cramped_room");
        let error = play(&make, &Oracle::new(&net), None, &GREEDY)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("[26, 4, 5]") && error.contains("[3, 2, 2]"),
            "{error}"
        );
    }
}
