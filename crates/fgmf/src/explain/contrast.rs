//! Contrast: why this class *and not that one*. Any explainer, on the difference between logits.
//!
//! The inner method explains z′_k = z_k − z_b for a given class b, or z′_k = z_k − mean of the
//! other logits. The change is a linear layer behind the logits, so gradients, completeness and
//! black-box scores all follow; evidence that the classes share cancels.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `against` | none: the mean of the other classes | another class than the one explained |
//! | `inner` | `integrated-gradients` | id and parameters of any explainer |
//!
//! Values as the inner method's, of z′. Cost: the inner method's.
//!
//! Differences from the paper: (1) Prabhushankar et al. take the gradient of a loss towards the
//! other class into Grad-CAM; here any explainer is asked about the difference of logits, which for
//! methods linear in the logits is the difference of their maps.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod, Inner, Make};
use crate::model::access::{FeatureGradient, Gradients, Scores};
use crate::settings::read;
use fgmf_net::LossGradients;
use fgmf_net::head::Head;
use fgmf_net::{Dual, Network, Rules, Tensor, ValueId};
use serde::{Deserialize, Serialize};
use std::ops::Range;

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "contrast",
    line: "Explains why it is this class and not another one.",
    revision: 1,
    reference: "prabhushankar2020",
    example: r#"{"inner": {"id": "saliency", "parameters": {"signed": true}}}"#,
    build: |settings, make| Ok(Box::new(read::<ContrastParams>(settings)?.check(make)?)),
}];

/// Settings of [`Contrast`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastParams {
    /// The other class.
    pub against: Option<usize>,
    /// The explainer.
    pub inner: Inner,
}

impl Default for ContrastParams {
    fn default() -> Self {
        Self {
            against: None,
            inner: Inner {
                id: "integrated-gradients".into(),
                parameters: serde_json::json!({}),
            },
        }
    }
}

impl ContrastParams {
    /// The checked wrapper. Whether the other class exists shows when it meets a model.
    pub fn check(self, make: &Make) -> Result<Contrast> {
        Ok(Contrast {
            inner: make(&self.inner)?,
            against: self.against,
        })
    }
}

/// An explainer of differences between logits.
pub struct Contrast {
    against: Option<usize>,
    inner: Box<dyn Explainer>,
}

impl Explainer for Contrast {
    fn id(&self) -> &'static str {
        "contrast"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({
            "against": self.against,
            "inner": { "id": self.inner.id(), "parameters": self.inner.parameters() },
        })
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>> {
        if let Some(b) = self
            .against
            .filter(|&b| b >= model.classes() || targets.contains(&b))
        {
            return Err(Error::parameter(
                "against",
                format!(
                    "another class than the one explained, below {}",
                    model.classes()
                ),
                b,
            ));
        }
        let contrasted = Contrasted::new(model, self.against);
        let found = self.inner.attribute(&contrasted, x, targets, context)?;
        Ok(found
            .into_iter()
            .map(|a| Attribution {
                method: self.id(),
                ..a
            })
            .collect())
    }
}

/// A model behind whose logits stands the matrix z′ = z M.
struct Contrasted<'a> {
    model: &'a dyn Gradients,
    matrix: Tensor,
}

impl<'a> Contrasted<'a> {
    fn new(model: &'a dyn Gradients, against: Option<usize>) -> Self {
        let k = model.classes();
        let entry = |(i, j): (usize, usize)| {
            let own = f64::from(u8::from(i == j));
            match against {
                Some(b) => own - f64::from(u8::from(i == b)),
                None => own - (1.0 - own) / (k as f64 - 1.0),
            }
        };
        Self {
            model,
            matrix: Tensor::new(
                &[k, k],
                (0..k * k)
                    .map(|at| entry((at / k, at % k)))
                    .collect::<Vec<f64>>(),
            ),
        }
    }

    fn through(&self, logits: &Tensor) -> Tensor {
        logits.matmul(&self.matrix.cast(logits.precision()))
    }
}

/// A head that reads the changed logits.
struct Through<'a> {
    head: &'a dyn Head,
    matrix: &'a Tensor,
}

impl Head for Through<'_> {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let m = Dual::from(self.matrix.cast(logits.precision()));
        let (losses, cotangent) = self.head.evaluate(&logits.matmul(&m), examples);
        (losses, cotangent.matmul(&m.transpose()))
    }
}

impl Scores for Contrasted<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.through(&self.model.logits(x)?))
    }

    fn draws(&self) -> bool {
        self.model.draws()
    }
}

impl Gradients for Contrasted<'_> {
    fn network(&self) -> &Network {
        self.model.network()
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        let found = self.model.feature_gradient(
            x,
            &Through {
                head,
                matrix: &self.matrix,
            },
            at,
        )?;
        Ok(FeatureGradient {
            logits: self.through(&found.logits),
            ..found
        })
    }

    fn features(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: &[ValueId],
        rules: &Rules,
    ) -> Result<LossGradients> {
        let found = self.model.features(
            x,
            &Through {
                head,
                matrix: &self.matrix,
            },
            at,
            rules,
        )?;
        Ok(LossGradients {
            logits: self.through(&found.logits),
            ..found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::list::{by_id, with_parameters};
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    fn contrast(inner: &str, against: Option<usize>) -> Box<dyn Explainer> {
        with_parameters(
            "contrast",
            serde_json::json!({ "against": against, "inner": { "id": inner } }),
        )
        .unwrap()
    }

    /// Three classes, z = W x: contributions are (w_0 − w_b) x, or (w_0 − mean of the others) x.
    #[test]
    fn linear_networks_are_explained_exactly() {
        let w: Vec<Vec<f64>> = (0..3).map(|i| toy::spread(16, i)).collect();
        let net = toy::linear(&w, [1, 4, 4]);
        let x = toy::images([1, 1, 4, 4], 9);
        for inner in [
            "integrated-gradients",
            "gradient-x-input",
            "deep-lift",
            "lrp-epsilon",
            "occlusion",
        ] {
            let method = |against| contrast(inner, against);
            let parameters = if inner == "occlusion" {
                serde_json::json!({ "patch": 1 })
            } else {
                serde_json::json!({})
            };
            for against in [Some(2), None] {
                let method = if inner == "occlusion" {
                    let inner = serde_json::json!({ "id": inner, "parameters": parameters });
                    with_parameters(
                        "contrast",
                        serde_json::json!({ "against": against, "inner": inner }),
                    )
                    .unwrap()
                } else {
                    method(against)
                };
                let map = explain(
                    method.as_ref(),
                    &Oracle::new(&net),
                    &x,
                    &[0],
                    &Context::default(),
                )
                .unwrap()
                .swap_remove(0);
                assert_eq!(map.method, "contrast");
                for (i, v) in map.values.values.iter().enumerate() {
                    let other = if against.is_some() {
                        w[2][i]
                    } else {
                        (w[1][i] + w[2][i]) / 2.0
                    };
                    let exact = (w[0][i] - other) * x.to_f64()[i];
                    // The ε rule damps by ε / z.
                    assert!(
                        (f64::from(*v) - exact).abs() < 1e-5,
                        "{inner}, {against:?}: {v} against {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_explainer_can_be_contrasted_and_misuse_is_refused() {
        let net = toy::quadrant([2, 16, 16]);
        let oracle = Oracle::new(&net);
        let x = toy::images([1, 2, 16, 16], 9);
        let run = |method: Box<dyn Explainer>| {
            explain(method.as_ref(), &oracle, &x, &[0], &Context::default())
        };
        // Two classes, z_1 = −z_0: the contrast is twice the logit.
        let (once, twice) = (
            run(by_id("integrated-gradients").unwrap()).unwrap(),
            run(contrast("integrated-gradients", Some(1))).unwrap(),
        );
        for (a, b) in once[0].values.values.iter().zip(&twice[0].values.values) {
            assert!((2.0 * a - b).abs() < 1e-6);
        }
        for id in [
            "pgca",
            "score-cam",
            "smooth-grad",
            "deep-shap",
            "kernel-shap",
        ] {
            assert!(run(contrast(id, None)).is_ok(), "{id}");
        }
        assert!(
            run(contrast("saliency", Some(0))).is_err()
                && run(contrast("saliency", Some(2))).is_err()
        );
        assert!(
            with_parameters(
                "contrast",
                serde_json::json!({ "inner": { "id": "contrast", "parameters": { "aginst": 1 } } })
            )
            .is_err()
        );
    }
}
