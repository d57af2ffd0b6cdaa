//! The slope of a soft rounding in the place of a rounding's derivative (Shin & Song 2017), which
//! is 0.
//!
//! ⌊x⌉ + (x − ⌊x⌉)³ meets x → ⌊x⌉ at every whole number and lies between it and the identity; its
//! slope 3 (x − ⌊x⌉)² is 0 where x is whole and ¾ at the jumps. An attacker who puts it there
//! follows the coefficients that can be moved over a jump, where the identity
//! ([`super::bypass_rules`]) counts on all alike, those too that a small step leaves rounded to
//! what they were.
//!
//! Cost: none beside the backward pass.
//!
//! Differences from the paper: (1) the forward pass rounds, as the defence does (there both passes
//! are soft). Reference: `shin2017`.

use fgmf_net::op::{Local, Op};
use fgmf_net::rule::BackwardRule;
use fgmf_net::{Dual, Tensor};

/// Passes on the cotangent times the slope of a soft rounding.
#[derive(Clone, Copy, Debug)]
pub struct SoftRounding;

impl BackwardRule for SoftRounding {
    fn backward(&self, _: &Op, local: &Local<'_>) -> Vec<Option<Dual>> {
        let x = &local.inputs[0].value;
        let slope = |v: f64| 3.0 * (v - v.round_ties_even()).powi(2);
        let slopes = Tensor::new::<f64>(x.shape(), x.to_f64().into_iter().map(slope).collect())
            .cast(x.precision());
        vec![local.when(0, || local.g().mul(&slopes.clone().into()))]
    }
}

#[cfg(test)]
mod tests {
    use crate::defend::knowledge::{MaskKnowledge, attacker_rules};
    use crate::model::access::Gradients;
    use crate::model::oracle::Oracle;
    use fgmf_net::Session;
    use fgmf_net::head::Logit;
    use fgmf_net::op::{Flatten, Gemm, Op, Unary};
    use fgmf_net::{Builder, Precision, Tensor};

    /// One linear score behind a rounding: the gradient is the weight times 3 r², r the distance
    /// from the nearest whole number.
    #[test]
    fn the_slope_is_that_of_the_cubic() {
        let mut b = Builder::new("rounded", "image", [1, 1, 4]).unwrap();
        let image = b.input();
        let weight = b
            .parameter(
                "weight",
                Tensor::new(&[2, 4], [[2.0f64; 4], [-2.0; 4]].concat()),
                false,
            )
            .unwrap();
        let rounded = b
            .node("rounded", Op::Unary(Unary::Round), &[image])
            .unwrap();
        let flat = b
            .node("flat", Op::Flatten(Flatten { axis: 1 }), &[rounded])
            .unwrap();
        let logits = b
            .node("logits", Op::Gemm(Gemm::DENSE), &[flat, weight])
            .unwrap();
        let net = Session::new(b.finish(logits).unwrap());
        let x = [0.0, 0.25, 0.5, 0.9];
        for precision in [Precision::F32, Precision::F64] {
            let net = net.cast(precision);
            let oracle =
                Oracle::with_rules(&net, attacker_rules(&net, MaskKnowledge::SoftRounding));
            let at = oracle
                .loss_gradient(
                    &Tensor::new::<f64>(&[1, 1, 1, 4], x.to_vec()).cast(precision),
                    &Logit::new(&[0]),
                )
                .unwrap();
            assert_eq!(at.logits.to_f64(), [2.0, -2.0], "the forward pass rounds");
            let gap = |(g, want): (f64, f64)| (g - want).abs();
            let want = [0.0, 2.0 * 0.1875, 2.0 * 0.75, 2.0 * 0.03];
            assert!(
                at.gradient
                    .to_f64()
                    .into_iter()
                    .zip(want)
                    .map(gap)
                    .fold(0.0, f64::max)
                    < 1e-6,
                "{precision:?}"
            );
        }
    }
}
