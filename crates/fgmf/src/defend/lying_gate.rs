//! A gate that lies: an identity in front of the network whose served derivative points elsewhere.
//! Planted: no prediction changes and served gradients have the right sizes, so that checks for
//! vanishing gradients pass; whoever follows them is led astray.
//!
//! Forward x' = x, `[n, c, h, w]`. Backward, in a deployment that serves gradients, for the
//! cotangent g: signs: s ⊙ g with fixed random signs s in {−1, 1}, one a coordinate; reverse: −g.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `lie` | signs | |
//! | `seed` | 0 | of the signs |
//!
//! Goes around it: whoever has the weights computes the true derivative of the node, the identity;
//! whoever has not uses differences of scores. Both show the lie at once (the flag
//! `gradient-contradicted`).
//!
//! Reference: `athalye2018` for the class of defences; the form is ours. A backward rule is no part
//! of an ONNX file: the lie is kept in the metadata, and only this library serves it.

use crate::defend::base::{Defence, DefenceMethod};
use crate::defend::parts::in_front;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use fgmf_net::op::{Local, Op, Unary};
use fgmf_net::rule::BackwardRule;
use fgmf_net::{Dual, Network, Rules, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "lying-gate",
    line: "Serves gradients that point elsewhere.",
    revision: 1,
    reference: "athalye2018",
    example: r#"{"lie": "reverse"}"#,
    build: |settings| {
        Ok(Defence::rewrite(
            read::<LyingGateParams>(settings)?,
            |net, params, _| with_lying_gate(net, params),
        ))
    },
}];

const GATE: &str = "lying-gate";
const KEY: &str = "fgmf.lying-gate";

/// What the gate does to gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lie {
    /// Fixed random signs.
    #[default]
    Signs,
    /// The opposite direction.
    Reverse,
}

/// Settings of [`with_lying_gate`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LyingGateParams {
    /// Which lie.
    pub lie: Lie,
    /// Seed of the signs.
    pub seed: u64,
}

/// The network behind the gate.
pub fn with_lying_gate(net: &Network, params: &LyingGateParams) -> Result<Network> {
    if lies(net) {
        return Err(Error::mismatch(
            "put a lying gate in front",
            "a network without one",
            "one that has it",
        ));
    }
    in_front(net, (GATE, serde_json::json!(params)), |l, image| {
        Ok(l.node(GATE, Op::Unary(Unary::Identity), &[image])?)
    })
}

/// Whether the network has a gate of ours.
pub(crate) fn lies(net: &Network) -> bool {
    net.find(GATE).is_some() && net.metadata.contains_key(KEY)
}

/// Adds the lie to the rules of a deployment.
pub(crate) fn serve(net: &Network, rules: &mut Rules) -> Result<()> {
    let (Some(node), Some(text)) = (
        net.find(GATE).and_then(|id| net.producer(id)),
        net.metadata.get(KEY),
    ) else {
        return Ok(());
    };
    let params: LyingGateParams = serde_json::from_str(text).map_err(|e| {
        Error::mismatch(
            "read settings of the lying gate",
            "what this tool writes",
            e,
        )
    })?;
    let [c, h, w] = net.image_shape();
    let mut rng = Stream::new(params.seed, Purpose::Evaluation, 0, 0);
    let sign = |_| match params.lie {
        Lie::Signs => rng.symmetric().signum(),
        Lie::Reverse => -1.0,
    };
    rules.set(
        node,
        Arc::new(Signed(Tensor::new::<f32>(
            &[1, c, h, w],
            (0..c * h * w).map(sign).collect(),
        ))),
    );
    Ok(())
}

/// Multiplies the cotangent by fixed signs, `[1, c, h, w]`.
struct Signed(Tensor);

impl BackwardRule for Signed {
    fn backward(&self, _: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let pass = |g: &Dual| g.mul(&self.0.cast(g.precision()).into());
        local
            .wanted
            .iter()
            .map(|&w| local.cotangents[0].as_ref().filter(|_| w).map(pass))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::tests::{base, images};
    use crate::defend::knowledge::{bypass_rules, served_rules};
    use crate::model::access::{Gradients, Scores};
    use crate::model::oracle::Oracle;
    use fgmf_net::Session;
    use fgmf_net::head::Logit;

    #[test]
    fn lies_in_the_backward_pass_only() {
        let (net, x) = (base(), images(2));
        let head = Logit::new(&[0, 1]);
        let own = Oracle::new(&net)
            .loss_gradient(&x, &head)
            .unwrap()
            .gradient
            .to_f32();
        for lie in [Lie::Signs, Lie::Reverse] {
            let gated =
                Session::new(with_lying_gate(&net, &LyingGateParams { lie, seed: 3 }).unwrap());
            assert_eq!(
                Oracle::new(&gated).logits(&x).unwrap().to_f32(),
                net.logits(&x).unwrap().to_f32()
            );
            let served = Oracle::with_rules(&gated, served_rules(&gated).unwrap())
                .loss_gradient(&x, &head)
                .unwrap()
                .gradient
                .to_f32();
            let around = Oracle::with_rules(&gated, bypass_rules(&gated).unwrap())
                .loss_gradient(&x, &head)
                .unwrap()
                .gradient
                .to_f32();
            assert_eq!(around, own);
            let sizes = |g: &[f32]| g.iter().map(|v| v.abs()).collect::<Vec<f32>>();
            assert_eq!(sizes(&served), sizes(&own));
            let flipped = served
                .iter()
                .zip(&own)
                .filter(|(s, o)| *s * *o < 0.0)
                .count();
            let alive = own.iter().filter(|o| **o != 0.0).count();
            assert!(if lie == Lie::Reverse {
                flipped == alive
            } else {
                flipped * 3 > alive && flipped * 3 < 2 * alive
            });
            assert!(with_lying_gate(&gated, &LyingGateParams::default()).is_err());
        }
    }
}
