//! Interval bounds against every corner and many points of small boxes, against double precision,
//! and their gradients against finite differences.

use fgmf_net::bound::IntervalBounds;
use fgmf_net::head::CrossEntropy;
use fgmf_net::op::{
    AveragePool, BatchNorm, Binary, Concat, Conv, ConvTranspose, Flatten, Gemm, GlobalAveragePool,
    MatMul, MaxPool, Op, Pad, Reduce, ReduceKind, Reshape, Resize, Slice, SliceAxis, Softmax,
    Split, Squeeze, Transpose, Unary, Unsqueeze, Window,
};
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Builder, Network, Precision, Session, Tensor, ValueId};
use fgmf_testkit::finite::{uniform, uniform_tensor};

const IMAGE: [usize; 3] = [2, 2, 2];

fn stored(b: &mut Builder, shape: &[usize]) -> ValueId {
    let seed = b.network().values().len() as u64;
    let name = b.fresh("w");
    b.parameter(&name, uniform_tensor(seed, shape, -1.0, 1.0), true)
        .unwrap()
}

fn node(b: &mut Builder, op: Op, inputs: &[ValueId]) -> ValueId {
    let name = b.fresh("v");
    b.node(&name, op, inputs).unwrap()
}

fn flat(b: &mut Builder, x: ValueId) -> ValueId {
    node(b, Op::Flatten(Flatten { axis: 1 }), &[x])
}

fn dense(b: &mut Builder, x: ValueId, sizes: [usize; 2]) -> ValueId {
    let (w, c) = (stored(b, &[sizes[1], sizes[0]]), stored(b, &[sizes[1]]));
    node(b, Op::Gemm(Gemm::DENSE), &[x, w, c])
}

/// A network of images of two channels of 2 x 2.
fn made(layers: impl FnOnce(&mut Builder, ValueId) -> ValueId) -> Network {
    let mut b = Builder::new("made", "image", IMAGE).unwrap();
    let x = b.input();
    let z = layers(&mut b, x);
    b.finish(z).unwrap()
}

/// Ends of `n` boxes around random images, cut to [0, 1].
fn boxes(image: [usize; 3], n: usize, eps: f64) -> [Tensor; 2] {
    let [c, h, w] = image;
    let x = uniform_tensor(3, &[n, c, h, w], 0.0, 1.0);
    let moved = |by: f64| {
        let values = x
            .to_f64()
            .iter()
            .map(|v| (v + by).clamp(0.0, 1.0))
            .collect();
        Tensor::new(x.shape(), values)
    };
    [moved(-eps), moved(eps)]
}

/// Corners and inner points of the box of one image, in rows.
fn points([lower, upper]: &[Tensor; 2]) -> Tensor {
    let (l, u) = (lower.to_f64(), upper.to_f64());
    let mut rows = Vec::new();
    let mut count = 0;
    let mut add = |share: &dyn Fn(usize) -> f64| {
        rows.extend((0..l.len()).map(|i| l[i] + share(i) * (u[i] - l[i])));
        count += 1;
    };
    if l.len() <= 8 {
        for corner in 0..1usize << l.len() {
            add(&|i| (corner >> i & 1) as f64);
        }
    }
    for seed in 0..40 {
        let draws = uniform(seed, l.len(), 0.0, 1.0);
        add(&|i| draws[i]);
        add(&|i| draws[i].round());
    }
    let mut shape = lower.shape().to_vec();
    shape[0] = count;
    Tensor::new(&shape, rows)
}

/// Smallest and largest logits over the points.
fn ranges(logits: &Tensor) -> [Vec<f64>; 2] {
    let k = logits.shape()[1];
    let values = logits.to_f64();
    [f64::min, f64::max].map(|pick| {
        let rows = values.chunks_exact(k).map(<[f64]>::to_vec);
        rows.reduce(|a, b| a.iter().zip(&b).map(|(a, b)| pick(*a, *b)).collect())
            .unwrap()
    })
}

fn slice(start: usize) -> Slice {
    Slice {
        axes: vec![SliceAxis {
            axis: 1,
            start,
            step: -1,
            count: start + 1,
        }],
    }
}

/// A network around each operator with a rule.
fn networks() -> Vec<(&'static str, Network)> {
    let mut all = Vec::new();
    for (name, unary) in [
        ("Relu", Unary::Relu),
        ("LeakyRelu", Unary::LeakyRelu { alpha: 0.2 }),
        ("Elu", Unary::Elu { alpha: 1.0 }),
        (
            "Clip",
            Unary::Clip {
                min: -0.3,
                max: 0.4,
            },
        ),
        ("Erf", Unary::Erf),
        ("Sigmoid", Unary::Sigmoid),
        ("Tanh", Unary::Tanh),
        ("Softplus", Unary::Softplus),
        (
            "HardSigmoid",
            Unary::HardSigmoid {
                alpha: 0.9,
                beta: 0.5,
            },
        ),
        ("Exp", Unary::Exp),
        ("Neg", Unary::Neg),
        ("Identity", Unary::Identity),
        ("Round", Unary::Round),
        ("Floor", Unary::Floor),
        ("Ceil", Unary::Ceil),
        (
            "Quantize",
            Unary::Quantize {
                scale: 0.1,
                min: -3.0,
                max: 5.0,
            },
        ),
    ] {
        let net = made(|b, x| {
            let x = flat(b, x);
            let x = dense(b, x, [8, 5]);
            let x = node(b, Op::Unary(unary), &[x]);
            dense(b, x, [5, 3])
        });
        all.push((name, net));
    }
    let conv = Conv {
        pads: [1; 4],
        ..Conv::default()
    };
    let transposed = ConvTranspose {
        conv: Conv {
            stride: [2, 2],
            ..Conv::default()
        },
        output_padding: [0, 0],
    };
    let window = Window::square(2);
    let norm = BatchNorm {
        epsilon: 1e-5,
        momentum: 0.9,
    };
    let resize = Resize::linear([4, 4], [2.0, 2.0]);
    type Layer = Box<dyn Fn(&mut Builder, ValueId, ValueId) -> ValueId>;
    // Layers behind a rectified convolution and behind the convolution itself, `[n, 3, 2, 2]`.
    let layers: Vec<(&str, Layer)> = vec![
        ("Conv", Box::new(|_, y, _| y)),
        ("ConvTranspose", {
            let op = Op::ConvTranspose(transposed);
            Box::new(move |b, y, _| {
                let (w, c) = (stored(b, &[3, 2, 2, 2]), stored(b, &[2]));
                node(b, op.clone(), &[y, w, c])
            })
        }),
        ("BatchNormalization", {
            Box::new(move |b, y, x| {
                let [scale, bias, mean] = [0; 3].map(|_| stored(b, &[3]));
                let variance = b
                    .parameter("variance", uniform_tensor(5, &[3], 0.5, 2.0), false)
                    .unwrap();
                let op = Op::BatchNorm(norm);
                let y = node(b, op.clone(), &[y, scale, bias, mean, variance]);
                let x = node(b, op, &[x, scale, bias, mean, variance]);
                node(b, Op::Binary(Binary::Add), &[x, y])
            })
        }),
        (
            "MaxPool",
            Box::new(move |b, _, x| node(b, Op::MaxPool(MaxPool(window.clone())), &[x])),
        ),
        ("AveragePool", {
            let op = Op::AveragePool(AveragePool {
                window: Window::square(2),
                count_include_pad: true,
            });
            Box::new(move |b, y, _| node(b, op.clone(), &[y]))
        }),
        ("GlobalAveragePool", {
            let op = Op::GlobalAveragePool(GlobalAveragePool);
            Box::new(move |b, _, x| node(b, op.clone(), &[x]))
        }),
        ("Reduce", {
            let op = Op::Reduce(Reduce {
                kind: ReduceKind::Sum,
                axes: vec![2],
                keep: true,
            });
            Box::new(move |b, y, _| node(b, op.clone(), &[y]))
        }),
        (
            "Resize",
            Box::new(move |b, y, _| node(b, Op::Resize(resize.clone()), &[y])),
        ),
        ("Pad", {
            let pads = vec![(0, 0), (0, 0), (1, 0), (0, 1)];
            let op = Op::Pad(Pad { pads, value: -0.7 });
            Box::new(move |b, _, x| node(b, op.clone(), &[x]))
        }),
        ("Add, Sub of maps", {
            Box::new(|b, y, x| {
                let sum = node(b, Op::Binary(Binary::Add), &[y, x]);
                let twice = node(b, Op::Binary(Binary::Sub), &[sum, y]);
                let middle = node(b, Op::Binary(Binary::Sub), &[x, x]);
                node(b, Op::Binary(Binary::Sub), &[middle, twice])
            })
        }),
        ("stored operands", {
            Box::new(|b, y, x| {
                let [p, q, r, s] = [0; 4].map(|_| stored(b, &[1, 3, 1, 1]));
                let x = node(b, Op::Binary(Binary::Sub), &[p, x]);
                let y = node(b, Op::Binary(Binary::Sub), &[p, y]);
                let x = node(b, Op::Binary(Binary::Mul), &[q, x]);
                let y = node(b, Op::Binary(Binary::Div), &[y, r]);
                let y = node(b, Op::Binary(Binary::Add), &[s, y]);
                let y = node(b, Op::Unary(Unary::Relu), &[y]);
                let y = node(b, Op::Binary(Binary::Sub), &[y, q]);
                node(b, Op::Binary(Binary::Add), &[x, y])
            })
        }),
        ("moves", {
            Box::new(|b, y, x| {
                let perm = vec![0, 2, 1, 3];
                let x = node(b, Op::Transpose(Transpose { perm }), &[x]);
                let shape = vec![0, 3, 2, 2];
                let x = node(b, Op::Reshape(Reshape { shape }), &[x]);
                let x = node(b, Op::Concat(Concat { axis: 1 }), &[x, y]);
                let x = node(b, Op::Slice(slice(4)), &[x]);
                let split = Op::Split(Split {
                    axis: 1,
                    sizes: vec![2, 3],
                });
                let names = ["first", "second"].map(str::to_owned);
                let x = b.nodes("split", split, &[x], &names).unwrap()[1];
                let axes = vec![1];
                let x = node(b, Op::Unsqueeze(Unsqueeze { axes: axes.clone() }), &[x]);
                node(b, Op::Squeeze(Squeeze { axes }), &[x])
            })
        }),
    ];
    for (name, layer) in layers {
        let net = made(|b, x| {
            let (w, c) = (stored(b, &[3, 2, 3, 3]), stored(b, &[3]));
            let y = node(b, Op::Conv(conv.clone()), &[x, w, c]);
            let active = node(b, Op::Unary(Unary::Relu), &[y]);
            let y = layer(b, y, active);
            let y = flat(b, y);
            let fgmf_net::Dim::Fixed(k) = b.network().value(y).shape[1] else {
                unreachable!("rows")
            };
            dense(b, y, [k, 3])
        });
        all.push((name, net));
    }
    all.push(("MatMul", {
        made(|b, x| {
            let x = flat(b, x);
            let (w, c) = (stored(b, &[8, 4]), stored(b, &[4]));
            let x = node(b, Op::MatMul(MatMul), &[x, w]);
            let x = node(b, Op::Binary(Binary::Add), &[x, c]);
            let x = node(b, Op::Unary(Unary::Relu), &[x]);
            let w = stored(b, &[4, 3]);
            let op = Gemm {
                alpha: -0.5,
                beta: 2.0,
                trans_a: false,
                trans_b: false,
            };
            let c = stored(b, &[1, 3]);
            node(b, Op::Gemm(op), &[x, w, c])
        })
    }));
    all
}

/// No point of a box has a logit, or a difference of two, outside the bounds; a box without room
/// has the logits.
#[test]
fn no_point_of_a_box_leaves_the_bounds() {
    for (name, net) in networks() {
        let session = Session::new(net.clone());
        let logits = IntervalBounds::logits(&net).unwrap();
        let margins = IntervalBounds::margins(&net).unwrap();
        for eps in [0.02, 0.3] {
            let ends = boxes(IMAGE, 1, eps);
            let z = session.logits(&points(&ends)).unwrap();
            let bounds = logits.logit_bounds(&ends[0], &ends[1]).unwrap();
            let [lower, upper] = bounds.map(|b| b.to_f64());
            let [least, most] = ranges(&z);
            for j in 0..3 {
                assert!(
                    lower[j] <= least[j] + 1e-12,
                    "{name}: {} {}",
                    lower[j],
                    least[j]
                );
                assert!(
                    upper[j] >= most[j] - 1e-12,
                    "{name}: {} {}",
                    upper[j],
                    most[j]
                );
            }
            for y in 0..3 {
                let found = margins.margin_bounds(&ends[0], &ends[1], &[y]).unwrap();
                let found = found.to_f64();
                for j in 0..3 {
                    let rows = z.to_f64();
                    let gaps = rows.chunks_exact(3).map(|z| z[y] - z[j]);
                    let least = gaps.fold(f64::INFINITY, f64::min);
                    assert!(found[j] <= least + 1e-12, "{name}: {} {least}", found[j]);
                    // Merged is no looser than the difference of the bounds.
                    assert!(found[j] >= lower[y] - upper[j] - 1e-12 || j == y, "{name}");
                }
                assert_eq!(found[y], 0.0);
            }
        }
        let [x, _] = boxes(IMAGE, 2, 0.0);
        let z = session.logits(&x).unwrap().to_f64();
        for bound in logits.logit_bounds(&x, &x).unwrap() {
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
            assert!(bound.to_f64().iter().zip(&z).all(close), "{name}");
        }
    }
}

/// One affine layer, and each unit of one rectified layer, reach their bounds in a corner.
#[test]
fn one_layer_is_exact() {
    for relu in [false, true] {
        let net = made(|b, x| {
            let x = flat(b, x);
            let x = dense(b, x, [8, 4]);
            match relu {
                true => node(b, Op::Unary(Unary::Relu), &[x]),
                false => x,
            }
        });
        let ends = boxes(IMAGE, 1, 0.2);
        let z = Session::new(net.clone()).logits(&points(&ends)).unwrap();
        let bounds = IntervalBounds::logits(&net).unwrap();
        let found = bounds.logit_bounds(&ends[0], &ends[1]).unwrap();
        for (found, truth) in found.iter().zip(ranges(&z)) {
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
            assert!(
                found.to_f64().iter().zip(&truth).all(close),
                "{found:?} {truth:?}"
            );
        }
        // Differences of two logits of one layer, too.
        if !relu {
            let margins = IntervalBounds::margins(&net).unwrap();
            let found = margins.margin_bounds(&ends[0], &ends[1], &[2]).unwrap();
            let rows = z.to_f64();
            for (j, found) in found.to_f64().iter().enumerate() {
                let gaps = rows.chunks_exact(4).map(|z| z[2] - z[j]);
                let least = gaps.fold(f64::INFINITY, f64::min);
                assert!((found - least).abs() < 1e-12, "{found} {least}");
            }
        }
    }
}

fn zoo(architecture: Architecture, image: [usize; 3]) -> Network {
    build(&ZooConfig {
        architecture,
        activation: Activation::Relu,
        image,
        classes: 4,
        mean: vec![0.4; image[0]],
        deviation: vec![0.3; image[0]],
        seed: 1,
    })
    .unwrap()
}

/// On plans in single precision, bounds and gradients are those of double precision.
#[test]
fn single_precision_agrees_with_double() {
    for (architecture, image) in [
        (Architecture::CnnTiny, [1, 12, 12]),
        (Architecture::CnnSmall, [3, 8, 8]),
        (Architecture::PreactResnet18, [3, 8, 8]),
    ] {
        let net = zoo(architecture, image);
        let twin = net.cast(Precision::F64);
        let ends = boxes(image, 3, 0.01);
        let single = ends.clone().map(|e| e.cast(Precision::F32));
        // What single precision sees of the ends.
        let double = single.clone().map(|e| e.cast(Precision::F64));
        let labels = [0, 3, 1];
        let head = CrossEntropy::labels(&labels);
        let of = |net: &Network, [l, u]: &[Tensor; 2]| {
            let bounds = IntervalBounds::margins(net).unwrap();
            let margins = bounds.margin_bounds(l, u, &labels).unwrap();
            let run = bounds.parameter_gradients(net, l, u, &labels, &head);
            (margins, run.unwrap())
        };
        let ((margins, run), (truth, true_run)) = (of(&net, &single), of(&twin, &double));
        let distance = |a: &Tensor, b: &Tensor| {
            let (a, b) = (a.to_f64(), b.to_f64());
            let scale = b.iter().fold(1e-9f64, |m, v| m.max(v.abs()));
            let gaps = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
            gaps.fold(0.0, f64::max) / scale
        };
        assert!(distance(&margins, &truth) < 1e-5, "{architecture:?}");
        assert_eq!(run.gradients.len(), net.trainable().len());
        for (g, truth) in run.gradients.iter().zip(&true_run.gradients) {
            assert!(distance(g, truth) < 1e-3, "{architecture:?}");
        }
        let moved = |g: &Tensor| g.to_f64().iter().any(|v| *v != 0.0);
        assert!(true_run.gradients.iter().all(moved), "{architecture:?}");
        assert!(
            distance(&run.logits.neg(), &truth) < 1e-5,
            "{architecture:?}"
        );
    }
}

/// The gradient of the loss on bounds is that of finite differences, in every array.
#[test]
fn the_gradient_of_bounds_matches_differences() {
    let tiny = zoo(Architecture::CnnTiny, [1, 8, 8]).cast(Precision::F64);
    let named = networks().into_iter().filter(|(name, _)| {
        // Bounds of functions that jump have no derivative.
        !matches!(*name, "Round" | "Floor" | "Ceil" | "Quantize")
    });
    let all = named.chain([("cnn-tiny", tiny)]);
    for (name, net) in all {
        let ends = boxes(net.image_shape(), 2, 0.1);
        let labels = [2, 0];
        let head = CrossEntropy::labels(&labels);
        let mut bounds = IntervalBounds::margins(&net).unwrap();
        let [l, u] = &ends;
        let run = bounds
            .parameter_gradients(&net, l, u, &labels, &head)
            .unwrap();
        for (id, g) in net.trainable().into_iter().zip(&run.gradients) {
            let array = net.parameter(id).unwrap();
            let mut loss_at = |values: Vec<f64>| {
                let mut net = net.clone();
                net.set_parameter(id, Tensor::new(array.shape(), values))
                    .unwrap();
                bounds.refresh(&net).unwrap();
                let run = bounds
                    .parameter_gradients(&net, l, u, &labels, &head)
                    .unwrap();
                run.losses.iter().sum::<f64>() / 2.0
            };
            let step = (array.len() / 5).max(1);
            for at in (0..array.len()).step_by(step) {
                let mut moved = |by: f64| {
                    let mut values = array.to_f64();
                    values[at] += by;
                    loss_at(values)
                };
                let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                let found = g.to_f64()[at];
                let name = format!("{name}, {} [{at}]", net.value(id).name);
                assert!(
                    (slope - found).abs() < 1e-5 * (1.0 + slope.abs()),
                    "{name}: {slope} {found}"
                );
            }
        }
    }
}

#[test]
fn operators_without_a_rule_are_named() {
    let refused = |net: &Network| IntervalBounds::margins(net).unwrap_err().to_string();
    let vit = refused(&zoo(Architecture::VitTiny, [3, 8, 8]));
    assert!(vit.contains("LayerNormalization"), "{vit}");
    let falling = made(|b, x| {
        let x = flat(b, x);
        let x = node(b, Op::Unary(Unary::LeakyRelu { alpha: -0.1 }), &[x]);
        dense(b, x, [8, 3])
    });
    assert!(refused(&falling).contains("LeakyRelu"));
    let product = made(|b, x| {
        let x = flat(b, x);
        let x = node(b, Op::Binary(Binary::Mul), &[x, x]);
        dense(b, x, [8, 3])
    });
    assert!(refused(&product).contains("Mul"));
    let softmax = made(|b, x| {
        let x = flat(b, x);
        let z = dense(b, x, [8, 3]);
        let op = Softmax {
            axis: 1,
            log: false,
        };
        node(b, Op::Softmax(op), &[z])
    });
    assert!(refused(&softmax).contains("Softmax"));
}

#[test]
fn boxes_and_labels_that_do_not_fit_are_refused() {
    let net = made(|b, x| {
        let x = flat(b, x);
        dense(b, x, [8, 3])
    });
    let [l, u] = boxes(IMAGE, 2, 0.1);
    let bounds = IntervalBounds::margins(&net).unwrap();
    let wrong = |l: &Tensor, u: &Tensor, labels: &[usize]| {
        bounds.margin_bounds(l, u, labels).unwrap_err().to_string()
    };
    assert!(wrong(&u, &l, &[0, 1]).contains("not below"));
    assert!(wrong(&l, &u, &[0]).contains("2 labels"));
    assert!(wrong(&l, &u, &[0, 3]).contains("below 3"));
    assert!(wrong(&l, &u.rows(0, 1), &[0, 1]).contains("two ends"));
    assert!(wrong(&l, &u.cast(Precision::F32), &[0, 1]).contains("two ends"));
    assert!(bounds.logit_bounds(&l, &u).is_err());
    let nan = l.affine(f64::NAN, 0.0);
    assert!(wrong(&nan, &nan, &[0, 1]).contains("not below"));
}
