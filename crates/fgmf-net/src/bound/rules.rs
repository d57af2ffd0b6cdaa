//! The interval of a node's outputs, given those of its inputs: one rule for each operator.
//!
//! | operators | rule |
//! | --- | --- |
//! | linear, stored weights W: convolutions, products, batch normalisation | W c + b, \|W\| r |
//! | sums and differences | of the ends, or of centres with the sum of radii |
//! | non-decreasing functions, maximum pooling, padding | f(l), f(u) |
//! | means, sums and resampling with weights of at least 0, moves | the operator on both parts |
//!
//! The interval of one operator is exact. That of several is not: what is known of two values
//! together is lost (Gowal et al. 2018, arXiv 1810.12715).

use super::derived::Recipe;
use super::interval::{BoundScope, Form, Interval};
use crate::error::{Error, Result};
use crate::graph::op::{Binary, Gemm, Op, Resize, Unary};
use crate::graph::{Node, ValueId};
use crate::tensor::Tensor;
use fgmf_kernels::ResizeMode;

/// What a node reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// A value that depends on the image.
    Interval(Interval),
    /// A stored array of the network that is bounded.
    Stored(ValueId),
}

fn refused(node: &Node, reason: impl ToString) -> Error {
    Error::node(&node.name, node.op.name(), reason)
}

fn no_rule(node: &Node) -> Error {
    refused(
        node,
        "expected an operator that interval bounds have a rule for (linear with stored weights, \
            sums, non-decreasing functions, pooling), found one without",
    )
}

/// Outputs of a node.
pub(super) fn rule(
    scope: &mut BoundScope<'_>,
    node: &Node,
    inputs: &[Input],
) -> Result<Vec<Interval>> {
    let one = |interval: Result<Interval>| interval.map(|y| vec![y]);
    match (&node.op, inputs) {
        (Op::Unary(Unary::Identity), &[Input::Interval(x)]) => Ok(vec![x]),
        (Op::Unary(Unary::Neg), &[Input::Interval(x)]) => one(negated(scope, node, x)),
        (Op::Unary(u), &[Input::Interval(x)]) if rises(*u) => on_ends(scope, node, x),
        (Op::MaxPool(_) | Op::Pad(_), &[Input::Interval(x)]) => on_ends(scope, node, x),
        (op, &[Input::Interval(x)]) if is_mean_or_move(op) => on_both(scope, node, &[x]),
        (Op::Concat(_), _) => {
            let parts: Option<Vec<Interval>> = inputs.iter().map(|i| interval(*i)).collect();
            on_both(scope, node, &parts.ok_or_else(|| no_rule(node))?)
        }
        (Op::Binary(op), &[a, b]) => one(binary(scope, node, *op, a, b)),
        (Op::Conv(_) | Op::ConvTranspose(_), &[Input::Interval(x), Input::Stored(w)]) => {
            one(weighted(scope, node, x, StoredWeights::behind(w, None)))
        }
        (
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_),
            &[Input::Interval(x), Input::Stored(w), Input::Stored(b)],
        ) => one(weighted(scope, node, x, StoredWeights::behind(w, Some(b)))),
        (Op::Gemm(_) | Op::MatMul(_), &[Input::Interval(x), Input::Stored(w)]) => {
            one(weighted(scope, node, x, StoredWeights::behind(w, None)))
        }
        (Op::MatMul(_), &[Input::Stored(w), Input::Interval(x)]) => {
            one(weighted(scope, node, x, StoredWeights::in_front(w)))
        }
        (
            Op::BatchNorm(_),
            &[
                Input::Interval(x),
                Input::Stored(scale),
                Input::Stored(bias),
                Input::Stored(mean),
                Input::Stored(variance),
            ],
        ) => one(batch_norm(scope, node, x, [scale, bias, mean, variance])),
        _ => Err(no_rule(node)),
    }
}

fn interval(input: Input) -> Option<Interval> {
    match input {
        Input::Interval(x) => Some(x),
        Input::Stored(_) => None,
    }
}

/// Whether a function never falls.
fn rises(u: Unary) -> bool {
    match u {
        Unary::LeakyRelu { alpha } | Unary::Elu { alpha } | Unary::HardSigmoid { alpha, .. } => {
            alpha >= 0.0
        }
        Unary::Quantize { scale, .. } => scale > 0.0,
        Unary::Relu
        | Unary::Clip { .. }
        | Unary::Erf
        | Unary::Sigmoid
        | Unary::Tanh
        | Unary::Softplus
        | Unary::Exp
        | Unary::Round
        | Unary::Floor
        | Unary::Ceil => true,
        _ => false,
    }
}

/// Whether an operator of one input is a sum with weights of at least 0, so that it acts alike on
/// ends, centres and radii.
fn is_mean_or_move(op: &Op) -> bool {
    match op {
        // Cubic weights are negative in places.
        Op::Resize(Resize { mode, .. }) => *mode != ResizeMode::Cubic,
        Op::AveragePool(_)
        | Op::GlobalAveragePool(_)
        | Op::Reduce(_)
        | Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Transpose(_)
        | Op::Split(_)
        | Op::Slice(_)
        | Op::Gather(_)
        | Op::Expand(_) => true,
        _ => false,
    }
}

/// The node's operator on lower and upper end.
fn on_ends(scope: &mut BoundScope<'_>, node: &Node, x: Interval) -> Result<Vec<Interval>> {
    let parts = scope.ends(&node.name, x)?;
    let form = Form::Ends;
    on_both(scope, node, &[Interval { form, parts }])
}

/// The node's operator on both parts, which are of one form.
fn on_both(scope: &mut BoundScope<'_>, node: &Node, inputs: &[Interval]) -> Result<Vec<Interval>> {
    let form = match inputs.iter().all(|x| x.form == Form::Middle) {
        true => Form::Middle,
        false => Form::Ends,
    };
    let mut of = [Vec::new(), Vec::new()];
    for &x in inputs {
        let parts = match form {
            Form::Middle => x.parts,
            Form::Ends => scope.ends(&node.name, x)?,
        };
        of.iter_mut()
            .zip(parts)
            .for_each(|(of, part)| of.push(part));
    }
    let mut made = Vec::new();
    for inputs in of {
        let net = scope.net;
        let outputs = node.outputs.iter();
        let names: Vec<String> = outputs
            .map(|id| scope.builder.fresh(&net.value(*id).name))
            .collect();
        let op = node.op.clone();
        made.push(scope.builder.nodes(&node.name, op, &inputs, &names)?);
    }
    let pairs = made[0].iter().zip(&made[1]);
    let interval = |(&a, &b): (&ValueId, &ValueId)| Interval {
        form,
        parts: [a, b],
    };
    Ok(pairs.map(interval).collect())
}

fn negated(scope: &mut BoundScope<'_>, node: &Node, x: Interval) -> Result<Interval> {
    let mut of = |id: ValueId| scope.node(&node.name, Op::Unary(Unary::Neg), &[id]);
    let parts = match x.form {
        Form::Ends => [of(x.parts[1])?, of(x.parts[0])?],
        Form::Middle => [of(x.parts[0])?, x.parts[1]],
    };
    Ok(Interval {
        form: x.form,
        parts,
    })
}

fn binary(
    scope: &mut BoundScope<'_>,
    node: &Node,
    op: Binary,
    a: Input,
    b: Input,
) -> Result<Interval> {
    match (op, a, b) {
        (Binary::Add | Binary::Sub, Input::Interval(a), Input::Interval(b)) => {
            sum(scope, node, op, a, b)
        }
        (Binary::Add | Binary::Sub, Input::Interval(x), Input::Stored(p)) => {
            let p = scope.stored(p, Recipe::times(1.0))?;
            shifted(scope, node, x, |x| [x, p])
        }
        (Binary::Add, Input::Stored(p), Input::Interval(x)) => {
            let p = scope.stored(p, Recipe::times(1.0))?;
            shifted(scope, node, x, |x| [p, x])
        }
        (Binary::Sub, Input::Stored(p), Input::Interval(x)) => {
            let p = scope.stored(p, Recipe::times(1.0))?;
            let y = shifted(scope, node, x, |x| [p, x])?;
            let [first, second] = y.parts;
            // The larger x is, the smaller is p less x.
            Ok(match y.form {
                Form::Ends => Interval {
                    parts: [second, first],
                    ..y
                },
                Form::Middle => y,
            })
        }
        (Binary::Mul | Binary::Div, Input::Interval(x), Input::Stored(p)) => {
            weighted(scope, node, x, StoredWeights::behind(p, None))
        }
        (Binary::Mul, Input::Stored(p), Input::Interval(x)) => {
            weighted(scope, node, x, StoredWeights::in_front(p))
        }
        _ => Err(no_rule(node)),
    }
}

/// The sum or difference of two intervals.
fn sum(
    scope: &mut BoundScope<'_>,
    node: &Node,
    op: Binary,
    a: Interval,
    b: Interval,
) -> Result<Interval> {
    let middle = a.form == Form::Middle && b.form == Form::Middle;
    let (form, a, b) = match middle {
        true => (Form::Middle, a.parts, b.parts),
        false => (
            Form::Ends,
            scope.ends(&node.name, a)?,
            scope.ends(&node.name, b)?,
        ),
    };
    let second = match (op, form) {
        (Binary::Sub, Form::Ends) => [b[1], b[0]],
        _ => b,
    };
    let first = scope.node(&node.name, Op::Binary(op), &[a[0], second[0]])?;
    // Radii add up.
    let op = if middle { Binary::Add } else { op };
    let other = scope.node(&node.name, Op::Binary(op), &[a[1], second[1]])?;
    Ok(Interval {
        form,
        parts: [first, other],
    })
}

/// The node's operator with a stored operand, on both ends or on the centre.
fn shifted(
    scope: &mut BoundScope<'_>,
    node: &Node,
    x: Interval,
    operands: impl Fn(ValueId) -> [ValueId; 2],
) -> Result<Interval> {
    let same = |scope: &BoundScope<'_>, id: ValueId| {
        let shape = |id: ValueId| scope.builder.network().value(id).shape.clone();
        shape(id) == shape(x.parts[0])
    };
    let first = scope.node(&node.name, node.op.clone(), &operands(x.parts[0]))?;
    // A radius has no operand to give it the shape of a sum that broadcasts.
    if x.form == Form::Middle && same(scope, first) {
        return Ok(Interval {
            parts: [first, x.parts[1]],
            ..x
        });
    }
    let parts = scope.ends(&node.name, x)?;
    let of =
        |scope: &mut BoundScope<'_>, id| scope.node(&node.name, node.op.clone(), &operands(id));
    Ok(Interval {
        form: Form::Ends,
        parts: [of(scope, parts[0])?, of(scope, parts[1])?],
    })
}

/// Stored operands of an operator that is linear in x.
#[derive(Clone, Copy)]
struct StoredWeights {
    weight: ValueId,
    bias: Option<ValueId>,
    /// Whether the weight stands in front of x.
    first: bool,
    /// Axes of the classes in weight and bias, if differences of all classes are asked for.
    pairs: Option<[usize; 2]>,
}

impl StoredWeights {
    const fn behind(weight: ValueId, bias: Option<ValueId>) -> Self {
        Self {
            weight,
            bias,
            first: false,
            pairs: None,
        }
    }

    const fn in_front(weight: ValueId) -> Self {
        Self {
            first: true,
            ..Self::behind(weight, None)
        }
    }
}

/// W c + b and |W| r.
fn weighted(
    scope: &mut BoundScope<'_>,
    node: &Node,
    x: Interval,
    by: StoredWeights,
) -> Result<Interval> {
    let middle = scope.middle(&node.name, x)?;
    // StoredWeights take back the factor of what they read; a divisor has it as it is.
    let factor = match node.op {
        Op::Binary(Binary::Div) => middle.scale,
        _ => 1.0 / middle.scale,
    };
    let [weight_axis, bias_axis] = [0, 1].map(|i| by.pairs.map(|axes| axes[i]));
    let of_pairs = |pairs, recipe| Recipe { pairs, ..recipe };
    let signed = of_pairs(weight_axis, Recipe::times(factor));
    let signed = scope.stored(by.weight, signed)?;
    let magnitudes = of_pairs(weight_axis, Recipe::magnitudes(factor));
    let magnitudes = scope.stored(by.weight, magnitudes)?;
    let order = |x: ValueId, w: ValueId| match by.first {
        true => vec![w, x],
        false => vec![x, w],
    };
    let mut inputs = order(middle.centre, signed);
    if let Some(bias) = by.bias {
        inputs.push(scope.stored(bias, of_pairs(bias_axis, Recipe::times(1.0)))?);
    }
    let centre = scope.node(&node.name, node.op.clone(), &inputs)?;
    let op = match &node.op {
        Op::Gemm(g) => Op::Gemm(Gemm {
            alpha: g.alpha.abs(),
            ..*g
        }),
        op => op.clone(),
    };
    let name = format!("{}.radius", node.name);
    let radius = scope.node(&name, op, &order(middle.radius, magnitudes))?;
    Ok(Interval {
        form: Form::Middle,
        parts: [centre, radius],
    })
}

/// Batch normalisation with running statistics: |γ| r / √(variance + ε).
fn batch_norm(
    scope: &mut BoundScope<'_>,
    node: &Node,
    x: Interval,
    [scale, bias, mean, variance]: [ValueId; 4],
) -> Result<Interval> {
    let middle = scope.middle(&node.name, x)?;
    let by = middle.scale;
    let mut of = |from: ValueId, recipe: Recipe| scope.stored(from, recipe);
    let centre = [
        middle.centre,
        of(scale, Recipe::times(1.0 / by))?,
        of(bias, Recipe::times(1.0))?,
        of(mean, Recipe::times(by))?,
        of(variance, Recipe::times(1.0))?,
    ];
    let radius = [
        middle.radius,
        of(scale, Recipe::magnitudes(1.0 / by))?,
        of(bias, Recipe::times(0.0))?,
        of(mean, Recipe::times(0.0))?,
        of(variance, Recipe::times(1.0))?,
    ];
    let name = format!("{}.radius", node.name);
    Ok(Interval {
        form: Form::Middle,
        parts: [
            scope.node(&node.name, node.op.clone(), &centre)?,
            scope.node(&name, node.op.clone(), &radius)?,
        ],
    })
}

/// The interval of all differences of two logits, if the node is a dense layer that makes them:
/// its weights are replaced by their differences, which is tighter than differences of intervals.
pub(super) fn differences(
    scope: &mut BoundScope<'_>,
    node: &Node,
    inputs: &[Input],
    classes: usize,
) -> Result<Option<Interval>> {
    let Op::Gemm(op) = &node.op else {
        return Ok(None);
    };
    let (x, weight, bias) = match *inputs {
        [Input::Interval(x), Input::Stored(w)] => (x, w, None),
        [Input::Interval(x), Input::Stored(w), Input::Stored(b)] => (x, w, Some(b)),
        _ => return Ok(None),
    };
    let shape = |id: ValueId| scope.net.parameter(id).map(Tensor::shape);
    let axis = usize::from(!op.trans_b);
    let bias_shape = bias.and_then(shape).unwrap_or(&[]);
    // A bias that broadcasts has no entry for each class.
    let fits = shape(weight).and_then(|s| s.get(axis)) == Some(&classes)
        && (bias.is_none() || bias_shape.last() == Some(&classes));
    if !fits {
        return Ok(None);
    }
    let pairs = Some([axis, bias_shape.len().saturating_sub(1)]);
    let by = StoredWeights {
        pairs,
        ..StoredWeights::behind(weight, bias)
    };
    weighted(scope, node, x, by).map(Some)
}
