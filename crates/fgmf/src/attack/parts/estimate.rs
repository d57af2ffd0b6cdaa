//! Gradients estimated from scores, and the way along them.

use crate::attack::base::{Candidate, Ending};
use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
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
    threat: &ThreatModel,
    mut advance: impl FnMut(usize, usize, &mut [f32], &mut [f32]),
) -> Result<Candidate> {
    let mut x = batch.x.to_f32();
    let size = x.len() / batch.len().max(1);
    let mut endings = vec![Ending::StepsExhausted; batch.len()];
    let clean = batch.x.to_f32();
    let mut kept: Vec<Kept> = endings.iter().map(|_| Kept::new(model)).collect();
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
                let here = i * size..(i + 1) * size;
                kept[i].offer(threat, &clean[here.clone()], &x[here], (*m >= 0.0, *m));
                if *m >= 0.0 && model.settles() {
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
    for (row, kept) in x.chunks_exact_mut(size.max(1)).zip(kept) {
        if let Some(point) = kept.point() {
            row.copy_from_slice(&point);
        }
    }
    Ok(Candidate {
        x: Tensor::new(batch.x.shape(), x),
        endings,
    })
}
