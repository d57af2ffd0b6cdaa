//! Smooth MPRT: the parameter randomisation test on maps whose noise has been averaged away
//! (Hedström et al. 2023).
//!
//! As `mprt`, each map being the mean of the maps of the image with Gaussian noise, at every stage
//! and before.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `stages` | 4 | 1 to 1,000 |
//! | `samples` | 10 noisy images a map | 1 to 100,000 |
//! | `noise` | 0.1: deviation, as a share of the value range | above 0, finite |
//!
//! `smooth-mprt-spearman` in `[0, 1]`, `smooth-mprt-ssim` in `[-1, 1]`; lower is better. Cost:
//! (`stages` + 1) · `samples` explanations an image.
//!
//! Differences from Quantus (`SmoothMPRT`): (1) those of `mprt`; (2) 10 noisy images, not 50; the
//! noise of an image is the same at every stage, so that what differs is the model; (3) noisy
//! images are clipped to their bounds. Reference: `hedstroem2023`.

use crate::error::Result;
use crate::explain::subject::{Draw, Subject};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{CORRELATION, Family, Info, Need, SHARE, lower};
use crate::metric::parts::noise::check_noise;
use crate::metric::parts::stages::{check_stages, likenesses};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "smooth-mprt",
    family: Family::Randomisation,
    figures: &[
        lower("smooth-mprt-spearman", SHARE),
        lower("smooth-mprt-ssim", CORRELATION),
    ],
    needs: &[Need::Explainer, Need::Parameters],
    reference: "hedstroem2023",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Runs the randomisation test on maps whose noise is averaged away.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"stages": 2, "samples": 4}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<SmoothMprtParams>(settings)?.check()?))),
    },
}];

/// Settings of [`SmoothMprt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothMprtParams {
    /// Parts that the layers are randomised in.
    pub stages: usize,
    /// Noisy images a map.
    pub samples: usize,
    /// Deviation of the noise, as a share of the value range.
    pub noise: f64,
}

impl Default for SmoothMprtParams {
    fn default() -> Self {
        Self {
            stages: 4,
            samples: 10,
            noise: 0.1,
        }
    }
}

impl SmoothMprtParams {
    /// The checked metric.
    pub fn check(self) -> Result<SmoothMprt> {
        check_stages(self.stages)?;
        check_noise(self.noise, self.samples)?;
        Ok(SmoothMprt { params: self })
    }
}

/// Checked smooth MPRT.
#[derive(Clone, Debug)]
pub struct SmoothMprt {
    params: SmoothMprtParams,
}

impl Metric for SmoothMprt {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let SmoothMprtParams {
            stages,
            samples,
            noise,
        } = self.params;
        let size: usize = subject.shape().iter().product();
        let [lo, hi] = subject.threat.bounds();
        let noisy = |round: usize| {
            subject.changed(|i| {
                let mut rng = subject.stream(Draw::Smooth, round, i);
                (0..size)
                    .map(|_| noise * (hi - lo) * f64::from(rng.normal()))
                    .collect()
            })
        };
        likenesses(subject, stages, |oracle| {
            let mut sums = vec![vec![0.0; subject.area()]; subject.len()];
            for round in 0..samples {
                for (sum, map) in sums
                    .iter_mut()
                    .zip(subject.explain_with(oracle, &noisy(round))?)
                {
                    sum.iter_mut()
                        .zip(map)
                        .for_each(|(s, v)| *s += v / samples as f64);
                }
            }
            Ok(sums)
        })
    }
}
