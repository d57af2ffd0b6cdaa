//! Bit-depth reduction (feature squeezing, Xu et al. 2018): pixels are rounded to 2ᵇ levels.
//! Planted: a step function, whose derivative is 0 wherever it exists, so that an attacker who
//! follows it stands still.
//!
//! x' = round((2ᵇ − 1) x) / (2ᵇ − 1), for images in `[0, 1]`, `[n, c, h, w]`.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `bits` | 3 | b in 1 to 8 |
//!
//! Goes around it: [`super::bypass_rules`], the rounding taken for the identity. At most (2ᵇ − 1)⁻¹
//! / 2 of a pixel is lost.
//!
//! Differences from the paper: (1) halves go to the even level, as ONNX rounds. Reference:
//! `xu2018`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::defend::parts::in_front;
use crate::error::{Error, Result};
use crate::settings::read;
use fgmf_net::Network;
use fgmf_net::op::{Binary, Op, Unary};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "bit-depth",
    line: "Rounds pixels to few levels.",
    revision: 1,
    reference: "xu2018",
    example: r#"{"bits": 2}"#,
    build: |settings| {
        Ok(Defence::rewrite(
            read::<BitDepthParams>(settings)?,
            |net, params, _| with_bit_depth(net, params),
        ))
    },
}];

/// Settings of [`with_bit_depth`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BitDepthParams {
    /// Bits a pixel keeps.
    pub bits: u32,
}

impl Default for BitDepthParams {
    fn default() -> Self {
        Self { bits: 3 }
    }
}

/// The network behind the rounding.
pub fn with_bit_depth(net: &Network, params: &BitDepthParams) -> Result<Network> {
    if !(1..=8).contains(&params.bits) {
        return Err(Error::parameter("bits", "1 to 8", params.bits));
    }
    let steps = f64::from((1u32 << params.bits) - 1);
    in_front(net, ("bit-depth", serde_json::json!(params)), |l, image| {
        let up = l.constant("bit-depth.up", &[1], &[steps])?;
        let down = l.constant("bit-depth.down", &[1], &[1.0 / steps])?;
        let x = l.node("bit-depth.scaled", Op::Binary(Binary::Mul), &[image, up])?;
        let x = l.node("bit-depth.rounded", Op::Unary(Unary::Round), &[x])?;
        Ok(l.node("bit-depth", Op::Binary(Binary::Mul), &[x, down])?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::bypass_rules;
    use crate::defend::knowledge::tests::{base, images};
    use crate::model::access::Gradients;
    use crate::model::oracle::Oracle;
    use fgmf_net::Session;
    use fgmf_net::head::Logit;

    #[test]
    fn pixels_are_on_the_levels_and_the_bypass_sees_through() {
        let (net, x) = (base(), images(2));
        let squeezed = Session::new(with_bit_depth(&net, &BitDepthParams { bits: 2 }).unwrap());
        let seen = squeezed
            .values_at(&x, &[squeezed.find("bit-depth").unwrap()])
            .unwrap()
            .swap_remove(0);
        for (v, x) in seen.to_f32().iter().zip(x.to_f32()) {
            assert!((v - (x * 3.0).round_ties_even() / 3.0).abs() < 1e-6);
        }
        let head = Logit::new(&[0, 1]);
        let plain = Oracle::new(&squeezed)
            .loss_gradient(&x, &head)
            .unwrap()
            .gradient
            .to_f32();
        assert!(plain.iter().all(|g| *g == 0.0));
        // The bypass is the network's own gradient at the rounded image.
        let around = Oracle::with_rules(&squeezed, bypass_rules(&squeezed).unwrap())
            .loss_gradient(&x, &head)
            .unwrap()
            .gradient
            .to_f32();
        let own = Oracle::new(&net)
            .loss_gradient(&seen, &head)
            .unwrap()
            .gradient
            .to_f32();
        assert!(
            around.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-5)
                && own.iter().any(|g| *g != 0.0)
        );
    }

    #[test]
    fn bad_settings_are_refused() {
        assert!(with_bit_depth(&base(), &BitDepthParams { bits: 0 }).is_err());
        assert!(with_bit_depth(&base(), &BitDepthParams { bits: 9 }).is_err());
    }
}
