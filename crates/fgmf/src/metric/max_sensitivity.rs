//! Max-sensitivity: how far a map moves, at worst, when the image is touched by noise (Yeh et al.
//! 2019).
//!
//! max over r of ‖φ(x + r) − φ(x)‖₂ / ‖φ(x)‖₂ with r uniform in `[-radius, radius]` for each value;
//! the second figure is the mean over r. Draws that change the predicted class do not count.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `radius` | 0.02, in input units | above 0, finite |
//! | `samples` | 10 | 1 to 100,000 |
//!
//! Values 0 or more; lower is more stable. An example has none if its map is 0 or every draw
//! changes the class. Cost: `samples` explanations and forward passes an image. Random noise is no
//! attacker: see `attacked-stability`.
//!
//! Differences from the paper: (1) draws that change the class are left out, as Quantus does; (2)
//! images are clipped to their bounds, so that noise on black is one-sided; (3) Captum's radius and
//! number of draws, Quantus has 0.2 and 200. Reference: `yeh2019`.

use crate::error::Result;
use crate::explain::subject::{Subject, length};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{Family, Info, Need, POSITIVE, lower};
use crate::metric::parts::noise::{NoiseParams, noisy};
use crate::model::answer::argmax;
use crate::settings::read_over;
use fgmf_net::Tensor;

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "max-sensitivity",
    family: Family::Stability,
    figures: &[
        lower("max-sensitivity", POSITIVE),
        lower("mean-sensitivity", POSITIVE),
    ],
    needs: &[Need::Explainer],
    reference: "yeh2019",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Finds how far a map moves at worst under small noise.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"samples": 4}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| {
            Ok(Box::new(MaxSensitivity::new(read_over(
                &MaxSensitivity::DEFAULT,
                settings,
            )?)?))
        }),
    },
}];

/// Checked max-sensitivity.
#[derive(Clone, Debug)]
pub struct MaxSensitivity {
    params: NoiseParams,
}

impl MaxSensitivity {
    /// Settings unless others are given.
    pub const DEFAULT: NoiseParams = NoiseParams {
        radius: 0.02,
        samples: 10,
    };

    /// The checked metric.
    pub fn new(params: NoiseParams) -> Result<Self> {
        Ok(Self {
            params: params.checked()?,
        })
    }

    /// Both figures for given changed images, each `[n, c, h, w]`, instead of random ones.
    pub fn of_images(
        &self,
        subject: &Subject<'_>,
        count: usize,
        changed: impl Fn(usize) -> Tensor,
    ) -> Result<MetricValues> {
        let classes: Vec<usize> = subject.own_logits()?.iter().map(|z| argmax(z)).collect();
        let mut ratios = vec![Vec::new(); subject.len()];
        for round in 0..count {
            let x = changed(round);
            let logits = subject.logits(subject.len(), |i| x.rows(i, 1).to_f64())?;
            for (i, map) in subject
                .explain(&x)?
                .into_iter()
                .enumerate()
                .filter(|(i, _)| argmax(&logits[*i]) == classes[*i])
            {
                let own = subject.map(i);
                let size = length(own.iter().copied());
                if size > 0.0 {
                    ratios[i].push(length(map.iter().zip(&own).map(|(a, b)| a - b)) / size);
                }
            }
        }
        let worst = ratios
            .iter()
            .map(|r| r.iter().copied().reduce(f64::max))
            .collect();
        let mean = ratios
            .iter()
            .map(|r| (!r.is_empty()).then(|| r.iter().sum::<f64>() / r.len() as f64))
            .collect();
        Ok(vec![worst, mean])
    }
}

impl Metric for MaxSensitivity {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        self.of_images(subject, self.params.samples, |round| {
            noisy(subject, self.params.radius, round)
        })
    }
}
