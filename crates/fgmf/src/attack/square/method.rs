//! Square Attack (Andriushchenko et al. 2020): random search over square patches, scores only.
//!
//! From a start of stripes (Linf) or of tiles (L2, L1) each query changes one square window of the
//! perturbation and keeps the change if the margin z_y − max_{i≠y} z_i falls. The window covers a
//! share p of the image, from `p` down: p is halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000
//! and 8000 queries.
//!
//! - Linf: each channel of the window moves by 2 eps one way or the other, cut to the ball.
//! - L2, L1: a second window gives up its part of the perturbation; the first gets the bump η (two
//!   halves of opposite sign, each falling off in squares from its middle as 1/r² for L2, 1/r⁴ for
//!   L1) plus its own direction, scaled to what both windows held and what the ball has left
//!   (`square_window.rs`).
//!
//! A model that serves maps beside its scores ([`Scores::shows_maps`]) is asked about the image
//! itself first. The map of the best point so far then guides the search, in three ways that are
//! drawn by what they gained lately: not at all; windows drawn by the map's magnitude that they
//! cover; such windows in which, for Linf, each pixel moves against the map's sign. A map that is
//! the same everywhere guides nothing.
//!
//! Cost: at most `queries + 1` forward passes an example and restart, one more where maps are
//! served.
//!
//! Differences from the paper's code: (1) windows and signs are drawn for each example (there: for
//! each batch); (2) windows may touch the last row and column, as in the paper (there: not); (3)
//! the guidance by maps is ours, after `quan2022`.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Ending, Seed, SuiteName, images,
};
use crate::attack::parts::hint::{Hint, HintWay, Ways};
use crate::attack::square::window::{accumulate, start, window_side};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::{Scores, ShownAnswer};
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
use fgmf_net::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "square",
    line: "Changes random squares and keeps what lowers the margin.",
    revision: 1,
    reference: "andriushchenko2020",
    example: r#"{"queries": 30, "restarts": 2}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::Black(Box::new(
                read::<SquareParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "square",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`Square`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `queries` | 5000 | 1 to 10,000,000 |
/// | `restarts` | 1 | 1 to 10,000 |
/// | `p` | 0.8 | above 0, up to 1 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SquareParams {
    /// Changes tried, after the start.
    pub queries: usize,
    /// Searches.
    pub restarts: usize,
    /// Share of the image that the first windows cover.
    pub p: f64,
}

impl Default for SquareParams {
    fn default() -> Self {
        Self {
            queries: 5000,
            restarts: 1,
            p: 0.8,
        }
    }
}

impl SquareParams {
    /// The checked attack.
    pub fn check(self) -> Result<Square> {
        if !(1..=10_000_000).contains(&self.queries) {
            return Err(Error::parameter("queries", "1 to 10000000", self.queries));
        }
        if !(1..=10_000).contains(&self.restarts) {
            return Err(Error::parameter("restarts", "1 to 10000", self.restarts));
        }
        if !(self.p > 0.0 && self.p <= 1.0) {
            return Err(Error::parameter("p", "above 0, up to 1", self.p));
        }
        Ok(Square { params: self })
    }
}

/// Checked Square Attack.
#[derive(Clone, Debug)]
pub struct Square {
    params: SquareParams,
}

/// Share of the image that the window of a query (from 0) covers.
fn share(p: f64, query: usize) -> f64 {
    const HALVED_AFTER: [usize; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];
    HALVED_AFTER
        .iter()
        .filter(|&&q| query > q)
        .fold(p, |p, _| p / 2.0)
}

/// One example on its way.
struct SquareSearch<'a> {
    row: usize,
    origin: &'a [f32],
    rng: Stream,
    best: Vec<f32>,
    margin: f32,
    /// The map of the best point, if it says anything.
    hint: Option<Hint>,
    ways: Ways,
    /// The way of the last proposal, if there was a hint.
    way: Option<HintWay>,
}

impl SquareSearch<'_> {
    /// The point that query `query` tries, written to `out`.
    fn propose(&mut self, out: &mut [f32], image: [usize; 3], p: f64, threat: &ThreatModel) {
        let [_, h, w] = image;
        out.copy_from_slice(&self.best);
        let side = window_side(p, h, w, threat.norm());
        self.way = self.hint.as_ref().map(|_| self.ways.draw(&mut self.rng));
        let guide = self
            .hint
            .as_ref()
            .filter(|_| self.way != Some(HintWay::Blind));
        let place = |rng: &mut Stream| {
            (
                rng.below((h - side + 1) as u64) as usize,
                rng.below((w - side + 1) as u64) as usize,
            )
        };
        let (top, left) = match guide {
            Some(hint) => hint.place(side, &mut self.rng),
            None => place(&mut self.rng),
        };
        if threat.norm() == Norm::Linf {
            let signs = guide.filter(|_| self.way == Some(HintWay::Against));
            for channel in out.chunks_exact_mut(h * w) {
                let change = (2.0 * threat.eps()) as f32 * self.rng.sign();
                let lines = channel.chunks_exact_mut(w).enumerate();
                for (row, line) in lines.skip(top).take(side) {
                    let window = line[left..left + side].iter_mut();
                    match signs {
                        None => window.for_each(|v| *v += change),
                        Some(hint) => {
                            let map = &hint.map()[row * w + left..];
                            window.zip(map).for_each(|(v, m)| *v += against(*m, change));
                        }
                    }
                }
            }
            return threat.project(self.origin, out);
        }
        let given_up = place(&mut self.rng);
        out.iter_mut().zip(self.origin).for_each(|(v, &o)| *v -= o);
        accumulate(
            out,
            image,
            side,
            (top, left),
            given_up,
            threat,
            &mut self.rng,
        );
        finish(self.origin, out, threat);
    }
}

/// A change of this size against the sign of a map; the change itself where the map is 0.
fn against(map: f32, change: f32) -> f32 {
    if map.abs() > 0.0 {
        -change.abs().copysign(map)
    } else {
        change
    }
}

/// A perturbation made a point: L2 stretches or shrinks it to the radius first.
fn finish(origin: &[f32], delta: &mut [f32], threat: &ThreatModel) {
    let scale = match threat.norm() {
        Norm::L2 => {
            (threat.eps() / Norm::L2.of(delta.iter().map(|&v| f64::from(v))).max(1e-12)) as f32
        }
        Norm::Linf | Norm::L1 => 1.0,
    };
    delta
        .iter_mut()
        .zip(origin)
        .for_each(|(v, &o)| *v = o + *v * scale);
    threat.project(origin, delta);
}

/// z_y − max_{i≠y} z_i of each row; a row that is not finite is as good as broken.
fn margins(logits: &Tensor, labels: impl Iterator<Item = usize>) -> Vec<f32> {
    let k = logits.shape()[1];
    let margin =
        |(z, y): (&[f32], usize)| {
            let other = z.iter().enumerate().filter(|(i, _)| *i != y).fold(
                f32::NEG_INFINITY,
                |m, (_, &v)| if v.is_nan() { v } else { m.max(v) },
            );
            let margin = z[y] - other;
            if margin.is_nan() {
                f32::NEG_INFINITY
            } else {
                margin
            }
        };
    logits
        .values::<f32>()
        .chunks_exact(k)
        .zip(labels)
        .map(margin)
        .collect()
}

impl Square {
    fn search(
        &self,
        model: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        standing: &mut Vec<SquareSearch<'_>>,
        done: &mut Vec<(usize, Vec<f32>)>,
    ) -> Result<()> {
        let image = model.image_shape();
        let size: usize = image.iter().product();
        let mut shape = batch.x.shape().to_vec();
        if model.shows_maps() {
            let clean = images(batch, standing.iter().map(|s| s.origin));
            let all: Vec<usize> = (0..standing.len()).collect();
            take_hints(&model.answered(&clean)?, &all, standing, image)?;
        }
        for query in 0..=self.params.queries {
            if standing.is_empty() {
                break;
            }
            let mut points = vec![0.0; standing.len() * size];
            standing
                .par_iter_mut()
                .zip(points.par_chunks_exact_mut(size))
                .for_each(|(search, out)| match query {
                    0 => {
                        start(out, image, threat, &mut search.rng);
                        finish(search.origin, out, threat);
                    }
                    _ => search.propose(out, image, share(self.params.p, query - 1), threat),
                });
            shape[0] = standing.len();
            let x = Tensor::new(&shape, points);
            let answer = model.answered(&x)?;
            let labels = standing.iter().map(|s| batch.labels[s.row]);
            let found = margins(&answer.logits, labels);
            let mut kept = Vec::new();
            let points = x.values::<f32>();
            for (i, ((search, margin), point)) in standing
                .iter_mut()
                .zip(found)
                .zip(points.chunks_exact(size))
                .enumerate()
            {
                let better = query == 0 || margin < search.margin;
                if let Some(way) = search.way {
                    let gain = if better { search.margin - margin } else { 0.0 };
                    search.ways.learn(way, f64::from(gain));
                }
                if better {
                    search.margin = margin;
                    search.best.copy_from_slice(point);
                    kept.push(i);
                }
            }
            // What is broken needs no map.
            kept.retain(|&i| standing[i].margin > 0.0 || !model.settles());
            take_hints(&answer, &kept, standing, image)?;
            if !model.settles() {
                continue;
            }
            done.extend(
                standing
                    .extract_if(.., |s| s.margin <= 0.0)
                    .map(|s| (s.row, s.best)),
            );
        }
        Ok(())
    }
}

/// Gives these searches the maps that came with the answer to their points; what had a map keeps it
/// where none came.
fn take_hints(
    answer: &ShownAnswer<'_>,
    rows: &[usize],
    standing: &mut [SquareSearch<'_>],
    [_, h, w]: [usize; 3],
) -> Result<()> {
    let Some(look) = &answer.maps else {
        return Ok(());
    };
    for (&i, map) in rows.iter().zip(look(rows)?) {
        standing[i].hint = Hint::new(map, [h, w]);
    }
    Ok(())
}

impl BlackBox for Square {
    fn id(&self) -> &'static str {
        "square"
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
        let origin = |row: usize| &clean[row * size..(row + 1) * size];
        let mut best: Vec<Vec<f32>> = clean.chunks_exact(size).map(<[f32]>::to_vec).collect();
        let mut reached = vec![f32::INFINITY; batch.len()];
        let mut endings = vec![Ending::StepsExhausted; batch.len()];
        for restart in 0..self.params.restarts {
            let fresh = |row: usize| SquareSearch {
                row,
                origin: origin(row),
                rng: Stream::new(seed, Purpose::AttackStep, restart as u64, batch.index[row]),
                best: origin(row).to_vec(),
                margin: f32::INFINITY,
                hint: None,
                ways: Ways::default(),
                way: None,
            };
            let rows = (0..batch.len()).filter(|&row| endings[row] == Ending::StepsExhausted);
            let mut standing: Vec<SquareSearch<'_>> = rows.map(fresh).collect();
            let mut done = Vec::new();
            let ended = self.search(model, batch, threat, &mut standing, &mut done);
            for search in standing {
                // Of a model that one answer does not settle, the best of all restarts is kept.
                if model.settles() || search.margin < reached[search.row] {
                    reached[search.row] = search.margin;
                    best[search.row] = search.best;
                }
                if matches!(ended, Err(Error::Budget { .. })) {
                    endings[search.row] = Ending::BudgetExhausted;
                }
            }
            for (row, point) in done {
                best[row] = point;
                endings[row] = Ending::Converged;
            }
            match ended {
                Err(Error::Budget { .. }) => break,
                other => other?,
            }
        }
        for (ending, margin) in endings.iter_mut().zip(reached) {
            if margin <= 0.0 {
                *ending = Ending::Converged;
            }
        }
        Ok(Candidate {
            x: images(batch, best.iter().map(Vec::as_slice)),
            endings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's values at both sides of each change.
    #[test]
    fn schedule_of_the_window() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/autoattack/exact.json"
        );
        let file: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let expected: Vec<(usize, f64)> = serde_json::from_value(file["schedule"].clone()).unwrap();
        assert!(expected.len() >= 19);
        for (query, p) in expected {
            assert!(
                (share(0.8, query) - p).abs() < 1e-12,
                "{query}: {} for {p}",
                share(0.8, query)
            );
        }
    }
}
