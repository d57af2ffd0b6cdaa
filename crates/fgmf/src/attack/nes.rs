//! Gradients estimated from scores (natural evolution strategies, Ilyas et al. 2018), followed like
//! PGD's.
//!
//! ĝ = (1 / 2σP) Σₚ (m(x + σ uₚ) − m(x − σ uₚ)) uₚ over P pairs, u standard normal, m the margin
//! max_{i≠y} z_i − z_y; xₜ₊₁ = Π(xₜ + α s(ĝ)) from the image, s the direction of steepest ascent in
//! the threat's norm.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 40 | 1 to 100,000 |
//! | `pairs` | 25 | P, 1 to 100,000 |
//! | `sigma` | 0.01 | σ above 0, as a share of the value range |
//! | `step_size` | none: 2.5 eps / steps | α above 0, in input units |
//!
//! Cost: at most `steps · (2 pairs + 1) + 1` forward passes an example.
//!
//! Differences from the paper: (1) the margin in place of the probability of a target class; (2) a
//! fixed step length, no plateau rule; (3) an example ends at its first adversarial iterate.
//! Reference: `ilyas2018`.

use crate::attack::base::{BlackBox, Candidate, Ending};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_net::head::{Head, Margin};
use serde::{Deserialize, Serialize};

/// Settings of [`Nes`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NesParams {
    /// Steps.
    pub steps: usize,
    /// Pairs of queries for each estimate.
    pub pairs: usize,
    /// Length of the differences, as a share of the value range.
    pub sigma: f64,
    /// Length of a step in the threat's norm.
    pub step_size: Option<f64>,
}

impl Default for NesParams {
    fn default() -> Self {
        Self {
            steps: 40,
            pairs: 25,
            sigma: 0.01,
            step_size: None,
        }
    }
}

impl NesParams {
    /// The checked attack.
    pub fn check(self) -> Result<Nes> {
        for (name, value) in [("steps", self.steps), ("pairs", self.pairs)] {
            if !(1..=100_000).contains(&value) {
                return Err(Error::parameter(name, "1 to 100000", value));
            }
        }
        for (name, value) in [("sigma", Some(self.sigma)), ("step_size", self.step_size)] {
            if let Some(v) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                return Err(Error::parameter(name, "a finite number above 0", v));
            }
        }
        Ok(Nes { params: self })
    }
}

/// Checked natural evolution strategies.
#[derive(Clone, Debug)]
pub struct Nes {
    params: NesParams,
}

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

/// ĝ at each point of a part of the batch; the stream of a pair is that of (seed, step · pairs +
/// pair, example).
pub(crate) fn estimate(
    model: &dyn Scores,
    part: &Batch,
    points: &[f32],
    how: Estimate,
    seed: u64,
    step: usize,
) -> Result<Vec<f32>> {
    let size = points.len() / part.len();
    let mut g = vec![0.0f32; points.len()];
    for pair in 0..how.pairs {
        let round = (step * how.pairs + pair) as u64;
        let direction = |&index: &u64| {
            let mut rng = Stream::new(seed, Purpose::AttackStep, round, index);
            (0..size)
                .map(|_| (how.draw)(&mut rng))
                .collect::<Vec<f32>>()
        };
        let u: Vec<f32> = part.index.iter().flat_map(direction).collect();
        let moved = |side: f32| {
            points
                .iter()
                .zip(&u)
                .map(|(x, u)| x + side * how.sigma * u)
                .collect::<Vec<f32>>()
        };
        let up = margins(model, part.x.shape(), moved(1.0), &part.labels)?;
        let down = margins(model, part.x.shape(), moved(-1.0), &part.labels)?;
        for (i, (up, down)) in up.iter().zip(&down).enumerate() {
            let weight = ((up - down) / (2.0 * f64::from(how.sigma) * how.pairs as f64)) as f32;
            g[i * size..(i + 1) * size]
                .iter_mut()
                .zip(&u[i * size..(i + 1) * size])
                .for_each(|(g, u)| *g += weight * u);
        }
    }
    Ok(g)
}

/// Moves points along estimates until they are adversarial: `step(t, rows, gradients, points)`
/// moves the rows that stand.
pub(crate) fn follow(
    model: &dyn Scores,
    batch: &Batch,
    (steps, how, seed): (usize, Estimate, u64),
    mut advance: impl FnMut(usize, usize, &mut [f32], &mut [f32]),
) -> Result<Candidate> {
    let mut x = batch.x.to_f32();
    let size = x.len() / batch.len().max(1);
    let mut endings = vec![Ending::StepsExhausted; batch.len()];
    let mut run = || -> Result<()> {
        let mut active: Vec<usize> = (0..batch.len()).collect();
        for t in 0..=steps {
            let gather = |active: &[usize], x: &[f32]| {
                active
                    .iter()
                    .flat_map(|&i| x[i * size..(i + 1) * size].to_vec())
                    .collect::<Vec<f32>>()
            };
            let part = batch.select(&active);
            let margin = margins(model, part.x.shape(), gather(&active, &x), &part.labels)?;
            for (&i, m) in active.iter().zip(&margin) {
                if *m >= 0.0 {
                    endings[i] = Ending::Converged;
                } else if !m.is_finite() {
                    endings[i] = Ending::NonFinite;
                }
            }
            active.retain(|&i| endings[i] == Ending::StepsExhausted);
            if active.is_empty() || t == steps {
                break;
            }
            let part = batch.select(&active);
            let mut g = estimate(model, &part, &gather(&active, &x), how, seed, t)?;
            for (&i, g) in active.iter().zip(g.chunks_exact_mut(size)) {
                advance(t, i, g, &mut x[i * size..(i + 1) * size]);
            }
        }
        Ok(())
    };
    match run() {
        Err(Error::Budget { .. }) => {
            endings
                .iter_mut()
                .filter(|e| **e == Ending::StepsExhausted)
                .for_each(|e| *e = Ending::BudgetExhausted);
        }
        other => other?,
    }
    Ok(Candidate {
        x: Tensor::new(batch.x.shape(), x),
        endings,
    })
}

impl BlackBox for Nes {
    fn id(&self) -> &'static str {
        "nes"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        seed: u64,
    ) -> Result<Candidate> {
        let [lo, hi] = threat.bounds();
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len().max(1);
        let alpha = self
            .params
            .step_size
            .unwrap_or(2.5 * threat.eps() / self.params.steps as f64) as f32;
        let how = Estimate {
            pairs: self.params.pairs,
            sigma: (self.params.sigma * (hi - lo)) as f32,
            draw: Stream::normal,
        };
        follow(
            model,
            batch,
            (self.params.steps, how, seed),
            |_, i, g, x| {
                threat.drop_blocked(x, g);
                threat.steepest(g);
                x.iter_mut()
                    .zip(g.iter())
                    .for_each(|(v, d)| *v += alpha * d);
                threat.project(&clean[i * size..(i + 1) * size], x);
            },
        )
    }
}
