//! `GatherND` and `ScatterND` with constant positions: as a gather along one axis of values laid
//! out flat.

use super::array::Array;
use super::points::{gathered, scattered};
use super::site::{Made, Site};
use super::widen::reshape_to;
use crate::graph::Dim;
use crate::graph::op::{Concat, Gather, Op, Reshape};

fn constant_index(site: &mut Site<'_, '_>) -> Result<Array, String> {
    let known = site.constant(1)?.ok_or("expected positions, found none")?;
    let index = known
        .same()
        .ok_or("expected positions that do not depend on the batch size")?;
    Ok(index.clone())
}

fn flat() -> Op {
    Op::Reshape(Reshape { shape: vec![-1] })
}

fn back(shape: &[usize]) -> Op {
    Op::Reshape(Reshape {
        shape: shape.iter().map(|&d| d as i64).collect(),
    })
}

fn along(index: Vec<usize>) -> Op {
    Op::Gather(Gather {
        axis: 0,
        index_shape: vec![index.len()],
        index,
    })
}

pub(super) fn gather_nd(site: &mut Site<'_, '_>) -> Made {
    site.attributes.require("batch_dims", 0)?;
    let x = site.operand(0)?;
    let index = constant_index(site)?;
    let depth = index.shape.last().copied().unwrap_or(0);
    let dims = site.scope.dims(x);
    let fixed = |d: &Dim| match d {
        Dim::Fixed(d) => Some(*d),
        Dim::Batch(_) => None,
    };
    let led = dims.get(..depth).map(|led| led.iter().map(fixed).collect());
    let led: Option<Vec<usize>> = led.flatten();
    let led = led.ok_or("expected positions along fixed axes, found the batch axis")?;
    // The axes that positions lead along become one.
    let (at, _) = gathered(&led, &index)?;
    let mut flat = x;
    if depth > 1 {
        let all = [&[Dim::Fixed(led.iter().product())], &dims[depth..]].concat();
        flat = site.part("flat", reshape_to(&dims, &all), &[x])?;
    }
    let op = Op::Gather(Gather {
        axis: 0,
        index: at,
        index_shape: index.shape[..index.shape.len() - 1].to_vec(),
    });
    Ok((op, vec![flat]))
}

pub(super) fn scatter_nd(site: &mut Site<'_, '_>) -> Made {
    match site.attributes.string_or("reduction", "none")? {
        "none" => {}
        other => {
            return Err(format!(
                "expected attribute `reduction` to be none, found `{other}`"
            ));
        }
    }
    let (x, updates) = (site.operand(0)?, site.operand(2)?);
    let index = constant_index(site)?;
    let sizes = site.fixed(x, 0)?;
    let new: usize = site.fixed(updates, 0)?.iter().product();
    let at = scattered(&sizes, &index)?;
    let n: usize = sizes.iter().product();
    if at.iter().any(|&i| i >= n + new) {
        return Err(format!(
            "expected an update for each position, found {new} values"
        ));
    }
    let parts = [x, updates].map(|id| site.part("flat", flat(), &[id]));
    let [x, updates] = parts;
    let both = site.part("both", Op::Concat(Concat { axis: 0 }), &[x?, updates?])?;
    let taken = site.part("taken", along(at), &[both])?;
    Ok((back(&sizes), vec![taken]))
}
