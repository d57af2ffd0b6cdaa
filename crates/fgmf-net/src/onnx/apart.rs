//! Whether a network treats each image on its own, by running it: on two images, and on each of
//! them.

use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::graph::op::Mode;
use crate::graph::{Dim, Network, Source};
use crate::tensor::Tensor;

/// Largest difference, over the largest value, that rounding may make. Mixed images differ in the
/// first digit.
const ROUNDING: f64 = 1e-2;

/// An error, naming the first node that mixes images, if the logits of an image depend on what else
/// is in its batch.
pub(super) fn check(net: &Network) -> Result<()> {
    let [c, h, w] = net.image_shape();
    let size = c * h * w;
    // Any numbers will do that differ from image to image; these have no period.
    let number = |i: usize| ((i as f64 + 1.0) * 0.618_033_988_749_895).fract() as f32;
    let pair = Tensor::new(&[2, c, h, w], (0..2 * size).map(number).collect());
    let runs = [pair.clone(), pair.rows(0, 1), pair.rows(1, 1)];
    let mut values: Vec<Vec<Option<Dual>>> = runs.iter().map(|x| start(net, x)).collect();
    let mut last = vec![0; net.values().len()];
    for (i, node) in net.nodes().iter().enumerate() {
        node.inputs.iter().for_each(|id| last[id.0] = i);
    }
    last[net.output().0] = usize::MAX;
    let mut first = None;
    for (i, node) in net.nodes().iter().enumerate() {
        for run in &mut values {
            let inputs: Vec<&Dual> = node.inputs.iter().flat_map(|id| &run[id.0]).collect();
            let made = node.op.operator().forward(&inputs, Mode::Evaluate).0;
            for (id, y) in node.outputs.iter().zip(made) {
                run[id.0] = Some(y);
            }
            // Large networks would not fit three times.
            for id in node.inputs.iter().filter(|id| last[id.0] == i) {
                run[id.0] = None;
            }
        }
        let mixed = |id: &crate::graph::ValueId| !is_apart(&net.value(*id).shape, &values, id.0);
        if first.is_none() && node.outputs.iter().any(mixed) {
            first = Some(node);
        }
    }
    let out = net.output();
    match first {
        Some(node) if !is_apart(&net.value(out).shape, &values, out.0) => Err(Error::node(
            &node.name,
            node.op.name(),
            "expected an image's result not to depend on the rest of its batch, found that it does",
        )),
        _ => Ok(()),
    }
}

fn start(net: &Network, x: &Tensor) -> Vec<Option<Dual>> {
    let value = |s: &Source| match s {
        Source::Input => Some(x.clone().into()),
        Source::Parameter { tensor, .. } => Some(tensor.clone().into()),
        Source::Node { .. } => None,
    };
    net.values().iter().map(|v| value(&v.source)).collect()
}

/// Whether value `at` of the pair is that of each image, one after another.
fn is_apart(dims: &[Dim], values: &[Vec<Option<Dual>>], at: usize) -> bool {
    let Some(axis) = dims.iter().position(|d| matches!(d, Dim::Batch(_))) else {
        return true;
    };
    let [Some(pair), Some(a), Some(b)] = [0, 1, 2].map(|run: usize| values[run][at].as_ref())
    else {
        return true;
    };
    let singly = Tensor::concat(&[a.value.clone(), b.value.clone()], axis).to_f32();
    let largest = singly.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let limit = ROUNDING * f64::from(largest).max(1e-6);
    // What is not a number is so in both.
    let close = |(x, y): (&f32, &f32)| {
        let difference = f64::from(x - y).abs();
        difference <= limit || difference.is_nan()
    };
    pair.value.to_f32().iter().zip(&singly).all(close)
}
