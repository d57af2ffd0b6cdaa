//! One line a kernel and case, `kernel case digest`: the FNV-1a hash of the bits of what the kernel
//! writes. Operands come from a fixed generator of whole numbers, so the lines change when, and
//! only when, a result does. `parity/guard.py` compares them between two builds; `FGMF_ISA` names
//! the instruction set.
#![allow(
    clippy::print_stdout,
    reason = "the digests are what the program is for"
)]

use fgmf_kernels::{
    Activation, Attention, AttentionScratch, BlockedConv, Conv2d, Coordinates, Epilogue,
    MatmulEpilogue, NearestRounding, PackedMatrix, Pass, Pool2d, Resize2d, ResizeMode, Strided,
    activate, activate_grad, activate_in_place, activate_with_slope, add_assign, avg_pool_blocked,
    avg_pool_blocked_adjoint, avg_pool2d, avg_pool2d_adjoint, batch_norm_grad, blocked_len,
    channel_affine, channel_affine_grad, channel_moments, channel_products, channel_sums, conv2d,
    conv2d_grad_input, conv2d_grad_weight, from_blocked, gate, gather_planes,
    global_average_blocked, global_average_blocked_grad, instruction_set, layer_norm_rows,
    layer_norm_rows_grad, layer_norm_rows_grad_parameters, matmul, matmul_packed, max_pool_blocked,
    max_pool_blocked_grad, max_pool2d, resize2d, resize2d_adjoint, scatter_planes, softmax_rows,
    softmax_rows_grad, to_blocked,
};

/// `n, c_in, size, c_out, kernel, stride, pad, groups`: layers of the zoo on few images, and one
/// shape for each way a convolution may be computed.
const LAYERS: [[usize; 8]; 14] = [
    [2, 1, 28, 16, 4, 2, 1, 1],
    [2, 16, 14, 32, 4, 2, 1, 1],
    [2, 1, 28, 32, 3, 1, 1, 1],
    [2, 32, 28, 32, 3, 1, 1, 1],
    [2, 3, 32, 64, 3, 1, 1, 1],
    [2, 64, 16, 128, 3, 2, 1, 1],
    [2, 128, 8, 128, 3, 1, 1, 1],
    [2, 256, 4, 256, 3, 1, 1, 1],
    [2, 64, 8, 128, 1, 2, 0, 1],
    [3, 20, 9, 24, 3, 1, 1, 1],
    [2, 32, 12, 32, 3, 1, 1, 32],
    [2, 32, 12, 64, 3, 1, 1, 4],
    [2, 24, 11, 40, 5, 3, 2, 1],
    [2, 6, 7, 5, 2, 1, 0, 1],
];

/// `m, k, n`.
const PRODUCTS: [[usize; 3]; 5] = [
    [64, 64, 64],
    [128, 192, 576],
    [97, 300, 33],
    [1, 513, 10],
    [5, 7, 3],
];

/// `size, kernel, stride, pad, ceil`.
const POOLS: [(usize, usize, usize, usize, bool); 4] = [
    (14, 2, 2, 0, false),
    (13, 3, 2, 1, false),
    (11, 3, 2, 1, true),
    (9, 4, 1, 2, false),
];

/// Activations, and the names of their lines.
const ACTIVATIONS: [(&str, Activation); 7] = [
    ("relu", Activation::Relu),
    ("leaky-relu", Activation::LeakyRelu(0.1)),
    ("gelu", Activation::Gelu),
    ("gelu-tanh", Activation::GeluTanh),
    ("softplus", Activation::Softplus),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
];

/// Channels and cells of the blocked images: part of a block is padding.
const CHANNELS: usize = 20;
const PADDED: usize = 32;
const PLANE: usize = 77;
const IMAGES: usize = 3;

/// A number whose bits can be hashed.
trait Bits: Copy + Default {
    fn bits(self) -> u64;
    fn of(v: f64) -> Self;
}

impl Bits for f32 {
    fn bits(self) -> u64 {
        self.to_bits().into()
    }

    fn of(v: f64) -> Self {
        v as f32
    }
}

impl Bits for f64 {
    fn bits(self) -> u64 {
        self.to_bits()
    }

    fn of(v: f64) -> Self {
        v
    }
}

fn fnv(words: impl IntoIterator<Item = u64>) -> u64 {
    let bytes = words.into_iter().flat_map(u64::to_le_bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn line<T: Bits>(kernel: &str, case: &str, values: &[T]) {
    let digest = fnv(values.iter().map(|v| v.bits()));
    println!("{kernel} {case} {digest:016x}");
}

/// A shape as the name of a case.
fn case(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    sizes.join("-")
}

/// `n` numbers in [-2, 2) of a linear congruential generator (Knuth's MMIX constants).
fn numbers<T: Bits>(n: usize, seed: u64) -> Vec<T> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        T::of((state >> 40) as f64 / f64::from(1 << 22) - 2.0)
    };
    (0..n).map(|_| next()).collect()
}

fn zeros<T: Bits>(n: usize) -> Vec<T> {
    vec![T::default(); n]
}

fn layer([n, c_in, size, c_out, kernel, stride, pad, groups]: [usize; 8]) -> Conv2d {
    Conv2d {
        n,
        c_in,
        h: size,
        w: size + 1,
        c_out,
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad: [pad; 4],
        dilation: [1; 2],
        groups,
    }
}

/// Row-major convolutions, at one precision.
macro_rules! convolutions {
    ($real:ty, $suffix:literal) => {
        for l in LAYERS {
            let s = layer(l);
            let name = format!("{}.{}", case(&l), $suffix);
            let (x, w) = (numbers::<$real>(s.x_len(), 1), numbers(s.w_len(), 2));
            let g: Vec<$real> = numbers(s.y_len(), 3);
            let (mut y, mut dx, mut dw) = (zeros(g.len()), zeros(x.len()), zeros(w.len()));
            conv2d(&s, &x, &w, &mut y);
            conv2d_grad_input(&s, &g, &w, &mut dx);
            conv2d_grad_weight(&s, &x, &g, &mut dw);
            line("conv2d", &name, &y);
            line("conv2d_grad_input", &name, &dx);
            line("conv2d_grad_weight", &name, &dw);
        }
    };
}

/// Blocked images of row-major ones.
fn blocked(n: usize, c: usize, plane: usize, x: &[f32]) -> Vec<f32> {
    let mut y = zeros(blocked_len(n, c, plane));
    to_blocked(c, plane, x, &mut y);
    y
}

/// Row-major images of blocked ones.
fn rows(n: usize, c: usize, plane: usize, x: &[f32]) -> Vec<f32> {
    let mut y = zeros(n * c * plane);
    from_blocked(c, plane, x, &mut y);
    y
}

fn blocked_convolutions() {
    for l in LAYERS {
        let s = layer(l);
        let Some(conv) = BlockedConv::new(&s) else {
            continue;
        };
        let name = case(&l);
        let (n, [oh, ow]) = (s.n, s.out_size());
        let x: Vec<f32> = numbers(s.x_len(), 1);
        let x = if conv.input_in_rows() {
            x
        } else {
            blocked(n, s.c_in, s.h * s.w, &x)
        };
        let w: Vec<f32> = numbers(s.w_len(), 2);
        let image = |seed| blocked(n, s.c_out, oh * ow, &numbers(s.y_len(), seed));
        let (g, open, add) = (image(3), image(4), image(5));
        let mut bias = numbers(conv.bias_len(), 6);
        bias[s.c_out..].fill(0.0);
        let (mut y, mut dx, mut dw) = (zeros(g.len()), zeros(x.len()), zeros(w.len()));
        for (kind, epilogue) in [
            ("", Epilogue::default()),
            (
                ".bias-add-relu",
                Epilogue {
                    bias: Some(&bias),
                    add: Some(&add),
                    relu: true,
                },
            ),
        ] {
            conv.forward(&x, &conv.pack_forward(&w), epilogue, &mut y);
            line(
                "blocked_forward",
                &format!("{name}{kind}"),
                &rows(n, s.c_out, oh * ow, &y),
            );
        }
        for (kind, pass) in [("", Pass::new(&g)), (".gated", Pass::gated(&g, &open))] {
            conv.grad_input(pass, &conv.pack_backward(&w), &mut dx);
            let dx = if conv.input_in_rows() {
                dx.clone()
            } else {
                rows(n, s.c_in, s.h * s.w, &dx)
            };
            line("blocked_grad_input", &format!("{name}{kind}"), &dx);
            dw.fill(0.0);
            conv.grad_weight(&x, pass, &mut dw);
            line("blocked_grad_weight", &format!("{name}{kind}"), &dw);
        }
    }
}

/// Products, both sides stored either way.
macro_rules! products {
    ($real:ty, $suffix:literal) => {
        for [m, k, n] in PRODUCTS {
            let (a, b) = (numbers::<$real>(m * k, 1), numbers::<$real>(k * n, 2));
            for (left, a_strides) in [("rows", [k, 1]), ("columns", [1, m])] {
                for (right, b_strides) in [("rows", [n, 1]), ("columns", [1, k])] {
                    let mut c = zeros(m * n);
                    matmul([m, k, n], &a, a_strides, &b, b_strides, &mut c);
                    line(
                        "matmul",
                        &format!("{m}-{k}-{n}.{left}.{right}.{}", $suffix),
                        &c,
                    );
                }
            }
        }
    };
}

fn packed_products() {
    for [m, k, n] in PRODUCTS {
        let (a, b): (Vec<f32>, Vec<f32>) = (numbers(m * k, 1), numbers(k * n, 2));
        let add: Vec<f32> = numbers(m * n, 3);
        for (right, b_strides) in [("rows", [n, 1]), ("columns", [1, k])] {
            let packed = PackedMatrix::new(k, n, &b, b_strides);
            let bias = numbers(packed.bias_len(), 4);
            for (left, a_strides) in [("rows", [k, 1]), ("columns", [1, m])] {
                let epilogue = MatmulEpilogue {
                    bias: Some(&bias),
                    add: Some(&add),
                    relu: true,
                };
                let mut c = zeros(m * n);
                matmul_packed(m, &a, a_strides, &packed, epilogue, &mut c);
                line("matmul_packed", &format!("{m}-{k}-{n}.{left}.{right}"), &c);
            }
        }
    }
}

fn pool(
    (size, kernel, stride, pad, ceil): (usize, usize, usize, usize, bool),
    planes: usize,
) -> Pool2d {
    Pool2d {
        planes,
        h: size,
        w: size + 1,
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad: [pad; 4],
        dilation: [1; 2],
        ceil,
    }
}

/// Row-major pooling, at one precision.
macro_rules! pools {
    ($real:ty, $suffix:literal) => {
        for p in POOLS {
            let s = pool(p, 6);
            let name = format!("{}-{}-{}-{}.{}", p.0, p.1, p.2, p.3, $suffix);
            let (x, g) = (
                numbers::<$real>(s.x_len(), 1),
                numbers::<$real>(s.y_len(), 2),
            );
            let [oh, ow] = s.out_size();
            let (inside, outside) = (s.h * s.w, oh * ow);
            let (mut y, mut index) = (zeros(g.len()), vec![0; g.len()]);
            let mut dx = zeros(x.len());
            max_pool2d(&s, &x, &mut y, &mut index);
            line("max_pool2d", &name, &y);
            scatter_planes(6, inside, &g, &index, &mut dx);
            line("scatter_planes", &name, &dx);
            gather_planes(6, inside, &x, &index, &mut y);
            line("gather_planes", &name, &y[..6 * outside]);
            for padding in [false, true] {
                avg_pool2d(&s, padding, &x, &mut y);
                line("avg_pool2d", &format!("{name}.{padding}"), &y);
                avg_pool2d_adjoint(&s, padding, &g, &mut dx);
                line("avg_pool2d_adjoint", &format!("{name}.{padding}"), &dx);
            }
        }
    };
}

fn blocked_pools() {
    for p in POOLS {
        let s = pool(p, 4);
        let name = format!("{}-{}-{}-{}", p.0, p.1, p.2, p.3);
        let (x, g): (Vec<f32>, Vec<f32>) = (numbers(16 * s.x_len(), 1), numbers(16 * s.y_len(), 2));
        let (mut y, mut index, mut dx) = (zeros(g.len()), vec![0; g.len()], zeros(x.len()));
        max_pool_blocked(&s, &x, &mut y, &mut index);
        line("max_pool_blocked", &name, &y);
        max_pool_blocked_grad(&s, &g, &index, &mut dx);
        line("max_pool_blocked_grad", &name, &dx);
        for padding in [false, true] {
            avg_pool_blocked(&s, padding, &x, &mut y);
            line("avg_pool_blocked", &format!("{name}.{padding}"), &y);
            avg_pool_blocked_adjoint(&s, padding, &g, &mut dx);
            line(
                "avg_pool_blocked_adjoint",
                &format!("{name}.{padding}"),
                &dx,
            );
        }
    }
}

/// Resizing up and down, in every mode, at one precision.
macro_rules! resizes {
    ($real:ty, $suffix:literal) => {
        let modes = [
            ("linear", ResizeMode::Linear),
            (
                "prefer-floor",
                ResizeMode::Nearest(NearestRounding::RoundPreferFloor),
            ),
            (
                "prefer-ceil",
                ResizeMode::Nearest(NearestRounding::RoundPreferCeil),
            ),
            ("floor", ResizeMode::Nearest(NearestRounding::Floor)),
            ("ceil", ResizeMode::Nearest(NearestRounding::Ceil)),
        ];
        let coordinates = [
            ("half-pixel", Coordinates::HalfPixel),
            ("pytorch", Coordinates::PytorchHalfPixel),
            ("corners", Coordinates::AlignCorners),
            ("asymmetric", Coordinates::Asymmetric),
        ];
        for (out_h, out_w) in [(14, 15), (4, 11)] {
            for (rule, coordinates) in coordinates {
                for (kind, mode) in modes {
                    let s = Resize2d {
                        planes: 3,
                        h: 7,
                        w: 9,
                        out_h,
                        out_w,
                        scale: [out_h as f64 / 7.0, out_w as f64 / 9.0],
                        mode,
                        coordinates,
                    };
                    let (x, g) = (
                        numbers::<$real>(s.x_len(), 1),
                        numbers::<$real>(s.y_len(), 2),
                    );
                    let (mut y, mut dx) = (zeros(g.len()), zeros(x.len()));
                    resize2d(&s, &x, &mut y);
                    resize2d_adjoint(&s, &g, &mut dx);
                    let name = format!("{out_h}-{out_w}.{rule}.{kind}.{}", $suffix);
                    line("resize2d", &name, &y);
                    line("resize2d_adjoint", &name, &dx);
                }
            }
        }
    };
}

fn row_functions() {
    for len in [10, 64, 77] {
        let n = 5;
        let (x, g): (Vec<f32>, Vec<f32>) = (numbers(n * len, 1), numbers(n * len, 2));
        let (scale, bias): (Vec<f32>, Vec<f32>) = (numbers(len, 3), numbers(len, 4));
        let (mut y, mut dx) = (zeros(x.len()), zeros(x.len()));
        softmax_rows(len, &x, &mut y);
        line("softmax_rows", &case(&[len]), &y);
        softmax_rows_grad(len, &y, &g, &mut dx);
        line("softmax_rows_grad", &case(&[len]), &dx);
        for (kind, bias) in [("", None), (".bias", Some(bias.as_slice()))] {
            layer_norm_rows(len, 1e-5, &x, &scale, bias, &mut y);
            line("layer_norm_rows", &format!("{len}{kind}"), &y);
        }
        layer_norm_rows_grad(len, 1e-5, &x, &scale, &g, &mut dx);
        line("layer_norm_rows_grad", &case(&[len]), &dx);
        let (mut dscale, mut dbias) = (zeros(len), zeros(len));
        layer_norm_rows_grad_parameters(len, 1e-5, &x, &g, &mut dscale, &mut dbias);
        line(
            "layer_norm_rows_grad_parameters",
            &format!("{len}.scale"),
            &dscale,
        );
        line(
            "layer_norm_rows_grad_parameters",
            &format!("{len}.bias"),
            &dbias,
        );
    }
}

fn activations() {
    for (name, kind) in ACTIVATIONS {
        let x: Vec<f32> = numbers::<f32>(997, 1).iter().map(|v| 8.0 * v).collect();
        let g: Vec<f32> = numbers(997, 2);
        let (mut y, mut slope) = (zeros(997), zeros(997));
        activate(kind, &x, &mut y);
        line("activate", name, &y);
        activate_grad(kind, &x, &g, &mut y);
        line("activate_grad", name, &y);
        activate_with_slope(kind, &x, &mut y, &mut slope);
        line("activate_with_slope", &format!("{name}.value"), &y);
        line("activate_with_slope", &format!("{name}.slope"), &slope);
        y.copy_from_slice(&x);
        activate_in_place(kind, &mut y);
        line("activate_in_place", name, &y);
    }
}

fn attention() {
    for [queries, keys, width, value_width] in [[49, 49, 32, 32], [17, 23, 24, 40]] {
        let head = Attention {
            queries,
            keys,
            width,
            value_width,
            scale: 0.25,
        };
        let name = case(&[queries, keys, width, value_width]);
        let sizes = [queries * width, keys * width, keys * value_width];
        let operands: [Vec<f32>; 3] = [0, 1, 2].map(|i| numbers(sizes[i], 1 + i as u64));
        let views = [0, 1, 2].map(|i| Strided {
            values: &operands[i],
            strides: [[width, width, value_width][i], 1],
        });
        let g: Vec<f32> = numbers(queries * value_width, 4);
        let (mut weights, mut y) = (zeros(queries * keys), zeros(g.len()));
        let mut scratch = AttentionScratch::default();
        head.forward(views, &mut scratch, &mut weights, &mut y);
        line("attention", &format!("{name}.weights"), &weights);
        line("attention", &format!("{name}.value"), &y);
        let [mut dq, mut dk, mut dv] = sizes.map(zeros);
        head.backward(
            views,
            &weights,
            &g,
            &mut scratch,
            [&mut dq, &mut dk, &mut dv],
        );
        line("attention", &format!("{name}.dq"), &dq);
        line("attention", &format!("{name}.dk"), &dk);
        line("attention", &format!("{name}.dv"), &dv);
    }
}

fn channels() {
    let image = |seed| {
        blocked(
            IMAGES,
            CHANNELS,
            PLANE,
            &numbers(IMAGES * CHANNELS * PLANE, seed),
        )
    };
    let factors = |seed| {
        let mut values: Vec<f32> = numbers(PADDED, seed);
        values[CHANNELS..].fill(0.0);
        values
    };
    let show = |kernel: &str, case: &str, y: &[f32]| {
        line(kernel, case, &rows(IMAGES, CHANNELS, PLANE, y));
    };
    let (x, g, open) = (image(1), image(2), image(3));
    let (a, b, c) = (factors(4), factors(5), factors(6));
    show("to_blocked", "all", &x);
    let mut y = zeros(x.len());
    for relu in [false, true] {
        channel_affine(PLANE, &a, &b, relu, &x, &mut y);
        show("channel_affine", &relu.to_string(), &y);
    }
    let mut sums: Vec<f64> = zeros(PADDED);
    channel_sums(PLANE, &x, &mut sums);
    line("channel_sums", "all", &sums[..CHANNELS]);
    let (mut first, mut second) = (zeros(PADDED), zeros(PADDED));
    channel_moments(PLANE, &x, &a, &mut first, &mut second);
    line("channel_moments", "sums", &first[..CHANNELS]);
    line("channel_moments", "squares", &second[..CHANNELS]);
    for (kind, pass) in [("plain", Pass::new(&g)), ("gated", Pass::gated(&g, &open))] {
        channel_affine_grad(PLANE, &a, pass, &mut y);
        show("channel_affine_grad", kind, &y);
        batch_norm_grad(PLANE, [&a, &b, &c], pass, &x, &mut y);
        show("batch_norm_grad", kind, &y);
        gate(pass, &mut y);
        show("gate", kind, &y);
        let (mut first, mut second) = (zeros(PADDED), zeros(PADDED));
        channel_products(PLANE, pass, &x, &a, &mut first, &mut second);
        line("channel_products", &format!("{kind}.g"), &first[..CHANNELS]);
        line(
            "channel_products",
            &format!("{kind}.gx"),
            &second[..CHANNELS],
        );
    }
    y.copy_from_slice(&x);
    add_assign(&g, &mut y);
    show("add_assign", "all", &y);
    let mut mean = zeros(IMAGES * CHANNELS);
    global_average_blocked(CHANNELS, PLANE, &x, &mut mean);
    line("global_average_blocked", "all", &mean);
    global_average_blocked_grad(CHANNELS, PLANE, &mean, &mut y);
    show("global_average_blocked_grad", "all", &y);
}

fn main() {
    println!("instruction_set in-use {}", instruction_set());
    convolutions!(f32, "f32");
    convolutions!(f64, "f64");
    blocked_convolutions();
    products!(f32, "f32");
    products!(f64, "f64");
    packed_products();
    pools!(f32, "f32");
    pools!(f64, "f64");
    blocked_pools();
    resizes!(f32, "f32");
    resizes!(f64, "f64");
    row_functions();
    activations();
    attention();
    channels();
}
