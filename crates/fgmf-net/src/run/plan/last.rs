//! Between feature maps in the blocked layout and rows whose channels come last, as networks turn
//! them around layer normalisations and dense layers.

use super::places::Needs;
use super::run::Run;
use super::step::Step;
use crate::graph::ValueId;
use fgmf_kernels::{blocked_len, blocked_to_last, last_to_blocked};
use rayon::prelude::*;

/// A map `[n, c, h, w]`, blocked, turned to rows `[n, h, w, c]`.
#[derive(Debug)]
pub(super) struct ToLast {
    pub(super) x: ValueId,
    pub(super) y: ValueId,
}

impl Step for ToLast {
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
        let mut y = run.arena.take_rows(run.n * channels * plane);
        let x = run.blocked(self.x);
        let pieces = x
            .par_chunks(run.piece_len(x.len()))
            .zip(y.par_chunks_mut(run.piece() * channels * plane));
        pieces.for_each(|(x, y)| blocked_to_last(channels, plane, None, x, y));
        run.put_rows(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let Some(g) = run.cotangent_rows(self.y) else {
            return;
        };
        let (channels, plane) = run.planes(self.x);
        let mut dx = run.arena.take(blocked_len(run.n, channels, plane));
        let piece = run.piece_len(dx.len());
        let g = g.values::<f32>();
        let pieces = g
            .par_chunks(run.piece() * channels * plane)
            .zip(dx.par_chunks_mut(piece));
        pieces.for_each(|(g, dx)| last_to_blocked(channels, plane, None, None, g, dx));
        run.add_blocked_cotangent(self.x, dx);
    }
}

/// Rows `[n, h, w, c]` turned to a blocked map `[n, c, h, w]`, scaled and added to another:
/// `y = x scale + add`.
#[derive(Debug)]
pub(super) struct FromLast {
    pub(super) x: ValueId,
    /// One stored factor a channel, padded to whole blocks.
    pub(super) scale: Option<Vec<f32>>,
    pub(super) add: ValueId,
    pub(super) y: ValueId,
}

impl Step for FromLast {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.x, self.add]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        Vec::new()
    }

    fn forward(&self, run: &mut Run<'_>) {
        run.make_blocked(self.add);
        let x = run.tensor(self.x);
        let (channels, plane) = run.planes(self.y);
        let mut y = run.arena.take(blocked_len(run.n, channels, plane));
        let piece = run.piece_len(y.len());
        let x = x.values::<f32>();
        let pieces = x
            .par_chunks(run.piece() * channels * plane)
            .zip(run.blocked(self.add).par_chunks(piece))
            .zip(y.par_chunks_mut(piece));
        pieces.for_each(|((x, add), y)| {
            last_to_blocked(channels, plane, self.scale.as_deref(), Some(add), x, y);
        });
        run.put_blocked(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let g = run.take_cotangent(self.y);
        let (channels, plane) = run.planes(self.y);
        if run.needs(self.x) {
            let mut dx = run.arena.take_rows(run.n * channels * plane);
            let pieces = g
                .par_chunks(run.piece_len(g.len()))
                .zip(dx.par_chunks_mut(run.piece() * channels * plane));
            pieces.for_each(|(g, dx)| {
                blocked_to_last(channels, plane, self.scale.as_deref(), g, dx);
            });
            run.add_rows_cotangent(self.x, dx);
        }
        if run.needs(self.add) {
            let mut d = run.arena.take(g.len());
            d.copy_from_slice(&g);
            run.add_blocked_cotangent(self.add, d);
        }
        run.done_with(self.y, g);
    }
}
