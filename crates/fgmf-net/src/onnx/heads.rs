//! Attention as one node.

use super::array::Data;
use super::site::{Made, Site};
use crate::graph::ValueId;
use crate::graph::op::{Binary, Expand, MatMul, Op, Reshape, Softmax, Transpose, Unary, Unsqueeze};

/// softmax(s Q Kᵀ + mask) V over `[n, heads, tokens, d]`, or `[n, tokens, heads d]` with the number
/// of heads in attributes.
pub(super) fn attention(site: &mut Site<'_, '_>) -> Made {
    let a = site.attributes;
    if (4..6).any(|i| site.name(i).is_some()) {
        return Err("expected attention without past keys and values, found some".to_owned());
    }
    let inputs = [site.operand(0)?, site.operand(1)?, site.operand(2)?];
    let rank = site.scope.dims(inputs[0]).len();
    let heads = ["q_num_heads", "kv_num_heads", "kv_num_heads"];
    let mut parts = inputs;
    for (part, name) in parts.iter_mut().zip(heads) {
        if rank == 4 {
            break;
        }
        let heads = a
            .int(name)?
            .ok_or_else(|| format!("expected attribute `{name}`"))?;
        let shape = vec![0, 0, heads, -1];
        let apart = site.part("heads", Op::Reshape(Reshape { shape }), &[*part])?;
        let perm = vec![0, 2, 1, 3];
        *part = site.part("apart", Op::Transpose(Transpose { perm }), &[apart])?;
    }
    let [q, k, v] = parts;
    let (of_q, of_k) = (site.fixed(q, 1)?, site.fixed(k, 1)?);
    let fits = of_q.len() == 3 && of_k.len() == 3 && of_q[0].is_multiple_of(of_k[0]);
    if !fits {
        return Err(format!(
            "expected heads of queries in groups as many as heads of keys, found {of_q:?}, \
                {of_k:?}"
        ));
    }
    let (k, v) = (shared(site, k, of_q[0])?, shared(site, v, of_q[0])?);
    let scale = a.float_or("scale", 1.0 / (of_q[2] as f64).sqrt())?;
    let scale = site.number("scale", scale)?;
    let q = site.binary(Binary::Mul, q, scale)?;
    let perm = vec![0, 1, 3, 2];
    let k = site.part("keys", Op::Transpose(Transpose { perm }), &[k])?;
    let product = || Op::MatMul(MatMul);
    let mut scores = site.part("scores", product(), &[q, k])?;
    if let Some(mask) = mask(site)? {
        scores = site.binary(Binary::Add, scores, mask)?;
    }
    if a.flag("is_causal", false)? {
        let hidden = |i: usize| hide(i % of_k[1] <= i / of_k[1]);
        let values = (0..of_q[1] * of_k[1]).map(hidden).collect();
        let mask = site.stored("causal", &[of_q[1], of_k[1]], values)?;
        scores = site.binary(Binary::Add, scores, mask)?;
    }
    let cap = a.float_or("softcap", 0.0)?;
    if cap > 0.0 {
        let cap = site.number("cap", cap)?;
        let part = site.binary(Binary::Div, scores, cap)?;
        let soft = site.unary(Unary::Tanh, part)?;
        scores = site.binary(Binary::Mul, soft, cap)?;
    }
    let softmax = Softmax {
        axis: -1,
        log: false,
    };
    let weights = site.part("weights", Op::Softmax(softmax), &[scores])?;
    if rank == 4 {
        return Ok((product(), vec![weights, v]));
    }
    let seen = site.part("seen", product(), &[weights, v])?;
    let perm = vec![0, 2, 1, 3];
    let seen = site.part("together", Op::Transpose(Transpose { perm }), &[seen])?;
    let shape = vec![0, 0, -1];
    Ok((Op::Reshape(Reshape { shape }), vec![seen]))
}

/// What is added to the score of a pair: nothing, or what hides it.
fn hide(seen: bool) -> f32 {
    if seen { 0.0 } else { f32::NEG_INFINITY }
}

/// The fourth input: numbers to add, or truth values of what is seen.
fn mask(site: &mut Site<'_, '_>) -> Result<Option<ValueId>, String> {
    let Some(name) = site.name(3) else {
        return Ok(None);
    };
    if let Some(known) = site.scope.constant(name)?
        && let Some(array) = known.same()
        && let Data::Int(seen) = &array.data
    {
        let values = seen.iter().map(|&s| hide(s != 0)).collect();
        return site.stored("seen", &array.shape, values).map(Some);
    }
    site.operand(3).map(Some)
}

/// Keys or values for so many heads of queries: each of theirs serves a group of them.
fn shared(site: &mut Site<'_, '_>, x: ValueId, heads: usize) -> Result<ValueId, String> {
    let [own, rows, width] = site.fixed(x, 1)?[..] else {
        return Err("expected keys and values of as many axes as queries".to_owned());
    };
    if own == heads || !heads.is_multiple_of(own) {
        return Ok(x);
    }
    let apart = site.part("groups", Op::Unsqueeze(Unsqueeze { axes: vec![2] }), &[x])?;
    let shape = vec![Some(1), Some(1), Some(heads / own), Some(1), Some(1)];
    let all = site.part("repeated", Op::Expand(Expand { shape }), &[apart])?;
    let shape = vec![0, heads as i64, rows as i64, width as i64];
    site.part("all", Op::Reshape(Reshape { shape }), &[all])
}
