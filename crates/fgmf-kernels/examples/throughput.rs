//! Prints the speed of the convolution passes on one thread, in GFLOP/s (two per multiply-add).

use fgmf_kernels::{Conv2d, conv2d, conv2d_grad_input, conv2d_grad_weight};
use std::time::Instant;

/// `n, c_in, size, c_out, kernel, stride, pad, groups`
const LAYERS: [[usize; 8]; 17] = [
    [32, 1, 28, 16, 4, 2, 1, 1],
    [32, 16, 14, 32, 4, 2, 1, 1],
    [32, 1, 28, 32, 3, 1, 1, 1],
    [32, 32, 28, 32, 3, 1, 1, 1],
    [32, 64, 14, 64, 3, 1, 1, 1],
    [8, 64, 32, 64, 3, 1, 1, 1],
    [8, 3, 32, 64, 3, 1, 1, 1],
    [8, 64, 32, 128, 3, 2, 1, 1],
    [8, 64, 32, 64, 1, 1, 0, 1],
    [8, 64, 32, 128, 1, 2, 0, 1],
    [8, 64, 32, 64, 3, 1, 1, 64],
    [8, 64, 32, 64, 3, 1, 1, 4],
    [32, 128, 8, 128, 3, 1, 1, 1],
    [32, 256, 4, 256, 3, 1, 1, 1],
    [32, 128, 4, 64, 4, 1, 0, 1],
    [32, 128, 1, 64, 1, 1, 0, 1],
    [32, 1, 28, 8, 5, 1, 0, 1],
];

fn speed(flops: f64, mut f: impl FnMut()) -> f64 {
    f();
    let mut best = 0f64;
    for _ in 0..7 {
        let start = Instant::now();
        let mut runs = 0;
        while start.elapsed().as_secs_f64() < 0.03 {
            f();
            runs += 1;
        }
        best = best.max(flops * f64::from(runs) / start.elapsed().as_secs_f64());
    }
    best / 1e9
}

#[allow(clippy::print_stdout)]
fn main() {
    println!("n x c_in x size -> c_out, kernel/stride/pad, groups:  forward  grad_input  grad_weight");
    for [n, c_in, size, c_out, kernel, stride, pad, groups] in LAYERS {
        let s =
            Conv2d { n, c_in, h: size, w: size, c_out, kernel: [kernel; 2], stride: [stride; 2], pad: [pad; 4], dilation: [1; 2], groups };
        let fill = |len: usize| (0..len).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<_>>();
        let (x, w, dy) = (fill(s.x_len()), fill(s.w_len()), fill(s.y_len()));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let [oh, ow] = s.out_size();
        let flops = (2 * n * s.w_len() * oh * ow) as f64;
        let forward = speed(flops, || conv2d(&s, &x, &w, &mut y));
        let input = speed(flops, || conv2d_grad_input(&s, &dy, &w, &mut dx));
        let weight = speed(flops, || conv2d_grad_weight(&s, &x, &dy, &mut dw));
        println!(
            "{n:3} x{c_in:4} x{size:3} ->{c_out:4}, {kernel}/{stride}/{pad}, {groups:3}:  \
             {forward:6.1}  {input:6.1}  {weight:6.1}"
        );
    }
}
