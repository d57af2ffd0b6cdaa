//! Compiled plans against the graph walk in double precision: every zoo network, random graphs,
//! gradients of any value, training, backward rules, and the same bytes for any batch and any
//! number of threads.

mod patterns;

use fgmf_net::head::CrossEntropy;
use fgmf_net::op::{
    AveragePool, BatchNorm, Binary, Concat, Conv, Flatten, GlobalAveragePool, LayerNorm, MatMul,
    MaxPool, Op, Reshape, Softmax, Transpose, Unary, Window,
};
use fgmf_net::rule::Guided;
use fgmf_net::zoo::{Activation, Architecture};
use fgmf_net::{Builder, Mode, Precision, Rules, Session, Surroundings, Tensor, ValueId};
use fgmf_testkit::finite::uniform_tensor;
use fgmf_testkit::zoo::{CASES, case};
use proptest::prelude::*;
use std::sync::Arc;

/// Largest difference as a share of the largest number, or of a thousandth: a gradient that is zero
/// but for rounding has no relative error.
fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    let (found, expected) = (found.to_f64(), expected.to_f64());
    let scale = expected.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
    found.iter().zip(&expected).fold(0.0, |m: f64, (a, b)| {
        if a.is_nan() {
            f64::NAN
        } else {
            m.max((a - b).abs() / scale)
        }
    })
}

#[track_caller]
fn assert_near(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let d = distance(found, expected);
    assert!(
        d <= tolerance,
        "{what}: {d:e} of the largest number, more than {tolerance:e}"
    );
}

/// Every value that has a batch axis, so that nothing may be fused away, and only the logits, so
/// that everything may.
fn judge(net: &Session, x: &Tensor, labels: &[usize], tolerance: f64) {
    let wide = net.cast(Precision::F64);
    let x_wide = x.cast(Precision::F64);
    let head = CrossEntropy::labels(labels);
    let exact = Rules::exact();
    let inner: Vec<ValueId> = net.nodes().iter().flat_map(|n| n.outputs.clone()).collect();
    let middle = inner[inner.len() / 2];
    for at in [vec![net.input()], vec![net.input(), middle]] {
        let found = net.loss_gradients(x, &head, &at, &exact).unwrap();
        let expected = wide.loss_gradients(&x_wide, &head, &at, &exact).unwrap();
        assert_near("logits", &found.logits, &expected.logits, tolerance);
        for ((g, e), id) in found.gradients.iter().zip(&expected.gradients).zip(&at) {
            assert_near(
                &format!("gradient in {}", net.value(*id).name),
                g,
                e,
                tolerance,
            );
        }
        for (v, e) in found.values.iter().zip(&expected.values) {
            assert_near("value", v, e, tolerance);
        }
    }
    judge_windows(net, x, tolerance);
    let found = net.values_at(x, &inner).unwrap();
    for ((v, e), id) in found
        .iter()
        .zip(&wide.values_at(&x_wide, &inner).unwrap())
        .zip(&inner)
    {
        assert_near(&net.value(*id).name, v, e, tolerance);
    }
}

/// Variants inside windows (corners, borders, the middle, all of the image) against the same
/// variants as whole images.
fn judge_windows(net: &Session, x: &Tensor, tolerance: f64) {
    let [n, c, h, w] = x.shape()[..] else {
        unreachable!("images")
    };
    let around = net.surroundings(x).unwrap();
    let owner = [n - 1, 0, n - 1];
    for window in [
        [0..2, 0..3],
        [h - 1..h, w - 2..w],
        [h / 2 - 1..h / 2 + 2, w / 2 - 2..w / 2 + 1],
        [1..h - 1, 3..4],
        [0..h, 0..w],
    ] {
        let [rows, cols] = window.clone();
        let patches = uniform_tensor(7, &[owner.len(), c, rows.len(), cols.len()], 0.0, 1.0)
            .cast(Precision::F32);
        let mut whole = x.select(0, &owner).to_f32();
        let mut pixels = patches.to_f32().into_iter();
        for line in (0..owner.len() * c).flat_map(|plane| rows.clone().map(move |r| plane * h + r))
        {
            whole[line * w + cols.start..line * w + cols.end]
                .iter_mut()
                .zip(&mut pixels)
                .for_each(|(to, from)| *to = from);
        }
        let found = net
            .window_logits(&around, &window, &owner, &patches)
            .unwrap();
        assert_near(
            &format!("window {window:?}"),
            &found,
            &net.logits(&Tensor::new(&[owner.len(), c, h, w], whole))
                .unwrap(),
            tolerance,
        );
    }
}

#[test]
fn windows_that_do_not_fit_are_errors() {
    let case = case(Architecture::CnnTiny, Activation::Relu).unwrap();
    let (net, [n, c, h, w]) = (&case.net, [0, 1, 2, 3].map(|a| case.x.shape()[a]));
    let around = net.surroundings(&case.x).unwrap();
    let patch = |rows, cols| Tensor::new(&[1, c, rows, cols], vec![0.5f32; c * rows * cols]);
    assert!(
        net.window_logits(&around, &[0..2, 0..2], &[n - 1], &patch(2, 2))
            .is_ok()
    );
    for (window, owner, patch) in [
        ([0..0, 0..2], vec![0], patch(1, 2)),
        ([h - 1..h + 1, 0..2], vec![0], patch(2, 2)),
        ([0..2, w..w + 2], vec![0], patch(2, 2)),
        ([0..2, 0..2], vec![0], patch(2, 3)),
        ([0..2, 0..2], vec![0, 1], patch(2, 2)),
        ([0..2, 0..2], vec![n], patch(2, 2)),
        ([0..2, 0..2], vec![0], patch(2, 2).cast(Precision::F64)),
    ] {
        assert!(
            net.window_logits(&around, &window, &owner, &patch).is_err(),
            "{window:?} {owner:?}"
        );
    }
    assert!(net.surroundings(&case.x.cast(Precision::F64)).is_err());
}

/// Feature maps of another network have other sizes, and those of other weights other numbers: put
/// together with what this session computes they would be the logits of no network.
#[test]
fn surroundings_of_another_session_or_of_old_weights_are_refused() {
    let of = |architecture| case(architecture, Activation::Relu).unwrap();
    let (mut here, other) = (of(Architecture::CnnTiny), of(Architecture::CnnSmall));
    let x = here.x.clone();
    let window = [4..9, 5..8];
    let patch = Tensor::new(&[1, 1, 5, 3], vec![0.5f32; 15]);
    let logits = |net: &Session, around: &Surroundings| {
        let found = net.window_logits(around, &window, &[0], &patch);
        found.map_err(|e| e.to_string())
    };
    let around = here.net.surroundings(&x).unwrap();
    assert_eq!(logits(&here.net, &around).unwrap().shape(), [1, 10]);
    let strange = "made by this session, found those of another session";
    for session in [&other.net, &here.net.clone()] {
        assert!(logits(session, &around).unwrap_err().contains(strange));
    }
    let id = here.net.trainable()[0];
    let new = here.net.parameter(id).unwrap().affine(2.0, 0.0);
    here.net.set_parameter(id, new).unwrap();
    let stale = logits(&here.net, &around).unwrap_err();
    assert!(stale.contains("weights that have changed since"), "{stale}");
    let again = here.net.surroundings(&x).unwrap();
    assert!(logits(&here.net, &again).is_ok());
}

/// Training mode, every parameter. Rectifiers and maxima that sit within rounding of a kink would
/// differ by a finite step, so the tolerance is that of the whole gradient.
fn judge_training(net: &Session, x: &Tensor, labels: &[usize], tolerance: f64) {
    let head = CrossEntropy::labels(labels);
    let found = net.parameter_gradients(x, &head, Mode::Train).unwrap();
    let wide = net.cast(Precision::F64);
    let expected = wide
        .parameter_gradients(&x.cast(Precision::F64), &head, Mode::Train)
        .unwrap();
    assert_near("logits", &found.logits, &expected.logits, tolerance);
    let scale = expected
        .gradients
        .iter()
        .flat_map(|g| g.to_f64())
        .fold(1e-12, |m: f64, v| m.max(v.abs()));
    for ((g, e), id) in found
        .gradients
        .iter()
        .zip(&expected.gradients)
        .zip(net.trainable())
    {
        let worst = g
            .to_f64()
            .iter()
            .zip(e.to_f64())
            .fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
        assert!(
            worst <= tolerance * scale,
            "gradient in {}: {:e} of the largest number",
            net.value(id).name,
            worst / scale
        );
    }
    assert_eq!(found.statistics.len(), expected.statistics.len());
    for ((i, m, v), (j, em, ev)) in found.statistics.iter().zip(&expected.statistics) {
        assert_eq!(i, j);
        assert_near("running mean", m, em, tolerance);
        assert_near("running variance", v, ev, tolerance);
    }
}

#[test]
fn every_zoo_network_agrees_with_the_walk() {
    for (architecture, activation) in CASES {
        // Among the ten million rectifiers of the widest network some sit within rounding of their
        // kink.
        let smooth = architecture == Architecture::Wrn28x10;
        let case = case(
            architecture,
            if smooth { Activation::Gelu } else { activation },
        )
        .unwrap();
        let labels: Vec<usize> = (0..case.x.shape()[0]).collect();
        judge(&case.net, &case.x, &labels, 1e-4);
        // The widest network takes minutes in double precision.
        if architecture != Architecture::Wrn28x10 {
            judge_training(&case.net, &case.x, &labels, 1e-4);
        }
    }
}

/// A graph drawn from bytes: whatever layers fit, one after the other, with shortcuts and branches.
fn random_network(bytes: &[u8], seed: u64) -> Session {
    let image = [
        1 + usize::from(bytes[0] % 4),
        6 + usize::from(bytes[1] % 7),
        6 + usize::from(bytes[2] % 9),
    ];
    let mut g = Graph {
        b: Builder::new("random", "image", image).unwrap(),
        count: 0,
        seed,
    };
    let mut x = g.b.input();
    let mut earlier = vec![x];
    for pair in bytes[3..].chunks_exact(2) {
        let (choice, size) = (pair[0], usize::from(pair[1]));
        x = g.layer(choice, size, x, &earlier);
        earlier.push(x);
    }
    g.finish(x, bytes[0])
}

struct Graph {
    b: Builder,
    count: usize,
    seed: u64,
}

impl Graph {
    fn shape(&self, x: ValueId) -> Vec<usize> {
        let size = |d: &fgmf_net::Dim| match d {
            fgmf_net::Dim::Fixed(d) | fgmf_net::Dim::Batch(d) => *d,
        };
        self.b.network().value(x).shape.iter().map(size).collect()
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("v{}", self.count)
    }

    fn parameter(&mut self, shape: &[usize], low: f64, high: f64) -> ValueId {
        let name = self.name();
        let values =
            uniform_tensor(self.seed + self.count as u64, shape, low, high).cast(Precision::F32);
        self.b.parameter(&name, values, true).unwrap()
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.name();
        self.b.node(&name, op, inputs).unwrap()
    }

    fn conv(&mut self, x: ValueId, channels: usize, kernel: usize, conv: Conv) -> ValueId {
        let c = self.shape(x)[1] / conv.groups;
        let bound = 1.0 / ((c * kernel * kernel) as f64).sqrt();
        let w = self.parameter(&[channels, c, kernel, kernel], -bound, bound);
        let b = self.parameter(&[channels], -0.3, 0.3);
        self.node(Op::Conv(conv), &[x, w, b])
    }

    fn layer(&mut self, choice: u8, size: usize, x: ValueId, earlier: &[ValueId]) -> ValueId {
        let shape = self.shape(x);
        let (c, small) = (shape[1], shape[2].min(shape[3]));
        let channels = [5, 16, 19, 32, 40][size % 5];
        match choice % 12 {
            0 | 1 => self.conv(
                x,
                channels,
                3,
                Conv {
                    pads: [1; 4],
                    ..Conv::default()
                },
            ),
            2 if small >= 5 => self.conv(
                x,
                channels,
                3,
                Conv {
                    pads: [1, 0, 2, 1],
                    stride: [2, 1 + size % 2],
                    ..Conv::default()
                },
            ),
            3 => self.conv(x, channels, 1, Conv::default()),
            4 => self.conv(
                x,
                c,
                3,
                Conv {
                    pads: [1; 4],
                    groups: c,
                    ..Conv::default()
                },
            ),
            5 => {
                let (scale, bias) = (
                    self.parameter(&[c], 0.5, 1.5),
                    self.parameter(&[c], -0.3, 0.3),
                );
                let (mean, variance) = (
                    self.parameter(&[c], -0.3, 0.3),
                    self.parameter(&[c], 0.4, 1.5),
                );
                self.node(
                    Op::BatchNorm(BatchNorm {
                        epsilon: 1e-5,
                        momentum: 0.9,
                    }),
                    &[x, scale, bias, mean, variance],
                )
            }
            6 => self.node(Op::Unary(Unary::Relu), &[x]),
            7 => {
                let all = [
                    Unary::Gelu,
                    Unary::Softplus,
                    Unary::Tanh,
                    Unary::Sigmoid,
                    Unary::LeakyRelu { alpha: 0.1 },
                    Unary::HardSwish,
                ];
                self.node(Op::Unary(all[size % all.len()]), &[x])
            }
            8 if small >= 4 => self.node(Op::MaxPool(MaxPool(Window::square(2))), &[x]),
            9 if small >= 4 => {
                let window = Window {
                    pads: [1; 4],
                    stride: [1, 2],
                    ..Window::square(3)
                };
                self.node(
                    Op::AveragePool(AveragePool {
                        window,
                        count_include_pad: size.is_multiple_of(2),
                    }),
                    &[x],
                )
            }
            10 => match earlier
                .iter()
                .rev()
                .skip(1)
                .find(|&&e| self.shape(e) == shape)
            {
                Some(&e) => self.node(Op::Binary(Binary::Add), &[x, e]),
                None => x,
            },
            11 if c < 60 => match earlier
                .iter()
                .rev()
                .skip(1)
                .find(|&&e| self.shape(e)[2..] == shape[2..])
            {
                Some(&e) => self.node(Op::Concat(Concat { axis: 1 }), &[x, e]),
                None => x,
            },
            _ => x,
        }
    }

    /// Logits by global averaging, by a dense layer, or by attention over the cells.
    fn finish(mut self, x: ValueId, choice: u8) -> Session {
        let shape = self.shape(x);
        let (c, cells) = (shape[1], shape[2] * shape[3]);
        let flat = match choice % 3 {
            0 => {
                let y = self.node(Op::GlobalAveragePool(GlobalAveragePool), &[x]);
                self.node(Op::Flatten(Flatten { axis: 1 }), &[y])
            }
            1 => self.node(Op::Flatten(Flatten { axis: 1 }), &[x]),
            _ => {
                let y = self.node(
                    Op::Reshape(Reshape {
                        shape: vec![0, c as i64, cells as i64],
                    }),
                    &[x],
                );
                let y = self.node(
                    Op::Transpose(Transpose {
                        perm: vec![0, 2, 1],
                    }),
                    &[y],
                );
                let (scale, bias) = (
                    self.parameter(&[c], 0.5, 1.5),
                    self.parameter(&[c], -0.3, 0.3),
                );
                let y = self.node(
                    Op::LayerNorm(LayerNorm {
                        axis: -1,
                        epsilon: 1e-5,
                    }),
                    &[y, scale, bias],
                );
                let w = self.parameter(&[c, 6], -0.4, 0.4);
                let q = self.node(Op::MatMul(MatMul), &[y, w]);
                let b = self.parameter(&[6], -0.4, 0.4);
                let q = self.node(Op::Binary(Binary::Add), &[q, b]);
                let k = self.node(
                    Op::Transpose(Transpose {
                        perm: vec![0, 2, 1],
                    }),
                    &[q],
                );
                let scores = self.node(Op::MatMul(MatMul), &[q, k]);
                let weights = self.node(
                    Op::Softmax(Softmax {
                        axis: -1,
                        log: false,
                    }),
                    &[scores],
                );
                let mixed = self.node(Op::MatMul(MatMul), &[weights, q]);
                let sum = self.node(Op::Binary(Binary::Add), &[mixed, q]);
                self.node(Op::Flatten(Flatten { axis: 1 }), &[sum])
            }
        };
        let k = self.shape(flat)[1];
        let bound = 1.0 / (k as f64).sqrt();
        let (w, b) = (
            self.parameter(&[4, k], -bound, bound),
            self.parameter(&[4], -0.1, 0.1),
        );
        let z = self.node(Op::Gemm(fgmf_net::op::Gemm::DENSE), &[flat, w, b]);
        Session::new(self.b.finish(z).unwrap())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_graphs_agree_with_the_walk(
        bytes in prop::collection::vec(any::<u8>(), 3..21),
        seed in 0u64..1_000_000,
    ) {
        let net = random_network(&bytes, seed);
        let [c, h, w] = net.image_shape();
        let x = uniform_tensor(seed, &[3, c, h, w], 0.0, 1.0).cast(Precision::F32);
        judge(&net, &x, &[0, 3, 1], 1e-4);
    }

    #[test]
    fn random_graphs_train_as_the_walk_does(
        bytes in prop::collection::vec(any::<u8>(), 3..15),
        seed in 0u64..1_000_000,
    ) {
        let net = random_network(&bytes, seed);
        let [c, h, w] = net.image_shape();
        let x = uniform_tensor(seed, &[20, c, h, w], 0.0, 1.0).cast(Precision::F32);
        judge_training(&net, &x, &[1; 20], 1e-3);
    }
}

/// More images than a chunk holds: pieces and chunks are the same on any number of threads, and a
/// batch is its images.
#[test]
fn the_same_bytes_on_any_number_of_threads_and_in_any_batch() {
    for architecture in [
        Architecture::CnnSmall,
        Architecture::ConvvitTiny,
        Architecture::PreactResnet18,
    ] {
        let case = case(architecture, Activation::Relu).unwrap();
        let n = if architecture == Architecture::PreactResnet18 {
            20
        } else {
            40
        };
        let [c, h, w] = case.net.image_shape();
        let x = uniform_tensor(5, &[n, c, h, w], 0.0, 1.0).cast(Precision::F32);
        let labels: Vec<usize> = (0..n).map(|i| i % 10).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let head = CrossEntropy::labels(&labels);
                let inputs = case
                    .net
                    .loss_gradients(&x, &head, &[case.net.input()], &Rules::exact())
                    .unwrap();
                let parameters = case
                    .net
                    .parameter_gradients(&x, &head, Mode::Train)
                    .unwrap();
                let all = [inputs.gradients, parameters.gradients].concat();
                all.iter()
                    .flat_map(|g| g.to_f32())
                    .map(f32::to_bits)
                    .collect::<Vec<_>>()
            })
        };
        assert!(run(1) == run(3), "{architecture:?}");
        let mut few = case.net.clone();
        few.limit_chunks(3);
        let gradients = |net: &Session| {
            let found = net
                .loss_gradients(
                    &x,
                    &CrossEntropy::labels(&labels),
                    &[net.input()],
                    &Rules::exact(),
                )
                .unwrap();
            found
                .gradients
                .iter()
                .flat_map(|g| g.to_f32())
                .map(f32::to_bits)
                .collect::<Vec<_>>()
        };
        assert_eq!(few.chunk(), 3);
        assert!(gradients(&case.net) == gradients(&few), "{architecture:?}");
        let whole = case.net.logits(&x).unwrap();
        for i in [0, 7, n - 1] {
            let alone = case.net.logits(&x.rows(i, 1)).unwrap();
            assert_eq!(
                alone.to_f32(),
                whole.rows(i, 1).to_f32(),
                "{architecture:?}, image {i}"
            );
        }
    }
}

#[test]
fn a_plan_does_not_outlive_the_weights_it_was_made_for() {
    let mut net = case(Architecture::CnnTiny, Activation::Relu).unwrap().net;
    let x = uniform_tensor(5, &[2, 1, 28, 28], 0.0, 1.0).cast(Precision::F32);
    let before = net.logits(&x).unwrap();
    let kept = net.clone();
    for id in net.trainable() {
        let new = net.parameter(id).unwrap().affine(2.0, 0.0);
        net.set_parameter(id, new).unwrap();
    }
    assert!(distance(&net.logits(&x).unwrap(), &before) > 0.1);
    assert_eq!(kept.logits(&x).unwrap().to_f32(), before.to_f32());
}

#[test]
fn a_rule_keeps_its_node_from_being_fused() {
    let case = case(Architecture::CnnSmall, Activation::Relu).unwrap();
    let relus: Vec<usize> = (0..case.net.nodes().len())
        .filter(|&i| matches!(case.net.nodes()[i].op, Op::Unary(Unary::Relu)))
        .collect();
    let mut rules = Rules::exact();
    relus.iter().for_each(|&i| rules.set(i, Arc::new(Guided)));
    let head = CrossEntropy::labels(&[3, 4]);
    let at = [case.net.input()];
    let found = case
        .net
        .loss_gradients(&case.x, &head, &at, &rules)
        .unwrap();
    let wide = case.net.cast(Precision::F64);
    let expected = wide
        .loss_gradients(&case.x.cast(Precision::F64), &head, &at, &rules)
        .unwrap();
    assert_near(
        "guided gradient",
        &found.gradients[0],
        &expected.gradients[0],
        1e-4,
    );
    let exact = case
        .net
        .loss_gradients(&case.x, &head, &at, &Rules::exact())
        .unwrap();
    assert!(distance(&exact.gradients[0], &found.gradients[0]) > 1e-2);
}
