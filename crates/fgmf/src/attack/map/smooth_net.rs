//! A network with the corners of its rectifiers rounded, for second derivatives that say something.
//!
//! max(0, x) becomes ln(1 + e^(βx)) / β, which differs by at most ln 2 / β. A rectifier network is
//! piecewise linear: its Hessian is 0 almost everywhere, and an attacker who follows it goes
//! nowhere. The rounded network shows where the slopes are about to change (Dombrowski et al.
//! 2019). Other operators stay as they are.

use crate::error::Result;
use fgmf_net::op::{Binary, Flatten, Op, Unary};
use fgmf_net::{Builder, Dim, Precision, Session, Source, Tensor, ValueId};
use std::collections::HashMap;

/// `net` with every ReLU replaced, in chunks no larger; `beta` above 0.
pub(crate) fn smoothed(net: &Session, beta: f64) -> Result<Session> {
    let mut builder = Builder::new(&net.name, &net.value(net.input()).name, net.image_shape())?;
    let mut map = HashMap::from([(net.input(), builder.input())]);
    let ids = net.nodes().iter().flat_map(|n| n.inputs.iter().copied());
    for id in ids {
        if let (Source::Parameter { tensor, .. }, false) =
            (&net.value(id).source, map.contains_key(&id))
        {
            map.insert(
                id,
                builder.parameter(&net.value(id).name, tensor.clone(), false)?,
            );
        }
    }
    let precision = net.precision().unwrap_or(Precision::F32);
    let names = [("smooth.beta", beta), ("smooth.inverse", 1.0 / beta)];
    let [beta, inverse] = names.map(|(name, v)| {
        let name = builder.fresh(name);
        builder.parameter(&name, Tensor::full(&[1], v, precision), false)
    });
    let (beta, inverse) = (beta?, inverse?);
    for node in net.nodes() {
        let inputs: Vec<_> = node.inputs.iter().map(|id| map[id]).collect();
        let names: Vec<String> = node
            .outputs
            .iter()
            .map(|id| builder.fresh(&net.value(*id).name))
            .collect();
        if node.op == Op::Unary(Unary::Relu) {
            let stretched = builder.fresh("smooth.stretched");
            let stretched =
                builder.node(&stretched, Op::Binary(Binary::Mul), &[inputs[0], beta])?;
            let soft = builder.fresh("smooth.soft");
            let soft = builder.node(&soft, Op::Unary(Unary::Softplus), &[stretched])?;
            let out = builder.nodes(
                &node.name,
                Op::Binary(Binary::Mul),
                &[soft, inverse],
                &names,
            )?;
            map.insert(node.outputs[0], out[0]);
        } else {
            let outputs = builder.nodes(&node.name, node.op.clone(), &inputs, &names)?;
            map.extend(node.outputs.iter().copied().zip(outputs));
        }
    }
    let mut made = Session::new(builder.finish(map[&net.output()])?);
    made.limit_chunks(net.chunk());
    Ok(made)
}

/// A network in two: the image to a value, and that value to the logits.
pub(crate) struct Cut {
    /// To the value, flattened to `[n, k]`.
    pub(crate) front: Session,
    /// From the value `[n, d, h, w]`.
    pub(crate) back: Session,
}

/// The part of a network that leads from one value to another: to the logits, or to a value that is
/// then flattened to `[n, k]`. None if it does not.
fn part(net: &Session, from: ValueId, shape: [usize; 3], to: ValueId) -> Result<Option<Session>> {
    let mut builder = Builder::new(&net.name, &net.value(from).name, shape)?;
    let mut map = HashMap::from([(from, builder.input())]);
    for node in net.nodes() {
        for id in &node.inputs {
            if let (Source::Parameter { tensor, .. }, false) =
                (&net.value(*id).source, map.contains_key(id))
            {
                map.insert(
                    *id,
                    builder.parameter(&net.value(*id).name, tensor.clone(), false)?,
                );
            }
        }
        // What needs the image on the far side of the cut is left out.
        let Some(inputs) = node
            .inputs
            .iter()
            .map(|id| map.get(id).copied())
            .collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        if node.outputs.iter().any(|id| map.contains_key(id)) || map.contains_key(&to) {
            continue;
        }
        let names: Vec<String> = node
            .outputs
            .iter()
            .map(|id| net.value(*id).name.clone())
            .collect();
        map.extend(node.outputs.iter().copied().zip(builder.nodes(
            &node.name,
            node.op.clone(),
            &inputs,
            &names,
        )?));
    }
    let Some(&end) = map.get(&to) else {
        return Ok(None);
    };
    let end = if to != net.output() {
        let name = builder.fresh("flat");
        builder.node(&name, Op::Flatten(Flatten { axis: 1 }), &[end])?
    } else {
        end
    };
    let mut made = Session::new(builder.finish(end)?);
    made.limit_chunks(net.chunk());
    Ok(Some(made))
}

/// The part of a network that leads from the image to a value, which is flattened to `[n, k]`.
pub(crate) fn front(net: &Session, at: ValueId) -> Result<Option<Session>> {
    part(net, net.input(), net.image_shape(), at)
}

/// Cuts a network at a value `[n, d, h, w]`. None if the value has another shape or the logits
/// depend on the image around it.
pub(crate) fn cut(net: &Session, at: ValueId) -> Result<Option<Cut>> {
    let [Dim::Batch(1), Dim::Fixed(d), Dim::Fixed(h), Dim::Fixed(w)] = net.value(at).shape[..]
    else {
        return Ok(None);
    };
    let (front, back) = (front(net, at)?, part(net, at, [d, h, w], net.output())?);
    Ok(front.zip(back).map(|(front, back)| Cut { front, back }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::head::Logit;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    /// Near the network it came from, the nearer the larger β; and with curvature where that has
    /// none.
    #[test]
    fn rounding_approaches_the_network_and_has_curvature() {
        for architecture in [Architecture::CnnTiny, Architecture::VitTiny] {
            let net = Session::new(
                build(&ZooConfig {
                    architecture,
                    activation: Activation::Relu,
                    image: [1, 8, 8],
                    classes: 4,
                    mean: vec![0.3],
                    deviation: vec![0.4],
                    seed: 2,
                })
                .unwrap()
                .cast(Precision::F64),
            );
            let x = Tensor::new(
                &[1, 1, 8, 8],
                (0..64)
                    .map(|i| f64::from(i * i % 13) / 13.0)
                    .collect::<Vec<_>>(),
            );
            let exact = net.logits(&x).unwrap().to_f64();
            let gap = |beta| {
                let z = smoothed(&net, beta).unwrap().logits(&x).unwrap().to_f64();
                z.iter()
                    .zip(&exact)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f64::max)
            };
            let relu = net.nodes().iter().any(|n| n.op == Op::Unary(Unary::Relu));
            assert!(
                gap(5000.0) < 1e-3 && (!relu || gap(10.0) > gap(100.0)),
                "{architecture:?}"
            );
            if relu {
                let bend = |net: &Session| {
                    net.hvp(&x, &Logit::new(&[0]), &x)
                        .unwrap()
                        .1
                        .to_f64()
                        .iter()
                        .map(|v| v.abs())
                        .sum::<f64>()
                };
                assert!(
                    bend(&net) < 1e-9 && bend(&smoothed(&net, 10.0).unwrap()) > 1e-6,
                    "{architecture:?}"
                );
            }
        }
    }

    /// The halves one after the other are the whole; a residual network cannot be cut inside a
    /// block.
    #[test]
    fn halves_make_the_whole() {
        let config = |architecture| ZooConfig {
            architecture,
            activation: Activation::Relu,
            image: [1, 8, 8],
            classes: 4,
            mean: vec![0.3],
            deviation: vec![0.4],
            seed: 2,
        };
        let net = Session::new(
            build(&config(Architecture::CnnTiny))
                .unwrap()
                .cast(Precision::F64),
        );
        let at = net.find("act1").unwrap();
        let halves = cut(&net, at).unwrap().unwrap();
        let x = Tensor::new(
            &[2, 1, 8, 8],
            (0..128)
                .map(|i| f64::from(i * i % 13) / 13.0)
                .collect::<Vec<_>>(),
        );
        let middle = halves.front.logits(&x).unwrap();
        let [d, h, w] = halves.back.image_shape();
        let z = halves
            .back
            .logits(&middle.reshape(&[2, d, h, w]))
            .unwrap()
            .to_f64();
        assert!(
            z.iter()
                .zip(net.logits(&x).unwrap().to_f64())
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
        let net = Session::new(build(&config(Architecture::PreactResnet18)).unwrap());
        let inside = net
            .nodes()
            .iter()
            .position(|n| n.op == Op::Binary(Binary::Add))
            .unwrap();
        assert!(
            cut(&net, net.nodes()[inside].inputs[0]).unwrap().is_none()
                || cut(&net, net.nodes()[inside].inputs[1]).unwrap().is_none()
        );
    }
}
