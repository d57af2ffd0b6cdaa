//! Small convolutional networks.

use super::layers::{Layers, Square};
use crate::error::Result;
use crate::graph::ValueId;
use crate::graph::op::{MaxPool, Op, Window};

pub(super) fn tiny(l: &mut Layers, x: ValueId, classes: usize) -> Result<ValueId> {
    let x = l.conv("conv1", x, Square::new(16, 4, 2, 1), true)?;
    let x = l.activate("act1", x)?;
    let x = l.conv("conv2", x, Square::new(32, 4, 2, 1), true)?;
    let x = l.activate("act2", x)?;
    let x = l.dense("dense1", x, 100)?;
    let x = l.activate("act3", x)?;
    l.dense("logits", x, classes)
}

pub(super) fn small(l: &mut Layers, mut x: ValueId, classes: usize) -> Result<ValueId> {
    for (block, width) in [32, 64].into_iter().enumerate() {
        for i in [1, 2] {
            let at = 2 * block + i;
            x = l.conv(&format!("conv{at}"), x, Square::new(width, 3, 1, 1), true)?;
            x = l.activate(&format!("act{at}"), x)?;
        }
        x = l.node(
            &format!("pool{}", block + 1),
            Op::MaxPool(MaxPool(Window::square(2))),
            &[x],
        )?;
    }
    let x = l.dense("dense1", x, 200)?;
    let x = l.activate("act5", x)?;
    l.dense("logits", x, classes)
}
