use super::*;
use crate::real::sealed::Lanes;
use proptest::prelude::*;
use pulp::Simd;

/// Calls `f(x, w, y)` with the flat positions of every product of the defining sum.
fn each(s: &Conv2d, mut f: impl FnMut(usize, usize, usize)) {
    let [oh, ow] = s.out_size();
    let [kh, kw] = s.kernel;
    let (ci, co) = (s.c_in / s.groups, s.c_out / s.groups);
    let cell = |o: usize, tap: usize, i: usize| {
        let at = o * s.stride[i] + tap * s.dilation[i];
        at.checked_sub(s.pad[i]).filter(|&c| c < [s.h, s.w][i])
    };
    for b in 0..s.n {
        for o in 0..s.c_out {
            for c in 0..ci {
                let plane = b * s.c_in + o / co * ci + c;
                for tap in 0..kh * kw {
                    for at in 0..oh * ow {
                        let row = cell(at / ow, tap / kw, 0);
                        let col = cell(at % ow, tap % kw, 1);
                        if let (Some(row), Some(col)) = (row, col) {
                            f(
                                (plane * s.h + row) * s.w + col,
                                (o * ci + c) * kh * kw + tap,
                                (b * s.c_out + o) * oh * ow + at,
                            );
                        }
                    }
                }
            }
        }
    }
}

fn noise(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1u32 << 23) - 1.0
        })
        .collect()
}

fn narrow(v: &[f64]) -> Vec<f32> {
    v.iter().map(|&v| v as f32).collect()
}

#[track_caller]
fn assert_close<T: Real>(got: &[T], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (got.to_f64() - want).abs();
        assert!(
            off <= tolerance * (1.0 + want.abs()),
            "{what}[{i}]: {got:?}, not {want}"
        );
    }
}

struct ConvPasses<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dw: Vec<T>,
}

/// Every pass, into buffers full of rubbish.
fn run<T: Real>(s: &Conv2d, x: &[T], w: &[T], dy: &[T]) -> ConvPasses<T> {
    let rubbish = |len| vec![T::from_f64(f64::NAN); len];
    let (mut y, mut dx, mut dw) = (rubbish(s.y_len()), rubbish(s.x_len()), rubbish(s.w_len()));
    conv2d(s, x, w, &mut y);
    conv2d_grad_input(s, dy, w, &mut dx);
    conv2d_grad_weight(s, x, dy, &mut dw);
    ConvPasses { y, dx, dw }
}

/// All passes against the defining sum in both precisions, and image by image.
fn judge(s: &Conv2d) {
    s.check().unwrap();
    let (x, w, dy) = (
        noise(s.x_len(), 1),
        noise(s.w_len(), 2),
        noise(s.y_len(), 3),
    );
    let (x, w, dy) = (narrow(&x), narrow(&w), narrow(&dy));
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let (xd, wd, dyd) = (wide(&x), wide(&w), wide(&dy));
    let (mut y, mut dx, mut dw) = (
        vec![0.0; s.y_len()],
        vec![0.0; s.x_len()],
        vec![0.0; s.w_len()],
    );
    each(s, |i, j, k| {
        y[k] += xd[i] * wd[j];
        dx[i] += dyd[k] * wd[j];
        dw[j] += dyd[k] * xd[i];
    });
    let double = run(s, &xd, &wd, &dyd);
    assert_close(&double.y, &y, 1e-12, "y");
    assert_close(&double.dx, &dx, 1e-12, "dx");
    assert_close(&double.dw, &dw, 1e-12, "dw");
    let single = run(s, &x, &w, &dy);
    assert_close(&single.y, &y, 2e-5, "y");
    assert_close(&single.dx, &dx, 2e-5, "dx");
    assert_close(&single.dw, &dw, 5e-5, "dw");

    let one = Conv2d { n: 1, ..*s };
    for b in 0..s.n {
        let part = |v: &[f32], len: usize| v[b * len..(b + 1) * len].to_vec();
        let (x, dy) = (part(&x, one.x_len()), part(&dy, one.y_len()));
        let alone = run(&one, &x, &w, &dy);
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&alone.y), bits(&part(&single.y, one.y_len())));
        assert_eq!(bits(&alone.dx), bits(&part(&single.dx, one.x_len())));
    }
}

fn shape(n: usize, c: [usize; 2], size: [usize; 2], kernel: usize, stride: usize) -> Conv2d {
    Conv2d {
        n,
        c_in: c[0],
        h: size[0],
        w: size[1],
        c_out: c[1],
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad: [1; 4],
        dilation: [1; 2],
        groups: 1,
    }
}

#[test]
fn layers_of_small_nets() {
    judge(&shape(3, [1, 16], [28, 28], 4, 2));
    // Sixteen channels would take Winograd's tiles, whose errors `blocked` judges.
    judge(&shape(3, [12, 32], [14, 14], 4, 2));
    judge(&shape(2, [3, 8], [32, 32], 3, 1));
    judge(&shape(2, [13, 11], [9, 7], 3, 1));
    judge(&Conv2d {
        pad: [0; 4],
        ..shape(3, [8, 5], [16, 16], 1, 1)
    });
    judge(&Conv2d {
        pad: [0; 4],
        ..shape(3, [8, 6], [9, 9], 1, 2)
    });
    judge(&Conv2d {
        groups: 6,
        ..shape(2, [6, 6], [12, 12], 3, 1)
    });
    judge(&Conv2d {
        groups: 6,
        ..shape(2, [6, 12], [12, 12], 3, 2)
    });
}

#[test]
fn outputs_of_few_cells() {
    judge(&Conv2d {
        pad: [0; 4],
        ..shape(35, [9, 10], [4, 4], 4, 1)
    });
    judge(&Conv2d {
        pad: [0; 4],
        ..shape(5, [8, 9], [7, 7], 7, 1)
    });
    judge(&shape(21, [10, 7], [2, 2], 3, 1));
    judge(&Conv2d {
        groups: 2,
        ..shape(9, [10, 8], [4, 4], 3, 2)
    });
    judge(&Conv2d {
        kernel: [1, 7],
        pad: [0; 4],
        ..shape(3, [4, 5], [7, 7], 1, 1)
    });
    judge(&Conv2d {
        kernel: [7, 1],
        pad: [0; 4],
        ..shape(3, [4, 5], [7, 7], 1, 1)
    });
}

/// More images than one pass takes together, and not a multiple of it.
#[test]
fn long_batches() {
    judge(&Conv2d {
        pad: [0; 4],
        ..shape(200, [3, 9], [4, 4], 4, 1)
    });
    judge(&shape(50, [5, 8], [2, 2], 3, 1));
    judge(&shape(5, [32, 5], [28, 28], 3, 1));
}

/// All passes with the vectors of `simd`.
fn run_with<S: Simd>(simd: S, s: &Conv2d, x: &[f64], w: &[f64], dy: &[f64]) -> [Vec<f64>; 3] {
    let (mut y, mut dx, mut dw) = (
        vec![f64::NAN; s.y_len()],
        vec![f64::NAN; s.x_len()],
        vec![0.0; s.w_len()],
    );
    f64::with_scratch(|scratch| {
        simd.vectorize(Forward {
            s,
            x,
            w,
            y: &mut y,
            scratch,
        })
    });
    f64::with_scratch(|scratch| {
        simd.vectorize(GradInput {
            s,
            dy,
            w,
            dx: &mut dx,
            scratch,
        })
    });
    f64::with_scratch(|scratch| {
        simd.vectorize(GradWeight {
            s,
            x,
            dy,
            dw: &mut dw,
            scratch,
        })
    });
    [y, dx, dw]
}

/// Processors with fewer or no vector registers take other tiles.
#[test]
fn every_instruction_set() {
    let depthwise = Conv2d {
        groups: 3,
        ..shape(2, [3, 3], [30, 9], 3, 1)
    };
    for s in [
        shape(3, [5, 11], [9, 14], 3, 1),
        shape(3, [4, 23], [4, 4], 3, 1),
        shape(2, [3, 6], [17, 8], 4, 2),
        depthwise,
    ] {
        let (x, w, dy) = (
            noise(s.x_len(), 7),
            noise(s.w_len(), 8),
            noise(s.y_len(), 9),
        );
        let ConvPasses { y, dx, dw } = run(&s, &x, &w, &dy);
        let judge = |got: [Vec<f64>; 3]| {
            for (got, want) in got.iter().zip([&y, &dx, &dw]) {
                assert_close(got, want, 1e-12, "number");
            }
        };
        judge(run_with(pulp::Scalar::new(), &s, &x, &w, &dy));
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            judge(run_with(simd, &s, &x, &w, &dy));
        }
    }
}

#[test]
fn padding_wider_than_the_image() {
    judge(&Conv2d {
        pad: [4, 0, 5, 7],
        ..shape(2, [2, 3], [2, 3], 3, 2)
    });
    judge(&Conv2d {
        pad: [9, 8, 0, 0],
        ..shape(2, [2, 3], [2, 3], 2, 1)
    });
    judge(&Conv2d {
        stride: [7, 5],
        pad: [0, 3, 2, 0],
        ..shape(2, [2, 3], [6, 6], 2, 1)
    });
}

#[test]
fn an_empty_batch_has_a_zero_weight_gradient() {
    let s = shape(0, [2, 3], [5, 5], 3, 1);
    assert_eq!(s.check(), Ok(()));
    let passes = run::<f32>(
        &s,
        &[],
        &noise(54, 1).iter().map(|&v| v as f32).collect::<Vec<_>>(),
        &[],
    );
    assert!(passes.dw.iter().all(|&v| v == 0.0));
}

#[test]
fn malformed_shapes_are_errors() {
    let good = shape(2, [4, 6], [5, 5], 3, 1);
    assert_eq!(good.check(), Ok(()));
    let m = usize::MAX;
    let bad = [
        Conv2d { c_in: 0, ..good },
        Conv2d { c_out: 0, ..good },
        Conv2d { h: 0, ..good },
        Conv2d { w: 0, ..good },
        Conv2d {
            kernel: [0, 3],
            ..good
        },
        Conv2d {
            stride: [1, 0],
            ..good
        },
        Conv2d {
            dilation: [0, 1],
            ..good
        },
        Conv2d { groups: 0, ..good },
        Conv2d { groups: 4, ..good },
        Conv2d { groups: 3, ..good },
        Conv2d {
            kernel: [8, 3],
            ..good
        },
        Conv2d {
            dilation: [1, 4],
            ..good
        },
        Conv2d { n: m, ..good },
        Conv2d { h: m, ..good },
        Conv2d {
            c_in: m - 1,
            c_out: m - 1,
            ..good
        },
        Conv2d {
            kernel: [m, m],
            ..good
        },
        Conv2d {
            stride: [m, m],
            ..good
        },
        Conv2d {
            dilation: [m, m],
            ..good
        },
        Conv2d {
            pad: [m; 4],
            ..good
        },
        Conv2d {
            pad: [m / 8, 1, 1, 1],
            ..good
        },
        Conv2d { groups: m, ..good },
        Conv2d {
            n: m,
            c_in: m,
            h: m,
            w: m,
            c_out: m,
            kernel: [m; 2],
            stride: [m; 2],
            pad: [m; 4],
            dilation: [m; 2],
            groups: m,
        },
    ];
    for s in bad {
        assert!(s.check().is_err(), "{s:?}");
        // Lengths of a malformed shape mean nothing, but asking is harmless.
        let _ = (s.x_len(), s.w_len(), s.y_len());
    }
}

#[test]
#[should_panic(expected = "output length")]
fn a_short_output_panics() {
    let s = shape(1, [1, 1], [5, 5], 3, 1);
    conv2d(&s, &[0.0f32; 25], &[0.0; 9], &mut [0.0; 24]);
}

prop_compose! {
    fn shapes()(
        n in 0usize..4, groups in 1usize..4, ci in 1usize..4, co in 1usize..6,
        size in (1usize..12, 1usize..20), kernel in (1usize..5, 1usize..5),
        stride in (1usize..4, 1usize..4), dilation in (1usize..3, 1usize..4),
        pad in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
    ) -> Conv2d {
        Conv2d {
            n, c_in: ci * groups, h: size.0, w: size.1, c_out: co * groups,
            kernel: [kernel.0, kernel.1], stride: [stride.0, stride.1],
            pad: [pad.0, pad.1, pad.2, pad.3], dilation: [dilation.0, dilation.1], groups,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 400,
        ..ProptestConfig::default()
    })]
    #[test]
    fn any_shape(s in shapes()) {
        prop_assume!(s.check().is_ok());
        judge(&s);
    }

    #[test]
    fn adjoints(s in shapes()) {
        prop_assume!(s.check().is_ok());
        let (x, w, dy) = (noise(s.x_len(), 4), noise(s.w_len(), 5), noise(s.y_len(), 6));
        let passes = run(&s, &x, &w, &dy);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let forward = dot(&passes.y, &dy);
        let size = 1e-11 * (1.0 + s.y_len() as f64);
        prop_assert!((forward - dot(&passes.dx, &x)).abs() < size);
        prop_assert!((forward - dot(&passes.dw, &w)).abs() < size);
    }
}
