//! The table of operators under test: for each one, how to draw shapes, attributes and values.

use fgmf_kernels::{Coordinates, NearestRounding, ResizeMode};
use fgmf_net::op::{
    AveragePool, BatchNorm, Binary, Concat, Conv, ConvTranspose, Expand, Flatten, Gather, Gemm,
    GlobalAveragePool, LayerNorm, MatMul, MaxPool, Op, PRelu, Pad, Reduce, ReduceKind, Reshape,
    Resize, Slice, SliceAxis, Softmax, Split, Squeeze, TopK, Transpose, Unary, Unsqueeze, Window,
};
use fgmf_net::{Builder, Dim, Mode, Network, Result, Tensor, ValueId};
use fgmf_testkit::finite::{uniform, uniform_tensor};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Declares [`label`] and [`LABELS`] together, so that a new operator does not compile before it
/// has a label, and is not green before it has a row in [`rows`].
macro_rules! labels {
    ($($pattern:pat => $label:literal,)*) => {
        /// Name of an operator in the table; kinds that have code of their own have names of their
        /// own.
        pub(crate) fn label(op: &Op) -> &'static str {
            match op { $($pattern => $label,)* }
        }

        /// Every label.
        pub(crate) const LABELS: &[&str] = &[$($label),*];
    };
}

labels! {
    Op::Unary(Unary::Relu) => "Relu",
    Op::Unary(Unary::LeakyRelu { .. }) => "LeakyRelu",
    Op::Unary(Unary::Elu { .. }) => "Elu",
    Op::Unary(Unary::Clip { .. }) => "Clip",
    Op::Unary(Unary::Gelu) => "Gelu",
    Op::Unary(Unary::GeluTanh) => "GeluTanh",
    Op::Unary(Unary::Erf) => "Erf",
    Op::Unary(Unary::Sigmoid) => "Sigmoid",
    Op::Unary(Unary::Tanh) => "Tanh",
    Op::Unary(Unary::Softplus) => "Softplus",
    Op::Unary(Unary::HardSwish) => "HardSwish",
    Op::Unary(Unary::HardSigmoid { .. }) => "HardSigmoid",
    Op::Unary(Unary::Exp) => "Exp",
    Op::Unary(Unary::Log) => "Log",
    Op::Unary(Unary::Sqrt) => "Sqrt",
    Op::Unary(Unary::Neg) => "Neg",
    Op::Unary(Unary::Abs) => "Abs",
    Op::Unary(Unary::Reciprocal) => "Reciprocal",
    Op::Unary(Unary::Round) => "Round",
    Op::Unary(Unary::Floor) => "Floor",
    Op::Unary(Unary::Ceil) => "Ceil",
    Op::Unary(Unary::Quantize { .. }) => "Quantize",
    Op::Unary(Unary::Identity) => "Identity",
    Op::Binary(Binary::Add) => "Add",
    Op::Binary(Binary::Sub) => "Sub",
    Op::Binary(Binary::Mul) => "Mul",
    Op::Binary(Binary::Div) => "Div",
    Op::Binary(Binary::Pow) => "Pow",
    Op::PRelu(_) => "PRelu",
    Op::Conv(_) => "Conv",
    Op::ConvTranspose(_) => "ConvTranspose",
    Op::Gemm(_) => "Gemm",
    Op::MatMul(_) => "MatMul",
    Op::BatchNorm(_) => "BatchNorm",
    Op::LayerNorm(_) => "LayerNorm",
    Op::Softmax(Softmax { log: false, .. }) => "Softmax",
    Op::Softmax(Softmax { log: true, .. }) => "LogSoftmax",
    Op::MaxPool(_) => "MaxPool",
    Op::AveragePool(_) => "AveragePool",
    Op::GlobalAveragePool(_) => "GlobalAveragePool",
    Op::Resize(_) => "Resize",
    Op::Reduce(Reduce { kind: ReduceKind::Mean, .. }) => "ReduceMean",
    Op::Reduce(Reduce { kind: ReduceKind::Sum, .. }) => "ReduceSum",
    Op::Reshape(_) => "Reshape",
    Op::Flatten(_) => "Flatten",
    Op::Squeeze(_) => "Squeeze",
    Op::Unsqueeze(_) => "Unsqueeze",
    Op::Transpose(_) => "Transpose",
    Op::Concat(_) => "Concat",
    Op::Split(_) => "Split",
    Op::Slice(_) => "Slice",
    Op::Gather(_) => "Gather",
    Op::Expand(_) => "Expand",
    Op::Pad(_) => "Pad",
    Op::TopK(_) => "TopK",
}

/// Classes of every test network.
pub(crate) const CLASSES: usize = 3;

/// What an input of the operator is fed with.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    /// The images, after some operators of their own.
    Image(Vec<Op>),
    /// A trainable array of values within a range. Where `coupled`, half of the range is a linear
    /// function of the images, so that this input carries a tangent too.
    Array {
        shape: Vec<usize>,
        range: (f64, f64),
        coupled: bool,
    },
    /// A constant array.
    Constant { shape: Vec<usize>, values: Vec<f64> },
}

impl Feed {
    fn array(shape: &[usize], range: (f64, f64), coupled: bool) -> Self {
        Self::Array {
            shape: shape.to_vec(),
            range,
            coupled,
        }
    }
}

/// One network of one operator, and the images it is differentiated at.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) op: Op,
    pub(crate) feeds: Vec<Feed>,
    /// Number of outputs, and whether only the last one reaches the logits.
    pub(crate) outputs: usize,
    pub(crate) last_only: bool,
    pub(crate) mode: Mode,
    pub(crate) batch: usize,
    pub(crate) image: [usize; 3],
    /// Values of the images.
    pub(crate) range: (f64, f64),
    pub(crate) seed: u64,
}

impl Case {
    /// An operator of the images alone.
    fn of(op: Op, (batch, image, seed): Ground) -> Self {
        let feeds = vec![Feed::Image(Vec::new())];
        Self {
            op,
            feeds,
            outputs: 1,
            last_only: false,
            mode: Mode::Evaluate,
            batch,
            image,
            range: (-2.0, 2.0),
            seed,
        }
    }

    fn within(self, range: (f64, f64)) -> Self {
        Self { range, ..self }
    }

    fn fed(self, feeds: Vec<Feed>) -> Self {
        Self { feeds, ..self }
    }

    /// Images at which the operator is differentiable: away from its kinks and, for what picks the
    /// largest, without ties.
    pub(crate) fn images(&self) -> Tensor {
        let [c, h, w] = self.image;
        let count = self.batch * c * h * w;
        let mut values = uniform(self.seed, count, self.range.0, self.range.1);
        if matches!(self.op, Op::MaxPool(_) | Op::TopK(_)) {
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
            order
                .into_iter()
                .enumerate()
                .for_each(|(rank, i)| values[i] = 4.0 * rank as f64 / count as f64 - 2.0);
        }
        let margin = 0.01;
        for kink in kinks(&self.op) {
            for v in values.iter_mut().filter(|v| (**v - kink).abs() < margin) {
                *v = kink + margin.copysign(*v - kink);
            }
        }
        Tensor::new(&[self.batch, c, h, w], values)
    }

    /// The operator between the images and a fixed random linear read-out.
    pub(crate) fn network(&self) -> Result<Network> {
        let mut b = Builder::new("case", "input", self.image)?;
        let mut inputs = Vec::with_capacity(self.feeds.len());
        for (i, feed) in self.feeds.iter().enumerate() {
            inputs.push(self.feed(&mut b, i, feed)?);
        }
        let names: Vec<String> = (0..self.outputs)
            .map(|i| format!("under test {i}"))
            .collect();
        let outputs = b.nodes("under test", self.op.clone(), &inputs, &names)?;
        let used = if self.last_only {
            &outputs[self.outputs - 1..]
        } else {
            &outputs[..]
        };
        let logits = read_out(&mut b, used, self.seed)?;
        b.finish(logits)
    }

    fn feed(&self, b: &mut Builder, i: usize, feed: &Feed) -> Result<ValueId> {
        match feed {
            Feed::Image(ops) => {
                let mut value = b.input();
                for op in ops {
                    let name = b.fresh("before");
                    value = b.node(&name, op.clone(), &[value])?;
                }
                Ok(value)
            }
            Feed::Constant { shape, values } => b.parameter(
                &format!("constant {i}"),
                Tensor::new(shape, values.clone()),
                false,
            ),
            Feed::Array {
                shape,
                range: (low, high),
                coupled,
            } => {
                let quarter = if *coupled { (high - low) / 4.0 } else { 0.0 };
                let array = uniform_tensor(
                    self.seed ^ (i as u64 + 1),
                    shape,
                    low + quarter,
                    high - quarter,
                );
                let array = b.parameter(&format!("array {i}"), array, true)?;
                if *coupled {
                    self.couple(b, i, array, shape, quarter)
                } else {
                    Ok(array)
                }
            }
        }
    }

    /// `array` plus a fixed linear function of the mean image, at most `bound` in size.
    fn couple(
        &self,
        b: &mut Builder,
        i: usize,
        array: ValueId,
        shape: &[usize],
        bound: f64,
    ) -> Result<ValueId> {
        let (d, m) = (
            self.image.iter().product::<usize>(),
            shape.iter().product::<usize>(),
        );
        let reach = bound / (d as f64 * self.range.0.abs().max(self.range.1.abs()));
        let weight = b.parameter(
            &format!("coupling {i}"),
            uniform_tensor(self.seed ^ 77, &[m, d], -reach, reach),
            false,
        )?;
        let x = b.input();
        let flat = b.node(&format!("flat {i}"), Op::Flatten(Flatten { axis: 1 }), &[x])?;
        let each = b.node(&format!("each {i}"), Op::Gemm(Gemm::DENSE), &[flat, weight])?;
        let mean = b.node(
            &format!("mean {i}"),
            Op::Reduce(Reduce {
                kind: ReduceKind::Mean,
                axes: vec![0],
                keep: false,
            }),
            &[each],
        )?;
        let target = shape.iter().map(|&d| d as i64).collect();
        let shaped = b.node(
            &format!("shaped {i}"),
            Op::Reshape(Reshape { shape: target }),
            &[mean],
        )?;
        b.node(
            &format!("coupled {i}"),
            Op::Binary(Binary::Add),
            &[array, shaped],
        )
    }
}

/// Points where an elementwise operator has no derivative.
fn kinks(op: &Op) -> Vec<f64> {
    match op {
        Op::Unary(Unary::Relu | Unary::LeakyRelu { .. } | Unary::Elu { .. } | Unary::Abs)
        | Op::PRelu(_) => vec![0.0],
        Op::Unary(Unary::Clip { min, max }) => vec![*min, *max],
        Op::Unary(Unary::HardSwish) => vec![-3.0, 3.0],
        Op::Unary(Unary::HardSigmoid { alpha, beta }) => vec![-beta / alpha, (1.0 - beta) / alpha],
        _ => Vec::new(),
    }
}

/// Logits `[n, CLASSES]`: a fixed random linear function of values of any shape, wherever their
/// batch axis is.
pub(crate) fn read_out(b: &mut Builder, values: &[ValueId], seed: u64) -> Result<ValueId> {
    let mut total: Option<ValueId> = None;
    for (i, &value) in values.iter().enumerate() {
        let flat = flat_by_example(b, value)?;
        let d = match b.network().value(flat).shape[1] {
            Dim::Fixed(d) => d,
            Dim::Batch(_) => unreachable!("one axis holds the batch"),
        };
        let weight = uniform_tensor(seed ^ (100 + i as u64), &[CLASSES, d], -1.0, 1.0)
            .affine(1.0 / (d as f64).sqrt(), 0.0);
        let weight = b.parameter(&format!("read-out {i}"), weight, false)?;
        let logits = b.node(
            &format!("logits {i}"),
            Op::Gemm(Gemm::DENSE),
            &[flat, weight],
        )?;
        total = Some(match total {
            Some(t) => b.node(&format!("total {i}"), Op::Binary(Binary::Add), &[t, logits])?,
            None => logits,
        });
    }
    Ok(total.expect("a value is read out"))
}

/// A value as `[n, d]`.
fn flat_by_example(b: &mut Builder, value: ValueId) -> Result<ValueId> {
    let shape = b.network().value(value).shape.clone();
    let sizes = shape.iter().map(|d| match d {
        Dim::Fixed(d) | Dim::Batch(d) => *d,
    });
    let d: usize = sizes.product();
    let mut value = value;
    match shape.iter().position(|d| matches!(d, Dim::Batch(_))) {
        // The same numbers for every example.
        None => {
            let name = b.fresh("row");
            value = b.node(
                &name,
                Op::Reshape(Reshape {
                    shape: vec![1, d as i64],
                }),
                &[value],
            )?;
            let (name, x) = (b.fresh("repeated"), b.input());
            return b.node(
                &name,
                Op::Expand(Expand {
                    shape: vec![None, Some(d)],
                }),
                &[value, x],
            );
        }
        Some(0) => {}
        Some(axis) => {
            let perm = std::iter::once(axis)
                .chain((0..shape.len()).filter(|&i| i != axis))
                .collect();
            let name = b.fresh("batch first");
            value = b.node(&name, Op::Transpose(Transpose { perm }), &[value])?;
        }
    }
    let name = b.fresh("by example");
    b.node(
        &name,
        Op::Reshape(Reshape {
            shape: vec![-1, d as i64],
        }),
        &[value],
    )
}

/// Batch size, image shape and seed.
type Ground = (usize, [usize; 3], u64);

fn ground() -> BoxedStrategy<Ground> {
    (
        1usize..=3,
        (1usize..=3, 1usize..=4, 1usize..=4),
        any::<u64>(),
    )
        .prop_map(|(n, (c, h, w), seed)| (n, [c, h, w], seed))
        .boxed()
}

/// Images wide enough for windows.
fn wide_ground() -> BoxedStrategy<Ground> {
    (
        1usize..=2,
        (1usize..=2, 2usize..=6, 2usize..=6),
        any::<u64>(),
    )
        .prop_map(|(n, (c, h, w), seed)| (n, [c, h, w], seed))
        .boxed()
}

type Row = (&'static str, BoxedStrategy<Case>);

/// Every row of the table.
pub(crate) fn rows() -> Vec<Row> {
    [
        activations(),
        arithmetic(),
        linear(),
        normalisation(),
        windows(),
        reductions(),
        layout(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn activations() -> Vec<Row> {
    let row = |name, range, op: BoxedStrategy<Unary>| -> Row {
        (
            name,
            (op, ground())
                .prop_map(move |(op, g)| Case::of(Op::Unary(op), g).within(range))
                .boxed(),
        )
    };
    let just = |op: Unary| Just(op).boxed();
    let (signed, wide, positive) = ((-2.0, 2.0), (-5.0, 5.0), (0.3, 3.0));
    vec![
        row("Relu", signed, just(Unary::Relu)),
        row(
            "LeakyRelu",
            signed,
            (-0.5..0.5f64)
                .prop_map(|alpha| Unary::LeakyRelu { alpha })
                .boxed(),
        ),
        row(
            "Elu",
            signed,
            (0.3..2.0f64).prop_map(|alpha| Unary::Elu { alpha }).boxed(),
        ),
        row(
            "Clip",
            signed,
            (-1.5..0.0f64, 0.1..1.5f64)
                .prop_map(|(min, max)| Unary::Clip { min, max })
                .boxed(),
        ),
        row("Gelu", wide, just(Unary::Gelu)),
        row("GeluTanh", wide, just(Unary::GeluTanh)),
        row("Erf", signed, just(Unary::Erf)),
        row("Sigmoid", wide, just(Unary::Sigmoid)),
        row("Tanh", signed, just(Unary::Tanh)),
        row("Softplus", wide, just(Unary::Softplus)),
        row("HardSwish", wide, just(Unary::HardSwish)),
        row(
            "HardSigmoid",
            wide,
            (0.1..0.5f64, 0.3..0.7f64)
                .prop_map(|(alpha, beta)| Unary::HardSigmoid { alpha, beta })
                .boxed(),
        ),
        row("Exp", signed, just(Unary::Exp)),
        row("Log", positive, just(Unary::Log)),
        row("Sqrt", positive, just(Unary::Sqrt)),
        row("Neg", signed, just(Unary::Neg)),
        row("Abs", signed, just(Unary::Abs)),
        row("Reciprocal", (-3.0, -0.3), just(Unary::Reciprocal)),
        // Between two jumps: differences across one say nothing about the derivative.
        row("Round", (1.6, 2.4), just(Unary::Round)),
        row("Floor", (1.1, 1.9), just(Unary::Floor)),
        row("Ceil", (1.1, 1.9), just(Unary::Ceil)),
        // Where it is cut off: elsewhere its derivative is that of another function.
        row(
            "Quantize",
            (-3.0, -0.3),
            just(Unary::Quantize {
                scale: 0.25,
                min: 0.0,
                max: 255.0,
            }),
        ),
        row("Identity", signed, just(Unary::Identity)),
    ]
}

/// Images and an array whose shapes broadcast: each side may lack any axis of the common shape
/// `[c, h, w]`, the array also leading ones. Also whether the array is coupled and whether it comes
/// first.
fn broadcasting() -> BoxedStrategy<(Ground, Vec<usize>, bool, bool)> {
    let masks = (any::<[bool; 3]>(), any::<[bool; 3]>(), 0usize..=4);
    (ground(), masks, any::<bool>(), any::<bool>())
        .prop_map(
            |((n, full, seed), (image, array, rank), coupled, swapped)| {
                let masked = |mask: [bool; 3]| [0, 1, 2].map(|i| if mask[i] { full[i] } else { 1 });
                let whole = [[1].as_slice(), &masked(array)].concat();
                (
                    (n, masked(image), seed),
                    whole[4 - rank..].to_vec(),
                    coupled,
                    swapped,
                )
            },
        )
        .boxed()
}

pub(crate) fn arithmetic() -> Vec<Row> {
    let row = |name, op: Binary, image: (f64, f64), array: (f64, f64)| -> Row {
        let two = broadcasting().prop_map(move |(g, shape, coupled, swapped)| {
            let mut feeds = vec![Feed::Image(Vec::new()), Feed::array(&shape, array, coupled)];
            if swapped {
                feeds.reverse();
            }
            Case::of(Op::Binary(op), g).within(image).fed(feeds)
        });
        let itself = ground().prop_map(move |g| {
            let feeds = vec![Feed::Image(Vec::new()), Feed::Image(Vec::new())];
            Case::of(Op::Binary(op), g).within(image).fed(feeds)
        });
        (name, prop_oneof![3 => two, 1 => itself].boxed())
    };
    let (signed, positive) = ((-2.0, 2.0), (0.5, 2.0));
    let mut rows = vec![
        row("Add", Binary::Add, signed, signed),
        row("Sub", Binary::Sub, signed, signed),
        row("Mul", Binary::Mul, signed, signed),
        row("Div", Binary::Div, positive, positive),
    ];
    // Positive bases with exponents that are arrays, or functions of the images.
    let (_, free) = row("Pow", Binary::Pow, positive, positive);
    // Whole exponents of a base of any sign; negative ones only of a base away from 0.
    let whole = |range: (f64, f64), exponents: std::ops::RangeInclusive<i32>| {
        (broadcasting(), vec(exponents, 1..12)).prop_map(move |((g, shape, ..), exponents)| {
            let values = (0..shape.iter().product())
                .map(|i: usize| f64::from(exponents[i % exponents.len()]))
                .collect();
            let feeds = vec![Feed::Image(Vec::new()), Feed::Constant { shape, values }];
            Case::of(Op::Binary(Binary::Pow), g)
                .within(range)
                .fed(feeds)
        })
    };
    rows.push((
        "Pow",
        prop_oneof![free, whole((-2.0, 2.0), 0..=4), whole((-2.0, -0.5), -3..=3)].boxed(),
    ));
    let slope = broadcasting().prop_map(|((n, full, seed), shape, coupled, _)| {
        // The slope must broadcast to the images, so an axis they lack is dropped from it as well.
        let lead = 4 - shape.len();
        let whole = [n, full[0], full[1], full[2]];
        let shape: Vec<usize> = shape
            .iter()
            .enumerate()
            .map(|(i, &d)| if whole[lead + i] == 1 { 1 } else { d })
            .collect();
        let feeds = vec![
            Feed::Image(Vec::new()),
            Feed::array(&shape, (-1.0, 1.0), coupled),
        ];
        Case::of(Op::PRelu(PRelu), (n, full, seed)).fed(feeds)
    });
    rows.push(("PRelu", slope.boxed()));
    rows
}

/// Attributes and sizes of a convolution: kernel, stride, pads, dilation, groups, channels per
/// group (in, out), bias, coupling.
type ConvDraw = ([usize; 2], Conv, [usize; 2], bool, bool);

fn convolution() -> BoxedStrategy<ConvDraw> {
    let pair = |top: usize| [1..=top, 1..=top];
    let attributes = (
        pair(3),
        [0usize..=2, 0..=2, 0..=2, 0..=2],
        pair(2),
        1usize..=3,
    );
    (pair(3), attributes, pair(2), any::<bool>(), any::<bool>())
        .prop_map(
            |(kernel, (stride, pads, dilation, groups), per_group, bias, coupled)| {
                (
                    kernel,
                    Conv {
                        stride,
                        pads,
                        dilation,
                        groups,
                    },
                    per_group,
                    bias,
                    coupled,
                )
            },
        )
        .boxed()
}

/// Cells that a dilated kernel spans.
fn span(conv: &Conv, kernel: [usize; 2], axis: usize) -> usize {
    conv.dilation[axis] * (kernel[axis] - 1) + 1
}

fn with_weights(weight: &[usize], bias: Option<usize>, coupled: bool) -> Vec<Feed> {
    let mut feeds = vec![
        Feed::Image(Vec::new()),
        Feed::array(weight, (-1.0, 1.0), coupled),
    ];
    feeds.extend(bias.map(|m| Feed::array(&[m], (-1.0, 1.0), coupled)));
    feeds
}

pub(crate) fn linear() -> Vec<Row> {
    let conv = (convolution(), wide_ground()).prop_map(
        |((kernel, conv, [c_in, c_out], bias, coupled), (n, [_, h, w], seed))| {
            let fit = |size: usize, i: usize| {
                size.max(span(&conv, kernel, i).saturating_sub(conv.pads[i] + conv.pads[i + 2]))
                    .max(1)
            };
            let image = [c_in * conv.groups, fit(h, 0), fit(w, 1)];
            let m = c_out * conv.groups;
            let feeds = with_weights(&[m, c_in, kernel[0], kernel[1]], bias.then_some(m), coupled);
            Case::of(Op::Conv(conv), (n, image, seed)).fed(feeds)
        },
    );
    let transposed = (convolution(), ground(), any::<[bool; 2]>())
        .prop_map(
            |((kernel, mut conv, [c_in, c_out], bias, coupled), (n, [_, h, w], seed), extra)| {
                for (i, size) in [h, w].into_iter().enumerate() {
                    // Pads crop the output; leave at least one cell of it.
                    let full = (size - 1) * conv.stride[i] + span(&conv, kernel, i);
                    conv.pads[i] = conv.pads[i].min(full - 1);
                    conv.pads[i + 2] = conv.pads[i + 2].min(full - 1 - conv.pads[i]);
                }
                let output_padding = [0, 1].map(|i| usize::from(extra[i]).min(conv.stride[i] - 1));
                let groups = conv.groups;
                let feeds = with_weights(
                    &[c_in * groups, c_out, kernel[0], kernel[1]],
                    bias.then_some(c_out * groups),
                    coupled,
                );
                Case::of(
                    Op::ConvTranspose(ConvTranspose {
                        conv,
                        output_padding,
                    }),
                    (n, [c_in * groups, h, w], seed),
                )
                .fed(feeds)
            },
        )
        .boxed();
    let flags = (any::<[bool; 3]>(), any::<bool>());
    let gemm = (
        ground(),
        flags,
        -2.0..2.0f64,
        -2.0..2.0f64,
        1usize..=4,
        0usize..=4,
    )
        .prop_map(
            |(g, ([trans_a, trans_b, second], coupled), alpha, beta, m, c)| {
                let d: usize = g.1.iter().product();
                let flat = Op::Flatten(Flatten { axis: 1 });
                let turned = |turn: bool| {
                    let turn = turn.then(|| Op::Transpose(Transpose { perm: vec![1, 0] }));
                    Feed::Image([flat.clone()].into_iter().chain(turn).collect())
                };
                let matrix = |rows: usize, columns: usize, turn: bool| {
                    let shape = if turn {
                        [columns, rows]
                    } else {
                        [rows, columns]
                    };
                    Feed::array(&shape, (-1.0, 1.0), coupled)
                };
                // Images as A give [n, m]; as B they give [m, n].
                let mut feeds = if second {
                    vec![matrix(m, d, trans_a), turned(!trans_b)]
                } else {
                    vec![turned(trans_a), matrix(d, m, trans_b)]
                };
                let shapes: [&[usize]; 5] = if second {
                    [&[], &[1], &[m, 1], &[1, 1], &[]]
                } else {
                    [&[], &[1], &[m], &[1, m], &[]]
                };
                if c < 4 {
                    feeds.push(Feed::array(shapes[c], (-1.0, 1.0), coupled));
                }
                Case::of(
                    Op::Gemm(Gemm {
                        alpha,
                        beta,
                        trans_a,
                        trans_b,
                    }),
                    g,
                )
                .fed(feeds)
            },
        );
    let matmul = (
        ground(),
        1usize..=3,
        0usize..=6,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|((n, [c, h, w], seed), m, lead, second, coupled)| {
            let image = if lead == 6 { [c, h, h] } else { [c, h, w] };
            let leads: [&[usize]; 6] = [&[], &[c], &[1], &[1, c], &[1, 1], &[2, 1, 1]];
            let feeds = match leads.get(lead) {
                None => vec![Feed::Image(Vec::new()), Feed::Image(Vec::new())],
                Some(lead) if second => {
                    vec![
                        Feed::array(&[lead, [m, h].as_slice()].concat(), (-1.0, 1.0), coupled),
                        Feed::Image(Vec::new()),
                    ]
                }
                Some(lead) => vec![
                    Feed::Image(Vec::new()),
                    Feed::array(&[lead, [w, m].as_slice()].concat(), (-1.0, 1.0), coupled),
                ],
            };
            Case::of(Op::MatMul(MatMul), (n, image, seed)).fed(feeds)
        });
    vec![
        ("Conv", conv.boxed()),
        ("ConvTranspose", transposed),
        ("Gemm", gemm.boxed()),
        ("MatMul", matmul.boxed()),
    ]
}

pub(crate) fn normalisation() -> Vec<Row> {
    let batch = (ground(), any::<[bool; 3]>(), 1e-3..1e-1f64).prop_map(
        |((n, image, seed), [train, flat, coupled], epsilon)| {
            let before = if flat {
                vec![Op::Flatten(Flatten { axis: 1 })]
            } else {
                Vec::new()
            };
            let c = [if flat {
                image.iter().product()
            } else {
                image[0]
            }];
            let array = |range| Feed::array(&c, range, coupled);
            let feeds = vec![
                Feed::Image(before),
                array((-1.0, 1.0)),
                array((-1.0, 1.0)),
                array((-1.0, 1.0)),
                array((0.5, 2.0)),
            ];
            let mode = if train { Mode::Train } else { Mode::Evaluate };
            // A batch of one has no spread to differentiate through.
            let n = if train { n.max(2) } else { n };
            Case {
                mode,
                ..Case::of(
                    Op::BatchNorm(BatchNorm {
                        epsilon,
                        momentum: 0.9,
                    }),
                    (n, image, seed),
                )
                .fed(feeds)
            }
        },
    );
    let layer = (ground(), 1i64..=3, any::<[bool; 3]>(), 1e-3..1e-1f64).prop_map(
        |(g, axis, [negative, bias, coupled], epsilon)| {
            let whole = [g.0, g.1[0], g.1[1], g.1[2]];
            let shape = &whole[axis as usize..];
            let mut feeds = vec![
                Feed::Image(Vec::new()),
                Feed::array(shape, (-1.0, 1.0), coupled),
            ];
            feeds.extend(bias.then(|| Feed::array(shape, (-1.0, 1.0), coupled)));
            let axis = if negative { axis - 4 } else { axis };
            Case::of(Op::LayerNorm(LayerNorm { axis, epsilon }), g).fed(feeds)
        },
    );
    let softmax = |log: bool| {
        (ground(), -4i64..4)
            .prop_map(move |(g, axis)| Case::of(Op::Softmax(Softmax { axis, log }), g))
            .boxed()
    };
    vec![
        ("BatchNorm", batch.boxed()),
        ("LayerNorm", layer.boxed()),
        ("Softmax", softmax(false)),
        ("LogSoftmax", softmax(true)),
    ]
}

fn window() -> BoxedStrategy<(Window, Ground)> {
    let pair = |top: usize| [1..=top, 1..=top];
    (
        pair(3),
        pair(3),
        [0usize..=2, 0..=2, 0..=2, 0..=2],
        pair(2),
        any::<bool>(),
        wide_ground(),
    )
        .prop_map(
            |(kernel, stride, pads, dilation, ceil, (n, [c, h, w], seed))| {
                let pads = [0, 1, 2, 3].map(|i| pads[i].min(kernel[i % 2] - 1));
                let window = Window {
                    kernel,
                    stride,
                    pads,
                    dilation,
                    ceil,
                };
                let fit = |size: usize, i: usize| {
                    size.max(
                        (dilation[i] * (kernel[i] - 1) + 1).saturating_sub(pads[i] + pads[i + 2]),
                    )
                };
                (window, (n, [c, fit(h, 0), fit(w, 1)], seed))
            },
        )
        .boxed()
}

/// Every interpolation.
pub(crate) const RESIZE_MODES: [ResizeMode; 5] = [
    ResizeMode::Linear,
    ResizeMode::Nearest(NearestRounding::RoundPreferFloor),
    ResizeMode::Nearest(NearestRounding::RoundPreferCeil),
    ResizeMode::Nearest(NearestRounding::Floor),
    ResizeMode::Nearest(NearestRounding::Ceil),
];

/// Every coordinate rule.
pub(crate) const COORDINATES: [Coordinates; 4] = [
    Coordinates::HalfPixel,
    Coordinates::PytorchHalfPixel,
    Coordinates::AlignCorners,
    Coordinates::Asymmetric,
];

pub(crate) fn windows() -> Vec<Row> {
    let max = window().prop_map(|(w, g)| Case::of(Op::MaxPool(MaxPool(w)), g));
    let average = (window(), any::<bool>()).prop_map(|((window, g), count_include_pad)| {
        Case::of(
            Op::AveragePool(AveragePool {
                window,
                count_include_pad,
            }),
            g,
        )
    });
    let global = ground().prop_map(|g| Case::of(Op::GlobalAveragePool(GlobalAveragePool), g));
    let how = (select(&RESIZE_MODES[..]), select(&COORDINATES[..]));
    let resize = (ground(), [1usize..=7, 1..=7], how, 0.95..1.05f64).prop_map(
        |(g, size, (mode, coordinates), factor)| {
            let scale = [0, 1].map(|i| factor * size[i] as f64 / g.1[i + 1] as f64);
            Case::of(
                Op::Resize(Resize {
                    size,
                    scale,
                    mode,
                    coordinates,
                }),
                g,
            )
        },
    );
    vec![
        ("MaxPool", max.boxed()),
        ("AveragePool", average.boxed()),
        ("GlobalAveragePool", global.boxed()),
        ("Resize", resize.boxed()),
    ]
}

pub(crate) fn reductions() -> Vec<Row> {
    let reduce = |kind: ReduceKind| {
        let axes = subsequence(vec![0i64, 1, 2, 3], 0..=4).prop_shuffle();
        (ground(), axes, any::<[bool; 5]>())
            .prop_map(move |(g, axes, [keep, negative @ ..])| {
                let axes = axes
                    .into_iter()
                    .zip(negative)
                    .map(|(a, n)| if n { a - 4 } else { a })
                    .collect();
                Case::of(Op::Reduce(Reduce { kind, axes, keep }), g)
            })
            .boxed()
    };
    vec![
        ("ReduceMean", reduce(ReduceKind::Mean)),
        ("ReduceSum", reduce(ReduceKind::Sum)),
    ]
}

/// Images with some axes of size 1, and which.
fn thin() -> BoxedStrategy<(Ground, Vec<i64>)> {
    (
        ground(),
        subsequence(vec![1i64, 2, 3], 0..=3),
        any::<[bool; 3]>(),
    )
        .prop_map(|((n, mut image, seed), axes, negative)| {
            axes.iter().for_each(|&a| image[a as usize - 1] = 1);
            let axes = axes
                .into_iter()
                .zip(negative)
                .map(|(a, n)| if n { a - 4 } else { a })
                .collect();
            ((n, image, seed), axes)
        })
        .boxed()
}

/// Part of an axis of the given size: first and last position by shares of the size, and a step of
/// either sign.
fn slice_axis(axis: usize, size: usize, [from, to]: [usize; 2], step: i64) -> SliceAxis {
    let (from, to) = (from % size, to % size);
    let (start, last) = if (step > 0) == (from <= to) {
        (from, to)
    } else {
        (to, from)
    };
    SliceAxis {
        axis,
        start,
        step,
        count: start.abs_diff(last) / step.unsigned_abs() as usize + 1,
    }
}

pub(crate) fn layout() -> Vec<Row> {
    let reshape = (ground(), 0usize..9).prop_map(|(g, which)| {
        let [c, h, w] = g.1.map(|d| d as i64);
        let targets: [Vec<i64>; 9] = [
            vec![0, -1],
            vec![-1, c * h * w],
            vec![0, c * h, w],
            vec![0, 0, -1],
            vec![-1, w],
            vec![-1],
            vec![0, w, h, c],
            vec![1, -1, h * w],
            vec![0, 1, 0, -1, c],
        ];
        // The last target keeps the size at axis 2 and infers the one after it.
        Case::of(
            Op::Reshape(Reshape {
                shape: targets[which].clone(),
            }),
            g,
        )
    });
    let flatten =
        (ground(), -4i64..=4).prop_map(|(g, axis)| Case::of(Op::Flatten(Flatten { axis }), g));
    let squeeze = thin().prop_map(|(g, axes)| Case::of(Op::Squeeze(Squeeze { axes }), g));
    let unsqueeze = (
        ground(),
        subsequence(vec![0i64, 1, 2, 3, 4, 5], 1..=2),
        any::<bool>(),
    )
        .prop_map(|(g, axes, negative)| {
            let rank = 4 + axes.len() as i64;
            let axes = axes
                .into_iter()
                .map(|a| a.min(rank - 1))
                .map(|a| if negative { a - rank } else { a })
                .collect();
            Case::of(Op::Unsqueeze(Unsqueeze { axes }), g)
        });
    let transpose = (ground(), Just(vec![0usize, 1, 2, 3]).prop_shuffle())
        .prop_map(|(g, perm)| Case::of(Op::Transpose(Transpose { perm }), g));
    let concat =
        (ground(), -4i64..4, 1usize..=3, any::<[usize; 2]>()).prop_map(|(g, axis, parts, cut)| {
            let at = if axis < 0 { axis + 4 } else { axis } as usize;
            // Along the batch every part is whole; elsewhere the second one is a slice.
            let piece = if at == 0 {
                Vec::new()
            } else {
                vec![Op::Slice(Slice {
                    axes: vec![slice_axis(at, g.1[at - 1], cut, 1)],
                })]
            };
            let mut feeds = vec![
                Feed::Image(Vec::new()),
                Feed::Image(piece),
                Feed::Image(vec![Op::Unary(Unary::Tanh)]),
            ];
            feeds.truncate(parts);
            Case::of(Op::Concat(Concat { axis }), g).fed(feeds)
        });
    let split = (
        ground(),
        1usize..=3,
        any::<[bool; 3]>(),
        vec(any::<bool>(), 3),
    )
        .prop_map(|(g, axis, [negative, last_only, _], cuts)| {
            let mut sizes = vec![1];
            for i in 1..g.1[axis - 1] {
                if cuts[i - 1] {
                    sizes.push(1);
                } else if let Some(last) = sizes.last_mut() {
                    *last += 1;
                }
            }
            let outputs = sizes.len();
            let axis = if negative {
                axis as i64 - 4
            } else {
                axis as i64
            };
            Case {
                outputs,
                last_only,
                ..Case::of(Op::Split(Split { axis, sizes }), g)
            }
        });
    let step = prop_oneof![-3i64..=-1, 1i64..=3];
    let slice = (
        ground(),
        subsequence(vec![1usize, 2, 3], 0..=3).prop_shuffle(),
        any::<[[usize; 2]; 3]>(),
        [step.clone(), step.clone(), step],
    )
        .prop_map(|(g, axes, cuts, steps)| {
            let axes = axes
                .into_iter()
                .map(|a| slice_axis(a, g.1[a - 1], cuts[a - 1], steps[a - 1]))
                .collect();
            Case::of(Op::Slice(Slice { axes }), g)
        });
    let gather = (
        ground(),
        1usize..=3,
        any::<bool>(),
        vec(any::<usize>(), 6),
        0usize..5,
    )
        .prop_map(|(g, axis, negative, picks, kind)| {
            let index_shape: Vec<usize> =
                [vec![], vec![1], vec![5], vec![2, 3], vec![3, 1, 2]][kind].clone();
            let count = index_shape.iter().product();
            let index = picks
                .into_iter()
                .take(count)
                .map(|p| p % g.1[axis - 1])
                .collect();
            let axis = if negative {
                axis as i64 - 4
            } else {
                axis as i64
            };
            Case::of(
                Op::Gather(Gather {
                    axis,
                    index,
                    index_shape,
                }),
                g,
            )
        });
    let top_k =
        (ground(), 1usize..=3, any::<bool>(), any::<usize>()).prop_map(|(g, axis, negative, k)| {
            let k = k % g.1[axis - 1] + 1;
            Case::of(
                Op::TopK(TopK {
                    axis: if negative {
                        axis as i64 - 4
                    } else {
                        axis as i64
                    },
                    k,
                }),
                g,
            )
        });
    let expand =
        (broadcasting(), 0usize..4).prop_map(|(((n, image, seed), shape, coupled, _), kind)| {
            let larger = image.map(|d| Some(if d == 1 { 2 } else { d }));
            let image_only = || vec![Feed::Image(Vec::new())];
            let (shape, feeds) = match kind {
                // To a known size, of the rank of the images or more.
                0 => ([&[Some(1)], larger.as_slice()].concat(), image_only()),
                1 => (
                    [&[Some(2), Some(1)], larger.as_slice()].concat(),
                    image_only(),
                ),
                // To the batch: of the images themselves, and of an array.
                2 => (
                    [&[None], larger.as_slice()].concat(),
                    vec![Feed::Image(Vec::new()), Feed::Image(Vec::new())],
                ),
                _ => {
                    let target: Vec<Option<usize>> = shape
                        .iter()
                        .skip(usize::from(shape.len() == 4))
                        .map(|&d| Some(if d == 1 { 2 } else { d }))
                        .collect();
                    (
                        [&[None], target.as_slice()].concat(),
                        vec![
                            Feed::array(&shape, (-1.0, 1.0), coupled),
                            Feed::Image(Vec::new()),
                        ],
                    )
                }
            };
            Case::of(Op::Expand(Expand { shape }), (n, image, seed)).fed(feeds)
        });
    let pad = (
        ground(),
        any::<[bool; 6]>(),
        [0i64..=2, 0..=2, 0..=2, 0..=2, 0..=2, 0..=2],
        -1.0..1.0f64,
    )
        .prop_map(|(g, crop, amounts, value)| {
            let mut pads = vec![(0, 0)];
            for (axis, &size) in g.1.iter().enumerate() {
                let mut left = size as i64 - 1;
                let mut side = |i: usize| {
                    let amount = amounts[2 * axis + i];
                    if !crop[2 * axis + i] {
                        return amount;
                    }
                    let cut = amount.min(left);
                    left -= cut;
                    -cut
                };
                pads.push((side(0), side(1)));
            }
            Case::of(Op::Pad(Pad { pads, value }), g)
        });
    vec![
        ("Reshape", reshape.boxed()),
        ("Flatten", flatten.boxed()),
        ("Squeeze", squeeze.boxed()),
        ("Unsqueeze", unsqueeze.boxed()),
        ("Transpose", transpose.boxed()),
        ("Concat", concat.boxed()),
        ("Split", split.boxed()),
        ("Slice", slice.boxed()),
        ("Gather", gather.boxed()),
        ("Expand", expand.boxed()),
        ("Pad", pad.boxed()),
        ("TopK", top_k.boxed()),
    ]
}
