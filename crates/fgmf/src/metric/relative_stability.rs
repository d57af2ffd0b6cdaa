//! Relative stability: how much faster a map moves than its image (RIS), the logits (ROS) or the
//! features (RRS) when noise touches the image (Agarwal et al. 2022).
//!
//! max over x' of ‖(φ(x) − φ(x')) / φ(x)‖₂ / d(x, x'), quotients value by value, with d = ‖(x − x')
//! / x‖₂ for RIS, ‖h(x) − h(x')‖₂ of the logits for ROS, ‖(L(x) − L(x')) / L(x)‖₂ of the features
//! for RRS. A divisor of 0 is replaced by 10⁻⁶. x' = x + noise, uniform in `[-radius, radius]`, of
//! the same predicted class. The figures are log₁₀, from −12 up: the quotients spread over many
//! powers of ten.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `radius` | 0.05, in input units | above 0, finite |
//! | `samples` | 10 | 1 to 100,000 |
//!
//! −12 or more; lower is more stable. An example has none if every draw changes the class. Cost:
//! `samples` explanations and 2 `samples` forward passes an image. Features are the value that
//! class activation maps would be read from ([`crate::explain::parts::layer::choose_layer`]).
//!
//! On black ground and in maps full of zeros the 10⁻⁶ rules: compare explainers on the same images,
//! and nothing else. Differences from Quantus: (1) log₁₀; (2) draws that change the class are left
//! out, where Quantus gives NaN to the image; (3) 10 draws, not 200, and images clipped to their
//! bounds. Reference: `agarwal2022`.

use crate::error::Result;
use crate::explain::parts::layer::choose_value;
use crate::explain::subject::{Subject, length};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{Family, Figure, Info, Need, lower};
use crate::metric::parts::noise::{NoiseParams, noisy};
use crate::model::answer::argmax;
use crate::settings::read_over;
use fgmf_net::Tensor;

const FROM: [f64; 2] = [-12.0, f64::INFINITY];
const FIGURES: [Figure; 3] = [lower("ris", FROM), lower("ros", FROM), lower("rrs", FROM)];

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "relative-stability",
    family: Family::Stability,
    figures: &FIGURES,
    needs: &[Need::Explainer],
    reference: "agarwal2022",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Compares the move of a map with the moves of image, logits and features.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"samples": 4}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| {
            Ok(Box::new(RelativeStability::new(read_over(
                &RelativeStability::DEFAULT,
                settings,
            )?)?))
        }),
    },
}];

/// Checked relative stability.
#[derive(Clone, Debug)]
pub struct RelativeStability {
    params: NoiseParams,
}

const LEAST: f64 = 1e-6;

fn nonzero(v: f64) -> f64 {
    if v.abs() > 0.0 { v } else { LEAST }
}

/// ‖(a − b) / a‖₂.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    length(a.iter().zip(b).map(|(a, b)| (a - b) / nonzero(*a)))
}

impl RelativeStability {
    /// Settings unless others are given.
    pub const DEFAULT: NoiseParams = NoiseParams {
        radius: 0.05,
        samples: 10,
    };

    /// The checked metric.
    pub fn new(params: NoiseParams) -> Result<Self> {
        Ok(Self {
            params: params.checked()?,
        })
    }

    /// The three figures for given changed images, each `[n, c, h, w]`, instead of random ones.
    pub fn of_images(
        &self,
        subject: &Subject<'_>,
        count: usize,
        changed: impl Fn(usize) -> Tensor,
    ) -> Result<MetricValues> {
        let net = subject.oracle.session();
        let layer = choose_value(net)?;
        let features = |x: &Tensor| -> Result<Vec<Vec<f64>>> {
            let mut out = Vec::with_capacity(subject.len());
            for start in (0..subject.len()).step_by(subject.context.cap.max(1)) {
                let rows = x.rows(start, subject.context.cap.max(1).min(subject.len() - start));
                let values = net.values_at(&rows, &[layer])?.swap_remove(0).to_f64();
                out.extend(
                    values
                        .chunks_exact(values.len() / rows.shape()[0])
                        .map(<[f64]>::to_vec),
                );
            }
            Ok(out)
        };
        let (own, own_features) = (subject.own_logits()?, features(subject.x)?);
        let mut worst = vec![vec![None; subject.len()]; 3];
        for round in 0..count {
            let x = changed(round);
            let logits = subject.logits(subject.len(), |i| x.rows(i, 1).to_f64())?;
            let (maps, reached) = (subject.explain(&x)?, features(&x)?);
            for i in (0..subject.len()).filter(|&i| argmax(&logits[i]) == argmax(&own[i])) {
                let moved = relative(&subject.map(i), &maps[i]);
                let distances = [
                    relative(&subject.image(i), &x.rows(i, 1).to_f64()),
                    length(own[i].iter().zip(&logits[i]).map(|(a, b)| a - b)),
                    relative(&own_features[i], &reached[i]),
                ];
                for (figure, distance) in worst.iter_mut().zip(distances) {
                    let value = (moved / nonzero(distance)).max(1e-12).log10();
                    figure[i] = Some(figure[i].map_or(value, |w: f64| w.max(value)));
                }
            }
        }
        Ok(worst)
    }
}

impl Metric for RelativeStability {
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
