//! A network that forgets what it has learnt, from the logits down.

use crate::error::Result;
use crate::explain::subject::Subject;
use crate::rng::{Purpose, Stream};
use fgmf_net::{Network, Precision, Session, Tensor, ValueId};
use std::ops::Range;

/// Trainable parameters by node, the last node first; a parameter counts where it is last used.
pub(crate) fn layers(net: &Network) -> Vec<Vec<ValueId>> {
    let trainable = net.trainable();
    let mut seen = Vec::new();
    let mut out = Vec::new();
    for node in net.nodes().iter().rev() {
        let own: Vec<ValueId> = node
            .inputs
            .iter()
            .copied()
            .filter(|id| trainable.contains(id) && !seen.contains(id))
            .collect();
        seen.extend(&own);
        if !own.is_empty() {
            out.push(own);
        }
    }
    out
}

/// Numbers of layers that are forgotten at each of at most `stages` stages, evenly spaced, the last
/// one all.
pub(crate) fn stages(layers: usize, stages: usize) -> Vec<usize> {
    let mut out: Vec<usize> = (1..=stages)
        .map(|s| (s * layers).div_ceil(stages))
        .collect();
    out.dedup();
    out
}

/// Puts the values of each parameter of the layers `range` in random order.
fn forget(
    net: &mut Session,
    layers: &[Vec<ValueId>],
    range: Range<usize>,
    seed: u64,
) -> Result<()> {
    let before = layers[..range.start].iter().map(Vec::len).sum::<usize>();
    for (number, id) in (before..).zip(layers[range].iter().flatten()) {
        let Some(tensor) = net.parameter(*id) else {
            continue;
        };
        let mut rng = Stream::new(
            seed,
            Purpose::Evaluation,
            (crate::explain::subject::Draw::Weights as u64) << 32 | number as u64,
            0,
        );
        let order = rng.permutation(tensor.len());
        let mixed = match tensor.precision() {
            Precision::F32 => Tensor::new(tensor.shape(), taken(&tensor.to_f32(), &order)),
            Precision::F64 => Tensor::new(tensor.shape(), taken(&tensor.to_f64(), &order)),
        };
        net.set_parameter(*id, mixed)?;
    }
    Ok(())
}

/// Values in another order.
fn taken<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
    order.iter().map(|&i| values[i]).collect()
}

/// Hands out a copy of the subject's network as it forgets its last layers, at each of at most
/// `wanted` stages.
///
/// There is one copy, and the network itself keeps no packed weights and chunks meanwhile. So
/// stages take the memory of one network at work, and another's weights.
pub(crate) fn forgetting(
    subject: &Subject<'_>,
    wanted: usize,
    mut stage: impl FnMut(&Session) -> Result<()>,
) -> Result<()> {
    let net = subject.oracle.session();
    let layers = layers(net);
    let mut copy = net.clone();
    net.release();
    let mut done = 0;
    for count in stages(layers.len(), wanted) {
        forget(&mut copy, &layers, done..count, subject.context.seed)?;
        done = count;
        stage(&copy)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    #[test]
    fn layers_are_forgotten_from_the_logits_down() {
        let net = Session::new(
            build(&ZooConfig {
                architecture: Architecture::CnnTiny,
                activation: Activation::Relu,
                image: [1, 12, 12],
                classes: 4,
                mean: vec![0.3],
                deviation: vec![0.4],
                seed: 2,
            })
            .unwrap(),
        );
        let layers = layers(&net);
        assert_eq!(
            layers.iter().map(Vec::len).sum::<usize>(),
            net.trainable().len()
        );
        let mut one = net.clone();
        forget(&mut one, &layers, 0..1, 3).unwrap();
        let changed = |a: &Network, id: ValueId| {
            a.parameter(id).unwrap().to_f32() != net.parameter(id).unwrap().to_f32()
        };
        assert!(
            layers[0].iter().any(|&id| changed(&one, id))
                && layers[1..].iter().flatten().all(|&id| !changed(&one, id))
        );
        let sorted = |n: &Network, id| {
            let mut v = n.parameter(id).unwrap().to_f32();
            v.sort_by(f32::total_cmp);
            v
        };
        let mut all = net.clone();
        forget(&mut all, &layers, 0..layers.len(), 3).unwrap();
        assert!(
            net.trainable()
                .iter()
                .all(|&id| sorted(&all, id) == sorted(&net, id))
        );
        // In stages, it is forgotten in the same way.
        forget(&mut one, &layers, 1..layers.len(), 3).unwrap();
        assert!(net.trainable().iter().all(|&id| {
            let values = |n: &Network| n.parameter(id).unwrap().to_f32();
            values(&one) == values(&all)
        }));
        assert_eq!(
            (stages(10, 4), stages(2, 5), stages(0, 3)),
            (vec![3, 5, 8, 10], vec![1, 2], vec![0])
        );
    }
}
