//! DeepSHAP (Lundberg & Lee 2017): DeepLIFT averaged over reference images.
//!
//! φ = mean over references b of the DeepLIFT contributions m_b (x − b); Σφ = z(x) − mean of z over
//! the references. Channels are summed.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `levels` | 0, ½, 1 | 1 to 1,000 finite grey levels of reference images |
//!
//! Values in logits, signed, with the completeness gap. Cost: one forward and one backward pass an
//! image and reference, and one of each a call and reference.
//!
//! Differences from the `shap` package: (1) the rules are those of `deep-lift`, so maxima and
//! products keep the sum, too; (2) grey references where no images are given; with images of the
//! training data, as the paper has it, the values are relative to the mean answer.

use crate::error::Result;
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::four;
use crate::explain::parts::background::Background;
use crate::explain::parts::contribution::{Contribution, attribution, contributions};
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "deep-shap",
    line: "Averages DeepLIFT over reference images.",
    revision: 1,
    reference: "lundberg2017",
    example: r#"{"levels": [0.0, 1.0]}"#,
    build: |settings, _| Ok(Box::new(read::<DeepShapParams>(settings)?.check()?)),
}];

/// Settings of [`DeepShap`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepShapParams {
    /// Grey levels of the reference images.
    pub levels: Vec<f64>,
}

impl Default for DeepShapParams {
    fn default() -> Self {
        Self {
            levels: vec![0.0, 0.5, 1.0],
        }
    }
}

impl DeepShapParams {
    /// The checked method. Whether a network has a rule for every node shows when it meets one.
    pub fn check(self) -> Result<DeepShap> {
        Ok(DeepShap {
            background: Background::levels(&self.levels)?,
            params: self,
        })
    }
}

/// Checked DeepSHAP.
#[derive(Clone, Debug)]
pub struct DeepShap {
    params: DeepShapParams,
    background: Background,
}

impl DeepShap {
    /// References given as images `[m, c, h, w]` instead of grey levels.
    pub fn with_background(self, given: Tensor) -> Result<Self> {
        Ok(Self {
            background: Background::images(given)?,
            ..self
        })
    }
}

impl Explainer for DeepShap {
    fn id(&self) -> &'static str {
        "deep-shap"
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
        let references = self.background.like(x)?;
        let count = references.shape()[0];
        let mut sums: Vec<_> = targets
            .iter()
            .map(|_| Contribution {
                terms: vec![0.0; c * h * w],
                difference: 0.0,
            })
            .collect();
        for i in 0..count {
            for (sum, found) in
                sums.iter_mut()
                    .zip(contributions(model, x, targets, &references.rows(i, 1))?)
            {
                sum.terms
                    .iter_mut()
                    .zip(&found.terms)
                    .for_each(|(s, t)| *s += t / count as f64);
                sum.difference += found.difference / count as f64;
            }
        }
        Ok(sums
            .iter()
            .zip(targets)
            .map(|(sum, &target)| attribution(self.id(), target, [h, w], sum))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::deep_lift::DeepLiftParams;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    #[test]
    fn the_mean_of_deep_lift_over_references() {
        let net = toy::conv_dense(
            &toy::spread(27, 1),
            3,
            &[toy::spread(108, 2), toy::spread(108, 3)],
            [1, 6, 6],
        );
        let x = toy::images([2, 1, 6, 6], 4);
        let run = |m: &dyn Explainer| {
            explain(m, &Oracle::new(&net), &x, &[0, 1], &Context::default()).unwrap()
        };
        let both = run(&DeepShapParams {
            levels: vec![0.1, 0.8],
        }
        .check()
        .unwrap());
        let [a, b] = [0.1, 0.8].map(|baseline| run(&DeepLiftParams { baseline }.check().unwrap()));
        for i in 0..2 {
            assert!(both[i].completeness_gap.unwrap() < 1e-9);
            for (v, (a, b)) in both[i]
                .values
                .values
                .iter()
                .zip(a[i].values.values.iter().zip(&b[i].values.values))
            {
                assert!((v - (a + b) / 2.0).abs() < 1e-6);
            }
        }
        let levels = Tensor::concat(
            &[
                Tensor::full(&[1, 1, 6, 6], 0.1, x.precision()),
                Tensor::full(&[1, 1, 6, 6], 0.8, x.precision()),
            ],
            0,
        );
        assert_eq!(
            run(&DeepShapParams::default()
                .check()
                .unwrap()
                .with_background(levels)
                .unwrap()),
            both
        );
        assert!(DeepShapParams { levels: vec![] }.check().is_err());
    }
}
