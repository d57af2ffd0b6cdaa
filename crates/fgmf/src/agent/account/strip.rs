//! A film strip: the moments of an episode in which most was at stake, each with the world, what
//! every agent saw and rested its action on, and what the team points at together.

use crate::agent::account::consensus::{AgentMap, team_map};
use crate::agent::account::contrast::{ObjectMap, object_maps};
use crate::agent::account::shapley::object_shapley;
use crate::agent::base::{AgentSpec, MakeEnvironment};
use crate::agent::draws::ActionDraw;
use crate::agent::play::{Interfered, PlaySettings, TeamFrame, play_watched};
use crate::error::{Error, Result};
use crate::model::{Gradients, softmax};
use crate::record::{AgentFrame, SceneRecord, StripFrame, StripRow, WorldMap};

/// Least steps between two pictures.
const APART: u64 = 10;
/// Objects listed beside a map.
const LISTED: usize = 4;

/// What a strip shows.
#[derive(Clone, Copy, Debug)]
pub struct StripSettings {
    /// Seed of the episode.
    pub seed: u64,
    /// How agents act.
    pub draw: ActionDraw,
    /// Pictures, 1 to 100.
    pub frames: usize,
}

/// What is kept of a step until it is known which steps are shown.
struct KeptFrame {
    step: u64,
    scene: SceneRecord,
    raw: Vec<u8>,
    shown: Vec<f32>,
    scores: Vec<f64>,
    actions: Vec<usize>,
    stake: f64,
    value: f64,
    events: Vec<String>,
}

fn stake(scores: &[f64]) -> f64 {
    let p = softmax(scores);
    p.iter().copied().fold(0.0, f64::max) - p.iter().copied().fold(1.0, f64::min)
}

/// Plays one episode and chooses its pictures: steps with events that were paid first, then those
/// of the largest stake, at least 10 steps apart. `steps` names the pictures instead, so that a
/// second row shows the moments of the first.
///
/// Maps explain the views as they were shown, so an attacked row shows what the attack made agents
/// see.
///
/// # Errors
/// [`Error::Parameter`] for a number of frames out of its range; those of
/// [`play`](crate::agent::play).
pub fn strip_row(
    make: &MakeEnvironment<'_>,
    policy: &dyn Gradients,
    interfered: Option<Interfered<'_>>,
    settings: &StripSettings,
    steps: Option<&[u64]>,
) -> Result<StripRow> {
    if !(1..=100).contains(&settings.frames) {
        return Err(Error::parameter("frames", "1 to 100", settings.frames));
    }
    let spec = make()?.spec().clone();
    let (n, k) = (spec.agents, spec.actions.len());
    let mut kept: Vec<KeptFrame> = Vec::new();
    let (mut value, mut course) = (0.0, Vec::new());
    let mut paid: Vec<u64> = Vec::new();
    let mut watch = |frame: &TeamFrame<'_>| {
        let stakes = frame.scores.chunks_exact(k).map(stake);
        let before = value;
        value += frame.came.reward();
        course.push(value);
        if frame.came.reward() > 0.0 {
            paid.push(frame.step);
        }
        let event = |e: &crate::agent::base::TeamEvent| format!("agent {} {}", e.agent, e.what);
        kept.push(KeptFrame {
            step: frame.step,
            scene: (frame.scene)(),
            raw: frame.raw.to_vec(),
            shown: frame.shown.to_vec(),
            scores: frame.scores.to_vec(),
            actions: frame.actions.to_vec(),
            stake: stakes.sum::<f64>() / n as f64,
            value: before,
            events: frame.came.events.iter().map(event).collect(),
        });
        Ok(())
    };
    let play = PlaySettings {
        episodes: 1,
        first_seed: settings.seed,
        draw: settings.draw,
    };
    let played = play_watched(make, policy, interfered, &play, &mut watch)?;
    let chosen = match steps {
        Some(steps) => steps
            .iter()
            .copied()
            .filter(|&s| s < kept.len() as u64)
            .collect(),
        None => chosen(&kept, &paid, settings.frames),
    };
    let frames = chosen
        .iter()
        .map(|&s| pictured(&spec, policy, &kept[s as usize], settings.seed));
    Ok(StripRow {
        name: interfered.map_or("clean", |i| i.with.id()).to_owned(),
        value: played[0].value,
        stakes: kept.iter().map(|f| f.stake).collect(),
        frames: frames.collect::<Result<_>>()?,
        course,
    })
}

/// Steps that are shown, ascending.
fn chosen(kept: &[KeptFrame], paid: &[u64], frames: usize) -> Vec<u64> {
    let mut order: Vec<&KeptFrame> = kept.iter().collect();
    // Half of the pictures at most are of payments: they look alike.
    let first: Vec<u64> = paid.iter().copied().take(frames.div_ceil(2)).collect();
    order.sort_by(|a, b| {
        let rank = |f: &KeptFrame| first.contains(&f.step);
        let stakes = b.stake.total_cmp(&a.stake);
        rank(b).cmp(&rank(a)).then(stakes).then(a.step.cmp(&b.step))
    });
    let mut out: Vec<u64> = Vec::new();
    for frame in order {
        if out.len() == frames {
            break;
        }
        if out.iter().all(|s| s.abs_diff(frame.step) >= APART) {
            out.push(frame.step);
        }
    }
    out.sort_unstable();
    out
}

/// Values of objects as a map of the world.
fn world_map(spec: &AgentSpec, map: &ObjectMap) -> WorldMap {
    let [h, w] = spec.world;
    let mut values = vec![Some(0.0); h * w];
    for (object, value) in map.objects.iter().zip(&map.map) {
        if let Some(Some(cell)) = values.get_mut(object.cell[0] * w + object.cell[1]) {
            *cell += value;
        }
    }
    WorldMap { values }
}

fn pictured(
    spec: &AgentSpec,
    policy: &dyn Gradients,
    frame: &KeptFrame,
    seed: u64,
) -> Result<StripFrame> {
    let (size, k) = (spec.size(), spec.actions.len());
    let clean = spec.scaled(&frame.raw).into_f32();
    let attacked = clean
        .iter()
        .zip(&frame.shown)
        .any(|(a, b)| (a - b).abs() > 0.0);
    // A ball moves every value a little, which would make an object of every cell: the objects are
    // the true ones, and the view is the one that was shown.
    let maps = object_maps(policy, spec, &frame.raw, &frame.shown)?;
    let mut agents = Vec::with_capacity(maps.len());
    let mut placed = Vec::with_capacity(maps.len());
    for (agent, map) in maps.iter().enumerate() {
        let part = agent * size..(agent + 1) * size;
        let scores = &frame.scores[agent * k..(agent + 1) * k];
        let view = &frame.shown[part.clone()];
        let values = object_shapley(policy, spec, view, &map.objects, map.pair, seed)?;
        let mut order: Vec<usize> = (0..map.objects.len()).collect();
        order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()).then(a.cmp(&b)));
        let named = |&i: &usize| {
            let object = map.objects[i];
            let [row, column] = object.cell;
            let name = spec.planes[object.plane].name;
            (
                format!("{name} at row {}, column {}", row + 1, column + 1),
                values[i],
            )
        };
        let world = world_map(spec, map);
        placed.push(AgentMap {
            cells: world.values.clone(),
            stake: map.stake,
        });
        let changed = changed(spec, &clean[part], view);
        agents.push(AgentFrame {
            action: spec.actions[frame.actions[agent]].to_owned(),
            greedy: spec.actions[map.pair.action].to_owned(),
            against: spec.actions[map.pair.against].to_owned(),
            probabilities: softmax(scores),
            stake: stake(scores),
            map: world,
            objects: order.iter().take(LISTED).map(named).collect(),
            changed: if attacked {
                changed
            } else {
                WorldMap::default()
            },
        });
    }
    let team = team_map(&placed);
    Ok(StripFrame {
        step: frame.step,
        value: frame.value,
        scene: frame.scene.clone(),
        agents,
        consensus: WorldMap {
            values: team.consensus,
        },
        disagreement: WorldMap {
            values: team.disagreement,
        },
        events: frame.events.clone(),
    })
}

/// Largest change of each cell over planes.
fn changed(spec: &AgentSpec, clean: &[f32], shown: &[f32]) -> WorldMap {
    let [_, h, w] = spec.view;
    let mut values = vec![Some(0.0); h * w];
    for (i, (a, b)) in clean.iter().zip(shown).enumerate() {
        let cell = &mut values[i % (h * w)];
        *cell = Some(cell.unwrap_or(0.0_f64).max(f64::from((a - b).abs())));
    }
    WorldMap { values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::interfere::budget::{AttackBudget, Reach};
    use crate::agent::interfere::list::interference;
    use crate::agent::toy::{Marks, best_policy};
    use crate::model::Oracle;
    use crate::threat::{Norm, ThreatModel};

    const SETTINGS: StripSettings = StripSettings {
        seed: 4,
        draw: ActionDraw::Greedy,
        frames: 3,
    };

    /// The evidence lies on the mark, both agents agree on it, and an attack that makes them err is
    /// shown as a change of what they saw.
    #[test]
    fn the_mark_is_the_evidence() {
        let net = best_policy(1.0);
        let policy = Oracle::new(&net);
        let row = strip_row(&Marks::make, &policy, None, &SETTINGS, None).unwrap();
        // Eight steps have room for one picture, because pictures are ten steps apart.
        assert_eq!(
            (row.frames.len(), row.course.len(), row.name.as_str()),
            (1, 8, "clean")
        );
        assert!((row.value - 8.0).abs() < 1e-12 && (row.course[7] - 8.0).abs() < 1e-12);
        let frame = &row.frames[0];
        for agent in &frame.agents {
            assert_eq!(agent.action, agent.greedy);
            let cell = agent
                .map
                .values
                .iter()
                .position(|v| v.unwrap() > 0.0)
                .unwrap();
            assert_eq!(agent.greedy, ["first", "second", "third", "fourth"][cell]);
            assert!(agent.objects[0].0.starts_with("mark") && agent.objects[0].1 > 0.99);
            assert!(frame.consensus.values[cell].unwrap() > 0.9);
            assert!(agent.changed.values.is_empty());
        }
        assert!(frame.disagreement.values.iter().all(|v| v.unwrap() < 1e-9));
        let attack = interference("pgd-margin", &policy).unwrap();
        let budget = AttackBudget {
            reach: Reach::Ball(ThreatModel::new(Norm::Linf, 0.6, [0.0, 1.0]).unwrap()),
            victims: vec![1],
        };
        let with = Interfered {
            with: attack.as_ref(),
            budget: &budget,
        };
        let steps = [frame.step];
        let row = strip_row(&Marks::make, &policy, Some(with), &SETTINGS, Some(&steps)).unwrap();
        assert!((row.value - 4.0).abs() < 1e-12);
        let agents = &row.frames[0].agents;
        let moved = |a: &AgentFrame| a.changed.values.iter().flatten().any(|v| *v > 0.0);
        assert_eq!([moved(&agents[0]), moved(&agents[1])], [false, true]);
        assert_ne!(agents[0].greedy, agents[1].greedy);
        let none = StripSettings {
            frames: 0,
            ..SETTINGS
        };
        assert!(strip_row(&Marks::make, &policy, None, &none, None).is_err());
    }
}
