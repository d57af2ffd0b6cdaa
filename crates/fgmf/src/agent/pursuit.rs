//! Pursuit (SISL; Gupta et al. 2017, Terry et al. 2021): pursuers surround evaders on a map.
//!
//! Rules, draws and sums are those of `pursuit_v5` of PettingZoo 1.27.0 (MIT), parallel API, to the
//! bit, from the same seeds: the hashes in the tests are the package's. A view is `[3, R, R]` with
//! rows = y; the package's arrays are `[y][x][plane]`. The window of the start is the whole map
//! (`constraint_window` 1).

use crate::agent::base::{
    AgentSpec, Environment, PlaneKind, TeamEvent, Transition, ViewPlane, after_the_end,
};
use crate::agent::numpy::NumpyGenerator;
use crate::error::{Error, Result};
use crate::record::{AgentRecord, SceneRecord, ThingRecord};
use serde::{Deserialize, Serialize};

static VIEW: [ViewPlane; 3] = [
    ViewPlane {
        name: "wall",
        scale: 1.0,
        kind: PlaneKind::Fixed,
    },
    ViewPlane {
        name: "pursuer",
        scale: 0.25,
        kind: PlaneKind::Entity,
    },
    ViewPlane {
        name: "evader",
        scale: 0.25,
        kind: PlaneKind::Entity,
    },
];

static ACTIONS: [&str; 5] = ["left", "right", "down", "up", "stay"];

/// Change of x and y of each action; y goes down a picture.
const MOVES: [[i32; 2]; 5] = [[-1, 0], [1, 0], [0, 1], [0, -1], [0, 0]];

/// Settings; the defaults are the package's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PursuitParams {
    /// Cells across and down, 3 to 64.
    pub size: [usize; 2],
    /// Steps of an episode.
    pub max_cycles: u32,
    /// Share of a reward that stays with who earned it, in `[0, 1]`; 0 shares all.
    pub local_ratio: f64,
    /// Evaders at the start.
    pub evaders: usize,
    /// Pursuers.
    pub pursuers: usize,
    /// Cells across a view, 3 to 63.
    pub range: usize,
    /// Pursuers on an evader's cell that catch it, where it need not be surrounded.
    pub catch: usize,
    /// Whether evaders stay where they are.
    pub frozen: bool,
    /// For an evader beside a pursuer, over the number of pursuers.
    pub tag_reward: f64,
    /// For a caught evader.
    pub catch_reward: f64,
    /// For each step.
    pub urgency_reward: f64,
    /// Whether an evader is caught when its free neighbour cells are all taken.
    pub surround: bool,
}

impl Default for PursuitParams {
    fn default() -> Self {
        Self {
            size: [16, 16],
            max_cycles: 500,
            local_ratio: 0.0,
            evaders: 30,
            pursuers: 8,
            range: 7,
            catch: 2,
            frozen: false,
            tag_reward: 0.01,
            catch_reward: 5.0,
            urgency_reward: -0.1,
            surround: true,
        }
    }
}

type Cell = [i32; 2];

/// What goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Chase {
    pursuers: Vec<Cell>,
    evaders: Vec<Cell>,
    frames: u32,
    over: bool,
}

/// The environment.
#[derive(Clone, Debug)]
pub struct Pursuit {
    params: PursuitParams,
    /// Buildings, `[y][x]`.
    walls: Vec<bool>,
    draws: NumpyGenerator,
    state: Chase,
    spec: AgentSpec,
}

/// numpy's mean: fewer than 8 values are summed in order, more of them in eight lanes.
fn numpy_mean(values: &[f64]) -> f64 {
    let n = values.len();
    if n < 8 {
        return values.iter().sum::<f64>() / n as f64;
    }
    let (lanes, rest) = values.as_chunks::<8>();
    let mut r = lanes[0];
    for lane in &lanes[1..] {
        r.iter_mut().zip(lane).for_each(|(r, v)| *r += v);
    }
    let sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    rest.iter().fold(sum, |s, v| s + v) / n as f64
}

impl Pursuit {
    /// A map with these settings, at the start of an episode of seed 0.
    ///
    /// # Errors
    /// [`Error::Parameter`] for settings out of their range, or for more agents than are sure to
    /// find a place.
    pub fn new(params: PursuitParams) -> Result<Self> {
        let [width, height] = params.size;
        if params.size.iter().any(|s| !(3..=64).contains(s)) {
            return Err(Error::parameter(
                "size",
                "3 to 64 cells",
                format!("{:?}", params.size),
            ));
        }
        if !(3..=63).contains(&params.range) {
            return Err(Error::parameter("range", "3 to 63", params.range));
        }
        if !(0.0..=1.0).contains(&params.local_ratio) {
            return Err(Error::parameter(
                "local_ratio",
                "0 to 1",
                params.local_ratio,
            ));
        }
        let inside = |i: usize, n: usize, edge: f64| {
            let share = i as f64 / n as f64;
            share > edge && share < 1.0 - edge
        };
        let wall = |at: usize| inside(at % width, width, 0.3) && inside(at / width, height, 0.2);
        let walls: Vec<bool> = (0..width * height).map(wall).collect();
        let free = walls.iter().filter(|w| !**w).count();
        // One that is placed takes five cells at most from those behind it.
        for (name, count) in [("pursuers", params.pursuers), ("evaders", params.evaders)] {
            if count == 0 || 5 * (count - 1) >= free || count > 255 {
                let expected = format!("1 to {} on {free} free cells", (free - 1) / 5 + 1);
                return Err(Error::parameter(name, expected, count));
            }
        }
        let spec = AgentSpec {
            id: "pursuit".into(),
            agents: params.pursuers,
            actions: &ACTIONS,
            view: [3, params.range, params.range],
            world: [height, width],
            planes: &VIEW,
            horizon: params.max_cycles,
            noop: 4,
        };
        let mut out = Self {
            walls,
            draws: NumpyGenerator::new(0),
            state: Chase {
                pursuers: Vec::new(),
                evaders: Vec::new(),
                frames: 0,
                over: false,
            },
            spec,
            params,
        };
        out.reset(Some(0));
        Ok(out)
    }

    fn within(&self, [x, y]: Cell) -> bool {
        let [width, height] = self.params.size;
        (0..width as i32).contains(&x) && (0..height as i32).contains(&y)
    }

    /// Whether a cell of the map is a building.
    fn wall(&self, [x, y]: Cell) -> bool {
        self.walls[y as usize * self.params.size[0] + x as usize]
    }

    fn moved(&self, [x, y]: Cell, action: usize) -> Cell {
        let [dx, dy] = MOVES[action];
        let to = [x + dx, y + dy];
        if self.within(to) && !self.wall(to) {
            to
        } else {
            [x, y]
        }
    }

    /// Cells for `count` agents, as the package draws them.
    fn placed(&mut self, count: usize) -> Vec<Cell> {
        let [width, height] = self.params.size;
        let mut taken = vec![false; width * height];
        let mut out = Vec::with_capacity(count);
        while out.len() < count {
            let x = self.draws.integers(0, width as u32) as i32;
            let y = self.draws.integers(0, height as u32) as i32;
            if self.wall([x, y]) || taken[y as usize * width + x as usize] {
                continue;
            }
            for [dx, dy] in MOVES {
                let near = [x + dx, y + dy];
                if self.within(near) {
                    taken[near[1] as usize * width + near[0] as usize] = true;
                }
            }
            out.push([x, y]);
        }
        out
    }

    /// Counts of agents, `[y][x]`.
    fn layer(&self, agents: &[Cell]) -> Vec<u8> {
        let width = self.params.size[0];
        let mut out = vec![0; self.walls.len()];
        for [x, y] in agents {
            out[*y as usize * width + *x as usize] += 1;
        }
        out
    }

    /// Rewards for evaders beside pursuers. Neighbours are clamped to the map, so that at a border
    /// the own cell counts.
    fn tags(&self, evaders: &[u8]) -> Vec<f64> {
        let [width, height] = self.params.size;
        let beside = |[x, y]: &Cell| {
            let count = |[dx, dy]: &[i32; 2]| {
                let x = (x + dx).clamp(0, width as i32 - 1) as usize;
                let y = (y + dy).clamp(0, height as i32 - 1) as usize;
                u32::from(evaders[y * width + x])
            };
            MOVES[..4].iter().map(count).sum::<u32>()
        };
        let n = self.params.pursuers as f64;
        let tag = |p: &Cell| self.params.tag_reward * f64::from(beside(p)) / n;
        self.state.pursuers.iter().map(tag).collect()
    }

    /// Removes evaders that are caught; says which pursuers caught one.
    fn catch(&mut self) -> Vec<bool> {
        let [width, height] = self.params.size;
        let pursuers = self.layer(&self.state.pursuers);
        let at = |[x, y]: Cell| pursuers[y as usize * width + x as usize];
        let mut caught = vec![false; self.params.pursuers];
        let mut left = Vec::with_capacity(self.state.evaders.len());
        for &evader in &self.state.evaders {
            let [x, y] = evader;
            let near: Vec<Cell> = MOVES[..4].iter().map(|[a, b]| [x + a, y + b]).collect();
            let by: Option<Vec<Cell>> = if self.params.surround {
                let edge = |v: i32, n: usize| usize::from(v == 0 || v == n as i32 - 1);
                // The package looks at neighbours above 0 only.
                let built = |c: &&Cell| c[0] > 0 && c[1] > 0 && self.within(**c) && self.wall(**c);
                let walls = near.iter().filter(built).count();
                let closed = edge(x, width) + edge(y, height) + walls;
                let taken = |c: &Cell| self.within(*c) && at(*c) > 0;
                let held: Vec<Cell> = near.into_iter().filter(taken).collect();
                (held.len() + closed == 4).then_some(held)
            } else {
                let enough = usize::from(at(evader)) >= self.params.catch;
                enough.then(|| vec![evader])
            };
            let Some(by) = by else {
                left.push(evader);
                continue;
            };
            for (k, pursuer) in self.state.pursuers.iter().enumerate() {
                caught[k] |= by.contains(pursuer);
            }
        }
        self.state.evaders = left;
        caught
    }
}

impl Environment for Pursuit {
    fn spec(&self) -> &AgentSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) {
        if let Some(seed) = seed {
            self.draws = NumpyGenerator::new(seed);
        }
        // The corner of the window, which is the whole map: drawn all the same.
        self.draws.uniform(0.0, 0.0);
        self.draws.uniform(0.0, 0.0);
        let pursuers = self.placed(self.params.pursuers);
        let evaders = self.placed(self.params.evaders);
        self.state = Chase {
            pursuers,
            evaders,
            frames: 0,
            over: false,
        };
    }

    fn step(&mut self, actions: &[usize]) -> Result<Transition> {
        self.spec.check(actions)?;
        if self.state.over {
            return Err(after_the_end());
        }
        let n = self.params.pursuers;
        let evaders = self.layer(&self.state.evaders);
        let mut rewards = vec![0.0; n];
        let mut events = Vec::new();
        for (i, &action) in actions.iter().enumerate() {
            self.state.pursuers[i] = self.moved(self.state.pursuers[i], action);
            let mut local = self.tags(&evaders);
            if i + 1 == n {
                let caught = self.catch();
                if !self.params.frozen {
                    for e in 0..self.state.evaders.len() {
                        let action = self.draws.integers(0, 5) as usize;
                        self.state.evaders[e] = self.moved(self.state.evaders[e], action);
                    }
                }
                for (k, caught) in caught.into_iter().enumerate() {
                    local[k] += self.params.catch_reward * f64::from(u8::from(caught));
                    local[k] += self.params.urgency_reward;
                    if caught {
                        events.push(TeamEvent {
                            what: "caught",
                            agent: k,
                        });
                    }
                }
                self.state.frames += 1;
            }
            let mean = numpy_mean(&local);
            let ratio = self.params.local_ratio;
            for (reward, own) in rewards.iter_mut().zip(local) {
                *reward += ratio * own + (1.0 - ratio) * mean;
            }
        }
        let truncated = self.state.frames >= self.params.max_cycles;
        let terminated = !truncated && self.state.evaders.is_empty();
        self.state.over = truncated || terminated;
        Ok(Transition {
            shaped: vec![0.0; n],
            rewards,
            terminated,
            truncated,
            events,
        })
    }

    fn observe(&self, agent: usize, out: &mut [u8]) {
        let r = self.params.range;
        let off = (r as i32 - 1) / 2;
        out.fill(0);
        let [x, y] = self.state.pursuers[agent];
        let side = 2 * off + 1;
        for row in 0..r as i32 {
            for column in 0..r as i32 {
                let cell = [x + column - off, y + row - off];
                let shown = row < side && column < side && self.within(cell);
                if !shown || self.wall(cell) {
                    out[row as usize * r + column as usize] = 1;
                }
            }
        }
        for (plane, agents) in [(1, &self.state.pursuers), (2, &self.state.evaders)] {
            for [ax, ay] in agents {
                let (column, row) = (ax - x + off, ay - y + off);
                if (0..side).contains(&column) && (0..side).contains(&row) {
                    out[(plane * r + row as usize) * r + column as usize] += 1;
                }
            }
        }
    }

    fn placement(&self, agent: usize, cell: [usize; 2]) -> Option<[usize; 2]> {
        let off = (self.params.range as i32 - 1) / 2;
        let [x, y] = self.state.pursuers[agent];
        let at = [x + cell[1] as i32 - off, y + cell[0] as i32 - off];
        let shown = cell.iter().all(|&c| (c as i32) < 2 * off + 1) && self.within(at);
        shown.then(|| [at[1] as usize, at[0] as usize])
    }

    fn scene(&self) -> SceneRecord {
        let width = self.params.size[0];
        let tile = |w: &bool| if *w { "wall" } else { "floor" }.to_owned();
        let place = |c: &Cell| [c[1] as usize, c[0] as usize];
        let thing = |c: &Cell| ThingRecord {
            at: place(c),
            what: "evader".to_owned(),
            note: String::new(),
        };
        let agent = |c: &Cell| AgentRecord {
            at: place(c),
            facing: [0, 0],
            holds: None,
        };
        let rows = self.walls.chunks(width);
        SceneRecord {
            tiles: rows.map(|r| r.iter().map(tile).collect()).collect(),
            things: self.state.evaders.iter().map(thing).collect(),
            agents: self.state.pursuers.iter().map(agent).collect(),
        }
    }

    fn save(&self) -> Vec<u8> {
        let mut out = self.draws.save();
        out.extend(serde_json::to_vec(&self.state).unwrap_or_default());
        out
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        let refused = |found: String| Error::mismatch("load", "a state of pursuit", found);
        let (draws, rest) = bytes
            .split_at_checked(37)
            .ok_or_else(|| refused(format!("{} bytes", bytes.len())))?;
        let state: Chase = serde_json::from_slice(rest).map_err(|e| refused(e.to_string()))?;
        let all = state.pursuers.iter().chain(&state.evaders);
        let stands = |c: &Cell| self.within(*c) && !self.wall(*c);
        if state.pursuers.len() != self.params.pursuers || !all.into_iter().all(stands) {
            return Err(refused("one of another map".into()));
        }
        self.draws = NumpyGenerator::load(draws)?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;

    /// All views and the whole map in the package's order, `[y][x][plane]`.
    fn package(world: &Pursuit, out: &mut Vec<u8>) {
        let r = world.params.range;
        let mut view = vec![0; 3 * r * r];
        for agent in 0..world.params.pursuers {
            world.observe(agent, &mut view);
            out.extend((0..r * r).flat_map(|i| [view[i], view[r * r + i], view[2 * r * r + i]]));
        }
        let layers = [
            world.walls.iter().map(|w| u8::from(*w)).collect(),
            world.layer(&world.state.pursuers),
            world.layer(&world.state.evaders),
        ];
        let layers: [Vec<u8>; 3] = layers;
        let cells = 0..world.walls.len();
        out.extend(cells.flat_map(|i| [layers[0][i], layers[1][i], layers[2][i]]));
    }

    /// PettingZoo 1.27.0, `pursuit_v5` with its defaults, `reset(seed=42)`, numpy 2.4.6: actions
    /// from `default_rng(99)`, `integers(5)` for pursuer 0 to 7 of each step, 500 steps. Hashes
    /// over the eight observations and the state as u8, at the start and after each step, and over
    /// the eight rewards of each step as little-endian doubles.
    #[test]
    fn golden_episode_of_the_package() {
        let mut world = Pursuit::new(PursuitParams::default()).unwrap();
        world.reset(Some(42));
        let pursuers = [
            [6, 13],
            [1, 11],
            [3, 1],
            [8, 15],
            [8, 2],
            [13, 7],
            [2, 14],
            [12, 10],
        ];
        assert_eq!(world.state.pursuers, pursuers);
        assert_eq!(world.state.evaders[..4], [[6, 13], [7, 3], [1, 8], [14, 1]]);
        let mut draws = NumpyGenerator::new(99);
        let (mut bytes, mut paid) = (Vec::new(), Vec::new());
        package(&world, &mut bytes);
        let mut value = 0.0;
        for t in 0..500 {
            let actions = [0; 8].map(|_: u32| draws.integers(0, 5) as usize);
            let step = world.step(&actions).unwrap();
            assert_eq!((step.truncated, step.terminated), (t == 499, false));
            value += step.rewards[0];
            paid.extend(step.rewards.iter().flat_map(|r| r.to_le_bytes()));
            package(&world, &mut bytes);
        }
        assert_eq!(format!("{value}"), "-47.18750000000005");
        assert_eq!(world.state.evaders.len(), 30);
        assert_eq!(
            sha256(&bytes),
            "8ddb8b4d56bb591b192c5e2e7a63aa94ebb9f91dd555fedfc7e5fffb9b96bd90"
        );
        assert_eq!(
            sha256(&paid),
            "d66729f95c48d6dfa9e9c7eb8bc61c471257690129082e87dec591dcc267f33e"
        );
    }

    /// Four around an evader in the open catch it: 2.5 for each of eight, less urgency, and tags.
    #[test]
    fn four_catch_what_they_surround() {
        let mut world = Pursuit::new(PursuitParams {
            evaders: 2,
            ..PursuitParams::default()
        })
        .unwrap();
        world.state.evaders = vec![[2, 2], [14, 14]];
        let around = [[1, 2], [3, 2], [2, 1], [2, 3]];
        world.state.pursuers[..4].copy_from_slice(&around);
        world.state.pursuers[4..].fill([8, 0]);
        let step = world.step(&[4; 8]).unwrap();
        // Eight half-steps, each with the tags of four over eight, shared.
        let tags = 8.0 * (4.0 * 0.01 / 8.0) / 8.0;
        assert!(
            (step.rewards[7] - (2.5 - 0.1 + tags)).abs() < 1e-12,
            "{:?}",
            step.rewards
        );
        assert_eq!((world.state.evaders.len(), step.events.len()), (1, 4));
    }

    /// Every entry of every view is the map's at its placement.
    #[test]
    fn views_placed_in_the_world_equal_it() {
        for range in [7, 6] {
            let params = PursuitParams {
                range,
                size: [16, 12],
                evaders: 20,
                ..PursuitParams::default()
            };
            let mut world = Pursuit::new(params).unwrap();
            let mut draws = NumpyGenerator::new(5);
            let mut view = vec![0; 3 * range * range];
            for _ in 0..100 {
                let [p, e] = [&world.state.pursuers, &world.state.evaders].map(|a| world.layer(a));
                for agent in 0..8 {
                    world.observe(agent, &mut view);
                    for i in 0..range * range {
                        let place = world.placement(agent, [i / range, i % range]);
                        let found = [0, 1, 2].map(|c| view[c * range * range + i]);
                        let expected = place.map_or([1, 0, 0], |[row, column]| {
                            let at = row * 16 + column;
                            [u8::from(world.walls[at]), p[at], e[at]]
                        });
                        assert_eq!(found, expected);
                    }
                }
                let actions = [0; 8].map(|_: u32| draws.integers(0, 5) as usize);
                world.step(&actions).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        let many = PursuitParams {
            size: [8, 8],
            pursuers: 20,
            ..PursuitParams::default()
        };
        let error = Pursuit::new(many).unwrap_err().to_string();
        assert!(
            error.contains("pursuers") && error.contains("20"),
            "{error}"
        );
    }
}
