//! Pre-activation residual networks for small images.

use super::layers::{Layers, Square};
use crate::error::Result;
use crate::graph::ValueId;
use crate::graph::op::{GlobalAveragePool, Op};

/// Stem of `stem` channels, then one stage per width with `blocks` basic blocks each; stages after
/// the first halve the size.
pub(super) fn preact(
    l: &mut Layers,
    x: ValueId,
    widths: &[usize],
    stem: usize,
    blocks: usize,
    classes: usize,
) -> Result<ValueId> {
    let mut x = l.conv("stem", x, Square::new(stem, 3, 1, 1), false)?;
    for (stage, &width) in widths.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = basic_block(
                l,
                &format!("stage{}.block{}", stage + 1, block + 1),
                x,
                width,
                stride,
            )?;
        }
    }
    let x = l.batch_norm("final.norm", x)?;
    let x = l.activate("final.act", x)?;
    let x = l.node("final.pool", Op::GlobalAveragePool(GlobalAveragePool), &[x])?;
    l.dense("logits", x, classes)
}

/// BN, activation, 3x3, BN, activation, 3x3, plus a shortcut that is 1x1 on the activated input
/// where the shape changes.
fn basic_block(
    l: &mut Layers,
    name: &str,
    x: ValueId,
    width: usize,
    stride: usize,
) -> Result<ValueId> {
    let part = |s: &str| format!("{name}.{s}");
    let changes = stride != 1 || l.shape(x)[1] != width;
    let y = l.batch_norm(&part("norm1"), x)?;
    let active = l.activate(&part("act1"), y)?;
    let shortcut = if changes {
        l.conv(
            &part("shortcut"),
            active,
            Square::new(width, 1, stride, 0),
            false,
        )?
    } else {
        x
    };
    let y = l.conv(
        &part("conv1"),
        active,
        Square::new(width, 3, stride, 1),
        false,
    )?;
    let y = l.batch_norm(&part("norm2"), y)?;
    let y = l.activate(&part("act2"), y)?;
    let y = l.conv(&part("conv2"), y, Square::new(width, 3, 1, 1), false)?;
    l.add(name, y, shortcut)
}
