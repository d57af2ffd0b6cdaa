//! Speed of the kernels on one thread: `cargo bench -p fgmf-kernels -- conv2d/`. Throughput counts
//! floating-point operations (two a multiply-add), so `Gelem/s` is GFLOP/s; for pooling it counts
//! input values.

use criterion::{Criterion, Throughput};
use fgmf_kernels::{
    Conv2d, Pool2d, conv2d, conv2d_grad_input, conv2d_grad_weight, matmul, max_pool2d,
};
use std::time::Duration;

/// `n, c_in, size, c_out, kernel, stride, pad, groups`: the layers of `parity/bench.py` as one of
/// two threads sees them, then other kinds of layer.
const LAYERS: [[usize; 8]; 14] = [
    [16, 64, 32, 64, 3, 1, 1, 1],
    [16, 128, 16, 128, 3, 1, 1, 1],
    [16, 256, 8, 256, 3, 1, 1, 1],
    [16, 512, 4, 512, 3, 1, 1, 1],
    [32, 1, 28, 16, 4, 2, 1, 1],
    [32, 16, 14, 32, 4, 2, 1, 1],
    [32, 1, 28, 32, 3, 1, 1, 1],
    [32, 32, 28, 32, 3, 1, 1, 1],
    [8, 3, 32, 64, 3, 1, 1, 1],
    [8, 64, 32, 128, 3, 2, 1, 1],
    [8, 64, 32, 64, 1, 1, 0, 1],
    [8, 64, 32, 128, 1, 2, 0, 1],
    [8, 64, 32, 64, 3, 1, 1, 64],
    [8, 64, 32, 64, 3, 1, 1, 4],
];

/// `m, k, n`: a square, and the products of vit-tiny for 8 images (its layers, then the scores of
/// one head).
const PRODUCTS: [[usize; 3]; 5] = [
    [1024, 1024, 1024],
    [512, 192, 576],
    [512, 192, 384],
    [512, 384, 192],
    [64, 64, 64],
];

/// `planes, size`: 2x2 windows with a step of 2, as in cnn-small for 32 images.
const POOLS: [[usize; 2]; 2] = [[1024, 28], [2048, 14]];

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 7) as f32 - 3.0).collect()
}

fn measure(c: &mut Criterion, group: &str, id: &str, elements: usize, mut f: impl FnMut()) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(id, |b| b.iter(&mut f));
    group.finish();
}

fn convolutions(c: &mut Criterion) {
    for [n, c_in, size, c_out, kernel, stride, pad, groups] in LAYERS {
        let s = Conv2d {
            n,
            c_in,
            h: size,
            w: size,
            c_out,
            kernel: [kernel; 2],
            stride: [stride; 2],
            pad: [pad; 4],
            dilation: [1; 2],
            groups,
        };
        let id = format!(
            "{n}x{c_in}x{size}x{size} to {c_out}, {kernel}x{kernel} step {stride}, {groups} groups"
        );
        let (x, w, dy) = (numbers(s.x_len()), numbers(s.w_len()), numbers(s.y_len()));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let [oh, ow] = s.out_size();
        let flops = 2 * n * s.w_len() * oh * ow;
        measure(c, "conv2d", &id, flops, || conv2d(&s, &x, &w, &mut y));
        measure(c, "conv2d_grad_input", &id, flops, || {
            conv2d_grad_input(&s, &dy, &w, &mut dx)
        });
        measure(c, "conv2d_grad_weight", &id, flops, || {
            conv2d_grad_weight(&s, &x, &dy, &mut dw)
        });
    }
}

fn products(c: &mut Criterion) {
    for [m, k, n] in PRODUCTS {
        let (a, b, mut y) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
        measure(
            c,
            "matmul",
            &format!("{m}x{k} by {k}x{n}"),
            2 * m * k * n,
            || matmul([m, k, n], &a, [k, 1], &b, [n, 1], &mut y),
        );
    }
}

fn pools(c: &mut Criterion) {
    for [planes, size] in POOLS {
        let s = Pool2d {
            planes,
            h: size,
            w: size,
            kernel: [2; 2],
            stride: [2; 2],
            pad: [0; 4],
            dilation: [1; 2],
            ceil: false,
        };
        let (x, mut y, mut index) = (numbers(s.x_len()), vec![0.0; s.y_len()], vec![0; s.y_len()]);
        measure(
            c,
            "max_pool2d",
            &format!("{planes}x{size}x{size}"),
            s.x_len(),
            || max_pool2d(&s, &x, &mut y, &mut index),
        );
    }
}

fn main() {
    let short = |c: Criterion| {
        c.sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
    };
    let mut c = short(Criterion::default()).configure_from_args();
    convolutions(&mut c);
    products(&mut c);
    pools(&mut c);
    c.final_summary();
}
