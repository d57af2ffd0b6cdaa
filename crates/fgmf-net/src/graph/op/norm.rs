//! Normalisations: batch, layer, softmax.

use super::base::{Local, Mode, Operator, Saved, arity, known, resolve_axis};
use super::elementwise::Unary;
use crate::dual::Dual;

/// Per-channel normalisation: `x [n, c, …]`, then `scale`, `bias`, running `mean` and `variance`,
/// each `[c]`.
///
/// Evaluating, y = scale (x − mean) / √(variance + ε) + bias. Training, mean and biased variance
/// are those of the chunk and the derivative goes through them; the tape keeps them for the running
/// averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// ε under the root.
    pub epsilon: f64,
    /// Share of the old running value kept at an update, as ONNX defines it (1 − PyTorch's
    /// momentum).
    pub momentum: f64,
}

impl BatchNorm {
    fn axes(x: &Dual) -> (Vec<usize>, Vec<usize>) {
        let axes = (0..x.rank()).filter(|&i| i != 1).collect();
        let mut channel = vec![1; x.rank()];
        channel[1] = x.shape()[1];
        (axes, channel)
    }

    /// Normalised input and 1/σ, both over duals.
    fn normalised(&self, x: &Dual, inputs: &[&Dual], saved: &Saved) -> (Dual, Dual) {
        let (axes, channel) = Self::axes(x);
        let (centred, variance) = if matches!(saved, Saved::BatchStatistics { .. }) {
            let centred = x.sub(&x.mean(&axes));
            let variance = centred.mul(&centred).mean(&axes);
            (centred, variance)
        } else {
            (
                x.sub(&inputs[3].reshape(&channel)),
                inputs[4].reshape(&channel),
            )
        };
        let inv =
            Unary::Reciprocal.run(&Unary::Sqrt.run(&variance.affine(1.0, self.epsilon), 0), 0);
        (centred.mul(&inv), inv)
    }
}

impl Operator for BatchNorm {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 5, 5)?;
        let x = inputs[0];
        if x.len() < 2 {
            return Err(format!(
                "expected an input of rank 2 or more, found shape {x:?}"
            ));
        }
        match inputs[1..].iter().find(|s| ***s != [x[1]]) {
            Some(s) => Err(format!(
                "expected statistics of shape [{}], found {s:?}",
                x[1]
            )),
            None => Ok(vec![x.to_vec()]),
        }
    }

    fn forward(&self, inputs: &[&Dual], mode: Mode) -> (Vec<Dual>, Saved) {
        let x = inputs[0];
        let (axes, channel) = Self::axes(x);
        let saved = match mode {
            Mode::Evaluate => Saved::None,
            Mode::Train => {
                let n: usize = axes.iter().map(|&a| x.shape()[a]).product();
                let c = [x.shape()[1]];
                let mean = x.value.sum(&axes).affine(1.0 / n as f64, 0.0);
                let centred = x.value.sub(&mean);
                let variance = centred.mul(&centred).sum(&axes).affine(1.0 / n as f64, 0.0);
                Saved::BatchStatistics {
                    mean: mean.reshape(&c),
                    variance: variance.reshape(&c),
                    count: n,
                }
            }
        };
        let (normal, _) = self.normalised(x, inputs, &saved);
        let y = normal
            .mul(&inputs[1].reshape(&channel))
            .add(&inputs[2].reshape(&channel));
        (vec![y], saved)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (x, g) = (local.inputs[0], local.g());
        let (axes, channel) = Self::axes(x);
        let (normal, inv) = self.normalised(x, local.inputs, local.saved);
        let c = [x.shape()[1]];
        let slope = inv.mul(&local.inputs[1].reshape(&channel));
        let training = matches!(local.saved, Saved::BatchStatistics { .. });
        let dx = || {
            if training {
                // Through mean and variance: σ⁻¹ (g − mean(g) − x̂ mean(g x̂)).
                let straight = g
                    .sub(&g.mean(&axes))
                    .sub(&normal.mul(&g.mul(&normal).mean(&axes)));
                straight.mul(&slope)
            } else {
                g.mul(&slope)
            }
        };
        vec![
            local.when(0, dx),
            local.when(1, || g.mul(&normal).sum(&axes).reshape(&c)),
            local.when(2, || g.sum(&axes).reshape(&c)),
            // Running statistics are not trained by gradient; asked for by name they still get
            // their derivative, which is none in training, where they are not used.
            local
                .when(3, || g.mul(&slope).neg().sum(&axes).reshape(&c))
                .filter(|_| !training),
            local
                .when(4, || {
                    g.mul(&normal)
                        .mul(&slope)
                        .mul(&inv)
                        .affine(-0.5, 0.0)
                        .sum(&axes)
                        .reshape(&c)
                })
                .filter(|_| !training),
        ]
    }
}

/// Normalisation over the axes from `axis` on: y = scale (x − mean) / √(variance + ε) + bias.
/// Inputs `x`, `scale`, optional `bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// First normalised axis.
    pub axis: i64,
    /// ε under the root.
    pub epsilon: f64,
}

impl LayerNorm {
    fn axes(&self, rank: usize) -> Vec<usize> {
        (known(resolve_axis(self.axis, rank))..rank).collect()
    }

    fn normalised(&self, x: &Dual) -> (Dual, Dual, Vec<usize>) {
        let axes = self.axes(x.rank());
        let centred = x.sub(&x.mean(&axes));
        let variance = centred.mul(&centred).mean(&axes);
        let inv =
            Unary::Reciprocal.run(&Unary::Sqrt.run(&variance.affine(1.0, self.epsilon), 0), 0);
        (centred.mul(&inv), inv, axes)
    }
}

impl Operator for LayerNorm {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 2, 3)?;
        let x = inputs[0];
        let axis = resolve_axis(self.axis, x.len())?;
        match inputs[1..].iter().find(|s| ***s != x[axis..]) {
            Some(s) => Err(format!(
                "expected scale and bias of shape {:?}, found {s:?}",
                &x[axis..]
            )),
            None => Ok(vec![x.to_vec()]),
        }
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let y = self.normalised(inputs[0]).0.mul(inputs[1]);
        let y = match inputs.get(2) {
            Some(bias) => y.add(bias),
            None => y,
        };
        (vec![y], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (x, scale, g) = (local.inputs[0], local.inputs[1], local.g());
        let (normal, inv, axes) = self.normalised(x);
        let dx = || {
            let h = g.mul(scale);
            h.sub(&h.mean(&axes))
                .sub(&normal.mul(&h.mul(&normal).mean(&axes)))
                .mul(&inv)
        };
        vec![
            local.when(0, dx),
            local.when(1, || g.mul(&normal).sum_to(scale.shape())),
            local.when(2, || g.sum_to(scale.shape())),
        ]
    }
}

/// eˣ / Σ eˣ along one axis, or its logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// Axis that sums to one.
    pub axis: i64,
    /// Return log-probabilities.
    pub log: bool,
}

impl Softmax {
    /// Log-probabilities; the maximum is taken out first, so nothing overflows.
    fn log_probabilities(x: &Dual, axis: usize) -> Dual {
        let shifted = x.sub(&x.value.max(axis).into());
        let total = Unary::Exp.run(&shifted, 0).sum(&[axis]);
        shifted.sub(&Unary::Log.run(&total, 0))
    }
}

impl Operator for Softmax {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        resolve_axis(self.axis, inputs[0].len())?;
        Ok(vec![inputs[0].to_vec()])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let x = inputs[0];
        let axis = known(resolve_axis(self.axis, x.rank()));
        let y = if self.log {
            Self::log_probabilities(x, axis)
        } else {
            let e = Unary::Exp.run(&x.sub(&x.value.max(axis).into()), 0);
            e.div(&e.sum(&[axis]))
        };
        (vec![y], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (y, g) = (&local.outputs[0], local.g());
        let axis = known(resolve_axis(self.axis, y.rank()));
        let dx = || {
            if self.log {
                g.sub(&Unary::Exp.run(y, 0).mul(&g.sum(&[axis])))
            } else {
                let gy = g.mul(y);
                gy.sub(&y.mul(&gy.sum(&[axis])))
            }
        };
        vec![local.when(0, dx)]
    }
}
