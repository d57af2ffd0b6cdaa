//! Overcooked (Carroll et al. 2019): two cooks fill pots, and serve soups.
//!
//! Transition, rewards and the lossless encoding are those of the package `overcooked` 0.2.1 (MIT):
//! the hashes in the tests are the package's. A view is `[26, h, w]` with rows = y; the package's
//! arrays are `[x][y][plane]`. Both agents see everything. An agent's reward is what the team was
//! paid. Horizon 400; the clock is visible (plane `urgency`), so the end counts as terminated.

use super::cook::{Cook, DIRECTIONS, Dynamics, Item, KitchenState, Paid};
use super::kitchen::{KITCHENS, Kitchen};
use crate::agent::base::{AgentSpec, Environment, PlaneKind, Transition, ViewPlane, after_the_end};
use crate::error::{Error, Result};
use crate::record::{AgentRecord, SceneRecord, ThingRecord};

const HORIZON: u32 = 400;
/// The encoding's own horizon, whatever the episode's is.
const CLOCK: u32 = 400;
/// Steps before the end in which `urgency` is 1.
const URGENT: u32 = 40;
const PLANES: usize = 26;

const fn plane(name: &'static str, scale: f32, kind: PlaneKind) -> ViewPlane {
    ViewPlane { name, scale, kind }
}

const fn entity(name: &'static str) -> ViewPlane {
    plane(name, 1.0, PlaneKind::Entity)
}

const fn fixed(name: &'static str) -> ViewPlane {
    plane(name, 1.0, PlaneKind::Fixed)
}

const THIRD: f32 = 1.0 / 3.0;

static VIEW: [ViewPlane; PLANES] = [
    entity("own place"),
    entity("partner's place"),
    entity("own facing north"),
    entity("own facing south"),
    entity("own facing east"),
    entity("own facing west"),
    entity("partner facing north"),
    entity("partner facing south"),
    entity("partner facing east"),
    entity("partner facing west"),
    fixed("pot"),
    fixed("counter"),
    fixed("onion dispenser"),
    fixed("tomato dispenser"),
    fixed("dish dispenser"),
    fixed("serving"),
    plane("onions in a waiting pot", THIRD, PlaneKind::Entity),
    plane("tomatoes in a waiting pot", THIRD, PlaneKind::Entity),
    plane("onions in a soup", THIRD, PlaneKind::Entity),
    plane("tomatoes in a soup", THIRD, PlaneKind::Entity),
    plane("time left to cook", 0.05, PlaneKind::Entity),
    entity("soup ready"),
    entity("dish"),
    entity("onion"),
    entity("tomato"),
    plane("urgency", 1.0, PlaneKind::Signal),
];

/// Words of what each terrain is, and its plane.
const TERRAIN: [(u8, usize, &str); 6] = [
    (b'P', 10, "pot"),
    (b'X', 11, "counter"),
    (b'O', 12, "onions"),
    (b'T', 13, "tomatoes"),
    (b'D', 14, "dishes"),
    (b'S', 15, "serving"),
];

static ACTIONS: [&str; 6] = ["north", "south", "east", "west", "stay", "interact"];

/// The environment.
#[derive(Clone, Debug)]
pub struct Overcooked {
    kitchen: &'static Kitchen,
    dynamics: Dynamics,
    /// Terrain, row by row; where players start is floor.
    cells: Vec<u8>,
    width: usize,
    state: KitchenState,
    spec: AgentSpec,
}

impl Overcooked {
    /// Names of the layouts.
    pub fn layouts() -> impl Iterator<Item = &'static str> {
        KITCHENS.iter().map(|k| k.name)
    }

    /// A kitchen by its layout.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an unknown layout; it names those that are known.
    pub fn new(layout: &str, dynamics: Dynamics) -> Result<Self> {
        let known = || Self::layouts().collect::<Vec<_>>().join(", ");
        let kitchen = KITCHENS.iter().find(|k| k.name == layout);
        let kitchen = kitchen.ok_or_else(|| Error::parameter("layout", known(), layout))?;
        let (height, width) = (kitchen.rows.len(), kitchen.rows[0].len());
        let floor = |c: u8| if b"12".contains(&c) { b' ' } else { c };
        let cells = kitchen.rows.iter().flat_map(|r| r.bytes().map(floor));
        let ending = if dynamics == Dynamics::New {
            ":new"
        } else {
            ""
        };
        Ok(Self {
            kitchen,
            dynamics,
            cells: cells.collect(),
            width,
            state: KitchenState::new(kitchen),
            spec: AgentSpec {
                id: format!("overcooked:{layout}{ending}"),
                agents: 2,
                actions: &ACTIONS,
                view: [PLANES, height, width],
                world: [height, width],
                planes: &VIEW,
                horizon: HORIZON,
                noop: 4,
            },
        })
    }

    fn over(&self) -> bool {
        self.state.time >= HORIZON
    }

    /// One step, with what each player earned apart.
    fn act(&mut self, actions: &[usize]) -> Paid {
        let terrain = (&self.cells[..], self.width);
        self.state
            .step(self.kitchen, terrain, self.dynamics, actions)
    }

    fn place(&self, cell: usize) -> [usize; 2] {
        [cell / self.width, cell % self.width]
    }
}

/// Writes an item into the planes; `pot` says whether it is in a pot.
fn encode(kitchen: &Kitchen, item: Item, pot: bool, mut put: impl FnMut(usize, u8)) {
    let soup = match item {
        Item::Dish => return put(22, 1),
        Item::Onion => return put(23, 1),
        Item::Tomato => return put(24, 1),
        Item::Soup(soup) => soup,
    };
    let waits = pot && soup.tick.is_none();
    let first = if waits { 16 } else { 18 };
    put(first, soup.mix[0]);
    put(first + 1, soup.mix[1]);
    let left = soup.tick.map(|t| kitchen.time(soup.mix) - t);
    if let (true, Some(left)) = (pot, left) {
        put(20, left as u8);
    }
    if !pot || left == Some(0) {
        put(21, 1);
    }
}

fn word(item: Item) -> String {
    let word = match item {
        Item::Onion => "onion",
        Item::Tomato => "tomato",
        Item::Dish => "dish",
        Item::Soup(_) => "soup",
    };
    word.to_owned()
}

impl Environment for Overcooked {
    fn spec(&self) -> &AgentSpec {
        &self.spec
    }

    fn reset(&mut self, _: Option<u64>) {
        self.state = KitchenState::new(self.kitchen);
    }

    fn step(&mut self, actions: &[usize]) -> Result<Transition> {
        self.spec.check(actions)?;
        if self.over() {
            return Err(after_the_end());
        }
        let paid = self.act(actions);
        let team = f64::from(paid.sparse[0] + paid.sparse[1]);
        Ok(Transition {
            rewards: vec![team; 2],
            shaped: paid.shaped.map(f64::from).to_vec(),
            terminated: self.over(),
            truncated: false,
            events: paid.events,
        })
    }

    fn observe(&self, agent: usize, out: &mut [u8]) {
        let size = self.cells.len();
        out.fill(0);
        let mut put = |plane: usize, cell: usize, count: u8| out[plane * size + cell] += count;
        for (who, cook) in [agent, 1 - agent].into_iter().enumerate() {
            let cook = &self.state.cooks[cook];
            put(who, cook.at, 1);
            put(2 + 4 * who + cook.faces, cook.at, 1);
            if let Some(item) = cook.holds {
                encode(self.kitchen, item, false, |p, count| put(p, cook.at, count));
            }
        }
        for (cell, (&terrain, item)) in self.cells.iter().zip(&self.state.items).enumerate() {
            if let Some((_, plane, _)) = TERRAIN.iter().find(|t| t.0 == terrain) {
                put(*plane, cell, 1);
            }
            if let Some(item) = *item {
                encode(self.kitchen, item, terrain == b'P', |p, n| put(p, cell, n));
            }
        }
        let urgent = CLOCK.saturating_sub(self.state.time) < URGENT;
        out[25 * size..].fill(u8::from(urgent));
    }

    fn placement(&self, _: usize, cell: [usize; 2]) -> Option<[usize; 2]> {
        let [height, width] = self.spec.world;
        (cell[0] < height && cell[1] < width).then_some(cell)
    }

    fn scene(&self) -> SceneRecord {
        let tile = |c: &u8| {
            let known = TERRAIN.iter().find(|t| t.0 == *c);
            known.map_or("floor", |t| t.2).to_owned()
        };
        let thing = |(cell, item): (usize, &Option<Item>)| {
            let item = (*item)?;
            let note = match item {
                Item::Soup(s) => match s.tick.map(|t| self.kitchen.time(s.mix) - t) {
                    None => format!("{}/3", s.mix[0] + s.mix[1]),
                    Some(0) => "ready".to_owned(),
                    Some(left) => left.to_string(),
                },
                _ => String::new(),
            };
            Some(ThingRecord {
                at: self.place(cell),
                what: word(item),
                note,
            })
        };
        let agent = |cook: &Cook| AgentRecord {
            at: self.place(cook.at),
            facing: DIRECTIONS[cook.faces],
            holds: cook.holds.map(word),
        };
        let rows = self.cells.chunks(self.width);
        SceneRecord {
            tiles: rows.map(|r| r.iter().map(tile).collect()).collect(),
            things: self
                .state
                .items
                .iter()
                .enumerate()
                .filter_map(thing)
                .collect(),
            agents: self.state.cooks.iter().map(agent).collect(),
        }
    }

    fn save(&self) -> Vec<u8> {
        serde_json::to_vec(&self.state).unwrap_or_default()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        let refused = |found: String| {
            Error::mismatch("load", format!("the state of {}", self.spec.id), found)
        };
        let state: KitchenState =
            serde_json::from_slice(bytes).map_err(|e| refused(e.to_string()))?;
        let floor = |c: &Cook| self.cells.get(c.at) == Some(&b' ') && c.faces < 4;
        if state.items.len() != self.cells.len() || !state.cooks.iter().all(floor) {
            return Err(refused("one of another kitchen".into()));
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::numpy::NumpyGenerator;
    use crate::agent::overcooked::cook::Soup;
    use crate::hash::sha256;

    /// Both views in the package's order, `[x][y][plane]`.
    fn package(world: &Overcooked, out: &mut Vec<u8>) {
        let [c, h, w] = world.spec.view;
        let mut view = vec![0; c * h * w];
        for agent in 0..2 {
            world.observe(agent, &mut view);
            for x in 0..w {
                for y in 0..h {
                    out.extend((0..c).map(|p| view[(p * h + y) * w + x]));
                }
            }
        }
    }

    /// Package `overcooked` 0.2.1: start state, 400 steps, actions from `default_rng(99)` (numpy
    /// 2.4.6), for player 0 and 1 `min(integers(10), 5)`. SHA-256 over both observations of the
    /// start, then of each step [sparse 0, sparse 1, shaped 0, shaped 1 as i32] and observations.
    #[test]
    fn golden_hashes_of_the_package() {
        let golden = [
            (
                "cramped_room",
                Dynamics::New,
                20,
                "bc7e4a2bd49111530f45b19287ba5ab286985498b576b2130551813afaafaf79",
            ),
            (
                "cramped_room",
                Dynamics::Old,
                23,
                "9522d0328c44f486ac39680929e5cb3bda7bc2d0827ee922dc867841d12f5e57",
            ),
            (
                "asymmetric_advantages",
                Dynamics::New,
                11,
                "a18d2c306dc70187ef882404d893532123916a676141d12645ed2c6fd85132ee",
            ),
            (
                "asymmetric_advantages",
                Dynamics::Old,
                6,
                "45fc58fa24bd93cb7cf73effc39cf9d04a6f3fa31ca93e8159d7c27bf9c654a3",
            ),
            (
                "coordination_ring",
                Dynamics::New,
                0,
                "e39430ae8a4be1486efb9330f571df6caeff743562140ac0b709aba2621bbad3",
            ),
            (
                "coordination_ring",
                Dynamics::Old,
                0,
                "e39430ae8a4be1486efb9330f571df6caeff743562140ac0b709aba2621bbad3",
            ),
            (
                "forced_coordination",
                Dynamics::New,
                9,
                "b9d4f02c7b0d3a38c49057903de1ced27679e73eb6a5db573a208dc6f9d5daa1",
            ),
            (
                "forced_coordination",
                Dynamics::Old,
                15,
                "1c0deefcf2b8d7db6c56dcd6cc836a96456af5534dc5ce9b62e7bf96930995e1",
            ),
            (
                "counter_circuit_o_1order",
                Dynamics::New,
                0,
                "651a98456fcdb143549f44c9e60769ca90c321b7cda1f5093999d9354f2d67e9",
            ),
            (
                "counter_circuit_o_1order",
                Dynamics::Old,
                0,
                "651a98456fcdb143549f44c9e60769ca90c321b7cda1f5093999d9354f2d67e9",
            ),
        ];
        for (layout, dynamics, shaped, expected) in golden {
            let mut world = Overcooked::new(layout, dynamics).unwrap();
            let mut draws = NumpyGenerator::new(99);
            let mut bytes = Vec::new();
            package(&world, &mut bytes);
            let mut earned = 0;
            for _ in 0..400 {
                let actions = [0; 2].map(|_: u32| draws.integers(0, 10).min(5) as usize);
                let paid = world.act(&actions);
                for value in paid.sparse.into_iter().chain(paid.shaped) {
                    bytes.extend((value as i32).to_le_bytes());
                }
                earned += paid.shaped.iter().sum::<u32>();
                package(&world, &mut bytes);
            }
            assert_eq!(earned, shaped, "{layout} {dynamics:?}");
            assert_eq!(sha256(&bytes), expected, "{layout} {dynamics:?}");
        }
    }

    /// A soup by hand in the cramped room, old dynamics: three onions, 20 steps, a dish, 20 points.
    /// Random play almost never comes as far, so the hashes do not cover it.
    #[test]
    fn a_soup_is_cooked_and_paid() {
        let mut world = Overcooked::new("cramped_room", Dynamics::Old).unwrap();
        let pot = 2;
        world.state.items[pot] = Some(Item::Soup(Soup {
            mix: [2, 0],
            tick: None,
        }));
        // Player 1 stands below the pot and faces it.
        world.state.cooks[1] = Cook {
            at: 7,
            faces: 0,
            holds: Some(Item::Onion),
        };
        let done = world.step(&[4, 5]).unwrap();
        assert_eq!(done.shaped, [0.0, 3.0]);
        let tick = |w: &Overcooked| match w.state.items[pot] {
            Some(Item::Soup(s)) => s.tick,
            _ => None,
        };
        assert_eq!(tick(&world), Some(1), "the step that starts a soup counts");
        world.state.cooks[1].holds = Some(Item::Dish);
        world.step(&[4, 5]).unwrap();
        assert_eq!(world.state.cooks[1].holds, Some(Item::Dish), "not ready");
        for _ in 0..18 {
            world.step(&[4, 4]).unwrap();
        }
        assert_eq!(tick(&world), Some(20));
        assert_eq!(world.step(&[4, 5]).unwrap().shaped, [0.0, 5.0]);
        assert_eq!(world.state.items[pot], None);
        // The serving window is below cell 13.
        world.state.cooks[1].at = 13;
        world.state.cooks[1].faces = 1;
        let paid = world.step(&[4, 5]).unwrap();
        assert_eq!(paid.rewards, [20.0, 20.0]);
        assert_eq!(paid.events[0].what, "delivered");
    }

    /// Two who want one cell both stay; so do two who would swap; one may follow the other.
    #[test]
    fn collisions() {
        let mut world = Overcooked::new("cramped_room", Dynamics::Old).unwrap();
        let place = |w: &Overcooked| w.state.cooks.map(|c| c.at);
        world.state.cooks[0].at = 6;
        world.state.cooks[1].at = 8;
        world.step(&[2, 3]).unwrap();
        assert_eq!(place(&world), [6, 8], "one cell");
        world.state.cooks[1].at = 7;
        world.step(&[2, 3]).unwrap();
        assert_eq!(place(&world), [6, 7], "a swap");
        world.step(&[2, 2]).unwrap();
        assert_eq!(place(&world), [7, 8], "behind the other");
    }
}
