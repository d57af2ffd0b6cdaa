//! Reductions over axes.

use super::base::{Local, Mode, Operator, Saved, arity, known, resolve_axes};
use crate::dual::Dual;

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceKind {
    /// Arithmetic mean.
    Mean,
    /// Sum.
    Sum,
}

/// Mean or sum over axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// Mean or sum.
    pub kind: ReduceKind,
    /// Axes reduced, negative counted from the end.
    pub axes: Vec<i64>,
    /// Keep reduced axes with size 1.
    pub keep: bool,
}

/// Axes, the shape with them kept, and the output shape.
type Shapes = (Vec<usize>, Vec<usize>, Vec<usize>);

impl Reduce {
    fn shapes(&self, x: &[usize]) -> Result<Shapes, String> {
        let axes = resolve_axes(&self.axes, x.len())?;
        let kept: Vec<usize> = x
            .iter()
            .enumerate()
            .map(|(i, &d)| if axes.contains(&i) { 1 } else { d })
            .collect();
        let dropped = x
            .iter()
            .enumerate()
            .filter(|(i, _)| !axes.contains(i))
            .map(|(_, &d)| d)
            .collect();
        Ok((axes, kept.clone(), if self.keep { kept } else { dropped }))
    }
}

impl Operator for Reduce {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        Ok(vec![self.shapes(inputs[0])?.2])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let (axes, _, out) = known(self.shapes(inputs[0].shape()));
        let y = match self.kind {
            ReduceKind::Mean => inputs[0].mean(&axes),
            ReduceKind::Sum => inputs[0].sum(&axes),
        };
        (vec![y.reshape(&out)], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let x = local.inputs[0];
        let (axes, kept, _) = known(self.shapes(x.shape()));
        let n: usize = axes.iter().map(|&a| x.shape()[a]).product();
        let factor = if self.kind == ReduceKind::Mean {
            1.0 / n as f64
        } else {
            1.0
        };
        vec![local.when(0, || {
            local
                .g()
                .reshape(&kept)
                .affine(factor, 0.0)
                .expand(x.shape())
        })]
    }
}
