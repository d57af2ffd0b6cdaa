//! Layers with initial weights, on top of the graph builder.

use super::config::Activation;
use crate::error::{Error, Result};
use crate::graph::op::{BatchNorm, Binary, Conv, Flatten, Gemm, LayerNorm, MatMul, Op, Unary};
use crate::graph::{Builder, Dim, Network, ValueId};
use crate::tensor::{Precision, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Builds layer by layer; every layer's nodes and weights carry the layer's name.
///
/// Weights and biases are uniform in ±1/√(fan-in), each from its own stream of (seed, name), so
/// that changing one layer leaves the others as they were.
#[derive(Debug)]
pub struct Layers {
    builder: Builder,
    activation: Activation,
    seed: u64,
}

/// A convolution's window: output channels, side, step, padding on every side.
#[derive(Clone, Copy, Debug)]
pub struct Square {
    /// Output channels.
    pub channels: usize,
    /// Rows and columns of the window.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros added on every side.
    pub pad: usize,
}

impl Square {
    /// In the order of the fields.
    pub const fn new(channels: usize, kernel: usize, stride: usize, pad: usize) -> Self {
        Self {
            channels,
            kernel,
            stride,
            pad,
        }
    }
}

impl Layers {
    /// Starts a network for images `[c, h, w]`.
    pub fn new(name: &str, image: [usize; 3], activation: Activation, seed: u64) -> Result<Self> {
        Ok(Self {
            builder: Builder::new(name, "image", image)?,
            activation,
            seed,
        })
    }

    /// Goes on from a builder.
    pub fn on(builder: Builder, activation: Activation, seed: u64) -> Self {
        Self {
            builder,
            activation,
            seed,
        }
    }

    /// The images.
    pub fn input(&self) -> ValueId {
        self.builder.input()
    }

    /// The graph builder underneath.
    pub fn builder(&mut self) -> &mut Builder {
        &mut self.builder
    }

    /// Ends at the logits.
    pub fn finish(self, logits: ValueId) -> Result<Network> {
        self.builder.finish(logits)
    }

    /// Ends at the logits, with further outputs beside them.
    pub fn finish_with(self, logits: ValueId, beside: &[ValueId]) -> Result<Network> {
        self.builder.finish_with(logits, beside)
    }

    /// Fixed sizes of a value; the batch axis counts as 1.
    pub fn shape(&self, id: ValueId) -> Vec<usize> {
        let size = |d: &Dim| match d {
            Dim::Fixed(d) => *d,
            Dim::Batch(k) => *k,
        };
        self.builder
            .network()
            .value(id)
            .shape
            .iter()
            .map(size)
            .collect()
    }

    /// Adds a node.
    pub fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        self.builder.node(name, op, inputs)
    }

    /// Adds a constant array.
    pub fn constant(&mut self, name: &str, shape: &[usize], values: &[f64]) -> Result<ValueId> {
        self.builder.parameter(
            name,
            Tensor::new(shape, values.to_vec()).cast(Precision::F32),
            false,
        )
    }

    /// Adds a trainable array filled with one value.
    pub fn filled(&mut self, name: &str, shape: &[usize], value: f64) -> Result<ValueId> {
        self.builder
            .parameter(name, Tensor::full(shape, value, Precision::F32), true)
    }

    /// Adds a trainable array, uniform in ±`bound`.
    pub fn uniform(&mut self, name: &str, shape: &[usize], bound: f64) -> Result<ValueId> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        // FNV-1a of the name picks the stream.
        rng.set_stream(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        }));
        let unit = |r: u32| f64::from(r >> 8) / f64::from(1u32 << 24);
        let n: usize = shape.iter().product();
        let values = (0..n)
            .map(|_| ((2.0 * unit(rng.next_u32()) - 1.0) * bound) as f32)
            .collect();
        self.builder
            .parameter(name, Tensor::new::<f32>(shape, values), true)
    }

    /// (x − mean) / deviation, per channel.
    pub fn normalise(&mut self, mean: &[f64], deviation: &[f64]) -> Result<ValueId> {
        let shape = [1, mean.len(), 1, 1];
        let m = self.constant("normalise.mean", &shape, mean)?;
        let d = self.constant("normalise.deviation", &shape, deviation)?;
        let x = self.node(
            "normalise.sub",
            Op::Binary(Binary::Sub),
            &[self.builder.input(), m],
        )?;
        self.node("normalise", Op::Binary(Binary::Div), &[x, d])
    }

    /// The network's nonlinearity.
    pub fn activate(&mut self, name: &str, x: ValueId) -> Result<ValueId> {
        let unary = match self.activation {
            Activation::Relu => Unary::Relu,
            Activation::Gelu => Unary::Gelu,
            Activation::Softplus => Unary::Softplus,
        };
        self.node(name, Op::Unary(unary), &[x])
    }

    /// GELU, or softplus if the network uses it: attention blocks keep a smooth nonlinearity.
    pub fn activate_smooth(&mut self, name: &str, x: ValueId) -> Result<ValueId> {
        let unary = if self.activation == Activation::Softplus {
            Unary::Softplus
        } else {
            Unary::Gelu
        };
        self.node(name, Op::Unary(unary), &[x])
    }

    /// Convolution with a square window.
    pub fn conv(
        &mut self,
        name: &str,
        x: ValueId,
        Square {
            channels,
            kernel,
            stride,
            pad,
        }: Square,
        bias: bool,
    ) -> Result<ValueId> {
        let c = self.channels(x)?;
        let bound = 1.0 / ((c * kernel * kernel) as f64).sqrt();
        let mut inputs = vec![
            x,
            self.uniform(
                &format!("{name}.weight"),
                &[channels, c, kernel, kernel],
                bound,
            )?,
        ];
        if bias {
            inputs.push(self.uniform(&format!("{name}.bias"), &[channels], bound)?);
        }
        let op = Op::Conv(Conv {
            stride: [stride; 2],
            pads: [pad; 4],
            ..Conv::default()
        });
        self.node(name, op, &inputs)
    }

    /// Dense layer on `[n, k]`; inputs of higher rank are flattened first.
    pub fn dense(&mut self, name: &str, x: ValueId, outputs: usize) -> Result<ValueId> {
        let flat = if self.shape(x).len() == 2 {
            x
        } else {
            self.node(
                &format!("{name}.flatten"),
                Op::Flatten(Flatten { axis: 1 }),
                &[x],
            )?
        };
        let k = self.shape(flat)[1];
        let bound = 1.0 / (k as f64).sqrt();
        let weight = self.uniform(&format!("{name}.weight"), &[outputs, k], bound)?;
        let bias = self.uniform(&format!("{name}.bias"), &[outputs], bound)?;
        self.node(name, Op::Gemm(Gemm::DENSE), &[flat, weight, bias])
    }

    /// Dense layer on the last axis of `[n, t, k]`.
    pub fn project(&mut self, name: &str, x: ValueId, outputs: usize) -> Result<ValueId> {
        let k = self.shape(x).last().copied().unwrap_or(1);
        let bound = 1.0 / (k as f64).sqrt();
        let weight = self.uniform(&format!("{name}.weight"), &[k, outputs], bound)?;
        let bias = self.filled(&format!("{name}.bias"), &[outputs], 0.0)?;
        let product = self.node(&format!("{name}.matmul"), Op::MatMul(MatMul), &[x, weight])?;
        self.node(name, Op::Binary(Binary::Add), &[product, bias])
    }

    /// Batch normalisation.
    pub fn batch_norm(&mut self, name: &str, x: ValueId) -> Result<ValueId> {
        let c = [self.channels(x)?];
        let scale = self.filled(&format!("{name}.scale"), &c, 1.0)?;
        let bias = self.filled(&format!("{name}.bias"), &c, 0.0)?;
        let mean = self.constant(&format!("{name}.mean"), &c, &vec![0.0; c[0]])?;
        let variance = self.constant(&format!("{name}.variance"), &c, &vec![1.0; c[0]])?;
        self.node(
            name,
            Op::BatchNorm(BatchNorm {
                epsilon: 1e-5,
                momentum: 0.9,
            }),
            &[x, scale, bias, mean, variance],
        )
    }

    /// Layer normalisation over the last axis.
    pub fn layer_norm(&mut self, name: &str, x: ValueId) -> Result<ValueId> {
        let k = [self.shape(x).last().copied().unwrap_or(1)];
        let scale = self.filled(&format!("{name}.scale"), &k, 1.0)?;
        let bias = self.filled(&format!("{name}.bias"), &k, 0.0)?;
        self.node(
            name,
            Op::LayerNorm(LayerNorm {
                axis: -1,
                epsilon: 1e-5,
            }),
            &[x, scale, bias],
        )
    }

    /// a + b.
    pub fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.node(name, Op::Binary(Binary::Add), &[a, b])
    }

    fn channels(&self, x: ValueId) -> Result<usize> {
        let shape = self.shape(x);
        if shape.len() == 4 {
            Ok(shape[1])
        } else {
            Err(Error::call(
                "layer",
                "a value of shape [n, c, h, w]",
                format!("{shape:?}"),
            ))
        }
    }
}
