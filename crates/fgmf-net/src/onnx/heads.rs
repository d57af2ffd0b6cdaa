//! Attention as one node.

use super::site::{Made, Site};
use crate::graph::op::{Binary, MatMul, Op, Reshape, Softmax, Transpose};

/// softmax(s Q Kᵀ + mask) V over `[n, heads, tokens, d]`, or `[n, tokens, heads d]` with the number
/// of heads in attributes.
pub(super) fn attention(site: &mut Site<'_, '_>) -> Made {
    let a = site.attributes;
    if (4..6).any(|i| site.name(i).is_some()) {
        return Err("expected attention without past keys and values, found some".to_owned());
    }
    a.require("is_causal", 0)?;
    if a.float_or("softcap", 0.0)?.abs() > 0.0 {
        return Err("expected attention without attribute `softcap`".to_owned());
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
    if of_q.len() != 3 || of_q[0] != of_k[0] {
        return Err(format!(
            "expected as many heads of keys as of queries, found {of_q:?}, {of_k:?}"
        ));
    }
    let scale = a.float_or("scale", 1.0 / (of_q[2] as f64).sqrt())?;
    let scale = site.number("scale", scale)?;
    let q = site.binary(Binary::Mul, q, scale)?;
    let perm = vec![0, 1, 3, 2];
    let k = site.part("keys", Op::Transpose(Transpose { perm }), &[k])?;
    let product = || Op::MatMul(MatMul);
    let mut scores = site.part("scores", product(), &[q, k])?;
    if site.name(3).is_some() {
        let mask = site.operand(3)?;
        scores = site.binary(Binary::Add, scores, mask)?;
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
