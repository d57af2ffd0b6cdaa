//! Attention: the product of queries and keys, softmax, the product with the values, all heads in
//! one step.

use super::places::Needs;
use super::run::Run;
use super::step::Step;
use super::view::View;
use crate::graph::ValueId;
use crate::tensor::Tensor;
use fgmf_kernels::{Attention as Head, Strided};

/// `y = softmax(scale q kᵀ) v` over `[n, h, t, d]`. The first axis is the batch or a multiple of
/// it: windows of images, heads that are part of the batch.
#[derive(Debug)]
pub(super) struct Attention {
    pub(super) q: ValueId,
    /// Transposed, `[n, h, d, t]`.
    pub(super) k: ValueId,
    pub(super) v: ValueId,
    pub(super) scale: f32,
    /// `[n, h, t, t]`, kept for the backward step.
    pub(super) weights: ValueId,
    /// `[n, h, t, d]`, or heads side by side `[n, t, h d]`.
    pub(super) y: ValueId,
    pub(super) joined: bool,
}

/// A value of shape `[n, h, rows, columns]` where it lies.
struct Operand {
    array: Tensor,
    view: View,
    shape: Vec<usize>,
}

impl Operand {
    /// As part of what holds it; by itself if neither rows nor columns lie together.
    fn read(run: &mut Run<'_>, id: ValueId) -> Self {
        let shape = run.shape(id);
        let (array, view) = run.part(id);
        if view.strides[2..].contains(&1) {
            return Self { array, view, shape };
        }
        Self {
            array: run.tensor(id),
            view: View::whole(id, &shape),
            shape,
        }
    }

    fn head(&self, image: usize, head: usize) -> usize {
        self.view.offset + image * self.view.strides[0] + head * self.view.strides[1]
    }

    fn at<'a>(&self, values: &'a [f32], image: usize, head: usize) -> Strided<'a> {
        Strided {
            values: &values[self.head(image, head)..],
            strides: [self.view.strides[2], self.view.strides[3]],
        }
    }
}

/// The matrix with rows and columns exchanged.
fn turned(m: Strided<'_>) -> Strided<'_> {
    Strided {
        strides: [m.strides[1], m.strides[0]],
        ..m
    }
}

impl Attention {
    fn operands(&self, run: &mut Run<'_>) -> [Operand; 3] {
        [self.q, self.k, self.v].map(|id| Operand::read(run, id))
    }

    /// The sizes of a head; factors of the views of queries and keys are part of the scale.
    fn sizes(&self, [q, k, v]: &[Operand; 3]) -> Head {
        Head {
            queries: q.shape[2],
            keys: k.shape[3],
            width: q.shape[3],
            value_width: v.shape[3],
            scale: self.scale * q.view.factor * k.view.factor,
        }
    }

    /// Distances in `y` between images, heads and rows.
    fn layout(&self, heads: usize, s: &Head) -> [usize; 3] {
        let [rows, width] = [s.queries, s.value_width];
        if self.joined {
            [rows * heads * width, width, heads * width]
        } else {
            [heads * rows * width, rows * width, width]
        }
    }
}

impl Step for Attention {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.q, self.k, self.v]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y, self.weights]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        vec![self.q, self.k, self.v, self.weights]
    }

    fn forward(&self, run: &mut Run<'_>) {
        let operands = self.operands(run);
        let s = self.sizes(&operands);
        let [outer, heads] = [operands[0].shape[0], operands[0].shape[1]];
        let [q, k, v] = &operands;
        let [qs, ks, vs] = [q, k, v].map(|o| o.array.values::<f32>());
        let mut weights = run.arena.take_rows(outer * heads * s.queries * s.keys);
        let mut y = run
            .arena
            .take_rows(outer * heads * s.queries * s.value_width);
        let mut one = run.arena.take_rows(s.queries * s.value_width);
        let layout = self.layout(heads, &s);
        for (i, weights) in weights.chunks_exact_mut(s.queries * s.keys).enumerate() {
            let (image, head) = (i / heads, i % heads);
            let parts = [
                q.at(&qs, image, head),
                turned(k.at(&ks, image, head)),
                v.at(&vs, image, head),
            ];
            s.forward(parts, &mut run.arena.attention, weights, &mut one);
            for (r, row) in one.chunks_exact(s.value_width).enumerate() {
                let to = image * layout[0] + head * layout[1] + r * layout[2];
                let to = &mut y[to..to + s.value_width];
                to.iter_mut()
                    .zip(row)
                    .for_each(|(to, &o)| *to = v.view.factor * o);
            }
        }
        run.arena.give_rows(one);
        run.put_rows(self.weights, weights);
        run.put_rows(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let Some(g) = run.cotangent_rows(self.y) else {
            return;
        };
        let (g, weights) = (g.values::<f32>(), run.tensor(self.weights));
        let operands = self.operands(run);
        let s = self.sizes(&operands);
        let [outer, heads] = [operands[0].shape[0], operands[0].shape[1]];
        let [q, k, v] = &operands;
        let [qs, ks, vs] = [q, k, v].map(|o| o.array.values::<f32>());
        let sizes = [
            s.queries * s.width,
            s.keys * s.width,
            s.keys * s.value_width,
        ];
        let [mut dq, mut dk, mut dv] = sizes.map(|len| run.arena.take_rows(outer * heads * len));
        let mut one = run.arena.take_rows(s.queries * s.value_width);
        let layout = self.layout(heads, &s);
        let each = dq
            .chunks_exact_mut(sizes[0])
            .zip(dk.chunks_exact_mut(sizes[1]))
            .zip(dv.chunks_exact_mut(sizes[2]));
        for ((i, weights), ((dq, dk), dv)) in weights
            .values::<f32>()
            .chunks_exact(s.queries * s.keys)
            .enumerate()
            .zip(each)
        {
            let (image, head) = (i / heads, i % heads);
            for (r, row) in one.chunks_exact_mut(s.value_width).enumerate() {
                let from = image * layout[0] + head * layout[1] + r * layout[2];
                row.iter_mut()
                    .zip(&g[from..from + s.value_width])
                    .for_each(|(o, &g)| *o = v.view.factor * g);
            }
            let parts = [
                q.at(&qs, image, head),
                turned(k.at(&ks, image, head)),
                v.at(&vs, image, head),
            ];
            s.backward(parts, weights, &one, &mut run.arena.attention, [dq, dk, dv]);
        }
        run.arena.give_rows(one);
        for (id, view, d, size) in [
            (self.q, &q.view, dq, [s.queries, s.width]),
            // The gradient is that of the keys as rows.
            (
                self.k,
                &View {
                    strides: [0, 1, 3, 2].map(|a| k.view.strides[a]).to_vec(),
                    ..k.view.clone()
                },
                dk,
                [s.keys, s.width],
            ),
            (self.v, &v.view, dv, [s.keys, s.value_width]),
        ] {
            if run.needs(id) {
                run.add_part_cotangent(
                    &View {
                        factor: 1.0,
                        ..view.clone()
                    },
                    &[outer, heads, size[0], size[1]],
                    d,
                );
            } else {
                run.arena.give_rows(d);
            }
        }
    }
}
