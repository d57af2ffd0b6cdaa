//! What operators refuse, as errors of the node; and that whatever they accept runs.

use super::cases::{COORDINATES, RESIZE_MODES, read_out};
use super::each;
use fgmf_kernels::ResizeMode;
use fgmf_net::head::CrossEntropy;
use fgmf_net::op::{
    AveragePool, BatchNorm, Binary, Concat, Conv, ConvTranspose, Expand, Flatten, Gather, Gemm,
    GlobalAveragePool, LayerNorm, MatMul, MaxPool, Op, PRelu, Pad, Reduce, ReduceKind, Reshape,
    Resize, Slice, SliceAxis, Softmax, Split, Squeeze, TopK, Transpose, Unary, Unsqueeze, Window,
};
use fgmf_net::{Builder, Dim, Error, Mode, Precision, Rules, Session, Tensor, ValueId};
use fgmf_testkit::finite::uniform_tensor;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const HUGE: usize = usize::MAX;

/// Image shape of the table below: batches `[n, 4, 5, 6]`.
const IMAGE: [usize; 3] = [4, 5, 6];

/// An input of a refused node.
enum Fed {
    /// `[n, 4, 5, 6]`.
    Images,
    /// An array of ones.
    Array(Vec<usize>),
}

/// The error of a node named "wrong" with one output, if it is refused.
fn refusal(op: &Op, inputs: &[Fed]) -> Option<Error> {
    let mut b = Builder::new("refusal", "input", IMAGE).unwrap();
    let mut ids = Vec::new();
    for (i, fed) in inputs.iter().enumerate() {
        ids.push(match fed {
            Fed::Images => b.input(),
            Fed::Array(shape) => b
                .parameter(
                    &format!("array {i}"),
                    Tensor::full(shape, 1.0, Precision::F64),
                    true,
                )
                .unwrap(),
        });
    }
    b.node("wrong", op.clone(), &ids).err()
}

fn assert_refused(op: &Op, inputs: &[Fed]) {
    match refusal(op, inputs) {
        Some(Error::Node {
            node,
            operator,
            reason,
        }) => {
            assert_eq!((node.as_str(), operator.as_str()), ("wrong", op.name()));
            assert!(!reason.is_empty());
        }
        Some(other) => panic!("{op:?}: expected an error of the node, found {other}"),
        None => {
            let shapes: Vec<_> = inputs
                .iter()
                .map(|f| {
                    if let Fed::Array(s) = f {
                        format!("{s:?}")
                    } else {
                        "images".to_owned()
                    }
                })
                .collect();
            panic!("{op:?} was accepted for {shapes:?}");
        }
    }
}

/// Images first, then arrays of the given shapes.
fn images_and(arrays: &[&[usize]]) -> Vec<Fed> {
    std::iter::once(Fed::Images)
        .chain(arrays.iter().map(|s| Fed::Array(s.to_vec())))
        .collect()
}

/// Every operator, well-formed for some number of inputs.
fn one_of_each() -> Vec<(Op, std::ops::RangeInclusive<usize>)> {
    let axes = || vec![1];
    vec![
        (Op::Unary(Unary::Relu), 1..=1),
        (Op::Binary(Binary::Add), 2..=2),
        (Op::PRelu(PRelu), 2..=2),
        (Op::Conv(Conv::default()), 2..=3),
        (
            Op::ConvTranspose(ConvTranspose {
                conv: Conv::default(),
                output_padding: [0, 0],
            }),
            2..=3,
        ),
        (Op::Gemm(Gemm::DENSE), 2..=3),
        (Op::MatMul(MatMul), 2..=2),
        (
            Op::BatchNorm(BatchNorm {
                epsilon: 1e-5,
                momentum: 0.9,
            }),
            5..=5,
        ),
        (
            Op::LayerNorm(LayerNorm {
                axis: -1,
                epsilon: 1e-5,
            }),
            2..=3,
        ),
        (
            Op::Softmax(Softmax {
                axis: 1,
                log: false,
            }),
            1..=1,
        ),
        (Op::MaxPool(MaxPool(Window::square(2))), 1..=1),
        (
            Op::AveragePool(AveragePool {
                window: Window::square(2),
                count_include_pad: true,
            }),
            1..=1,
        ),
        (Op::GlobalAveragePool(GlobalAveragePool), 1..=1),
        (Op::Resize(Resize::linear([2, 2], [0.4, 0.4])), 1..=1),
        (
            Op::Reduce(Reduce {
                kind: ReduceKind::Sum,
                axes: axes(),
                keep: true,
            }),
            1..=1,
        ),
        (Op::Reshape(Reshape { shape: vec![0, -1] }), 1..=1),
        (Op::Flatten(Flatten { axis: 1 }), 1..=1),
        (Op::Squeeze(Squeeze { axes: axes() }), 1..=1),
        (Op::Unsqueeze(Unsqueeze { axes: axes() }), 1..=1),
        (
            Op::Transpose(Transpose {
                perm: vec![0, 1, 2, 3],
            }),
            1..=1,
        ),
        (Op::Concat(Concat { axis: 1 }), 1..=usize::MAX),
        (
            Op::Split(Split {
                axis: 1,
                sizes: vec![4],
            }),
            1..=1,
        ),
        (Op::Slice(Slice { axes: Vec::new() }), 1..=1),
        (
            Op::Gather(Gather {
                axis: 1,
                index: vec![0],
                index_shape: vec![1],
            }),
            1..=1,
        ),
        (
            Op::Expand(Expand {
                shape: vec![None, Some(4), Some(5), Some(6)],
            }),
            2..=2,
        ),
        (
            Op::Expand(Expand {
                shape: vec![Some(4), Some(5), Some(6)],
            }),
            1..=1,
        ),
        (
            Op::Pad(Pad {
                pads: vec![(0, 0); 4],
                value: 0.0,
            }),
            1..=1,
        ),
        (Op::TopK(TopK { axis: 1, k: 2 }), 1..=1),
    ]
}

#[test]
fn a_wrong_number_of_inputs_is_refused() {
    for (op, arity) in one_of_each() {
        for count in (0..=6).filter(|c| !arity.contains(c)) {
            assert_refused(&op, &(0..count).map(|_| Fed::Images).collect::<Vec<_>>());
        }
    }
}

#[test]
fn inputs_of_the_wrong_shape_are_refused() {
    let conv = Op::Conv(Conv::default());
    let up = Op::ConvTranspose(ConvTranspose {
        conv: Conv::default(),
        output_padding: [0, 0],
    });
    let arrays = |shapes: &[&[usize]]| {
        shapes
            .iter()
            .map(|s| Fed::Array(s.to_vec()))
            .collect::<Vec<_>>()
    };
    for binary in [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Pow,
    ] {
        assert_refused(&Op::Binary(binary), &images_and(&[&[4, 5, 7]]));
        assert_refused(&Op::Binary(binary), &images_and(&[&[3, 4, 5, 6]]));
    }
    assert_refused(&Op::PRelu(PRelu), &images_and(&[&[5]]));
    assert_refused(&Op::PRelu(PRelu), &arrays(&[&[4], &[2, 4]]));
    for bad in [
        &[2, 4, 3][..],
        &[2, 3, 3, 3],
        &[2, 4, 9, 9],
        &[2, 4, 3, 3, 1],
        &[],
    ] {
        assert_refused(&conv, &images_and(&[bad]));
    }
    assert_refused(&conv, &arrays(&[&[4, 5, 6], &[2, 4, 3, 3]]));
    assert_refused(&conv, &images_and(&[&[2, 4, 3, 3], &[3]]));
    assert_refused(&conv, &images_and(&[&[2, 4, 3, 3], &[1, 2]]));
    for bad in [&[3, 2, 3, 3][..], &[4, 2, 3], &[]] {
        assert_refused(&up, &images_and(&[bad]));
    }
    assert_refused(&up, &images_and(&[&[4, 2, 3, 3], &[4]]));
    for gemm in [
        Gemm::DENSE,
        Gemm {
            trans_a: true,
            ..Gemm::DENSE
        },
    ] {
        assert_refused(&Op::Gemm(gemm), &images_and(&[&[2, 4]]));
        assert_refused(&Op::Gemm(gemm), &arrays(&[&[2, 3], &[5, 4]]));
        assert_refused(&Op::Gemm(gemm), &arrays(&[&[2], &[5, 4]]));
    }
    assert_refused(&Op::Gemm(Gemm::DENSE), &arrays(&[&[2, 3], &[4, 3], &[3]]));
    assert_refused(
        &Op::Gemm(Gemm::DENSE),
        &arrays(&[&[2, 3], &[4, 3], &[1, 2, 4]]),
    );
    for bad in [&[5, 2][..], &[6], &[], &[3, 6, 2], &[4, 5, 2]] {
        assert_refused(&Op::MatMul(MatMul), &images_and(&[bad]));
    }
    let norm = Op::BatchNorm(BatchNorm {
        epsilon: 1e-5,
        momentum: 0.9,
    });
    assert_refused(&norm, &images_and(&[[5].as_slice(); 4]));
    assert_refused(&norm, &images_and(&[&[4], &[4], &[4], &[1, 4]]));
    assert_refused(&norm, &arrays(&[&[4], &[4], &[4], &[4], &[4]]));
    for axis in [-1, 2] {
        assert_refused(
            &Op::LayerNorm(LayerNorm {
                axis,
                epsilon: 1e-5,
            }),
            &images_and(&[&[5]]),
        );
    }
    assert_refused(
        &Op::LayerNorm(LayerNorm {
            axis: -1,
            epsilon: 1e-5,
        }),
        &images_and(&[&[6], &[1]]),
    );
    for op in [
        Op::GlobalAveragePool(GlobalAveragePool),
        Op::MaxPool(MaxPool(Window::square(2))),
        Op::AveragePool(AveragePool {
            window: Window::square(2),
            count_include_pad: true,
        }),
        Op::Resize(Resize::linear([2, 2], [1.0, 1.0])),
    ] {
        assert_refused(&op, &arrays(&[&[4, 5, 6]]));
        assert_refused(&op, &arrays(&[&[1, 1, 4, 5, 6]]));
    }
    assert_refused(&Op::Concat(Concat { axis: 1 }), &images_and(&[&[4, 5, 6]]));
    assert_refused(
        &Op::Concat(Concat { axis: 1 }),
        &images_and(&[&[3, 4, 5, 6]]),
    );
    assert_refused(
        &Op::Concat(Concat { axis: 0 }),
        &images_and(&[&[3, 4, 5, 6]]),
    );
    assert_refused(&Op::Concat(Concat { axis: 0 }), &arrays(&[&[], &[]]));
    let to_batch = Op::Expand(Expand {
        shape: vec![None, Some(2)],
    });
    assert_refused(&to_batch, &arrays(&[&[1, 2], &[]]));
    assert_refused(&to_batch, &arrays(&[&[2, 2], &[3, 1]]));
}

#[test]
fn malformed_windows_are_refused() {
    let conv = |edit: fn(&mut Conv)| {
        let mut conv = Conv {
            pads: [1; 4],
            ..Conv::default()
        };
        edit(&mut conv);
        conv
    };
    let convs: [fn(&mut Conv); 13] = [
        |c| c.groups = 0,
        |c| c.groups = 2,
        |c| c.groups = 3,
        |c| c.groups = HUGE,
        |c| c.stride = [0, 1],
        |c| c.stride = [1, HUGE],
        |c| c.dilation = [0, 1],
        |c| c.dilation = [1, HUGE],
        |c| c.dilation = [4, 1],
        |c| c.pads = [HUGE; 4],
        |c| c.pads = [HUGE / 8, 0, 0, 0],
        |c| c.pads = [1 << 20; 4],
        |c| c.pads = [1 << 62, 1 << 62, 1 << 62, 1 << 62],
    ];
    for edit in convs {
        assert_refused(&Op::Conv(conv(edit)), &images_and(&[&[2, 4, 3, 3]]));
    }
    let transposed: [fn(&mut Conv); 9] = [
        |c| c.groups = 0,
        |c| c.groups = 3,
        |c| c.groups = HUGE,
        |c| c.stride = [0, 1],
        |c| c.stride = [1, HUGE],
        |c| c.dilation = [0, 1],
        |c| c.dilation = [1, HUGE],
        |c| c.pads = [4; 4],
        |c| c.pads = [HUGE; 4],
    ];
    for edit in transposed {
        let op = ConvTranspose {
            conv: conv(edit),
            output_padding: [0, 0],
        };
        assert_refused(&Op::ConvTranspose(op), &images_and(&[&[4, 2, 3, 3]]));
    }
    for output_padding in [[1, 0], [0, HUGE], [1 << 40, 0]] {
        assert_refused(
            &Op::ConvTranspose(ConvTranspose {
                conv: conv(|_| {}),
                output_padding,
            }),
            &images_and(&[&[4, 2, 3, 3]]),
        );
    }
    let pools: [fn(&mut Window); 12] = [
        |w| w.kernel = [0, 2],
        |w| w.kernel = [6, 2],
        |w| w.kernel = [HUGE, 2],
        |w| w.stride = [2, 0],
        |w| w.stride = [HUGE, 1],
        |w| w.dilation = [0, 1],
        |w| w.dilation = [HUGE, 1],
        |w| w.dilation = [5, 1],
        |w| w.pads = [2, 0, 0, 0],
        |w| w.pads = [0, 0, 0, 2],
        |w| w.pads = [HUGE; 4],
        |w| w.pads = [1 << 62; 4],
    ];
    for edit in pools {
        for ceil in [false, true] {
            let mut window = Window {
                ceil,
                ..Window::square(2)
            };
            edit(&mut window);
            assert_refused(&Op::MaxPool(MaxPool(window.clone())), &[Fed::Images]);
            assert_refused(
                &Op::AveragePool(AveragePool {
                    window,
                    count_include_pad: false,
                }),
                &[Fed::Images],
            );
        }
    }
    let sizes = [
        [0, 2],
        [2, 0],
        [HUGE, 2],
        [1 << 40, 1 << 40],
        [1 << 20, 1 << 20],
    ];
    for size in sizes {
        assert_refused(
            &Op::Resize(Resize {
                size,
                ..Resize::linear([2, 2], [1.0, 1.0])
            }),
            &[Fed::Images],
        );
    }
    for scale in [
        [0.0, 1.0],
        [1.0, -1.0],
        [f64::NAN, 1.0],
        [1.0, f64::INFINITY],
    ] {
        assert_refused(
            &Op::Resize(Resize {
                scale,
                ..Resize::linear([2, 2], [1.0, 1.0])
            }),
            &[Fed::Images],
        );
    }
}

#[test]
fn malformed_axes_are_refused() {
    for axis in [4, -5, i64::MAX, i64::MIN] {
        assert_refused(&Op::Softmax(Softmax { axis, log: true }), &[Fed::Images]);
        assert_refused(
            &Op::LayerNorm(LayerNorm {
                axis,
                epsilon: 1e-5,
            }),
            &images_and(&[&[6]]),
        );
        assert_refused(&Op::Concat(Concat { axis }), &[Fed::Images, Fed::Images]);
        assert_refused(
            &Op::Split(Split {
                axis,
                sizes: vec![4],
            }),
            &[Fed::Images],
        );
        assert_refused(
            &Op::Gather(Gather {
                axis,
                index: vec![0],
                index_shape: vec![1],
            }),
            &[Fed::Images],
        );
        if axis != 4 {
            assert_refused(&Op::Flatten(Flatten { axis }), &[Fed::Images]);
            assert_refused(
                &Op::Unsqueeze(Unsqueeze {
                    axes: vec![axis.saturating_add(axis.signum())],
                }),
                &[Fed::Images],
            );
        }
        for kind in [ReduceKind::Mean, ReduceKind::Sum] {
            assert_refused(
                &Op::Reduce(Reduce {
                    kind,
                    axes: vec![axis],
                    keep: false,
                }),
                &[Fed::Images],
            );
        }
        assert_refused(&Op::Squeeze(Squeeze { axes: vec![axis] }), &[Fed::Images]);
    }
    // Named twice, also by two names.
    for axes in [vec![1, 1], vec![1, -3]] {
        assert_refused(
            &Op::Reduce(Reduce {
                kind: ReduceKind::Mean,
                axes: axes.clone(),
                keep: true,
            }),
            &[Fed::Images],
        );
        assert_refused(
            &Op::Squeeze(Squeeze { axes }),
            &[Fed::Array(vec![1, 1, 1, 1])],
        );
    }
    assert_refused(
        &Op::Unsqueeze(Unsqueeze { axes: vec![0, -6] }),
        &[Fed::Images],
    );
    assert_refused(&Op::Squeeze(Squeeze { axes: vec![1] }), &[Fed::Images]);
    for perm in [
        vec![],
        vec![0, 1, 2],
        vec![0, 1, 2, 2],
        vec![0, 1, 2, 4],
        vec![0, 1, 2, 3, 4],
        vec![HUGE, 1, 2, 3],
    ] {
        assert_refused(&Op::Transpose(Transpose { perm }), &[Fed::Images]);
    }
}

#[test]
fn malformed_layouts_are_refused() {
    let reshape = |shape: &[i64]| {
        Op::Reshape(Reshape {
            shape: shape.to_vec(),
        })
    };
    for shape in [
        &[-1, -1][..],
        &[-2],
        &[0, 7, -1],
        &[],
        &[0, 120, 2],
        &[0, 0, 0, 0, 0],
        &[i64::MAX, 4],
        &[i64::MIN],
        &[i64::MAX, i64::MAX, -1],
    ] {
        assert_refused(&reshape(shape), &[Fed::Images]);
    }
    for sizes in [
        vec![],
        vec![3],
        vec![4, 0],
        vec![2, 2],
        vec![HUGE, 5],
        vec![HUGE],
    ] {
        // Two pieces are refused as well: the node has one output.
        assert_refused(&Op::Split(Split { axis: 1, sizes }), &[Fed::Images]);
    }
    let part = SliceAxis {
        axis: 1,
        start: 0,
        step: 1,
        count: 4,
    };
    let parts = [
        SliceAxis { axis: 4, ..part },
        SliceAxis { axis: HUGE, ..part },
        SliceAxis { start: 4, ..part },
        SliceAxis {
            start: HUGE,
            ..part
        },
        SliceAxis { start: 1, ..part },
        SliceAxis { count: 0, ..part },
        SliceAxis {
            count: HUGE,
            ..part
        },
        SliceAxis {
            count: 1 << 63,
            ..part
        },
        SliceAxis { step: -1, ..part },
        SliceAxis {
            step: i64::MAX,
            ..part
        },
        SliceAxis {
            step: i64::MIN,
            ..part
        },
        SliceAxis {
            step: i64::MIN,
            count: 2,
            start: 3,
            axis: 1,
        },
        SliceAxis { step: 0, ..part },
        SliceAxis {
            step: 0,
            count: 1,
            ..part
        },
        SliceAxis {
            step: 0,
            count: 1 << 63,
            ..part
        },
    ];
    for part in parts {
        assert_refused(&Op::Slice(Slice { axes: vec![part] }), &[Fed::Images]);
    }
    let short = SliceAxis { count: 2, ..part };
    assert_refused(
        &Op::Slice(Slice {
            axes: vec![short, part],
        }),
        &[Fed::Images],
    );
    assert_refused(
        &Op::Slice(Slice {
            axes: vec![part, short],
        }),
        &[Fed::Images],
    );
    let gather = |index: &[usize], shape: &[usize]| {
        Op::Gather(Gather {
            axis: 1,
            index: index.to_vec(),
            index_shape: shape.to_vec(),
        })
    };
    for (index, shape) in [
        (&[][..], &[][..]),
        (&[], &[0]),
        (&[4], &[1]),
        (&[HUGE], &[]),
        (&[0, 1], &[]),
        (&[0], &[2]),
        (&[0, 1], &[(1 << 63) + 1, 2]),
    ] {
        assert_refused(&gather(index, shape), &[Fed::Images]);
    }
    for shape in [
        vec![Some(7)],
        vec![Some(5), Some(5)],
        vec![Some(0)],
        vec![Some(HUGE), Some(1), Some(1), Some(1), Some(1)],
    ] {
        assert_refused(&Op::Expand(Expand { shape }), &[Fed::Images]);
    }
    for (axis, k) in [(1, 0), (1, 5), (-1, HUGE), (4, 1), (-5, 1)] {
        assert_refused(&Op::TopK(TopK { axis, k }), &[Fed::Images]);
    }
    let pads = |edit: (i64, i64)| {
        Op::Pad(Pad {
            pads: vec![(0, 0), edit, (0, 0), (0, 0)],
            value: 0.0,
        })
    };
    for edit in [
        (-4, 0),
        (-2, -2),
        (-5, 5),
        (i64::MIN, 0),
        (i64::MIN, i64::MIN),
        (i64::MIN, i64::MAX),
        (i64::MAX, i64::MAX),
        (1 << 40, 0),
    ] {
        assert_refused(&pads(edit), &[Fed::Images]);
    }
    assert_refused(
        &Op::Pad(Pad {
            pads: vec![(0, 0); 3],
            value: 0.0,
        }),
        &[Fed::Images],
    );
}

#[test]
fn what_fits_only_some_batch_sizes_is_refused() {
    let of_batch = |start: usize, count: usize| {
        Op::Slice(Slice {
            axes: vec![SliceAxis {
                axis: 0,
                start,
                step: 1,
                count,
            }],
        })
    };
    assert_refused(&of_batch(0, 2), &[Fed::Images]);
    assert_refused(&of_batch(2, 1), &[Fed::Images]);
    assert_refused(
        &Op::Gather(Gather {
            axis: 0,
            index: vec![0, 2],
            index_shape: vec![2],
        }),
        &[Fed::Images],
    );
    assert_refused(
        &Op::Pad(Pad {
            pads: vec![(-1, 1), (0, 0), (0, 0), (0, 0)],
            value: 0.0,
        }),
        &[Fed::Images],
    );
    assert_refused(
        &Op::Split(Split {
            axis: 0,
            sizes: vec![3],
        }),
        &[Fed::Images],
    );
    assert_refused(
        &Op::Reshape(Reshape {
            shape: vec![360, 1],
        }),
        &[Fed::Images],
    );
    // The first example exists at every batch size.
    assert!(refusal(&of_batch(0, 1), &[Fed::Images]).is_none());

    // Windows over the batch: one at every batch size up to six, then two.
    let mut b = Builder::new("turned", "input", [4, 5, 6]).unwrap();
    let x = b.input();
    let turned = b
        .node(
            "turned",
            Op::Transpose(Transpose {
                perm: vec![1, 2, 0, 3],
            }),
            &[x],
        )
        .unwrap();
    let window = Window {
        kernel: [1, 1],
        stride: [6, 1],
        ..Window::square(1)
    };
    assert!(matches!(
        b.node("wrong", Op::MaxPool(MaxPool(window)), &[turned]),
        Err(Error::Node { .. })
    ));
}

#[test]
fn a_refused_node_leaves_no_value_behind() {
    let mut b = Builder::new("twice", "input", [1, 1, 4]).unwrap();
    let x = b.input();
    let split = |b: &mut Builder, names: [&str; 2]| {
        b.nodes(
            "split",
            Op::Split(Split {
                axis: 3,
                sizes: vec![2, 2],
            }),
            &[x],
            &names.map(str::to_owned),
        )
    };
    assert!(matches!(
        split(&mut b, ["left", "input"]),
        Err(Error::Graph(_))
    ));
    assert!(matches!(
        split(&mut b, ["left", "left"]),
        Err(Error::Graph(_))
    ));
    assert!(b.network().find("left").is_none());
    let pieces = split(&mut b, ["left", "right"]).unwrap();
    let z = b
        .node(
            "z",
            Op::Reshape(Reshape { shape: vec![0, 2] }),
            &[pieces[0]],
        )
        .unwrap();
    let net = Session::new(b.finish(z).unwrap());
    let ids: Vec<ValueId> = ["left", "right", "z"]
        .iter()
        .map(|n| net.find(n).unwrap())
        .collect();
    assert_eq!(
        net.values_at(&Tensor::full(&[2, 1, 1, 4], 1.0, Precision::F32), &ids)
            .unwrap()
            .len(),
        3
    );
}

fn small() -> BoxedStrategy<usize> {
    let huge = select(vec![HUGE, HUGE / 2, 1 << 62, 1 << 40]);
    prop_oneof![8 => 0usize..=3, 3 => 3usize..=6, 1 => huge].boxed()
}

fn signed() -> BoxedStrategy<i64> {
    prop_oneof![10 => -4i64..=4, 1 => select(vec![i64::MIN, i64::MAX, 1 << 40, -(1 << 40)])].boxed()
}

fn pair() -> BoxedStrategy<[usize; 2]> {
    [small(), small()].boxed()
}

fn convolutions() -> BoxedStrategy<Conv> {
    (
        pair(),
        [small(), small(), small(), small()],
        pair(),
        small(),
    )
        .prop_map(|(stride, pads, dilation, groups)| Conv {
            stride,
            pads,
            dilation,
            groups,
        })
        .boxed()
}

fn windows() -> BoxedStrategy<Window> {
    (
        pair(),
        pair(),
        [small(), small(), small(), small()],
        pair(),
        any::<bool>(),
    )
        .prop_map(|(kernel, stride, pads, dilation, ceil)| Window {
            kernel,
            stride,
            pads,
            dilation,
            ceil,
        })
        .boxed()
}

/// Operators with attributes that may make no sense.
fn any_op() -> BoxedStrategy<Op> {
    let signeds = || vec(signed(), 0..4);
    let sizes = || vec(small(), 0..4);
    let slice_axis = (prop_oneof![0usize..4, small()], small(), signed(), small()).prop_map(
        |(axis, start, step, count)| SliceAxis {
            axis,
            start,
            step,
            count,
        },
    );
    let resize = (
        pair(),
        [0.0..3.0f64, 0.0..3.0],
        select(&RESIZE_MODES[..]),
        select(&COORDINATES[..]),
    );
    prop_oneof![
        select(vec![
            Unary::Relu,
            Unary::Tanh,
            Unary::Softplus,
            Unary::HardSwish
        ])
        .prop_map(Op::Unary),
        select(vec![
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Pow
        ])
        .prop_map(Op::Binary),
        Just(Op::PRelu(PRelu)),
        convolutions().prop_map(Op::Conv),
        (convolutions(), pair()).prop_map(|(conv, output_padding)| Op::ConvTranspose(
            ConvTranspose {
                conv,
                output_padding
            }
        )),
        any::<[bool; 2]>().prop_map(|[trans_a, trans_b]| Op::Gemm(Gemm {
            trans_a,
            trans_b,
            ..Gemm::DENSE
        })),
        Just(Op::MatMul(MatMul)),
        Just(Op::BatchNorm(BatchNorm {
            epsilon: 1e-5,
            momentum: 0.9
        })),
        signed().prop_map(|axis| Op::LayerNorm(LayerNorm {
            axis,
            epsilon: 1e-5
        })),
        (signed(), any::<bool>()).prop_map(|(axis, log)| Op::Softmax(Softmax { axis, log })),
        windows().prop_map(|w| Op::MaxPool(MaxPool(w))),
        (windows(), any::<bool>()).prop_map(|(window, count_include_pad)| Op::AveragePool(
            AveragePool {
                window,
                count_include_pad
            }
        )),
        Just(Op::GlobalAveragePool(GlobalAveragePool)),
        resize.prop_map(|(size, scale, mode, coordinates)| Op::Resize(Resize {
            size,
            scale,
            mode,
            coordinates
        })),
        (signeds(), any::<[bool; 2]>()).prop_map(|(axes, [mean, keep])| {
            Op::Reduce(Reduce {
                kind: if mean {
                    ReduceKind::Mean
                } else {
                    ReduceKind::Sum
                },
                axes,
                keep,
            })
        }),
        vec(
            prop_oneof![2 => Just(-1), 2 => Just(0), 1 => signed()],
            0..5
        )
        .prop_map(|shape| Op::Reshape(Reshape { shape })),
        signed().prop_map(|axis| Op::Flatten(Flatten { axis })),
        signeds().prop_map(|axes| Op::Squeeze(Squeeze { axes })),
        signeds().prop_map(|axes| Op::Unsqueeze(Unsqueeze { axes })),
        prop_oneof![Just(vec![0usize, 1, 2, 3]).prop_shuffle(), sizes()]
            .prop_map(|perm| Op::Transpose(Transpose { perm })),
        signed().prop_map(|axis| Op::Concat(Concat { axis })),
        (signed(), sizes()).prop_map(|(axis, sizes)| Op::Split(Split { axis, sizes })),
        vec(slice_axis, 0..3).prop_map(|axes| Op::Slice(Slice { axes })),
        (signed(), vec(small(), 0..5), sizes()).prop_map(|(axis, index, shape)| {
            let index_shape = if shape.len() % 2 == 0 {
                vec![index.len()]
            } else {
                shape
            };
            Op::Gather(Gather {
                axis,
                index,
                index_shape,
            })
        }),
        vec(
            prop_oneof![1 => Just(None), 3 => small().prop_map(Some)],
            0..5
        )
        .prop_map(|shape| Op::Expand(Expand { shape })),
        vec((signed(), signed()), 3..=4).prop_map(|pads| Op::Pad(Pad { pads, value: 0.5 })),
        (signed(), small()).prop_map(|(axis, k)| Op::TopK(TopK { axis, k })),
    ]
    .boxed()
}

/// Shapes of arrays of images' size and smaller, with ones that are likely to fit.
fn any_shape() -> BoxedStrategy<Vec<usize>> {
    prop_oneof![
        vec(1usize..=4, 0..=5),
        select(vec![
            vec![2],
            vec![2, 1, 1],
            vec![2, 2, 1, 1],
            vec![4, 2, 2, 2],
            vec![2, 1, 3, 3],
            vec![4, 3]
        ])
    ]
    .boxed()
}

/// What the random operator is applied to: the images `[n, 2, 3, 4]`, a flat or a turned view of
/// them, or an array.
#[derive(Clone, Debug)]
enum Drawn {
    Images,
    Flat,
    Turned,
    Array(Vec<usize>),
}

fn drawn() -> BoxedStrategy<Drawn> {
    prop_oneof![
        4 => Just(Drawn::Images),
        1 => Just(Drawn::Flat),
        1 => Just(Drawn::Turned),
        2 => any_shape().prop_map(Drawn::Array),
    ]
    .boxed()
}

/// The network of a random operator, with its inferred output shapes, if the builder takes it.
fn random_network(op: &Op, inputs: &[Drawn]) -> Option<(Session, Vec<ValueId>)> {
    let mut b = Builder::new("random", "input", [2, 3, 4]).unwrap();
    let mut ids = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        let x = b.input();
        ids.push(match input {
            Drawn::Images => x,
            Drawn::Flat => b
                .node(&format!("flat {i}"), Op::Flatten(Flatten { axis: 1 }), &[x])
                .unwrap(),
            Drawn::Turned => b
                .node(
                    &format!("turned {i}"),
                    Op::Transpose(Transpose {
                        perm: vec![1, 2, 0, 3],
                    }),
                    &[x],
                )
                .unwrap(),
            Drawn::Array(shape) => b
                .parameter(
                    &format!("array {i}"),
                    uniform_tensor(i as u64, shape, 0.5, 2.0),
                    true,
                )
                .unwrap(),
        });
    }
    let count = if let Op::Split(s) = op {
        s.sizes.len().max(1)
    } else {
        1
    };
    let names: Vec<String> = (0..count).map(|i| format!("y {i}")).collect();
    let outputs = match b.nodes("random", op.clone(), &ids, &names) {
        Ok(outputs) => outputs,
        Err(Error::Node { node, operator, .. }) => {
            assert_eq!((node.as_str(), operator.as_str()), ("random", op.name()));
            return None;
        }
        Err(other) => panic!("expected an error of the node, found {other}"),
    };
    // Values with two batch axes (the images by themselves transposed) have no place in the logits.
    let axes = |id: &ValueId| {
        b.network()
            .value(*id)
            .shape
            .iter()
            .filter(|d| matches!(d, Dim::Batch(_)))
            .count()
    };
    let readable: Vec<ValueId> = outputs.iter().copied().filter(|id| axes(id) < 2).collect();
    let all = if readable.is_empty() {
        vec![b.input()]
    } else {
        readable
    };
    let logits = read_out(&mut b, &all, 1).unwrap();
    Some((Session::new(b.finish(logits).unwrap()), outputs))
}

#[test]
fn random_operators_are_refused_or_run() {
    let accepted = std::cell::Cell::new(0);
    let draws = (any_op(), vec(drawn(), 1..=3));
    each(&draws, 20_000, "random operators", |(op, mut inputs)| {
        // Most operators take one input; give the others what was drawn.
        if matches!(op, Op::BatchNorm(_)) {
            inputs.truncate(1);
            inputs.extend((0..4).map(|_| Drawn::Array(vec![2])));
        } else if one_of_each()
            .iter()
            .any(|(o, arity)| o.name() == op.name() && *arity == (1..=1))
        {
            inputs
                .truncate(1 + usize::from(matches!(&op, Op::Expand(e) if e.shape.contains(&None))));
        }
        let Some((net, outputs)) = random_network(&op, &inputs) else {
            return;
        };
        accepted.set(accepted.get() + 1);
        for n in [1, 3, 4] {
            runs(
                &net,
                &outputs,
                n,
                &format!("{op:?} of {inputs:?} at batch size {n}"),
            );
        }
    });
    assert!(
        accepted.get() > 3000,
        "only {} random operators made sense",
        accepted.get()
    );
}

/// Forward and backward work at a batch size, and values have the inferred shapes.
fn runs(net: &Session, outputs: &[ValueId], n: usize, context: &str) {
    let x = uniform_tensor(5, &[n, 2, 3, 4], 0.1, 1.0);
    for mode in [Mode::Evaluate, Mode::Train] {
        let tape = net.forward(&x.clone().into(), mode).unwrap();
        for &id in outputs {
            let inferred: Vec<usize> = net
                .value(id)
                .shape
                .iter()
                .map(|d| {
                    if let Dim::Batch(k) = d {
                        k * n
                    } else {
                        size(d)
                    }
                })
                .collect();
            assert_eq!(tape.value(id).shape(), inferred, "{context}");
        }
        let labels = CrossEntropy::labels(&vec![0; n]);
        let (_, g) = fgmf_net::head::Head::evaluate(&labels, tape.value(net.output()), 0..n);
        let wanted: Vec<ValueId> = std::iter::once(net.input())
            .chain(net.trainable())
            .collect();
        let gradients = net
            .backward(&tape, vec![(net.output(), g)], &wanted, &Rules::exact())
            .unwrap();
        for (id, g) in wanted.iter().zip(gradients) {
            assert_eq!(g.shape(), tape.value(*id).shape(), "{context}");
        }
    }
}

fn size(dim: &Dim) -> usize {
    match dim {
        Dim::Fixed(d) | Dim::Batch(d) => *d,
    }
}

#[test]
fn nearest_resizing_of_any_scale_stays_inside() {
    // Scales that have little to do with the sizes still read cells of the input.
    for mode in RESIZE_MODES {
        for coordinates in COORDINATES {
            for scale in [1e-300, 1e-3, 1.0, 1e3, 1e300] {
                let op = Op::Resize(Resize {
                    size: [3, 4],
                    scale: [scale; 2],
                    mode,
                    coordinates,
                });
                let (net, outputs) = random_network(&op, &[Drawn::Images]).unwrap();
                runs(&net, &outputs, 1, &format!("{op:?}"));
                if matches!(mode, ResizeMode::Linear) {
                    let y = net
                        .values_at(&Tensor::full(&[1, 2, 3, 4], 1.0, Precision::F64), &outputs)
                        .unwrap();
                    assert!(
                        y[0].to_f64().iter().all(|v| (v - 1.0).abs() < 1e-12),
                        "{op:?}"
                    );
                }
            }
        }
    }
}
