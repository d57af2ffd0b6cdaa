//! What happens in a kitchen in one step, to the order of the package `overcooked` 0.2.1: census of
//! the pots, interactions, moves, time.

use super::kitchen::{Kitchen, Mix};
use crate::agent::base::TeamEvent;
use serde::{Deserialize, Serialize};

/// Rows and columns to the cell that a direction faces: north, south, east, west.
pub(super) const DIRECTIONS: [[i8; 2]; 4] = [[-1, 0], [1, 0], [0, 1], [0, -1]];

/// Most ingredients of a soup.
const FULL: u8 = 3;

/// When soups start to cook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dynamics {
    /// A pot starts by itself when it is full. The published figures are on these.
    #[default]
    Old,
    /// A player with empty hands starts a pot.
    New,
}

/// A soup in a pot, in hands or on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Soup {
    /// Onions and tomatoes.
    pub(super) mix: Mix,
    /// Steps that it has cooked; none while it does not cook.
    pub(super) tick: Option<u32>,
}

/// What can be held, or lie on a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Item {
    Onion,
    Tomato,
    Dish,
    Soup(Soup),
}

/// A player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cook {
    /// Cell, row by row.
    pub(super) at: usize,
    /// Index in [`DIRECTIONS`].
    pub(super) faces: usize,
    pub(super) holds: Option<Item>,
}

/// A kitchen at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KitchenState {
    pub(super) cooks: [Cook; 2],
    /// What lies on each cell.
    pub(super) items: Vec<Option<Item>>,
    pub(super) time: u32,
}

/// What a step paid each player.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Paid {
    pub(super) sparse: [u32; 2],
    pub(super) shaped: [u32; 2],
    pub(super) events: Vec<TeamEvent>,
}

impl Kitchen {
    fn ready(&self, soup: &Soup) -> bool {
        soup.tick.is_some_and(|t| t >= self.time(soup.mix))
    }
}

impl KitchenState {
    /// At the start: both face north with empty hands.
    pub(super) fn new(kitchen: &Kitchen) -> Self {
        let cells: Vec<u8> = kitchen.rows.iter().flat_map(|r| r.bytes()).collect();
        let start = |player: u8| Cook {
            at: cells.iter().position(|&c| c == player).unwrap_or(0),
            faces: 0,
            holds: None,
        };
        Self {
            cooks: [start(b'1'), start(b'2')],
            items: vec![None; cells.len()],
            time: 0,
        }
    }

    /// Pots that cook, are ready, or wait with one or two ingredients.
    fn busy(&self, cells: &[u8]) -> usize {
        let busy = |(&c, item): (&u8, &Option<Item>)| match item {
            Some(Item::Soup(s)) if c == b'P' => {
                s.tick.is_some() || (1..FULL).contains(&(s.mix[0] + s.mix[1]))
            }
            _ => false,
        };
        cells.iter().zip(&self.items).filter(|&p| busy(p)).count()
    }

    /// One step; `cells` is the terrain, row by row, `width` to a row.
    pub(super) fn step(
        &mut self,
        kitchen: &Kitchen,
        (cells, width): (&[u8], usize),
        dynamics: Dynamics,
        actions: &[usize],
    ) -> Paid {
        let mut paid = Paid::default();
        let busy = self.busy(cells);
        let facing = |at: usize, direction: usize| {
            let [rows, columns] = DIRECTIONS[direction];
            let to = at as isize + isize::from(rows) * width as isize + isize::from(columns);
            to as usize
        };
        for (player, _) in actions.iter().enumerate().filter(|(_, a)| **a == 5) {
            let at = facing(self.cooks[player].at, self.cooks[player].faces);
            self.interact(kitchen, cells, (player, at), (busy, dynamics), &mut paid);
        }
        let mut to = self.cooks.map(|c| c.at);
        for (player, &action) in actions.iter().enumerate().filter(|(_, a)| **a < 4) {
            self.cooks[player].faces = action;
            let target = facing(self.cooks[player].at, action);
            if cells[target] == b' ' {
                to[player] = target;
            }
        }
        let [a, b] = self.cooks.map(|c| c.at);
        let swapped = to[0] == b && to[1] == a;
        if to[0] != to[1] && !swapped {
            self.cooks[0].at = to[0];
            self.cooks[1].at = to[1];
        }
        self.time += 1;
        for item in self.items.iter_mut().flatten() {
            let Item::Soup(soup) = item else { continue };
            let full = soup.mix[0] + soup.mix[1] == FULL;
            if dynamics == Dynamics::Old && soup.tick.is_none() && full {
                soup.tick = Some(0);
            }
            let time = kitchen.time(soup.mix);
            soup.tick = soup.tick.map(|t| if t < time { t + 1 } else { t });
        }
        paid
    }

    fn interact(
        &mut self,
        kitchen: &Kitchen,
        cells: &[u8],
        (player, at): (usize, usize),
        (busy, dynamics): (usize, Dynamics),
        paid: &mut Paid,
    ) {
        let mut happened = |what| {
            paid.events.push(TeamEvent {
                what,
                agent: player,
            });
        };
        let holds = self.cooks[player].holds;
        match (cells[at], holds) {
            (b'X', Some(item)) if self.items[at].is_none() => {
                self.items[at] = Some(item);
                self.cooks[player].holds = None;
                happened("put down");
            }
            (b'X', None) => {
                if let Some(item) = self.items[at].take() {
                    self.cooks[player].holds = Some(item);
                    happened("picked up");
                }
            }
            (b'O', None) => self.cooks[player].holds = Some(Item::Onion),
            (b'T', None) => self.cooks[player].holds = Some(Item::Tomato),
            (b'D', None) => {
                let dish = |item: &Option<Item>| *item == Some(Item::Dish);
                let lying = cells.iter().zip(&self.items);
                let lying = lying.filter(|(c, i)| **c == b'X' && dish(i)).count();
                let held = self.cooks.iter().filter(|c| dish(&c.holds)).count();
                if lying == 0 && held < busy {
                    paid.shaped[player] += 3;
                }
                self.cooks[player].holds = Some(Item::Dish);
            }
            (b'P', _) => {
                let pot = &mut self.items[at];
                match (holds, pot.as_mut()) {
                    (None, Some(Item::Soup(soup)))
                        if dynamics == Dynamics::New
                            && soup.tick.is_none()
                            && soup.mix != [0, 0] =>
                    {
                        soup.tick = Some(0);
                        happened("cooking");
                    }
                    (Some(Item::Dish), Some(Item::Soup(soup))) if kitchen.ready(soup) => {
                        self.cooks[player].holds = pot.take();
                        paid.shaped[player] += 5;
                        happened("took soup");
                    }
                    (Some(item @ (Item::Onion | Item::Tomato)), _) => {
                        let fresh = Item::Soup(Soup {
                            mix: [0, 0],
                            tick: None,
                        });
                        let Item::Soup(soup) = pot.get_or_insert(fresh) else {
                            return;
                        };
                        if soup.tick.is_none() && soup.mix[0] + soup.mix[1] < FULL {
                            soup.mix[usize::from(item == Item::Tomato)] += 1;
                            self.cooks[player].holds = None;
                            paid.shaped[player] += 3;
                            happened("potted");
                        }
                    }
                    _ => {}
                }
            }
            (b'S', Some(Item::Soup(soup))) => {
                self.cooks[player].holds = None;
                paid.sparse[player] += kitchen.value(soup.mix);
                happened("delivered");
            }
            _ => {}
        }
    }
}
