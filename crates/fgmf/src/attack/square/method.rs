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
//! Cost: at most `queries + 1` forward passes an example and restart.
//!
//! Differences from the paper's code: (1) windows and signs are drawn for each example (there: for
//! each batch); (2) windows may touch the last row and column, as in the paper (there: not).

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Ending, Seed, SuiteName, images,
};
use crate::attack::square::window::{accumulate, start, window_side};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Scores;
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
}

impl SquareSearch<'_> {
    /// The point that query `query` tries, written to `out`.
    fn propose(&mut self, out: &mut [f32], image: [usize; 3], p: f64, threat: &ThreatModel) {
        let [_, h, w] = image;
        out.copy_from_slice(&self.best);
        let side = window_side(p, h, w, threat.norm());
        let mut place = || {
            (
                self.rng.below((h - side + 1) as u64) as usize,
                self.rng.below((w - side + 1) as u64) as usize,
            )
        };
        let (top, left) = place();
        if threat.norm() == Norm::Linf {
            for channel in out.chunks_exact_mut(h * w) {
                let change = (2.0 * threat.eps()) as f32 * self.rng.sign();
                for line in channel.chunks_exact_mut(w).skip(top).take(side) {
                    line[left..left + side]
                        .iter_mut()
                        .for_each(|v| *v += change);
                }
            }
            return threat.project(self.origin, out);
        }
        let given_up = place();
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
            let found = margins(
                &model.logits(&x)?,
                standing.iter().map(|s| batch.labels[s.row]),
            );
            let points = x.values::<f32>();
            for ((search, margin), point) in standing
                .iter_mut()
                .zip(found)
                .zip(points.chunks_exact(size))
            {
                if query == 0 || margin < search.margin {
                    search.margin = margin;
                    search.best.copy_from_slice(point);
                }
            }
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
