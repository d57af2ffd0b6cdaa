//! Operators that this crate has no operator for, put together from those it has. All but the last
//! of their nodes are added here; the last one is handed back like any other.

use super::site::{Made, Site};
use super::{gates, heads, norms};
use crate::graph::op::{
    Binary, Concat, Expand, MaxPool, Op, Reduce, ReduceKind, Reshape, Squeeze, TopK, Transpose,
    Unary, Window, resolve_axes,
};
use crate::graph::{Dim, PROBES, ValueId};

/// The node as several; `None` if it is none of these.
pub(super) fn compose(site: &mut Site<'_, '_>) -> Option<Made> {
    let made = match site.node.op_type.as_str() {
        "InstanceNormalization" => norms::instance_norm(site),
        "GroupNormalization" => norms::group_norm(site),
        "RMSNormalization" => norms::rms_norm(site),
        "BatchNormalization" if site.attributes.int_or("training_mode", 0) == Ok(1) => {
            norms::own_statistics(site)
        }
        "LRN" => norms::local_response(site),
        "Swish" => gates::swish(site),
        "Mish" => gates::mish(site),
        "Softsign" => gates::softsign(site),
        "Selu" => gates::selu(site),
        "Celu" => gates::celu(site),
        "Sum" | "Mean" => variadic(site),
        "GlobalMaxPool" => global_max(site),
        "ReduceMax" | "ReduceMin" => extreme(site),
        "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => norm(site),
        "DepthToSpace" | "SpaceToDepth" => between_depth_and_space(site),
        "Tile" => tile(site),
        "Where" => chosen(site),
        "CastLike" => cast_like(site),
        "Attention" => heads::attention(site),
        _ => return None,
    };
    Some(made)
}

fn variadic(site: &mut Site<'_, '_>) -> Made {
    let all = site.operands()?;
    let (&first, rest) = all.split_first().ok_or("expected inputs, found none")?;
    let mut sum = first;
    for &x in rest {
        sum = site.binary(Binary::Add, sum, x)?;
    }
    if site.node.op_type == "Sum" {
        return Ok((Op::Unary(Unary::Identity), vec![sum]));
    }
    let share = site.number("share", 1.0 / all.len() as f64)?;
    Ok((Op::Binary(Binary::Mul), vec![sum, share]))
}

fn global_max(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let sizes = site.fixed(x, 2)?;
    let [h, w] = sizes[..] else {
        return Err("expected two spatial axes (only 2-D operators are supported)".to_owned());
    };
    let window = Window {
        kernel: [h, w],
        stride: [1, 1],
        pads: [0; 4],
        dilation: [1, 1],
        ceil: false,
    };
    Ok((Op::MaxPool(MaxPool(window)), vec![x]))
}

/// The largest or the smallest along some axes, one axis after the other.
fn extreme(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let (axes, keep) = reduced(site, x)?;
    let smallest = site.node.op_type == "ReduceMin";
    let mut at = x;
    if smallest {
        at = site.unary(Unary::Neg, at)?;
    }
    for &axis in &axes {
        let op = TopK {
            axis: axis as i64,
            k: 1,
        };
        at = site.part("largest", Op::TopK(op), &[at])?;
    }
    if smallest {
        at = site.unary(Unary::Neg, at)?;
    }
    ended(at, &axes, keep)
}

/// √Σ x², Σ |x| or Σ x² along some axes. The derivative of the first at 0 is 0.
fn norm(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let (axes, keep) = reduced(site, x)?;
    let operator = site.node.op_type.as_str();
    let each = if operator == "ReduceL1" {
        site.unary(Unary::Abs, x)?
    } else {
        site.binary(Binary::Mul, x, x)?
    };
    let sum = Op::Reduce(Reduce {
        kind: ReduceKind::Sum,
        axes: axes.iter().map(|&a| a as i64).collect(),
        keep,
    });
    if operator != "ReduceL2" {
        return Ok((sum, vec![each]));
    }
    let sum = site.part("sum", sum, &[each])?;
    // At 0 the root has no slope. Its second derivative at this bound is still a float32.
    let (min, max) = (1e-24, f64::INFINITY);
    let sum = site.unary(Unary::Clip { min, max }, sum)?;
    Ok((Op::Unary(Unary::Sqrt), vec![sum]))
}

/// The axes that a reduction works along, none of which may be that of the batch, and whether they
/// stay as size 1.
fn reduced(site: &mut Site<'_, '_>, x: ValueId) -> Result<(Vec<usize>, bool), String> {
    let (axes, keep) = site.reduced(x)?;
    let dims = site.scope.dims(x);
    let axes = resolve_axes(&axes, dims.len())?;
    if axes.iter().any(|&a| matches!(dims[a], Dim::Batch(_))) {
        return Err("expected axes other than that of the batch".to_owned());
    }
    Ok((axes, keep))
}

fn ended(x: ValueId, axes: &[usize], keep: bool) -> Made {
    if keep || axes.is_empty() {
        return Ok((Op::Unary(Unary::Identity), vec![x]));
    }
    let axes = axes.iter().map(|&a| a as i64).collect();
    Ok((Op::Squeeze(Squeeze { axes }), vec![x]))
}

fn between_depth_and_space(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let block = site.attributes.int_or("blocksize", 0)?;
    let b = usize::try_from(block).ok().filter(|b| *b > 0);
    let b = b.ok_or_else(|| format!("expected a positive attribute `blocksize`, found {block}"))?;
    let sizes = site.fixed(x, 1)?;
    let [c, h, w] = sizes[..] else {
        return Err("expected images [n, c, h, w]".to_owned());
    };
    let deep = site.node.op_type == "DepthToSpace";
    let (split, perm, out) = if deep {
        if !c.is_multiple_of(b * b) {
            return Err(format!(
                "expected channels in multiples of {}, found {c}",
                b * b
            ));
        }
        let out = [c / b / b, h * b, w * b];
        match site.attributes.string_or("mode", "DCR")? {
            "DCR" => ([b, b, out[0], h, w], [0, 3, 4, 1, 5, 2], out),
            "CRD" => ([out[0], b, b, h, w], [0, 1, 4, 2, 5, 3], out),
            other => return Err(format!("expected mode DCR or CRD, found `{other}`")),
        }
    } else {
        if !(h.is_multiple_of(b) && w.is_multiple_of(b)) {
            return Err(format!(
                "expected sides in multiples of {b}, found {h} and {w}"
            ));
        }
        (
            [c, h / b, b, w / b, b],
            [0, 3, 5, 1, 2, 4],
            [c * b * b, h / b, w / b],
        )
    };
    let with_batch = |sizes: &[usize]| {
        let shape = std::iter::once(0).chain(sizes.iter().map(|&d| d as i64));
        Op::Reshape(Reshape {
            shape: shape.collect(),
        })
    };
    let apart = site.part("apart", with_batch(&split), &[x])?;
    let perm = perm.to_vec();
    let turned = site.part("turned", Op::Transpose(Transpose { perm }), &[apart])?;
    Ok((with_batch(&out), vec![turned]))
}

fn tile(site: &mut Site<'_, '_>) -> Made {
    let mut x = site.operand(0)?;
    let repeats = site.sizes(1)?.ok_or("expected repeats, found none")?;
    let dims = site.scope.dims(x);
    let batch = PROBES.map(|n| n as i64);
    if repeats.len() != dims.len() {
        return Err(format!(
            "expected {} repeats, found {repeats:?}",
            dims.len()
        ));
    }
    for (axis, &times) in repeats.iter().enumerate() {
        if times == batch && dims[axis] == Dim::Fixed(1) {
            let shape = (0..dims.len()).map(|i| (i != axis).then_some(1)).collect();
            let inputs = [x, site.scope.builder.input()];
            x = site.part("images", Op::Expand(Expand { shape }), &inputs)?;
            continue;
        }
        let times = if times[0] == times[1] { times[0] } else { -1 };
        let times = usize::try_from(times)
            .ok()
            .filter(|t| (1..=1 << 10).contains(t));
        let times =
            times.ok_or_else(|| format!("expected 1 to 1024 repeats, found {repeats:?}"))?;
        if times > 1 {
            let op = Op::Concat(Concat { axis: axis as i64 });
            if matches!(dims[axis], Dim::Batch(_)) {
                return Err("expected repeats of other axes than that of the batch".to_owned());
            }
            x = site.part("tiled", op, &vec![x; times])?;
        }
    }
    Ok((Op::Unary(Unary::Identity), vec![x]))
}

/// `Where` with a constant condition: each branch times the places where it is chosen, added up. A
/// constant branch is cut before, because its other places may hold infinity.
fn chosen(site: &mut Site<'_, '_>) -> Made {
    let known = site
        .constant(0)?
        .ok_or("expected a condition, found none")?;
    let condition = known
        .same()
        .ok_or("expected a condition that is the same for any batch")?;
    let mask: Vec<bool> = condition.as_ints()?.iter().map(|&c| c != 0).collect();
    let shape = condition.shape.clone();
    let mut parts = Vec::new();
    for (i, wanted) in [(1, true), (2, false)] {
        let name = site
            .name(i)
            .ok_or_else(|| format!("expected input {i}, found none"))?;
        let constant = site.scope.constant(name)?;
        let here = |m: &bool| f32::from(*m == wanted);
        let part = match constant.as_ref().and_then(|k| k.same()) {
            Some(array) if array.len() == 1 => {
                let v = array.to_floats()[0];
                let cut = mask.iter().map(|m| if *m == wanted { v } else { 0.0 });
                site.stored("branch", &shape, cut.collect())?
            }
            Some(array) if array.shape == shape => {
                let both = array.to_floats().into_iter().zip(&mask);
                let cut = both.map(|(v, m)| if *m == wanted { v } else { 0.0 });
                site.stored("branch", &shape, cut.collect())?
            }
            _ => {
                let x = site.operand(i)?;
                let places = mask.iter().map(here).collect();
                let places = site.stored("places", &shape, places)?;
                site.binary(Binary::Mul, x, places)?
            }
        };
        parts.push(part);
    }
    Ok((Op::Binary(Binary::Add), parts))
}

/// Values stay floating-point numbers.
fn cast_like(site: &mut Site<'_, '_>) -> Made {
    Ok((Op::Unary(Unary::Identity), vec![site.operand(0)?]))
}
