//! Networks of policies: a trunk, k scores, and while training one value.

use crate::agent::base::AgentSpec;
use crate::agent::learn::config::PolicyKind;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream};
use fgmf_net::op::{Concat, Op};
use fgmf_net::zoo::{Activation, Layers, Square};
use fgmf_net::{Network, Tensor, ValueId};

/// The trunk: 64 features of a view.
fn trunk(layers: &mut Layers, kind: PolicyKind) -> Result<ValueId> {
    let mut x = layers.input();
    match kind {
        PolicyKind::Dense => {
            x = layers.dense("dense1", x, 64)?;
            x = layers.activate("act1", x)?;
        }
        PolicyKind::Conv => {
            for i in [1, 2] {
                // Stride 1 and padding, so that maps of features are as large as the view.
                x = layers.conv(&format!("conv{i}"), x, Square::new(32, 3, 1, 1), true)?;
                x = layers.activate(&format!("act{i}"), x)?;
            }
        }
    }
    x = layers.dense("features", x, 64)?;
    Ok(layers.activate("act3", x)?)
}

/// Orthogonal weights, `[m, rest]`, times a gain (Saxe et al. 2014): rows are orthonormal if there
/// are fewer of them than columns, else columns are. Gram-Schmidt on normal draws, in `f64`.
fn orthogonal(shape: &[usize], gain: f64, draws: &mut Stream) -> Vec<f32> {
    let (m, n) = (shape[0], shape[1..].iter().product::<usize>());
    let (count, length) = (m.min(n), m.max(n));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut v: Vec<f64> = (0..length).map(|_| f64::from(draws.normal())).collect();
        // Twice is enough: rounding of the first pass is removed by the second.
        for _ in 0..2 {
            for b in &basis {
                let along: f64 = v.iter().zip(b).map(|(v, b)| v * b).sum();
                v.iter_mut().zip(b).for_each(|(v, b)| *v -= along * b);
            }
        }
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 1e-6 {
            basis.push(v.into_iter().map(|v| v / norm).collect());
        }
    }
    let at = |i: usize, j: usize| if m <= n { basis[i][j] } else { basis[j][i] };
    let all = (0..m * n).map(|at_| (gain * at(at_ / n, at_ % n)) as f32);
    all.collect()
}

/// Weights as policies start: orthogonal with gain √2, of the scores 0.01 (so that all actions are
/// about equally likely), of the value 1; biases 0.
fn start(net: &mut Network, seed: u64) -> Result<()> {
    for (i, id) in net.trainable().into_iter().enumerate() {
        let name = net.value(id).name.clone();
        let Some(shape) = net.parameter(id).map(|w| w.shape().to_vec()) else {
            continue;
        };
        let mut draws = Stream::new(seed, Purpose::Weights, 0, i as u64);
        let gain = match name.as_str() {
            "policy.weight" => 0.01,
            "value.weight" => 1.0,
            _ => std::f64::consts::SQRT_2,
        };
        let values = match shape.len() {
            1 => vec![0.0; shape[0]],
            _ => orthogonal(&shape, gain, &mut draws),
        };
        net.set_parameter(id, Tensor::new::<f32>(&shape, values))?;
    }
    Ok(())
}

/// A fresh network of k scores and one value, `[n, k + 1]`.
///
/// # Errors
/// Those of the network, for views of no size.
pub fn actor_critic(spec: &AgentSpec, kind: PolicyKind, seed: u64) -> Result<Network> {
    let mut layers = Layers::new("actor-critic", spec.view, Activation::Relu, seed)?;
    let x = trunk(&mut layers, kind)?;
    let scores = layers.dense("policy", x, spec.actions.len())?;
    let value = layers.dense("value", x, 1)?;
    let both = layers.node("outputs", Op::Concat(Concat { axis: 1 }), &[scores, value])?;
    let mut net = layers.finish(both)?;
    start(&mut net, seed)?;
    Ok(net)
}

/// The policy of an actor-critic network: its scores, `[n, k]`, with how its views are prepared in
/// the metadata (`fgmf.scale`, `fgmf.layout`, `fgmf.env`).
///
/// # Errors
/// [`Error::Mismatch`] for a network that has other arrays.
pub fn actor(spec: &AgentSpec, kind: PolicyKind, both: &Network) -> Result<Network> {
    let mut layers = Layers::new("actor", spec.view, Activation::Relu, 0)?;
    let x = trunk(&mut layers, kind)?;
    let scores = layers.dense("policy", x, spec.actions.len())?;
    let mut net = layers.finish(scores)?;
    for id in net.trainable() {
        let name = net.value(id).name.clone();
        let weight = both.find(&name).and_then(|id| both.parameter(id)).cloned();
        let refused =
            || Error::mismatch("policy of a network", format!("an array `{name}`"), "none");
        net.set_parameter(id, weight.ok_or_else(refused)?)?;
    }
    let scale: Vec<String> = spec.planes.iter().map(|p| p.scale.to_string()).collect();
    for (key, value) in [
        ("fgmf.bounds", "0,1".to_owned()),
        ("fgmf.scale", scale.join(",")),
        ("fgmf.layout", "chw".to_owned()),
        ("fgmf.env", spec.id.clone()),
    ] {
        net.metadata.insert(key.into(), value);
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::base::Environment;
    use crate::agent::toy::Marks;
    use fgmf_net::Session;

    #[test]
    fn rows_or_columns_are_orthogonal() {
        let mut draws = Stream::new(1, Purpose::Weights, 0, 0);
        for (m, n) in [(3, 8), (8, 3), (5, 5)] {
            let w = orthogonal(&[m, n], 2.0, &mut draws);
            let (count, at): (usize, Box<dyn Fn(usize, usize) -> f32>) = if m <= n {
                (m, Box::new(|i, k| w[i * n + k]))
            } else {
                (n, Box::new(|i, k| w[k * n + i]))
            };
            for i in 0..count {
                for j in 0..count {
                    let dot: f32 = (0..m.max(n)).map(|k| at(i, k) * at(j, k)).sum();
                    let expected = if i == j { 4.0 } else { 0.0 };
                    assert!((dot - expected).abs() < 1e-5, "{m}x{n}: {dot}");
                }
            }
        }
    }

    /// The policy's scores are the first outputs of the whole network, also through a file.
    #[test]
    fn the_actor_is_the_front_of_the_whole() {
        let spec = Marks::new(0).spec().clone();
        for kind in [PolicyKind::Dense, PolicyKind::Conv] {
            let both = actor_critic(&spec, kind, 4).unwrap();
            let alone = actor(&spec, kind, &both).unwrap();
            let x = spec.scaled(&[1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
            let whole = Session::new(both).logits(&x).unwrap().to_f32();
            let bytes = fgmf_net::onnx::to_bytes(&alone).unwrap();
            let read = fgmf_net::onnx::from_bytes(&bytes).unwrap();
            assert_eq!(read.metadata["fgmf.env"], "marks");
            let scores = Session::new(read).logits(&x).unwrap().to_f32();
            assert!(whole.iter().zip(&scores).all(|(a, b)| (a - b).abs() < 1e-5));
            // Nearly equal at the start.
            assert!(scores.iter().all(|z| z.abs() < 0.1), "{scores:?}");
        }
        let other = Marks::new(0).spec().clone();
        let dense = actor_critic(&other, PolicyKind::Dense, 0).unwrap();
        assert!(actor(&other, PolicyKind::Conv, &dense).is_err());
    }
}
