//! A network that forgets what it has learnt, from the logits down.

use crate::error::Result;
use crate::explain::subject::Subject;
use crate::rng::{Purpose, Stream};
use fgmf_net::{Network, Precision, Session, Tensor, ValueId};

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

/// A copy whose `count` last layers have the values of each parameter in random order.
pub(crate) fn forgetful(
    net: &Session,
    layers: &[Vec<ValueId>],
    count: usize,
    seed: u64,
) -> Result<Session> {
    let mut out = net.clone();
    for (number, id) in layers[..count].iter().flatten().enumerate() {
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
        let values = tensor.to_f64();
        let mixed: Vec<f64> = order.into_iter().map(|i| values[i]).collect();
        let new = Tensor::new(tensor.shape(), mixed);
        out.set_parameter(
            *id,
            if tensor.precision() == Precision::F32 {
                new.cast(Precision::F32)
            } else {
                new
            },
        )?;
    }
    Ok(out)
}

/// The subject's network with its `count` last layers forgotten, and how many layers there are.
pub(crate) fn forgotten(subject: &Subject<'_>, stages_wanted: usize) -> Result<Vec<Session>> {
    let net = subject.oracle.session();
    let layers = layers(net);
    stages(layers.len(), stages_wanted)
        .into_iter()
        .map(|count| forgetful(net, &layers, count, subject.context.seed))
        .collect()
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
        let one = forgetful(&net, &layers, 1, 3).unwrap();
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
        let all = forgetful(&net, &layers, layers.len(), 3).unwrap();
        assert!(
            net.trainable()
                .iter()
                .all(|&id| sorted(&all, id) == sorted(&net, id))
        );
        assert_eq!(
            (stages(10, 4), stages(2, 5), stages(0, 3)),
            (vec![3, 5, 8, 10], vec![1, 2], vec![0])
        );
    }
}
