//! What a plan takes together: every pattern asks what it sees before it matches, so that graphs
//! that look like a pattern and are none agree with the walk, too.

use super::{judge, judge_training};
use fgmf_net::op::{
    Binary, Concat, Conv, Expand, Flatten, Gather, Gemm, GlobalAveragePool, LayerNorm, MatMul, Op,
    PRelu, Pad, Reduce, ReduceKind, Reshape, Slice, SliceAxis, Softmax, Split, TopK, Transpose,
    Unary, Unsqueeze,
};
use fgmf_net::{Builder, Precision, Session, ValueId, onnx};
use fgmf_testkit::finite::uniform_tensor;

/// A network of images `[n, 2, 4, 6]` under way.
struct Made {
    b: Builder,
    count: usize,
}

impl Made {
    fn new() -> Self {
        Self {
            b: Builder::new("made", "image", [2, 4, 6]).unwrap(),
            count: 0,
        }
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("v{}", self.count)
    }

    fn stored(&mut self, shape: &[usize], low: f64, high: f64) -> ValueId {
        let name = self.name();
        let values = uniform_tensor(self.count as u64, shape, low, high).cast(Precision::F32);
        self.b.parameter(&name, values, true).unwrap()
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.name();
        self.b.node(&name, op, inputs).unwrap()
    }

    fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = shape.to_vec();
        self.node(Op::Reshape(Reshape { shape }), &[x])
    }

    fn transpose(&mut self, x: ValueId, perm: &[usize]) -> ValueId {
        let perm = perm.to_vec();
        self.node(Op::Transpose(Transpose { perm }), &[x])
    }

    fn product(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let w = self.stored(shape, -0.5, 0.5);
        self.node(Op::MatMul(MatMul), &[x, w])
    }

    /// A convolution whose outputs are positive where its inputs are.
    fn conv(&mut self, x: ValueId, channels: [usize; 2]) -> ValueId {
        let w = self.stored(&[channels[1], channels[0], 3, 3], 0.0, 0.1);
        let b = self.stored(&[channels[1]], 0.5, 1.0);
        let conv = Conv {
            pads: [1; 4],
            ..Conv::default()
        };
        self.node(Op::Conv(conv), &[x, w, b])
    }

    /// A dense layer behind `x`, and the plan against the walk: logits, gradients, training.
    #[allow(clippy::print_stdout, reason = "names the case that fails")]
    fn judge(mut self, what: &str, x: ValueId) {
        println!("{what}");
        let flat = self.node(Op::Flatten(Flatten { axis: 1 }), &[x]);
        let fgmf_net::Dim::Fixed(k) = self.b.network().value(flat).shape[1] else {
            unreachable!("rows")
        };
        let w = self.stored(&[3, k], -0.3, 0.3);
        let z = self.node(Op::Gemm(Gemm::DENSE), &[flat, w]);
        let net = Session::new(self.b.finish(z).unwrap());
        let x = uniform_tensor(7, &[3, 2, 4, 6], 0.0, 1.0).cast(Precision::F32);
        judge(&net, &x, &[0, 2, 1], 1e-4);
        judge_training(&net, &x, &[0, 2, 1], 1e-4);
    }
}

/// Operators of one input, and of one input and stored numbers, on rows of 384 numbers.
fn followers() -> Vec<(Op, Vec<Vec<usize>>)> {
    let mut all: Vec<(Op, Vec<Vec<usize>>)> = [
        Unary::Relu,
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Elu { alpha: 1.0 },
        Unary::Clip { min: 0.1, max: 0.9 },
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Erf,
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Softplus,
        Unary::HardSwish,
        Unary::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Neg,
        Unary::Abs,
        Unary::Reciprocal,
        Unary::Round,
        Unary::Identity,
    ]
    .map(|u| (Op::Unary(u), vec![]))
    .into();
    let reduce = |kind, keep| {
        Op::Reduce(Reduce {
            kind,
            axes: vec![1],
            keep,
        })
    };
    let slice = SliceAxis {
        axis: 1,
        start: 3,
        step: 2,
        count: 50,
    };
    let gather = Gather {
        axis: 1,
        index: vec![5, 1, 300],
        index_shape: vec![3],
    };
    all.extend(
        [
            Op::Softmax(Softmax {
                axis: -1,
                log: false,
            }),
            Op::Softmax(Softmax { axis: 1, log: true }),
            reduce(ReduceKind::Mean, true),
            reduce(ReduceKind::Sum, true),
            Op::Flatten(Flatten { axis: 1 }),
            Op::Reshape(Reshape {
                shape: vec![0, 16, 24],
            }),
            Op::Unsqueeze(Unsqueeze { axes: vec![1] }),
            Op::Slice(Slice { axes: vec![slice] }),
            Op::Gather(gather),
            Op::Pad(Pad {
                pads: vec![(0, 0), (1, 2)],
                value: 0.5,
            }),
            Op::Expand(Expand {
                shape: vec![Some(1), Some(384)],
            }),
            Op::Concat(Concat { axis: 1 }),
            Op::TopK(TopK { axis: -1, k: 9 }),
        ]
        .map(|op| (op, vec![])),
    );
    all.extend([
        (Op::MatMul(MatMul), vec![vec![384, 5]]),
        (Op::MatMul(MatMul), vec![vec![1, 384, 5]]),
        (Op::Gemm(Gemm::DENSE), vec![vec![5, 384]]),
        (Op::Gemm(Gemm::DENSE), vec![vec![5, 384], vec![1]]),
        (
            Op::Gemm(Gemm {
                alpha: 2.0,
                ..Gemm::DENSE
            }),
            vec![vec![5, 384], vec![5]],
        ),
        (Op::Binary(Binary::Mul), vec![vec![384]]),
        (Op::Binary(Binary::Add), vec![vec![1]]),
        (Op::PRelu(PRelu), vec![vec![1]]),
        (
            Op::LayerNorm(LayerNorm {
                axis: 1,
                epsilon: 1e-5,
            }),
            vec![vec![384]],
        ),
    ]);
    all
}

#[test]
fn gates_and_activations_of_maps_agree_with_the_walk() {
    let mul = || Op::Binary(Binary::Mul);
    for turned in [false, true] {
        let order = |a, b| if turned { [b, a] } else { [a, b] };
        for kind in 0..5 {
            let mut made = Made::new();
            let image = made.b.network().input();
            let x = made.conv(image, [2, 19]);
            let sigmoid = made.node(Op::Unary(Unary::Sigmoid), &[x]);
            let y = match kind {
                // SiLU; σ(x) with another reader; σ(x) times another map.
                0 => made.node(mul(), &order(x, sigmoid)),
                1 => {
                    let silu = made.node(mul(), &order(x, sigmoid));
                    made.node(Op::Binary(Binary::Add), &order(silu, sigmoid))
                }
                2 => {
                    let other = made.conv(image, [2, 19]);
                    made.node(mul(), &order(other, sigmoid))
                }
                // The gate of squeeze-and-excitation; one that another image's mean makes.
                _ => {
                    let of = if kind == 3 {
                        x
                    } else {
                        made.conv(image, [2, 19])
                    };
                    let mean = made.node(Op::GlobalAveragePool(GlobalAveragePool), &[of]);
                    let hard = Unary::HardSigmoid {
                        alpha: 0.3,
                        beta: 0.4,
                    };
                    let gate = made.node(Op::Unary(hard), &[mean]);
                    made.node(mul(), &order(sigmoid, gate))
                }
            };
            let y = made.node(Op::Unary(Unary::HardSwish), &[y]);
            made.judge(&format!("{kind}, turned {turned}"), y);
        }
    }
}

/// The block of ConvNeXt: channels last for a layer normalisation and a dense layer, then a map
/// again, scaled a channel and added to what the block began with; and graphs that only look so.
#[test]
fn maps_turned_to_channels_last_and_back_agree_with_the_walk() {
    for channels in [16, 19] {
        for kind in 0..8 {
            let mut m = Made::new();
            let map = m.conv(m.b.input(), [2, channels]);
            let rows = m.transpose(map, &[0, 2, 3, 1]);
            let dense = m.product(rows, &[channels, channels]);
            let turn = if kind == 1 {
                [0, 3, 2, 1]
            } else {
                [0, 3, 1, 2]
            };
            let back = m.transpose(dense, &turn);
            let factor = match kind {
                3 => m.stored(&[1, 1, 1, 1], 0.5, 0.9),
                4 => m.stored(&[4, 6], 0.5, 0.9),
                _ => m.stored(&[channels, 1, 1], 0.5, 0.9),
            };
            let y = match kind {
                // No map to add.
                0 => m.node(Op::Binary(Binary::Mul), &[back, factor]),
                1 => m.transpose(back, &[0, 1, 3, 2]),
                2 => m.node(Op::Binary(Binary::Add), &[map, back]),
                // What is added is made after the transposition, or is what is scaled.
                5 => {
                    let late = m.node(Op::Unary(Unary::Tanh), &[map]);
                    m.node(Op::Binary(Binary::Add), &[back, late])
                }
                6 => m.node(Op::Binary(Binary::Add), &[back, back]),
                _ => {
                    let order = if kind == 7 {
                        [back, factor]
                    } else {
                        [factor, back]
                    };
                    let scaled = m.node(Op::Binary(Binary::Mul), &order);
                    m.node(Op::Binary(Binary::Add), &[scaled, map])
                }
            };
            // A blocked map again, scaled and shifted in place, and the mean of its planes.
            let y = m.conv(y, [channels, 20]);
            let (f, s) = (
                m.stored(&[20, 1, 1], 0.5, 0.9),
                m.stored(&[1, 20, 1, 1], 0.1, 0.9),
            );
            let y = m.node(Op::Binary(Binary::Mul), &[f, y]);
            let y = m.node(Op::Binary(Binary::Sub), &[y, s]);
            let mean = Reduce {
                kind: ReduceKind::Mean,
                axes: if kind % 2 == 0 {
                    vec![-1, -2]
                } else {
                    vec![2, 3]
                },
                keep: kind < 4,
            };
            let y = m.node(Op::Reduce(mean), &[y]);
            m.judge(&format!("{channels} channels, kind {kind}"), y);
        }
    }
}

/// More rows than go through a product and its activation together; with a bias, a sum, and an
/// activation that something else reads.
#[test]
fn activations_behind_dense_layers_agree_with_the_walk() {
    let kinds = [
        Unary::Relu,
        Unary::Gelu,
        Unary::Sigmoid,
        Unary::Clip { min: 0.1, max: 0.9 },
        Unary::Exp,
    ];
    for unary in kinds {
        for kind in 0..4 {
            let mut m = Made::new();
            let map = m.conv(m.b.input(), [2, 18]);
            let rows = m.transpose(map, &[0, 2, 3, 1]);
            let mut x = m.product(rows, &[18, 18]);
            if kind > 0 {
                let bias = m.stored(&[18], -0.5, 0.5);
                x = m.node(Op::Binary(Binary::Add), &[x, bias]);
            }
            if kind > 1 {
                x = m.node(Op::Binary(Binary::Add), &[x, rows]);
            }
            let mut y = m.node(Op::Unary(unary), &[x]);
            if kind > 2 {
                y = m.node(Op::Binary(Binary::Mul), &[y, x]);
            }
            let y = m.product(y, &[18, 7]);
            m.judge(&format!("{unary:?}, kind {kind}"), y);
        }
    }
}

#[test]
fn whatever_reads_the_rows_of_a_map_agrees_with_the_walk() {
    let shapes = [
        Op::Flatten(Flatten { axis: 1 }),
        Op::Reshape(Reshape { shape: vec![0, -1] }),
        Op::Reshape(Reshape {
            shape: vec![-1, 384],
        }),
    ];
    for rows in shapes {
        for (op, stored) in followers() {
            let mut m = Made::new();
            let map = m.conv(m.b.input(), [2, 16]);
            let x = m.node(rows.clone(), &[map]);
            let what = format!("{rows:?}, {op:?}");
            let mut inputs = vec![x];
            inputs.extend(stored.iter().map(|s| m.stored(s, 0.1, 0.5)));
            let mut y = m.node(op, &inputs);
            if stored.first().is_some_and(|s| s.len() == 3) {
                y = m.reshape(y, &[-1, 5]);
            }
            m.judge(&what, y);
        }
    }
}

/// Two outputs, and a follower that turns the batch away from the front.
#[test]
fn splits_and_turns_of_rows_of_a_map_agree_with_the_walk() {
    let mut m = Made::new();
    let map = m.conv(m.b.input(), [2, 16]);
    let rows = m.node(Op::Flatten(Flatten { axis: 1 }), &[map]);
    let split = Op::Split(Split {
        axis: 1,
        sizes: vec![100, 284],
    });
    let names = ["a".to_owned(), "b".to_owned()];
    let halves = m.b.nodes("split", split, &[rows], &names).unwrap();
    m.judge("Split", halves[1]);

    let mut m = Made::new();
    let map = m.conv(m.b.input(), [2, 16]);
    let rows = m.node(Op::Flatten(Flatten { axis: 1 }), &[map]);
    let turned = m.transpose(rows, &[1, 0]);
    let active = m.node(Op::Unary(Unary::Gelu), &[turned]);
    let back = m.transpose(active, &[1, 0]);
    m.judge("Transpose", back);
}

/// The ends of an interval: sum and difference of two maps, of which a rectifier follows.
#[test]
fn differences_of_maps_agree_with_the_walk() {
    for relu in [false, true] {
        let mut m = Made::new();
        let a = m.conv(m.b.input(), [2, 16]);
        let b = m.conv(m.b.input(), [2, 16]);
        let ends = [Binary::Sub, Binary::Add].map(|op| {
            let end = m.node(Op::Binary(op), &[a, b]);
            match relu {
                true => m.node(Op::Unary(Unary::Relu), &[end]),
                false => end,
            }
        });
        let last = m.node(Op::Binary(Binary::Sub), &[ends[1], ends[0]]);
        m.judge("Sub", last);
    }
}

/// How an attention lays its tokens and heads out.
struct Layout {
    name: &'static str,
    /// Of `[n, 12, 8]`, before the transpositions.
    split: &'static [i64],
    /// Of queries and values.
    turn: [usize; 4],
    /// Of keys.
    turn_keys: [usize; 4],
    /// After the transpositions.
    merge: &'static [i64],
    joined: &'static [i64],
}

const PLAIN: Layout = Layout {
    name: "heads beside the batch",
    split: &[0, 12, 2, 4],
    turn: [0, 2, 1, 3],
    turn_keys: [0, 2, 3, 1],
    merge: &[],
    joined: &[0, 12, 8],
};

#[test]
fn attention_of_any_layout_agrees_with_the_walk() {
    let layouts = [
        PLAIN,
        Layout {
            name: "windows in the batch",
            split: &[-1, 6, 2, 4],
            joined: &[-1, 6, 8],
            ..PLAIN
        },
        Layout {
            name: "heads in the batch",
            merge: &[-1, 1],
            joined: &[-1, 12, 4],
            ..PLAIN
        },
        Layout {
            name: "heads side by side, the fastest",
            split: &[0, 12, 4, 2],
            turn: [0, 3, 1, 2],
            turn_keys: [0, 3, 2, 1],
            ..PLAIN
        },
    ];
    for (l, scaled) in layouts.iter().flat_map(|l| [(l, false), (l, true)]) {
        let mut m = Made::new();
        let tokens = m.reshape(m.b.input(), &[0, 12, 4]);
        let [q, k, v] = [l.turn, l.turn_keys, l.turn].map(|turn| {
            let x = m.product(tokens, &[4, 8]);
            let x = m.reshape(x, l.split);
            let x = m.transpose(x, &turn);
            if l.merge.is_empty() {
                return x;
            }
            let last: [i64; 2] = if turn == l.turn { [12, 4] } else { [4, 12] };
            m.reshape(x, &[l.merge, &last].concat())
        });
        let mut scores = m.node(Op::MatMul(MatMul), &[q, k]);
        if scaled {
            let by = m.b.parameter(
                "by",
                uniform_tensor(1, &[1], 0.5, 0.6).cast(Precision::F32),
                false,
            );
            scores = m.node(Op::Binary(Binary::Mul), &[scores, by.unwrap()]);
        }
        let softmax = Op::Softmax(Softmax {
            axis: -1,
            log: false,
        });
        let weights = m.node(softmax, &[scores]);
        let mixed = m.node(Op::MatMul(MatMul), &[weights, v]);
        let turned = m.transpose(mixed, &[0, 2, 1, 3]);
        let joined = m.reshape(turned, l.joined);
        let active = m.node(Op::Unary(Unary::Gelu), &[joined]);
        let images = m.reshape(active, &[-1, 96]);
        m.judge(l.name, images);
    }
}

/// Maps whose first axis is a multiple of the batch, or none of it, are no maps of images.
#[test]
fn convolutions_of_parts_of_images_and_of_stored_images_agree_with_the_walk() {
    let mut m = Made::new();
    let parts = m.reshape(m.b.input(), &[-1, 1, 4, 6]);
    let map = m.conv(parts, [1, 16]);
    let active = m.node(Op::Unary(Unary::Relu), &[map]);
    let second = m.conv(active, [16, 16]);
    let sum = m.node(Op::Binary(Binary::Add), &[second, active]);
    let images = m.reshape(sum, &[-1, 768]);
    m.judge("parts of images", images);

    let mut m = Made::new();
    let stored = m.stored(&[1, 2, 4, 6], 0.0, 1.0);
    let still = m.conv(stored, [2, 16]);
    let map = m.conv(m.b.input(), [2, 16]);
    let sum = m.node(Op::Binary(Binary::Add), &[map, still]);
    m.judge("a stored image", sum);
}

#[test]
fn arithmetic_of_stored_numbers_trains_as_the_walk_does() {
    for unary in [Unary::Softplus, Unary::Gelu, Unary::Exp] {
        let mut m = Made::new();
        let stored = m.stored(&[2, 1, 1], -1.0, 1.0);
        let factor = m.node(Op::Unary(unary), &[stored]);
        let y = m.node(Op::Binary(Binary::Mul), &[m.b.input(), factor]);
        m.judge("an activation of stored numbers", y);
    }
    let mut m = Made::new();
    let [weight, column] = [[5, 4], [5, 1]].map(|s| m.stored(&s, -1.0, 1.0));
    let left = m.stored(&[5, 4], -1.0, 1.0);
    let left = m.node(Op::Unary(Unary::Tanh), &[left]);
    let matrix = m.node(Op::Gemm(Gemm::DENSE), &[left, weight, column]);
    let rows = m.reshape(m.b.input(), &[0, 48]);
    let few = m.product(rows, &[48, 5]);
    let y = m.node(Op::MatMul(MatMul), &[few, matrix]);
    m.judge("a column added to a product of stored numbers", y);
}

#[test]
fn scaling_where_the_batch_is_not_first_agrees_with_the_walk() {
    let mut m = Made::new();
    let turned = m.transpose(m.b.input(), &[1, 0, 2, 3]);
    let by = m.stored(&[1], 0.5, 1.0);
    let y = m.node(Op::Binary(Binary::Add), &[turned, by]);
    let y = m.node(Op::Unary(Unary::Gelu), &[y]);
    let back = m.transpose(y, &[1, 0, 2, 3]);
    m.judge("the batch second", back);
}

#[test]
fn files_that_ended_in_a_panic_run() {
    for name in ["panic_flatten_then_unary", "panic_attention_merged_batch"] {
        let path = format!(
            "{}/tests/fixtures/hostile/{name}.onnx",
            env!("CARGO_MANIFEST_DIR")
        );
        let net = Session::new(onnx::read(path.as_ref()).unwrap());
        let [c, h, w] = net.image_shape();
        let x = uniform_tensor(3, &[2, c, h, w], 0.0, 1.0).cast(Precision::F32);
        judge(&net, &x, &[0, 1], 1e-4);
    }
}
