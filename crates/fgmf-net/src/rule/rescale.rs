//! DeepLIFT (Shrikumar et al. 2017): backward rules that pull back *multipliers*, finite
//! differences against a reference image.
//!
//! With Δv = v(x) − v(reference), every rule keeps Σ m_in Δin = Σ m_out Δout, so that at the image
//! Σ m Δx = Δz (summation to delta).
//! - An elementwise function (rescale rule): m_in = m_out Δy / Δx; where Δx is small beside x, the
//!   derivative half-way between.
//! - A product of two values that both depend on the image (matrix products of attention, masks,
//!   gates): the derivative at the mean of x and reference, which is exact because Δ(ab) = ā Δb +
//!   b̄ Δa.
//! - Division: as a product with 1/b, whose Δ is −Δb / (b b′).
//! - Softmax and layer normalisation: as the exponentials, sums, roots and products they are made
//!   of.
//! - Maximum over a window: Δ of the outputs is split at max(y, y′): what x is above it goes to the
//!   position of x's maximum, what the reference is above it to the position of the reference's;
//!   both divided by Δ there.
//! - Everything else is linear in what depends on the image and passes its derivative.

use super::base::{BackwardRule, Rules};
use super::parts::Derivative;
use super::reach::{image_dependent, moving};
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::graph::op::{
    Binary, LayerNorm, Local, MaxPool, Op, Softmax, Unary, known, resolve_axis,
};
use crate::graph::{Network, Node, ValueId};
use crate::tensor::{Precision, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// The nodes of a network that DeepLIFT treats by rules of its own.
#[derive(Clone, Debug)]
pub struct Rescaling {
    nodes: Vec<usize>,
    values: Vec<ValueId>,
}

impl Rescaling {
    /// Looks for them. An error names a node that has no rule: a power whose base and exponent both
    /// depend on the image.
    pub fn of(net: &Network) -> Result<Self> {
        let depends = image_dependent(net);
        let mut found = Self {
            nodes: Vec::new(),
            values: Vec::new(),
        };
        for (i, node) in net.nodes().iter().enumerate() {
            let inputs = moving(node, &depends);
            if inputs == [0, 1] && matches!(node.op, Op::Binary(Binary::Pow)) {
                return Err(Error::node(
                    &node.name,
                    node.op.name(),
                    "expected a base or an exponent that does not depend on the image, \
                        which DeepLIFT has a rule for",
                ));
            }
            if bends(node, &inputs) {
                found.nodes.push(i);
                let read = node
                    .inputs
                    .iter()
                    .chain(&node.outputs)
                    .filter(|id| depends[id.0]);
                for &id in read {
                    if !found.values.contains(&id) {
                        found.values.push(id);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The values of the reference that [`Self::rules`] needs.
    pub fn values(&self) -> &[ValueId] {
        &self.values
    }

    /// True derivatives, on nodes that run one by one as they do with [`Self::rules`]: a reference
    /// run with these has the very rounding errors that the images will have.
    pub fn derivatives(&self) -> Rules {
        let mut rules = Rules::exact();
        self.nodes
            .iter()
            .for_each(|&i| rules.set(i, Arc::new(Derivative)));
        rules
    }

    /// The rules, given [`Self::values`] for one reference image, in that order.
    pub fn rules(&self, net: &Network, reference: &[Tensor]) -> Rules {
        let at: HashMap<ValueId, &Tensor> = self.values.iter().copied().zip(reference).collect();
        let mut rules = Rules::exact();
        for &i in &self.nodes {
            let node = &net.nodes()[i];
            let of = |ids: &[ValueId]| {
                ids.iter()
                    .map(|id| at.get(id).map(|t| (*t).clone()))
                    .collect()
            };
            rules.set(
                i,
                Arc::new(Rescale {
                    inputs: of(&node.inputs),
                    outputs: of(&node.outputs),
                }),
            );
        }
        rules
    }
}

/// Whether a node is not linear in those of its inputs that depend on the image.
fn bends(node: &Node, inputs: &[usize]) -> bool {
    match (&node.op, inputs) {
        (_, []) => false,
        (Op::Unary(u), _) => !matches!(u, Unary::Identity | Unary::Neg),
        (Op::Binary(Binary::Add | Binary::Sub), _) => false,
        (Op::Binary(Binary::Div), at) => at.contains(&1),
        (
            Op::Binary(Binary::Pow)
            | Op::PRelu(_)
            | Op::LayerNorm(_)
            | Op::Softmax(_)
            | Op::MaxPool(_),
            _,
        ) => true,
        (
            Op::Binary(Binary::Mul)
            | Op::MatMul(_)
            | Op::Gemm(_)
            | Op::Conv(_)
            | Op::ConvTranspose(_),
            at,
        ) => at.contains(&0) && at.contains(&1),
        _ => false,
    }
}

/// What a node's inputs and outputs are at the reference, one image; `None` where they do not
/// depend on the image.
struct Rescale {
    inputs: Vec<Option<Tensor>>,
    outputs: Vec<Option<Tensor>>,
}

impl Rescale {
    /// Input `i` at the reference, in the shape it has now.
    fn input(&self, i: usize, local: &Local<'_>) -> Tensor {
        let now = &local.inputs[i].value;
        self.inputs[i]
            .as_ref()
            .map_or_else(|| now.clone(), |t| repeated(t, now.shape()))
    }

    fn output(&self, local: &Local<'_>) -> Tensor {
        let now = &local.outputs[0].value;
        self.outputs[0]
            .as_ref()
            .map_or_else(|| now.clone(), |t| repeated(t, now.shape()))
    }
}

impl BackwardRule for Rescale {
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let m = &local.g().value;
        match op {
            Op::Binary(Binary::Div) => {
                let (a, b, b_ref) = (
                    &local.inputs[0].value,
                    &local.inputs[1].value,
                    self.input(1, local),
                );
                let mean_a = mean(a, &self.input(0, local));
                let inverse = |b: &Tensor| Tensor::full(&[1], 1.0, b.precision()).div(b);
                vec![
                    local.when(0, || {
                        m.mul(&mean(&inverse(b), &inverse(&b_ref)))
                            .sum_to(a.shape())
                            .into()
                    }),
                    local.when(1, || {
                        m.mul(&mean_a)
                            .div(&b.mul(&b_ref))
                            .neg()
                            .sum_to(b.shape())
                            .into()
                    }),
                ]
            }
            Op::Binary(Binary::Mul)
            | Op::MatMul(_)
            | Op::Gemm(_)
            | Op::Conv(_)
            | Op::ConvTranspose(_) => {
                let means: Vec<Dual> = (0..local.inputs.len())
                    .map(|i| mean(&local.inputs[i].value, &self.input(i, local)).into())
                    .collect();
                op.operator().backward(&Local {
                    inputs: &means.iter().collect::<Vec<_>>(),
                    ..*local
                })
            }
            Op::LayerNorm(o) => {
                vec![local.when(0, || layer_norm(*o, local, &self.input(0, local)).into())]
            }
            Op::Softmax(o) => {
                vec![local.when(0, || softmax(*o, local, &self.input(0, local)).into())]
            }
            Op::MaxPool(o) => {
                vec![local.when(0, || max_pool(o, op, local, &self.input(0, local)).into())]
            }
            _ => self.elementwise(op, local),
        }
    }
}

impl Rescale {
    /// The rescale rule for a function of one input that depends on the image; others (slopes,
    /// exponents) are constants.
    fn elementwise(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let mut out = vec![None; local.inputs.len()];
        let Some(i) =
            (0..local.inputs.len()).find(|&i| self.inputs[i].is_some() && local.wanted[i])
        else {
            return out;
        };
        let (x, x_ref) = (&local.inputs[i].value, self.input(i, local));
        let mut half: Vec<Dual> = local.inputs.iter().map(|d| d.detach()).collect();
        half[i] = mean(x, &x_ref).into();
        let half: Vec<&Dual> = half.iter().collect();
        let shape = local.outputs[0].shape();
        let one = Dual::from(Tensor::full(shape, 1.0, x.precision()));
        let outputs = op
            .operator()
            .forward(&half, crate::graph::op::Mode::Evaluate)
            .0;
        let wanted: Vec<bool> = (0..half.len()).map(|j| j == i).collect();
        let slopes = op.operator().backward(&Local {
            inputs: &half,
            outputs: &outputs,
            saved: local.saved,
            cotangents: &[Some(one)],
            wanted: &wanted,
        });
        let Some(slope) = slopes.into_iter().nth(i).flatten() else {
            return out;
        };
        let (x, x_ref, slope) = (
            x.expand(shape),
            x_ref.expand(shape),
            slope.value.expand(shape),
        );
        let ratio = quotient(
            &local.outputs[0].value,
            &self.output(local),
            &x,
            &x_ref,
            &slope,
        );
        out[i] = Some(
            local
                .g()
                .value
                .mul(&ratio)
                .sum_to(local.inputs[i].shape())
                .into(),
        );
        out
    }
}

/// Δy / Δx where Δx is not small beside x and its reference, else `slope`; all of one shape.
fn quotient(y: &Tensor, y_ref: &Tensor, x: &Tensor, x_ref: &Tensor, slope: &Tensor) -> Tensor {
    // The quotient of rounded differences errs by about ε / small, the slope half-way by about
    // small².
    let small = if x.precision() == Precision::F32 {
        1e-3
    } else {
        1e-5
    };
    let (shape, precision) = (y.shape(), y.precision());
    let [y, y_ref, x, x_ref, slope] = [y, y_ref, x, x_ref, slope].map(Tensor::to_f64);
    let one = |i: usize| {
        let dx = x[i] - x_ref[i];
        if dx.abs() > small * (x[i].abs() + x_ref[i].abs()) && dx.abs() > 1e-30 {
            (y[i] - y_ref[i]) / dx
        } else {
            slope[i]
        }
    };
    Tensor::new(shape, (0..x.len()).map(one).collect::<Vec<f64>>()).cast(precision)
}

fn mean(a: &Tensor, b: &Tensor) -> Tensor {
    a.add(b).affine(0.5, 0.0)
}

/// A value of one image for as many images as `shape` has: along the axis that grew, image by
/// image.
fn repeated(one: &Tensor, shape: &[usize]) -> Tensor {
    let Some(axis) = (0..shape.len()).find(|&a| one.shape()[a] != shape[a]) else {
        return one.clone();
    };
    let (k, n) = (one.shape()[axis], shape[axis] / one.shape()[axis]);
    let mut inner = one.shape().to_vec();
    inner.insert(axis, 1);
    let mut outer = inner.clone();
    outer[axis] = n;
    debug_assert_eq!(k * n, shape[axis]);
    one.reshape(&inner).expand(&outer).reshape(shape)
}

/// y = (x − μ) i scale + bias with i = 1 / √(v + ε), v the mean of (x − μ)²: a product of two
/// moving values, i a function of v, and Δv the mean of twice the mean of the centred values times
/// their Δ.
fn layer_norm(op: LayerNorm, local: &Local<'_>, x_ref: &Tensor) -> Tensor {
    let x = &local.inputs[0].value;
    let axes: Vec<usize> = (known(resolve_axis(op.axis, x.rank()))..x.rank()).collect();
    let n: usize = axes.iter().map(|&a| x.shape()[a]).product();
    let average = |t: &Tensor| t.sum(&axes).affine(1.0 / n as f64, 0.0);
    let parts = |x: &Tensor| {
        let centred = x.sub(&average(x));
        let variance = average(&centred.mul(&centred)).affine(1.0, op.epsilon);
        let half = Tensor::full(&[1], -0.5, x.precision());
        (variance.pow(&half, 0), variance, centred)
    };
    let ((i, v, c), (i_ref, v_ref, c_ref)) = (parts(x), parts(x_ref));
    let h = local.g().value.mul(&local.inputs[1].value);
    let mean_c = mean(&c, &c_ref);
    let to_i = h.mul(&mean_c).sum(&axes);
    // Δi / Δv without a difference that may vanish: −i i′ · i i′ / (i + i′).
    let product = i.mul(&i_ref);
    let slope = product.mul(&product).div(&i.add(&i_ref)).neg();
    debug_assert!(v.shape() == v_ref.shape());
    let to_c = h
        .mul(&mean(&i, &i_ref))
        .add(&to_i.mul(&slope).mul(&mean_c).affine(2.0 / n as f64, 0.0));
    to_c.sub(&average(&to_c))
}

/// y = e r with e = exp(x − M), r = 1 / S, S = Σ e; or, of its logarithm, y = x − M − ln S. M is
/// the larger of both maxima.
fn softmax(op: Softmax, local: &Local<'_>, x_ref: &Tensor) -> Tensor {
    let precision = local.inputs[0].precision();
    // Double precision, so that an image far from the reference does not underflow.
    let [x, x_ref, m] =
        [&local.inputs[0].value, x_ref, &local.g().value].map(|t| t.cast(Precision::F64));
    let axis = known(resolve_axis(op.axis, x.rank()));
    let (top, top_ref) = (x.max(axis), x_ref.max(axis));
    let largest = top
        .add(&top_ref)
        .add(&absolute(&top.sub(&top_ref)))
        .affine(0.5, 0.0);
    let exp = |t: &Tensor| Unary::Exp.run(&t.sub(&largest).into(), 0).value;
    let (e, e_ref) = (exp(&x), exp(&x_ref));
    let slope = exp(&mean(&x, &x_ref));
    let to_x = quotient(&e, &e_ref, &x, &x_ref, &slope);
    let (s, s_ref) = (e.sum(&[axis]), e_ref.sum(&[axis]));
    let one = Tensor::full(&[1], 1.0, Precision::F64);
    let ln = |t: &Tensor| Unary::Log.run(&t.clone().into(), 0).value;
    let out = if op.log {
        let to_s = quotient(
            &ln(&s),
            &ln(&s_ref),
            &s,
            &s_ref,
            &one.div(&mean(&s, &s_ref)),
        );
        m.sub(&to_x.mul(&to_s).mul(&m.sum(&[axis])))
    } else {
        let (r, r_ref) = (one.div(&s), one.div(&s_ref));
        let to_s = m
            .mul(&mean(&e, &e_ref))
            .sum(&[axis])
            .mul(&r)
            .mul(&r_ref)
            .neg();
        m.mul(&mean(&r, &r_ref)).add(&to_s).mul(&to_x)
    };
    out.cast(precision)
}

fn absolute(t: &Tensor) -> Tensor {
    Unary::Abs.run(&t.clone().into(), 0).value
}

fn max_pool(pool: &MaxPool, op: &Op, local: &Local<'_>, x_ref: &Tensor) -> Tensor {
    let x = &local.inputs[0].value;
    let size = [x.shape()[2], x.shape()[3]];
    let geometry = pool.0.geometry(x.shape());
    let ((y, at), (y_ref, at_ref)) = (x.max_pool2d(&geometry), x_ref.max_pool2d(&geometry));
    let larger = Unary::Relu.run(&y.sub(&y_ref).into(), 0).value.add(&y_ref);
    let m = &local.g().value;
    let up = m.mul(&larger.sub(&y_ref)).scatter_planes(&at, size);
    let down = m.mul(&y.sub(&larger)).scatter_planes(&at_ref, size);
    let total = up.add(&down);
    let Some(slope) = op.operator().backward(local).swap_remove(0) else {
        return total;
    };
    // Where x and reference agree, nothing is above the other, and the derivative is as good as
    // any.
    let (dx, total, slope) = (x.sub(x_ref).to_f64(), total.to_f64(), slope.value.to_f64());
    let one = |i: usize| {
        if dx[i].abs() < 1e-10 {
            slope[i]
        } else {
            total[i] / dx[i]
        }
    };
    Tensor::new(x.shape(), (0..dx.len()).map(one).collect::<Vec<f64>>()).cast(x.precision())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::head::Logit;
    use crate::graph::op::{Concat, Conv, Flatten, Gemm, PRelu, Reshape, Window};
    use crate::run::Session;
    use crate::{Builder, op::MatMul};

    /// A network with every operator that has a rule, `[2, 6, 6]` to three logits, in `f64`.
    fn everything() -> Network {
        let mut b = Builder::new("everything", "image", [2, 6, 6]).unwrap();
        let mut count = 0.0;
        let mut numbers = |shape: &[usize], size: f64, shift: f64| {
            let mut next = || {
                count += 1.0;
                shift + size * f64::sin(12.9898 * count)
            };
            Tensor::new(
                shape,
                (0..shape.iter().product())
                    .map(|_| next())
                    .collect::<Vec<f64>>(),
            )
        };
        let k = b
            .parameter("k", numbers(&[4, 2, 3, 3], 0.5, 0.0), true)
            .unwrap();
        let slope = b
            .parameter("slope", numbers(&[4, 1, 1], 0.2, 0.3), true)
            .unwrap();
        let exponent = b
            .parameter("exponent", numbers(&[4, 1, 1], 0.3, 1.7), true)
            .unwrap();
        let scale = b.parameter("scale", numbers(&[9], 0.5, 1.0), true).unwrap();
        let w = b.parameter("w", numbers(&[3, 72], 0.5, 0.0), true).unwrap();
        let c = b.parameter("c", numbers(&[3], 0.5, 0.0), true).unwrap();
        let x = b.input();
        let unary =
            |b: &mut Builder, name: &str, u: Unary, x| b.node(name, Op::Unary(u), &[x]).unwrap();
        let binary = |b: &mut Builder, name: &str, o: Binary, x, y| {
            b.node(name, Op::Binary(o), &[x, y]).unwrap()
        };
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
        let p = b.node("prelu", Op::PRelu(PRelu), &[y, slope]).unwrap();
        let s = unary(&mut b, "softplus", Unary::Softplus, y);
        let s = binary(&mut b, "pow", Binary::Pow, s, exponent);
        let g = unary(&mut b, "gelu", Unary::Gelu, y);
        let gate = unary(&mut b, "sigmoid", Unary::Sigmoid, p);
        let gated = binary(&mut b, "gated", Binary::Mul, g, gate);
        let divisor = unary(&mut b, "exp", Unary::Exp, gate);
        let divided = binary(&mut b, "divided", Binary::Div, s, divisor);
        let y = binary(&mut b, "sum", Binary::Add, gated, divided);
        let y = binary(&mut b, "difference", Binary::Sub, y, p);
        // Windows that overlap.
        let window = Window {
            kernel: [3, 3],
            stride: [2, 2],
            pads: [1; 4],
            dilation: [1, 1],
            ceil: false,
        };
        let y = b.node("pool", Op::MaxPool(MaxPool(window)), &[y]).unwrap(); // [n, 4, 3, 3]
        let t = b
            .node(
                "tokens",
                Op::Reshape(Reshape {
                    shape: vec![0, 4, 9],
                }),
                &[y],
            )
            .unwrap();
        let n = b
            .node(
                "norm",
                Op::LayerNorm(LayerNorm {
                    axis: -1,
                    epsilon: 1e-3,
                }),
                &[t, scale],
            )
            .unwrap();
        let turned = b
            .node(
                "turned",
                Op::Transpose(crate::graph::op::Transpose {
                    perm: vec![0, 2, 1],
                }),
                &[n],
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
        let m = b.node("mixed", Op::MatMul(MatMul), &[a, n]).unwrap();
        let l = b
            .node("log", Op::Softmax(Softmax { axis: 1, log: true }), &[t])
            .unwrap();
        let joined = b
            .node("joined", Op::Concat(Concat { axis: 1 }), &[m, l])
            .unwrap();
        let flat = b
            .node("flat", Op::Flatten(Flatten { axis: 1 }), &[joined])
            .unwrap();
        let z = b
            .node("logits", Op::Gemm(Gemm::DENSE), &[flat, w, c])
            .unwrap();
        b.finish(z).unwrap()
    }

    fn image(n: usize, seed: f64) -> Tensor {
        Tensor::new(
            &[n, 2, 6, 6],
            (0..n * 72)
                .map(|i| 0.5 + 0.5 * f64::sin(seed + 7.77 * i as f64))
                .collect::<Vec<f64>>(),
        )
    }

    /// Σ m Δx − Δz relative to Δz, for each image, and the multipliers.
    fn run(net: &Network, x: &Tensor, reference: &Tensor) -> (Vec<f64>, Vec<f64>) {
        let rescaling = Rescaling::of(net).unwrap();
        let session = Session::new(net.clone());
        let n = x.shape()[0];
        let classes = vec![1; n];
        let at = session
            .loss_gradients(
                reference,
                &Logit::new(&[1]),
                rescaling.values(),
                &rescaling.derivatives(),
            )
            .unwrap();
        let rules = rescaling.rules(net, &at.values);
        let found = session
            .loss_gradients(x, &Logit::new(&classes), &[net.input()], &rules)
            .unwrap();
        let (m, v, r) = (found.gradients[0].to_f64(), x.to_f64(), reference.to_f64());
        let size = m.len() / n;
        let gap = |i: usize| {
            let sum: f64 = (0..size)
                .map(|j| m[i * size + j] * (v[i * size + j] - r[j]))
                .sum();
            (sum - (found.losses[i] - at.losses[0])).abs() / (found.losses[i] - at.losses[0]).abs()
        };
        ((0..n).map(gap).collect(), m)
    }

    #[test]
    fn multipliers_sum_to_the_difference_through_every_rule() {
        let net = everything();
        let (gaps, m) = run(&net, &image(3, 1.0), &image(1, 5.0));
        assert!(gaps.iter().all(|g| *g < 1e-9), "{gaps:?}");
        let single = net.cast(Precision::F32);
        let (gaps, rounded) = run(
            &single,
            &image(3, 1.0).cast(Precision::F32),
            &image(1, 5.0).cast(Precision::F32),
        );
        assert!(gaps.iter().all(|g| *g < 1e-3), "{gaps:?}");
        let largest = m.iter().fold(0.0f64, |a, v| a.max(v.abs()));
        assert!(
            m.iter()
                .zip(&rounded)
                .all(|(a, b)| (a - b).abs() < 1e-3 * largest)
        );
    }

    /// At the reference itself the multipliers are the gradient.
    #[test]
    fn the_limit_is_the_gradient() {
        let net = everything();
        let x = image(1, 2.0);
        let (_, m) = run(&net, &x, &x);
        let g = Session::new(net.clone())
            .loss_gradients(&x, &Logit::new(&[1]), &[net.input()], &Rules::exact())
            .unwrap()
            .gradients[0]
            .to_f64();
        let largest = g.iter().fold(0.0f64, |a, v| a.max(v.abs()));
        assert!(
            m.iter()
                .zip(&g)
                .all(|(a, b)| (a - b).abs() < 1e-9 * largest),
            "{m:?} against {g:?}"
        );
    }

    #[test]
    fn values_of_several_rows_an_image_are_repeated_image_by_image() {
        let one = Tensor::new(&[2, 3, 1], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            repeated(&one, &[4, 3, 1]).to_f64(),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        );
        let one = Tensor::new(&[2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(
            repeated(&one, &[2, 2, 2]).to_f64(),
            [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]
        );
    }

    #[test]
    fn a_power_that_moves_in_both_is_refused() {
        let mut b = Builder::new("power", "image", [1, 1, 2]).unwrap();
        let x = b.input();
        let y = b.node("odd", Op::Binary(Binary::Pow), &[x, x]).unwrap();
        let z = b
            .node("logits", Op::Flatten(Flatten { axis: 1 }), &[y])
            .unwrap();
        assert!(
            Rescaling::of(&b.finish(z).unwrap())
                .unwrap_err()
                .to_string()
                .contains("odd")
        );
    }
}
