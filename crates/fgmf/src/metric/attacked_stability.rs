//! Attacked stability: how much of a map is left when an attacker keeps the class and moves the map
//! (Ghorbani et al. 2019; locality after Kamath et al. 2024).
//!
//! The attacker searches the threat's ball for an image of the same predicted class whose map has
//! as little as it can in the pixels that were on top: by steps along exact derivatives of six maps
//! (slopes; path gradients from black and from three greys; falls of cells, black and blurred;
//! Grad-CAM++; all of the network with rounded rectifiers) and of the map that the network draws
//! itself if it does, then by random windows. Every point is
//! judged by the explainer's own map. Four figures compare the map before and after: overlap of the
//! top pixels, rank correlation, structural similarity, and overlap of the top pixels where a
//! neighbour counts.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 10: gradient steps for each of six maps; 0 leaves them out | 0 to 10,000 |
//! | `path` | 4: points of the path | 1 to 1,000 |
//! | `beta` | 30: ln(1 + e^(βx)) / β for max(0, x) | above 0, at most 10,000 |
//! | `queries` | 30: random windows | 0 to 1,000,000 |
//! | `top` | 0.1: share of the pixels on top | above 0, at most 1 |
//! | `radius` | 1: pixels that count as near | 0 to 1,000 |
//!
//! `attacked-top-k`, `attacked-tolerant-top-k` in `[0, 1]`, `attacked-spearman`, `attacked-ssim` in
//! `[-1, 1]`; higher is more stable. Two random maps overlap by `top` on average. An example whose
//! class the attacker could not keep away from the clean image scores 1. Cost: `queries` + 24
//! explanations; 6 `steps` forward passes, `steps` (2 + 4 `path`) forward, backward and
//! Hessian-vector products, and 100 `steps` forward and backward passes for the cells.
//!
//! Differences from Ghorbani et al.: (1) the share of positive values on top is driven down, not
//! their sum, so that scaling a map down is no success, and points are judged by the overlap
//! itself; (2) rounded rectifiers with β = 30, not softplus throughout; (3) six surrogate maps and
//! a search without gradients, so that every explainer is attacked; (4) the figures are upper
//! bounds: a stronger attacker may find less overlap. No other library has this metric. Reference:
//! `ghorbani2019`.

use crate::attack::map::walk::MapAttack;
use crate::error::{Error, Result};
use crate::explain::subject::Subject;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{CORRELATION, Family, Info, Need, SHARE, higher};
use crate::metric::parts::likeness::likeness;
use crate::model::answer::argmax;
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "attacked-stability",
    family: Family::Stability,
    figures: &[
        higher("attacked-top-k", SHARE),
        higher("attacked-spearman", CORRELATION),
        higher("attacked-ssim", CORRELATION),
        higher("attacked-tolerant-top-k", SHARE),
    ],
    needs: &[Need::Explainer, Need::Gradients],
    reference: "ghorbani2019",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Measures how much of a map is left when an attacker moves it and keeps the class.",
    revision: 4,
    reference: INFO.reference,
    example: r#"{"steps": 4, "queries": 5}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| {
            Ok(Box::new(
                read::<AttackedStabilityParams>(settings)?.check()?,
            ))
        }),
    },
}];

/// Settings of [`AttackedStability`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttackedStabilityParams {
    /// Gradient steps for each of the six maps.
    pub steps: usize,
    /// Points of the path.
    pub path: usize,
    /// Sharpness of the rounded rectifiers.
    pub beta: f64,
    /// Random windows.
    pub queries: usize,
    /// Share of the pixels on top.
    pub top: f64,
    /// Pixels that count as near.
    pub radius: usize,
}

impl Default for AttackedStabilityParams {
    fn default() -> Self {
        Self {
            steps: 10,
            path: 4,
            beta: 30.0,
            queries: 30,
            top: 0.1,
            radius: 1,
        }
    }
}

impl AttackedStabilityParams {
    /// The checked metric.
    pub fn check(self) -> Result<AttackedStability> {
        let counts = [
            ("steps", self.steps, 0, 10_000),
            ("path", self.path, 1, 1000),
            ("queries", self.queries, 0, 1_000_000),
        ];
        for (name, value, low, high) in counts.into_iter().chain([("radius", self.radius, 0, 1000)])
        {
            if !(low..=high).contains(&value) {
                return Err(Error::parameter(name, format!("{low} to {high}"), value));
            }
        }
        if !(self.beta > 0.0 && self.beta <= 10_000.0) {
            return Err(Error::parameter(
                "beta",
                "above 0 and at most 10000",
                self.beta,
            ));
        }
        if !(self.top > 0.0 && self.top <= 1.0) {
            return Err(Error::parameter("top", "above 0 and at most 1", self.top));
        }
        Ok(AttackedStability { params: self })
    }
}

/// Checked attacked stability.
#[derive(Clone, Debug)]
pub struct AttackedStability {
    params: AttackedStabilityParams,
}

impl Metric for AttackedStability {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let AttackedStabilityParams {
            steps,
            path,
            beta,
            queries,
            top,
            radius,
        } = self.params;
        let moved = MapAttack {
            steps,
            path,
            beta,
            queries,
            top,
        }
        .run(subject)?;
        let [_, h, w] = subject.shape();
        let (own, reached) = (
            subject.own_logits()?,
            subject.logits(subject.len(), |i| moved.images[i].clone())?,
        );
        let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let mut out: Vec<Vec<Option<f64>>> =
            (0..4).map(|_| Vec::with_capacity(subject.len())).collect();
        for (i, map) in moved.maps.iter().enumerate() {
            // The search may not be believed about its own success.
            let inside = subject
                .threat
                .contains(&narrow(&subject.image(i)), &narrow(&moved.images[i]));
            let valid = inside && argmax(&own[i]) == argmax(&reached[i]);
            let before = subject.map(i);
            let figures = likeness(
                &before,
                if valid { map } else { &before },
                [h, w],
                top,
                radius,
            )?;
            out.iter_mut()
                .zip(figures)
                .for_each(|(o, f)| o.push(Some(f)));
        }
        Ok(out)
    }
}
