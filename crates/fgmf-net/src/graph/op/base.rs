//! What operators have in common: the trait, what a backward step sees, and checks of shapes.

use crate::dual::Dual;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// How batch normalisation behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Running statistics: each example is treated on its own.
    Evaluate,
    /// Statistics of the chunk at hand ("ghost" batch normalisation, Hoffer et al. 2017).
    Train,
}

/// What a forward step leaves for the backward step besides inputs and outputs.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one a node, beside arrays that dwarf it"
)]
pub enum Saved {
    /// Nothing.
    None,
    /// Position of each window's maximum in its plane.
    Index(Vec<u32>),
    /// Mean and biased variance of the chunk, per channel, and the number of values behind them.
    BatchStatistics {
        /// Mean, `[c]`.
        mean: Tensor,
        /// Biased variance, `[c]`.
        variance: Tensor,
        /// Values per channel.
        count: usize,
    },
}

/// One node's view of a backward step.
pub struct Local<'a> {
    /// Inputs.
    pub inputs: &'a [&'a Dual],
    /// Outputs.
    pub outputs: &'a [Dual],
    /// What the forward step kept.
    pub saved: &'a Saved,
    /// Cotangent of each output that has one.
    pub cotangents: &'a [Option<Dual>],
    /// Which inputs need a cotangent.
    pub wanted: &'a [bool],
}

impl Local<'_> {
    /// Cotangent of the first output that has one. Backward steps are only made where one is there.
    pub fn g(&self) -> &Dual {
        self.cotangents
            .iter()
            .flatten()
            .next()
            .unwrap_or_else(|| unreachable!("a backward step has a cotangent"))
    }

    /// `f()` if input `i` wants a cotangent.
    pub fn when(&self, i: usize, f: impl FnOnce() -> Dual) -> Option<Dual> {
        self.wanted.get(i).copied().unwrap_or(false).then(f)
    }
}

/// Behaviour of an operator.
pub(crate) trait Operator {
    /// Output shapes for these input shapes, or what is wrong with them: expected and found.
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String>;

    /// Outputs, and what the backward step will need. Shapes have been checked.
    fn forward(&self, inputs: &[&Dual], mode: Mode) -> (Vec<Dual>, Saved);

    /// Cotangents of the wanted inputs.
    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>>;
}

/// Most values one intermediate array may hold for one example or probe: a lying file must not
/// exhaust memory.
pub(crate) const MAX_VALUES: usize = 1 << 28;

/// An error unless the number of inputs is within bounds.
pub(crate) fn arity(inputs: &[&[usize]], least: usize, most: usize) -> Result<(), String> {
    if (least..=most).contains(&inputs.len()) {
        return Ok(());
    }
    let expected = if least == most {
        least.to_string()
    } else {
        format!("{least} to {most}")
    };
    Err(format!(
        "expected {expected} inputs, found {}",
        inputs.len()
    ))
}

/// An error unless the shape has the given rank.
pub(crate) fn rank(what: &str, shape: &[usize], expected: usize) -> Result<(), String> {
    if shape.len() == expected {
        return Ok(());
    }
    Err(format!(
        "expected {what} of rank {expected}, found shape {shape:?}"
    ))
}

/// An axis counted from the front, `-rank ..= rank - 1` given.
pub(crate) fn resolve_axis(axis: i64, rank: usize) -> Result<usize, String> {
    let r = rank as i64;
    if axis < -r || axis >= r {
        return Err(format!(
            "expected an axis between {} and {}, found {axis}",
            -r,
            r - 1
        ));
    }
    Ok((if axis < 0 { axis + r } else { axis }) as usize)
}

/// [`resolve_axis`] of each, refusing repeats.
pub(crate) fn resolve_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut out = axes
        .iter()
        .map(|&a| resolve_axis(a, rank))
        .collect::<Result<Vec<_>, _>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(format!("expected distinct axes, found {axes:?}"));
    }
    Ok(out)
}

/// `resolve_*` after the graph check has passed it once.
pub(crate) fn known<T>(checked: Result<T, String>) -> T {
    checked.unwrap_or_else(|e| unreachable!("the graph check lets only valid nodes through: {e}"))
}
