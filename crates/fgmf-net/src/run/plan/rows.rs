//! Steps on values in rows: dense layers, layer normalisation, softmax, activations, the scaling of
//! the input.

use super::packed::Packed;
use super::places::{LANES, Needs};
use super::run::Run;
use super::step::Step;
use crate::graph::{Network, ValueId};
use crate::tensor::Tensor;
use fgmf_kernels::{
    Activation, MatmulEpilogue, PackedMatrix, activate, activate_with_slope, layer_norm_rows,
    layer_norm_rows_grad, layer_norm_rows_grad_parameters, matmul, matmul_packed, softmax_rows,
    softmax_rows_grad,
};
use std::sync::OnceLock;

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
        let (mut forward, mut backward) = if self.transposed {
            (turned, straight)
        } else {
            (straight, turned)
        };
        let w = match self.map {
            None => w,
            Some([channels, plane]) => {
                let [down, right] = std::mem::replace(&mut forward, [n, 1]);
                backward = [1, n];
                let row = |at: usize| {
                    (at / (plane * LANES) * LANES + at % LANES) * plane + at / LANES % plane
                };
                let order = (0..channels * plane).map(row);
                order
                    .flat_map(|i| (0..n).map(move |j| i * down + j * right))
                    .map(|at| w[at])
                    .collect::<Vec<f32>>()
                    .into()
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

/// `y = scale (x − mean) / √(variance + ε) + bias` over the last axis.
#[derive(Debug)]
pub(super) struct LayerNormRows {
    pub(super) x: ValueId,
    pub(super) scale: ValueId,
    pub(super) bias: Option<ValueId>,
    pub(super) epsilon: f64,
    pub(super) y: ValueId,
}

impl Step for LayerNormRows {
    fn inputs(&self) -> Vec<ValueId> {
        [Some(self.x), Some(self.scale), self.bias]
            .into_iter()
            .flatten()
            .collect()
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        vec![self.x]
    }

    fn forward(&self, run: &mut Run<'_>) {
        let (x, scale, bias) = (
            run.tensor(self.x),
            run.tensor(self.scale),
            self.bias.map(|b| run.tensor(b)),
        );
        let bias = bias.as_ref().map(Tensor::values::<f32>);
        let mut y = run.arena.take_rows(x.len());
        layer_norm_rows(
            scale.len(),
            self.epsilon,
            &x.values::<f32>(),
            &scale.values::<f32>(),
            bias.as_deref(),
            &mut y,
        );
        run.put_rows(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let (x, scale) = (run.tensor(self.x), run.tensor(self.scale));
        let Some(g) = run.cotangent_rows(self.y) else {
            return;
        };
        let len = scale.len();
        if run.needs(self.x) {
            let mut dx = run.arena.take_rows(x.len());
            layer_norm_rows_grad(
                len,
                self.epsilon,
                &x.values::<f32>(),
                &scale.values::<f32>(),
                &g.values::<f32>(),
                &mut dx,
            );
            run.add_rows_cotangent(self.x, dx);
        }
        let bias = self.bias.filter(|&b| run.needs(b));
        if run.needs(self.scale) || bias.is_some() {
            let (mut dscale, mut dbias) = (vec![0.0; len], vec![0.0; len]);
            layer_norm_rows_grad_parameters(
                len,
                self.epsilon,
                &x.values::<f32>(),
                &g.values::<f32>(),
                &mut dscale,
                &mut dbias,
            );
            if run.needs(self.scale) {
                run.add_parameter(self.scale, dscale);
            }
            if let Some(bias) = bias {
                run.add_parameter(bias, dbias);
            }
        }
    }
}

/// Softmax over the last axis.
#[derive(Debug)]
pub(super) struct SoftmaxRows {
    pub(super) x: ValueId,
    pub(super) y: ValueId,
}

impl Step for SoftmaxRows {
    fn inputs(&self) -> Vec<ValueId> {
        vec![self.x]
    }

    fn outputs(&self) -> Vec<ValueId> {
        vec![self.y]
    }

    fn keeps(&self, _: &Needs) -> Vec<ValueId> {
        vec![self.y]
    }

    fn forward(&self, run: &mut Run<'_>) {
        let x = run.tensor(self.x);
        let mut y = run.arena.take_rows(x.len());
        softmax_rows(last(&x), &x.values::<f32>(), &mut y);
        run.put_rows(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let y = run.tensor(self.y);
        let Some(g) = run.cotangent_rows(self.y) else {
            return;
        };
        let mut dx = run.arena.take_rows(y.len());
        softmax_rows_grad(last(&y), &y.values::<f32>(), &g.values::<f32>(), &mut dx);
        run.add_rows_cotangent(self.x, dx);
    }
}

fn last(x: &Tensor) -> usize {
    x.shape().last().copied().unwrap_or(1)
}

/// An activation of a value in rows.
#[derive(Debug)]
pub(super) struct ActivateRows {
    pub(super) kind: Activation,
    pub(super) x: ValueId,
    pub(super) y: ValueId,
}

impl Step for ActivateRows {
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
        let x = run.tensor(self.x);
        let mut y = run.arena.take_rows(x.len());
        if run.needs(self.x) {
            let mut slope = run.arena.take_rows(x.len());
            activate_with_slope(self.kind, &x.values::<f32>(), &mut y, &mut slope);
            run.slopes[self.y.0] = Some(slope);
        } else {
            activate(self.kind, &x.values::<f32>(), &mut y);
        }
        run.put_rows(self.y, y);
    }

    fn backward(&self, run: &mut Run<'_>) {
        let (Some(g), Some(mut dx)) = (run.cotangent_rows(self.y), run.slopes[self.y.0].take())
        else {
            return;
        };
        dx.iter_mut()
            .zip(g.values::<f32>().iter())
            .for_each(|(slope, g)| *slope *= g);
        run.add_rows_cotangent(self.x, dx);
    }
}

/// `y = scale x + shift` with a stored number for each channel of `[n, c, …]`: the normalisation of
/// the input, several nodes in one.
#[derive(Debug)]
pub(super) struct Scale {
    pub(super) x: ValueId,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) y: ValueId,
}

impl Scale {
    fn each(&self, run: &mut Run<'_>, x: &Tensor, f: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
        let (channels, plane) = run.planes(self.x);
        let mut y = run.arena.take_rows(x.len());
        for (i, (x, y)) in x
            .values::<f32>()
            .chunks_exact(plane)
            .zip(y.chunks_exact_mut(plane))
            .enumerate()
        {
            let (scale, shift) = (self.scale[i % channels], self.shift[i % channels]);
            x.iter().zip(y).for_each(|(&x, y)| *y = f(x, scale, shift));
        }
        y
    }
}

impl Step for Scale {
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
        let x = run.tensor(self.x);
        let y = self.each(run, &x, |v, scale, shift| v * scale + shift);
        run.put_rows(self.y, y);
    }

    fn window(&self, run: &mut Run<'_>) -> bool {
        let Some(region) = run.region(self.x) else {
            return false;
        };
        let mut y = run.arena.take(run.patch(self.x).len());
        let plane = region[0].len() * region[1].len();
        for (i, (x, y)) in run
            .patch(self.x)
            .chunks_exact(plane)
            .zip(y.chunks_exact_mut(plane))
            .enumerate()
        {
            let (scale, shift) = (
                self.scale[i % self.scale.len()],
                self.shift[i % self.scale.len()],
            );
            x.iter().zip(y).for_each(|(&x, y)| *y = x * scale + shift);
        }
        run.put_patch(self.y, region, y);
        true
    }

    fn backward(&self, run: &mut Run<'_>) {
        let Some(g) = run.cotangent_rows(self.y) else {
            return;
        };
        let dx = self.each(run, &g, |v, scale, _| v * scale);
        run.add_rows_cotangent(self.x, dx);
    }
}
