//! Saliency (Simonyan et al. 2014): how strongly each pixel moves the target logit.
//!
//! map = max over channels of |∂z/∂x|, divided by its largest value; with `signed`, the sum of
//! ∂z/∂x over channels as it is.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `signed` | false | |
//!
//! Values in `[0, 1]`, or signed in logits per input unit. Cost: one forward and one backward pass
//! an image.
//!
//! Differences from the paper: (1) divided by the largest value, for maps without a unit; (2) the
//! signed form, which noise tunnels average.

use crate::error::Result;
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{four, input_gradients, plain};
use crate::explain::parts::map;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::{Rules, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "saliency",
    line: "Shows how strongly each pixel moves the score of the class.",
    revision: 1,
    reference: "simonyan2014",
    example: r#"{"signed": true}"#,
    build: |settings, _| Ok(Box::new(read::<SaliencyParams>(settings)?.check()?)),
}];

/// Settings of [`Saliency`]; the table is at the top of the method's page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaliencyParams {
    /// Keep the sign.
    pub signed: bool,
}

impl SaliencyParams {
    /// The method; every setting is valid.
    pub fn check(self) -> Result<Saliency> {
        Ok(Saliency { params: self })
    }
}

/// Checked saliency.
#[derive(Clone, Debug)]
pub struct Saliency {
    params: SaliencyParams,
}

fn largest_of_channels(g: &[f64], pixels: usize) -> Vec<f64> {
    let mut out = vec![0.0; pixels];
    for (i, g) in g.iter().enumerate() {
        let at: &mut f64 = &mut out[i % pixels];
        // A slope that is not a number stays one.
        *at = if g.abs() > *at || g.is_nan() {
            g.abs()
        } else {
            *at
        };
    }
    out
}

impl Explainer for Saliency {
    fn id(&self) -> &'static str {
        "saliency"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        _: &Context,
    ) -> Result<Vec<Attribution>> {
        let [_, _, h, w] = four(x);
        let one = |(g, &target): (Vec<f64>, &usize)| {
            let values = if self.params.signed {
                map::channel_sum(&g, h * w)
            } else {
                map::by_largest(&largest_of_channels(&g, h * w))
            };
            plain(self.id(), target, [h, w], &values, self.params.signed)
        };
        Ok(input_gradients(model, x, targets, &Rules::exact())?
            .into_iter()
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

    #[test]
    fn linear_networks_are_explained_exactly() {
        let w = toy::spread(32, 1);
        let net = toy::linear(&[w.clone(), vec![0.5; 32]], [2, 4, 4]);
        let run = |signed| {
            let oracle = Oracle::new(&net);
            let method = SaliencyParams { signed }.check().unwrap();
            let map = explain(
                &method,
                &oracle,
                &toy::images([1, 2, 4, 4], 2),
                &[0],
                &Context::default(),
            )
            .unwrap()
            .swap_remove(0);
            assert!(
                (oracle.passes().forward, oracle.passes().backward) == (1, 1)
                    && map.signed == signed
            );
            map.values.values
        };
        let largest = w.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        for i in 0..16 {
            assert!(
                (f64::from(run(false)[i]) - w[i].abs().max(w[i + 16].abs()) / largest).abs() < 1e-6
            );
            assert!((f64::from(run(true)[i]) - w[i] - w[i + 16]).abs() < 1e-6);
        }
        assert!(largest_of_channels(&[1.0, f64::NAN], 1)[0].is_nan());
    }
}
