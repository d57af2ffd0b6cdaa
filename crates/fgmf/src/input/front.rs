//! Preprocessing as the first nodes of a graph.

use crate::error::{Error, Result};
use crate::record::Preprocessing;
use fgmf_net::op::{Binary, Gather, Op};
use fgmf_net::{Builder, Network, Tensor};

/// The network behind its preprocessing: it takes images with values from 0 to 1 and colours as
/// red, green, blue, so that the radius of a threat stays in pixels. The front does not train.
///
/// # Errors
/// [`Error::Parameter`] when there is not one mean and one deviation a channel, a value is not
/// finite, scale or a deviation is not above 0, or blue is first in an image without three
/// channels.
pub fn preprocessed(net: &Network, p: &Preprocessing) -> Result<Network> {
    let [channels, ..] = net.image_shape();
    check(p, channels)?;
    let mut b = Builder::new(&net.name, &net.value(net.input()).name, net.image_shape())?;
    // Every array and value of the model keeps its name behind the front.
    let unused = |b: &mut Builder, what: &str| {
        let mut name = b.fresh(&format!("fgmf.{what}"));
        while net.find(&name).is_some() {
            name = b.fresh(&format!("{name}'"));
        }
        name
    };
    let mut x = b.input();
    if p.bgr {
        let order = Gather {
            axis: 1,
            index: vec![2, 1, 0],
            index_shape: vec![3],
        };
        let name = unused(&mut b, "blue_first");
        x = b.node(&name, Op::Gather(order), &[x])?;
    }
    let channel = |value: &dyn Fn(usize) -> f64| {
        let values = (0..channels).map(|c| value(c) as f32).collect();
        Tensor::new::<f32>(&[channels, 1, 1], values)
    };
    // In two steps as training code takes them, so that a pixel of value `mean` gives 0.
    let steps = [
        (Binary::Mul, channel(&|_| p.scale), "scale"),
        (Binary::Sub, channel(&|c| p.mean[c]), "mean"),
        (Binary::Div, channel(&|c| p.std[c]), "std"),
    ];
    for (op, values, what) in steps {
        // Exactly what changes nothing.
        let neutral = if op == Binary::Sub { 0.0f32 } else { 1.0 }.to_bits();
        if values.to_f32().iter().all(|v| v.to_bits() == neutral) {
            continue;
        }
        let name = unused(&mut b, what);
        let values = b.parameter(&name, values, false)?;
        let name = unused(&mut b, &format!("{what}d"));
        x = b.node(&name, Op::Binary(op), &[x, values])?;
    }
    let logits = net.graft(&mut b, x)?;
    let mut out = b.finish(logits)?;
    out.metadata = net.metadata.clone();
    Ok(out)
}

fn check(p: &Preprocessing, channels: usize) -> Result<()> {
    for (name, values) in [("mean", &p.mean), ("std", &p.std)] {
        if values.len() != channels {
            let expected = format!("{channels} numbers, one a channel");
            return Err(Error::parameter(name, expected, values.len()));
        }
        if let Some(odd) = values.iter().find(|v| !v.is_finite()) {
            return Err(Error::parameter(name, "finite numbers", odd));
        }
    }
    if let Some(odd) = p.std.iter().find(|v| **v <= 0.0) {
        return Err(Error::parameter("std", "numbers above 0", odd));
    }
    if !(p.scale.is_finite() && p.scale > 0.0) {
        return Err(Error::parameter(
            "scale",
            "a finite number above 0",
            p.scale,
        ));
    }
    if p.bgr && channels != 3 {
        let expected = "a model of images with 3 channels";
        return Err(Error::parameter(
            "bgr",
            expected,
            format!("{channels} channels"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::op::Flatten;

    /// Gives the pixels themselves.
    fn mirror(channels: usize) -> Network {
        let mut b = Builder::new("mirror", "image", [channels, 1, 2]).unwrap();
        let x = b.input();
        let z = b.node("z", Op::Flatten(Flatten { axis: 1 }), &[x]).unwrap();
        b.finish(z).unwrap()
    }

    #[test]
    fn the_front_scales_shifts_and_turns() {
        let p = Preprocessing {
            scale: 255.0,
            mean: vec![10.0, 20.0, 30.0],
            std: vec![1.0, 2.0, 4.0],
            bgr: true,
        };
        let net = preprocessed(&mirror(3), &p).unwrap();
        let x = Tensor::new::<f32>(&[1, 3, 1, 2], vec![0.2, 0.4, 0.6, 0.8, 1.0, 0.0]);
        let session = fgmf_net::Session::new(net);
        let found = session.logits(&x).unwrap().to_f32();
        let expected = [245.0, -10.0, 66.5, 92.0, 5.25, 18.0];
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{found:?}");
        }
        assert!(session.trainable().is_empty());
    }

    #[test]
    fn a_front_before_a_front_changes_no_name() {
        let p = Preprocessing {
            scale: 2.0,
            ..Preprocessing::none(1)
        };
        let once = preprocessed(&mirror(1), &p).unwrap();
        let twice = preprocessed(&once, &p).unwrap();
        for value in once.values() {
            let same = twice.find(&value.name).unwrap();
            let of = |net: &Network, id| net.parameter(id).map(Tensor::to_f32);
            let id = once.find(&value.name).unwrap();
            assert_eq!(of(&once, id), of(&twice, same), "{}", value.name);
        }
        assert_eq!(twice.values().len(), once.values().len() + 2);
    }

    #[test]
    fn what_changes_nothing_adds_no_node() {
        let net = preprocessed(&mirror(1), &Preprocessing::none(1)).unwrap();
        assert_eq!(net.nodes().len(), 1);
    }

    #[test]
    fn odd_settings_are_named() {
        let refused = |p: &Preprocessing, channels| {
            let error = preprocessed(&mirror(channels), p).err().unwrap();
            error.to_string()
        };
        let none = Preprocessing::none(3);
        assert!(refused(&none, 1).contains("`mean`: expected 1 numbers"));
        let flat = Preprocessing {
            std: vec![1.0, 0.0, 1.0],
            ..none.clone()
        };
        assert!(refused(&flat, 3).contains("`std`"));
        let scale = Preprocessing {
            scale: f64::NAN,
            ..none
        };
        assert!(refused(&scale, 3).contains("`scale`"));
        let grey = Preprocessing {
            bgr: true,
            ..Preprocessing::none(1)
        };
        assert!(refused(&grey, 1).contains("`bgr`"));
    }
}
