//! The zoo with batch-normalisation arrays that are not trivial, and images to run it on: what the
//! parity fixtures are made of.

use fgmf_net::op::Op;
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Result, Session, Tensor};

/// A network of the zoo with images for it.
pub struct Case {
    /// File name of the fixture.
    pub name: String,
    /// The network.
    pub net: Session,
    /// Images in `[0, 1]`.
    pub x: Tensor,
}

/// Numbers in `[0, 1)` from a fixed rule (the fractional part of i φ²), so that fixtures need not
/// store inputs.
pub fn wave(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (i as f64 * 0.618_033_988_749_894_9).fract() as f32)
        .collect()
}

/// One case an architecture, nonlinearities in turn.
pub fn case(architecture: Architecture, activation: Activation) -> Result<Case> {
    let small = matches!(
        architecture,
        Architecture::CnnTiny
            | Architecture::CnnSmall
            | Architecture::VitTiny
            | Architecture::ConvvitTiny
    );
    let image = if small { [1, 28, 28] } else { [3, 32, 32] };
    let n = if architecture == Architecture::Wrn28x10 {
        1
    } else {
        2
    };
    let config = ZooConfig {
        architecture,
        activation,
        image,
        classes: 10,
        mean: vec![0.45; image[0]],
        deviation: vec![0.25; image[0]],
        seed: 17,
    };
    let mut net = build(&config)?;
    for node in net.nodes().to_vec() {
        if !matches!(node.op, Op::BatchNorm(_)) {
            continue;
        }
        // scale, bias, mean, variance: away from 1, 0, 0, 1, variance positive.
        for (input, (low, span)) in
            node.inputs[1..]
                .iter()
                .zip([(0.5, 1.0), (-0.2, 0.4), (-0.2, 0.4), (0.3, 1.0)])
        {
            let Some(old) = net.parameter(*input) else {
                continue;
            };
            let values = wave(old.len() + 7)[7..]
                .iter()
                .map(|v| low + span * v)
                .collect::<Vec<f32>>();
            let new = Tensor::new(old.shape(), values);
            net.set_parameter(*input, new)?;
        }
    }
    let shape = [n, image[0], image[1], image[2]];
    let x = Tensor::new(&shape, wave(shape.iter().product()));
    Ok(Case {
        name: architecture.name().into(),
        net: Session::new(net),
        x,
    })
}

/// Every architecture, with each nonlinearity at least once.
pub const CASES: [(Architecture, Activation); 6] = [
    (Architecture::CnnTiny, Activation::Relu),
    (Architecture::CnnSmall, Activation::Softplus),
    (Architecture::PreactResnet18, Activation::Gelu),
    (Architecture::Wrn28x10, Activation::Relu),
    (Architecture::VitTiny, Activation::Relu),
    (Architecture::ConvvitTiny, Activation::Gelu),
];
