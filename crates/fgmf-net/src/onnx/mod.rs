//! ONNX: a network is an ONNX file.
//!
//! # Reading
//!
//! Operator sets 13 to 21 of the standard domain, float32, numbers inside the file. The graph has
//! one input, images `[n, c, h, w]` with fixed `c, h, w`, and its first output is the logits
//! `[n, k]`; nodes that the logits do not depend on are left out. A batch size that the file fixes
//! is taken as the batch axis where the graph permits (a `Reshape` to it follows the batch; shapes
//! that do not are errors). Stored float64, float16 and bfloat16 arrays become float32.
//!
//! Whatever does not depend on the image is computed while reading, at two batch sizes: what is
//! equal at both is a constant, what is a multiple of the batch size follows the batch. Shapes,
//! axes, pads, positions and bounds must be constants in this sense. GELU spelled out around `Erf`
//! or `Tanh`, as operator sets below 20 must, is read as `Gelu`.
//!
//! Supported, with the restrictions of this subset:
//!
//! | Operators | Restrictions |
//! |---|---|
//! | Relu, LeakyRelu, Elu, Gelu, Erf, Sigmoid, Tanh, Softplus, HardSwish, HardSigmoid, Exp, Log, Sqrt, Neg, Abs, Reciprocal, Round, Identity, PRelu | |
//! | Clip, Min, Max | constant bounds |
//! | Add, Sub, Mul, Div, Pow | |
//! | Dropout, Cast | identity; casts to float32 only |
//! | Conv, ConvTranspose | 2-D |
//! | MaxPool, AveragePool, GlobalAveragePool | 2-D; first output; row-major |
//! | Resize | the two spatial axes; nearest or linear; half_pixel, pytorch_half_pixel, align_corners, asymmetric |
//! | Gemm, MatMul | matrices (rank 2 or more) |
//! | BatchNormalization, LayerNormalization | for evaluation; first output |
//! | Softmax, LogSoftmax, ReduceMean, ReduceSum | not along the batch |
//! | Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Expand, Concat | |
//! | Slice, Split, Gather, Pad | constant positions, not along the batch; constant padding |
//! | TopK | constant k, the largest, not along the batch; first output |
//! | Constant, ConstantOfShape, Shape, Size, Range, Where, Not, And, Or, Equal, Greater, Less, Mod, Floor, Ceil, and most of the above | on constants |
//!
//! # What trains
//!
//! If the metadata entry `fgmf.frozen` is there, every stored float array that it does not name
//! trains. Otherwise those train that are used as weight, bias or scale of a convolution, matrix
//! product or normalisation or as a `PRelu` slope, or that hold several numbers and feed `Add`,
//! `Mul`, `Concat` or `Expand` (directly or through operators that only rearrange); running
//! statistics, single numbers and `Constant` nodes do not.
//!
//! # Writing
//!
//! Operator set 20 (the first with `Gelu`), file format 9, float32. Names, metadata and node order
//! survive a round trip, and writing what was read gives the same bytes. Parameters and nodes that
//! the logits do not depend on are not written.

mod array;
mod attributes;
mod emit;
mod fold;
mod layout;
mod nodes;
mod plan;
mod proto;
mod read;
mod rearrange;
mod site;
mod spelled;
mod window;
mod write;

use crate::error::{Error, Result};
use crate::network::Network;
use prost::Message;
use std::collections::HashSet;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;

/// Operator sets that can be read.
const OPSETS: RangeInclusive<i64> = 13..=21;
/// Metadata entry that names the stored arrays that do not train.
const FROZEN: &str = "fgmf.frozen";

/// Reads a network from a file. Errors name the file and, where one is to blame, the node and its
/// operator.
pub fn read(path: &Path) -> Result<Network> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    from_bytes(&bytes).map_err(|e| match e {
        Error::Graph(reason) => Error::File {
            path: path.to_owned(),
            reason,
        },
        other => Error::File {
            path: path.to_owned(),
            reason: other.to_string(),
        },
    })
}

/// Reads a network from the bytes of a file: [`Error::Node`] or [`Error::Graph`] if it cannot be.
pub fn from_bytes(bytes: &[u8]) -> Result<Network> {
    let model = proto::ModelProto::decode(bytes).map_err(|e| {
        Error::Graph(format!(
            "expected an ONNX model, found other or damaged data ({e})"
        ))
    })?;
    read::network(model)
}

/// The bytes of an ONNX file of this network.
pub fn to_bytes(net: &Network) -> Result<Vec<u8>> {
    Ok(write::model(net)?.encode_to_vec())
}

/// Writes a network to a file, which appears complete or not at all.
pub fn write(net: &Network, path: &Path) -> Result<()> {
    let bytes = to_bytes(net)?;
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let save = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    save().map_err(|e| {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
        Error::io(path)(e)
    })
}

/// Names joined by commas; commas within names are escaped.
fn frozen_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let escaped: Vec<String> = names
        .map(|n| n.replace('%', "%25").replace(',', "%2C"))
        .collect();
    escaped.join(",")
}

fn frozen_names(list: &str) -> HashSet<String> {
    list.split(',')
        .filter(|n| !n.is_empty())
        .map(|n| n.replace("%2C", ",").replace("%25", "%"))
        .collect()
}
