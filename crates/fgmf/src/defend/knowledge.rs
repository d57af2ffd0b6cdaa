//! What an attacker who knows a defence puts in the place of its derivative.

use crate::defend::parts::BYPASSED_CLIP;
use crate::defend::sgam::apply_node;
use crate::defend::soft_rounding::SoftRounding;
use crate::defend::{lying_gate, sgam};
use crate::error::Result;
use fgmf_net::op::{Binary, Op, Unary};
use fgmf_net::rule::{BackwardRule, OnlyInput, StraightThrough};
use fgmf_net::{Builder, Network, Rules};
use std::sync::Arc;

/// Rules of an attacker who knows the defence.
pub fn attacker_rules(net: &Network, knowledge: MaskKnowledge) -> Rules {
    let on_mask = |rule: Arc<dyn BackwardRule>| {
        let mut rules = Rules::exact();
        apply_node(net)
            .into_iter()
            .for_each(|node| rules.set(node, rule.clone()));
        rules
    };
    match knowledge {
        MaskKnowledge::EndToEnd
        | MaskKnowledge::Readout
        | MaskKnowledge::DeepReadout
        | MaskKnowledge::Double => Rules::exact(),
        MaskKnowledge::FrozenMask => on_mask(Arc::new(OnlyInput(0))),
        MaskKnowledge::StraightThrough => on_mask(Arc::new(StraightThrough(0))),
        MaskKnowledge::Bypass => super::bypass_rules(net).unwrap_or_default(),
        MaskKnowledge::SoftRounding => super::soft_rules(net).unwrap_or_default(),
    }
}

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
    /// Scores read from what the last layers with weights give, fitted to the classes that the
    /// model names; what is in front of the first such layers is taken for the identity where it
    /// gives nearly the image: [`cuts`](super::cuts).
    Readout,
    /// As [`Self::Readout`], one layer with weights earlier.
    DeepReadout,
    /// The true derivative in double precision, where single precision loses it.
    Double,
}

impl MaskKnowledge {
    /// Which cut it reads, if it reads one.
    pub fn cut(self) -> Option<usize> {
        match self {
            Self::Readout => Some(0),
            Self::DeepReadout => Some(1),
            _ => None,
        }
    }
}

/// Rules of a deployment that serves gradients: SGAM's gate and the lie of a lying gate, where the
/// network has them.
pub fn served_rules(net: &Network) -> Result<Rules> {
    let mut rules = sgam::served_rules(net)?;
    lying_gate::serve(net, &mut rules)?;
    Ok(rules)
}

/// Nodes at the end of a network that squash its scores and keep their order: softmax,
/// exponentials, logarithms, sigmoids. Where they saturate, their derivative is lost, and the
/// scores before them have one.
fn squashed_end(net: &Network) -> Vec<usize> {
    let mut out = Vec::new();
    let mut value = net.output();
    while let Some(i) = net.producer(value) {
        let node = &net.nodes()[i];
        let mut data = node
            .inputs
            .iter()
            .filter(|id| net.parameter(**id).is_none());
        let (Some(&input), None) = (data.next(), data.next()) else {
            break;
        };
        match &node.op {
            Op::Softmax(_)
            | Op::Unary(
                Unary::Exp
                | Unary::Log
                | Unary::Sqrt
                | Unary::Sigmoid
                | Unary::Tanh
                | Unary::HardSigmoid { .. }
                | Unary::Clip { .. },
            ) => out.push(i),
            // Constants added or multiplied have derivatives of their own.
            Op::Unary(Unary::Identity)
            | Op::Binary(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_) => {}
            _ => break,
        }
        value = input;
    }
    out
}

/// A network that gives the scores before they are squashed at the end (softmax, its logarithm,
/// sigmoid): what is explained of such a model.
#[derive(Clone, Debug)]
pub struct Unsquashed {
    /// The network without these operators.
    pub network: Network,
    /// Their names, first one first.
    pub operators: Vec<&'static str>,
}

/// The network without what squashes its scores at the end, the same that [`bypass_rules`] goes
/// around; `None` if there is nothing of the kind.
pub fn unsquashed(net: &Network) -> Result<Option<Unsquashed>> {
    let mut squashing = squashed_end(net);
    squashing.reverse();
    if squashing.is_empty() {
        return Ok(None);
    }
    let mut b = Builder::new(&net.name, &net.value(net.input()).name, net.image_shape())?;
    let image = b.input();
    let mut at = 0;
    let scores = net.graft_with(&mut b, image, &mut |_, _, inputs| {
        at += 1;
        Ok(squashing.contains(&(at - 1)).then(|| vec![inputs[0]]))
    })?;
    let mut network = b.finish(scores)?;
    network.metadata = net.metadata.clone();
    let operators = squashing.iter().map(|&i| net.nodes()[i].op.name());
    Ok(Some(Unsquashed {
        network,
        operators: operators.collect(),
    }))
}

/// Rules of an attacker who goes around what has no useful derivative (BPDA, Athalye et al. 2018):
/// every rounding, in networks of ours and of others, the clips beside them, and what squashes the
/// scores at the end count as the identity; served lies are left out. `None` if the network holds
/// nothing of the kind, so that its true derivative is all there is to know.
pub fn bypass_rules(net: &Network) -> Option<Rules> {
    let mut rules = Rules::exact();
    let mut found = lying_gate::lies(net);
    for i in squashed_end(net) {
        rules.set(i, Arc::new(StraightThrough(0)));
        found = true;
    }
    for (i, node) in net.nodes().iter().enumerate() {
        if matches!(
            node.op,
            Op::Unary(Unary::Round | Unary::Floor | Unary::Ceil)
        ) || node.name.ends_with(BYPASSED_CLIP)
        {
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

/// Whether the loss is full of kinks and jumps: the network rounds, picks its largest activations,
/// folds or cuts values (a rectifier alone, up to 6 or not, is not meant).
/// [`Smoothed`](crate::model::Smoothed) gradients see over the kinks.
pub fn is_rough(net: &Network) -> bool {
    let relu6 = |min: f64, max: f64| min.abs() < 1e-12 && [6.0, f64::INFINITY].contains(&max);
    net.nodes().iter().any(|n| match n.op {
        Op::Unary(
            Unary::Round | Unary::Floor | Unary::Ceil | Unary::Abs | Unary::Quantize { .. },
        )
        | Op::TopK(_) => true,
        Op::Unary(Unary::Clip { min, max }) => !relu6(min, max),
        _ => false,
    })
}

/// Whether single precision may lose derivatives: scores go through exponentials, logarithms,
/// quotients or what else squashes them at the end.
pub fn is_delicate(net: &Network) -> bool {
    let quotient = |n: &fgmf_net::Node| {
        let made = |id: &fgmf_net::ValueId| net.parameter(*id).is_none();
        matches!(n.op, Op::Binary(Binary::Div | Binary::Pow)) && n.inputs.get(1).is_some_and(made)
    };
    let steep = |n: &fgmf_net::Node| {
        matches!(n.op, Op::Unary(Unary::Exp | Unary::Log | Unary::Reciprocal)) || quotient(n)
    };
    !squashed_end(net).is_empty() || net.nodes().iter().any(steep)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::defend::{
        BitDepthParams, JpegParams, KWtaParams, LogitScalingParams, LyingGateParams,
        ThermometerParams, with_bit_depth, with_jpeg, with_k_wta, with_logit_scaling,
        with_lying_gate, with_thermometer,
    };
    use fgmf_net::Session;
    use fgmf_net::Tensor;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    pub(crate) fn base() -> Session {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [1, 12, 12],
            classes: 3,
            mean: vec![0.3],
            deviation: vec![0.5],
            seed: 5,
        };
        Session::new(build(&config).unwrap())
    }

    pub(crate) fn images(n: usize) -> Tensor {
        Tensor::new::<f32>(
            &[n, 1, 12, 12],
            (0..n * 144).map(|i| (i * 29 % 97) as f32 / 96.0).collect(),
        )
    }

    /// log(softmax(30 z) + 10⁻⁶) is flat in single precision wherever the network is sure. Around
    /// it there is a gradient, and what is in the middle of a network stays as it is.
    #[test]
    fn squashed_scores_are_gone_around() {
        use fgmf_net::op::{Binary, Softmax};
        use fgmf_net::{Builder, head::CrossEntropy};
        let plain = base();
        assert!(bypass_rules(&plain).is_none());
        let mut b = Builder::new("squashed", "image", [1, 12, 12]).unwrap();
        let image = b.input();
        let z = plain.graft(&mut b, image).unwrap();
        let constant = |v: f32| Tensor::new::<f32>(&[1, 1], vec![v]);
        let many = b.parameter("many", constant(3e4), false).unwrap();
        let few = b.parameter("few", constant(1e-6), false).unwrap();
        let sharp = b
            .node("sharp", Op::Binary(Binary::Mul), &[z, many])
            .unwrap();
        let softmax = Op::Softmax(Softmax {
            axis: 1,
            log: false,
        });
        let p = b.node("p", softmax, &[sharp]).unwrap();
        let above = b.node("above", Op::Binary(Binary::Add), &[p, few]).unwrap();
        let log = b.node("log", Op::Unary(Unary::Log), &[above]).unwrap();
        let net = Session::new(b.finish(log).unwrap());
        let (x, labels) = (
            images(4),
            crate::model::predictions(&net.logits(&images(4)).unwrap()),
        );
        let largest = |rules| {
            let oracle = crate::model::Oracle::with_rules(&net, rules);
            use crate::model::Gradients;
            let at = oracle
                .loss_gradient(&x, &CrossEntropy::labels(&labels))
                .unwrap();
            let all = at.gradient.to_f32();
            all.iter().fold(0.0f32, |m, v| m.max(v.abs()))
        };
        assert!(largest(Rules::exact()) < 1e-6);
        assert!(largest(bypass_rules(&net).unwrap()) > 1e-3);
        // What is explained are the scores before.
        assert!(unsquashed(&plain).unwrap().is_none());
        let found = unsquashed(&net).unwrap().unwrap();
        assert_eq!(found.operators, ["Softmax", "Log"]);
        let (z, sharp) = (
            plain.logits(&x).unwrap().to_f32(),
            Session::new(found.network).logits(&x).unwrap().to_f32(),
        );
        let same = |(z, s): (&f32, &f32)| (3e4 * z - s).abs() <= 1e-5 * s.abs().max(1.0);
        assert!(z.iter().zip(&sharp).all(same), "{z:?}, {sharp:?}");
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
            let d = Session::new(d);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.onnx");
            std::fs::write(&path, fgmf_net::onnx::to_bytes(&d).unwrap()).unwrap();
            let read = Session::new(fgmf_net::onnx::read(&path).unwrap());
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
