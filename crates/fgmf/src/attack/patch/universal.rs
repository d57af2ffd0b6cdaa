//! One patch for many images (Brown et al. 2017): the same place and content on all of them.
//!
//! At each of `places` random places a patch of random content follows the sign of the summed
//! gradient of the loss over the batch, with the step of `patch-pgd`. Of all
//! patches seen, the one that most images are misclassified with is put on each image.
//!
//! Cost: places · (2 steps + 1) passes an example.
//!
//! Difference from the paper: the place is searched, where the paper trains one patch for all
//! places, scales and turns.

use crate::attack::base::{Seed, images};
use crate::attack::loss::AttackLoss;
use crate::attack::patch::base::{PatchAttack, PatchCandidate};
use crate::attack::patch::start::{AT_ONCE, Patched, margins, starting_places, step};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::record::Rectangle;
use crate::rng::{Purpose, Stream};
use crate::threat::PatchThreat;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// Settings of [`UniversalPatch`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 20 | 1 to 100,000 |
/// | `places` | 8 | 1 or more |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UniversalPatchParams {
    /// Steps at each place.
    pub steps: usize,
    /// Places tried.
    pub places: usize,
}

impl Default for UniversalPatchParams {
    fn default() -> Self {
        Self {
            steps: 20,
            places: 8,
        }
    }
}

impl UniversalPatchParams {
    /// The checked attack.
    pub fn check(self) -> Result<UniversalPatch> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        if self.places == 0 {
            return Err(Error::parameter("places", "1 or more", 0));
        }
        Ok(UniversalPatch { params: self })
    }
}

/// Checked universal patch.
#[derive(Clone, Debug)]
pub struct UniversalPatch {
    params: UniversalPatchParams,
}

/// An image that stands for all: outside of the patch it means nothing.
fn stamped(
    origins: &[f32],
    content: &[f32],
    threat: &PatchThreat,
    size: [usize; 2],
    places: &[Rectangle],
) -> Vec<Vec<f32>> {
    let one = |origin: &[f32]| {
        let mut x = content.to_vec();
        threat.project(origin, &mut x, size, places);
        x
    };
    origins.chunks_exact(content.len()).map(one).collect()
}

impl UniversalPatch {
    /// Images misclassified with the patch, and the sum of the slopes unless it is the last look.
    fn look(
        model: &dyn Gradients,
        batch: &Batch,
        points: &[Vec<f32>],
        last: bool,
    ) -> Result<(usize, Vec<f32>)> {
        let (mut broken, mut slope) = (0, vec![0.0f32; points[0].len()]);
        for (some, labels) in points.chunks(AT_ONCE).zip(batch.labels.chunks(AT_ONCE)) {
            let x = images(batch, some.iter().map(|p| &p[..]));
            let logits = if last {
                model.logits(&x)?
            } else {
                let head = AttackLoss::CrossEntropy.head(labels, &[]);
                let found = model.loss_gradient(&x, head.as_ref())?;
                for row in found.gradient.to_f32().chunks_exact(slope.len()) {
                    slope.iter_mut().zip(row).for_each(|(s, g)| *s += g);
                }
                found.logits
            };
            let wrong = margins(&logits, labels);
            broken += wrong.into_iter().filter(|m| *m >= 0.0).count();
        }
        Ok((broken, slope))
    }
}

impl PatchAttack for UniversalPatch {
    fn id(&self) -> &'static str {
        "patch-universal"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn together(&self) -> bool {
        true
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &PatchThreat,
        seed: Seed,
    ) -> Result<PatchCandidate> {
        let [_, h, w] = model.image_shape();
        let origins = batch.x.to_f32();
        let first = &origins[..origins.len() / batch.len()];
        // The batch is named by its first image.
        let mut draws = Stream::new(seed.value(), Purpose::AttackStart, u64::MAX, batch.index[0]);
        let [lo, hi] = threat.bounds();
        let alpha = (2.5 * (hi - lo) / self.params.steps as f64) as f32;
        let mut best: Option<(usize, Patched)> = None;
        for places in starting_places(threat, [h, w], Some(self.params.places), &mut draws) {
            let mut patch = Patched::random(first, threat, [h, w], places, &mut draws);
            for at in 0..=self.params.steps {
                let points = stamped(&origins, &patch.x, threat, [h, w], &patch.places);
                let last = at == self.params.steps;
                let (broken, slope) = Self::look(model, batch, &points, last)?;
                if best.as_ref().is_none_or(|(most, _)| broken > *most) {
                    best = Some((broken, patch.clone()));
                }
                step(&mut patch.x, &slope, alpha);
                threat.project(first, &mut patch.x, [h, w], &patch.places);
            }
        }
        let Some((_, patch)) = best else {
            let expected = "a place for the patch";
            return Err(Error::mismatch("attack", expected, "none"));
        };
        let points = stamped(&origins, &patch.x, threat, [h, w], &patch.places);
        Ok(PatchCandidate {
            x: Tensor::new(batch.x.shape(), points.concat()),
            places: vec![patch.places; batch.len()],
        })
    }
}
