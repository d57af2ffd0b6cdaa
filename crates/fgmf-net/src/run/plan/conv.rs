//! Convolution with what follows it: batch normalisation folded in, an addition, a rectifier.

use super::packed::{Packed, Packing};
use super::places::{Home, Needs, hull, reached, seen_by};
use super::run::Run;
use super::step::Step;
use crate::graph::{Network, ValueId};
use crate::tensor::Tensor;
use fgmf_kernels::{BlockedConv, Epilogue, Pass, add_assign, channel_sums, gate};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// `y = act(x ⋆ w + bias + add)`.
#[derive(Debug)]
pub(super) struct FusedConv {
    pub(super) node: usize,
    pub(super) conv: BlockedConv,
    pub(super) x: ValueId,
    pub(super) weight: ValueId,
    pub(super) bias: Option<ValueId>,
    /// Factor and offset of each channel from the batch normalisation behind.
    pub(super) fold: Option<(Vec<f32>, Vec<f32>)>,
    pub(super) add: Option<ValueId>,
    pub(super) relu: bool,
    pub(super) y: ValueId,
    pub(super) packed: OnceLock<Weights>,
}

/// A layer's weights as the kernels read them.
#[derive(Debug)]
pub(super) struct Weights {
    forward: Arc<Vec<f32>>,
    backward: Option<Arc<Vec<f32>>>,
    bias: Option<Vec<f32>>,
}

impl FusedConv {
    /// The weight `[c_out, …]`, scaled by the batch normalisation if there is one.
    fn scaled(&self, net: &Network) -> Vec<f32> {
        let mut w = net
            .parameter(self.weight)
            .map(Tensor::to_f32)
            .unwrap_or_default();
        if let Some((scale, _)) = &self.fold {
            let per_channel = w.len() / scale.len();
            for (w, s) in w.chunks_exact_mut(per_channel).zip(scale) {
                w.iter_mut().for_each(|w| *w *= s);
            }
        }
        w
    }

    fn offset(&self, net: &Network) -> Option<Vec<f32>> {
        let stored = self
            .bias
            .and_then(|id| net.parameter(id))
            .map(Tensor::to_f32);
        let mut all = match (stored, &self.fold) {
            (Some(b), Some((scale, shift))) => b
                .iter()
                .zip(scale)
                .zip(shift)
                .map(|((b, s), t)| b * s + t)
                .collect(),
            (Some(b), None) => b,
            (None, Some((_, shift))) => shift.clone(),
            (None, None) => return None,
        };
        all.resize(self.conv.bias_len(), 0.0);
        Some(all)
    }

    /// The gradient to the input, a piece of `piece` images on each thread.
    fn pull(&self, dy: Pass<'_>, packed: &[f32], piece: usize, dx: &mut [f32]) {
        let (one_x, one_y) = (self.conv.x_len(1), self.conv.y_len(1));
        dx.par_chunks_mut(piece * one_x)
            .enumerate()
            .for_each(|(i, dx)| {
                self.conv.grad_input(
                    dy.slice(i * piece * one_y, dx.len() / one_x * one_y),
                    packed,
                    dx,
                );
            });
    }

    fn weights(&self) -> &Weights {
        self.packed
            .get()
            .unwrap_or_else(|| unreachable!("a plan prepares its steps"))
    }
}

impl Step for FusedConv {
    fn inputs(&self) -> Vec<ValueId> {
        [Some(self.x), Some(self.weight), self.bias, self.add]
            .into_iter()
            .flatten()
            .collect()
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, needs: &Needs) -> Vec<ValueId> {
        [
            needs.of(self.weight).then_some(self.x),
            self.relu.then_some(self.y),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn prepare(&self, net: &Network, packed: &Packed, needs: &Needs) {
        let folded = self.fold.is_some();
        let forward = if folded {
            Packing::ForwardFolded
        } else {
            Packing::Forward
        };
        let backward = if folded {
            Packing::BackwardFolded
        } else {
            Packing::Backward
        };
        let weights = Weights {
            forward: packed.get(self.node, forward, |memory| {
                self.conv.pack_forward_into(&self.scaled(net), memory)
            }),
            backward: needs.of(self.x).then(|| {
                packed.get(self.node, backward, |memory| {
                    self.conv.pack_backward_into(&self.scaled(net), memory)
                })
            }),
            bias: self.offset(net),
        };
        // A plan is prepared once.
        let _ = self.packed.set(weights);
    }

    fn forward(&self, run: &mut Run<'_>) {
        let weights = self.weights();
        let mut y = run.arena.take(self.conv.y_len(run.n));
        let rows = self.conv.input_in_rows().then(|| run.tensor(self.x));
        if rows.is_none() {
            run.make_blocked(self.x);
        }
        if let Some(add) = self.add {
            run.make_blocked(add);
        }
        let rows = rows.as_ref().map(Tensor::values::<f32>);
        let x = rows.as_deref().unwrap_or_else(|| run.blocked(self.x));
        let (piece, one_y) = (run.piece(), self.conv.y_len(1));
        let add = self.add.map(|id| run.blocked(id));
        let pieces = x
            .par_chunks(piece * self.conv.x_len(1))
            .zip(y.par_chunks_mut(piece * one_y))
            .enumerate();
        pieces.for_each(|(i, (x, y))| {
            let add = add.map(|a| &a[i * piece * one_y..][..y.len()]);
            self.conv.forward(
                x,
                &weights.forward,
                Epilogue {
                    bias: weights.bias.as_deref(),
                    add,
                    relu: self.relu,
                },
                y,
            );
        });
        run.put_blocked(self.y, y);
    }

    fn window(&self, run: &mut Run<'_>) -> bool {
        let s = self.conv.shape();
        let sides = [0, 1].map(|a| [s.kernel[a], s.stride[a], s.dilation[a], s.pad[a]]);
        let (Some(changed), out) = (run.region(self.x), s.out_size()) else {
            return false;
        };
        let mut region = [0, 1].map(|a| reached(&changed[a], sides[a], out[a]));
        if let Some(add) = self.add {
            let Some(other) = run.region(add) else {
                return false;
            };
            region = hull(&region, &other);
        }
        if !Run::pays(&region, out)
            || (run.places.homes[self.x.0] == Home::Rows) != self.conv.input_in_rows()
        {
            return false;
        }
        let [rows, cols] = [0, 1].map(|a| seen_by(&region[a], sides[a]));
        let Some(conv) = self.conv.at_size([rows.1, cols.1]) else {
            return false;
        };
        let x = run.crop(self.x, [rows.0, cols.0], [rows.1, cols.1]);
        let add = self.add.map(|id| {
            run.crop(
                id,
                [0, 1].map(|a| region[a].start as isize),
                [0, 1].map(|a| region[a].len()),
            )
        });
        let mut y = run.arena.take(conv.y_len(run.n));
        let Weights { forward, bias, .. } = self.weights();
        conv.forward(
            &x,
            forward,
            Epilogue {
                bias: bias.as_deref(),
                add: add.as_deref(),
                relu: self.relu,
            },
            &mut y,
        );
        run.arena.give(x);
        if let Some(add) = add {
            run.arena.give(add);
        }
        run.put_patch(self.y, region, y);
        true
    }

    fn backward(&self, run: &mut Run<'_>) {
        let g = run.take_cotangent(self.y);
        let (piece, one_x, one_y) = (run.piece(), self.conv.x_len(1), self.conv.y_len(1));
        let gated = self.relu.then_some(self.y);
        if let (true, Some(packed)) = (run.needs(self.x), &self.weights().backward) {
            let len = run.n * one_x;
            if self.conv.input_in_rows() {
                let mut dx = run.arena.take_rows(len);
                self.pull(run.pass(&g, gated), packed, piece, &mut dx);
                run.add_rows_cotangent(self.x, dx);
            } else {
                let mut dx = run.arena.take(len);
                self.pull(run.pass(&g, gated), packed, piece, &mut dx);
                run.add_blocked_cotangent(self.x, dx);
            }
        }
        if run.needs(self.weight) {
            let mut parts: Vec<Vec<f32>> = (0..run.n.div_ceil(piece))
                .map(|_| run.arena.take_rows(self.conv.shape().w_len()))
                .collect();
            let rows = self.conv.input_in_rows().then(|| run.tensor(self.x));
            let rows = rows.as_ref().map(Tensor::values::<f32>);
            let x = rows.as_deref().unwrap_or_else(|| run.blocked(self.x));
            let dy = run.pass(&g, gated);
            x.par_chunks(piece * one_x)
                .zip(&mut parts)
                .enumerate()
                .for_each(|(i, (x, dw))| {
                    dw.fill(0.0);
                    self.conv.grad_weight(
                        x,
                        dy.slice(i * piece * one_y, x.len() / one_x * one_y),
                        dw,
                    );
                });
            let mut parts = parts.into_iter();
            if let Some(mut dw) = parts.next() {
                for part in parts {
                    add_assign(&part, &mut dw);
                    run.arena.give_rows(part);
                }
                run.add_parameter(self.weight, dw);
            }
        }
        let (channels, plane) = run.planes(self.y);
        if let Some(bias) = self.bias.filter(|&b| run.needs(b)) {
            let mut sums = vec![0.0; self.conv.bias_len()];
            let mut plain = run.arena.take(g.len());
            gate(run.pass(&g, gated), &mut plain);
            channel_sums(plane, &plain, &mut sums);
            run.arena.give(plain);
            run.add_parameter(bias, sums[..channels].iter().map(|&v| v as f32).collect());
        }
        match self.add.filter(|&a| run.needs(a)) {
            Some(add) if gated.is_none() && !run.wanted(self.y) => {
                run.add_blocked_cotangent(add, g)
            }
            Some(add) => {
                let mut da = run.arena.take(g.len());
                gate(run.pass(&g, gated), &mut da);
                run.done_with(self.y, g);
                run.add_blocked_cotangent(add, da);
            }
            None => run.done_with(self.y, g),
        }
    }
}
