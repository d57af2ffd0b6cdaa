//! Vision transformers, plain and behind a convolutional stem.

use super::layers::{Layers, Square};
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::graph::op::{
    Binary, Gather, MatMul, Op, Reduce, ReduceKind, Reshape, Softmax, Transpose,
};

/// Encoder of an encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder {
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) depth: usize,
}

/// Non-overlapping patches as tokens.
pub(super) fn plain(
    l: &mut Layers,
    x: ValueId,
    size: Encoder,
    patch: usize,
    classes: usize,
) -> Result<ValueId> {
    let shape = l.shape(x);
    if !shape[2].is_multiple_of(patch) || !shape[3].is_multiple_of(patch) {
        return Err(Error::call(
            "vit-tiny",
            format!("images whose sides are multiples of {patch}"),
            format!("{}x{}", shape[2], shape[3]),
        ));
    }
    let x = l.conv("patches", x, Square::new(size.width, patch, patch, 0), true)?;
    encoder(l, x, size, classes)
}

/// Convolutions down to a quarter of the size, each position a token.
pub(super) fn hybrid(
    l: &mut Layers,
    mut x: ValueId,
    size: Encoder,
    classes: usize,
) -> Result<ValueId> {
    for (i, (width, stride)) in [(32, 1), (64, 2), (size.width, 2)].into_iter().enumerate() {
        x = l.conv(
            &format!("stem.conv{}", i + 1),
            x,
            Square::new(width, 3, stride, 1),
            true,
        )?;
        x = l.activate(&format!("stem.act{}", i + 1), x)?;
    }
    encoder(l, x, size, classes)
}

/// Feature map `[n, width, h, w]` to logits: tokens, positions, pre-norm blocks, mean over tokens.
fn encoder(l: &mut Layers, x: ValueId, size: Encoder, classes: usize) -> Result<ValueId> {
    let shape = l.shape(x);
    let tokens = shape[2] * shape[3];
    let x = l.node(
        "tokens.rows",
        Op::Reshape(Reshape {
            shape: vec![0, size.width as i64, tokens as i64],
        }),
        &[x],
    )?;
    let x = l.node(
        "tokens",
        Op::Transpose(Transpose {
            perm: vec![0, 2, 1],
        }),
        &[x],
    )?;
    let position = l.uniform("position", &[1, tokens, size.width], 0.02)?;
    let mut x = l.add("embedded", x, position)?;
    for i in 1..=size.depth {
        x = block(l, &format!("block{i}"), x, size, tokens)?;
    }
    let x = l.layer_norm("final.norm", x)?;
    let x = l.node(
        "final.mean",
        Op::Reduce(Reduce {
            kind: ReduceKind::Mean,
            axes: vec![1],
            keep: false,
        }),
        &[x],
    )?;
    l.dense("logits", x, classes)
}

fn block(l: &mut Layers, name: &str, x: ValueId, size: Encoder, tokens: usize) -> Result<ValueId> {
    let part = |s: &str| format!("{name}.{s}");
    let y = l.layer_norm(&part("norm1"), x)?;
    let y = attention(l, &part("attention"), y, size, tokens)?;
    let x = l.add(&part("attended"), x, y)?;
    let y = l.layer_norm(&part("norm2"), x)?;
    let y = l.project(&part("mlp1"), y, 2 * size.width)?;
    let y = l.activate_smooth(&part("act"), y)?;
    let y = l.project(&part("mlp2"), y, size.width)?;
    l.add(name, x, y)
}

/// Multi-head self-attention on `[n, t, width]`.
fn attention(
    l: &mut Layers,
    name: &str,
    x: ValueId,
    size: Encoder,
    tokens: usize,
) -> Result<ValueId> {
    let part = |s: &str| format!("{name}.{s}");
    let (t, h, d) = (
        tokens as i64,
        size.heads as i64,
        (size.width / size.heads) as i64,
    );
    let y = l.project(&part("qkv"), x, 3 * size.width)?;
    let y = l.node(
        &part("split"),
        Op::Reshape(Reshape {
            shape: vec![0, t, 3, h, d],
        }),
        &[y],
    )?;
    let y = l.node(
        &part("heads"),
        Op::Transpose(Transpose {
            perm: vec![2, 0, 3, 1, 4],
        }),
        &[y],
    )?; // [3, n, h, t, d]
    let take = |l: &mut Layers, s: &str, i: usize| {
        l.node(
            &part(s),
            Op::Gather(Gather {
                axis: 0,
                index: vec![i],
                index_shape: vec![],
            }),
            &[y],
        )
    };
    let (q, k, v) = (take(l, "q", 0)?, take(l, "k", 1)?, take(l, "v", 2)?);
    let scale = l.constant(&part("scale"), &[1], &[1.0 / (d as f64).sqrt()])?;
    let q = l.node(&part("scaled"), Op::Binary(Binary::Mul), &[q, scale])?;
    let k = l.node(
        &part("transposed"),
        Op::Transpose(Transpose {
            perm: vec![0, 1, 3, 2],
        }),
        &[k],
    )?;
    let scores = l.node(&part("scores"), Op::MatMul(MatMul), &[q, k])?;
    let weights = l.node(
        &part("weights"),
        Op::Softmax(Softmax {
            axis: -1,
            log: false,
        }),
        &[scores],
    )?;
    let y = l.node(&part("mixed"), Op::MatMul(MatMul), &[weights, v])?;
    let y = l.node(
        &part("merged"),
        Op::Transpose(Transpose {
            perm: vec![0, 2, 1, 3],
        }),
        &[y],
    )?;
    let y = l.node(
        &part("joined"),
        Op::Reshape(Reshape {
            shape: vec![0, t, size.width as i64],
        }),
        &[y],
    )?;
    l.project(&part("out"), y, size.width)
}
