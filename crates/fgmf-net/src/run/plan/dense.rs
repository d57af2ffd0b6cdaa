//! Dense layers, with what fits behind them.

use super::packed::Packed;
use super::places::{LANES, Needs};
use super::run::Run;
use super::step::Step;
use crate::graph::{Network, ValueId};
use crate::tensor::Tensor;
use fgmf_kernels::{
    Activation, MatmulEpilogue, PackedMatrix, activate, activate_with_slope, matmul, matmul_packed,
};
use std::sync::OnceLock;

/// Rows that go through a product and an activation together, so that what lies between stays in
/// the cache: a whole number of register tiles.
const BLOCK: usize = 56;

/// `y = act(x W + bias + add)` over the last axis of `x`, with a stored `W`.
#[derive(Debug)]
pub(super) struct Dense {
    pub(super) x: ValueId,
    /// Channels, a whole number of blocks, and cells of a plane, where `x` is a feature map that is
    /// read as one row an image as it lies, blocked: `W` is packed in that order, and not trained.
    pub(super) map: Option<[usize; 2]>,
    pub(super) weight: ValueId,
    /// Whether `W` is stored as `[n, k]`.
    pub(super) transposed: bool,
    pub(super) bias: Option<ValueId>,
    pub(super) add: Option<ValueId>,
    pub(super) relu: bool,
    /// Another activation than the rectifier.
    pub(super) activation: Option<Activation>,
    pub(super) y: ValueId,
    pub(super) packed: OnceLock<DenseWeights>,
}

/// A dense layer's weights as the kernels read them.
#[derive(Debug)]
pub(super) struct DenseWeights {
    k: usize,
    n: usize,
    forward: PackedMatrix,
    backward: Option<PackedMatrix>,
    bias: Option<Vec<f32>>,
}

impl Dense {
    fn weights(&self) -> &DenseWeights {
        self.packed
            .get()
            .unwrap_or_else(|| unreachable!("a plan prepares its steps"))
    }

    /// The gradient to `x` alone, through the slope of the activation.
    fn grad_input(&self, run: &mut Run<'_>, g: &[f32], slope: &[f32], w: &PackedMatrix) {
        let [n, k] = [w.k(), w.n()];
        let mut dx = run.arena.take_rows(g.len() / n * k);
        let mut product = run.arena.take(BLOCK * n);
        for ((g, slope), dx) in g
            .chunks(BLOCK * n)
            .zip(slope.chunks(BLOCK * n))
            .zip(dx.chunks_mut(BLOCK * k))
        {
            let product = &mut product[..g.len()];
            for (p, (g, s)) in product.iter_mut().zip(g.iter().zip(slope)) {
                *p = g * s;
            }
            let rows = g.len() / n;
            matmul_packed(rows, product, [n, 1], w, MatmulEpilogue::default(), dx);
        }
        run.arena.give(product);
        run.add_rows_cotangent(self.x, dx);
    }
}

impl Step for Dense {
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

    fn prepare(&self, net: &Network, _: &Packed, needs: &Needs) {
        let Some(w) = net.parameter(self.weight) else {
            unreachable!("a dense step has a stored weight")
        };
        let [rows, cols] = [w.shape()[0], w.shape()[1]];
        let w = w.values::<f32>();
        let (k, n) = if self.transposed {
            (cols, rows)
        } else {
            (rows, cols)
        };
        let (straight, turned) = ([cols, 1], [1, cols]);
        let (forward, backward) = if self.transposed {
            (turned, straight)
        } else {
            (straight, turned)
        };
        let w = match self.map {
            None => w,
            Some([channels, plane]) => {
                let row = |at: usize| {
                    (at / (plane * LANES) * LANES + at % LANES) * plane + at / LANES % plane
                };
                let order: Vec<usize> = (0..channels * plane).map(row).collect();
                let mut moved = Vec::with_capacity(w.len());
                // Reads stay within a row of what is stored.
                if self.transposed {
                    for w in w.chunks_exact(k) {
                        moved.extend(order.iter().map(|&i| w[i]));
                    }
                } else {
                    for &i in &order {
                        moved.extend_from_slice(&w[i * n..][..n]);
                    }
                }
                moved.into()
            }
        };
        let forward = PackedMatrix::new(k, n, &w, forward);
        let backward = needs
            .of(self.x)
            .then(|| PackedMatrix::new(n, k, &w, backward));
        let bias = self.bias.and_then(|id| net.parameter(id)).map(|b| {
            let mut b = b.to_f32();
            b.resize(forward.bias_len(), 0.0);
            b
        });
        // A plan is prepared once.
        let _ = self.packed.set(DenseWeights {
            k,
            n,
            forward,
            backward,
            bias,
        });
    }

    fn forward(&self, run: &mut Run<'_>) {
        let DenseWeights {
            k,
            n,
            forward,
            bias,
            ..
        } = self.weights();
        if self.map.is_some() {
            run.make_blocked(self.x);
            let mut y = run.arena.take_rows(run.n * n);
            let epilogue = MatmulEpilogue {
                bias: bias.as_deref(),
                add: None,
                relu: self.relu,
            };
            matmul_packed(
                run.n,
                run.blocked(self.x),
                [*k, 1],
                forward,
                epilogue,
                &mut y,
            );
            return run.put_rows(self.y, y);
        }
        let x = run.tensor(self.x);
        let add = self.add.map(|id| run.tensor(id));
        let add = add.as_ref().map(Tensor::values::<f32>);
        let mut y = run.arena.take_rows(x.len() / k * n);
        if let Some(kind) = self.activation {
            let kept = self.inputs().iter().any(|&id| run.needs(id));
            let mut slope = kept.then(|| run.arena.take_rows(y.len()));
            let mut sums = run.arena.take(BLOCK * n);
            for (i, (x, y)) in x
                .values::<f32>()
                .chunks(BLOCK * k)
                .zip(y.chunks_mut(BLOCK * n))
                .enumerate()
            {
                let (at, sums) = (i * BLOCK * n, &mut sums[..y.len()]);
                let epilogue = MatmulEpilogue {
                    bias: bias.as_deref(),
                    add: add.as_deref().map(|a| &a[at..at + y.len()]),
                    relu: false,
                };
                matmul_packed(y.len() / n, x, [*k, 1], forward, epilogue, sums);
                match &mut slope {
                    Some(s) => activate_with_slope(kind, sums, y, &mut s[at..at + y.len()]),
                    None => activate(kind, sums, y),
                }
            }
            run.arena.give(sums);
            run.slopes[self.y.0] = slope;
            return run.put_rows(self.y, y);
        }
        let epilogue = MatmulEpilogue {
            bias: bias.as_deref(),
            add: add.as_deref(),
            relu: self.relu,
        };
        matmul_packed(
            x.len() / k,
            &x.values::<f32>(),
            [*k, 1],
            forward,
            epilogue,
            &mut y,
        );
        run.put_rows(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let DenseWeights { k, n, backward, .. } = self.weights();
        let Some(mut g) = run.cotangent_rows(self.y) else {
            return;
        };
        if self.relu {
            let y = run.tensor(self.y);
            g = gated(&g, &y);
        }
        let m = g.len() / n;
        if let Some(mut slope) = run.slopes[self.y.0].take() {
            let others = [Some(self.weight), self.bias, self.add];
            if !others.into_iter().flatten().any(|id| run.needs(id))
                && let Some(w) = backward
            {
                self.grad_input(run, &g.values::<f32>(), &slope, w);
                return run.arena.give_rows(slope);
            }
            slope
                .iter_mut()
                .zip(g.values::<f32>().iter())
                .for_each(|(slope, g)| *slope *= g);
            g = Tensor::new(g.shape(), slope);
        }
        if let (true, Some(w), Some(_)) = (run.needs(self.x), backward, self.map) {
            let mut dx = run.arena.take(m * k);
            matmul_packed(
                m,
                &g.values::<f32>(),
                [*n, 1],
                w,
                MatmulEpilogue::default(),
                &mut dx,
            );
            run.add_blocked_cotangent(self.x, dx);
        } else if let (true, Some(w)) = (run.needs(self.x), backward) {
            let mut dx = run.arena.take_rows(m * k);
            matmul_packed(
                m,
                &g.values::<f32>(),
                [*n, 1],
                w,
                MatmulEpilogue::default(),
                &mut dx,
            );
            run.add_rows_cotangent(self.x, dx);
        }
        if run.needs(self.weight) {
            let x = run.tensor(self.x);
            let mut dw = vec![0.0; k * n];
            if self.transposed {
                matmul(
                    [*n, m, *k],
                    &g.values::<f32>(),
                    [1, *n],
                    &x.values::<f32>(),
                    [*k, 1],
                    &mut dw,
                );
            } else {
                matmul(
                    [*k, m, *n],
                    &x.values::<f32>(),
                    [1, *k],
                    &g.values::<f32>(),
                    [*n, 1],
                    &mut dw,
                );
            }
            run.add_parameter(self.weight, dw);
        }
        if let Some(bias) = self.bias.filter(|&b| run.needs(b)) {
            let shape = run.shape(bias);
            let sums = g.reshape(&[m, *n]).sum_to(&[1, *n]).reshape(&shape);
            run.add_parameter(bias, sums.to_f32());
        }
        if let Some(add) = self.add.filter(|&a| run.needs(a)) {
            run.hand_on(self.y, g, add);
        }
    }
}

/// `g` where `y` is positive.
fn gated(g: &Tensor, y: &Tensor) -> Tensor {
    let (g_values, y) = (g.values::<f32>(), y.values::<f32>());
    let pass = |(&g, &y): (&f32, &f32)| if y > 0.0 { g } else { 0.0 };
    Tensor::new(
        g.shape(),
        g_values
            .iter()
            .zip(y.iter())
            .map(pass)
            .collect::<Vec<f32>>(),
    )
}
