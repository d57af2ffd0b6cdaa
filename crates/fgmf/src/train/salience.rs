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

/// KeptEpoch for a whole training set, and saved with the run's state.
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

    /// Makes anew what is due before `epoch` (from 0): the salient pixels by the period of their
    /// source, the maps that the mask is taught by the period of SGAM. What is not due stays.
    /// `state` is none at the start of a run; a run that keeps neither leaves it so.
    pub(super) fn refresh(
        state: &mut Option<Self>,
        (seed, epoch): (u64, usize),
        source: Option<&SalienceSource>,
        sgam: Option<&SgamParams>,
        net: &Session,
        data: &Dataset,
    ) -> Result<()> {
        let [_, h, w] = data.shape();
        let due = |period: &usize| epoch.is_multiple_of(*period);
        let taught = sgam.filter(|s| s.teach > 0.0 && due(&s.refresh));
        let chosen = match source {
            Some(SalienceSource::IntegratedGradients {
                share,
                steps,
                refresh,
            }) if due(refresh) => {
                let ig = IntegratedGradientsParams {
                    steps: *steps,
                    ..IntegratedGradientsParams::default()
                }
                .check()?;
                let keep = top_count(*share, h * w);
                Some(over_data(net, data, &ig, seed, |map| top(map, keep))?)
            }
            Some(SalienceSource::Random { share }) if epoch == 0 => {
                Some(drawn(seed, data.len(), h * w, top_count(*share, h * w)))
            }
            _ => None,
        };
        if chosen.is_none() && taught.is_none() {
            return Ok(());
        }
        let kept = state.get_or_insert_default();
        kept.pixels = h * w;
        if let Some(mask) = chosen {
            kept.mask = mask;
        }
        if let Some(sgam) = taught {
            let byte = |v: &f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
            let bytes = |map: &[f32]| map.iter().map(byte).collect();
            let cam = grad_cam_pp(CamParams::default())?;
            kept.teacher = Some(Teacher {
                maps: over_data(net, data, &cam, seed, bytes)?,
                weight: sgam.teach,
            });
        }
        Ok(())
    }
}

/// `keep` pixels of each image, drawn once.
fn drawn(seed: u64, images: usize, pixels: usize, keep: usize) -> Vec<u8> {
    let one = |i: usize| {
        let mut mask = vec![0; pixels];
        let mut stream = Stream::new(seed, Purpose::Training, u64::MAX, i as u64);
        let order = stream.permutation(pixels);
        order[..keep].iter().for_each(|&p| mask[p] = 1);
        mask
    };
    (0..images).flat_map(one).collect()
}

pub(super) fn top_count(share: f64, pixels: usize) -> usize {
    ((share * pixels as f64).round() as usize).clamp(1, pixels)
}

/// 1 at the `keep` largest absolute values, ties to the earlier pixel.
pub(super) fn top(map: &[f32], keep: usize) -> Vec<u8> {
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
        let batch = batch_of(data, rows)?;
        let context = Context {
            seed,
            ..Context::default()
        };
        for a in explain(explainer, &oracle, &batch.x, &batch.labels, &context)? {
            out.extend(f(&a.values.values));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{EMBEDDED, load};
    use crate::defend::with_sgam;
    use crate::record::Split;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    /// Mask and teacher have a period each: what is not due stays, what is due follows the network.
    #[test]
    fn mask_and_teacher_keep_their_own_periods() {
        let mut data = load(EMBEDDED, Split::Test).unwrap();
        data.truncate(3).unwrap();
        let sgam = SgamParams {
            refresh: 2,
            ..SgamParams::default()
        };
        let net = |seed| {
            let config = ZooConfig {
                architecture: Architecture::CnnTiny,
                activation: Activation::Relu,
                image: data.shape(),
                classes: 10,
                mean: vec![0.3],
                deviation: vec![0.4],
                seed,
            };
            let net = with_sgam(&build(&config).unwrap(), &sgam, seed).unwrap();
            fgmf_net::Session::new(net)
        };
        let source = SalienceSource::IntegratedGradients {
            share: 0.2,
            steps: 2,
            refresh: 3,
        };
        let mut state = None;
        let mut at = |epoch: usize| {
            let net = net(epoch as u64);
            let (source, sgam) = (Some(&source), Some(&sgam));
            Salience::refresh(&mut state, (0, epoch), source, sgam, &net, &data).unwrap();
            let kept: &Salience = state.as_ref().unwrap();
            (kept.mask.clone(), kept.teacher.clone().unwrap().maps)
        };
        let (first, second, third, fourth) = (at(0), at(1), at(2), at(3));
        assert_eq!(first, second, "neither is due before epoch 1");
        assert_eq!(first.0, third.0, "the mask is not due before epoch 2");
        assert_ne!(first.1, third.1, "the teacher is due before epoch 2");
        assert_ne!(third.0, fourth.0, "the mask is due before epoch 3");
        assert_eq!(third.1, fourth.1, "the teacher is not due before epoch 3");
    }
}
