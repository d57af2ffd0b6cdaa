//! Operators: what a node computes, which shapes it takes, and its derivative.
//!
//! Each family has one file. An operator states its output shapes (`infer`, where every check that
//! a user's graph can fail lives), its value, and the product of a cotangent with its Jacobian.
//! Both run over [`Dual`], so the Jacobian-vector product and the Hessian-vector product need no
//! further code.

mod elementwise;
mod layout;
mod linear;
mod norm;
mod reduce;
mod top_k;
mod window;

use crate::dual::Dual;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use elementwise::{Binary, PRelu, Unary};
pub use layout::{
    Concat, Expand, Flatten, Gather, Pad, Reshape, Slice, SliceAxis, Split, Squeeze, Transpose,
    Unsqueeze,
};
pub use linear::{Conv, ConvTranspose, Gemm, MatMul};
pub use norm::{BatchNorm, LayerNorm, Softmax};
pub use reduce::{Reduce, ReduceKind};
pub use top_k::TopK;
pub use window::{AveragePool, GlobalAveragePool, MaxPool, Resize, Window};

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

/// An operator of the supported ONNX subset. Integer inputs of ONNX (shapes, axes, pads) are
/// attributes here.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "each variant is the operator documented at its payload"
)]
pub enum Op {
    Unary(Unary),
    Binary(Binary),
    PRelu(PRelu),
    Conv(Conv),
    ConvTranspose(ConvTranspose),
    Gemm(Gemm),
    MatMul(MatMul),
    BatchNorm(BatchNorm),
    LayerNorm(LayerNorm),
    Softmax(Softmax),
    MaxPool(MaxPool),
    AveragePool(AveragePool),
    GlobalAveragePool(GlobalAveragePool),
    Resize(Resize),
    Reduce(Reduce),
    Reshape(Reshape),
    Flatten(Flatten),
    Squeeze(Squeeze),
    Unsqueeze(Unsqueeze),
    Transpose(Transpose),
    Concat(Concat),
    Split(Split),
    Slice(Slice),
    Gather(Gather),
    Expand(Expand),
    Pad(Pad),
    TopK(TopK),
}

impl Op {
    /// Operator type as ONNX spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unary(u) => match u {
                Unary::Relu => "Relu",
                Unary::LeakyRelu { .. } => "LeakyRelu",
                Unary::Elu { .. } => "Elu",
                Unary::Clip { .. } => "Clip",
                Unary::Gelu | Unary::GeluTanh => "Gelu",
                Unary::Erf => "Erf",
                Unary::Sigmoid => "Sigmoid",
                Unary::Tanh => "Tanh",
                Unary::Softplus => "Softplus",
                Unary::HardSwish => "HardSwish",
                Unary::HardSigmoid { .. } => "HardSigmoid",
                Unary::Exp => "Exp",
                Unary::Log => "Log",
                Unary::Sqrt => "Sqrt",
                Unary::Neg => "Neg",
                Unary::Abs => "Abs",
                Unary::Reciprocal => "Reciprocal",
                Unary::Round => "Round",
                Unary::Identity => "Identity",
            },
            Self::Binary(b) => match b {
                Binary::Add => "Add",
                Binary::Sub => "Sub",
                Binary::Mul => "Mul",
                Binary::Div => "Div",
                Binary::Pow => "Pow",
            },
            Self::PRelu(_) => "PRelu",
            Self::Conv(_) => "Conv",
            Self::ConvTranspose(_) => "ConvTranspose",
            Self::Gemm(_) => "Gemm",
            Self::MatMul(_) => "MatMul",
            Self::BatchNorm(_) => "BatchNormalization",
            Self::LayerNorm(_) => "LayerNormalization",
            Self::Softmax(s) if s.log => "LogSoftmax",
            Self::Softmax(_) => "Softmax",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool(_) => "AveragePool",
            Self::GlobalAveragePool(_) => "GlobalAveragePool",
            Self::Resize(_) => "Resize",
            Self::Reduce(r) => match r.kind {
                ReduceKind::Mean => "ReduceMean",
                ReduceKind::Sum => "ReduceSum",
            },
            Self::Reshape(_) => "Reshape",
            Self::Flatten(_) => "Flatten",
            Self::Squeeze(_) => "Squeeze",
            Self::Unsqueeze(_) => "Unsqueeze",
            Self::Transpose(_) => "Transpose",
            Self::Concat(_) => "Concat",
            Self::Split(_) => "Split",
            Self::Slice(_) => "Slice",
            Self::Gather(_) => "Gather",
            Self::Expand(_) => "Expand",
            Self::Pad(_) => "Pad",
            Self::TopK(_) => "TopK",
        }
    }

    pub(crate) fn operator(&self) -> &dyn Operator {
        match self {
            Self::Unary(o) => o,
            Self::Binary(o) => o,
            Self::PRelu(o) => o,
            Self::Conv(o) => o,
            Self::ConvTranspose(o) => o,
            Self::Gemm(o) => o,
            Self::MatMul(o) => o,
            Self::BatchNorm(o) => o,
            Self::LayerNorm(o) => o,
            Self::Softmax(o) => o,
            Self::MaxPool(o) => o,
            Self::AveragePool(o) => o,
            Self::GlobalAveragePool(o) => o,
            Self::Resize(o) => o,
            Self::Reduce(o) => o,
            Self::Reshape(o) => o,
            Self::Flatten(o) => o,
            Self::Squeeze(o) => o,
            Self::Unsqueeze(o) => o,
            Self::Transpose(o) => o,
            Self::Concat(o) => o,
            Self::Split(o) => o,
            Self::Slice(o) => o,
            Self::Gather(o) => o,
            Self::Expand(o) => o,
            Self::Pad(o) => o,
            Self::TopK(o) => o,
        }
    }
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
