//! The executor against closed forms: toy networks, batches against single images, one thread
//! against two, backward rules, grafting, statistics of training, heads, and what is answered with
//! an error.

use fgmf_net::head::{CrossEntropy, Head, Logit, Margin, runner_up};
use fgmf_net::op::{
    AveragePool, BatchNorm, Binary, Conv, Flatten, Gemm, GlobalAveragePool, MatMul, MaxPool, Op,
    Reshape, Split, Unary, Window,
};
use fgmf_net::rule::{BackwardRule, Gate, Guided, OnlyInput, StraightThrough};
use fgmf_net::{Builder, Dual, Error, Mode, Network, Precision, Rules, Session, Tensor, ValueId};
use fgmf_testkit::finite::{self, assert_close, uniform, uniform_tensor};
use fgmf_testkit::toys::{linear, quadratic};
use std::collections::HashMap;
use std::sync::Arc;

const IMAGE: [usize; 3] = [3, 8, 8];

fn images(seed: u64, n: usize, [c, h, w]: [usize; 3]) -> Tensor {
    uniform_tensor(seed, &[n, c, h, w], 0.0, 1.0)
}

/// A trainable parameter of random values.
fn random(b: &mut Builder, name: &str, shape: &[usize]) -> ValueId {
    let seed = name
        .bytes()
        .fold(7, |s: u64, c| s.wrapping_mul(31).wrapping_add(u64::from(c)));
    let scale = 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt();
    b.parameter(name, uniform_tensor(seed, shape, -scale, scale), true)
        .unwrap()
}

fn add(b: &mut Builder, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
    b.node(name, op, inputs).unwrap()
}

fn relu() -> Op {
    Op::Unary(Unary::Relu)
}

/// The first half of [`cnn`]: convolution, batch normalisation, ReLU, max pooling; `[n, 3, 8, 8]`
/// to `[n, 6, 4, 4]`.
fn features(b: &mut Builder, x: ValueId) -> ValueId {
    let (w, c) = (
        random(b, "conv1.weight", &[6, 3, 3, 3]),
        random(b, "conv1.bias", &[6]),
    );
    let y = add(
        b,
        "conv1",
        Op::Conv(Conv {
            pads: [1; 4],
            ..Conv::default()
        }),
        &[x, w, c],
    );
    let of = |b: &mut Builder, name: &str, low: f64, high: f64, trainable| {
        b.parameter(name, uniform_tensor(11, &[6], low, high), trainable)
            .unwrap()
    };
    let scale = of(b, "norm.scale", 0.5, 1.5, true);
    let bias = of(b, "norm.bias", -0.2, 0.2, true);
    let mean = of(b, "norm.mean", -0.1, 0.1, false);
    let variance = of(b, "norm.variance", 0.5, 1.5, false);
    let y = add(
        b,
        "norm",
        Op::BatchNorm(BatchNorm {
            epsilon: 1e-5,
            momentum: 0.9,
        }),
        &[y, scale, bias, mean, variance],
    );
    let y = add(b, "relu", relu(), &[y]);
    add(b, "pool", Op::MaxPool(MaxPool(Window::square(2))), &[y])
}

/// The second half: a depthwise and a strided convolution, average pooling, two dense layers;
/// `[n, 6, 4, 4]` to `[n, 5]`.
fn classifier(b: &mut Builder, x: ValueId) -> ValueId {
    let w = random(b, "depthwise.weight", &[6, 1, 3, 3]);
    let y = add(
        b,
        "depthwise",
        Op::Conv(Conv {
            pads: [1; 4],
            groups: 6,
            ..Conv::default()
        }),
        &[x, w],
    );
    let y = add(b, "gelu", Op::Unary(Unary::Gelu), &[y]);
    let w = random(b, "conv2.weight", &[8, 6, 3, 3]);
    let y = add(
        b,
        "conv2",
        Op::Conv(Conv {
            pads: [1; 4],
            stride: [2, 2],
            ..Conv::default()
        }),
        &[y, w],
    );
    let y = add(
        b,
        "average",
        Op::AveragePool(AveragePool {
            window: Window::square(2),
            count_include_pad: true,
        }),
        &[y],
    );
    let y = add(b, "flat", Op::Flatten(Flatten { axis: 1 }), &[y]);
    let (w, c) = (
        random(b, "dense1.weight", &[37, 8]),
        random(b, "dense1.bias", &[37]),
    );
    let y = add(b, "dense1", Op::Gemm(Gemm::DENSE), &[y, w, c]);
    let y = add(b, "tanh", Op::Unary(Unary::Tanh), &[y]);
    let (w, c) = (
        random(b, "dense2.weight", &[5, 37]),
        random(b, "dense2.bias", &[5]),
    );
    add(b, "dense2", Op::Gemm(Gemm::DENSE), &[y, w, c])
}

/// A small network with every kind of layer that has a summation order of its own.
fn cnn() -> Session {
    let mut b = Builder::new("cnn", "input", IMAGE).unwrap();
    let x = b.input();
    let y = features(&mut b, x);
    let z = classifier(&mut b, y);
    Session::new(b.finish(z).unwrap())
}

/// [`classifier`] by itself, with the very parameters it has in [`cnn`].
fn tail() -> Session {
    let mut b = Builder::new("tail", "input", [6, 4, 4]).unwrap();
    let x = b.input();
    let z = classifier(&mut b, x);
    Session::new(b.finish(z).unwrap())
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_f32().iter().map(|v| v.to_bits()).collect()
}

fn gradient(net: &Session, x: &Tensor, head: &dyn Head, rules: &Rules) -> Tensor {
    net.loss_gradients(x, head, &[net.input()], rules)
        .unwrap()
        .gradients
        .swap_remove(0)
}

#[test]
fn the_gradient_of_a_linear_network_is_its_weight() {
    let weights: Vec<Vec<f64>> = (0..3).map(|k| uniform(k, 12, -1.0, 1.0)).collect();
    let net = linear(&weights, &[0.5, -0.5, 0.0], [3, 2, 2]);
    let (x, v) = (images(1, 4, [3, 2, 2]), images(2, 4, [3, 2, 2]));
    let classes = [2, 0, 1, 1];
    let found = net
        .loss_gradients(&x, &Logit::new(&classes), &[net.input()], &Rules::exact())
        .unwrap();
    let expected: Vec<f64> = classes.iter().flat_map(|&c| weights[c].clone()).collect();
    assert_eq!(found.gradients[0].to_f64(), expected);
    assert_eq!(found.values[0].to_f64(), x.to_f64());
    let (gradient, hv) = net.hvp(&x, &Logit::new(&classes), &v).unwrap();
    assert_eq!(gradient.to_f64(), expected);
    assert_eq!(hv.to_f64(), vec![0.0; 48]);
}

#[test]
fn the_hessian_of_a_quadratic_network_is_its_matrix() {
    // Whole numbers, so that every sum is exact.
    let whole = |seed, n| {
        uniform(seed, n, -8.0, 8.0)
            .into_iter()
            .map(f64::round)
            .collect::<Vec<f64>>()
    };
    let (d, n) = (12, 3);
    let (matrix, x, v) = (whole(1, d * d), whole(2, n * d), whole(3, n * d));
    let net = quadratic(&matrix, 5.0, [3, 2, 2]);
    let batch = |values: &[f64]| Tensor::new(&[n, 3, 2, 2], values.to_vec());
    let symmetric = |u: &[f64]| -> Vec<f64> {
        let row = |u: &[f64], i: usize| {
            (0..d)
                .map(|j| (matrix[i * d + j] + matrix[j * d + i]) * u[j])
                .sum()
        };
        u.chunks_exact(d)
            .flat_map(|u| (0..d).map(|i| row(u, i)).collect::<Vec<f64>>())
            .collect()
    };
    let (gradient, hv) = net
        .hvp(&batch(&x), &Logit::new(&[0; 3]), &batch(&v))
        .unwrap();
    assert_eq!(gradient.to_f64(), symmetric(&x));
    assert_eq!(hv.to_f64(), symmetric(&v));

    let logits = net.logits(&batch(&x)).unwrap().to_f64();
    let forms: Vec<f64> = x
        .chunks_exact(d)
        .map(|x| {
            (0..d)
                .flat_map(|i| (0..d).map(move |j| (i, j)))
                .map(|(i, j)| x[i] * matrix[i * d + j] * x[j])
                .sum()
        })
        .collect();
    assert_eq!(
        logits,
        [
            forms[0] + 5.0,
            0.0,
            forms[1] + 5.0,
            0.0,
            forms[2] + 5.0,
            0.0
        ]
    );
    let jv = net.jvp(&batch(&x), &batch(&v)).unwrap().to_f64();
    let slopes: Vec<f64> = symmetric(&x)
        .chunks_exact(d)
        .zip(v.chunks_exact(d))
        .map(|(g, v)| g.iter().zip(v).map(|(g, v)| g * v).sum())
        .collect();
    assert_eq!(jv, [slopes[0], 0.0, slopes[1], 0.0, slopes[2], 0.0]);
}

#[test]
fn a_batch_gives_the_bits_of_its_images() {
    let net = cnn().cast(Precision::F32);
    let n = 37;
    let x = images(3, n, IMAGE).cast(Precision::F32);
    let labels: Vec<usize> = (0..n).map(|i| i % 5).collect();
    let at = [net.input(), net.find("pool").unwrap()];
    let whole = net
        .loss_gradients(&x, &CrossEntropy::labels(&labels), &at, &Rules::exact())
        .unwrap();
    let v = images(4, n, IMAGE).cast(Precision::F32);
    let (_, products) = net.hvp(&x, &CrossEntropy::labels(&labels), &v).unwrap();
    for i in 0..n {
        let head = CrossEntropy::labels(&labels[i..=i]);
        let one = net
            .loss_gradients(&x.rows(i, 1), &head, &at, &Rules::exact())
            .unwrap();
        assert_eq!(
            bits(&one.logits),
            bits(&whole.logits.rows(i, 1)),
            "logits of image {i}"
        );
        assert_eq!(
            one.losses[0].to_bits(),
            whole.losses[i].to_bits(),
            "loss of image {i}"
        );
        for (one, whole) in one.gradients.iter().zip(&whole.gradients) {
            assert_eq!(bits(one), bits(&whole.rows(i, 1)), "gradient of image {i}");
        }
        let (_, product) = net.hvp(&x.rows(i, 1), &head, &v.rows(i, 1)).unwrap();
        assert_eq!(
            bits(&product),
            bits(&products.rows(i, 1)),
            "Hessian-vector product of image {i}"
        );
    }
}

/// Two dense layers `d` → `hidden` → 3, the first one through MatMul over tokens if `tokens` > 1.
fn dense(tokens: usize, d: usize, hidden: usize) -> Session {
    let mut b = Builder::new("dense", "input", [1, tokens, d]).unwrap();
    let x = b.input();
    let w = random(&mut b, "first.weight", &[d, hidden]);
    let y = add(&mut b, "first", Op::MatMul(MatMul), &[x, w]);
    let y = add(&mut b, "tanh", Op::Unary(Unary::Tanh), &[y]);
    let y = add(&mut b, "flat", Op::Flatten(Flatten { axis: 1 }), &[y]);
    let w = random(&mut b, "second.weight", &[3, tokens * hidden]);
    let z = add(&mut b, "second", Op::Gemm(Gemm::DENSE), &[y, w]);
    Session::new(b.finish(z).unwrap())
}

#[test]
fn a_batch_of_dense_rows_gives_the_bits_of_its_rows() {
    for (tokens, d, hidden) in [
        (1, 1, 1),
        (1, 3, 2),
        (1, 784, 1),
        (1, 784, 128),
        (1, 300, 513),
        (1, 1025, 17),
        (5, 64, 64),
        (17, 48, 192),
        (2, 513, 3),
    ] {
        let net = dense(tokens, d, hidden).cast(Precision::F32);
        for n in [2, 3, 7, 32] {
            let x = images(n as u64, n, [1, tokens, d]).cast(Precision::F32);
            let logits = net.logits(&x).unwrap();
            let slopes = gradient(&net, &x, &Logit::new(&vec![1; n]), &Rules::exact());
            for i in [0, n / 2, n - 1] {
                let one = x.rows(i, 1);
                let context = format!("row {i} of {n}, {tokens} tokens of {d} to {hidden}");
                assert_eq!(
                    bits(&net.logits(&one).unwrap()),
                    bits(&logits.rows(i, 1)),
                    "logits, {context}"
                );
                assert_eq!(
                    bits(&gradient(&net, &one, &Logit::new(&[1]), &Rules::exact())),
                    bits(&slopes.rows(i, 1)),
                    "gradient, {context}"
                );
            }
        }
    }
}

#[test]
fn two_threads_give_the_bits_of_one() {
    let net = cnn().cast(Precision::F32);
    let n = 71;
    let (x, v) = (
        images(5, n, IMAGE).cast(Precision::F32),
        images(6, n, IMAGE).cast(Precision::F32),
    );
    let head = CrossEntropy::labels(&(0..n).map(|i| i % 5).collect::<Vec<_>>());
    let run = || {
        let mut all = vec![
            net.logits(&x).unwrap(),
            net.jvp(&x, &v).unwrap(),
            gradient(&net, &x, &head, &Rules::exact()),
        ];
        let (gradient, product) = net.hvp(&x, &head, &v).unwrap();
        all.extend([gradient, product]);
        for mode in [Mode::Evaluate, Mode::Train] {
            let step = net.parameter_gradients(&x, &head, mode).unwrap();
            all.push(step.logits);
            all.extend(step.gradients);
            all.extend(
                step.statistics
                    .into_iter()
                    .flat_map(|(_, mean, variance)| [mean, variance]),
            );
            all.push(Tensor::new(&[n], step.losses));
        }
        all.iter()
            .map(|t| t.to_f64().into_iter().map(f64::to_bits).collect())
            .collect::<Vec<Vec<u64>>>()
    };
    let on = |threads: usize| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(run)
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(3));
}

#[test]
fn gradients_of_values_inside_the_network() {
    let (net, tail) = (cnn(), tail());
    let (x, head) = (images(7, 2, IMAGE), CrossEntropy::labels(&[1, 4]));
    let ids = ["pool", "conv2", "dense2"].map(|name| net.find(name).unwrap());
    let found = net
        .loss_gradients(&x, &head, &ids, &Rules::exact())
        .unwrap();
    let loss = |z: &Tensor| head.evaluate(&z.clone().into(), 0..2).0.iter().sum::<f64>();

    // Of the features: the rest of the network is a network of its own.
    let by_difference = finite::gradient(|f| loss(&tail.logits(f).unwrap()), &found.values[0]);
    assert_close(&found.gradients[0], &by_difference, 1e-6, 1e-9, "pool");
    assert_close(
        &found.gradients[2],
        &finite::gradient(loss, &found.values[2]),
        1e-6,
        1e-9,
        "logits",
    );
    // Of a value further on: moved by a parameter that is added to it.
    let moved = |d: &Tensor| loss(&with_addition(&net, "conv2", d).logits(&x).unwrap());
    let per_channel = finite::gradient(moved, &Tensor::full(&[8, 2, 2], 0.0, Precision::F64));
    assert_close(
        &found.gradients[1].sum(&[0]).reshape(&[8, 2, 2]),
        &per_channel,
        1e-6,
        1e-9,
        "conv2",
    );
    assert_eq!(found.logits.to_f64(), net.logits(&x).unwrap().to_f64());
    assert_eq!(found.values[2].to_f64(), found.logits.to_f64());
}

/// `net` once more, with `delta` added to one of its values.
fn with_addition(net: &Network, at: &str, delta: &Tensor) -> Session {
    let mut b = Builder::new("moved", "input", net.image_shape()).unwrap();
    let delta = b.parameter("delta", delta.clone(), false).unwrap();
    let mut ids = HashMap::from([(net.input(), b.input())]);
    for value in net.values() {
        let id = net.find(&value.name).unwrap();
        if let Some(parameter) = net.parameter(id) {
            ids.insert(
                id,
                b.parameter(&value.name, parameter.clone(), true).unwrap(),
            );
        }
    }
    for node in net.nodes() {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|id| ids[id]).collect();
        let mut y = add(&mut b, &node.name, node.op.clone(), &inputs);
        if node.name == at {
            y = add(&mut b, "moved", Op::Binary(Binary::Add), &[y, delta]);
        }
        ids.insert(node.outputs[0], y);
    }
    Session::new(b.finish(ids[&net.output()]).unwrap())
}

/// x · m(x) with the mask m = sigmoid(x), as logits; the node of the product and of the mask.
fn masked() -> (Session, usize, usize) {
    let mut b = Builder::new("masked", "input", [1, 1, 4]).unwrap();
    let x = b.input();
    let mask = add(&mut b, "mask", Op::Unary(Unary::Sigmoid), &[x]);
    let y = add(&mut b, "product", Op::Binary(Binary::Mul), &[x, mask]);
    let z = add(&mut b, "logits", Op::Flatten(Flatten { axis: 1 }), &[y]);
    let net = b.finish(z).unwrap();
    let node = |name: &str| net.producer(net.find(name).unwrap()).unwrap();
    (Session::new(net.clone()), node("product"), node("mask"))
}

fn with_rule(node: usize, rule: impl BackwardRule + 'static) -> Rules {
    let mut rules = Rules::exact();
    rules.set(node, Arc::new(rule));
    rules
}

/// Gradient of z · g for one image.
fn pulled(net: &Session, x: &Tensor, g: &[f64], rules: &Rules) -> Vec<f64> {
    let tape = net.forward(&x.clone().into(), Mode::Evaluate).unwrap();
    let cotangent = Tensor::new(&[1, g.len()], g.to_vec()).into();
    net.backward(
        &tape,
        vec![(net.output(), cotangent)],
        &[net.input()],
        rules,
    )
    .unwrap()[0]
        .value
        .to_f64()
}

#[test]
fn backward_rules_do_what_they_say() {
    let (net, product, mask) = masked();
    let x = Tensor::new(&[1, 1, 1, 4], vec![-1.5, -0.25, 0.5, 2.0]);
    let g = [1.0, -2.0, 3.0, 0.5];
    let (xs, m) = (
        x.to_f64(),
        x.to_f64()
            .iter()
            .map(|x| 1.0 / (1.0 + (-x).exp()))
            .collect::<Vec<f64>>(),
    );
    let each = |f: &dyn Fn(usize) -> f64| (0..4).map(f).collect::<Vec<f64>>();
    let slope = |i: usize| m[i] * (1.0 - m[i]);
    let close = |rules: &Rules, expected: Vec<f64>, context: &str| {
        let found = Tensor::new(&[4], pulled(&net, &x, &g, rules));
        assert_close(&found, &Tensor::new(&[4], expected), 1e-14, 1e-15, context);
    };
    let through_x = |i: usize| g[i] * m[i];
    let through_mask = |i: usize| g[i] * xs[i] * slope(i);
    close(
        &Rules::exact(),
        each(&|i| through_x(i) + through_mask(i)),
        "exact",
    );
    close(
        &with_rule(product, OnlyInput(0)),
        each(&through_x),
        "frozen mask",
    );
    close(
        &with_rule(product, OnlyInput(1)),
        each(&through_mask),
        "frozen image",
    );
    close(
        &with_rule(product, OnlyInput(2)),
        each(&|_| 0.0),
        "no such input",
    );
    close(
        &with_rule(product, StraightThrough(0)),
        g.to_vec(),
        "straight through to the image",
    );
    close(
        &with_rule(product, StraightThrough(1)),
        each(&|i| g[i] * slope(i)),
        "straight through to the mask",
    );
    close(
        &with_rule(mask, StraightThrough(0)),
        each(&|i| through_x(i) + g[i] * xs[i]),
        "straight through the mask",
    );
    for (scale, offset) in [(0.0, 1.0), (-0.5, 1.0), (-1.0, 1.0), (2.0, -0.5)] {
        let gated = |i: usize| scale * m[i] + offset;
        let gate = Gate {
            input: 0,
            gate: 1,
            scale,
            offset,
        };
        close(
            &with_rule(product, gate),
            each(&|i| through_x(i) * gated(i) + through_mask(i)),
            "gate on the image",
        );
        let gate = Gate {
            input: 1,
            gate: 1,
            scale,
            offset,
        };
        close(
            &with_rule(product, gate),
            each(&|i| through_x(i) + through_mask(i) * gated(i)),
            "gate on the mask itself",
        );
    }
    // Rules change gradients, never values.
    let found = net
        .loss_gradients(
            &x,
            &Logit::new(&[0]),
            &[net.input()],
            &with_rule(product, StraightThrough(0)),
        )
        .unwrap();
    assert_eq!(found.logits.to_f64(), net.logits(&x).unwrap().to_f64());
}

#[test]
fn straight_through_gives_nothing_to_another_shape() {
    let mut b = Builder::new("resized", "input", [1, 2, 2]).unwrap();
    let x = b.input();
    let pooled = add(
        &mut b,
        "pooled",
        Op::GlobalAveragePool(GlobalAveragePool),
        &[x],
    );
    let y = add(&mut b, "sum", Op::Binary(Binary::Add), &[x, pooled]);
    let z = add(&mut b, "logits", Op::Flatten(Flatten { axis: 1 }), &[y]);
    let net = Session::new(b.finish(z).unwrap());
    let (pooled, x) = (
        net.producer(pooled).unwrap(),
        Tensor::new(&[1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]),
    );
    assert_eq!(pulled(&net, &x, &[1.0; 4], &Rules::exact()), [2.0; 4]);
    assert_eq!(
        pulled(&net, &x, &[1.0; 4], &with_rule(pooled, StraightThrough(0))),
        [1.0; 4]
    );
}

#[test]
fn guided_backpropagation_drops_negative_cotangents_too() {
    let mut b = Builder::new("rectified", "input", [1, 1, 4]).unwrap();
    let x = b.input();
    let y = add(&mut b, "relu", relu(), &[x]);
    let z = add(&mut b, "logits", Op::Flatten(Flatten { axis: 1 }), &[y]);
    let net = Session::new(b.finish(z).unwrap());
    let x = Tensor::new(&[1, 1, 1, 4], vec![-1.0, 2.0, -3.0, 4.0]);
    let g = [1.0, 1.5, -1.0, -2.5];
    assert_eq!(pulled(&net, &x, &g, &Rules::exact()), [0.0, 1.5, 0.0, -2.5]);
    assert_eq!(
        pulled(&net, &x, &g, &with_rule(0, Guided)),
        [0.0, 1.5, 0.0, 0.0]
    );
}

#[test]
fn grafting_is_composition() {
    let net = cnn();
    // A first layer x · a + x², with names that the network has too.
    let front = |b: &mut Builder| {
        let x = b.input();
        let a = b
            .parameter(
                "conv1.weight",
                uniform_tensor(8, &[3, 1, 1], 0.5, 1.5),
                true,
            )
            .unwrap();
        let scaled = add(b, "relu", Op::Binary(Binary::Mul), &[x, a]);
        let square = add(b, "square", Op::Binary(Binary::Mul), &[x, x]);
        add(b, "front", Op::Binary(Binary::Add), &[scaled, square])
    };
    let mut b = Builder::new("grafted", "input", IMAGE).unwrap();
    let y = front(&mut b);
    let z = net.graft(&mut b, y).unwrap();
    let both = Session::new(b.finish(z).unwrap());

    let x = images(9, 3, IMAGE);
    let y = both
        .values_at(&x, &[both.find("front").unwrap()])
        .unwrap()
        .swap_remove(0);
    assert_eq!(
        both.logits(&x).unwrap().to_f64(),
        net.logits(&y).unwrap().to_f64()
    );
    let head = Margin::new(&[0, 1, 2]);
    let found = both
        .loss_gradients(
            &x,
            &head,
            &[both.find("front").unwrap(), both.input()],
            &Rules::exact(),
        )
        .unwrap();
    let inner = gradient(&net, &y, &head, &Rules::exact());
    assert_eq!(found.gradients[0].to_f64(), inner.to_f64());
    let a = both.parameter(both.find("conv1.weight").unwrap()).unwrap();
    let chain = inner.mul(&x.affine(2.0, 0.0).add(a));
    assert_close(&found.gradients[1], &chain, 1e-13, 1e-15, "chain rule");
    assert_eq!(both.trainable().len(), net.trainable().len() + 1);
    assert_eq!(both.nodes().len(), net.nodes().len() + 3);
}

/// Mean and unbiased variance of each channel of `[n, c, h, w]`, by the definition.
fn naive_statistics(x: &Tensor) -> (Vec<f64>, Vec<f64>) {
    let (shape, values) = (x.shape().to_vec(), x.to_f64());
    let (n, c, area) = (shape[0], shape[1], shape[2] * shape[3]);
    let channel = |k: usize| {
        (0..n)
            .flat_map(|i| values[(i * c + k) * area..(i * c + k + 1) * area].to_vec())
            .collect::<Vec<f64>>()
    };
    let of = |v: Vec<f64>| {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        (
            mean,
            v.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (v.len() - 1) as f64,
        )
    };
    (0..c).map(|k| of(channel(k))).unzip()
}

#[test]
fn training_reports_the_statistics_of_the_batch() {
    let net = cnn();
    let n = 40;
    let x = images(10, n, IMAGE);
    let head = CrossEntropy::labels(&vec![0; n]);
    let step = net.parameter_gradients(&x, &head, Mode::Train).unwrap();
    let normalised = net
        .values_at(&x, &[net.find("conv1").unwrap()])
        .unwrap()
        .swap_remove(0);
    // Chunks of 32 and 8, weighted by their sizes.
    let (first, second) = (
        naive_statistics(&normalised.rows(0, 32)),
        naive_statistics(&normalised.rows(32, 8)),
    );
    let average = |a: &[f64], b: &[f64]| {
        Tensor::new(
            &[6],
            a.iter()
                .zip(b)
                .map(|(a, b)| 0.8 * a + 0.2 * b)
                .collect::<Vec<_>>(),
        )
    };
    let [(node, mean, variance)] = step.statistics.as_slice() else {
        panic!("one node normalises")
    };
    assert_eq!(net.nodes()[*node].name, "norm");
    assert_close(mean, &average(&first.0, &second.0), 1e-12, 1e-14, "mean");
    assert_close(
        variance,
        &average(&first.1, &second.1),
        1e-12,
        1e-14,
        "variance",
    );
    assert_eq!(step.losses.len(), n);
    assert!(
        net.parameter_gradients(&x, &head, Mode::Evaluate)
            .unwrap()
            .statistics
            .is_empty()
    );
}

#[test]
fn parameter_gradients_are_those_of_the_mean_loss() {
    let net = cnn();
    let (x, n) = (images(11, 35, IMAGE), 35);
    let head = CrossEntropy::labels(&(0..n).map(|i| i % 5).collect::<Vec<_>>());
    for mode in [Mode::Evaluate, Mode::Train] {
        let step = net.parameter_gradients(&x, &head, mode).unwrap();
        assert_eq!(step.gradients.len(), net.trainable().len());
        for (id, g) in net.trainable().into_iter().zip(&step.gradients) {
            // Along one direction of each parameter.
            let parameter = net.parameter(id).unwrap();
            let v = uniform_tensor(12, parameter.shape(), -1.0, 1.0);
            let loss = |p: &Tensor| {
                let mut moved = net.clone();
                moved.set_parameter(id, p.clone()).unwrap();
                let losses = moved.parameter_gradients(&x, &head, mode).unwrap().losses;
                Tensor::new(&[1], vec![losses.iter().sum::<f64>() / n as f64])
            };
            let slope = finite::jvp(loss, parameter, &v).item();
            // ReLU and pooling have kinks within a step of some example, so this is coarser than
            // the operators' own tests.
            assert!(
                (g.dot(&v) - slope).abs() < 1e-5 * slope.abs().max(0.1),
                "{} in {mode:?}: {} and {slope}",
                net.value(id).name,
                g.dot(&v)
            );
        }
    }
}

/// The same parameter gradients, to the bit, and beside them those in the images.
#[test]
fn image_gradients_come_with_parameter_gradients() {
    let net = Session::new(cnn().into_network().cast(Precision::F32));
    let (x, n) = (images(11, 37, IMAGE).cast(Precision::F32), 37);
    let head = CrossEntropy::labels(&(0..n).map(|i| i % 5).collect::<Vec<_>>());
    let plain = net.parameter_gradients(&x, &head, Mode::Evaluate).unwrap();
    let found = net.parameter_and_image_gradients(&x, &head, Mode::Evaluate);
    let (both, at) = found.unwrap();
    assert_eq!(both.losses, plain.losses);
    assert_eq!(both.gradients.len(), plain.gradients.len());
    for (a, b) in both.gradients.iter().zip(&plain.gradients) {
        assert_eq!(a.to_f32(), b.to_f32());
    }
    let alone = net.loss_gradients(&x, &head, &[net.input()], &Rules::exact());
    let alone = alone.unwrap().gradients[0].to_f32();
    assert_eq!(at.shape(), x.shape());
    for (a, b) in at.to_f32().iter().zip(alone) {
        assert!((a * n as f32 - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn cotangents_of_heads_are_the_derivatives_of_their_losses() {
    let (n, k) = (4, 5);
    let z = uniform_tensor(13, &[n, k], -3.0, 3.0);
    let labels = [0, 3, 4, 2];
    let soft = uniform_tensor(14, &[n, k], 0.1, 1.0);
    let soft = soft.div(&soft.sum(&[1]));
    let heads: [(&str, Box<dyn Head>); 4] = [
        ("labels", Box::new(CrossEntropy::labels(&labels))),
        ("soft", Box::new(CrossEntropy::soft(soft.clone()))),
        ("logit", Box::new(Logit::new(&labels))),
        ("margin", Box::new(Margin::new(&labels))),
    ];
    let v = uniform_tensor(15, &[n, k], -1.0, 1.0);
    for (name, head) in &heads {
        let total = |z: &Tensor| head.evaluate(&z.clone().into(), 0..n).0.iter().sum::<f64>();
        let cotangent = |z: &Tensor| head.evaluate(&z.clone().into(), 0..n).1.value;
        assert_close(
            &cotangent(&z),
            &finite::gradient(total, &z),
            1e-7,
            1e-9,
            name,
        );
        let curved = head
            .evaluate(&Dual::new(z.clone(), v.clone()), 0..n)
            .1
            .tangent_or_zeros();
        assert_close(&curved, &finite::hvp(cotangent, &z, &v), 1e-7, 1e-9, name);
        // Rows of the middle of a batch are judged by their own targets.
        let (losses, all) = head.evaluate(&z.clone().into(), 0..n);
        let (part, some) = head.evaluate(&z.rows(1, 2).into(), 1..3);
        assert_eq!(part, losses[1..3], "{name}");
        assert_eq!(some.value.to_f64(), all.value.rows(1, 2).to_f64(), "{name}");
    }
    // By the formulas.
    let (values, one_hot) = (z.to_f64(), |i: usize| {
        (0..k)
            .map(|j| if j == labels[i] { 1.0 } else { 0.0 })
            .collect::<Vec<f64>>()
    });
    let cross_entropy = |i: usize, t: &[f64]| {
        let row = &values[i * k..(i + 1) * k];
        let total = row.iter().map(|v| v.exp()).sum::<f64>().ln();
        row.iter()
            .zip(t)
            .map(|(v, t)| -t * (v - total))
            .sum::<f64>()
    };
    let soft = soft.to_f64();
    for i in 0..n {
        let row = &values[i * k..(i + 1) * k];
        let losses: Vec<f64> = heads
            .iter()
            .map(|(_, h)| h.evaluate(&z.clone().into(), 0..n).0[i])
            .collect();
        let other = (0..k)
            .filter(|&j| j != labels[i])
            .map(|j| row[j])
            .fold(f64::NEG_INFINITY, f64::max);
        let expected = vec![
            cross_entropy(i, &one_hot(i)),
            cross_entropy(i, &soft[i * k..(i + 1) * k]),
            row[labels[i]],
            other - row[labels[i]],
        ];
        assert_close(
            &Tensor::new(&[4], losses),
            &Tensor::new(&[4], expected),
            1e-13,
            1e-14,
            "formula",
        );
    }
}

#[test]
fn heads_stay_finite_and_break_ties_to_the_first() {
    for precision in [Precision::F32, Precision::F64] {
        let z: Dual = Tensor::new(&[2, 3], vec![1e4, -1e4, 0.0, -1e30, 1e30, 1e30])
            .cast(precision)
            .into();
        let (losses, g) = CrossEntropy::labels(&[1, 1]).evaluate(&z, 0..2);
        assert!(
            (losses[0] - 2e4).abs() < 1e-2 && (losses[1] - 2f64.ln()).abs() < 1e-6,
            "{losses:?}"
        );
        assert_eq!(g.value.rows(0, 1).to_f64(), [1.0, -1.0, 0.0]);
        assert!(g.value.is_finite());
    }
    assert_eq!(
        [
            runner_up(&[1.0, 1.0, 1.0], 0),
            runner_up(&[1.0, 1.0, 1.0], 1),
            runner_up(&[0.0, 2.0, 2.0], 0)
        ],
        [1, 0, 1]
    );
    let (losses, g) =
        Margin::new(&[0]).evaluate(&Tensor::new(&[1, 3], vec![1.0, 4.0, 4.0]).into(), 0..1);
    assert_eq!(
        (losses, g.value.to_f64()),
        (vec![3.0], vec![-1.0, 1.0, 0.0])
    );
}

#[test]
fn what_the_loss_does_not_depend_on_has_no_gradient() {
    let mut b = Builder::new("aside", "input", [1, 1, 4]).unwrap();
    let x = b.input();
    let unused = b
        .parameter("unused", Tensor::new(&[2], vec![1.0, 2.0]), true)
        .unwrap();
    let pieces = b
        .nodes(
            "split",
            Op::Split(Split {
                axis: 3,
                sizes: vec![2, 2],
            }),
            &[x],
            &["left".to_owned(), "right".to_owned()],
        )
        .unwrap();
    let aside = add(
        &mut b,
        "aside",
        Op::Binary(Binary::Mul),
        &[pieces[0], unused],
    );
    let z = add(
        &mut b,
        "logits",
        Op::Reshape(Reshape { shape: vec![0, 2] }),
        &[pieces[1]],
    );
    let net = Session::new(b.finish(z).unwrap());
    let x = Tensor::new(&[1, 1, 1, 4], vec![1.0, 2.0, 3.0, 4.0]);
    let tape = net.forward(&x.into(), Mode::Evaluate).unwrap();
    let wanted = [
        unused,
        aside,
        pieces[0],
        pieces[1],
        net.output(),
        net.input(),
    ];
    let ones = Tensor::full(&[1, 2], 1.0, Precision::F64);
    let found = net
        .backward(
            &tape,
            vec![(net.output(), ones.clone().into())],
            &wanted,
            &Rules::exact(),
        )
        .unwrap();
    let found: Vec<Vec<f64>> = found.iter().map(|g| g.value.to_f64()).collect();
    assert_eq!(
        found,
        [
            vec![0.0; 2],
            vec![0.0; 2],
            vec![0.0; 2],
            vec![1.0; 2],
            vec![1.0; 2],
            vec![0.0, 0.0, 1.0, 1.0]
        ]
    );

    // Cotangents of several values, one of them twice, add up.
    let both = vec![
        (net.output(), ones.clone().into()),
        (net.output(), ones.affine(2.0, 0.0).into()),
        (
            aside,
            Tensor::full(&[1, 1, 1, 2], 1.0, Precision::F64).into(),
        ),
    ];
    let found = net
        .backward(&tape, both, &[net.input(), unused], &Rules::exact())
        .unwrap();
    assert_eq!(found[0].value.to_f64(), [1.0, 2.0, 3.0, 3.0]);
    assert_eq!(found[1].value.to_f64(), [1.0, 2.0]);
}

#[test]
fn arrays_that_do_not_fit_are_errors() {
    let net = cnn();
    let head = CrossEntropy::labels(&[0, 0]);
    let good = images(16, 2, IMAGE);
    let bad = [
        &[0, 3, 8, 8][..],
        &[2, 3, 8, 7],
        &[2, 8, 8, 3],
        &[3, 8, 8],
        &[2, 192],
        &[2, 3, 8, 8, 1],
        &[],
    ];
    let is_call = |outcome: Result<(), Error>, context: &str| match outcome {
        Err(Error::Call {
            expected, found, ..
        }) => assert!(!expected.is_empty() && !found.is_empty()),
        other => panic!("{context}: expected an error of the call, found {other:?}"),
    };
    for shape in bad {
        let x = Tensor::full(shape, 0.5, Precision::F64);
        let context = format!("{shape:?}");
        is_call(
            net.forward(&x.clone().into(), Mode::Evaluate).map(drop),
            &context,
        );
        is_call(net.logits(&x).map(drop), &context);
        is_call(net.values_at(&x, &[net.output()]).map(drop), &context);
        is_call(
            net.loss_gradients(&x, &head, &[net.input()], &Rules::exact())
                .map(drop),
            &context,
        );
        is_call(net.jvp(&x, &x).map(drop), &context);
        is_call(net.jvp(&good, &x).map(drop), &context);
        is_call(net.hvp(&x, &head, &x).map(drop), &context);
        is_call(net.hvp(&good, &head, &x).map(drop), &context);
        is_call(
            net.parameter_gradients(&x, &head, Mode::Train).map(drop),
            &context,
        );
    }
    is_call(
        net.jvp(&good, &good.cast(Precision::F32)).map(drop),
        "precision of the direction",
    );
    let tape = net.forward(&good.clone().into(), Mode::Evaluate).unwrap();
    let wrong = Tensor::full(&[2, 4], 1.0, Precision::F64).into();
    is_call(
        net.backward(
            &tape,
            vec![(net.output(), wrong)],
            &[net.input()],
            &Rules::exact(),
        )
        .map(drop),
        "cotangent",
    );

    let mut net = cnn();
    let weight = net.find("conv1.weight").unwrap();
    is_call(
        net.set_parameter(weight, Tensor::full(&[6, 3, 3, 2], 0.0, Precision::F64)),
        "shape of a parameter",
    );
    is_call(
        net.set_parameter(weight, Tensor::full(&[6, 3, 3, 3], 0.0, Precision::F32)),
        "precision of a parameter",
    );
    let logits = net.output();
    is_call(
        net.set_parameter(logits, Tensor::full(&[1, 5], 0.0, Precision::F64)),
        "not a parameter",
    );
}

#[test]
fn logits_need_a_batch_and_two_classes() {
    let finish = |op: Op| {
        let mut b = Builder::new("wrong", "input", [1, 1, 4]).unwrap();
        let x = b.input();
        let z = add(&mut b, "z", op, &[x]);
        b.finish(z).map(drop)
    };
    for shape in [vec![-1, 1], vec![-1, 2], vec![1, -1], vec![0, 1, 4]] {
        assert!(
            matches!(
                finish(Op::Reshape(Reshape {
                    shape: shape.clone()
                })),
                Err(Error::Graph(_))
            ),
            "{shape:?}"
        );
    }
    assert!(finish(Op::Reshape(Reshape { shape: vec![0, 4] })).is_ok());
    for image in [
        [0, 1, 1],
        [1, 0, 1],
        [usize::MAX, 2, 2],
        [1 << 20, 1 << 20, 1],
    ] {
        assert!(
            matches!(Builder::new("wrong", "input", image), Err(Error::Graph(_))),
            "{image:?}"
        );
    }
}
