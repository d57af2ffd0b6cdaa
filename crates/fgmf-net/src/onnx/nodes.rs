//! From nodes to operators: arithmetic, activations, products, normalisations.

use super::attributes::Attributes;
use super::compose::compose;
use super::einsum::einsum;
use super::site::{Made, Site};
use super::{indexed, layout, quantised, rounding, widen, window};
use crate::graph::op::{
    BatchNorm, Binary, Concat, Flatten, Gemm, LayerNorm, MatMul, Op, PRelu, Reduce, ReduceKind,
    Reshape, Softmax, Squeeze, TopK, Transpose, Unary, Unsqueeze, resolve_axes, resolve_axis,
};
use crate::graph::{Dim, concrete};

/// Of an operator that no file of this folder reads.
const UNKNOWN: &str =
    "this operator is not supported here (docs of `fgmf_net::onnx` list those that are)";

/// The operator of a node whose result depends on the image or on parameters.
pub(super) fn convert(site: &mut Site<'_, '_>) -> Made {
    let a = site.attributes;
    let operator = site.node.op_type.as_str();
    if let Some(unary) = activation(operator, a)? {
        return Ok((Op::Unary(unary), vec![site.operand(0)?]));
    }
    if let Some(made) = compose(site) {
        return made;
    }
    let op = match operator {
        "Add" => Op::Binary(Binary::Add),
        "Sub" => Op::Binary(Binary::Sub),
        "Mul" => Op::Binary(Binary::Mul),
        "Div" => Op::Binary(Binary::Div),
        "Pow" => return power(site),
        "Clip" | "Min" | "Max" => return bounds(site),
        "Cast" => return cast(site),
        "Dropout" => return dropout(site),
        "PRelu" => Op::PRelu(PRelu),
        "Gemm" => Op::Gemm(Gemm {
            alpha: a.float_or("alpha", 1.0)?,
            beta: a.float_or("beta", 1.0)?,
            trans_a: a.flag("transA", false)?,
            trans_b: a.flag("transB", false)?,
        }),
        "MatMul" => Op::MatMul(MatMul),
        "BatchNormalization" => Op::BatchNorm(BatchNorm {
            epsilon: a.float_or("epsilon", 1e-5)?,
            momentum: a.float_or("momentum", 0.9)?,
        }),
        "LayerNormalization" => Op::LayerNorm(LayerNorm {
            axis: a.int_or("axis", -1)?,
            epsilon: a.float_or("epsilon", 1e-5)?,
        }),
        "Softmax" | "LogSoftmax" => return softmax(site),
        "Concat" => return concat(site),
        "Flatten" => return flatten(site),
        "Transpose" => return transpose(site),
        "ReduceMean" => return reduce(site, ReduceKind::Mean),
        "ReduceSum" => return reduce(site, ReduceKind::Sum),
        "Squeeze" => return squeeze(site),
        "Unsqueeze" => {
            let axes = site.axes()?.ok_or("expected axes, found none")?;
            return Ok((Op::Unsqueeze(Unsqueeze { axes }), vec![site.operand(0)?]));
        }
        "Reshape" => return layout::reshape(site),
        "Expand" => return layout::expand(site),
        "Slice" => return layout::slice(site),
        "Gather" => return layout::gather(site),
        "Split" => return layout::split(site),
        "Pad" => return layout::pad(site),
        "GatherND" => return indexed::gather_nd(site),
        "ScatterND" => return indexed::scatter_nd(site),
        "Einsum" => return einsum(site),
        "TopK" => return top_k(site),
        "Conv" => return window::conv(site),
        "ConvTranspose" => return window::conv_transpose(site),
        "MaxPool" | "AveragePool" | "GlobalAveragePool" => return window::pool(site),
        "Resize" => return window::resize(site),
        "QuantizeLinear" | "DequantizeLinear" | quantised::ROUND => {
            return rounding::quantised(site);
        }
        _ => return Err(quantised::refused(operator).unwrap_or_else(|| UNKNOWN.to_owned())),
    };
    let inputs = site.operands()?;
    let inputs = match &op {
        Op::Binary(_) => widen::aligned(site.scope, inputs, None)?,
        _ => inputs,
    };
    Ok((op, inputs))
}

fn concat(site: &mut Site<'_, '_>) -> Made {
    let axis = site.attributes.int("axis")?;
    let axis = axis.ok_or("expected attribute `axis`, found none")?;
    let inputs = site.operands()?;
    let rank = inputs.first().map_or(0, |&id| site.scope.dims(id).len());
    let joined = resolve_axis(axis, rank)?;
    let inputs = widen::aligned(site.scope, inputs, Some(joined))?;
    Ok((Op::Concat(Concat { axis }), inputs))
}

fn flatten(site: &mut Site<'_, '_>) -> Made {
    let axis = site.attributes.int_or("axis", 1)?;
    let x = site.operand(0)?;
    let dims = site.scope.dims(x);
    let batch = dims.iter().position(|d| matches!(d, Dim::Batch(_)));
    if let (Some(n), Some(batch)) = (site.scope.fixed_batch, batch)
        && axis != dims.len() as i64
        && resolve_axis(axis, dims.len())? <= batch
    {
        let sizes = concrete(&dims, n);
        let (before, behind) = sizes.split_at(resolve_axis(axis, dims.len())?);
        let out = [before.iter().product(), behind.iter().product()];
        return Ok((layout::arranged(site, x, &out)?, vec![x]));
    }
    Ok((Op::Flatten(Flatten { axis }), vec![x]))
}

fn activation(operator: &str, a: Attributes<'_>) -> Result<Option<Unary>, String> {
    Ok(Some(match operator {
        "Relu" => Unary::Relu,
        "LeakyRelu" => Unary::LeakyRelu {
            alpha: a.float_or("alpha", 0.01)?,
        },
        "Elu" => Unary::Elu {
            alpha: a.float_or("alpha", 1.0)?,
        },
        "Gelu" => match a.string_or("approximate", "none")? {
            "none" => Unary::Gelu,
            "tanh" => Unary::GeluTanh,
            other => {
                return Err(format!(
                    "expected attribute `approximate` to be `none` or `tanh`, found `{other}`"
                ));
            }
        },
        "Erf" => Unary::Erf,
        "Sigmoid" => Unary::Sigmoid,
        "Tanh" => Unary::Tanh,
        "Softplus" => Unary::Softplus,
        "HardSwish" => Unary::HardSwish,
        "HardSigmoid" => Unary::HardSigmoid {
            alpha: a.float_or("alpha", 0.2)?,
            beta: a.float_or("beta", 0.5)?,
        },
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Reciprocal" => Unary::Reciprocal,
        "Round" => Unary::Round,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Identity" => Unary::Identity,
        _ => return Ok(None),
    }))
}

/// Before operator set 13 it sums over all axes from its own on.
fn softmax(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let log = site.node.op_type == "LogSoftmax";
    let old = site.scope.version < 13;
    let axis = site.attributes.int_or("axis", if old { 1 } else { -1 })?;
    let dims = site.scope.dims(x);
    let from = resolve_axis(axis, dims.len())?;
    if !old || from + 1 == dims.len() {
        return Ok((Op::Softmax(Softmax { axis, log }), vec![x]));
    }
    let rest = site.fixed(x, from)?;
    let before = vec![0; from];
    let shape = [&before[..], &[-1]].concat();
    let flat = site.part("flat", Op::Reshape(Reshape { shape }), &[x])?;
    let summed = site.part("softmax", Op::Softmax(Softmax { axis: -1, log }), &[flat])?;
    let behind: Vec<i64> = rest.iter().map(|&d| d as i64).collect();
    let shape = [&before[..], &behind].concat();
    Ok((Op::Reshape(Reshape { shape }), vec![summed]))
}

fn power(site: &mut Site<'_, '_>) -> Made {
    let base = site.operand(0)?;
    let exponent = site.name(1).ok_or("expected an exponent, found none")?;
    Ok((
        Op::Binary(Binary::Pow),
        vec![base, site.scope.operand(exponent, true)?],
    ))
}

/// `Clip` with constant bounds; `Min` and `Max` of a value and constant numbers.
fn bounds(site: &mut Site<'_, '_>) -> Made {
    let operator = site.node.op_type.as_str();
    let (mut min, mut max) = (f64::NEG_INFINITY, f64::INFINITY);
    let mut value = 0;
    if operator == "Clip" {
        min = site.scalar(1)?.unwrap_or(min);
        max = site.scalar(2)?.unwrap_or(max);
    } else {
        let mut open = Vec::new();
        for i in 0..site.node.input.len() {
            let name = site.name(i).unwrap_or_default();
            if site.scope.constant(name)?.is_none() {
                open.push(i);
                continue;
            }
            let bound = site
                .scalar(i)?
                .ok_or_else(|| format!("expected a number for input {i}"))?;
            if operator == "Min" {
                max = max.min(bound)
            } else {
                min = min.max(bound)
            }
        }
        match open.as_slice() {
            [i] => value = *i,
            _ => {
                return Err(format!(
                    "expected one value and constant numbers, found {} values",
                    open.len()
                ));
            }
        }
    }
    // Where the bounds cross, ONNX takes the upper one.
    let clip = Unary::Clip {
        min: min.min(max),
        max,
    };
    Ok((Op::Unary(clip), vec![site.operand(value)?]))
}

fn cast(site: &mut Site<'_, '_>) -> Made {
    let to = site.attributes.int_or("to", 0)?;
    let code = i32::try_from(to).unwrap_or(0);
    if !super::export::is_floating(code) {
        return Err(format!(
            "expected values to stay floating-point numbers, found a cast to {}",
            super::export::type_name(code)
        ));
    }
    let output = site.node.output.first().map_or("", String::as_str);
    if site.scope.survey.rounded.contains(output) {
        return Err(format!(
            "expected values to stay float32, found a cast to {} and back, which rounds them",
            super::export::type_name(code)
        ));
    }
    if code != super::proto::dtype::FLOAT {
        site.scope.other_precision.get_or_insert(code);
    }
    Ok((Op::Unary(Unary::Identity), vec![site.operand(0)?]))
}

/// Dropout does nothing when a network is evaluated.
fn dropout(site: &mut Site<'_, '_>) -> Made {
    if site
        .ints(2)?
        .is_some_and(|mode| mode.iter().any(|&m| m != 0))
    {
        return Err("expected dropout for evaluation, found training mode".to_owned());
    }
    Ok((Op::Unary(Unary::Identity), vec![site.operand(0)?]))
}

fn reduce(site: &mut Site<'_, '_>, kind: ReduceKind) -> Made {
    let x = site.operand(0)?;
    let (axes, keep) = site.reduced(x)?;
    Ok((Op::Reduce(Reduce { kind, axes, keep }), vec![x]))
}

fn top_k(site: &mut Site<'_, '_>) -> Made {
    site.attributes.require("largest", 1)?;
    // Unsorted means that any order will do.
    let k = match site.ints(1)?.as_deref() {
        Some(&[k]) => {
            usize::try_from(k).map_err(|_| format!("expected a positive k, found {k}"))?
        }
        other => return Err(format!("expected one number k, found {other:?}")),
    };
    Ok((
        Op::TopK(TopK {
            axis: site.attributes.int_or("axis", -1)?,
            k,
        }),
        vec![site.operand(0)?],
    ))
}

fn squeeze(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let dims = site.scope.dims(x);
    let ones = || {
        (0..dims.len())
            .filter(|&i| dims[i] == Dim::Fixed(1))
            .map(|i| i as i64)
            .collect()
    };
    let axes = site.axes()?.unwrap_or_else(ones);
    let dropped = resolve_axes(&axes, dims.len())?;
    if site.scope.fixed_batch == Some(1) && dropped.iter().any(|&a| dims[a] == Dim::Batch(1)) {
        let sizes = concrete(&dims, 1);
        if let Some(a) = dropped.iter().find(|&&a| sizes[a] != 1) {
            return Err(format!(
                "expected size 1 at axis {a}, found shape {sizes:?}"
            ));
        }
        let kept = (0..sizes.len()).filter(|i| !dropped.contains(i));
        let out: Vec<usize> = kept.map(|i| sizes[i]).collect();
        return Ok((layout::arranged(site, x, &out)?, vec![x]));
    }
    Ok((Op::Squeeze(Squeeze { axes }), vec![x]))
}

fn transpose(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let rank = site.scope.dims(x).len();
    let perm = match site.attributes.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(perm) => perm
            .iter()
            .map(|&p| usize::try_from(p))
            .collect::<Result<_, _>>()
            .map_err(|_| format!("expected a permutation, found {perm:?}"))?,
    };
    Ok((Op::Transpose(Transpose { perm }), vec![x]))
}
