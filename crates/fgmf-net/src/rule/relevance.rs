//! Layer-wise relevance propagation (Bach et al. 2015) as backward rules.
//!
//! What travels back is relevance divided by the value it belongs to, c = R / v, so that R at the
//! image is x · c and no rule divides by an activation that may be 0. With R = c y at the output of
//! a node:
//! - linear in what depends on the image: see [`LinearRule`];
//! - a rectifier passes c where it is open; any other elementwise function passes its relevance
//!   unchanged, c_in = c y / x (its derivative where x is almost 0);
//! - a product of two values that both depend on the image gives each half of the relevance;
//! - attention weights are constants (Ali et al. 2022): nothing passes a softmax, and a product
//!   with its output counts as linear. So are divisors, and the standard deviation of a layer
//!   normalisation;
//! - maximum pooling gives everything to the largest; sums, means and rearrangement pass their
//!   derivative.

use super::base::{BackwardRule, Rules};
use super::parts::{OnlyInput, StraightThrough};
use super::reach::{image_dependent, moving, only_reader};
use crate::dual::Dual;
use crate::graph::op::{Binary, LayerNorm, Local, Mode, Op, Unary, known, resolve_axis};
use crate::graph::{Network, Node, ValueId};
use crate::tensor::Tensor;
use std::sync::Arc;

/// How a layer shares relevance among its inputs; z_ij = w_ij x_i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LinearRule {
    /// R_i = Σ_j z_ij / (y_j + ε sign y_j) R_j, in every linear layer.
    Epsilon(f64),
    /// R_i = Σ_j (α z_ij⁺ / z_j⁺ − β z_ij⁻ / z_j⁻) R_j, sums z_j± over inputs and bias, in layers
    /// with weights. Batch normalisation right behind a layer is taken as part of it, elsewhere it
    /// passes its derivative.
    AlphaBeta {
        /// Weight of what speaks for.
        alpha: f64,
        /// Weight of what speaks against, α − 1.
        beta: f64,
    },
}

/// The rules for every node of a network.
pub fn relevance(net: &Network, rule: LinearRule) -> Rules {
    let depends = image_dependent(net);
    let mut rules = Rules::exact();
    for (i, node) in net.nodes().iter().enumerate() {
        let inputs = moving(node, &depends);
        if let Some(found) = of_node(net, node, &inputs, rule) {
            rules.set(i, found);
        }
        if let (LinearRule::AlphaBeta { .. }, Some(behind)) =
            (rule, normalised_behind(net, node, &inputs))
        {
            rules.set(behind, Arc::new(StraightThrough(0)));
        }
    }
    rules
}

fn of_node(
    net: &Network,
    node: &Node,
    inputs: &[usize],
    rule: LinearRule,
) -> Option<Arc<dyn BackwardRule>> {
    Some(match (&node.op, inputs) {
        (_, []) => return None,
        (Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::MatMul(_), &[i @ (0 | 1)]) => {
            match rule {
                LinearRule::Epsilon(epsilon) => Arc::new(Stabilised(epsilon)),
                LinearRule::AlphaBeta { alpha, beta } => {
                    let fold = normalised_behind(net, node, inputs)
                        .map(|n| Fold::new(net, node, &net.nodes()[n]));
                    Arc::new(Signed {
                        input: i,
                        alpha,
                        beta,
                        fold,
                    })
                }
            }
        }
        (Op::BatchNorm(_), _) => match rule {
            LinearRule::Epsilon(epsilon) => Arc::new(Stabilised(epsilon)),
            LinearRule::AlphaBeta { .. } => return None,
        },
        (Op::MatMul(_), &[_, _]) => {
            match node.inputs.iter().position(|&id| is_attention(net, id)) {
                Some(weights) => Arc::new(OnlyInput(1 - weights)),
                None => Arc::new(Half),
            }
        }
        (Op::Binary(Binary::Mul), &[_, _]) => Arc::new(Half),
        (Op::Binary(Binary::Div), &[_, _]) => Arc::new(OnlyInput(0)),
        (Op::Binary(Binary::Div), &[1]) | (Op::Binary(Binary::Pow), _) => Arc::new(Unchanged),
        (Op::Unary(u), _) => match u {
            Unary::Relu | Unary::LeakyRelu { .. } | Unary::Abs | Unary::Neg | Unary::Identity => {
                return None;
            }
            _ => Arc::new(Unchanged),
        },
        (Op::LayerNorm(o), _) => Arc::new(Centred(*o)),
        (Op::Softmax(s), _) if s.log => Arc::new(StraightThrough(0)),
        (Op::Softmax(_), _) => Arc::new(OnlyInput(usize::MAX)),
        _ => return None,
    })
}

/// Whether a value is the output of a softmax, rearranged or scaled or not.
fn is_attention(net: &Network, id: ValueId) -> bool {
    let Some(node) = net.producer(id).map(|i| &net.nodes()[i]) else {
        return false;
    };
    match &node.op {
        Op::Softmax(_) => true,
        Op::Unary(Unary::Identity)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Gather(_)
        | Op::Slice(_) => is_attention(net, node.inputs[0]),
        Op::Binary(Binary::Mul | Binary::Div) => {
            node.inputs.iter().any(|&id| is_attention(net, id))
        }
        _ => false,
    }
}

/// The batch normalisation that is the only reader of a convolution or dense layer.
fn normalised_behind(net: &Network, node: &Node, inputs: &[usize]) -> Option<usize> {
    if !matches!(node.op, Op::Conv(_) | Op::Gemm(_)) || inputs != [0] {
        return None;
    }
    let behind = only_reader(net, node.outputs[0])?;
    let n = &net.nodes()[behind];
    let stored = |id: &ValueId| net.parameter(*id).is_some();
    (matches!(n.op, Op::BatchNorm(_))
        && n.inputs[1..].iter().all(stored)
        && node.inputs[1..].iter().all(stored))
    .then_some(behind)
}

/// c y / (y + ε sign y), pulled back by the derivative.
struct Stabilised(f64);

impl BackwardRule for Stabilised {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let y = &local.outputs[0].value;
        let sign = y.greater(0.0).sub(&y.neg().greater(0.0));
        // Where y is 0 its relevance is 0, whatever c is; 1 keeps the quotient finite.
        let zero = y.mul(y).greater(0.0).affine(-1.0, 1.0);
        let c = local
            .g()
            .value
            .mul(y)
            .div(&y.add(&sign.affine(self.0, 0.0)).add(&zero));
        op.operator().backward(&Local {
            cotangents: &[Some(c.into())],
            ..*local
        })
    }
}

/// The relevance of an elementwise function of one moving input, unchanged.
struct Unchanged;

impl BackwardRule for Unchanged {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let mut out = op.operator().backward(local);
        let Some(i) = out.iter().position(Option::is_some) else {
            return out;
        };
        let shape = local.outputs[0].shape();
        if local.inputs[i].shape() != shape {
            return out;
        }
        let (x, y, c) = (
            local.inputs[i].value.to_f64(),
            local.outputs[0].value.to_f64(),
            local.g().value.to_f64(),
        );
        let slope = out[i].as_ref().map_or_else(Vec::new, |d| d.value.to_f64());
        let one = |k: usize| {
            if x[k].abs() > 1e-6 {
                c[k] * y[k] / x[k]
            } else {
                slope[k]
            }
        };
        out[i] = Some(
            Tensor::new(shape, (0..x.len()).map(one).collect::<Vec<f64>>())
                .cast(local.g().precision())
                .into(),
        );
        out
    }
}

/// Each of two factors gets half.
struct Half;

impl BackwardRule for Half {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        op.operator()
            .backward(local)
            .into_iter()
            .map(|d| d.map(|d| d.affine(0.5, 0.0)))
            .collect()
    }
}

/// Layer normalisation with a constant standard deviation.
struct Centred(LayerNorm);

impl BackwardRule for Centred {
    fn backward(&self, _: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let x = &local.inputs[0].value;
        let axes: Vec<usize> = (known(resolve_axis(self.0.axis, x.rank()))..x.rank()).collect();
        let n: usize = axes.iter().map(|&a| x.shape()[a]).product();
        let average = |t: &Tensor| t.sum(&axes).affine(1.0 / n as f64, 0.0);
        let centred = x.sub(&average(x));
        let half = Tensor::full(&[1], -0.5, x.precision());
        let inverse = average(&centred.mul(&centred))
            .affine(1.0, self.0.epsilon)
            .pow(&half, 0);
        let h = local.g().value.mul(&local.inputs[1].value).mul(&inverse);
        vec![local.when(0, || h.sub(&average(&h)).into())]
    }
}

/// A batch normalisation as part of the layer before it.
struct Fold {
    /// scale / √(variance + ε), in the shape that multiplies the layer's weight.
    weight: Tensor,
    /// The same, one a channel.
    scale: Tensor,
    /// bias − mean · scale, one a channel.
    shift: Tensor,
}

impl Fold {
    fn new(net: &Network, layer: &Node, norm: &Node) -> Self {
        let stored = |i: usize| {
            net.parameter(norm.inputs[i])
                .cloned()
                .unwrap_or_else(|| unreachable!("it was checked to be stored"))
        };
        let Op::BatchNorm(b) = &norm.op else {
            unreachable!("it was checked to be a batch normalisation")
        };
        let half = Tensor::full(&[1], -0.5, stored(4).precision());
        let scale = stored(1).mul(&stored(4).affine(1.0, b.epsilon).pow(&half, 0));
        let m = scale.len();
        let shape = match &layer.op {
            Op::Conv(_) => vec![m, 1, 1, 1],
            Op::Gemm(g) if g.trans_b => vec![m, 1],
            _ => vec![1, m],
        };
        Self {
            weight: scale.reshape(&shape),
            shift: stored(2).sub(&stored(3).mul(&scale)),
            scale,
        }
    }
}

/// The αβ rule.
struct Signed {
    /// The input that depends on the image.
    input: usize,
    alpha: f64,
    beta: f64,
    fold: Option<Fold>,
}

fn positive(t: &Tensor) -> Tensor {
    Unary::Relu.run(&t.clone().into(), 0).value
}

fn negative(t: &Tensor) -> Tensor {
    positive(&t.neg()).neg()
}

impl Signed {
    /// The layer without bias, on other inputs and weights.
    fn run(&self, op: &Op, x: &Tensor, w: &Tensor) -> Tensor {
        let (x, w) = (Dual::from(x.clone()), Dual::from(w.clone()));
        let inputs = if self.input == 0 { [&x, &w] } else { [&w, &x] };
        op.operator()
            .forward(&inputs, Mode::Evaluate)
            .0
            .swap_remove(0)
            .value
    }

    fn pull(&self, op: &Op, local: &Local<'_>, w: &Tensor, g: &Tensor) -> Tensor {
        let (x, w) = (local.inputs[self.input], Dual::from(w.clone()));
        let inputs = if self.input == 0 { [x, &w] } else { [&w, x] };
        let wanted = [self.input == 0, self.input == 1];
        let local = Local {
            inputs: &inputs,
            wanted: &wanted,
            cotangents: &[Some(g.clone().into())],
            outputs: local.outputs,
            saved: local.saved,
        };
        let pulled = op.operator().backward(&local).swap_remove(self.input);
        pulled.map_or_else(|| x.value.zeros_like(), |d| d.value)
    }

    /// Bias in the shape of the outputs, the share of a normalisation behind included.
    fn bias(&self, op: &Op, local: &Local<'_>) -> Option<Tensor> {
        let stored = local.inputs.get(2).map(|b| match op {
            Op::Gemm(g) => b.value.affine(g.beta, 0.0),
            _ => b.value.clone(),
        });
        let channels = |t: &Tensor| match op {
            Op::Conv(_) | Op::ConvTranspose(_) => t.reshape(&[1, t.len(), 1, 1]),
            _ => t.clone(),
        };
        match (&self.fold, stored) {
            (Some(f), Some(b)) => Some(
                channels(&b)
                    .mul(&channels(&f.scale))
                    .add(&channels(&f.shift)),
            ),
            (Some(f), None) => Some(channels(&f.shift)),
            (None, b) => b.map(|b| channels(&b)),
        }
    }
}

impl BackwardRule for Signed {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let mut out = vec![None; local.inputs.len()];
        let x = &local.inputs[self.input].value;
        let w = &local.inputs[1 - self.input].value;
        // α and β of Gemm scale both parts alike.
        let w = self
            .fold
            .as_ref()
            .map_or_else(|| w.clone(), |f| w.mul(&f.weight));
        let ([xp, xn], [wp, wn]) = ([positive(x), negative(x)], [positive(&w), negative(&w)]);
        let mut zp = self.run(op, &xp, &wp).add(&self.run(op, &xn, &wn));
        let mut zn = self.run(op, &xp, &wn).add(&self.run(op, &xn, &wp));
        if let Some(b) = self.bias(op, local) {
            (zp, zn) = (zp.add(&positive(&b)), zn.add(&negative(&b)));
        }
        let r = local.g().value.mul(&zp.add(&zn));
        let share = |z: &Tensor, factor: f64| {
            // A part without a term has no relevance to give.
            let none = z.mul(z).greater(0.0).affine(-1.0, 1.0);
            r.div(&z.add(&none)).mul(&none.affine(-factor, factor))
        };
        let (sp, sn) = (share(&zp, self.alpha), share(&zn, -self.beta));
        let (open, shut) = (x.greater(0.0), x.neg().greater(0.0));
        let up = self
            .pull(op, local, &wp, &sp)
            .add(&self.pull(op, local, &wn, &sn));
        let down = self
            .pull(op, local, &wn, &sp)
            .add(&self.pull(op, local, &wp, &sn));
        out[self.input] = Some(up.mul(&open).add(&down.mul(&shut)).into());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::head::Logit;
    use crate::graph::op::{
        BatchNorm, Conv, Flatten, Gemm, GlobalAveragePool, MatMul, MaxPool, Reshape, Softmax,
        Transpose, Window,
    };
    use crate::run::Session;
    use crate::{Builder, ValueId};

    fn numbers(n: usize, seed: f64) -> Vec<f64> {
        (0..n)
            .map(|i| f64::sin(seed + 12.9898 * (i + 1) as f64))
            .collect()
    }

    fn stored(b: &mut Builder, name: &str, shape: &[usize], seed: f64) -> ValueId {
        b.parameter(
            name,
            Tensor::new(shape, numbers(shape.iter().product(), seed)),
            true,
        )
        .unwrap()
    }

    fn run(net: &Network, x: &Tensor, rules: &Rules) -> (Vec<f64>, Vec<f64>) {
        let found = Session::new(net.clone())
            .loss_gradients(
                x,
                &Logit::new(&vec![0; x.shape()[0]]),
                &[net.input()],
                rules,
            )
            .unwrap();
        (found.gradients[0].to_f64(), found.losses)
    }

    fn close(a: &[f64], b: &[f64], tolerance: f64) {
        let largest = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        assert!(
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| (a - b).abs() <= tolerance * largest),
            "{a:?} against {b:?}"
        );
    }

    /// Rectifiers, pooling and weights without bias: the ε rule with ε → 0 is gradient times input,
    /// and sums to the logit.
    #[test]
    fn epsilon_to_zero_is_gradient_times_input() {
        let mut b = Builder::new("plain", "image", [2, 6, 6]).unwrap();
        let (x, k, w) = (
            b.input(),
            stored(&mut b, "k", &[4, 2, 3, 3], 1.0),
            stored(&mut b, "w", &[3, 4], 2.0),
        );
        let y = b
            .node(
                "conv",
                Op::Conv(Conv {
                    pads: [1; 4],
                    ..Conv::default()
                }),
                &[x, k],
            )
            .unwrap();
        let y = b.node("act", Op::Unary(Unary::Relu), &[y]).unwrap();
        let y = b
            .node("pool", Op::MaxPool(MaxPool(Window::square(2))), &[y])
            .unwrap();
        let y = b
            .node("mean", Op::GlobalAveragePool(GlobalAveragePool), &[y])
            .unwrap();
        let y = b
            .node("flat", Op::Flatten(Flatten { axis: 1 }), &[y])
            .unwrap();
        let z = b.node("logits", Op::Gemm(Gemm::DENSE), &[y, w]).unwrap();
        let net = b.finish(z).unwrap();
        let x = Tensor::new(&[2, 2, 6, 6], numbers(144, 3.0));
        let (c, z) = run(&net, &x, &relevance(&net, LinearRule::Epsilon(1e-12)));
        close(&c, &run(&net, &x, &Rules::exact()).0, 1e-9);
        let sums: Vec<f64> = c
            .chunks_exact(72)
            .zip(x.to_f64().chunks_exact(72))
            .map(|(c, x)| c.iter().zip(x).map(|(c, x)| c * x).sum())
            .collect();
        close(&sums, &z, 1e-9);
    }

    /// Attention, layer normalisation, GELU, a gate: relevance is conserved through every rule, but
    /// for biases, of which there are none.
    #[test]
    fn relevance_is_conserved_through_a_transformer_block() {
        let mut b = Builder::new("block", "image", [1, 4, 5]).unwrap();
        let x = b.input();
        let (k, v, w) = (
            stored(&mut b, "k", &[5, 5], 1.0),
            stored(&mut b, "v", &[5, 5], 2.0),
            stored(&mut b, "w", &[3, 20], 3.0),
        );
        let t = b
            .node(
                "tokens",
                Op::Reshape(Reshape {
                    shape: vec![0, 4, 5],
                }),
                &[x],
            )
            .unwrap();
        let scale = stored(&mut b, "scale", &[5], 4.0);
        let n = b
            .node(
                "norm",
                Op::LayerNorm(LayerNorm {
                    axis: -1,
                    epsilon: 1e-5,
                }),
                &[t, scale],
            )
            .unwrap();
        let keys = b.node("keys", Op::MatMul(MatMul), &[n, k]).unwrap();
        let turned = b
            .node(
                "turned",
                Op::Transpose(Transpose {
                    perm: vec![0, 2, 1],
                }),
                &[keys],
            )
            .unwrap();
        let scores = b.node("scores", Op::MatMul(MatMul), &[n, turned]).unwrap();
        let a = b
            .node(
                "attention",
                Op::Softmax(Softmax {
                    axis: -1,
                    log: false,
                }),
                &[scores],
            )
            .unwrap();
        let values = b.node("values", Op::MatMul(MatMul), &[n, v]).unwrap();
        let mixed = b.node("mixed", Op::MatMul(MatMul), &[a, values]).unwrap();
        let y = b
            .node("skip", Op::Binary(Binary::Add), &[mixed, t])
            .unwrap();
        let g = b.node("gelu", Op::Unary(Unary::Gelu), &[y]).unwrap();
        let gated = b.node("gated", Op::Binary(Binary::Mul), &[g, y]).unwrap();
        let flat = b
            .node("flat", Op::Flatten(Flatten { axis: 1 }), &[gated])
            .unwrap();
        let z = b.node("logits", Op::Gemm(Gemm::DENSE), &[flat, w]).unwrap();
        let net = b.finish(z).unwrap();
        let x = Tensor::new(&[2, 1, 4, 5], numbers(40, 5.0));
        let (c, z) = run(&net, &x, &relevance(&net, LinearRule::Epsilon(1e-12)));
        let sums: Vec<f64> = c
            .chunks_exact(20)
            .zip(x.to_f64().chunks_exact(20))
            .map(|(c, x)| c.iter().zip(x).map(|(c, x)| c * x).sum())
            .collect();
        close(&sums, &z, 1e-9);
        // And not trivially: the derivative itself does not.
        let exact = run(&net, &x, &Rules::exact()).0;
        let sum: f64 = exact[..20].iter().zip(x.to_f64()).map(|(c, x)| c * x).sum();
        assert!((sum - z[0]).abs() > 1e-2 * z[0].abs());
    }

    /// Dense, batch normalisation, rectifier, dense: relevance by the formula, index by index.
    fn slow_twin(
        x: &[f64],
        layers: &[(Vec<Vec<f64>>, Vec<f64>)],
        class: usize,
        [alpha, beta]: [f64; 2],
    ) -> Vec<f64> {
        let mut inputs = vec![x.to_vec()];
        let mut z = Vec::new();
        for (w, b) in layers {
            let x = inputs.last().unwrap();
            z = (0..b.len())
                .map(|j| b[j] + (0..x.len()).map(|i| w[j][i] * x[i]).sum::<f64>())
                .collect();
            inputs.push(z.iter().map(|v| v.max(0.0)).collect());
        }
        let mut r: Vec<f64> = (0..z.len())
            .map(|j| if j == class { z[j] } else { 0.0 })
            .collect();
        for ((w, b), x) in layers.iter().zip(&inputs).rev() {
            let mut next = vec![0.0; x.len()];
            for j in 0..b.len() {
                let terms: Vec<f64> = (0..x.len()).map(|i| w[j][i] * x[i]).collect();
                let zp: f64 = b[j].max(0.0) + terms.iter().filter(|t| **t > 0.0).sum::<f64>();
                let zn: f64 = b[j].min(0.0) + terms.iter().filter(|t| **t < 0.0).sum::<f64>();
                for i in 0..x.len() {
                    if terms[i] > 0.0 {
                        next[i] += alpha * terms[i] / zp * r[j];
                    } else if terms[i] < 0.0 {
                        next[i] -= beta * terms[i] / zn * r[j];
                    }
                }
            }
            r = next;
        }
        r
    }

    #[test]
    fn alpha_beta_matches_the_formula_with_the_normalisation_in_the_layer() {
        let (inputs, hidden, classes) = (6, 5, 3);
        let mut b = Builder::new("dense", "image", [1, 2, 3]).unwrap();
        let x = b.input();
        let ids = [
            stored(&mut b, "w1", &[hidden, inputs], 1.0),
            stored(&mut b, "b1", &[hidden], 2.0),
            stored(&mut b, "scale", &[hidden], 3.0),
            stored(&mut b, "bias", &[hidden], 4.0),
            stored(&mut b, "mean", &[hidden], 5.0),
            stored(&mut b, "w2", &[classes, hidden], 7.0),
            stored(&mut b, "b2", &[classes], 8.0),
        ];
        let variance: Vec<f64> = numbers(hidden, 6.0).iter().map(|v| v.abs() + 0.1).collect();
        let var = b
            .parameter("variance", Tensor::new(&[hidden], variance.clone()), false)
            .unwrap();
        let flat = b
            .node("flat", Op::Flatten(Flatten { axis: 1 }), &[x])
            .unwrap();
        let y = b
            .node("dense1", Op::Gemm(Gemm::DENSE), &[flat, ids[0], ids[1]])
            .unwrap();
        let y = b
            .node(
                "norm",
                Op::BatchNorm(BatchNorm {
                    epsilon: 1e-5,
                    momentum: 0.9,
                }),
                &[y, ids[2], ids[3], ids[4], var],
            )
            .unwrap();
        let y = b.node("act", Op::Unary(Unary::Relu), &[y]).unwrap();
        let z = b
            .node("logits", Op::Gemm(Gemm::DENSE), &[y, ids[5], ids[6]])
            .unwrap();
        let net = b.finish(z).unwrap();

        let at = |i: usize| net.parameter(ids[i]).unwrap().to_f64();
        let rows = |v: &[f64], k: usize| v.chunks_exact(k).map(<[f64]>::to_vec).collect::<Vec<_>>();
        let factor: Vec<f64> = (0..hidden)
            .map(|j| at(2)[j] / (variance[j] + 1e-5).sqrt())
            .collect();
        let folded: Vec<Vec<f64>> = rows(&at(0), inputs)
            .iter()
            .zip(&factor)
            .map(|(w, f)| w.iter().map(|w| w * f).collect())
            .collect();
        let shift: Vec<f64> = (0..hidden)
            .map(|j| (at(1)[j] - at(4)[j]) * factor[j] + at(3)[j])
            .collect();
        let layers = [(folded, shift), (rows(&at(5), hidden), at(6))];
        let x = Tensor::new(&[3, 1, 2, 3], numbers(18, 9.0));
        for ab in [[1.0, 0.0], [2.0, 1.0]] {
            let (c, _) = run(
                &net,
                &x,
                &relevance(
                    &net,
                    LinearRule::AlphaBeta {
                        alpha: ab[0],
                        beta: ab[1],
                    },
                ),
            );
            for (c, x) in c.chunks_exact(6).zip(x.to_f64().chunks_exact(6)) {
                let r: Vec<f64> = c.iter().zip(x).map(|(c, x)| c * x).collect();
                close(&r, &slow_twin(x, &layers, 0, ab), 1e-9);
            }
        }
    }

    /// Without biases and with α = 1, β = 0 everything arrives at the image; through a convolution
    /// as well.
    #[test]
    fn alpha_one_conserves_where_something_speaks_for() {
        let mut b = Builder::new("conv", "image", [1, 5, 5]).unwrap();
        let (x, k, w) = (
            b.input(),
            stored(&mut b, "k", &[3, 1, 3, 3], 1.0),
            stored(&mut b, "w", &[2, 75], 2.0),
        );
        let y = b
            .node(
                "conv",
                Op::Conv(Conv {
                    pads: [1; 4],
                    ..Conv::default()
                }),
                &[x, k],
            )
            .unwrap();
        let y = b.node("act", Op::Unary(Unary::Relu), &[y]).unwrap();
        let y = b
            .node("flat", Op::Flatten(Flatten { axis: 1 }), &[y])
            .unwrap();
        let z = b.node("logits", Op::Gemm(Gemm::DENSE), &[y, w]).unwrap();
        let net = b.finish(z).unwrap();
        let x = Tensor::new(&[1, 1, 5, 5], numbers(25, 3.0));
        let (c, z) = run(
            &net,
            &x,
            &relevance(
                &net,
                LinearRule::AlphaBeta {
                    alpha: 1.0,
                    beta: 0.0,
                },
            ),
        );
        let sum: f64 = c.iter().zip(x.to_f64()).map(|(c, x)| c * x).sum();
        assert!(
            (sum - z[0]).abs() < 1e-9 * z[0].abs(),
            "{sum} against {}",
            z[0]
        );
    }
}
