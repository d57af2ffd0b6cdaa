//! Random search over place and content of patches, by scores alone (Sparse-RS, Croce et al. 2022).
//!
//! A patch starts at a random place with a value of `a` or `b` for each channel, the bounds. Each
//! query changes one patch:
//!
//! - every fifth query moves it by up to a share of the image that falls from 1 to one pixel;
//! - the others set a square of it to `a` or `b`, each channel its own. The side of the square
//!   falls from that of the patch to one pixel.
//!
//! A change is kept unless the margin max_{i≠y} z_i − z_y falls. Both shares fall linearly with
//! the queries.
//!
//! Cost: at most `queries` + 1 passes an example and restart.
//!
//! Differences from the paper's code: (1) the schedules are linear; (2) a move keeps the content.

use crate::attack::base::{Seed, images};
use crate::attack::patch::base::{PatchAttack, PatchCandidate};
use crate::attack::patch::start::{Patched, margins};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::{Gradients, Scores};
use crate::record::Rectangle;
use crate::rng::{Purpose, Stream};
use crate::threat::PatchThreat;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// Settings of [`PatchSearch`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `queries` | 1000 | 1 to 10,000,000 |
/// | `restarts` | 1 | 1 to 10,000 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchSearchParams {
    /// Changes tried, after the start.
    pub queries: usize,
    /// Searches.
    pub restarts: usize,
}

impl Default for PatchSearchParams {
    fn default() -> Self {
        Self {
            queries: 1000,
            restarts: 1,
        }
    }
}

impl PatchSearchParams {
    /// The checked attack.
    pub fn check(self) -> Result<PatchSearch> {
        if !(1..=10_000_000).contains(&self.queries) {
            return Err(Error::parameter("queries", "1 to 10000000", self.queries));
        }
        if !(1..=10_000).contains(&self.restarts) {
            return Err(Error::parameter("restarts", "1 to 10000", self.restarts));
        }
        Ok(PatchSearch { params: self })
    }
}

/// Checked random search of patches.
#[derive(Clone, Debug)]
pub struct PatchSearch {
    params: PatchSearchParams,
}

/// Every so many queries a patch moves.
const MOVES: usize = 5;

/// One example on its way: each patch has a place and its content, `[c, height, width]`.
struct PatchWalk<'a> {
    origin: &'a [f32],
    size: [usize; 2],
    threat: &'a PatchThreat,
    draws: Stream,
}

/// Places and contents of the patches.
type Patches = Vec<(Rectangle, Vec<f32>)>;

impl PatchWalk<'_> {
    fn extreme(&mut self) -> f32 {
        let [lo, hi] = self.threat.bounds();
        (if self.draws.sign() > 0.0 { hi } else { lo }) as f32
    }

    fn channels(&self) -> usize {
        self.origin.len() / (self.size[0] * self.size[1])
    }

    fn start(&mut self) -> Patches {
        let area: usize = self.threat.size().iter().product();
        (0..self.threat.count())
            .map(|_| {
                let place = self.threat.random_place(self.size, &mut self.draws);
                let content = (0..self.channels()).flat_map(|_| vec![self.extreme(); area]);
                (place, content.collect())
            })
            .collect()
    }

    /// A change of one patch, when a share `left` of the queries is ahead.
    fn propose(&mut self, mut patches: Patches, query: usize, left: f64) -> Patches {
        let which = self.draws.below(patches.len() as u64) as usize;
        let (place, content) = &mut patches[which];
        if query.is_multiple_of(MOVES) {
            let mut moved = |start: usize, side: usize, patch: usize| {
                let reach = ((left * side as f64) as u64).max(1);
                let by = self.draws.below(2 * reach + 1) as isize - reach as isize;
                start.saturating_add_signed(by).min(side - patch)
            };
            place.top = moved(place.top, self.size[0], place.height);
            place.left = moved(place.left, self.size[1], place.width);
        } else {
            let shorter = place.height.min(place.width);
            let side = ((left * shorter as f64).ceil() as usize).clamp(1, shorter);
            let [height, width] = [place.height, place.width];
            let top = self.draws.below((height - side + 1) as u64) as usize;
            let first = self.draws.below((width - side + 1) as u64) as usize;
            for plane in content.chunks_exact_mut(height * width) {
                let value = self.extreme();
                for line in plane.chunks_exact_mut(width).skip(top).take(side) {
                    line[first..first + side].fill(value);
                }
            }
        }
        patches
    }

    /// The image with its patches; a later patch lies over an earlier one.
    fn point(&self, patches: &Patches) -> Patched {
        let [h, w] = self.size;
        let mut x = self.origin.to_vec();
        for (place, content) in patches {
            let lines = content.chunks_exact(place.width).enumerate();
            for (i, line) in lines {
                let (channel, row) = (i / place.height, place.top + i % place.height);
                x[(channel * h + row) * w..][place.columns()].copy_from_slice(line);
            }
        }
        Patched {
            x,
            places: patches.iter().map(|(place, _)| *place).collect(),
        }
    }
}

impl PatchSearch {
    /// Searches one example.
    fn search(
        &self,
        model: &dyn Scores,
        one: &Batch,
        walk: &mut PatchWalk<'_>,
        best: &mut (f32, Patched),
    ) -> Result<()> {
        let margin = |point: &Patched| -> Result<f32> {
            let logits = model.logits(&images(one, std::iter::once(&point.x[..])))?;
            Ok(margins(&logits, &one.labels)[0])
        };
        let mut here = walk.start();
        let mut at = margin(&walk.point(&here))?;
        for query in 0..self.params.queries {
            if at > best.0 {
                *best = (at, walk.point(&here));
            }
            if best.0 >= 0.0 && model.settles() {
                return Ok(());
            }
            let left = 1.0 - query as f64 / self.params.queries as f64;
            let tried = walk.propose(here.clone(), query, left);
            let found = margin(&walk.point(&tried))?;
            if found >= at {
                (here, at) = (tried, found);
            }
        }
        if at > best.0 {
            *best = (at, walk.point(&here));
        }
        Ok(())
    }
}

impl PatchAttack for PatchSearch {
    fn id(&self) -> &'static str {
        "patch-search"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &PatchThreat,
        seed: Seed,
    ) -> Result<PatchCandidate> {
        let [_, h, w] = model.image_shape();
        let (mut x, mut places) = (Vec::with_capacity(batch.x.len()), Vec::new());
        for i in 0..batch.len() {
            let one = batch.select(&[i]);
            let origin = one.x.to_f32();
            let unpatched = Patched {
                x: origin.clone(),
                places: Vec::new(),
            };
            let mut best = (f32::NEG_INFINITY, unpatched);
            for restart in 0..self.params.restarts as u64 {
                let purpose = Purpose::AttackStep;
                let mut walk = PatchWalk {
                    origin: &origin,
                    size: [h, w],
                    threat,
                    draws: Stream::new(seed.value(), purpose, restart, one.index[0]),
                };
                self.search(model, &one, &mut walk, &mut best)?;
                if best.0 >= 0.0 && model.settles() {
                    break;
                }
            }
            x.extend(best.1.x);
            places.push(best.1.places);
        }
        Ok(PatchCandidate {
            x: Tensor::new(batch.x.shape(), x),
            places,
        })
    }
}
