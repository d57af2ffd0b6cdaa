//! Salient pixels of the training images, and what SGAM's mask is taught: found by explaining the
//! network while it trains.

use crate::data::batch::batch_of;
use crate::data::dataset::Dataset;
use crate::defend::sgam::SgamParams;
use crate::error::{Error, Result};
use crate::explain::base::{Context, Explainer};
use crate::explain::grad_cam_pp;
use crate::explain::integrated_gradients::IntegratedGradientsParams;
use crate::explain::parts::cam::CamParams;
use crate::explain::sealed::explain;
use crate::model::oracle::Oracle;
use crate::rng::{Purpose, Stream};
use crate::train::config::TrainConfig;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

/// How salient pixels are chosen. `All` and `Random` are the controls without which a claim for
/// saliency means nothing.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `share` | 0.2 | of the pixels, above 0, at most 1 |
/// | `steps` | 8 | Gauss-Legendre points of Integrated Gradients, 1 to 1,000 |
/// | `refresh` | 5 | epochs that a choice lasts, 1 or more |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SalienceSource {
    /// Largest |Integrated Gradients| of the true class.
    IntegratedGradients {
        /// Share of the pixels.
        share: f64,
        /// Points on the path.
        steps: usize,
        /// Epochs between refreshes.
        refresh: usize,
    },
    /// Pixels drawn once per image.
    Random {
        /// Share of the pixels.
        share: f64,
    },
    /// Every pixel.
    All,
}

impl Default for SalienceSource {
    fn default() -> Self {
        Self::IntegratedGradients {
            share: 0.2,
            steps: 8,
            refresh: 5,
        }
    }
}

impl SalienceSource {
    pub(super) fn check(&self) -> Result<()> {
        let (share, steps, refresh) = match *self {
            Self::IntegratedGradients {
                share,
                steps,
                refresh,
            } => (share, steps, refresh),
            Self::Random { share } => (share, 1, 1),
            Self::All => (1.0, 1, 1),
        };
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::parameter(
                "salience.share",
                "above 0, at most 1",
                share,
            ));
        }
        if !(1..=1000).contains(&steps) {
            return Err(Error::parameter("salience.steps", "1 to 1000", steps));
        }
        if refresh == 0 {
            return Err(Error::parameter("salience.refresh", "1 or more", refresh));
        }
        Ok(())
    }
}

/// What the mask layer is taught: Grad-CAM++ maps of the network that is being trained, as bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Teacher {
    /// `[n, h * w]`, 255 is 1.
    pub(super) maps: Vec<u8>,
    /// Weight of the squared error.
    pub(super) weight: f64,
}

impl Teacher {
    pub(super) fn rows(&self, examples: &[u64], h: usize, w: usize) -> Tensor {
        let pixels = h * w;
        let row = |&i: &u64| {
            self.maps[i as usize * pixels..][..pixels]
                .iter()
                .map(|&b| f32::from(b) / 255.0)
        };
        Tensor::new(
            &[examples.len(), 1, h, w],
            examples.iter().flat_map(row).collect::<Vec<f32>>(),
        )
    }
}

/// Kept for a whole training set, and saved with the run's state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Salience {
    pub(super) pixels: usize,
    /// 1 for salient pixels, `[n, h * w]`; empty if every pixel counts.
    pub(super) mask: Vec<u8>,
    pub(super) teacher: Option<Teacher>,
}

impl Salience {
    /// Whether a pixel of an example is salient.
    pub fn is_salient(&self, example: u64, pixel: usize) -> bool {
        self.mask.is_empty() || self.mask[example as usize * self.pixels + pixel] != 0
    }

    pub(super) fn teacher(&self) -> Option<&Teacher> {
        self.teacher.as_ref()
    }

    /// Whether the choice must be made anew before `epoch` (from 0).
    pub(super) fn is_due(
        source: Option<&SalienceSource>,
        sgam: Option<&SgamParams>,
        epoch: usize,
    ) -> bool {
        let by_source = match source {
            Some(SalienceSource::IntegratedGradients { refresh, .. }) => {
                epoch.is_multiple_of(*refresh)
            }
            Some(SalienceSource::Random { .. }) => epoch == 0,
            _ => false,
        };
        by_source || sgam.is_some_and(|s| s.teach > 0.0 && epoch.is_multiple_of(s.refresh))
    }

    /// Explains the whole training set with the network as it stands.
    pub(super) fn compute(
        config: &TrainConfig,
        source: Option<&SalienceSource>,
        net: &Session,
        data: &Dataset,
    ) -> Result<Self> {
        let [_, h, w] = data.shape();
        let mut out = Self {
            pixels: h * w,
            ..Self::default()
        };
        match source {
            Some(SalienceSource::IntegratedGradients { share, steps, .. }) => {
                let ig = IntegratedGradientsParams {
                    steps: *steps,
                    ..IntegratedGradientsParams::default()
                }
                .check()?;
                let keep = top_count(*share, h * w);
                out.mask = over_data(net, data, &ig, config.seed, |map| top(map, keep))?;
            }
            Some(SalienceSource::Random { share }) => {
                let keep = top_count(*share, h * w);
                for i in 0..data.len() {
                    let mut mask = vec![0; h * w];
                    let order = Stream::new(config.seed, Purpose::Training, u64::MAX, i as u64)
                        .permutation(h * w);
                    order[..keep].iter().for_each(|&p| mask[p] = 1);
                    out.mask.extend(mask);
                }
            }
            _ => {}
        }
        if let Some(sgam) = config.sgam.as_ref().filter(|s| s.teach > 0.0) {
            let bytes = |map: &[f32]| {
                map.iter()
                    .map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8)
                    .collect()
            };
            let maps = over_data(
                net,
                data,
                &grad_cam_pp(CamParams::default())?,
                config.seed,
                bytes,
            )?;
            out.teacher = Some(Teacher {
                maps,
                weight: sgam.teach,
            });
        }
        Ok(out)
    }
}

fn top_count(share: f64, pixels: usize) -> usize {
    ((share * pixels as f64).round() as usize).clamp(1, pixels)
}

/// 1 at the `keep` largest absolute values, ties to the earlier pixel.
fn top(map: &[f32], keep: usize) -> Vec<u8> {
    let mut order: Vec<usize> = (0..map.len()).collect();
    order.sort_by(|&a, &b| map[b].abs().total_cmp(&map[a].abs()).then(a.cmp(&b)));
    let mut mask = vec![0; map.len()];
    order[..keep].iter().for_each(|&p| mask[p] = 1);
    mask
}

fn over_data(
    net: &Session,
    data: &Dataset,
    explainer: &dyn Explainer,
    seed: u64,
    f: impl Fn(&[f32]) -> Vec<u8>,
) -> Result<Vec<u8>> {
    let oracle = Oracle::new(net);
    let mut out = Vec::new();
    let indices: Vec<usize> = (0..data.len()).collect();
    for rows in indices.chunks(256) {
        let batch = batch_of(data, rows);
        let context = Context {
            seed,
            first_index: rows[0] as u64,
            cap: 256,
        };
        for a in explain(explainer, &oracle, &batch.x, &batch.labels, &context)? {
            out.extend(f(&a.values.values));
        }
    }
    Ok(out)
}
