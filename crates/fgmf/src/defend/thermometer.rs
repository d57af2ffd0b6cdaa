//! Thermometer encoding (Buckman et al. 2018): a pixel becomes a bar of steps. Planted: the
//! encoding has no derivative.
//!
//! tₗ(x) = 1 if x > l / L else 0, for l = 0 … L − 1, computed as clip(round(L x − l), 0, 1) after a
//! shift of one half; the network behind reads the bar's height, x' = Σₗ tₗ(x) / L, for images in
//! `[0, 1]`, `[n, c, h, w]`.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `levels` | 16 | L in 2 to 256 |
//!
//! Goes around it: [`super::bypass_rules`], which gives L times the network's own gradient at the
//! encoded image: the direction is right. At most 1 / L of a pixel is lost.
//!
//! Differences from the paper: (1) the height of the bar is fed to a trained network, instead of
//! the bar itself to a network trained on bars: the first layer is not learned anew; (2) the
//! attacker takes each step for the identity, where Athalye et al. smooth it. Reference:
//! `buckman2018`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::defend::parts::{BYPASSED_CLIP, in_front};
use crate::error::{Error, Result};
use crate::settings::read;
use fgmf_net::Network;
use fgmf_net::op::{Binary, Op, Reduce, ReduceKind, Unary};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "thermometer",
    line: "Encodes each pixel as a bar of steps.",
    revision: 1,
    reference: "buckman2018",
    example: r#"{"levels": 8}"#,
    build: |settings| {
        Ok(Defence::rewrite(
            read::<ThermometerParams>(settings)?,
            |net, params, _| with_thermometer(net, params),
        ))
    },
}];

/// Settings of [`with_thermometer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThermometerParams {
    /// Steps of the bar.
    pub levels: usize,
}

impl Default for ThermometerParams {
    fn default() -> Self {
        Self { levels: 16 }
    }
}

/// The network behind the encoding.
pub fn with_thermometer(net: &Network, params: &ThermometerParams) -> Result<Network> {
    if !(2..=256).contains(&params.levels) {
        return Err(Error::parameter("levels", "2 to 256", params.levels));
    }
    let levels = params.levels;
    in_front(
        net,
        ("thermometer", serde_json::json!(params)),
        |l, image| {
            let shape = [1, levels, 1, 1, 1];
            let scale = l.constant("thermometer.levels", &[1], &[levels as f64])?;
            // At L x = l the shifted value is 0.5, which rounds to the even 0: the step is open, as
            // in the formula.
            let steps: Vec<f64> = (0..levels).map(|i| i as f64 - 0.5).collect();
            let steps = l.constant("thermometer.steps", &shape, &steps)?;
            let x = l.node(
                "thermometer.bar",
                Op::Unsqueeze(fgmf_net::op::Unsqueeze { axes: vec![1] }),
                &[image],
            )?;
            let x = l.node("thermometer.scaled", Op::Binary(Binary::Mul), &[x, scale])?;
            let x = l.node("thermometer.shifted", Op::Binary(Binary::Sub), &[x, steps])?;
            let x = l.node("thermometer.rounded", Op::Unary(Unary::Round), &[x])?;
            let x = l.node(
                &format!("thermometer{BYPASSED_CLIP}"),
                Op::Unary(Unary::Clip { min: 0.0, max: 1.0 }),
                &[x],
            )?;
            let height = Reduce {
                kind: ReduceKind::Mean,
                axes: vec![1],
                keep: false,
            };
            Ok(l.node("thermometer", Op::Reduce(height), &[x])?)
        },
    )
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
    fn heights_follow_the_formula_and_the_bypass_sees_through() {
        let (net, x) = (base(), images(2));
        let defended =
            Session::new(with_thermometer(&net, &ThermometerParams { levels: 5 }).unwrap());
        let seen = defended
            .values_at(&x, &[defended.find("thermometer").unwrap()])
            .unwrap()
            .swap_remove(0);
        for (v, x) in seen.to_f32().iter().zip(x.to_f32()) {
            let height = (0..5).filter(|&l| 5.0 * x > l as f32).count();
            assert!((v - height as f32 / 5.0).abs() < 1e-6, "{x}");
        }
        let head = Logit::new(&[0, 1]);
        assert!(
            Oracle::new(&defended)
                .loss_gradient(&x, &head)
                .unwrap()
                .gradient
                .to_f32()
                .iter()
                .all(|g| *g == 0.0)
        );
        let around = Oracle::with_rules(&defended, bypass_rules(&defended).unwrap())
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
            around
                .iter()
                .zip(&own)
                .all(|(a, b)| (a - b * 5.0).abs() < 1e-4)
        );
        assert!(
            own.iter().any(|g| *g != 0.0)
                && with_thermometer(&net, &ThermometerParams { levels: 1 }).is_err()
        );
    }
}
