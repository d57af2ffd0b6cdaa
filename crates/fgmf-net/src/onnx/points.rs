//! Which values `GatherND` and `ScatterND` mean, and what they make of constants.

use super::array::{Array, Data, MOST_FOLDED, counted, strides};
use super::rearrange::wrap;

/// Where each row of an index array `[…, k]` begins in an array of this shape whose first k axes it
/// points into.
fn rows(index: &Array, shape: &[usize]) -> Result<(Vec<usize>, usize), String> {
    let depth = *index
        .shape
        .last()
        .ok_or("expected positions with an axis of their own")?;
    if depth == 0 || depth > shape.len() {
        return Err(format!(
            "expected positions in at most {} axes, found {depth}",
            shape.len()
        ));
    }
    let steps = strides(shape);
    let one = |row: &[i64]| -> Result<usize, String> {
        let each = row.iter().zip(shape).zip(&steps);
        each.map(|((&i, &n), step)| Ok(wrap(i, n)? * step)).sum()
    };
    let starts = index.as_ints()?.chunks_exact(depth).map(one);
    Ok((starts.collect::<Result<_, _>>()?, depth))
}

/// Flat positions of what `GatherND` takes, and its shape.
pub(super) fn gathered(shape: &[usize], index: &Array) -> Result<(Vec<usize>, Vec<usize>), String> {
    let (starts, depth) = rows(index, shape)?;
    let inner: usize = shape[depth..].iter().product();
    let at = starts.iter().flat_map(|&s| s..s + inner).collect();
    let outer = &index.shape[..index.shape.len() - 1];
    Ok((at, [outer, &shape[depth..]].concat()))
}

/// For each value of the result of `ScatterND`, where it lies in the data followed by the updates.
pub(super) fn scattered(shape: &[usize], index: &Array) -> Result<Vec<usize>, String> {
    let (starts, depth) = rows(index, shape)?;
    let n: usize = shape.iter().product();
    let inner: usize = shape[depth..].iter().product();
    let mut at: Vec<usize> = (0..n).collect();
    for (i, &start) in starts.iter().enumerate() {
        for j in 0..inner {
            at[start + j] = n + i * inner + j;
        }
    }
    Ok(at)
}

/// `GatherND` of constants.
pub(super) fn gather_constant(x: &Array, index: &Array) -> Result<Array, String> {
    let (at, shape) = gathered(&x.shape, index)?;
    counted(&shape, MOST_FOLDED)?;
    Ok(x.pick(shape, &at))
}

/// `ScatterND` of constants.
pub(super) fn scatter_constant(x: &Array, index: &Array, new: &Array) -> Result<Array, String> {
    let at = scattered(&x.shape, index)?;
    let n = x.len() + new.len();
    if at.iter().any(|&i| i >= n) {
        let found = new.len();
        return Err(format!(
            "expected an update for each position, found {found} values"
        ));
    }
    let data = match (&x.data, &new.data) {
        (Data::Int(a), Data::Int(b)) => Data::Int([&a[..], b].concat()),
        (Data::Float(a), Data::Float(b)) => Data::Float([&a[..], b].concat()),
        _ => return Err("expected data and updates of one type".to_owned()),
    };
    let both = Array {
        shape: vec![n],
        data,
    };
    Ok(both.pick(x.shape.clone(), &at))
}
