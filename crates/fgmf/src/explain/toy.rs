//! Networks for the tests of this module, all in `f64`, whose explanations are known.

use fgmf_net::op::{Binary, Conv, Flatten, Gemm, GlobalAveragePool, Op, Reduce, ReduceKind, Unary};
use fgmf_net::{Builder, Session, Tensor, ValueId};

/// A repeatable spread of numbers in `[-1, 1)`.
pub(crate) fn spread(n: usize, seed: u64) -> Vec<f64> {
    let mut stream = crate::rng::Stream::new(seed, crate::rng::Purpose::Evaluation, 0, 0);
    (0..n).map(|_| f64::from(stream.symmetric())).collect()
}

/// Images in `[0, 1)`.
pub(crate) fn images(shape: [usize; 4], seed: u64) -> Tensor {
    Tensor::new(
        &shape,
        spread(shape.iter().product(), seed)
            .iter()
            .map(|v| 0.5 + 0.5 * v)
            .collect::<Vec<f64>>(),
    )
}

/// z_k = w_k · x.
pub(crate) fn linear(weights: &[Vec<f64>], image: [usize; 3]) -> Session {
    let mut b = Builder::new("linear", "image", image).unwrap();
    let x = b.input();
    let z = dense(&mut b, x, weights);
    Session::new(b.finish(z).unwrap())
}

/// z = (Σ w x³, 0).
pub(crate) fn cubic(weights: &[f64], image: [usize; 3]) -> Session {
    let mut b = Builder::new("cubic", "image", image).unwrap();
    let x = b.input();
    let square = b.node("square", Op::Binary(Binary::Mul), &[x, x]).unwrap();
    let cube = b
        .node("cube", Op::Binary(Binary::Mul), &[square, x])
        .unwrap();
    let z = dense(&mut b, cube, &[weights.to_vec(), vec![0.0; weights.len()]]);
    Session::new(b.finish(z).unwrap())
}

/// Convolution 3x3 without bias, activation named `act`, dense: the gradient of a logit at `act` is
/// its row of `weights`.
pub(crate) fn conv_dense(
    kernel: &[f64],
    channels: usize,
    weights: &[Vec<f64>],
    image: [usize; 3],
) -> Session {
    let mut b = Builder::new("conv-dense", "image", image).unwrap();
    let x = b.input();
    let act = conv(&mut b, x, kernel, channels, image[0]);
    let z = dense(&mut b, act, weights);
    Session::new(b.finish(z).unwrap())
}

/// z = (m, −m), m the mean of a smoothed positive picture of the top left quarter: nothing else is
/// seen.
pub(crate) fn quadrant(image: [usize; 3]) -> Session {
    let [c, h, w] = image;
    let mut b = Builder::new("quadrant", "image", image).unwrap();
    let seen = (0..h * w)
        .map(|i| f64::from(u8::from(i / w < h / 2 && i % w < w / 2)))
        .collect::<Vec<f64>>();
    let mask = b
        .parameter("seen", Tensor::new(&[1, 1, h, w], seen), false)
        .unwrap();
    let x = b.input();
    let x = b
        .node("masked", Op::Binary(Binary::Mul), &[x, mask])
        .unwrap();
    let act = conv(&mut b, x, &vec![1.0; 9 * c], 1, c);
    let pooled = b
        .node("pool", Op::GlobalAveragePool(GlobalAveragePool), &[act])
        .unwrap();
    let z = dense(&mut b, pooled, &[vec![1.0], vec![-1.0]]);
    Session::new(b.finish(z).unwrap())
}

/// A network of that shape whose convolution sits behind a subgraph named `sgam.`.
pub(crate) fn behind_mask(image: [usize; 3]) -> Session {
    let mut b = Builder::new("masked", "image", image).unwrap();
    let x = b.input();
    let mean = Op::Reduce(Reduce {
        kind: ReduceKind::Mean,
        axes: vec![1],
        keep: true,
    });
    let mean = b.node("sgam.mean", mean, &[x]).unwrap();
    let mask = b
        .node("sgam.mask", Op::Unary(Unary::Sigmoid), &[mean])
        .unwrap();
    let masked = b
        .node("sgam.masked", Op::Binary(Binary::Mul), &[x, mask])
        .unwrap();
    let z = dense(
        &mut b,
        masked,
        &[
            vec![1.0; image.iter().product()],
            vec![0.0; image.iter().product()],
        ],
    );
    Session::new(b.finish(z).unwrap())
}

fn conv(b: &mut Builder, x: ValueId, kernel: &[f64], channels: usize, inputs: usize) -> ValueId {
    let k = b
        .parameter(
            "kernel",
            Tensor::new(&[channels, inputs, 3, 3], kernel.to_vec()),
            true,
        )
        .unwrap();
    let y = b
        .node(
            "conv",
            Op::Conv(Conv {
                pads: [1; 4],
                ..Conv::default()
            }),
            &[x, k],
        )
        .unwrap();
    b.node("act", Op::Unary(Unary::Relu), &[y]).unwrap()
}

fn dense(b: &mut Builder, x: ValueId, weights: &[Vec<f64>]) -> ValueId {
    let shape = [weights.len(), weights[0].len()];
    let w = b
        .parameter("weights", Tensor::new(&shape, weights.concat()), true)
        .unwrap();
    let c = b
        .parameter("bias", Tensor::new(&[shape[0]], vec![0.0; shape[0]]), true)
        .unwrap();
    let flat = b
        .node("flat", Op::Flatten(Flatten { axis: 1 }), &[x])
        .unwrap();
    b.node("logits", Op::Gemm(Gemm::DENSE), &[flat, w, c])
        .unwrap()
}
