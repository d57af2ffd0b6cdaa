//! From nodes to operators: those that move numbers, whose shapes and positions are constants of
//! the graph.

use super::array::{MOST_FOLDED, counted};
use super::attributes::{MOST_AXES, short, widen};
use super::rearrange::{resolve_shape, wrap};
use super::site::{Made, Site};
use super::widen;
use crate::graph::op::{
    Expand, Gather, Op, Pad, Reshape, Slice, SliceAxis, Split, Unary, Unsqueeze, resolve_axes,
    resolve_axis,
};
use crate::graph::{Dim, PROBES, ValueId, concrete};

pub(super) fn reshape(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let shapes = site.shapes(x);
    let target = site
        .sizes(1)?
        .filter(|t| t.len() <= MOST_AXES)
        .ok_or("expected a shape of at most 16 axes")?;
    let allow_zero = site.attributes.flag("allowzero", false)?;
    if let Some(n) = site.scope.fixed_batch {
        let dims = site.scope.dims(x);
        let target: Vec<i64> = target.iter().map(|&t| widen::at_batch(t, n)).collect();
        let out = resolve_shape(&concrete(&dims, n), &target, allow_zero)?;
        return Ok((arranged(site, x, &out)?, vec![x]));
    }
    let at = |p: usize| {
        resolve_shape(
            &shapes[p],
            &target.iter().map(|t| t[p]).collect::<Vec<_>>(),
            allow_zero,
        )
    };
    let out = [at(0)?, at(1)?];
    let given = target.iter().position(|t| *t == [-1; 2]);
    let mut shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (i, t) in target.iter().enumerate() {
        let (now, other) = (out[0][i], out[1][i]);
        shape.push(if t[0] == t[1] && t[0] == 0 {
            0
        } else if now == other {
            now as i64
        } else if Some(i) != given
            && shapes[0].get(i) == Some(&now)
            && shapes[1].get(i) == Some(&other)
        {
            0
        } else if open.replace(i).is_none() {
            -1
        } else {
            return Err(format!(
                "expected at most one size that grows with the batch, found {target:?} at \
                batch sizes {PROBES:?}"
            ));
        });
    }
    if let (Some(i), None) = (given, open) {
        shape[i] = -1;
    }
    let op = Op::Reshape(Reshape { shape });
    Ok((op, vec![x]))
}

/// The operator that arranges a value of a file with a fixed batch as the file has it, `out`.
pub(super) fn arranged(site: &mut Site<'_, '_>, x: ValueId, out: &[usize]) -> Result<Op, String> {
    let n = site.scope.fixed_batch.unwrap_or(1);
    let dims = site.scope.dims(x);
    let to = widen::reshaped(&dims, n, out)
        .ok_or_else(|| format!("expected a shape in which the batch has a place, found {out:?}"))?;
    let plain = dims.first() == Some(&Dim::Batch(1)) && to.first() == Some(&Dim::Batch(1));
    site.scope.widened |= !plain && to.iter().any(|d| matches!(d, Dim::Batch(_)));
    Ok(widen::reshape_to(&dims, &to))
}

pub(super) fn expand(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let target = site
        .sizes(1)?
        .filter(|t| t.len() <= MOST_AXES)
        .ok_or("expected a shape of at most 16 axes")?;
    let probes = PROBES.map(|n| n as i64);
    // An axis of several numbers for each image is expanded as two, which are then one.
    let each = |t: &[i64; 2]| (t[0] % probes[0] == 0).then(|| t[0] / probes[0]);
    let several = |t: &&[i64; 2]| each(t).is_some_and(|k| k > 1 && t[1] == k * probes[1]);
    if let Some(axis) = target.iter().position(|t| several(&t)) {
        return expand_in_two(site, x, &target, axis);
    }
    let size = |t: &[i64; 2]| match t {
        [a, b] if a == b => usize::try_from(*a)
            .map(Some)
            .map_err(|_| format!("expected sizes that are not negative, found {a}")),
        t if *t == probes => Ok(None),
        [a, b] => Err(format!(
            "expected sizes that are fixed or the batch size, found {a} and {b} at batch \
                sizes {PROBES:?}"
        )),
    };
    let mut shape = target.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    if let Some(n) = site.scope.fixed_batch {
        // A size that the value has by its batch is no size to expand to.
        for (d, s) in site.scope.dims(x).iter().rev().zip(shape.iter_mut().rev()) {
            match d {
                Dim::Batch(k) if *s == Some(k * n) => *s = Some(1),
                _ => {}
            }
        }
    }
    let inputs = if shape.contains(&None) {
        vec![x, site.scope.builder.input()]
    } else {
        vec![x]
    };
    Ok((Op::Expand(Expand { shape }), inputs))
}

pub(super) fn slice(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let (dims, shapes) = (site.scope.dims(x), site.shapes(x));
    let rank = shapes[0].len();
    let starts = site.sizes(1)?.ok_or("expected starts, found none")?;
    let ends = site.sizes(2)?.ok_or("expected ends, found none")?;
    let axes = site
        .ints(3)?
        .unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = site.ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("expected as many starts, ends, axes and steps".to_owned());
    }
    resolve_axes(&axes, rank)?;
    let mut parts = Vec::new();
    for (i, &axis) in axes.iter().enumerate() {
        let axis = resolve_axis(axis, rank)?;
        let at = |p: usize| {
            SliceAxis::resolve(axis, shapes[p][axis], starts[i][p], ends[i][p], steps[i])
        };
        if let Some(n) = site
            .scope
            .fixed_batch
            .filter(|_| shapes[0][axis] != shapes[1][axis])
        {
            let size = concrete(&dims, n)[axis];
            let [start, end] = [starts[i], ends[i]].map(|s| widen::at_batch(s, n));
            let all = SliceAxis::resolve(axis, size, start, end, steps[i])?;
            if all.start == 0 && all.step == 1 && all.count == size {
                continue;
            }
        }
        let (now, other) = (at(0)?, at(1)?);
        if shapes[0][axis] != shapes[1][axis] {
            let whole =
                |s: &SliceAxis, p: usize| s.start == 0 && s.step == 1 && s.count == shapes[p][axis];
            if !(whole(&now, 0) && whole(&other, 1)) {
                return Err("expected all of the batch axis, found a part of it".to_owned());
            }
        } else if now == other {
            parts.push(now);
        } else {
            return Err("expected positions that do not depend on the batch size".to_owned());
        }
    }
    let op = if parts.is_empty() {
        Op::Unary(Unary::Identity)
    } else {
        Op::Slice(Slice { axes: parts })
    };
    Ok((op, vec![x]))
}

/// `Expand` to a shape whose axis `axis` holds k numbers for each image, k above 1.
fn expand_in_two(site: &mut Site<'_, '_>, x: ValueId, target: &[[i64; 2]], axis: usize) -> Made {
    let dims = site.scope.dims(x);
    let each = target[axis][0] / PROBES[0] as i64;
    let wrong =
        || format!("expected sizes that are fixed or grow along one axis, found {target:?}");
    let own = (axis + dims.len()).checked_sub(target.len());
    let grows = |d: &Dim| matches!(d, Dim::Batch(_));
    if let Some(own) = own
        && grows(&dims[own])
    {
        // It has its size already.
        let size = |(i, t): (usize, &[i64; 2])| match t {
            _ if i == axis => Ok(Some(1)),
            [a, b] if a == b => usize::try_from(*a).map(Some).map_err(|_| wrong()),
            _ => Err(wrong()),
        };
        let shape = target.iter().enumerate().map(size);
        let shape = shape.collect::<Result<_, _>>()?;
        return Ok((Op::Expand(Expand { shape }), vec![x]));
    }
    if dims.iter().any(grows) || own.is_some_and(|own| dims[own] != Dim::Fixed(1)) {
        return Err(wrong());
    }
    let mut shape = Vec::new();
    for (i, [a, b]) in target.iter().enumerate() {
        if i == axis {
            shape.push(None);
        }
        let size = if i == axis { each } else { *a };
        if i != axis && a != b {
            return Err(wrong());
        }
        shape.push(Some(usize::try_from(size).map_err(|_| wrong())?));
    }
    let mut apart = x;
    if let Some(own) = own {
        let axes = vec![own as i64];
        apart = site.part("apart", Op::Unsqueeze(Unsqueeze { axes }), &[x])?;
    }
    let inputs = [apart, site.scope.builder.input()];
    let all = site.part("images", Op::Expand(Expand { shape }), &inputs)?;
    let joined = target
        .iter()
        .enumerate()
        .map(|(i, t)| if i == axis { -1 } else { t[0] });
    let shape = joined.collect();
    Ok((Op::Reshape(Reshape { shape }), vec![all]))
}

/// Positions in numbers of all images laid out in a row: the same ones of each image, or those of
/// one image in a file made for one. Exporters write strided views like that.
fn of_each_image(site: &mut Site<'_, '_>, x: ValueId, at: usize) -> Made {
    let wrong = "expected positions along a fixed axis, found the batch axis";
    let (dims, [Dim::Batch(each)]) = (site.scope.dims(x), &site.scope.dims(x)[..]) else {
        return Err(wrong.to_owned());
    };
    let each = *each;
    let known = site.constant(1)?.ok_or("expected positions, found none")?;
    let ([_, rest @ ..], 0) = (&known.0[0].shape[..], at) else {
        return Err(wrong.to_owned());
    };
    let count: usize = rest.iter().product();
    let first = known.0[0].as_ints()?.get(..count).ok_or(wrong)?;
    let index = first.iter().map(|&i| wrap(i, each));
    let index = index.collect::<Result<Vec<_>, _>>()?;
    for (array, n) in known.0.iter().zip(PROBES) {
        let images = array.shape[0];
        let moved = |i: usize| (index[i % count] + i / count * each) as i64;
        let all = array.as_ints()?.iter().enumerate();
        let same = array.shape[1..] == *rest && all.into_iter().all(|(i, &v)| v == moved(i));
        if !same || (images != n && images != 1) {
            return Err(wrong.to_owned());
        }
    }
    let rows = widen::reshape_to(&dims, &[Dim::Batch(1), Dim::Fixed(each)]);
    let rows = site.part("images", rows, &[x])?;
    site.scope.widened = true;
    let op = Op::Gather(Gather {
        axis: 1,
        index,
        index_shape: rest.to_vec(),
    });
    Ok((op, vec![rows]))
}

pub(super) fn gather(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let dims = site.scope.dims(x);
    let axis = site.attributes.int_or("axis", 0)?;
    let at = resolve_axis(axis, dims.len())?;
    if (site.scope.fixed_batch, dims[at]) == (Some(1), Dim::Batch(1)) {
        return only_image(site, x, at);
    }
    let Dim::Fixed(n) = dims[at] else {
        return of_each_image(site, x, at);
    };
    let known = site.constant(1)?.ok_or("expected positions, found none")?;
    let array = known
        .same()
        .ok_or("expected positions that do not depend on the batch size")?;
    let index = array
        .as_ints()?
        .iter()
        .map(|&i| wrap(i, n))
        .collect::<Result<_, _>>()?;
    Ok((
        Op::Gather(Gather {
            axis,
            index,
            index_shape: array.shape.clone(),
        }),
        vec![x],
    ))
}

/// The only image of a file that was made for one: its axis goes away, its place does not.
fn only_image(site: &mut Site<'_, '_>, x: ValueId, axis: usize) -> Made {
    let index = site.constant(1)?.ok_or("expected positions, found none")?;
    let index = index.same().ok_or("expected positions that are constant")?;
    if !matches!(index.as_ints()?, [0 | -1]) {
        return Err("expected positions along a fixed axis, found the batch axis".to_owned());
    }
    let sizes = concrete(&site.scope.dims(x), 1);
    let out = [&sizes[..axis], &index.shape, &sizes[axis + 1..]].concat();
    Ok((arranged(site, x, &out)?, vec![x]))
}

pub(super) fn split(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let dims = site.scope.dims(x);
    let axis = site.attributes.int_or("axis", 0)?;
    let Dim::Fixed(n) = dims[resolve_axis(axis, dims.len())?] else {
        return Err("expected a split of a fixed axis, found the batch axis".to_owned());
    };
    let sizes = match site.ints(1)? {
        Some(sizes) => sizes
            .iter()
            .map(|&s| usize::try_from(s))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| format!("expected positive sizes, found {sizes:?}"))?,
        None => {
            let parts = site.node.output.len();
            if site.attributes.int_or("num_outputs", parts as i64)? != parts as i64 {
                return Err(format!(
                    "expected attribute `num_outputs` to be the number of outputs, {parts}"
                ));
            }
            let each = n.div_ceil(parts.max(1));
            (0..parts)
                .map(|i| each.min(n.saturating_sub(i * each)))
                .collect()
        }
    };
    if sizes.len() != site.node.output.len() {
        return Err(format!(
            "expected {} sizes, one for each output, found {}",
            site.node.output.len(),
            sizes.len()
        ));
    }
    Ok((Op::Split(Split { axis, sizes }), vec![x]))
}

pub(super) fn pad(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let rank = site.scope.dims(x).len();
    let mode = match site.attributes.string_or("mode", "constant")? {
        "constant" => None,
        "reflect" => Some(Beyond::Reflect),
        "edge" => Some(Beyond::Edge),
        "wrap" => Some(Beyond::Wrap),
        other => {
            return Err(format!(
                "expected attribute `mode` to be `constant`, `reflect`, `edge` or `wrap`, found \
                 `{other}`"
            ));
        }
    };
    let amounts = short("pads", site.ints(1)?.ok_or("expected pads, found none")?)?;
    let value = site
        .floats(2)?
        .and_then(|v| v.first().copied())
        .map_or(0.0, widen);
    let axes = site.ints(3)?.unwrap_or_else(|| (0..rank as i64).collect());
    if amounts.len() != 2 * axes.len() {
        return Err(format!(
            "expected {} pads, found {}",
            2 * axes.len(),
            amounts.len()
        ));
    }
    resolve_axes(&axes, rank)?;
    let mut pads = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate() {
        pads[resolve_axis(axis, rank)?] = (amounts[i], amounts[axes.len() + i]);
    }
    match mode {
        None => Ok((Op::Pad(Pad { pads, value }), vec![x])),
        Some(mode) => mirrored(site, x, &pads, mode),
    }
}

/// What lies beyond the ends of an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// Mirrored at the last number, which is not repeated.
    Reflect,
    /// The last number.
    Edge,
    /// The numbers from the other end on.
    Wrap,
}

impl Beyond {
    /// Where position `at`, which may be outside, is read from `n` numbers.
    fn place(self, at: i64, n: i64) -> usize {
        let place = match self {
            Self::Edge => at.clamp(0, n - 1),
            Self::Wrap => at.rem_euclid(n),
            Self::Reflect => {
                let turn = at.rem_euclid((2 * n - 2).max(1));
                turn.min(2 * n - 2 - turn).max(0)
            }
        };
        place as usize
    }
}

/// Padding with numbers of the axis itself: one choice of positions for each axis.
fn mirrored(site: &mut Site<'_, '_>, x: ValueId, pads: &[(i64, i64)], mode: Beyond) -> Made {
    let dims = site.scope.dims(x);
    let mut steps = Vec::new();
    for (axis, &(before, after)) in pads.iter().enumerate().filter(|(_, p)| **p != (0, 0)) {
        let Dim::Fixed(n) = dims[axis] else {
            return Err("expected no padding along the batch, found some".to_owned());
        };
        let n = n as i64;
        // What is mirrored lies inside once.
        let most = if mode == Beyond::Reflect {
            n - 1
        } else {
            MOST_FOLDED as i64
        };
        if n == 0 || [before, after].iter().any(|p| !(0..=most).contains(p)) {
            return Err(format!(
                "expected padding that {n} numbers can fill, found {before} before and {after} \
                 after"
            ));
        }
        counted(&[(before + n + after) as usize], MOST_FOLDED)?;
        let index: Vec<usize> = (-before..n + after).map(|at| mode.place(at, n)).collect();
        steps.push(Op::Gather(Gather {
            axis: axis as i64,
            index_shape: vec![index.len()],
            index,
        }));
    }
    let last = steps.pop().unwrap_or(Op::Unary(Unary::Identity));
    let mut x = x;
    for (i, op) in steps.into_iter().enumerate() {
        x = site.part(&format!("padded{i}"), op, &[x])?;
    }
    Ok((last, vec![x]))
}
