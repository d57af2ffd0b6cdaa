//! Normalisations by statistics of the values themselves, as layer normalisation in other shapes.

use super::site::{Made, Site};
use crate::graph::ValueId;
use crate::graph::op::{
    AveragePool, Binary, LayerNorm, Op, Reduce, ReduceKind, Reshape, Unary, Unsqueeze, Window,
    resolve_axis,
};

/// Numbers of a channel as they meet `[n, c, …]`: `[c, 1, …]`.
fn of_channel(site: &mut Site<'_, '_>, id: ValueId, rank: usize) -> Result<ValueId, String> {
    let axes: Vec<i64> = (1..rank as i64 - 1).collect();
    if axes.is_empty() {
        return Ok(id);
    }
    site.part("channels", Op::Unsqueeze(Unsqueeze { axes }), &[id])
}

/// (x − mean) / √(variance + ε) over the axes from `from` on.
fn standardised(
    site: &mut Site<'_, '_>,
    x: ValueId,
    from: usize,
    epsilon: f64,
) -> Result<ValueId, String> {
    let shape = site.fixed(x, from)?;
    let ones = site.filled("ones", &shape, 1.0)?;
    let op = LayerNorm {
        axis: from as i64,
        epsilon,
    };
    site.part("standardised", Op::LayerNorm(op), &[x, ones])
}

/// y = scale (x − mean) / √(variance + ε) + bias, over each channel of each image.
pub(super) fn instance_norm(site: &mut Site<'_, '_>) -> Made {
    let (x, scale, bias) = (site.operand(0)?, site.operand(1)?, site.operand(2)?);
    let epsilon = site.attributes.float_or("epsilon", 1e-5)?;
    let rank = site.scope.dims(x).len();
    if rank < 3 {
        return Err(format!("expected an input of rank 3 or more, found {rank}"));
    }
    let normal = standardised(site, x, 2, epsilon)?;
    let (scale, bias) = (
        of_channel(site, scale, rank)?,
        of_channel(site, bias, rank)?,
    );
    let scaled = site.binary(Binary::Mul, normal, scale)?;
    Ok((Op::Binary(Binary::Add), vec![scaled, bias]))
}

/// The same over each group of channels; scale and bias are of channels or, in operator sets 18 to
/// 20, of groups.
pub(super) fn group_norm(site: &mut Site<'_, '_>) -> Made {
    let (x, scale, bias) = (site.operand(0)?, site.operand(1)?, site.operand(2)?);
    let epsilon = site.attributes.float_or("epsilon", 1e-5)?;
    let groups = site.attributes.int_or("num_groups", 0)?;
    let sizes = site.fixed(x, 1)?;
    let channels = *sizes.first().ok_or("expected an input with channels")?;
    let each = usize::try_from(groups).ok().filter(|g| *g > 0);
    let each = each
        .filter(|g| channels.is_multiple_of(*g))
        .map(|g| channels / g);
    let each = each.ok_or_else(|| {
        format!("expected groups that divide {channels} channels, found {groups}")
    })?;
    let rank = site.scope.dims(x).len();
    let shape = vec![0, groups, -1];
    let grouped = site.part("groups", Op::Reshape(Reshape { shape }), &[x])?;
    let normal = standardised(site, grouped, 2, epsilon)?;
    let per_channel = site.fixed(scale, 0)? == [channels];
    let apply = |site: &mut Site<'_, '_>, id: ValueId| -> Result<ValueId, String> {
        if per_channel || each == 1 {
            return of_channel(site, id, rank);
        }
        site.part("group", Op::Unsqueeze(Unsqueeze { axes: vec![1] }), &[id])
    };
    let (scale, bias) = (apply(site, scale)?, apply(site, bias)?);
    let whole = |sizes: &[usize]| {
        let shape = std::iter::once(0).chain(sizes.iter().map(|&d| d as i64));
        Op::Reshape(Reshape {
            shape: shape.collect(),
        })
    };
    if per_channel || each == 1 {
        let normal = site.part("apart", whole(&sizes), &[normal])?;
        let scaled = site.binary(Binary::Mul, normal, scale)?;
        return Ok((Op::Binary(Binary::Add), vec![scaled, bias]));
    }
    let scaled = site.binary(Binary::Mul, normal, scale)?;
    let moved = site.binary(Binary::Add, scaled, bias)?;
    Ok((whole(&sizes), vec![moved]))
}

/// y = scale x / √(mean x² + ε) over the axes from `axis` on.
pub(super) fn rms_norm(site: &mut Site<'_, '_>) -> Made {
    let (x, scale) = (site.operand(0)?, site.operand(1)?);
    let rank = site.scope.dims(x).len();
    let from = resolve_axis(site.attributes.int_or("axis", -1)?, rank)?;
    site.fixed(x, from)?;
    let square = site.binary(Binary::Mul, x, x)?;
    let mean = Reduce {
        kind: ReduceKind::Mean,
        axes: (from as i64..rank as i64).collect(),
        keep: true,
    };
    let mean = site.part("mean", Op::Reduce(mean), &[square])?;
    let epsilon = site.attributes.float_or("epsilon", 1e-5)?;
    let epsilon = site.number("epsilon", epsilon)?;
    let inside = site.binary(Binary::Add, mean, epsilon)?;
    let root = site.unary(Unary::Sqrt, inside)?;
    let normal = site.binary(Binary::Div, x, root)?;
    Ok((Op::Binary(Binary::Mul), vec![normal, scale]))
}

/// Batch normalisation of what does not depend on the image, by its own statistics: how exporters
/// write weights that are standardised. The input is `[1, c, …]`.
pub(super) fn own_statistics(site: &mut Site<'_, '_>) -> Made {
    let (x, scale, bias) = (site.operand(0)?, site.operand(1)?, site.operand(2)?);
    let sizes = site.fixed(x, 0);
    let sizes = sizes.map_err(|_| "expected a network for evaluation, found training mode")?;
    let [1, channels, ..] = sizes[..] else {
        return Err(format!(
            "expected weights [1, c, …] to standardise, found {sizes:?}"
        ));
    };
    let epsilon = site.attributes.float_or("epsilon", 1e-5)?;
    let rows = vec![channels as i64, -1];
    let flat = site.part("rows", Op::Reshape(Reshape { shape: rows }), &[x])?;
    let normal = standardised(site, flat, 1, epsilon)?;
    let column = |site: &mut Site<'_, '_>, id| {
        site.part("column", Op::Unsqueeze(Unsqueeze { axes: vec![1] }), &[id])
    };
    let (scale, bias) = (column(site, scale)?, column(site, bias)?);
    let scaled = site.binary(Binary::Mul, normal, scale)?;
    let moved = site.binary(Binary::Add, scaled, bias)?;
    let shape = sizes.iter().map(|&d| d as i64).collect();
    Ok((Op::Reshape(Reshape { shape }), vec![moved]))
}

/// x / (bias + α / size · Σ x²)^β, the sum over `size` neighbouring channels.
pub(super) fn local_response(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let a = site.attributes;
    let size = a.int("size")?.and_then(|s| usize::try_from(s).ok());
    let size = size
        .filter(|s| *s > 0)
        .ok_or("expected a positive attribute `size`")?;
    let (alpha, beta) = (a.float_or("alpha", 1e-4)?, a.float_or("beta", 0.75)?);
    let bias = a.float_or("bias", 1.0)?;
    let sizes = site.fixed(x, 1)?;
    let channels = *sizes.first().ok_or("expected an input with channels")?;
    let square = site.binary(Binary::Mul, x, x)?;
    let shape = vec![0, 1, channels as i64, -1];
    let rows = site.part("rows", Op::Reshape(Reshape { shape }), &[square])?;
    let before = (size - 1) / 2;
    let pool = AveragePool {
        window: Window {
            kernel: [size, 1],
            stride: [1, 1],
            pads: [before, 0, size - 1 - before, 0],
            dilation: [1, 1],
            ceil: false,
        },
        count_include_pad: true,
    };
    let mean = site.part("mean", Op::AveragePool(pool), &[rows])?;
    let shape = std::iter::once(0).chain(sizes.iter().map(|&d| d as i64));
    let shape = shape.collect();
    let mean = site.part("apart", Op::Reshape(Reshape { shape }), &[mean])?;
    let alpha = site.number("alpha", alpha)?;
    let scaled = site.binary(Binary::Mul, mean, alpha)?;
    let bias = site.number("bias", bias)?;
    let inside = site.binary(Binary::Add, scaled, bias)?;
    let beta = site.number("beta", beta)?;
    let below = site.binary(Binary::Pow, inside, beta)?;
    Ok((Op::Binary(Binary::Div), vec![x, below]))
}
