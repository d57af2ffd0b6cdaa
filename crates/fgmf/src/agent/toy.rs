//! A team whose best play is known: each agent sees one mark, and is paid for naming its cell.

use crate::agent::base::{
    AgentSpec, Environment, PlaneKind, TeamEvent, Transition, ViewPlane, after_the_end,
};
use crate::agent::numpy::NumpyGenerator;
use crate::error::{Error, Result};
use crate::record::SceneRecord;
use fgmf_net::{Precision, Session};

static PLANES: [ViewPlane; 3] = [
    ViewPlane {
        name: "floor",
        scale: 1.0,
        kind: PlaneKind::Fixed,
    },
    ViewPlane {
        name: "mark",
        scale: 1.0,
        kind: PlaneKind::Entity,
    },
    ViewPlane {
        name: "stain",
        scale: 1.0,
        kind: PlaneKind::Entity,
    },
];

static ACTIONS: [&str; 4] = ["first", "second", "third", "fourth"];

/// Two agents look at one floor of two by two cells. A mark lies on one cell and a stain, of no
/// meaning, on another one. An agent that names the cell of the mark is paid 1. Both are drawn anew
/// at each step. An episode has 8 steps: the best return is 8, that of random play 2.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    draws: NumpyGenerator,
    mark: usize,
    stain: usize,
    time: u32,
    spec: AgentSpec,
}

impl Marks {
    pub(crate) fn new(seed: u64) -> Self {
        let mut out = Self {
            draws: NumpyGenerator::new(seed),
            mark: 0,
            stain: 0,
            time: 0,
            spec: AgentSpec {
                id: "marks".into(),
                agents: 2,
                actions: &ACTIONS,
                view: [3, 2, 2],
                world: [2, 2],
                planes: &PLANES,
                horizon: 8,
                noop: 0,
            },
        };
        out.reset(None);
        out
    }

    pub(crate) fn make() -> Result<Box<dyn Environment>> {
        Ok(Box::new(Self::new(0)))
    }

    fn draw(&mut self) {
        self.mark = self.draws.integers(0, 4) as usize;
        self.stain = (self.mark + 1 + self.draws.integers(0, 3) as usize) % 4;
    }
}

impl Environment for Marks {
    fn spec(&self) -> &AgentSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) {
        if let Some(seed) = seed {
            self.draws = NumpyGenerator::new(seed);
        }
        self.time = 0;
        self.draw();
    }

    fn step(&mut self, actions: &[usize]) -> Result<Transition> {
        self.spec.check(actions)?;
        if self.time >= self.spec.horizon {
            return Err(after_the_end());
        }
        let right: Vec<bool> = actions.iter().map(|&a| a == self.mark).collect();
        self.time += 1;
        self.draw();
        let event = |(agent, _): (usize, &bool)| TeamEvent {
            what: "named",
            agent,
        };
        Ok(Transition {
            rewards: right.iter().map(|&r| f64::from(u8::from(r))).collect(),
            shaped: vec![0.0; 2],
            terminated: self.time >= self.spec.horizon,
            truncated: false,
            events: right
                .iter()
                .enumerate()
                .filter(|(_, r)| **r)
                .map(event)
                .collect(),
        })
    }

    fn observe(&self, _: usize, out: &mut [u8]) {
        out.fill(0);
        out[..4].fill(1);
        out[4 + self.mark] = 1;
        out[8 + self.stain] = 1;
    }

    fn placement(&self, _: usize, cell: [usize; 2]) -> Option<[usize; 2]> {
        Some(cell)
    }

    fn scene(&self) -> SceneRecord {
        SceneRecord::default()
    }

    fn save(&self) -> Vec<u8> {
        let mut out = self.draws.save();
        out.extend([self.mark as u8, self.stain as u8, self.time as u8]);
        out
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        match bytes {
            [draws @ .., mark, stain, time] if *mark < 4 && *stain < 4 => {
                self.draws = NumpyGenerator::load(draws)?;
                self.mark = usize::from(*mark);
                self.stain = usize::from(*stain);
                self.time = u32::from(*time);
                Ok(())
            }
            _ => Err(Error::mismatch("load", "a state of marks", bytes.len())),
        }
    }
}

/// The best policy: the score of an action is its cell of the plane of marks, times `slope`.
pub(crate) fn best_policy(slope: f64) -> Session {
    let row = |j: usize| {
        let weight = |i: usize| if i == 4 + j { slope } else { 0.0 };
        (0..12).map(weight).collect()
    };
    let rows: Vec<Vec<f64>> = (0..4).map(row).collect();
    let net = fgmf_testkit::toys::linear(&rows, &[0.0; 4], [3, 2, 2]);
    net.cast(Precision::F32)
}
