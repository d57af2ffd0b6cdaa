//! The list of operators.

use super::base::Operator;
use super::elementwise::{Binary, PRelu, Unary};
use super::layout::{
    Concat, Expand, Flatten, Gather, Pad, Reshape, Slice, Split, Squeeze, Transpose, Unsqueeze,
};
use super::linear::{Conv, ConvTranspose, Gemm, MatMul};
use super::norm::{BatchNorm, LayerNorm, Softmax};
use super::reduce::{Reduce, ReduceKind};
use super::top_k::TopK;
use super::window::{AveragePool, GlobalAveragePool, MaxPool, Resize};

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
                Unary::Floor => "Floor",
                Unary::Ceil => "Ceil",
                Unary::Quantize { .. } => "QuantizeLinear",
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
