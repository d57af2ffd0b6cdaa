//! Every operator against central differences in `f64`: gradients, Jacobian- and Hessian-vector
//! products, in the images and in every parameter, over random shapes and attributes; what it does
//! at special points; what it refuses.

mod cases;
mod refusals;

use cases::{CLASSES, Case, LABELS, label, rows};
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::op::{Binary, Flatten, MaxPool, Op, Reshape, Softmax, Unary, Window};
use fgmf_net::{Builder, Dual, Mode, Network, Precision, Rules, Session, Tensor, ValueId};
use fgmf_testkit::finite::{self, assert_close, uniform_tensor};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeSet;

/// Runs `check` on draws of a strategy, the same ones every time: `count`, times `PROPTEST_CASES` /
/// 256 if that is set.
fn each<T: std::fmt::Debug>(
    strategy: &impl Strategy<Value = T>,
    count: u32,
    context: &str,
    check: impl Fn(T),
) {
    let config = Config::default();
    let cases = (count * config.cases).div_ceil(256);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..config
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(strategy, |value| {
        check(value);
        Ok(())
    });
    if let Err(e) = outcome {
        panic!("{context}: {e}");
    }
}

/// A network of one operator at one batch of images.
struct Probe {
    net: Session,
    mode: Mode,
    x: Tensor,
    head: CrossEntropy,
    /// The images and every trainable parameter.
    wanted: Vec<ValueId>,
}

impl Probe {
    fn new(case: &Case) -> Self {
        let net = Session::new(case.network().unwrap_or_else(|e| panic!("{e}")));
        let labels: Vec<usize> = (0..case.batch)
            .map(|i| (case.seed as usize).wrapping_add(i) % CLASSES)
            .collect();
        let wanted = std::iter::once(net.input())
            .chain(net.trainable())
            .collect();
        Self {
            mode: case.mode,
            x: case.images(),
            head: CrossEntropy::labels(&labels),
            wanted,
            net,
        }
    }

    fn logits(&self, x: &Dual) -> Dual {
        self.net
            .forward(x, self.mode)
            .unwrap()
            .value(self.net.output())
            .clone()
    }

    /// Summed loss.
    fn loss(&self, net: &Session, x: &Tensor) -> f64 {
        let tape = net.forward(&x.clone().into(), self.mode).unwrap();
        self.head
            .evaluate(tape.value(net.output()), 0..x.shape()[0])
            .0
            .iter()
            .sum()
    }

    /// Gradient of the summed loss in every wanted value, over duals.
    fn gradients(&self, x: &Dual) -> Vec<Dual> {
        self.pull(x, |logits| self.head.evaluate(logits, 0..x.shape()[0]).1)
    }

    /// The wanted values' share of a cotangent of the logits.
    fn pull(&self, x: &Dual, cotangent: impl Fn(&Dual) -> Dual) -> Vec<Dual> {
        let tape = self.net.forward(x, self.mode).unwrap();
        let g = cotangent(tape.value(self.net.output()));
        self.net
            .backward(
                &tape,
                vec![(self.net.output(), g)],
                &self.wanted,
                &Rules::exact(),
            )
            .unwrap()
    }

    fn check_gradients(&self) {
        let exact = self.gradients(&self.x.clone().into());
        for (id, g) in self.wanted.iter().zip(&exact) {
            let by_difference = match self.net.parameter(*id) {
                None => finite::gradient(|x| self.loss(&self.net, x), &self.x),
                Some(parameter) => {
                    let loss = |p: &Tensor| {
                        let mut moved = self.net.clone();
                        moved.set_parameter(*id, p.clone()).unwrap();
                        self.loss(&moved, &self.x)
                    };
                    finite::gradient(loss, parameter)
                }
            };
            assert_close(
                &g.value,
                &by_difference,
                1e-6,
                1e-8,
                &format!("gradient in {}", self.net.value(*id).name),
            );
        }
    }

    /// Along one direction: Jacobian- and Hessian-vector products by differences, the reverse pass
    /// as the adjoint of the forward one, the Hessian as a symmetric map.
    fn check_directions(&self, seed: u64) {
        let direction = |s: u64| uniform_tensor(seed ^ s, self.x.shape(), -1.0, 1.0);
        let (u, v) = (direction(0xabc), direction(0xdef));
        let along = |v: &Tensor| Dual::new(self.x.clone(), v.clone());

        let jv = self.logits(&along(&v)).tangent_or_zeros();
        let by_difference = finite::jvp(|x| self.logits(&x.clone().into()).value, &self.x, &v);
        assert_close(&jv, &by_difference, 1e-6, 1e-8, "Jacobian-vector product");

        let g = uniform_tensor(seed ^ 0x123, jv.shape(), -1.0, 1.0);
        let pulled = self.pull(&self.x.clone().into(), |_| g.clone().into());
        assert_equal(
            g.dot(&jv),
            pulled[0].value.dot(&v),
            "<g, J v> and <Jᵀ g, v>",
        );

        let hv = self.gradients(&along(&v));
        for (i, id) in self.wanted.iter().enumerate() {
            let exact_gradient =
                |x: &Tensor| self.gradients(&x.clone().into()).swap_remove(i).value;
            let by_difference = finite::hvp(exact_gradient, &self.x, &v);
            let context = format!(
                "derivative along v of the gradient in {}",
                self.net.value(*id).name
            );
            assert_close(
                &hv[i].tangent_or_zeros(),
                &by_difference,
                1e-6,
                1e-8,
                &context,
            );
        }
        let hu = self.gradients(&along(&u));
        assert_equal(
            u.dot(&hv[0].tangent_or_zeros()),
            hu[0].tangent_or_zeros().dot(&v),
            "<u, H v> and <H u, v>",
        );

        if self.mode == Mode::Evaluate {
            let (gradient, product) = self.net.hvp(&self.x, &self.head, &v).unwrap();
            let context = "batch functions";
            assert_close(
                &self.net.jvp(&self.x, &v).unwrap(),
                &jv,
                1e-13,
                1e-15,
                context,
            );
            assert_close(&gradient, &hv[0].value, 1e-13, 1e-15, context);
            assert_close(&product, &hv[0].tangent_or_zeros(), 1e-13, 1e-15, context);
        }
    }

    /// Single precision computes the same to its accuracy.
    fn check_single_precision(&self) {
        let single = Self {
            net: self.net.cast(Precision::F32),
            mode: self.mode,
            x: self.x.cast(Precision::F32),
            head: self.head.clone(),
            wanted: self.wanted.clone(),
        };
        let (x, single_x) = (self.x.clone().into(), single.x.clone().into());
        let logits = single.logits(&single_x).value;
        assert_eq!(logits.precision(), Precision::F32);
        assert_close(
            &logits.cast(Precision::F64),
            &self.logits(&x).value,
            1e-4,
            1e-5,
            "f32 logits",
        );
        for (a, b) in single.gradients(&single_x).iter().zip(self.gradients(&x)) {
            assert_close(
                &a.value.cast(Precision::F64),
                &b.value,
                1e-4,
                1e-5,
                "f32 gradient",
            );
        }
    }
}

/// To 10⁻¹⁰ of their size, or of 1.
fn assert_equal(a: f64, b: f64, context: &str) {
    assert!(
        (a - b).abs() <= 1e-10 * a.abs().max(1.0),
        "{context}: {a} and {b}"
    );
}

fn check_rows(rows: Vec<(&'static str, BoxedStrategy<Case>)>) {
    for (name, strategy) in rows {
        each(&strategy, 128, name, |case| {
            assert_eq!(label(&case.op), name);
            let probe = Probe::new(&case);
            probe.check_gradients();
            probe.check_directions(case.seed);
            probe.check_single_precision();
        });
    }
}

#[test]
fn every_operator_has_a_row() {
    let covered: BTreeSet<&str> = rows().iter().map(|(name, _)| *name).collect();
    assert_eq!(covered, LABELS.iter().copied().collect());
    assert_eq!(rows().len(), LABELS.len(), "a row each");
}

#[test]
fn derivatives_of_activations() {
    check_rows(cases::activations());
}

#[test]
fn derivatives_of_arithmetic() {
    check_rows(cases::arithmetic());
}

#[test]
fn derivatives_of_linear_operators() {
    check_rows(cases::linear());
}

#[test]
fn derivatives_of_normalisation() {
    check_rows(cases::normalisation());
}

#[test]
fn derivatives_of_windows() {
    check_rows(cases::windows());
}

#[test]
fn derivatives_of_reductions() {
    check_rows(cases::reductions());
}

#[test]
fn derivatives_of_layout() {
    check_rows(cases::layout());
}

/// An operator of a row of numbers, its output taken as the logits.
fn on_row(op: Op, count: usize) -> Network {
    let mut b = Builder::new("row", "input", [1, 1, count]).unwrap();
    let x = b.input();
    let y = b.node("y", op, &[x]).unwrap();
    let z = b.node("z", Op::Flatten(Flatten { axis: 1 }), &[y]).unwrap();
    b.finish(z).unwrap()
}

/// Value, derivative along all ones and derivative of that, of the sum of the outputs.
fn tower(net: &Network, points: &[f64], precision: Precision) -> [Vec<f64>; 3] {
    let x = Tensor::new(&[1, 1, 1, points.len()], points.to_vec()).cast(precision);
    let ones = Tensor::full(x.shape(), 1.0, precision);
    let net = Session::new(net.cast(precision));
    let tape = net.forward(&Dual::new(x, ones), Mode::Evaluate).unwrap();
    let y = tape.value(net.output());
    let g = Tensor::full(y.shape(), 1.0, precision).into();
    let slope = net
        .backward(
            &tape,
            vec![(net.output(), g)],
            &[net.input()],
            &Rules::exact(),
        )
        .unwrap()
        .swap_remove(0);
    [
        y.value.to_f64(),
        slope.value.to_f64(),
        slope.tangent_or_zeros().to_f64(),
    ]
}

#[test]
fn derivatives_at_kinks_are_the_documented_ones() {
    let expected = [
        (Unary::Relu, vec![0.0], vec![0.0]),
        (Unary::LeakyRelu { alpha: 0.25 }, vec![0.0], vec![0.25]),
        (Unary::Elu { alpha: 0.5 }, vec![0.0], vec![0.5]),
        (Unary::Abs, vec![0.0], vec![0.0]),
        (
            Unary::Clip {
                min: -1.0,
                max: 2.0,
            },
            vec![-1.0, 2.0],
            vec![0.0, 0.0],
        ),
        (Unary::HardSwish, vec![-3.0, 3.0], vec![0.0, 1.0]),
        (
            Unary::HardSigmoid {
                alpha: 0.25,
                beta: 0.5,
            },
            vec![-2.0, 2.0],
            vec![0.0, 0.0],
        ),
    ];
    for (op, mut points, mut slopes) in expected {
        points.push(0.5);
        let [_, found, _] = tower(
            &on_row(Op::Unary(op), points.len()),
            &points,
            Precision::F64,
        );
        slopes.push(found[slopes.len()]);
        assert_eq!(found, slopes, "{op:?}");
    }
}

#[test]
fn halves_round_to_the_even_number_and_have_no_slope() {
    let points = [-1.5, -0.5, 0.5, 1.5, 2.5, 2.4999];
    for precision in [Precision::F32, Precision::F64] {
        let [value, slope, curvature] = tower(
            &on_row(Op::Unary(Unary::Round), points.len()),
            &points,
            precision,
        );
        assert_eq!(value, [-2.0, 0.0, 0.0, 2.0, 2.0, 2.0]);
        assert!(slope.iter().chain(&curvature).all(|v| *v == 0.0));
    }
}

/// Values as ONNX Runtime's `QuantizeLinear`, slopes straight-through where nothing is cut off.
#[test]
fn quantised_values_round_and_their_slope_goes_straight_through() {
    let points = [-9.0, -2.0, -0.75, -0.25, 0.25, 0.75, 1.5, 2.25];
    let op = Unary::Quantize {
        scale: 0.5,
        min: -3.0,
        max: 4.0,
    };
    for precision in [Precision::F32, Precision::F64] {
        let [value, slope, curvature] =
            tower(&on_row(Op::Unary(op), points.len()), &points, precision);
        assert_eq!(value, [-3.0, -3.0, -2.0, 0.0, 0.0, 2.0, 3.0, 4.0]);
        assert_eq!(slope, [0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        assert!(curvature.iter().all(|v| *v == 0.0));
    }
}

#[test]
fn floor_and_ceiling_have_no_slope() {
    let points = [-1.5, -1.0, -0.25, 0.0, 0.75, 2.0];
    for (op, expected) in [
        (Unary::Floor, [-2.0, -1.0, -1.0, 0.0, 0.0, 2.0]),
        (Unary::Ceil, [-1.0, -1.0, 0.0, 0.0, 1.0, 2.0]),
    ] {
        for precision in [Precision::F32, Precision::F64] {
            let [value, slope, curvature] =
                tower(&on_row(Op::Unary(op), points.len()), &points, precision);
            assert_eq!(value, expected);
            assert!(slope.iter().chain(&curvature).all(|v| *v == 0.0));
        }
    }
}

#[test]
fn activations_of_extreme_arguments_are_finite() {
    let points = [-1e4, -1000.0, -88.0, 0.0, 88.0, 1000.0, 1e4];
    let smooth = [
        Unary::Sigmoid,
        Unary::Softplus,
        Unary::Tanh,
        Unary::Erf,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::HardSwish,
        Unary::Elu { alpha: 1.0 },
    ];
    for precision in [Precision::F32, Precision::F64] {
        for op in smooth {
            for derivative in tower(&on_row(Op::Unary(op), points.len()), &points, precision) {
                assert!(
                    derivative.iter().all(|v| v.is_finite()),
                    "{op:?} at {precision:?}: {derivative:?}"
                );
            }
        }
        let of = |op| tower(&on_row(Op::Unary(op), points.len()), &points, precision);
        let [values, slopes, curvatures] = of(Unary::Softplus);
        assert_eq!((values[1], values[5]), (0.0, 1000.0));
        assert_eq!((slopes[1], slopes[5], curvatures[5]), (0.0, 1.0, 0.0));
        for gelu in [Unary::Gelu, Unary::GeluTanh] {
            let [values, slopes, curvatures] = of(gelu);
            assert_eq!(
                (values[1], values[5], slopes[1], slopes[5]),
                (0.0, 1000.0, 0.0, 1.0),
                "{gelu:?}"
            );
            assert_eq!((curvatures[1], curvatures[5]), (0.0, 0.0), "{gelu:?}");
        }
    }
}

#[test]
fn softmax_of_huge_logits_is_finite() {
    let points = [-1e30, -1e4, 0.0, 1e4, 1e30];
    for precision in [Precision::F32, Precision::F64] {
        for log in [false, true] {
            let net = on_row(Op::Softmax(Softmax { axis: -1, log }), points.len());
            for derivative in tower(&net, &points, precision) {
                assert!(
                    derivative.iter().all(|v| v.is_finite()),
                    "log {log} at {precision:?}: {derivative:?}"
                );
            }
        }
        let [values, ..] = tower(
            &on_row(
                Op::Softmax(Softmax {
                    axis: -1,
                    log: false,
                }),
                points.len(),
            ),
            &points,
            precision,
        );
        assert_eq!(values, [0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}

/// x ^ exponents, elementwise; the exponents are trainable.
fn powers(exponents: &[f64]) -> Network {
    let mut b = Builder::new("powers", "input", [1, 1, exponents.len()]).unwrap();
    let exponents = b
        .parameter(
            "exponents",
            Tensor::new(&[exponents.len()], exponents.to_vec()),
            true,
        )
        .unwrap();
    let x = b.input();
    let y = b
        .node("y", Op::Binary(Binary::Pow), &[x, exponents])
        .unwrap();
    let z = b.node("z", Op::Flatten(Flatten { axis: 1 }), &[y]).unwrap();
    b.finish(z).unwrap()
}

#[test]
fn powers_of_zero_have_their_polynomial_derivatives() {
    for zero in [0.0, -0.0] {
        let [values, slopes, curvatures] =
            tower(&powers(&[0.0, 1.0, 2.0, 3.0]), &[zero; 4], Precision::F64);
        assert_eq!(values, [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(slopes, [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(curvatures, [0.0, 0.0, 2.0, 0.0]);
    }
}

#[test]
fn a_power_of_zero_does_not_change_with_its_positive_exponent() {
    let net = Session::new(powers(&[0.5, 1.0, 2.0, 3.0]));
    let x = Tensor::new(&[1, 1, 1, 4], vec![0.0; 4]);
    let gradients = net
        .parameter_gradients(&x, &CrossEntropy::labels(&[0]), Mode::Evaluate)
        .unwrap();
    assert_eq!(gradients.gradients[0].to_f64(), [0.0; 4]);
}

#[test]
fn negative_bases_with_whole_exponents() {
    let [values, slopes, curvatures] =
        tower(&powers(&[2.0, 3.0, -1.0]), &[-2.0; 3], Precision::F64);
    assert_eq!(values, [4.0, -8.0, -0.5]);
    assert_eq!(slopes, [-4.0, 12.0, -0.25]);
    assert_eq!(curvatures, [2.0, -12.0, -0.25]);
}

#[test]
fn max_pooling_sends_a_tie_to_the_first_of_equals() {
    let [values, slopes, _] = tower(
        &on_row(
            Op::MaxPool(MaxPool(Window {
                kernel: [1, 2],
                stride: [1, 2],
                ..Window::square(1)
            })),
            4,
        ),
        &[5.0; 4],
        Precision::F64,
    );
    assert_eq!(values, [5.0, 5.0]);
    assert_eq!(slopes, [1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn an_unused_piece_of_a_split_has_no_gradient() {
    // Covered with differences by the table too; here the zeros are exact.
    let mut b = Builder::new("split", "input", [1, 1, 4]).unwrap();
    let x = b.input();
    let split = Op::Split(fgmf_net::op::Split {
        axis: 3,
        sizes: vec![2, 2],
    });
    let pieces = b
        .nodes("split", split, &[x], &["a".to_owned(), "b".to_owned()])
        .unwrap();
    let z = b
        .node(
            "z",
            Op::Reshape(Reshape { shape: vec![0, 2] }),
            &[pieces[1]],
        )
        .unwrap();
    let net = b.finish(z).unwrap();
    let [_, slopes, _] = tower(&net, &[1.0, 2.0, 3.0, 4.0], Precision::F64);
    assert_eq!(slopes, [0.0, 0.0, 1.0, 1.0]);
}
