//! Steps on feature maps in the blocked layout: activations, additions, per-channel scaling,
//! pooling.

use super::places::{LANES, Needs, hull, reached, seen_by};
use super::run::Run;
use super::step::Step;
use crate::graph::ValueId;
use fgmf_kernels::{
    Activation, Pass, Pool2d, activate, activate_grad, add_assign, avg_pool_blocked,
    avg_pool_blocked_adjoint, blocked_len, channel_affine, channel_affine_grad, channel_products,
    gate, global_average_blocked, global_average_blocked_grad, max_pool_blocked,
    max_pool_blocked_grad,
};
use rayon::prelude::*;

/// An activation of a feature map.
#[derive(Debug)]
pub(super) struct ActivateBlocked {
    pub(super) kind: Activation,
    pub(super) x: ValueId,
    pub(super) y: ValueId,
}

impl Step for ActivateBlocked {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.x]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        vec![self.x]
    }

    fn forward(&self, run: &mut Run<'_>) {
        run.make_blocked(self.x);
        let mut y = run.arena.take(run.blocked(self.x).len());
        let piece = run.piece_len(y.len());
        let pieces = run
            .blocked(self.x)
            .par_chunks(piece)
            .zip(y.par_chunks_mut(piece));
        pieces.for_each(|(x, y)| activate(self.kind, x, y));
        run.put_blocked(self.y, y);
    }

    fn window(&self, run: &mut Run<'_>) -> bool {
        let Some(region) = run.region(self.x) else {
            return false;
        };
        let mut y = run.arena.take(run.patch(self.x).len());
        activate(self.kind, run.patch(self.x), &mut y);
        run.put_patch(self.y, region, y);
        true
    }

    fn backward(&self, run: &mut Run<'_>) {
        let g = run.take_cotangent(self.y);
        let mut dx = run.arena.take(g.len());
        let piece = run.piece_len(dx.len());
        let pieces = run
            .blocked(self.x)
            .par_chunks(piece)
            .zip(g.par_chunks(piece))
            .zip(dx.par_chunks_mut(piece));
        pieces.for_each(|((x, g), dx)| activate_grad(self.kind, x, g, dx));
        run.done_with(self.y, g);
        run.add_blocked_cotangent(self.x, dx);
    }
}

/// `y = act(a + b)`, or `y = act(a − b)`.
#[derive(Debug)]
pub(super) struct Add {
    pub(super) a: ValueId,
    pub(super) b: ValueId,
    pub(super) minus: bool,
    pub(super) relu: bool,
    pub(super) y: ValueId,
}

impl Add {
    /// Adds the second operand to the first.
    fn join(&self, b: &[f32], y: &mut [f32]) {
        if self.minus {
            y.iter_mut().zip(b).for_each(|(y, b)| *y -= b);
        } else {
            add_assign(b, y);
        }
    }
}

impl Step for Add {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.a, self.b]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        self.relu.then_some(self.y).into_iter().collect()
    }

    fn forward(&self, run: &mut Run<'_>) {
        run.make_blocked(self.a);
        run.make_blocked(self.b);
        let mut y = run.arena.take(run.blocked(self.a).len());
        y.copy_from_slice(run.blocked(self.a));
        self.join(run.blocked(self.b), &mut y);
        if self.relu {
            fgmf_kernels::activate_in_place(Activation::Relu, &mut y);
        }
        run.put_blocked(self.y, y);
    }

    fn window(&self, run: &mut Run<'_>) -> bool {
        let (Some(a), Some(b)) = (run.region(self.a), run.region(self.b)) else {
            return false;
        };
        let region = hull(&a, &b);
        let (corner, size) = (
            [0, 1].map(|a| region[a].start as isize),
            [0, 1].map(|a| region[a].len()),
        );
        let mut y = run.crop(self.a, corner, size);
        let b = run.crop(self.b, corner, size);
        self.join(&b, &mut y);
        run.arena.give(b);
        if self.relu {
            fgmf_kernels::activate_in_place(Activation::Relu, &mut y);
        }
        run.put_patch(self.y, region, y);
        true
    }

    fn backward(&self, run: &mut Run<'_>) {
        let g = run.take_cotangent(self.y);
        for (id, minus) in [(self.a, false), (self.b, self.minus)] {
            if run.needs(id) {
                let mut d = run.arena.take(g.len());
                gate(run.pass(&g, self.relu.then_some(self.y)), &mut d);
                if minus {
                    d.iter_mut().for_each(|d| *d = -*d);
                }
                run.add_blocked_cotangent(id, d);
            }
        }
        run.done_with(self.y, g);
    }
}

/// `y = x gate`, one number for each channel of each image.
#[derive(Debug)]
pub(super) struct ChannelGate {
    pub(super) x: ValueId,
    pub(super) gate: ValueId,
    pub(super) y: ValueId,
}

impl Step for ChannelGate {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.x, self.gate]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, needs: &Needs) -> Vec<ValueId> {
        let reads = [(self.x, self.gate), (self.gate, self.x)];
        let kept = reads.into_iter().filter(|(of, _)| needs.of(*of));
        kept.map(|(_, read)| read).collect()
    }

    fn forward(&self, run: &mut Run<'_>) {
        run.make_blocked(self.x);
        run.make_blocked(self.gate);
        let (x, gates) = (
            run.blocked(self.x).len(),
            run.blocked(self.gate).len() / run.n,
        );
        let mut y = run.arena.take(x);
        let ((_, plane), one) = (run.planes(self.x), x / run.n);
        run.blocked(self.x)
            .par_chunks(one)
            .zip(run.blocked(self.gate).par_chunks(gates))
            .zip(y.par_chunks_mut(one))
            .for_each(|((x, gate), y)| channel_affine_grad(plane, gate, Pass::new(x), y));
        run.put_blocked(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let g = run.take_cotangent(self.y);
        let ((channels, plane), one) = (run.planes(self.x), g.len() / run.n);
        let gates = blocked_len(1, channels, 1);
        if run.needs(self.x) {
            run.make_blocked(self.gate);
            let mut dx = run.arena.take(g.len());
            g.par_chunks(one)
                .zip(run.blocked(self.gate).par_chunks(gates))
                .zip(dx.par_chunks_mut(one))
                .for_each(|((g, gate), dx)| channel_affine_grad(plane, gate, Pass::new(g), dx));
            run.add_blocked_cotangent(self.x, dx);
        }
        if run.needs(self.gate) {
            run.make_blocked(self.x);
            let mut dgate = run.arena.take(run.n * gates);
            g.par_chunks(one)
                .zip(run.blocked(self.x).par_chunks(one))
                .zip(dgate.par_chunks_mut(gates))
                .for_each(|((g, x), dgate)| {
                    let (zeros, mut sums) = (vec![0.0; gates], vec![0.0; 2 * gates]);
                    let (of_g, of_gx) = sums.split_at_mut(gates);
                    channel_products(plane, Pass::new(g), x, &zeros, of_g, of_gx);
                    dgate
                        .iter_mut()
                        .zip(of_gx)
                        .for_each(|(d, s)| *d = *s as f32);
                });
            run.add_blocked_cotangent(self.gate, dgate);
        }
        run.done_with(self.y, g);
    }
}

/// `y = act(scale x + shift)`, a number for each channel: batch normalisation with running
/// statistics.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) x: ValueId,
    /// Padded to whole blocks.
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) relu: bool,
    pub(super) y: ValueId,
}

impl Step for Channel {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.x]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        self.relu.then_some(self.y).into_iter().collect()
    }

    fn forward(&self, run: &mut Run<'_>) {
        run.make_blocked(self.x);
        let (_, plane) = run.planes(self.x);
        let mut y = run.arena.take(run.blocked(self.x).len());
        channel_affine(
            plane,
            &self.scale,
            &self.shift,
            self.relu,
            run.blocked(self.x),
            &mut y,
        );
        run.put_blocked(self.y, y);
    }

    fn window(&self, run: &mut Run<'_>) -> bool {
        let Some(region) = run.region(self.x) else {
            return false;
        };
        let mut y = run.arena.take(run.patch(self.x).len());
        channel_affine(
            region[0].len() * region[1].len(),
            &self.scale,
            &self.shift,
            self.relu,
            run.patch(self.x),
            &mut y,
        );
        run.put_patch(self.y, region, y);
        true
    }

    fn backward(&self, run: &mut Run<'_>) {
        let g = run.take_cotangent(self.y);
        let (_, plane) = run.planes(self.x);
        let mut dx = run.arena.take(g.len());
        channel_affine_grad(
            plane,
            &self.scale,
            run.pass(&g, self.relu.then_some(self.y)),
            &mut dx,
        );
        run.done_with(self.y, g);
        run.add_blocked_cotangent(self.x, dx);
    }
}

/// How a window is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Its largest number.
    Max,
    /// Its mean; whether padding counts.
    Mean(bool),
}

/// Pooling of a feature map.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) node: usize,
    pub(super) kind: Pooling,
    /// Of one image; planes are blocks of channels.
    pub(super) shape: Pool2d,
    pub(super) x: ValueId,
    pub(super) y: ValueId,
}

impl Pool {
    fn of(&self, images: usize) -> Pool2d {
        Pool2d {
            planes: self.shape.planes * images,
            ..self.shape
        }
    }

    /// The pooled values, and the taps of the maxima.
    fn apply(&self, s: &Pool2d, x: &[f32], y: &mut [f32]) -> Option<Vec<u8>> {
        match self.kind {
            Pooling::Max => {
                let mut taps = vec![0; y.len()];
                max_pool_blocked(s, x, y, &mut taps);
                Some(taps)
            }
            Pooling::Mean(count_padding) => {
                avg_pool_blocked(s, count_padding, x, y);
                None
            }
        }
    }
}

impl Step for Pool {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.x]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        Vec::new()
    }

    fn forward(&self, run: &mut Run<'_>) {
        run.make_blocked(self.x);
        let s = self.of(run.n);
        let (channels, plane) = run.planes(self.y);
        let mut y = run.arena.take(blocked_len(run.n, channels, plane));
        run.taps[self.node] = self.apply(&s, run.blocked(self.x), &mut y);
        run.put_blocked(self.y, y);
    }

    fn window(&self, run: &mut Run<'_>) -> bool {
        let s = self.of(run.n);
        let sides = [0, 1].map(|a| [s.kernel[a], s.stride[a], s.dilation[a], s.pad[a]]);
        let (Some(changed), out) = (run.region(self.x), s.out_size()) else {
            return false;
        };
        let region = [0, 1].map(|a| reached(&changed[a], sides[a], out[a]));
        if !Run::pays(&region, out) {
            return false;
        }
        let [rows, cols] = [0, 1].map(|a| seen_by(&region[a], sides[a]));
        let fits =
            |(first, len): (isize, usize), side: usize| first >= 0 && first as usize + len <= side;
        // Padding has rules of its own.
        if !fits(rows, s.h) || !fits(cols, s.w) {
            return false;
        }
        let x = run.crop(self.x, [rows.0, cols.0], [rows.1, cols.1]);
        let mut y = run
            .arena
            .take(s.planes * region[0].len() * region[1].len() * LANES);
        self.apply(
            &Pool2d {
                h: rows.1,
                w: cols.1,
                pad: [0; 4],
                ceil: false,
                ..s
            },
            &x,
            &mut y,
        );
        run.arena.give(x);
        run.put_patch(self.y, region, y);
        true
    }

    fn backward(&self, run: &mut Run<'_>) {
        let g = run.take_cotangent(self.y);
        let s = self.of(run.n);
        let (channels, plane) = run.planes(self.x);
        let mut dx = run.arena.take(blocked_len(run.n, channels, plane));
        match (self.kind, run.taps[self.node].take()) {
            (Pooling::Max, Some(taps)) => max_pool_blocked_grad(&s, &g, &taps, &mut dx),
            (Pooling::Max, None) => unreachable!("a step runs forward before it runs backward"),
            (Pooling::Mean(count_padding), _) => {
                avg_pool_blocked_adjoint(&s, count_padding, &g, &mut dx)
            }
        }
        run.done_with(self.y, g);
        run.add_blocked_cotangent(self.x, dx);
    }
}

/// Mean of each plane, `[n, c, h, w]` blocked to `[n, c, 1, 1]` in rows.
#[derive(Debug)]
pub(super) struct GlobalAverage {
    pub(super) x: ValueId,
    pub(super) y: ValueId,
}

impl Step for GlobalAverage {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.x]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        Vec::new()
    }

    fn forward(&self, run: &mut Run<'_>) {
        run.make_blocked(self.x);
        let (channels, plane) = run.planes(self.x);
        let mut y = run.arena.take_rows(run.n * channels);
        global_average_blocked(channels, plane, run.blocked(self.x), &mut y);
        run.put_rows(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let Some(g) = run.cotangent_rows(self.y) else {
            return;
        };
        let (channels, plane) = run.planes(self.x);
        let mut dx = run.arena.take(blocked_len(run.n, channels, plane));
        global_average_blocked_grad(channels, plane, &g.values::<f32>(), &mut dx);
        run.add_blocked_cotangent(self.x, dx);
    }
}
