//! Defences: SGAM, the saliency-guided mask in front, and planted ones.
//!
//! A planted defence looks robust and is not. Each is known from the literature to fall to an
//! attacker who knows it, and each comes with that attacker: backward rules that go around it
//! ([`bypass_rules`]), samples that average it ([`Averaged`], or exactly [`Expected`]), or a loss
//! that does not see it. They exist so that the masking verdict and the adaptive suites can be
//! tested on known answers.

mod averaged;
mod bit_depth;
mod expected;
mod jpeg;
mod k_wta;
mod logit_scaling;
mod lying_gate;
mod noise;
mod resize_pad;
mod served;
mod sgam;
mod soft_rounding;
mod thermometer;

use crate::error::Result;
use fgmf_net::op::{Op, Unary};
use fgmf_net::rule::StraightThrough;
use fgmf_net::zoo::{Activation, Layers};
use fgmf_net::{Builder, Network, Rules, ValueId};
use std::sync::Arc;

pub use averaged::{Averaged, Smoothed};
pub use bit_depth::{BitDepthParams, with_bit_depth};
pub use expected::{Expected, Outcome};
pub use jpeg::{JpegParams, with_jpeg};
pub use k_wta::{KWtaParams, with_k_wta};
pub use logit_scaling::{LogitScalingParams, with_logit_scaling};
pub use lying_gate::{Lie, LyingGateParams, with_lying_gate};
pub use noise::{AdditiveNoise, AdditiveNoiseParams};
pub use resize_pad::{ResizePad, ResizePadParams};
pub use served::{Served, Transform};
pub use sgam::{MASK, MaskForm, SALIENCY, SgamParams, attacker_rules, has_mask, with_sgam};
pub use soft_rounding::SoftRounding;
pub use thermometer::{ThermometerParams, with_thermometer};

/// What an attacker who knows the defence puts in the place of its derivative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskKnowledge {
    /// The true derivative, through the mask's head and the masked image.
    EndToEnd,
    /// The mask held fixed at each step: only the masked image is followed.
    FrozenMask,
    /// The mask layer taken for the identity (BPDA).
    StraightThrough,
    /// Whatever has no useful derivative taken for the identity: [`bypass_rules`].
    Bypass,
    /// As [`Self::Bypass`], and every rounding taken for a soft one, whose slope is largest at the
    /// jumps: [`SoftRounding`].
    SoftRounding,
}

/// Ending of the name of a clip that belongs to a rounding and is bypassed with it.
const BYPASSED_CLIP: &str = ".bypass-clip";

/// Rules of a deployment that serves gradients: SGAM's gate and the lie of a lying gate, where the
/// network has them.
pub fn served_rules(net: &Network) -> Result<Rules> {
    let mut rules = sgam::served_rules(net)?;
    lying_gate::serve(net, &mut rules)?;
    Ok(rules)
}

/// Rules of an attacker who goes around what has no useful derivative (BPDA, Athalye et al. 2018):
/// every rounding, in networks of ours and of others, and the clips beside them count as the
/// identity; served lies are left out. `None` if the network holds nothing of the kind, so that its
/// true derivative is all there is to know.
pub fn bypass_rules(net: &Network) -> Option<Rules> {
    let mut rules = Rules::exact();
    let mut found = lying_gate::lies(net);
    for (i, node) in net.nodes().iter().enumerate() {
        if matches!(node.op, Op::Unary(Unary::Round)) || node.name.ends_with(BYPASSED_CLIP) {
            rules.set(i, Arc::new(StraightThrough(0)));
            found = true;
        }
    }
    found.then_some(rules)
}

/// [`bypass_rules`] with [`SoftRounding`] on every rounding; `None` if there is none.
pub fn soft_rules(net: &Network) -> Option<Rules> {
    let rounds = |i: &usize| matches!(net.nodes()[*i].op, Op::Unary(Unary::Round));
    let roundings: Vec<usize> = (0..net.nodes().len()).filter(rounds).collect();
    let mut rules = bypass_rules(net).filter(|_| !roundings.is_empty())?;
    roundings
        .into_iter()
        .for_each(|i| rules.set(i, Arc::new(SoftRounding)));
    Some(rules)
}

/// Whether the loss is full of kinks and jumps: the network rounds, or picks its largest
/// activations. [`Smoothed`] gradients see over the kinks.
pub fn is_rough(net: &Network) -> bool {
    net.nodes()
        .iter()
        .any(|n| matches!(n.op, Op::Unary(Unary::Round) | Op::TopK(_)))
}

/// Builds `front` on the images and puts the network behind it; `key` and `settings` go into the
/// metadata.
fn in_front(
    net: &Network,
    (key, settings): (&str, serde_json::Value),
    front: impl FnOnce(&mut Layers, ValueId) -> Result<ValueId>,
) -> Result<Network> {
    let input = &net.value(net.input()).name;
    let mut layers = Layers::on(
        Builder::new(&net.name, input, net.image_shape())?,
        Activation::Relu,
        0,
    );
    let image = layers.input();
    let seen = front(&mut layers, image)?;
    let logits = net.graft(layers.builder(), seen)?;
    let mut out = layers.finish(logits)?;
    out.metadata = net.metadata.clone();
    out.metadata
        .insert(format!("fgmf.{key}"), settings.to_string());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::Tensor;
    use fgmf_net::zoo::{Architecture, ZooConfig, build};

    pub(super) fn base() -> Network {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [1, 12, 12],
            classes: 3,
            mean: vec![0.3],
            deviation: vec![0.5],
            seed: 5,
        };
        build(&config).unwrap()
    }

    pub(super) fn images(n: usize) -> Tensor {
        Tensor::new::<f32>(
            &[n, 1, 12, 12],
            (0..n * 144).map(|i| (i * 29 % 97) as f32 / 96.0).collect(),
        )
    }

    /// A defended network is a file like any other: written and read back, it answers the same and
    /// is bypassed the same.
    #[test]
    fn planted_networks_survive_their_file() {
        let (net, x) = (base(), images(3));
        let defended = [
            with_bit_depth(&net, &BitDepthParams { bits: 2 }).unwrap(),
            with_jpeg(&net, &JpegParams { quality: 40 }).unwrap(),
            with_thermometer(&net, &ThermometerParams { levels: 5 }).unwrap(),
            with_logit_scaling(&net, &LogitScalingParams { factor: 100.0 }).unwrap(),
            with_lying_gate(&net, &LyingGateParams::default()).unwrap(),
            with_k_wta(&net, &KWtaParams { share: 0.3 }).unwrap(),
        ];
        for d in defended {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.onnx");
            fgmf_net::onnx::write(&d, &path).unwrap();
            let read = fgmf_net::onnx::read(&path).unwrap();
            let (a, b) = (
                d.logits(&x).unwrap().to_f32(),
                read.logits(&x).unwrap().to_f32(),
            );
            assert_eq!(a, b, "{:?}", d.metadata);
            assert_eq!(bypass_rules(&d).is_some(), bypass_rules(&read).is_some());
            assert_eq!(d.metadata, read.metadata);
        }
        assert!(bypass_rules(&net).is_none());
    }
}
