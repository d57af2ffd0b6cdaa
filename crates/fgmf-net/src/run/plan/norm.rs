//! Batch normalisation with the statistics of the chunk, and a rectifier behind it.

use super::places::{LANES, Needs};
use super::run::Run;
use super::step::Step;
use crate::graph::ValueId;
use crate::run::engine::Statistics;
use fgmf_kernels::{
    batch_norm_grad, channel_affine, channel_moments, channel_products, channel_sums,
};
use rayon::prelude::*;

/// `y = act(scale (x − mean) / √(variance + ε) + bias)`, mean and biased variance over the chunk.
#[derive(Debug)]
pub(super) struct TrainedNorm {
    pub(super) node: usize,
    pub(super) epsilon: f64,
    pub(super) x: ValueId,
    pub(super) scale: ValueId,
    pub(super) bias: ValueId,
    pub(super) relu: bool,
    pub(super) y: ValueId,
}

/// `[c]` sums of a chunk, piece by piece on the threads, added in the order of the pieces.
fn over_pieces(
    lanes: usize,
    x: &[f32],
    piece: usize,
    sum: impl Fn(usize, &[f32], &mut [f64]) + Sync,
) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = x
        .par_chunks(piece)
        .enumerate()
        .map(|(i, x)| {
            let mut part = vec![0.0; lanes];
            sum(i * piece, x, &mut part);
            part
        })
        .collect();
    parts
        .into_iter()
        .reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect())
        .unwrap_or_else(|| vec![0.0; lanes])
}

impl TrainedNorm {
    fn padded(&self, run: &mut Run<'_>, id: ValueId, lanes: usize) -> Vec<f64> {
        let mut v = run.tensor(id).to_f64();
        v.resize(lanes, 0.0);
        v
    }

    fn statistics<'r>(&self, run: &'r Run<'_>) -> &'r Statistics {
        let own = run.statistics.iter().find(|s| s.node == self.node);
        own.unwrap_or_else(|| unreachable!("a step runs forward before it runs backward"))
    }
}

impl Step for TrainedNorm {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.x, self.scale, self.bias]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        [Some(self.x), self.relu.then_some(self.y)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn forward(&self, run: &mut Run<'_>) {
        run.make_blocked(self.x);
        let (channels, plane) = run.planes(self.x);
        let lanes = channels.next_multiple_of(LANES);
        let (scale, bias) = (
            self.padded(run, self.scale, lanes),
            self.padded(run, self.bias, lanes),
        );
        let x = run.blocked(self.x);
        let (piece, count) = (run.piece_len(x.len()), run.n * plane);
        let share = 1.0 / count as f64;
        let mean: Vec<f64> = over_pieces(lanes, x, piece, |_, x, s| channel_sums(plane, x, s))
            .iter()
            .map(|s| s * share)
            .collect();
        let centre: Vec<f32> = mean.iter().map(|&m| m as f32).collect();
        // Sums of the deviations, which are those of rounding the mean, and of their squares.
        let moments = over_pieces(2 * lanes, x, piece, |_, x, s| {
            let (sums, squares) = s.split_at_mut(lanes);
            channel_moments(plane, x, &centre, sums, squares);
        });
        let (sums, squares) = moments.split_at(lanes);
        let variance: Vec<f64> = sums
            .iter()
            .zip(squares)
            .map(|(s, q)| q * share - (s * share).powi(2))
            .collect();
        let slope: Vec<f64> = scale
            .iter()
            .zip(&variance)
            .map(|(s, v)| s / (v + self.epsilon).sqrt())
            .collect();
        let shift: Vec<f32> = bias
            .iter()
            .zip(&slope)
            .zip(&mean)
            .map(|((b, s), m)| (b - s * m) as f32)
            .collect();
        let slope: Vec<f32> = slope.iter().map(|&s| s as f32).collect();
        let mut y = run.arena.take(x.len());
        let pieces = run
            .blocked(self.x)
            .par_chunks(piece)
            .zip(y.par_chunks_mut(piece));
        pieces.for_each(|(x, y)| channel_affine(plane, &slope, &shift, self.relu, x, y));
        run.put_blocked(self.y, y);
        let real = |v: &[f64]| v[..channels].to_vec();
        run.statistics.push(Statistics {
            node: self.node,
            mean: real(&mean),
            variance: real(&variance),
            count,
        });
    }

    fn backward(&self, run: &mut Run<'_>) {
        let g = run.take_cotangent(self.y);
        let (channels, plane) = run.planes(self.x);
        let lanes = channels.next_multiple_of(LANES);
        let Statistics {
            mean,
            variance,
            count,
            ..
        } = self.statistics(run);
        let pad = |v: &[f64], fill: f64| {
            v.iter()
                .copied()
                .chain(std::iter::repeat(fill))
                .take(lanes)
                .collect::<Vec<f64>>()
        };
        let (mean, variance, share) = (pad(mean, 0.0), pad(variance, 1.0), 1.0 / *count as f64);
        let scale = self.padded(run, self.scale, lanes);
        let centre: Vec<f32> = mean.iter().map(|&m| m as f32).collect();
        let (x, pass) = (
            run.blocked(self.x),
            run.pass(&g, self.relu.then_some(self.y)),
        );
        let piece = run.piece_len(x.len());
        // Both sums side by side: Σ g, then Σ g (x − mean).
        let sums = over_pieces(2 * lanes, x, piece, |from, x, sums| {
            let (s_g, s_gx) = sums.split_at_mut(lanes);
            channel_products(plane, pass.slice(from, x.len()), x, &centre, s_g, s_gx);
        });
        let (sum_g, sum_gx) = sums.split_at(lanes);
        let inverse: Vec<f64> = variance
            .iter()
            .map(|v| 1.0 / (v + self.epsilon).sqrt())
            .collect();
        // dx = scale/σ (g − mean(g) − (x − mean) mean(g (x − mean)) / σ²) = a g + b x + c.
        let a: Vec<f64> = scale.iter().zip(&inverse).map(|(s, i)| s * i).collect();
        let b: Vec<f64> = (0..lanes)
            .map(|c| -a[c] * sum_gx[c] * share * inverse[c] * inverse[c])
            .collect();
        let c: Vec<f64> = (0..lanes)
            .map(|c| -a[c] * sum_g[c] * share - b[c] * mean[c])
            .collect();
        let [a, b, c] = [a, b, c].map(|v| v.into_iter().map(|v| v as f32).collect::<Vec<f32>>());
        let (needs_x, len) = (run.needs(self.x), g.len());
        let parameters = [
            (
                self.scale,
                sum_gx
                    .iter()
                    .zip(&inverse)
                    .map(|(s, i)| (s * i) as f32)
                    .take(channels)
                    .collect::<Vec<f32>>(),
            ),
            (
                self.bias,
                sum_g.iter().map(|&s| s as f32).take(channels).collect(),
            ),
        ];
        if needs_x {
            let mut dx = run.arena.take(len);
            let (x, pass) = (
                run.blocked(self.x),
                run.pass(&g, self.relu.then_some(self.y)),
            );
            let pieces = dx.par_chunks_mut(piece).enumerate();
            pieces.for_each(|(i, dx)| {
                let len = dx.len();
                batch_norm_grad(
                    plane,
                    [&a, &b, &c],
                    pass.slice(i * piece, len),
                    &x[i * piece..][..len],
                    dx,
                );
            });
            run.add_blocked_cotangent(self.x, dx);
        }
        for (id, d) in parameters {
            if run.needs(id) {
                run.add_parameter(id, d);
            }
        }
        run.done_with(self.y, g);
    }
}
