//! Rearranges constants: indexing, joining, reshaping.

use super::array::{Array, Data, MOST_FOLDED, counted, strides, walk};
use crate::graph::op::{resolve_axes, resolve_axis};

/// Sizes as a file gives them.
pub(super) fn sizes(target: &[i64]) -> Result<Vec<usize>, String> {
    let all: Option<Vec<usize>> = target.iter().map(|&d| usize::try_from(d).ok()).collect();
    all.ok_or_else(|| format!("expected sizes that are not negative, found {target:?}"))
}

pub(super) fn gather(x: &Array, index: &Array, axis: i64) -> Result<Array, String> {
    let axis = resolve_axis(axis, x.shape.len())?;
    let n = x.shape[axis];
    let at = index
        .as_ints()?
        .iter()
        .map(|&i| wrap(i, n))
        .collect::<Result<Vec<_>, _>>()?;
    let mut flat = x.shape.clone();
    flat[axis] = at.len();
    counted(&flat, MOST_FOLDED)?;
    let taken = taken(x, axis, &at);
    Ok(Array {
        shape: [&x.shape[..axis], &index.shape, &x.shape[axis + 1..]].concat(),
        ..taken
    })
}

/// A position counted from the front.
pub(super) fn wrap(index: i64, n: usize) -> Result<usize, String> {
    let from_front = if index < 0 {
        index.checked_add(n as i64)
    } else {
        Some(index)
    };
    let at = from_front
        .and_then(|i| usize::try_from(i).ok())
        .filter(|&i| i < n);
    at.ok_or_else(|| format!("expected a position in an axis of size {n}, found {index}"))
}

/// The given positions of an axis.
fn taken(x: &Array, axis: usize, at: &[usize]) -> Array {
    let steps = strides(&x.shape);
    let mut shape = x.shape.clone();
    shape[axis] = at.len();
    let outer = walk(&x.shape[..axis], &steps[..axis]);
    let inner = walk(&x.shape[axis + 1..], &steps[axis + 1..]);
    let step = steps[axis];
    let mut flat = Vec::with_capacity(outer.len() * at.len() * inner.len());
    for o in &outer {
        for i in at {
            flat.extend(inner.iter().map(|j| o + i * step + j));
        }
    }
    x.pick(shape, &flat)
}

/// The array repeated so often along each axis.
pub(super) fn tile(x: &Array, repeats: &[i64]) -> Result<Array, String> {
    let repeats = sizes(repeats)?;
    if repeats.len() != x.shape.len() {
        let (expected, found) = (x.shape.len(), repeats.len());
        return Err(format!("expected {expected} repeats, found {found}"));
    }
    let all = x.shape.iter().zip(&repeats);
    let shape: Vec<usize> = all.map(|(d, r)| d.saturating_mul(*r)).collect();
    counted(&shape, MOST_FOLDED)?;
    let mut out = x.clone();
    for (axis, times) in repeats.iter().enumerate() {
        let n = out.shape[axis];
        let at: Vec<usize> = (0..n * times).map(|i| i % n).collect();
        out = taken(&out, axis, &at);
    }
    Ok(out)
}

pub(super) fn unsqueeze(x: &Array, axes: &[i64]) -> Result<Array, String> {
    let rank = x.shape.len() + axes.len();
    let axes = resolve_axes(axes, rank)?;
    let mut rest = x.shape.iter().copied();
    let shape = (0..rank)
        .map(|i| {
            if axes.binary_search(&i).is_ok() {
                1
            } else {
                rest.next().unwrap_or(1)
            }
        })
        .collect();
    Ok(Array {
        shape,
        data: x.data.clone(),
    })
}

pub(super) fn squeeze(x: &Array, axes: Option<&[i64]>) -> Result<Array, String> {
    let axes = axes.map(|a| resolve_axes(a, x.shape.len())).transpose()?;
    let drop = |i: usize| axes.as_ref().map_or(x.shape[i] == 1, |a| a.contains(&i));
    if let Some(i) = (0..x.shape.len()).find(|&i| drop(i) && x.shape[i] != 1) {
        return Err(format!(
            "expected size 1 at axis {i}, found shape {:?}",
            x.shape
        ));
    }
    Ok(Array {
        shape: (0..x.shape.len())
            .filter(|&i| !drop(i))
            .map(|i| x.shape[i])
            .collect(),
        data: x.data.clone(),
    })
}

pub(super) fn concat(parts: &[&Array], axis: i64) -> Result<Array, String> {
    let first = parts.first().ok_or("expected inputs, found none")?;
    let axis = resolve_axis(axis, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[axis] = parts
        .iter()
        .map(|p| p.shape.get(axis).copied().unwrap_or(0))
        .sum();
    counted(&shape, MOST_FOLDED)?;
    let fits = |p: &&Array| {
        p.shape.len() == shape.len()
            && p.shape
                .iter()
                .zip(&shape)
                .enumerate()
                .all(|(i, (a, b))| i == axis || a == b)
    };
    if !parts.iter().all(fits) {
        return Err(format!(
            "expected shapes equal but at axis {axis}, found {:?}",
            parts.iter().map(|p| &p.shape).collect::<Vec<_>>()
        ));
    }
    let outer: usize = shape[..axis].iter().product();
    let rows = |p: &Array| p.len().checked_div(outer).unwrap_or(0);
    let data =
        if parts.iter().all(|p| matches!(p.data, Data::Int(_))) {
            let lists = parts
                .iter()
                .map(|p| p.as_ints())
                .collect::<Result<Vec<_>, _>>()?;
            Data::Int(
                (0..outer)
                    .flat_map(|o| {
                        lists.iter().zip(parts).flat_map(move |(l, p)| {
                            l[o * rows(p)..(o + 1) * rows(p)].iter().copied()
                        })
                    })
                    .collect(),
            )
        } else if parts.iter().all(|p| matches!(p.data, Data::Float(_))) {
            let lists: Vec<Vec<f32>> = parts.iter().map(|p| p.to_floats()).collect();
            Data::Float(
                (0..outer)
                    .flat_map(|o| {
                        lists.iter().zip(parts).flat_map(move |(l, p)| {
                            l[o * rows(p)..(o + 1) * rows(p)].iter().copied()
                        })
                    })
                    .collect(),
            )
        } else {
            return Err(
                "expected inputs of one type, found integers and floating-point numbers".to_owned(),
            );
        };
    Ok(Array { shape, data })
}

pub(super) fn slice(
    x: &Array,
    starts: &[i64],
    ends: &[i64],
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
) -> Result<Array, String> {
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("expected as many starts, ends, axes and steps".to_owned());
    }
    resolve_axes(&axes, x.shape.len())?;
    let mut out = x.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let axis = resolve_axis(axis, out.shape.len())?;
        let at = positions(out.shape[axis], starts[i], ends[i], steps[i])?;
        out = taken(&out, axis, &at);
    }
    Ok(out)
}

/// Positions from `start` to `end`, both clamped, negative ones counted from the end.
fn positions(n: usize, start: i64, end: i64, step: i64) -> Result<Vec<usize>, String> {
    if step == 0 || step == i64::MIN {
        return Err(format!("expected a step other than 0, found {step}"));
    }
    let n = n as i64;
    let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let at: Vec<i64> = if step > 0 {
        let (start, end) = (wrap(start).clamp(0, n), wrap(end).clamp(0, n));
        (start..end).step_by(step as usize).collect()
    } else {
        let (start, end) = (wrap(start).clamp(-1, n - 1), wrap(end).clamp(-1, n - 1));
        (end + 1..=start)
            .rev()
            .step_by(step.unsigned_abs() as usize)
            .collect()
    };
    Ok(at.into_iter().map(|i| i as usize).collect())
}

/// The shape that a target with 0 (copy, unless `allow_zero`) and one −1 (infer) gives.
pub(super) fn resolve_shape(
    x: &[usize],
    target: &[i64],
    allow_zero: bool,
) -> Result<Vec<usize>, String> {
    let wrong = || {
        format!(
            "expected a shape of {} values, found {target:?} for input {x:?}",
            x.iter().product::<usize>()
        )
    };
    let mut open = None;
    let mut out = Vec::with_capacity(target.len());
    for (i, &d) in target.iter().enumerate() {
        out.push(match d {
            0 if !allow_zero => *x.get(i).ok_or_else(wrong)?,
            -1 if open.is_none() => {
                open = Some(i);
                1
            }
            d => usize::try_from(d).map_err(|_| wrong())?,
        });
    }
    let total: usize = x.iter().product();
    let given = out
        .iter()
        .try_fold(1usize, |a, &d| a.checked_mul(d))
        .ok_or_else(wrong)?;
    match open {
        Some(i) if given > 0 && total.is_multiple_of(given) => out[i] = total / given,
        None if given == total => {}
        _ => return Err(wrong()),
    }
    Ok(out)
}

pub(super) fn transpose(x: &Array, perm: Option<Vec<i64>>) -> Result<Array, String> {
    let rank = x.shape.len();
    let perm = perm.map_or_else(|| Ok((0..rank).rev().collect()), |p| sizes(&p))?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        return Err(format!(
            "expected a permutation of {rank} axes, found {perm:?}"
        ));
    }
    let steps = strides(&x.shape);
    let shape: Vec<usize> = perm.iter().map(|&p| x.shape[p]).collect();
    let at = walk(&shape, &perm.iter().map(|&p| steps[p]).collect::<Vec<_>>());
    Ok(x.pick(shape, &at))
}
