//! Constants that exporters compute for masks and positions: triangles, sums along an axis.

use super::array::{Array, Data, strides, walk};
use super::attributes::Attributes;
use super::proto::dtype;
use crate::graph::op::{resolve_axes, resolve_axis};

/// The values on and above the k-th diagonal of each matrix, or on and below it; the others are 0.
pub(super) fn triangle(x: &Array, k: Option<Vec<i64>>, upper: bool) -> Result<Array, String> {
    let [.., rows, columns] = x.shape[..] else {
        return Err(format!("expected matrices, found shape {:?}", x.shape));
    };
    let k = k.and_then(|k| k.first().copied()).unwrap_or(0);
    let stays = |i: usize| {
        let (row, column) = (i / columns.max(1) % rows.max(1), i % columns.max(1));
        let right = (column as i64 - row as i64).saturating_sub(k);
        if upper { right >= 0 } else { right <= 0 }
    };
    let data = match &x.data {
        Data::Int(v) => Data::Int(cut(v, stays)),
        Data::Float(v) => Data::Float(cut(v, stays)),
    };
    Ok(Array {
        shape: x.shape.clone(),
        data,
    })
}

fn cut<T: Copy + Default>(v: &[T], stays: impl Fn(usize) -> bool) -> Vec<T> {
    let one = |(i, v): (usize, &T)| if stays(i) { *v } else { T::default() };
    v.iter().enumerate().map(one).collect()
}

/// Ones on the k-th diagonal of a matrix of this shape.
pub(super) fn eye(x: &Array, a: Attributes<'_>) -> Result<Array, String> {
    let [rows, columns] = x.shape[..] else {
        return Err(format!("expected a matrix, found shape {:?}", x.shape));
    };
    let k = a.int_or("k", 0)?;
    let on = |i: usize| {
        let (row, column) = (i / columns.max(1), i % columns.max(1));
        (column as i64).saturating_sub(row as i64) == k
    };
    let ints = match a.int("dtype")? {
        Some(t) => (i64::from(dtype::UINT8)..=i64::from(dtype::BOOL)).contains(&t),
        None => matches!(x.data, Data::Int(_)),
    };
    let n = rows * columns;
    let data = if ints {
        Data::Int((0..n).map(|i| i64::from(on(i))).collect())
    } else {
        Data::Float((0..n).map(|i| f32::from(on(i))).collect())
    };
    Ok(Array {
        shape: x.shape.clone(),
        data,
    })
}

/// Sums of all values up to each place along an axis.
pub(super) fn cumulated(x: &Array, axis: &[i64], a: Attributes<'_>) -> Result<Array, String> {
    let axis = *axis.first().ok_or("expected an axis, found none")?;
    let axis = resolve_axis(axis, x.shape.len())?;
    let (exclusive, reverse) = (a.flag("exclusive", false)?, a.flag("reverse", false)?);
    let (n, step) = (x.shape[axis], strides(&x.shape)[axis]);
    let mut starts = x.shape.clone();
    starts[axis] = 1.min(n);
    let starts = walk(&starts, &strides(&x.shape));
    let data = match &x.data {
        Data::Int(v) => {
            let add = |a: i64, b: i64| a.checked_add(b);
            Data::Int(sums(v, &starts, (n, step), (exclusive, reverse), add)?)
        }
        Data::Float(v) => {
            let add = |a: f32, b: f32| Some(a + b);
            Data::Float(sums(v, &starts, (n, step), (exclusive, reverse), add)?)
        }
    };
    Ok(Array {
        shape: x.shape.clone(),
        data,
    })
}

fn sums<T: Copy + Default>(
    v: &[T],
    starts: &[usize],
    (n, step): (usize, usize),
    (exclusive, reverse): (bool, bool),
    add: impl Fn(T, T) -> Option<T>,
) -> Result<Vec<T>, String> {
    let mut out = v.to_vec();
    for &start in starts {
        let mut sum = T::default();
        for i in 0..n {
            let at = start + step * if reverse { n - 1 - i } else { i };
            let next = add(sum, v[at]).ok_or("expected integers that do not overflow")?;
            out[at] = if exclusive { sum } else { next };
            sum = next;
        }
    }
    Ok(out)
}

/// Largest, smallest, sum or product along axes, all of them if none are given.
pub(super) fn reduced(
    x: &Array,
    axes: Option<Vec<i64>>,
    operator: &str,
    (keep, nothing): (bool, bool),
) -> Result<Array, String> {
    let rank = x.shape.len();
    let axes = match axes {
        Some(axes) if !axes.is_empty() => resolve_axes(&axes, rank)?,
        _ if nothing => Vec::new(),
        _ => (0..rank).collect(),
    };
    if axes.iter().any(|&a| x.shape[a] == 0) {
        return Err("expected axes with values, found an empty one".to_owned());
    }
    let steps = strides(&x.shape);
    let part = |of: &dyn Fn(usize) -> bool| -> Vec<usize> {
        let kept: Vec<usize> = (0..rank).filter(|&a| of(a)).collect();
        let shape: Vec<usize> = kept.iter().map(|&a| x.shape[a]).collect();
        walk(&shape, &kept.iter().map(|&a| steps[a]).collect::<Vec<_>>())
    };
    let (outer, inner) = (part(&|a| !axes.contains(&a)), part(&|a| axes.contains(&a)));
    let shape = (0..rank).filter(|a| keep || !axes.contains(a));
    let shape = shape.map(|a| if axes.contains(&a) { 1 } else { x.shape[a] });
    let shape = shape.collect();
    let data = match &x.data {
        Data::Int(v) => {
            let join = |a: i64, b: i64| match operator {
                "ReduceMax" => Some(a.max(b)),
                "ReduceMin" => Some(a.min(b)),
                "ReduceSum" => a.checked_add(b),
                _ => a.checked_mul(b),
            };
            Data::Int(joined(v, &outer, &inner, join)?)
        }
        Data::Float(v) => {
            let join = |a: f32, b: f32| match operator {
                "ReduceMax" => Some(a.max(b)),
                "ReduceMin" => Some(a.min(b)),
                "ReduceSum" => Some(a + b),
                _ => Some(a * b),
            };
            Data::Float(joined(v, &outer, &inner, join)?)
        }
    };
    Ok(Array { shape, data })
}

fn joined<T: Copy>(
    v: &[T],
    outer: &[usize],
    inner: &[usize],
    join: impl Fn(T, T) -> Option<T>,
) -> Result<Vec<T>, String> {
    let one = |&o: &usize| {
        let mut all = inner.iter().map(|i| v[o + i]);
        let first = all.next()?;
        all.try_fold(first, &join)
    };
    let all: Option<Vec<T>> = outer.iter().map(one).collect();
    all.ok_or_else(|| "expected integers that do not overflow".to_owned())
}
