//! Files made for a fixed number of images. Such a file has the number in its shapes and its
//! constants; here it becomes the batch again.
//!
//! An axis that grows with the batch holds k n values for n images, those of one image together.
//! Reshaping keeps the order of the numbers. So the batch goes to the axis of the new shape that
//! has the same count of numbers behind one image: [`reshaped`]. Constants that were made as large
//! as the file's batch are repeated: [`aligned`].

use super::array::split_even;
use super::scope::Scope;
use crate::graph::op::{Expand, Op, Reshape, Slice, SliceAxis, Unsqueeze};
use crate::graph::{Dim, Network, PROBES, Source, ValueId, concrete};
use std::ops::Range;

/// A size that may depend on the batch size, as the probes have it, for `n` images.
pub(super) fn at_batch([a, b]: [i64; 2], n: usize) -> i64 {
    if a == b {
        return a;
    }
    let each = (b - a) / (PROBES[1] - PROBES[0]) as i64;
    each.saturating_mul(n as i64)
}

/// The only axis that grows with the batch, and by how much; `None` if there are several or none.
fn growing(dims: &[Dim]) -> Option<(usize, usize)> {
    let mut all = dims.iter().enumerate().filter_map(|(i, d)| match d {
        Dim::Batch(k) => Some((i, *k)),
        Dim::Fixed(_) => None,
    });
    all.next().filter(|_| all.next().is_none())
}

/// What a value `x` becomes whose numbers, for `n` images, are arranged as `out`. `None` where no
/// axis of `out` can hold the batch.
pub(super) fn reshaped(x: &[Dim], n: usize, out: &[usize]) -> Option<Vec<Dim>> {
    let fixed = |sizes: &[usize]| sizes.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>();
    if !x.iter().any(|d| matches!(d, Dim::Batch(_))) {
        return Some(fixed(out));
    }
    let (axis, each) = growing(x)?;
    let behind = |sizes: &[usize], i: usize| sizes[i + 1..].iter().product::<usize>();
    // Numbers from one image to the next.
    let step = behind(&concrete(x, n), axis) * each;
    let candidate = |q: usize| {
        let inner = behind(out, q);
        let each = step.checked_div(inner).filter(|k| k * inner == step)?;
        (out[q] == each * n).then_some((q, each))
    };
    let all: Vec<(usize, usize)> = (0..out.len()).filter_map(candidate).collect();
    // An axis for the batch alone is the better one: others may be worked along.
    let (q, each) = *all.iter().find(|c| c.1 == 1).or(all.first())?;
    let mut dims = fixed(out);
    dims[q] = Dim::Batch(each);
    Some(dims)
}

/// Whether the numbers of one image stay together when `x` is arranged as `y`: whether those of the
/// next image begin as far behind them in both.
pub(super) fn keeps_images_apart(x: &[Dim], y: &[Dim]) -> bool {
    let step = |dims: &[Dim]| {
        let (axis, each) = growing(dims)?;
        Some(concrete(&dims[axis + 1..], 1).iter().product::<usize>() * each)
    };
    step(x) == step(y)
}

/// The operator that arranges `x` as `dims`, in which at most one axis grows.
pub(super) fn reshape_to(x: &[Dim], dims: &[Dim]) -> Op {
    let size = |(i, d): (usize, &Dim)| match d {
        Dim::Fixed(d) => *d as i64,
        Dim::Batch(_) if x.get(i) == Some(d) => 0,
        Dim::Batch(_) => -1,
    };
    let shape = dims.iter().enumerate().map(size).collect();
    Op::Reshape(Reshape { shape })
}

/// Operands of an operator that broadcasts them, or that joins them along `joined`. Where one grows
/// with the batch along an axis and another one has the size that belongs to the file's batch, the
/// other one is repeated.
pub(super) fn aligned(
    scope: &mut Scope<'_>,
    ids: Vec<ValueId>,
    joined: Option<usize>,
) -> Result<Vec<ValueId>, String> {
    let Some(n) = scope.fixed_batch else {
        return Ok(ids);
    };
    let all: Vec<Vec<Dim>> = ids.iter().map(|&id| scope.dims(id)).collect();
    let rank = all.iter().map(Vec::len).max().unwrap_or(0);
    let at = |dims: &[Dim], axis: usize| {
        let own = (axis + dims.len()).checked_sub(rank)?;
        Some((own, dims[own]))
    };
    let mut out = ids;
    for axis in (0..rank).filter(|&a| Some(a) != joined) {
        let each = all.iter().find_map(|dims| match at(dims, axis) {
            Some((_, Dim::Batch(k))) => Some(k),
            _ => None,
        });
        let Some(each) = each else { continue };
        for (id, dims) in out.iter_mut().zip(&all) {
            // What broadcasts needs no copies.
            let broadcasts = each * n == 1 && joined.is_none();
            if let Some((own, Dim::Fixed(size))) = at(dims, axis)
                && size == each * n
                && !broadcasts
            {
                *id = repeated(scope, *id, own, each)?;
            }
        }
    }
    Ok(out)
}

/// A value that does not depend on the image, `each * n` long along `axis` for the `n` images of
/// the file, repeated for as many images as there are.
fn repeated(
    scope: &mut Scope<'_>,
    id: ValueId,
    axis: usize,
    each: usize,
) -> Result<ValueId, String> {
    let name = scope.builder.network().value(id).name.clone();
    let n = scope.fixed_batch.unwrap_or(1);
    if n > 1 && !is_same_for_all(scope.builder.network(), id, axis, n) {
        return Err(format!(
            "expected `{name}` to be the same for each of the {n} images of the file"
        ));
    }
    scope.widened = true;
    let mut one = id;
    if n > 1 {
        let part = SliceAxis {
            axis,
            start: 0,
            step: 1,
            count: each,
        };
        let op = Op::Slice(Slice { axes: vec![part] });
        one = scope.add(&format!("{name}/one"), op, &[id])?;
    }
    if each > 1 {
        let op = Op::Unsqueeze(Unsqueeze {
            axes: vec![axis as i64],
        });
        one = scope.add(&format!("{name}/apart"), op, &[one])?;
    }
    let mut dims = scope.dims(one);
    let sizes = (0..dims.len()).map(|i| if i == axis { None } else { Some(1) });
    let op = Op::Expand(Expand {
        shape: sizes.collect(),
    });
    let inputs = [one, scope.builder.input()];
    let all = scope.add(&format!("{name}/batch"), op, &inputs)?;
    if each == 1 {
        return Ok(all);
    }
    dims.remove(axis);
    dims[axis] = Dim::Batch(each);
    let op = reshape_to(&scope.dims(all), &dims);
    scope.add(&format!("{name}/batches"), op, &[all])
}

/// Whether a value is `n` times the same along an axis, as far as can be seen without running it.
fn is_same_for_all(net: &Network, id: ValueId, axis: usize, n: usize) -> bool {
    let value = net.value(id);
    match &value.source {
        Source::Input => false,
        Source::Parameter { tensor, .. } => {
            let blocks = split_even(tensor.shape(), axis, n);
            let values = tensor.to_f32();
            let same = |block: &Range<usize>, first: &Range<usize>| {
                values[block.clone()]
                    .iter()
                    .zip(&values[first.clone()])
                    .all(|(a, b)| a.to_bits() == b.to_bits())
            };
            blocks
                .chunks_exact(n)
                .all(|row| row.iter().all(|block| same(block, &row[0])))
        }
        Source::Node { node } => {
            let node = &net.nodes()[*node];
            let from = net.value(node.inputs[0]);
            let own = (axis + from.shape.len()).checked_sub(value.shape.len());
            let expanded = matches!(node.op, Op::Expand(_));
            expanded && own.is_none_or(|own| from.shape[own] == Dim::Fixed(1))
        }
    }
}
