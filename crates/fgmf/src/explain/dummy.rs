//! A dummy, for tests of the list: how much each pixel times its slope weighs.
//!
//! map = |Σ over channels of x ∂z/∂x| to the power p, divided by its largest value.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `power` | 1 | p, above 0, at most 10 |
//!
//! Values in `[0, 1]`. Cost: one forward and one backward pass an image. Reference:
//! `shrikumar2016`.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{four, input_gradients, plain};
use crate::explain::parts::map;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::{Rules, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "dummy-explainer",
    line: "Shows how much each pixel times its slope weighs.",
    revision: 1,
    reference: "shrikumar2016",
    example: r#"{"power": 2.0}"#,
    build: |settings, _| Ok(Box::new(read::<DummyParams>(settings)?.check()?)),
}];

/// Settings of [`Dummy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DummyParams {
    /// Exponent.
    power: f64,
}

impl Default for DummyParams {
    fn default() -> Self {
        Self { power: 1.0 }
    }
}

impl DummyParams {
    fn check(self) -> Result<Dummy> {
        if !(self.power > 0.0 && self.power <= 10.0) {
            return Err(Error::parameter("power", "above 0, at most 10", self.power));
        }
        Ok(Dummy { params: self })
    }
}

/// The checked dummy.
struct Dummy {
    params: DummyParams,
}

impl Explainer for Dummy {
    fn id(&self) -> &'static str {
        METHODS[0].id
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
        let [_, c, h, w] = four(x);
        let gradients = input_gradients(model, x, targets, &Rules::exact())?;
        let images = x.to_f64();
        let one = |((g, x), &target): ((&Vec<f64>, &[f64]), &usize)| {
            let terms: Vec<f64> = g.iter().zip(x).map(|(g, x)| g * x).collect();
            let sums = map::channel_sum(&terms, h * w);
            let raised: Vec<f64> = sums
                .iter()
                .map(|v| v.abs().powf(self.params.power))
                .collect();
            plain(self.id(), target, [h, w], &map::by_largest(&raised), false)
        };
        let images = images.chunks_exact(c * h * w);
        Ok(gradients.iter().zip(images).zip(targets).map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::list::with_parameters;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    /// z = w · x: the map is (w x)², divided by its largest value.
    #[test]
    fn one_line_puts_it_into_the_list() {
        let w = toy::spread(16, 1);
        let net = toy::linear(&[w.clone(), vec![0.0; 16]], [1, 4, 4]);
        let x = toy::images([1, 1, 4, 4], 2);
        let method = &METHODS[0];
        let example = serde_json::from_str(method.example).unwrap();
        let explainer = with_parameters(method.id, example).unwrap();
        let oracle = Oracle::new(&net);
        let maps = explain(explainer.as_ref(), &oracle, &x, &[0], &Context::default()).unwrap();
        let exact: Vec<f64> = w
            .iter()
            .zip(x.to_f64())
            .map(|(w, x)| (w * x).powi(2))
            .collect();
        let largest = exact.iter().fold(0.0f64, |m, v| m.max(*v));
        for (v, e) in maps[0].values.values.iter().zip(&exact) {
            assert!((f64::from(*v) - e / largest).abs() < 1e-6);
        }
        assert!(with_parameters(method.id, serde_json::json!({ "power": 0 })).is_err());
    }
}
