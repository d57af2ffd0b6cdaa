//! Every algorithm on every instruction set against the definition in `f64`.

use super::*;
use crate::simd::on_each;
use proptest::prelude::*;

/// Calls `f(x, w, y)` with the flat positions of every product of the defining sum.
fn each(s: &Conv2d, mut f: impl FnMut(usize, usize, usize)) {
    let ([oh, ow], [kh, kw], [ci, co]) = (s.out_size(), s.kernel, s.per_group());
    let cell = |o: usize, tap: usize, i: usize| {
        let at = o * s.stride[i] + tap * s.dilation[i];
        at.checked_sub(s.pad[i]).filter(|&c| c < [s.h, s.w][i])
    };
    for (b, o, c) in
        (0..s.n).flat_map(|b| (0..s.c_out).flat_map(move |o| (0..ci).map(move |c| (b, o, c))))
    {
        let plane = b * s.c_in + o / co * ci + c;
        for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
            for (p, row) in (0..oh).filter_map(|p| cell(p, i, 0).map(|row| (p, row))) {
                for (q, col) in (0..ow).filter_map(|q| cell(q, j, 1).map(|col| (q, col))) {
                    f(
                        (plane * s.h + row) * s.w + col,
                        ((o * ci + c) * kh + i) * kw + j,
                        ((b * s.c_out + o) * oh + p) * ow + q,
                    );
                }
            }
        }
    }
}

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

/// `[n, c, plane]` in the blocked layout, number by number, with `padding` in the lanes past the
/// last channel.
fn blocked(c: usize, plane: usize, rows: &[f32], padding: f32) -> Vec<f32> {
    let mut out = vec![padding; blocked_len(rows.len() / (c * plane), c, plane)];
    for (i, &v) in rows.iter().enumerate() {
        let (channel, cell, image) = (i / plane % c, i % plane, i / (c * plane));
        out[((image * blocks(c) + channel / LANES) * plane + cell) * LANES + channel % LANES] = v;
    }
    out
}

/// The inverse of [`blocked`].
fn rows(c: usize, plane: usize, blocked: &[f32]) -> Vec<f32> {
    let n = blocked.len() / blocked_len(1, c, plane);
    let at = |i: usize| {
        let (channel, cell, image) = (i / plane % c, i % plane, i / (c * plane));
        ((image * blocks(c) + channel / LANES) * plane + cell) * LANES + channel % LANES
    };
    (0..n * c * plane).map(|i| blocked[at(i)]).collect()
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| v.to_bits()).collect()
}

/// Sums of products, and of their magnitudes, which rounding errors are judged by.
#[derive(Clone)]
struct Exact {
    sum: Vec<f64>,
    size: Vec<f64>,
}

impl Exact {
    fn new(start: &[f32]) -> Self {
        let sum: Vec<f64> = start.iter().map(|&v| f64::from(v)).collect();
        Self {
            size: sum.iter().map(|v| v.abs()).collect(),
            sum,
        }
    }

    fn add(&mut self, at: usize, v: f64) {
        self.sum[at] += v;
        self.size[at] += v.abs();
    }

    /// Within a few roundings of each sum's own magnitude; within those of the largest where
    /// `spread`, for Winograd's transforms carry errors from cell to cell.
    #[track_caller]
    fn judge(&self, got: &[f32], spread: bool, what: &str) {
        assert_eq!(got.len(), self.sum.len());
        let largest = self.size.iter().copied().fold(0.0, f64::max);
        for (i, (&got, (want, size))) in got.iter().zip(self.sum.iter().zip(&self.size)).enumerate()
        {
            let allowed = if spread { 5e-6 * largest } else { 1e-6 * size };
            assert!(
                (f64::from(got) - want).abs() <= allowed,
                "{what}[{i}]: {got}, not {want}"
            );
        }
    }

    fn rectified(mut self) -> Self {
        self.sum.iter_mut().for_each(|v| *v = v.max(0.0));
        self
    }
}

/// Numbers of a convolution, `[n, c, h, w]`.
struct Numbers {
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    gate: Vec<f32>,
    bias: Vec<f32>,
    add: Vec<f32>,
    /// What `dw` holds before.
    before: Vec<f32>,
}

impl Numbers {
    fn new(s: &Conv2d) -> Self {
        let (y, w) = (s.y_len(), s.w_len());
        let [x, w, dy, gate, bias, add, before] = [
            (s.x_len(), 1),
            (w, 2),
            (y, 3),
            (y, 4),
            (s.c_out, 5),
            (y, 6),
            (w, 7),
        ]
        .map(|(n, k)| noise(n, k));
        Self {
            x,
            w,
            dy,
            gate,
            bias,
            add,
            before,
        }
    }

    /// The same with the images from `from` to `to` alone.
    fn images(&self, one: &Conv2d, from: usize, to: usize) -> Self {
        let part = |v: &[f32], len: usize| v[from * len..to * len].to_vec();
        let (x, y) = (one.x_len(), one.y_len());
        let (w, bias, before) = (self.w.clone(), self.bias.clone(), self.before.clone());
        Self {
            x: part(&self.x, x),
            dy: part(&self.dy, y),
            gate: part(&self.gate, y),
            add: part(&self.add, y),
            w,
            bias,
            before,
        }
    }
}

/// What each pass gives, `[n, c, h, w]`.
struct Passes {
    plain: Vec<f32>,
    finished: Vec<f32>,
    dx: Vec<f32>,
    dx_gated: Vec<f32>,
    dw: Vec<f32>,
    dw_gated: Vec<f32>,
}

/// Every pass into outputs full of NaN, with `padding` in the unused lanes of inputs. `dirty`
/// scratch is longer than any pass needs and full of NaN (in an interpreter it is short); else it
/// begins empty, so that a pass's reach is its allocation (a sanitizer sees a step outside).
fn run(conv: &BlockedConv, v: &Numbers, padding: f32, dirty: bool) -> Passes {
    let s = conv.shape();
    let ([oh, ow], input) = (s.out_size(), s.h * s.w);
    let scratch = || {
        with_scratch(|scratch| {
            *scratch = if dirty {
                vec![f32::NAN; if cfg!(miri) { 1 << 12 } else { 1 << 20 }]
            } else {
                Vec::new()
            }
        })
    };
    let x = if conv.input_in_rows() {
        v.x.clone()
    } else {
        blocked(s.c_in, input, &v.x, padding)
    };
    let [dy, gate, add] = [&v.dy, &v.gate, &v.add].map(|y| blocked(s.c_out, oh * ow, y, padding));
    let mut bias = v.bias.clone();
    bias.resize(conv.bias_len(), padding);
    let (forward, backward) = (conv.pack_forward(&v.w), conv.pack_backward(&v.w));
    let n = x.len() / conv.x_len(1);
    assert_eq!([conv.x_len(n), conv.y_len(n)], [x.len(), dy.len()]);

    let apply = |epilogue| {
        scratch();
        let mut y = vec![f32::NAN; conv.y_len(n)];
        conv.forward(&x, &forward, epilogue, &mut y);
        rows(s.c_out, oh * ow, &y)
    };
    let grad_input = |dy| {
        scratch();
        let mut dx = vec![f32::NAN; conv.x_len(n)];
        conv.grad_input(dy, &backward, &mut dx);
        if conv.input_in_rows() {
            dx
        } else {
            rows(s.c_in, input, &dx)
        }
    };
    let grad_weight = |dy| {
        scratch();
        let mut dw = v.before.clone();
        conv.grad_weight(&x, dy, &mut dw);
        dw
    };
    Passes {
        plain: apply(Epilogue::default()),
        finished: apply(Epilogue {
            bias: Some(&bias),
            add: Some(&add),
            relu: true,
        }),
        dx: grad_input(Pass::new(&dy)),
        dx_gated: grad_input(Pass::gated(&dy, &gate)),
        dw: grad_weight(Pass::new(&dy)),
        dw_gated: grad_weight(Pass::gated(&dy, &gate)),
    }
}

/// All passes on all instruction sets: against the defining sums, with other padding, and with an
/// image that is all NaN.
fn judge(s: &Conv2d) {
    s.check().unwrap();
    let conv = BlockedConv::new(s).unwrap_or_else(|| panic!("no blocked form of {s:?}"));
    let spread = matches!(conv.algorithm, Algorithm::Winograd { .. });
    let v = Numbers::new(s);
    let zeros = |len| Exact::new(&vec![0.0; len]);
    let (mut y, mut dx, mut dx_gated) = (zeros(s.y_len()), zeros(s.x_len()), zeros(s.x_len()));
    let (mut dw, mut dw_gated) = (Exact::new(&v.before), Exact::new(&v.before));
    each(s, |i, j, k| {
        let [x, w, dy] = [v.x[i], v.w[j], v.dy[k]].map(f64::from);
        y.add(k, x * w);
        dx.add(i, dy * w);
        dw.add(j, dy * x);
        if v.gate[k] > 0.0 {
            dx_gated.add(i, dy * w);
            dw_gated.add(j, dy * x);
        }
    });
    let plane = s.y_len() / (s.n * s.c_out).max(1);
    let mut finished = y.clone();
    for (k, add) in v.add.iter().enumerate() {
        finished.add(k, f64::from(*add));
        finished.add(k, f64::from(v.bias[k / plane % s.c_out]));
    }
    let finished = finished.rectified();

    let one = Conv2d { n: 1, ..*s };
    let middle = s.n / 2;
    let mut poisoned = Numbers::new(s);
    for (v, len) in [
        (&mut poisoned.x, one.x_len()),
        (&mut poisoned.dy, one.y_len()),
    ] {
        v.iter_mut()
            .skip(middle * len)
            .take(len)
            .for_each(|v| *v = f32::NAN);
    }
    on_each(|isa| {
        let all = run(&conv, &v, 0.0, false);
        let name = |pass: &str| format!("{pass} of {s:?} on {isa:?}");
        y.judge(&all.plain, spread, &name("output"));
        finished.judge(&all.finished, spread, &name("finished output"));
        dx.judge(&all.dx, spread, &name("gradient to the input"));
        dx_gated.judge(&all.dx_gated, spread, &name("gated gradient to the input"));
        dw.judge(&all.dw, spread, &name("gradient to the weight"));
        dw_gated.judge(&all.dw_gated, spread, &name("gated gradient to the weight"));

        let other = run(&conv, &v, 1e30, true);
        let pairs = |a: &Passes, b: &Passes| {
            for (a, b) in [
                (&a.plain, &b.plain),
                (&a.finished, &b.finished),
                (&a.dx, &b.dx),
                (&a.dx_gated, &b.dx_gated),
            ] {
                assert_eq!(bits(a), bits(b), "{}", name("an image"));
            }
        };
        pairs(&all, &other);
        assert_eq!(
            [bits(&all.dw), bits(&all.dw_gated)],
            [bits(&other.dw), bits(&other.dw_gated)],
            "{}",
            name("gradient to the weight")
        );

        let mixed = run(&conv, &poisoned, 0.0, false);
        for b in 0..s.n {
            let part = |p: &Passes| {
                let cut = |v: &[f32], len: usize| v[b * len..(b + 1) * len].to_vec();
                let [plain, finished] = [&p.plain, &p.finished].map(|y| cut(y, one.y_len()));
                let [dx, dx_gated] = [&p.dx, &p.dx_gated].map(|x| cut(x, one.x_len()));
                Passes {
                    plain,
                    finished,
                    dx,
                    dx_gated,
                    dw: Vec::new(),
                    dw_gated: Vec::new(),
                }
            };
            pairs(
                &run(&conv, &v.images(&one, b, b + 1), 0.0, true),
                &part(&all),
            );
            if b != middle {
                pairs(&part(&mixed), &part(&all));
            }
        }
    });
}

fn shape(
    n: usize,
    [c_in, c_out]: [usize; 2],
    [h, w]: [usize; 2],
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Conv2d {
    Conv2d {
        n,
        c_in,
        h,
        w,
        c_out,
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad: [pad; 4],
        dilation: [1; 2],
        groups: 1,
    }
}

/// Images of Winograd's shapes, and shapes of a list that are tried, the smallest first: an
/// interpreter takes minutes for each.
const IMAGES: usize = if cfg!(miri) { 1 } else { 3 };
const CASES: usize = if cfg!(miri) { 1 } else { usize::MAX };

#[test]
fn winograd() {
    for (channels, size, pad) in [
        ([16, 16], [1, 3], [2, 1, 1, 2]),
        ([16, 16], [8, 8], [1; 4]),
        ([17, 33], [7, 9], [1; 4]),
        ([20, 16], [6, 5], [0; 4]),
        ([16, 21], [3, 2], [2; 4]),
        ([18, 18], [5, 6], [0, 1, 2, 0]),
        ([31, 40], [10, 3], [2, 0, 0, 1]),
    ]
    .into_iter()
    .take(CASES)
    {
        judge(&Conv2d {
            pad,
            ..shape(IMAGES, channels, size, 3, 1, 0)
        });
    }
}

/// Phases of 4x4 windows of stride 2: odd and even sides, every remainder of the padding, cells
/// that no window reaches.
#[test]
fn winograd_of_phases() {
    for (channels, size, pad, side) in [
        ([16, 16], [10, 10], [1; 4], 7),
        ([16, 32], [14, 14], [1; 4], 7),
        ([17, 32], [15, 16], [1; 4], 4),
        ([20, 16], [18, 17], [0; 4], 4),
        ([16, 21], [13, 12], [2; 4], 7),
        ([18, 18], [13, 14], [3, 2, 0, 1], 7),
        ([16, 16], [11, 21], [0, 3, 3, 0], 4),
        ([31, 40], [8, 8], [1, 1, 2, 2], 4),
        ([32, 17], [10, 12], [1; 4], 7),
        // One tile, whose window would not reach the last row of the image.
        ([16, 16], [16, 14], [1, 1, 0, 1], 4),
        // More channels than the large tile is for.
        ([33, 16], [14, 14], [1; 4], 4),
    ]
    .into_iter()
    .take(CASES)
    {
        let s = Conv2d {
            pad,
            ..shape(IMAGES, channels, size, 4, 2, 0)
        };
        assert_eq!(Winograd::side(&s), Some(side), "{s:?}");
        judge(&s);
    }
}

#[test]
fn direct() {
    for s in [
        shape(1, [16, 16], [3, 5], 3, 2, 1),
        shape(3, [16, 16], [8, 8], 3, 2, 1),
        shape(2, [20, 17], [9, 7], 3, 2, 0),
        shape(2, [9, 33], [10, 11], 3, 3, 1),
        shape(3, [17, 20], [5, 4], 1, 1, 0),
        shape(2, [32, 9], [7, 7], 1, 2, 0),
        shape(2, [16, 10], [8, 8], 1, 3, 2),
        shape(2, [12, 40], [8, 6], 4, 2, 1),
        shape(2, [16, 18], [7, 6], 5, 1, 2),
        shape(2, [9, 8], [9, 8], 3, 1, 1),
        shape(1, [9, 3], [6, 9], 5, 7, 3),
        Conv2d {
            dilation: [2; 2],
            ..shape(2, [18, 16], [8, 9], 3, 1, 2)
        },
        Conv2d {
            dilation: [2, 3],
            pad: [3, 0, 1, 4],
            ..shape(2, [10, 19], [9, 8], 3, 2, 0)
        },
        Conv2d {
            kernel: [1, 7],
            pad: [0, 3, 0, 3],
            ..shape(2, [11, 12], [7, 7], 1, 1, 0)
        },
        Conv2d {
            kernel: [2, 1],
            stride: [1, 2],
            ..shape(2, [16, 16], [5, 5], 1, 1, 0)
        },
        // Wider padding than image, and cells that no window reaches.
        Conv2d {
            pad: [4, 0, 5, 7],
            ..shape(2, [9, 20], [2, 3], 3, 2, 0)
        },
        Conv2d {
            stride: [4, 5],
            ..shape(2, [17, 9], [9, 12], 2, 1, 0)
        },
    ]
    .into_iter()
    .take(CASES)
    {
        judge(&s);
    }
}

#[test]
fn few_channels() {
    for s in [
        shape(1, [1, 16], [3, 3], 3, 1, 1),
        shape(3, [1, 16], [8, 8], 3, 1, 1),
        shape(2, [3, 20], [9, 7], 3, 2, 1),
        shape(2, [3, 40], [12, 12], 7, 2, 3),
        shape(3, [8, 17], [6, 6], 3, 1, 1),
        shape(2, [8, 3], [5, 5], 1, 1, 0),
        shape(2, [1, 9], [9, 8], 4, 2, 1),
        shape(2, [2, 5], [8, 9], 2, 5, 0),
        Conv2d {
            dilation: [2, 1],
            pad: [5, 0, 0, 3],
            ..shape(2, [3, 6], [5, 7], 3, 1, 0)
        },
        Conv2d {
            pad: [9, 8, 0, 0],
            ..shape(2, [2, 3], [2, 3], 2, 1, 0)
        },
    ]
    .into_iter()
    .take(CASES)
    {
        judge(&s);
    }
}

#[test]
fn depthwise() {
    for s in [
        Conv2d {
            groups: 16,
            ..shape(1, [16; 2], [3, 3], 3, 1, 1)
        },
        Conv2d {
            groups: 16,
            ..shape(3, [16; 2], [8, 8], 3, 1, 1)
        },
        Conv2d {
            groups: 20,
            ..shape(2, [20; 2], [9, 7], 3, 2, 1)
        },
        Conv2d {
            groups: 40,
            ..shape(2, [40; 2], [5, 6], 5, 1, 2)
        },
        Conv2d {
            groups: 3,
            pad: [0, 1, 2, 3],
            dilation: [1, 2],
            ..shape(3, [3; 2], [7, 9], 3, 2, 0)
        },
        Conv2d {
            groups: 17,
            stride: [3, 1],
            ..shape(2, [17; 2], [6, 5], 2, 1, 4)
        },
    ]
    .into_iter()
    .take(CASES)
    {
        judge(&s);
    }
}

/// More than is held at once: pieces of Winograd's tiles end inside an image, padded copies are
/// taken in turns.
#[test]
#[cfg_attr(miri, ignore = "too large to interpret")]
fn large_images_and_batches() {
    judge(&shape(2, [16, 16], [44, 43], 3, 1, 1));
    judge(&shape(2, [16, 16], [74, 73], 4, 2, 1));
    judge(&shape(3, [64, 16], [34, 34], 3, 2, 1));
    judge(&shape(30, [16, 16], [12, 12], 1, 1, 0));
}

#[test]
fn an_empty_batch_adds_nothing() {
    let one = shape(1, [16, 16], [5, 5], 3, 1, 1);
    let depthwise = Conv2d { groups: 16, ..one };
    for s in [
        one,
        depthwise,
        Conv2d { c_in: 3, ..one },
        Conv2d {
            stride: [2; 2],
            ..one
        },
    ] {
        let conv = BlockedConv::new(&s).unwrap();
        let v = Numbers::new(&Conv2d { n: 0, ..s });
        on_each(|_| {
            let Passes { plain, dx, dw, .. } = run(&conv, &v, 0.0, true);
            assert!(plain.is_empty() && dx.is_empty());
            assert_eq!(dw, v.before, "{s:?}");
        });
    }
}

#[test]
fn no_blocked_form() {
    let s = shape(1, [16, 16], [5, 5], 3, 1, 1);
    let none = |s: Conv2d| assert!(BlockedConv::new(&s).is_none(), "{s:?}");
    none(Conv2d { groups: 2, ..s });
    none(Conv2d {
        groups: 16,
        c_out: 32,
        ..s
    });
    none(Conv2d { h: 1, w: 2, ..s });
    none(Conv2d { h: 0, ..s });
}

/// In 64 bits the padded copy of this small image has 2^64 cells: its length wraps around to 0.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_length_that_wraps_around_has_no_blocked_form() {
    let half = 1 << 31;
    let s = Conv2d {
        pad: [half, half, half - 3, half - 3],
        dilation: [2 * half - 4; 2],
        ..shape(1, [16, 16], [3, 3], 2, 1, 0)
    };
    assert_eq!((s.check(), s.out_size()), (Ok(()), [4, 4]));
    assert!(BlockedConv::new(&s).is_none());
    assert_eq!(blocked_len(half * half, 16, 4), usize::MAX);
}

/// The largest error over the largest output of the three passes.
fn errors(conv: &BlockedConv, v: &Numbers, exact: [&Exact; 3]) -> [f64; 3] {
    let Passes { plain, dx, dw, .. } = run(conv, v, 0.0, false);
    let mut errors = [0.0; 3];
    for (error, (got, want)) in errors.iter_mut().zip([plain, dx, dw].iter().zip(exact)) {
        let off = got
            .iter()
            .zip(&want.sum)
            .map(|(&g, w)| (f64::from(g) - w).abs())
            .fold(0.0, f64::max);
        *error = off / want.sum.iter().map(|v| v.abs()).fold(0.0, f64::max);
    }
    errors
}

/// The bound that `winograd` states, and that the direct sum is the better one by no more than it
/// says.
#[test]
#[cfg_attr(miri, ignore = "too large to interpret")]
fn winograd_error() {
    let small = [16, 64, 256, 512]
        .into_iter()
        .flat_map(|c| [(c, [8, 3, 1]), (c, [16, 4, 2])]);
    let large = [16, 32].into_iter().map(|c| (c, [14, 4, 2]));
    for (c, [size, kernel, stride]) in small.chain(large) {
        let s = shape(1, [c, c], [size; 2], kernel, stride, 1);
        let v = Numbers {
            before: vec![0.0; s.w_len()],
            ..Numbers::new(&s)
        };
        let zeros = |len| Exact::new(&vec![0.0; len]);
        let (mut y, mut dx, mut dw) = (zeros(s.y_len()), zeros(s.x_len()), zeros(s.w_len()));
        each(&s, |i, j, k| {
            let [x, w, dy] = [v.x[i], v.w[j], v.dy[k]].map(f64::from);
            y.add(k, x * w);
            dx.add(i, dy * w);
            dw.add(j, dy * x);
        });
        let conv = BlockedConv::new(&s).unwrap();
        assert!(matches!(conv.algorithm, Algorithm::Winograd { .. }));
        let direct = Algorithm::Direct {
            forward: Direct::forward(&s),
            backward: Direct::backward(&s),
        };
        let direct = BlockedConv {
            shape: s,
            algorithm: direct,
        };
        on_each(|isa| {
            let fast = errors(&conv, &v, [&y, &dx, &dw]);
            let slow = errors(&direct, &v, [&y, &dx, &dw]);
            let shown = |errors: [f64; 3]| errors.map(|e| (e * 1e8).round() / 10.0);
            eprintln!(
                "{c} channels, {size}x{size}, window {kernel}x{kernel}, on {isa:?}, in \
                    1e-7 (output, input, weight): Winograd {:?}, direct {:?}",
                shown(fast),
                shown(slow)
            );
            for (fast, slow) in fast.into_iter().zip(slow) {
                assert!(
                    fast < 2e-5,
                    "{c} channels on {isa:?}: {fast:e} of the largest output"
                );
                assert!(
                    slow < 5e-6,
                    "{c} channels on {isa:?}: {slow:e} of the largest output"
                );
            }
        });
    }
}

prop_compose! {
    fn shapes()(
        n in 1usize..4, channels in (1usize..36, 1usize..36), depthwise in any::<bool>(),
        size in (1usize..10, 1usize..10), kernel in (1usize..5, 1usize..5), known in 0usize..4,
        stride in (1usize..4, 1usize..4), dilation in (1usize..3, 1usize..3),
        pad in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
    ) -> Conv2d {
        let s = Conv2d {
            n, c_in: channels.0, h: size.0, w: size.1, c_out: channels.1,
            kernel: [kernel.0, kernel.1], stride: [stride.0, stride.1],
            pad: [pad.0, pad.1, pad.2, pad.3], dilation: [dilation.0, dilation.1], groups: 1,
        };
        let s = if depthwise { Conv2d { c_out: s.c_in, groups: s.c_in, ..s } } else { s };
        // Half of them with a window of Winograd.
        match known {
            0 => Conv2d { kernel: [3; 2], stride: [1; 2], dilation: [1; 2],
                pad: s.pad.map(|p| p % 3), ..s },
            1 => Conv2d { h: s.h + 4, w: s.w + 4, kernel: [4; 2], stride: [2; 2], dilation: [1; 2],
                ..s },
            _ => s,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_global_rejects: 100_000,
        ..ProptestConfig::default()
    })]
    #[test]
    #[cfg_attr(miri, ignore = "too slow to interpret")]
    fn any_shape(s in shapes()) {
        prop_assume!(BlockedConv::new(&s).is_some());
        judge(&s);
    }
}
