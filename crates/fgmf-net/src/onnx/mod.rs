//! ONNX: a network is an ONNX file.
//!
//! # Reading
//!
//! Operator sets 7 to 24 of the standard domain. Stored numbers lie in the file or, for a model
//! read from a path, in data files of its folder. The graph has one input, images `[n, c, h, w]`
//! or `[n, h, w, c]`, which are turned first. Height and width that the file leaves free are those
//! of [`ReadOptions`]. One output is the logits `[n, k]`: of several the one that [`ReadOptions`]
//! name, or that a softmax or a sigmoid makes, or the first; one score `[n, 1]` becomes two
//! logits, and a sigmoid behind it is left out. Nodes that the logits do not depend on are left
//! out, but for those of outputs that the metadata entry `fgmf.beside` names. Local functions are
//! put in the place of their calls.
//!
//! Everything is computed in float32, also what a file computes in float64, float16 or bfloat16.
//! [`Network::notes`](crate::Network) says where that, the order of the channels or the number of
//! scores makes a difference.
//!
//! A batch size that the file fixes becomes free. A `Reshape` takes the batch to the axis that has
//! as many numbers behind one image; constants as large as the file's batch are repeated if they
//! are the same for each image. Where the shapes leave room for doubt, two images are run together
//! and alone, and a network whose results differ is refused with the name of the node.
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
//! | Relu, LeakyRelu, PRelu, Elu, Gelu, Sigmoid, Tanh, Softplus, HardSwish, HardSigmoid | |
//! | Selu, Celu, Mish, Swish, Softsign | |
//! | Erf, Exp, Log, Sqrt, Neg, Abs, Reciprocal, Round, Floor, Ceil, Identity | |
//! | Clip, Min, Max | constant bounds |
//! | Add, Sub, Mul, Div, Pow, Sum, Mean | |
//! | Dropout, Cast, CastLike | identity; casts to floating-point numbers, not there and back |
//! | Where | constant condition |
//! | Conv, ConvTranspose | 2-D |
//! | MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool | 2-D; first output; row-major |
//! | Resize, Upsample | the two spatial axes; nearest, linear or cubic; transformations below |
//! | Gemm, MatMul | matrices (rank 2 or more) |
//! | Einsum | distinct letters in each operand; `...` |
//! | Attention | without past keys and values; first output |
//! | BatchNormalization | for evaluation, or of weights by their own statistics; first output |
//! | LayerNormalization | first output |
//! | InstanceNormalization, GroupNormalization, RMSNormalization, LRN | |
//! | Softmax, LogSoftmax, ReduceMean, ReduceSum | not along the batch |
//! | ReduceMax, ReduceMin, ReduceL1, ReduceL2, ReduceSumSquare | not along the batch |
//! | Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Expand, Concat | |
//! | Slice, Split, Gather, Pad | constant positions, not along the batch |
//! | GatherND, ScatterND | constant positions; ScatterND of what has no batch |
//! | Tile, DepthToSpace, SpaceToDepth | |
//! | QuantizeLinear, DequantizeLinear | 8 or 16 bits; constant scales; straight-through |
//! | TopK | constant k, the largest, not along the batch; first output |
//! | Constant, ConstantOfShape, Shape, Size, Range, Mod, Sin, Cos, Sign | on constants |
//! | CumSum, Trilu, EyeLike, ReduceProd | on constants |
//! | Not, And, Or, Xor, Equal, Greater, Less, and most of the above | on constants |
//!
//! Functions that a file defines are put in the place of their calls. Of the domain
//! `com.microsoft`, Gelu, BiasGelu, FastGelu, QuickGelu, FusedConv, FusedGemm, FusedMatMul,
//! LayerNormalization and SkipLayerNormalization are replaced by what they fuse.
//!
//! Resize knows the coordinate transformations half_pixel, pytorch_half_pixel, align_corners and
//! asymmetric.
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
//! survive a round trip, and writing what was read gives the same bytes. Further outputs
//! ([`Network::beside`](crate::Network::beside)) are written behind the logits and named in the
//! metadata entry `fgmf.beside`, by which they are read again. Parameters and nodes that no output
//! depends on are not written.

mod apart;
mod array;
mod attributes;
mod compose;
mod contrib;
mod einsum;
mod emit;
mod export;
mod external;
mod file;
mod fold;
mod functions;
mod gates;
mod heads;
mod images;
mod indexed;
mod layout;
mod messages;
mod metadata;
mod nodes;
mod norms;
mod options;
mod outputs;
mod points;
mod proto;
mod quantised;
mod read;
mod rearrange;
mod rewrite;
mod rounding;
mod scope;
mod site;
mod spelled;
mod step;
mod survey;
mod tables;
mod versions;
mod widen;
mod window;
mod write;
mod writer;

pub use external::Files;
pub use file::{from_bytes, from_bytes_with, read, to_bytes};
pub use options::{OUTPUT_KEY, ReadOptions, SIZE_KEY};
