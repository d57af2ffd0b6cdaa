//! Logit scaling and defensive distillation (Papernot et al. 2016): logits so large that
//! cross-entropy saturates. Planted: no decision changes, but softmax(c z) is 0 or 1 in `f32`, and
//! the gradient of its logarithm underflows to 0.
//!
//! z' = c z, for logits `[n, k]`. Distillation at temperature T trains softmax(z / T) and drops T
//! when the network is used; what is used then is a network with logits T times as large as those
//! that were trained, so that c = T (20 to 100 in the paper) on a trained network shows the same
//! saturation (Carlini & Wagner 2017).
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `factor` | 1000 | c above 0, at most 10⁶ |
//!
//! Goes around it: any loss that does not saturate (margin, DLR), or logits divided by c:
//! [`AttackLoss::Margin`](crate::attack::loss::AttackLoss) in PGD.
//!
//! Differences from the paper: (1) no second network is trained: the mechanism is put on a given
//! network. The training itself is [`crate::train::Distillation`]. Reference: `papernot2016`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::error::{Error, Result};
use crate::settings::read;
use fgmf_net::op::{Binary, Op};
use fgmf_net::{Builder, Network, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "logit-scaling",
    line: "Multiplies logits until cross-entropy saturates.",
    revision: 1,
    reference: "papernot2016",
    example: r#"{"factor": 100.0}"#,
    build: |settings| {
        Ok(Defence::rewrite(
            read::<LogitScalingParams>(settings)?,
            |net, params, _| with_logit_scaling(net, params),
        ))
    },
}];

/// Settings of [`with_logit_scaling`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogitScalingParams {
    /// What logits are multiplied by.
    pub factor: f64,
}

impl Default for LogitScalingParams {
    fn default() -> Self {
        Self { factor: 1000.0 }
    }
}

/// The network with scaled logits.
pub fn with_logit_scaling(net: &Network, params: &LogitScalingParams) -> Result<Network> {
    if !(params.factor > 0.0 && params.factor <= 1e6) {
        return Err(Error::parameter(
            "factor",
            "above 0, at most 1000000",
            params.factor,
        ));
    }
    let input = &net.value(net.input()).name;
    let mut b = Builder::new(&net.name, input, net.image_shape())?;
    let image = b.input();
    let logits = net.graft(&mut b, image)?;
    let precision = net.precision().unwrap_or(fgmf_net::Precision::F32);
    let name = b.fresh("logit-scaling.factor");
    let factor = b.parameter(&name, Tensor::full(&[1], params.factor, precision), false)?;
    let name = b.fresh("logit-scaling");
    let scaled = b.node(&name, Op::Binary(Binary::Mul), &[logits, factor])?;
    let mut out = b.finish(scaled)?;
    out.metadata = net.metadata.clone();
    out.metadata.insert(
        "fgmf.logit-scaling".into(),
        serde_json::json!(params).to_string(),
    );
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::tests::{base, images};
    use crate::model::access::Gradients;
    use crate::model::answer::predictions;
    use crate::model::oracle::Oracle;
    use fgmf_net::Session;
    use fgmf_net::head::{CrossEntropy, Margin};

    /// The same decisions, no gradient for cross-entropy, c times the gradient for the margin.
    #[test]
    fn saturates_cross_entropy_and_nothing_else() {
        let (net, x) = (base(), images(4));
        let scaled =
            Session::new(with_logit_scaling(&net, &LogitScalingParams { factor: 1e6 }).unwrap());
        let labels = predictions(&net.logits(&x).unwrap());
        assert_eq!(labels, predictions(&scaled.logits(&x).unwrap()));
        let flat = Oracle::new(&scaled)
            .loss_gradient(&x, &CrossEntropy::labels(&labels))
            .unwrap()
            .gradient
            .to_f32();
        assert!(flat.iter().all(|g| *g == 0.0));
        let margin = |net: &Session| {
            Oracle::new(net)
                .loss_gradient(&x, &Margin::new(&labels))
                .unwrap()
                .gradient
                .to_f32()
        };
        let (found, own) = (margin(&scaled), margin(&net));
        let largest = found.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(
            found
                .iter()
                .zip(&own)
                .all(|(a, b)| (a - 1e6 * b).abs() <= 1e-4 * largest)
        );
        for factor in [0.0, -1.0, f64::NAN, 1e7] {
            assert!(with_logit_scaling(&net, &LogitScalingParams { factor }).is_err());
        }
    }
}
