//! Gradients estimated from scores, and the way along them.
//!
//! Where a model serves maps beside its scores, the map m of the point is a prior, as in P-RGF
//! (Cheng et al. 2019, `cheng2019`). The first pairs of an estimate are spent along v₁ = m / ‖m‖
//! and along v₂, the part of the signs of m across v₁, of length 1. They give vᵢ·∇ up to the length
//! of the difference, whatever the sign or worth of m. The other Q pairs draw directions with the
//! scales of [`scales`]. With ĝ their estimate and ĝ⊥ its part across the vᵢ,
//!
//! g = Σᵢ (vᵢ·∇) vᵢ + c ĝ⊥, c = Q / (Q + D + 1), D = (Σ s²)² / Σ s⁴ over the scales s.
//!
//! c is the factor of least expected squared error for the mean of Q products of normal directions
//! in D dimensions. So a map across the gradient adds nothing, and a map along it is followed: what
//! P-RGF's λ* does with a cosine that is estimated by queries of its own. An estimate of one pair
//! has no v₂.

use crate::attack::ascent::{Look, Rule, Seen, Source, ascend, or_budget};
use crate::attack::base::{Candidate, Ending, images};
use crate::attack::parts::hint::{Hint, scales};
use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Scores;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_net::head::{Head, Margin};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Margins of points `[n, …]`.
pub(crate) fn margins(
    model: &dyn Scores,
    shape: &[usize],
    points: Vec<f32>,
    labels: &[usize],
) -> Result<Vec<f64>> {
    let logits = model.logits(&Tensor::new::<f32>(shape, points))?;
    Ok(margins_of(&logits, labels))
}

/// Margins of logits `[n, k]`.
pub(crate) fn margins_of(logits: &Tensor, labels: &[usize]) -> Vec<f64> {
    let margin = Margin::new(labels);
    margin.evaluate(&logits.clone().into(), 0..labels.len()).0
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
    /// What the maps of the last points say, one an example of the batch.
    priors: Mutex<Vec<Option<Prior>>>,
}

/// Most directions of a prior.
const ALONG: usize = 2;

/// A map as directions.
struct Prior {
    /// Of length 1 and across each other, one value a pixel and channel; one or two.
    along: Vec<Vec<f32>>,
    scales: Vec<f32>,
    /// D.
    dimensions: f64,
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

impl Prior {
    fn new(map: Vec<f32>, [c, h, w]: [usize; 3]) -> Option<Self> {
        let hint = Hint::new(map, [h, w])?;
        let scales = scales(hint.map()).repeat(c);
        let sign = |v: &f32| if v.abs() > 0.0 { v.signum() } else { 0.0 };
        let signs: Vec<f32> = hint.map().iter().map(sign).collect();
        let mut along: Vec<Vec<f32>> = Vec::with_capacity(ALONG);
        for mut v in [hint.map().repeat(c), signs.repeat(c)] {
            let before = dot(&v, &v).sqrt();
            for u in &along {
                let part = dot(&v, u) as f32;
                v.iter_mut().zip(u).for_each(|(v, u)| *v -= part * u);
            }
            let length = dot(&v, &v).sqrt();
            // What is left of a direction that the others hold is rounding.
            if length > 1e-3 * before {
                v.iter_mut()
                    .for_each(|v| *v = (f64::from(*v) / length) as f32);
                along.push(v);
            }
        }
        let second = dot(&scales, &scales);
        let fourth: f64 = scales.iter().map(|s| f64::from(*s).powi(4)).sum();
        Some(Self {
            along,
            scales,
            dimensions: second * second / fourth,
        })
    }

    /// Directions that an estimate of so many pairs has room for, with a pair left for another.
    fn given(&self, pairs: usize) -> &[Vec<f32>] {
        &self.along[..self.along.len().min((pairs - 1).max(1))]
    }

    /// What the pairs along the map and the mean of the others say together; `rises` has one a
    /// direction.
    fn join(&self, g: &mut [f32], rises: &[f64], pairs: usize) {
        let given = self.given(pairs);
        let drawn = (pairs - given.len()) as f64;
        let c = drawn / (drawn + self.dimensions + 1.0);
        g.iter_mut().for_each(|g| *g = (c * f64::from(*g)) as f32);
        for (v, rise) in given.iter().zip(rises) {
            let more = (rise - dot(g, v)) as f32;
            g.iter_mut().zip(v).for_each(|(g, v)| *g += more * v);
        }
    }
}

impl Estimated<'_> {
    fn priors(&self) -> MutexGuard<'_, Vec<Option<Prior>>> {
        self.priors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn margins(&self, shape: &[usize], points: Vec<f32>, rows: &[usize]) -> Result<Vec<f64>> {
        let labels: Vec<usize> = rows.iter().map(|&i| self.batch.labels[i]).collect();
        margins(self.model, shape, points, &labels)
    }
}

impl Source for Estimated<'_> {
    fn look(&self, x: &Tensor, rows: &[usize], last: bool) -> Result<Look> {
        let labels: Vec<usize> = rows.iter().map(|&i| self.batch.labels[i]).collect();
        let answer = self.model.answered(x)?;
        let losses = margins_of(&answer.logits, &labels);
        let broken: Vec<bool> = losses.iter().map(|m| *m >= 0.0).collect();
        if let Some(look) = answer.maps.filter(|_| !last) {
            let settles = self.model.settles();
            let open = |&i: &usize| !(broken[i] && settles);
            let left: Vec<usize> = (0..rows.len()).filter(open).collect();
            let mut priors = self.priors();
            for (&i, map) in left.iter().zip(look(&left)?) {
                priors[rows[i]] = Prior::new(map, self.model.image_shape());
            }
        }
        Ok(Look {
            broken,
            losses,
            slopes: None,
        })
    }

    fn slopes(&self, x: &Tensor, rows: &[usize], step: usize) -> Result<Vec<f32>> {
        let Estimate { pairs, sigma, draw } = self.how;
        let points = x.values::<f32>();
        let size = points.len() / rows.len();
        let priors = self.priors();
        let mut g = vec![0.0f32; points.len()];
        // Rises along the priors, per unit of length.
        let mut along = vec![[0.0f64; ALONG]; rows.len()];
        let given = |i: usize| priors[i].as_ref().map_or(&[][..], |p| p.given(pairs));
        for pair in 0..pairs {
            let round = (step * pairs + pair) as u64;
            let direction = |&i: &usize| {
                let index = self.batch.index[i];
                let mut rng = Stream::new(self.seed, Purpose::AttackStep, round, index);
                let mut random = || (0..size).map(|_| draw(&mut rng)).collect::<Vec<f32>>();
                match (given(i).get(pair), &priors[i]) {
                    // As long as the others are.
                    (Some(v), _) => {
                        let length = (size as f32).sqrt();
                        v.iter().map(|v| v * length).collect()
                    }
                    (None, Some(p)) => {
                        let scaled = random().into_iter().zip(&p.scales);
                        scaled.map(|(u, s)| u * s).collect()
                    }
                    (None, None) => random(),
                }
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
            for (j, ((up, down), (g, u))) in rises.zip(directions).enumerate() {
                let rise = (up - down) / (2.0 * f64::from(sigma));
                let first = given(rows[j]).len();
                if let Some(known) = along[j].get_mut(pair).filter(|_| pair < first) {
                    *known = rise / (size as f64).sqrt();
                    continue;
                }
                let drawn = pairs - first;
                let weight = ((up - down) / (2.0 * f64::from(sigma) * drawn as f64)) as f32;
                g.iter_mut().zip(u).for_each(|(g, u)| *g += weight * u);
            }
        }
        for (j, g) in g.chunks_exact_mut(size).enumerate() {
            if let Some(prior) = &priors[rows[j]] {
                prior.join(g, &along[j], pairs);
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
        priors: Mutex::new((0..batch.len()).map(|_| None).collect()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A gradient in the plane of the map and its signs is found exactly; of one across them the
    /// estimate is what the others say, shrunk.
    #[test]
    fn what_a_prior_holds_is_exact() {
        let map = vec![0.5, -1.0, 0.25, 0.0, 2.0, -0.125];
        let prior = Prior::new(map.clone(), [1, 2, 3]).unwrap();
        assert_eq!(prior.along.len(), 2);
        assert!(dot(&prior.along[0], &prior.along[1]).abs() < 1e-6);
        let sign = |v: &f32| if v.abs() > 0.0 { v.signum() } else { 0.0 };
        let gradient: Vec<f32> = map.iter().map(|v| 3.0 * v - 2.0 * sign(v)).collect();
        let rises: Vec<f64> = prior.along.iter().map(|v| dot(v, &gradient)).collect();
        let mut g: Vec<f32> = prior.along[0].iter().map(|v| 5.0 * v).collect();
        prior.join(&mut g, &rises, 10);
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near(&g, &gradient), "{g:?} for {gradient:?}");
        // Across both: only the fourth value, where the map is 0.
        let mut g = vec![0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        prior.join(&mut g, &[0.0, 0.0], 10);
        let c = (8.0 / (9.0 + prior.dimensions)) as f32;
        assert!(near(&g, &[0.0, 0.0, 0.0, c, 0.0, 0.0]), "{g:?}");
        assert!(prior.dimensions > 1.0 && prior.dimensions < 6.0);
        // One pair has room for the map alone, and signs of equal magnitudes are the map itself.
        assert_eq!(prior.given(1).len(), 1);
        let plain = Prior::new(vec![1.0, -1.0], [1, 1, 2]).unwrap();
        assert_eq!(plain.along.len(), 1);
        assert!(Prior::new(vec![1.0, 1.0], [1, 1, 2]).is_none());
    }
}
