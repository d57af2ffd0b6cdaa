//! An evolution strategy on a coarse grid (Meunier et al. 2019): random mutations of tiles, scores
//! only, no gradient anywhere.
//!
//! The perturbation is z, one number a tile and channel, spread over the tiles: x = Π(x₀ + s z↑),
//! with s the change of every pixel that the ball allows (eps for Linf, eps / √d for L2, eps / d
//! for L1). A (1+1) strategy: z' = z + σ u, u standard normal, is kept if the margin max_{i≠y} z_i
//! − z_y does not fall; σ doubles where it is kept and shrinks by 2^(1/4) where not (one-fifth
//! rule), from 1.
//!
//! A model that serves maps beside its scores ([`Scores::shows_maps`]) is asked about the image
//! itself first. The map of the parent, averaged over tiles, then guides mutations in three ways
//! that are drawn by what they gained lately: not at all; with tiles scaled by √(½ + ½ |m| / mean
//! |m|); so, and with the signs of −m. Each way has a σ of its own. A map that is the same
//! everywhere guides nothing.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `queries` | 5000 | 1 to 10,000,000 |
//! | `tile` | 4 | side of a tile in pixels, 1 or more |
//!
//! Cost: at most `queries` forward passes an example, one more where maps are served.
//!
//! Differences from the paper: (1) z is cut to the ball after each kept mutation (for Linf to [−1,
//! 1]) where the paper sends it through tanh, so that every norm has one form; (2) the margin in
//! place of the loss; (3) the guidance by maps is ours, after `quan2022`. Reference:
//! `meunier2019`.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Ending, Seed, SuiteName, images,
};
use crate::attack::parts::estimate::margins_of;
use crate::attack::parts::hint::{Hint, HintWay, Ways, scales};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::{Scores, ShownAnswer};
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "evolution",
    line: "Mutates tiles of the image and keeps what scores better.",
    revision: 1,
    reference: "meunier2019",
    example: r#"{"queries": 30, "tile": 2}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::Black(Box::new(
                read::<EvolutionParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "evolution",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`Evolution`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvolutionParams {
    /// Mutations tried.
    pub queries: usize,
    /// Side of a tile in pixels.
    pub tile: usize,
}

impl Default for EvolutionParams {
    fn default() -> Self {
        Self {
            queries: 5000,
            tile: 4,
        }
    }
}

impl EvolutionParams {
    /// The checked attack.
    pub fn check(self) -> Result<Evolution> {
        if !(1..=10_000_000).contains(&self.queries) {
            return Err(Error::parameter("queries", "1 to 10000000", self.queries));
        }
        if self.tile == 0 {
            return Err(Error::parameter("tile", "1 or more", self.tile));
        }
        Ok(Evolution { params: self })
    }
}

/// Checked evolution strategy.
#[derive(Clone, Debug)]
pub struct Evolution {
    params: EvolutionParams,
}

/// Tiles over an image, and what a unit of z is worth.
#[derive(Clone, Copy)]
struct TileGrid {
    image: [usize; 3],
    tile: usize,
    unit: f32,
}

impl TileGrid {
    fn new(image: [usize; 3], tile: usize, threat: &ThreatModel) -> Self {
        let whole = threat
            .norm()
            .of(std::iter::repeat_n(1.0, image.iter().product()));
        Self {
            image,
            tile,
            unit: (threat.eps() / whole) as f32,
        }
    }

    fn tiles(&self) -> usize {
        let [c, h, w] = self.image;
        c * h.div_ceil(self.tile) * w.div_ceil(self.tile)
    }

    /// s z↑.
    fn spread(&self, z: &[f32]) -> Vec<f32> {
        let [c, h, w] = self.image;
        let (rows, columns) = (h.div_ceil(self.tile), w.div_ceil(self.tile));
        let at = |i: usize| {
            let (channel, row, column) = (i / (h * w), i / w % h, i % w);
            self.unit * z[(channel * rows + row / self.tile) * columns + column / self.tile]
        };
        (0..c * h * w).map(at).collect()
    }

    /// Means of a map over the tiles, as often as there are channels.
    fn means(&self, map: &[f32]) -> Vec<f32> {
        let [c, h, w] = self.image;
        let (rows, columns) = (h.div_ceil(self.tile), w.div_ceil(self.tile));
        let (mut sums, mut counts) = (vec![0.0f32; rows * columns], vec![0.0f32; rows * columns]);
        for (i, v) in map.iter().enumerate() {
            let at = i / w / self.tile * columns + i % w / self.tile;
            sums[at] += v;
            counts[at] += 1.0;
        }
        let means = sums.iter().zip(counts).map(|(s, n)| s / n.max(1.0));
        let means: Vec<f32> = means.collect();
        means.repeat(c)
    }

    /// Brings z to where its perturbation is in the ball.
    fn cut(&self, z: &mut [f32], threat: &ThreatModel) {
        if threat.norm() == Norm::Linf {
            return z.iter_mut().for_each(|v| *v = v.clamp(-1.0, 1.0));
        }
        let length = threat.norm().of(self.spread(z).into_iter().map(f64::from));
        if length > threat.eps() {
            let scale = (threat.eps() / length) as f32;
            z.iter_mut().for_each(|v| *v *= scale);
        }
    }
}

/// One example of the search.
struct Parent<'a> {
    row: usize,
    origin: &'a [f32],
    z: Vec<f32>,
    /// σ by [`HintWay`]; without a hint the first.
    sigma: [f32; 3],
    x: Vec<f32>,
    margin: f64,
    /// Means of its map over the tiles, and the scales of draws by them.
    hint: Option<(Vec<f32>, Vec<f32>)>,
    ways: Ways,
}

/// One child: what its tiles are, its image, and the way in which it was drawn, if there was a
/// hint.
struct Mutant {
    z: Vec<f32>,
    x: Vec<f32>,
    way: Option<HintWay>,
}

impl Parent<'_> {
    /// σ u, by the way.
    fn mutation(&self, way: Option<HintWay>, rng: &mut Stream) -> Vec<f32> {
        let sigma = self.sigma[way.unwrap_or(HintWay::Blind) as usize];
        let mut u: Vec<f32> = (0..self.z.len()).map(|_| sigma * rng.normal()).collect();
        let Some((means, scales)) = self.hint.as_ref().filter(|_| way != Some(HintWay::Blind))
        else {
            return u;
        };
        u.iter_mut().zip(scales).for_each(|(u, s)| *u *= s);
        if way == Some(HintWay::Against) {
            let signed = u.iter_mut().zip(means).filter(|(_, m)| m.abs() > 0.0);
            signed.for_each(|(u, m)| *u = -u.abs().copysign(*m));
        }
        u
    }
}

/// Gives these parents the maps that came with the answer to their images.
fn take_hints(
    answer: &ShownAnswer<'_>,
    rows: &[usize],
    parents: &mut [&mut Parent<'_>],
    grid: TileGrid,
) -> Result<()> {
    let Some(look) = &answer.maps else {
        return Ok(());
    };
    let [_, h, w] = grid.image;
    for (&i, map) in rows.iter().zip(look(rows)?) {
        let hint = Hint::new(map, [h, w]).map(|hint| grid.means(hint.map()));
        parents[i].hint = hint.map(|means| (means.clone(), scales(&means)));
    }
    Ok(())
}

impl Evolution {
    fn search(
        &self,
        model: &dyn Scores,
        task: (&Batch, &ThreatModel, u64),
        parents: &mut [Parent<'_>],
    ) -> Result<()> {
        let (batch, threat, seed) = task;
        let grid = TileGrid::new(model.image_shape(), self.params.tile, threat);
        let goes_on = !model.settles();
        if model.shows_maps() {
            let clean = images(batch, parents.iter().map(|p| p.origin));
            let mut all: Vec<&mut Parent<'_>> = parents.iter_mut().collect();
            let rows: Vec<usize> = (0..all.len()).collect();
            take_hints(&model.answered(&clean)?, &rows, &mut all, grid)?;
        }
        for query in 0..self.params.queries {
            let mut active: Vec<&mut Parent<'_>> = parents
                .iter_mut()
                .filter(|p| goes_on || p.margin < 0.0)
                .collect();
            if active.is_empty() {
                break;
            }
            let mutant = |p: &&mut Parent<'_>| {
                let mut rng =
                    Stream::new(seed, Purpose::AttackStep, query as u64, batch.index[p.row]);
                let way = p.hint.as_ref().map(|_| p.ways.draw(&mut rng));
                let steps = p.mutation(way, &mut rng);
                let mut z: Vec<f32> = p.z.iter().zip(steps).map(|(z, u)| z + u).collect();
                grid.cut(&mut z, threat);
                let mut x: Vec<f32> = p
                    .origin
                    .iter()
                    .zip(grid.spread(&z))
                    .map(|(o, d)| o + d)
                    .collect();
                threat.project(p.origin, &mut x);
                Mutant { z, x, way }
            };
            let mutants: Vec<Mutant> = active.iter().map(mutant).collect();
            let points = images(batch, mutants.iter().map(|m| m.x.as_slice()));
            let labels: Vec<usize> = active.iter().map(|p| batch.labels[p.row]).collect();
            let answer = model.answered(&points)?;
            let found = margins_of(&answer.logits, &labels);
            let mut kept = Vec::new();
            let children = active.iter_mut().zip(mutants).zip(found).enumerate();
            for (i, ((parent, Mutant { z, x, way }), margin)) in children {
                let better = margin >= parent.margin;
                if let Some(way) = way {
                    let gain = if better { margin - parent.margin } else { 0.0 };
                    parent.ways.learn(way, gain);
                }
                let sigma = &mut parent.sigma[way.unwrap_or(HintWay::Blind) as usize];
                if better {
                    *sigma = (2.0 * *sigma).min(2.0);
                    (parent.z, parent.x, parent.margin) = (z, x, margin);
                    // What is broken needs no map.
                    if goes_on || margin < 0.0 {
                        kept.push(i);
                    }
                } else {
                    *sigma *= 0.5f32.powf(0.25);
                }
            }
            take_hints(&answer, &kept, &mut active, grid)?;
        }
        Ok(())
    }
}

impl BlackBox for Evolution {
    fn id(&self) -> &'static str {
        "evolution"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        seed: Seed,
    ) -> Result<Candidate> {
        let seed = seed.value();
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len().max(1);
        let tiles = TileGrid::new(model.image_shape(), self.params.tile, threat).tiles();
        let fresh = |(row, origin): (usize, _)| {
            let x = <[f32]>::to_vec(origin);
            Parent {
                row,
                origin,
                z: vec![0.0; tiles],
                sigma: [1.0; 3],
                x,
                margin: f64::NEG_INFINITY,
                hint: None,
                ways: Ways::default(),
            }
        };
        let mut parents: Vec<Parent<'_>> =
            clean.chunks_exact(size).enumerate().map(fresh).collect();
        let spent = match self.search(model, (batch, threat, seed), &mut parents) {
            Err(Error::Budget { .. }) => true,
            other => other.map(|()| false)?,
        };
        let ending = |p: &Parent<'_>| match (p.margin >= 0.0, spent) {
            (true, _) => Ending::Converged,
            (false, true) => Ending::BudgetExhausted,
            (false, false) => Ending::StepsExhausted,
        };
        let endings = parents.iter().map(ending).collect();
        Ok(Candidate {
            x: images(batch, parents.iter().map(|p| p.x.as_slice())),
            endings,
        })
    }
}
