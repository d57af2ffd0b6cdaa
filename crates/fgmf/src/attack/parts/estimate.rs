//! Gradients estimated from scores, and the way along them.

use crate::attack::ascent::{Look, Rule, Seen, Source, ascend, or_budget};
use crate::attack::base::{Candidate, Ending, images};
use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Scores;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_net::head::{Head, Margin};

/// Margins of points `[n, …]`.
pub(crate) fn margins(
    model: &dyn Scores,
    shape: &[usize],
    points: Vec<f32>,
    labels: &[usize],
) -> Result<Vec<f64>> {
    let logits = model.logits(&Tensor::new::<f32>(shape, points))?;
    Ok(Margin::new(labels)
        .evaluate(&logits.into(), 0..labels.len())
        .0)
}

/// How an estimate is made.
#[derive(Clone, Copy)]
pub(crate) struct Estimate {
    pub(crate) pairs: usize,
    pub(crate) sigma: f32,
    /// One value of a direction.
    pub(crate) draw: fn(&mut Stream) -> f32,
}

/// A gradient estimated from margins at pairs of points on both sides. The stream of a pair is that
/// of (seed, step · pairs + pair, example).
struct Estimated<'a> {
    model: &'a dyn Scores,
    batch: &'a Batch,
    how: Estimate,
    seed: u64,
}

impl Estimated<'_> {
    fn margins(&self, shape: &[usize], points: Vec<f32>, rows: &[usize]) -> Result<Vec<f64>> {
        let labels: Vec<usize> = rows.iter().map(|&i| self.batch.labels[i]).collect();
        margins(self.model, shape, points, &labels)
    }
}

impl Source for Estimated<'_> {
    fn look(&self, x: &Tensor, rows: &[usize], _: bool) -> Result<Look> {
        let losses = self.margins(x.shape(), x.to_f32(), rows)?;
        Ok(Look {
            broken: losses.iter().map(|m| *m >= 0.0).collect(),
            losses,
            slopes: None,
        })
    }

    fn slopes(&self, x: &Tensor, rows: &[usize], step: usize) -> Result<Vec<f32>> {
        let Estimate { pairs, sigma, draw } = self.how;
        let points = x.values::<f32>();
        let size = points.len() / rows.len();
        let mut g = vec![0.0f32; points.len()];
        for pair in 0..pairs {
            let round = (step * pairs + pair) as u64;
            let direction = |&i: &usize| {
                let index = self.batch.index[i];
                let mut rng = Stream::new(self.seed, Purpose::AttackStep, round, index);
                (0..size).map(|_| draw(&mut rng)).collect::<Vec<f32>>()
            };
            let u: Vec<f32> = rows.iter().flat_map(direction).collect();
            let moved = |side: f32| {
                let both = points.iter().zip(&u);
                both.map(|(x, u)| x + side * sigma * u)
                    .collect::<Vec<f32>>()
            };
            let up = self.margins(x.shape(), moved(1.0), rows)?;
            let down = self.margins(x.shape(), moved(-1.0), rows)?;
            let rises = up.iter().zip(&down);
            let directions = g.chunks_exact_mut(size).zip(u.chunks_exact(size));
            for ((up, down), (g, u)) in rises.zip(directions) {
                let weight = ((up - down) / (2.0 * f64::from(sigma) * pairs as f64)) as f32;
                g.iter_mut().zip(u).for_each(|(g, u)| *g += weight * u);
            }
        }
        Ok(g)
    }
}

/// One example of the search.
struct Followed<'a> {
    origin: &'a [f32],
    memory: Memory,
    x: Vec<f32>,
    kept: Kept,
    ending: Ending,
}

/// Running means of the estimates and of their squares, for attacks that keep them.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) mean: Vec<f32>,
    pub(crate) square: Vec<f32>,
}

/// How an attack moves a point: (step, image, memory, estimate, point).
pub(crate) type Move<'a> = dyn Fn(usize, &[f32], &mut Memory, &mut [f32], &mut [f32]) + Sync + 'a;

struct Following<'a> {
    threat: &'a ThreatModel,
    settles: bool,
    advance: &'a Move<'a>,
}

impl Rule<Followed<'_>> for Following<'_> {
    fn judge(&self, state: &mut Followed<'_>, point: &[f32], seen: Seen) -> bool {
        let worth = (seen.broken, seen.loss);
        state.kept.offer(self.threat, state.origin, point, worth);
        if seen.broken && self.settles {
            state.ending = Ending::Converged;
        } else if !seen.loss.is_finite() {
            state.ending = Ending::NonFinite;
        }
        state.ending == Ending::StepsExhausted
    }

    fn advance(
        &self,
        state: &mut Followed<'_>,
        point: &mut [f32],
        slope: &mut [f32],
        step: usize,
    ) -> bool {
        (self.advance)(step, state.origin, &mut state.memory, slope, point);
        state.x.copy_from_slice(point);
        true
    }
}

/// Moves points along estimates until they are adversarial.
pub(crate) fn follow(
    model: &dyn Scores,
    batch: &Batch,
    (steps, how, seed): (usize, Estimate, u64),
    threat: &ThreatModel,
    advance: &Move<'_>,
) -> Result<Candidate> {
    let clean = batch.x.to_f32();
    let size = (clean.len() / batch.len().max(1)).max(1);
    let fresh = |origin| Followed {
        origin,
        memory: Memory::default(),
        x: <[f32]>::to_vec(origin),
        kept: Kept::new(model),
        ending: Ending::StepsExhausted,
    };
    let mut states: Vec<Followed<'_>> = clean.chunks_exact(size).map(fresh).collect();
    let source = Estimated {
        model,
        batch,
        how,
        seed,
    };
    let rule = Following {
        threat,
        settles: model.settles(),
        advance,
    };
    let (rows, starts): (Vec<usize>, _) = ((0..batch.len()).collect(), clean.clone());
    let search = ascend(
        &source,
        &rule,
        batch.x.shape(),
        steps,
        &rows,
        starts,
        &mut states,
    );
    let endings = states.iter_mut().map(|s| &mut s.ending);
    or_budget(search, endings, |e| e == Ending::StepsExhausted)?;
    let endings = states.iter().map(|s| s.ending).collect();
    let points: Vec<Vec<f32>> = states
        .into_iter()
        .map(|s| s.kept.point().unwrap_or(s.x))
        .collect();
    Ok(Candidate {
        x: images(batch, points.iter().map(Vec::as_slice)),
        endings,
    })
}
