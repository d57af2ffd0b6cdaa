//! Evaluates operators on constants: the integer arithmetic that exporters put around shapes.

use super::array::{Array, Data, MOST_FOLDED, counted};
use super::attributes::Attributes;
use super::points::{gather_constant, scatter_constant};
use super::proto::{NodeProto, dtype};
use super::quantised;
use super::rearrange::{
    concat, gather, resolve_shape, sizes, slice, squeeze, tile, transpose, unsqueeze,
};
use super::tables::{cumulated, eye, reduced, triangle};
use crate::tensor::broadcast_shape;
use std::cmp::Ordering;

/// Operators that [`evaluate`] knows.
const FOLDABLE: [&str; 57] = [
    "Constant",
    "ConstantOfShape",
    "Range",
    "Gather",
    "GatherND",
    "ScatterND",
    "Unsqueeze",
    "Squeeze",
    "Concat",
    "Slice",
    "Tile",
    "Trilu",
    "EyeLike",
    "CumSum",
    "Cast",
    "CastLike",
    "Reshape",
    "Transpose",
    "Expand",
    "Where",
    "Identity",
    "Not",
    "And",
    "Or",
    "Xor",
    "Equal",
    "Greater",
    "Less",
    "GreaterOrEqual",
    "LessOrEqual",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Min",
    "Max",
    "Clip",
    "Pow",
    "Sqrt",
    "Neg",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Abs",
    "Exp",
    "Log",
    "Sin",
    "Cos",
    "Reciprocal",
    "ReduceMax",
    "ReduceMin",
    "ReduceSum",
    "ReduceProd",
    "QuantizeLinear",
    "DequantizeLinear",
];

/// Whether a node of constants is computed at reading time.
pub(super) fn foldable(operator: &str) -> bool {
    FOLDABLE.contains(&operator)
}

/// The only output of a node whose inputs are all known.
pub(super) fn evaluate(node: &NodeProto, inputs: &[Option<&Array>]) -> Result<Array, String> {
    let a = Attributes(&node.attribute);
    let input = |i: usize| {
        inputs
            .get(i)
            .copied()
            .flatten()
            .ok_or_else(|| format!("expected input {i}, found none"))
    };
    let ints = |i: usize| input(i)?.as_ints().map(<[i64]>::to_vec);
    let optional = |i: usize| {
        inputs
            .get(i)
            .copied()
            .flatten()
            .map(|x| x.as_ints().map(<[i64]>::to_vec))
            .transpose()
    };
    let axes = || match optional(1)? {
        Some(axes) => Ok(Some(axes)),
        None => a.ints("axes"),
    };
    match node.op_type.as_str() {
        "Constant" => constant(a),
        "ConstantOfShape" => filled(&ints(0)?, a),
        "Range" => range(input(0)?, input(1)?, input(2)?),
        "Gather" => gather(input(0)?, input(1)?, a.int_or("axis", 0)?),
        "GatherND" => {
            a.require("batch_dims", 0)?;
            gather_constant(input(0)?, input(1)?)
        }
        "ScatterND" => scatter_constant(input(0)?, input(1)?, input(2)?),
        "Unsqueeze" => unsqueeze(input(0)?, &axes()?.ok_or("expected axes, found none")?),
        "Squeeze" => squeeze(input(0)?, axes()?.as_deref()),
        "Tile" => tile(input(0)?, &ints(1)?),
        "Trilu" => triangle(input(0)?, optional(1)?, a.flag("upper", true)?),
        "EyeLike" => eye(input(0)?, a),
        "CumSum" => cumulated(input(0)?, &ints(1)?, a),
        "CastLike" => {
            let to = match input(1)?.data {
                Data::Int(_) => dtype::INT64,
                Data::Float(_) => dtype::FLOAT,
            };
            cast(input(0)?, i64::from(to))
        }
        "ReduceMax" | "ReduceMin" | "ReduceSum" | "ReduceProd" => {
            let keep = a.flag("keepdims", true)?;
            let nothing = a.flag("noop_with_empty_axes", false)?;
            reduced(input(0)?, axes()?, &node.op_type, (keep, nothing))
        }
        "QuantizeLinear" | "DequantizeLinear" => {
            let zero = inputs.get(2).copied().flatten();
            quantised::fold(node, input(0)?, input(1)?, zero)
        }
        "Concat" => {
            let parts = (0..inputs.len())
                .map(input)
                .collect::<Result<Vec<_>, _>>()?;
            concat(
                &parts,
                a.int("axis")?
                    .ok_or("expected attribute `axis`, found none")?,
            )
        }
        "Slice" => slice(input(0)?, &ints(1)?, &ints(2)?, optional(3)?, optional(4)?),
        "Cast" => cast(input(0)?, a.int_or("to", 0)?),
        "Reshape" => {
            let x = input(0)?;
            let shape = resolve_shape(&x.shape, &ints(1)?, a.flag("allowzero", false)?)?;
            Ok(Array {
                shape,
                data: x.data.clone(),
            })
        }
        "Transpose" => transpose(input(0)?, a.ints("perm")?),
        "Expand" => {
            let target = sizes(&ints(1)?)?;
            let shape = common(&input(0)?.shape, &target)?;
            Ok(input(0)?.expanded(&shape))
        }
        "Where" => {
            let shape = common(
                &common(&input(0)?.shape, &input(1)?.shape)?,
                &input(2)?.shape,
            )?;
            let (c, x, y) = (
                input(0)?.expanded(&shape),
                input(1)?.expanded(&shape),
                input(2)?.expanded(&shape),
            );
            let n = x.len();
            let pair = concat(
                &[
                    &Array {
                        shape: vec![n],
                        ..x
                    },
                    &Array {
                        shape: vec![y.len()],
                        ..y
                    },
                ],
                0,
            )?;
            let at: Vec<usize> = c
                .as_ints()?
                .iter()
                .enumerate()
                .map(|(i, &c)| if c != 0 { i } else { n + i })
                .collect();
            Ok(pair.pick(shape, &at))
        }
        "Identity" => Ok(input(0)?.clone()),
        "Not" => each(input(0)?, |v| Some(i64::from(v == 0)), |v| v),
        "Neg" => each(input(0)?, i64::checked_neg, |v| -v),
        "Sqrt" => each(input(0)?, |_| None, f32::sqrt),
        "Exp" => each(input(0)?, |_| None, f32::exp),
        "Log" => each(input(0)?, |_| None, f32::ln),
        "Sin" => each(input(0)?, |_| None, f32::sin),
        "Cos" => each(input(0)?, |_| None, f32::cos),
        "Reciprocal" => each(input(0)?, |_| None, f32::recip),
        "Round" => each(input(0)?, Some, f32::round_ties_even),
        "Abs" => each(input(0)?, i64::checked_abs, f32::abs),
        "Sign" => each(
            input(0)?,
            |v| Some(v.signum()),
            |v| if v == 0.0 { 0.0 } else { v.signum() },
        ),
        "Floor" => each(input(0)?, Some, f32::floor),
        "Ceil" => each(input(0)?, Some, f32::ceil),
        "Min" | "Max" => {
            let first = input(0)?.clone();
            (1..inputs.len()).try_fold(first, |x, i| both(&x, input(i)?, &node.op_type, a))
        }
        "Clip" => {
            let bound = |x: Array, i: usize, operator: &str| match inputs.get(i).copied().flatten()
            {
                Some(bound) => both(&x, bound, operator, a),
                None => Ok(x),
            };
            bound(bound(input(0)?.clone(), 1, "Max")?, 2, "Min")
        }
        operator => both(input(0)?, input(1)?, operator, a),
    }
}

fn constant(a: Attributes<'_>) -> Result<Array, String> {
    if let Some(t) = a.tensor("value")? {
        return Array::decode(t);
    }
    if let Some(v) = a.int("value_int")? {
        return Ok(Array {
            shape: vec![],
            data: Data::Int(vec![v]),
        });
    }
    if let Some(v) = a.find("value_float").and_then(|v| v.f) {
        return Ok(Array {
            shape: vec![],
            data: Data::Float(vec![v]),
        });
    }
    if let Some(v) = a.find("value_ints") {
        return Ok(Array::ints(v.ints.clone()));
    }
    match a.find("value_floats") {
        Some(v) => Ok(Array {
            shape: vec![v.floats.len()],
            data: Data::Float(v.floats.clone()),
        }),
        None => Err(
            "expected a value of numbers, found none (texts and sparse arrays are not supported)"
                .to_owned(),
        ),
    }
}

/// Broadcast shape, within the limit of constants.
fn common(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let shape = broadcast_shape(a, b)
        .ok_or_else(|| format!("expected shapes that broadcast, found {a:?} and {b:?}"))?;
    counted(&shape, MOST_FOLDED)?;
    Ok(shape)
}

fn filled(shape: &[i64], a: Attributes<'_>) -> Result<Array, String> {
    let shape = sizes(shape)?;
    let n = counted(&shape, MOST_FOLDED)?;
    let value = a.tensor("value")?.map(Array::decode).transpose()?;
    let data = match value.map(|v| v.data) {
        None => Data::Float(vec![0.0; n]),
        Some(Data::Int(v)) if v.len() == 1 => Data::Int(vec![v[0]; n]),
        Some(Data::Float(v)) if v.len() == 1 => Data::Float(vec![v[0]; n]),
        Some(_) => return Err("expected one value to fill with, found several".to_owned()),
    };
    Ok(Array { shape, data })
}

fn range(start: &Array, limit: &Array, delta: &Array) -> Result<Array, String> {
    let most = MOST_FOLDED as f64;
    let wrong = || format!("expected a range of at most {MOST_FOLDED} values");
    let data = match (&start.data, &limit.data, &delta.data) {
        (Data::Int(s), Data::Int(l), Data::Int(d)) => {
            let (&[s], &[l], &[d]) = (s.as_slice(), l.as_slice(), d.as_slice()) else {
                return Err(wrong());
            };
            let n = ((l as f64 - s as f64) / d as f64).ceil();
            if d == 0 || n.is_nan() || n > most {
                return Err(wrong());
            }
            let at = |i: i64| {
                d.checked_mul(i)
                    .and_then(|v| v.checked_add(s))
                    .ok_or_else(wrong)
            };
            Data::Int((0..n.max(0.0) as i64).map(at).collect::<Result<_, _>>()?)
        }
        (Data::Float(s), Data::Float(l), Data::Float(d)) => {
            let (&[s], &[l], &[d]) = (s.as_slice(), l.as_slice(), d.as_slice()) else {
                return Err(wrong());
            };
            let n = ((f64::from(l) - f64::from(s)) / f64::from(d)).ceil();
            if n.is_nan() || n > most {
                return Err(wrong());
            }
            Data::Float((0..n.max(0.0) as i64).map(|i| s + i as f32 * d).collect())
        }
        _ => return Err("expected three numbers of one type".to_owned()),
    };
    let n = Array {
        shape: vec![],
        data,
    };
    Ok(Array {
        shape: vec![n.len()],
        ..n
    })
}

fn cast(x: &Array, to: i64) -> Result<Array, String> {
    let shape = x.shape.clone();
    let data = match i32::try_from(to).unwrap_or(0) {
        dtype::FLOAT | dtype::DOUBLE | dtype::FLOAT16 | dtype::BFLOAT16 => {
            Data::Float(x.to_floats())
        }
        dtype::BOOL => Data::Int(match &x.data {
            Data::Int(v) => v.iter().map(|&v| i64::from(v != 0)).collect(),
            Data::Float(v) => v
                .iter()
                .map(|&v| i64::from(v.abs() > 0.0 || v.is_nan()))
                .collect(),
        }),
        dtype::UINT8..=dtype::INT64 | dtype::UINT32 | dtype::UINT64 => Data::Int(match &x.data {
            Data::Int(v) => v.clone(),
            Data::Float(v) => v.iter().map(|&v| v as i64).collect(),
        }),
        _ => {
            return Err(format!(
                "expected a cast to numbers or truth values, found {}",
                super::export::type_name(to as i32)
            ));
        }
    };
    Ok(Array { shape, data })
}

fn each(
    x: &Array,
    int: impl Fn(i64) -> Option<i64>,
    float: impl Fn(f32) -> f32,
) -> Result<Array, String> {
    let data = match &x.data {
        Data::Int(v) => Data::Int(
            v.iter()
                .map(|&v| int(v))
                .collect::<Option<_>>()
                .ok_or("expected floating-point numbers, or integers that do not overflow")?,
        ),
        Data::Float(v) => Data::Float(v.iter().map(|&v| float(v)).collect()),
    };
    Ok(Array {
        shape: x.shape.clone(),
        data,
    })
}

/// An operator of two arrays of one type, broadcast.
fn both(x: &Array, y: &Array, operator: &str, a: Attributes<'_>) -> Result<Array, String> {
    let shape = common(&x.shape, &y.shape)?;
    let (x, y) = (x.expanded(&shape), y.expanded(&shape));
    let c_modulo = a.flag("fmod", false)?;
    let data = match (&x.data, &y.data) {
        (Data::Int(x), Data::Int(y)) => {
            let run = |(&x, &y): (&i64, &i64)| int_operator(operator, x, y, c_modulo);
            Data::Int(
                x.iter()
                    .zip(y)
                    .map(run)
                    .collect::<Option<_>>()
                    .ok_or("expected integers that divide and do not overflow")?,
            )
        }
        (Data::Float(x), Data::Float(y)) if compares(operator).is_some() => {
            let wanted = compares(operator).unwrap_or_default();
            let run = |(x, y): (&f32, &f32)| x.partial_cmp(y).is_some_and(|o| wanted.contains(&o));
            Data::Int(x.iter().zip(y).map(|p| i64::from(run(p))).collect())
        }
        (Data::Float(x), _) if operator == "Pow" => Data::Float(
            x.iter()
                .zip(y.to_floats())
                .map(|(x, y)| x.powf(y))
                .collect(),
        ),
        (Data::Float(x), Data::Float(y)) => Data::Float(
            x.iter()
                .zip(y)
                .map(|(&x, &y)| float_operator(operator, x, y))
                .collect::<Option<_>>()
                .ok_or("expected integers")?,
        ),
        _ => {
            return Err(
                "expected inputs of one type, found integers and floating-point numbers".to_owned(),
            );
        }
    };
    Ok(Array { shape, data })
}

/// The orders of two numbers for which a comparison holds.
fn compares(operator: &str) -> Option<&'static [Ordering]> {
    match operator {
        "Equal" => Some(&[Ordering::Equal]),
        "Greater" => Some(&[Ordering::Greater]),
        "Less" => Some(&[Ordering::Less]),
        "GreaterOrEqual" => Some(&[Ordering::Greater, Ordering::Equal]),
        "LessOrEqual" => Some(&[Ordering::Less, Ordering::Equal]),
        _ => None,
    }
}

fn int_operator(operator: &str, x: i64, y: i64, c_modulo: bool) -> Option<i64> {
    match operator {
        "Add" => x.checked_add(y),
        "Sub" => x.checked_sub(y),
        "Mul" => x.checked_mul(y),
        "Div" => x.checked_div(y),
        "Mod" => {
            let r = x.checked_rem(y)?;
            Some(if !c_modulo && r != 0 && (r < 0) != (y < 0) {
                r + y
            } else {
                r
            })
        }
        "Pow" => x.checked_pow(u32::try_from(y).ok()?),
        "Min" => Some(x.min(y)),
        "Max" => Some(x.max(y)),
        "Xor" => Some(i64::from((x != 0) != (y != 0))),
        "And" => Some(i64::from(x != 0 && y != 0)),
        "Or" => Some(i64::from(x != 0 || y != 0)),
        other => compares(other).map(|wanted| i64::from(wanted.contains(&x.cmp(&y)))),
    }
}

fn float_operator(operator: &str, x: f32, y: f32) -> Option<f32> {
    match operator {
        "Add" => Some(x + y),
        "Sub" => Some(x - y),
        "Mul" => Some(x * y),
        "Div" => Some(x / y),
        "Mod" => Some(x % y),
        "Min" => Some(x.min(y)),
        "Max" => Some(x.max(y)),
        _ => None,
    }
}
