//! Steps on values in rows: layer normalisation, softmax, activations, the scaling of the input.

use super::places::Needs;
use super::run::Run;
use super::step::Step;
use crate::graph::ValueId;
use crate::tensor::Tensor;
use fgmf_kernels::{
    Activation, activate, activate_with_slope, layer_norm_rows, layer_norm_rows_grad,
    layer_norm_rows_grad_parameters, softmax_rows, softmax_rows_grad,
};

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
