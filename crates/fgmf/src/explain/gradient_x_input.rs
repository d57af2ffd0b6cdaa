//! Gradient times input (Shrikumar et al. 2016).
//!
//! map = Σ over channels of x ∂z/∂x, z the target logit: what each pixel would contribute if the
//! model were linear through the origin. For networks of convolutions, rectifiers and maxima
//! without biases, Σ map = z.
//!
//! No parameters. Values in logits, signed. Cost: one forward and one backward pass an image.
//!
//! Differences from the paper: none. Black pixels get nothing, whatever the model makes of them.

use crate::error::Result;
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{four, input_gradients, plain};
use crate::explain::parts::map;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::{Rules, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "gradient-x-input",
    line: "Multiplies each pixel by the slope of the score there.",
    revision: 1,
    reference: "shrikumar2016",
    example: "{}",
    build: |settings, _| Ok(Box::new(read::<GradientXInputParams>(settings)?.check()?)),
}];

/// Settings of [`GradientXInput`]: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientXInputParams {}

impl GradientXInputParams {
    /// The method.
    pub fn check(self) -> Result<GradientXInput> {
        Ok(GradientXInput)
    }
}

/// Gradient times input.
#[derive(Clone, Copy, Debug)]
pub struct GradientXInput;

impl Explainer for GradientXInput {
    fn id(&self) -> &'static str {
        "gradient-x-input"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(GradientXInputParams {})
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        _: &Context,
    ) -> Result<Vec<Attribution>> {
        let [_, _, h, w] = four(x);
        let values = x.to_f64();
        let one = |((g, x), &target): ((Vec<f64>, &[f64]), &usize)| {
            let product: Vec<f64> = g.iter().zip(x).map(|(g, x)| g * x).collect();
            plain(
                self.id(),
                target,
                [h, w],
                &map::channel_sum(&product, h * w),
                true,
            )
        };
        let gradients = input_gradients(model, x, targets, &Rules::exact())?;
        Ok(gradients
            .into_iter()
            .zip(values.chunks_exact(values.len() / targets.len()))
            .zip(targets)
            .map(one)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    /// z = Σ w x³: the map is 3 w x³; without biases a rectified network is complete.
    #[test]
    fn known_gradients() {
        let w = toy::spread(16, 1);
        let net = toy::cubic(&w, [1, 4, 4]);
        let x = toy::images([1, 1, 4, 4], 2);
        let map = explain(
            &GradientXInput,
            &Oracle::new(&net),
            &x,
            &[0],
            &Context::default(),
        )
        .unwrap()
        .swap_remove(0);
        for ((v, w), x) in map.values.values.iter().zip(&w).zip(x.to_f64()) {
            assert!((f64::from(*v) - 3.0 * w * x.powi(3)).abs() < 1e-6 && map.signed);
        }
        let net = toy::conv_dense(
            &toy::spread(54, 3),
            3,
            &[toy::spread(108, 4), toy::spread(108, 5)],
            [2, 6, 6],
        );
        let x = toy::images([1, 2, 6, 6], 6);
        let map = explain(
            &GradientXInput,
            &Oracle::new(&net),
            &x,
            &[1],
            &Context::default(),
        )
        .unwrap()
        .swap_remove(0);
        let sum: f64 = map.values.values.iter().map(|v| f64::from(*v)).sum();
        assert!((sum - net.logits(&x).unwrap().to_f64()[1]).abs() < 1e-5);
    }
}
