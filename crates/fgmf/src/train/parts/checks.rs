//! What tests of objectives share.

use crate::data::batch::Batch;
use crate::threat::{Norm, ThreatModel};
use crate::train::base::{Attacked, Step, StepContext};
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Session, Tensor};

/// Images of `n` patterns, 8 by 8, three classes.
pub(crate) fn batch(n: usize) -> Batch {
    let x = (0..n * 64)
        .map(|i| 0.5 + 0.4 * ((i * 37 % 101) as f32 / 101.0 - 0.5))
        .collect();
    Batch {
        x: Tensor::new::<f32>(&[n, 1, 8, 8], x),
        labels: (0..n).map(|i| i % 3).collect(),
        index: (0..n as u64).collect(),
    }
}

/// A small smooth network for these images.
pub(crate) fn net() -> Session {
    let config = ZooConfig {
        architecture: Architecture::CnnTiny,
        activation: Activation::Softplus,
        image: [1, 8, 8],
        classes: 3,
        mean: vec![0.5],
        deviation: vec![0.25],
        seed: 3,
    };
    Session::new(build(&config).unwrap())
}

/// A radius of 0.1 in Linf.
pub(crate) fn threat() -> ThreatModel {
    ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap()
}

/// Epoch 0 of seed 0.
pub(crate) fn context(threat: &ThreatModel) -> StepContext<'_> {
    StepContext {
        threat,
        seed: 0,
        epoch: 0,
        salience: None,
        displacement: None,
        carried: &[],
    }
}

/// The gradient of a step, at its largest entry in the last and in the first array of weights,
/// against central differences of `value`.
pub(crate) fn gradient_matches(net: &Session, step: impl Fn(&Session) -> (Step, f64)) {
    let gradients = step(net).0.gradients;
    let trains = net.trainable();
    let rank = |i: &usize| net.parameter(trains[*i]).unwrap().rank();
    let weights: Vec<usize> = (0..trains.len()).filter(|i| rank(i) >= 2).collect();
    for array in [weights[weights.len() - 1], weights[0]] {
        let (id, g) = (trains[array], gradients[array].to_f32());
        let at = (0..g.len())
            .max_by(|&a, &b| g[a].abs().total_cmp(&g[b].abs()))
            .unwrap();
        let h = 1e-2f32;
        let shifted = |by: f32| {
            let mut other = net.clone();
            let mut w = net.parameter(id).unwrap().to_f32();
            w[at] += by;
            let shape = net.parameter(id).unwrap().shape();
            other.set_parameter(id, Tensor::new(shape, w)).unwrap();
            step(&other).1
        };
        let difference = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
        let exact = f64::from(g[at]);
        assert!(
            (difference - exact).abs() < 5e-3 * exact.abs().max(0.1),
            "array {array}: {difference} against {exact}"
        );
    }
}

/// [`gradient_matches`] of an objective that finds points, with the points held. `value` puts the
/// parts of a step together.
pub(crate) fn attacked_gradient_matches(
    objective: &dyn Attacked,
    value: impl Fn(&[(&'static str, f64)]) -> f64,
) {
    let (net, batch, threat) = (net(), batch(4), threat());
    let context = context(&threat);
    let points = objective.points(&net, &batch, &context).unwrap();
    gradient_matches(&net, |net| {
        let step = objective.step_at(net, &batch, &points, &context).unwrap();
        let value = value(&step.parts);
        (step, value)
    });
}

/// Whether the points of an objective are in the ball and the bounds in all norms.
pub(crate) fn points_stay_inside(objective: &dyn Attacked) {
    let (net, batch) = (net(), batch(5));
    for norm in [Norm::Linf, Norm::L2, Norm::L1] {
        let threat = ThreatModel::new(norm, 0.1, [0.3, 0.65]).unwrap();
        let mut batch = batch.clone();
        let clean = batch
            .x
            .to_f32()
            .iter()
            .map(|v| v.clamp(0.3, 0.65))
            .collect();
        batch.x = Tensor::new::<f32>(batch.x.shape(), clean);
        let points = objective
            .points(&net, &batch, &context(&threat))
            .unwrap()
            .to_f32();
        let clean = batch.x.to_f32();
        for (o, x) in clean.chunks_exact(64).zip(points.chunks_exact(64)) {
            assert!(threat.contains(o, x), "{norm:?}");
        }
        assert_ne!(points, clean, "{norm:?}");
    }
}
