//! Projected gradient descent on the content of a patch, over its places.
//!
//! 1. A patch of random content is tried at each place, or at `tried` random ones. The `places` of
//!    largest margin max_{i≠y} z_i − z_y are searched.
//! 2. At each of these: x ← Π(x + α sign ∇ₓ L(x)), where Π keeps the image outside the patch and
//!    cuts the patch to the bounds. α = 2.5 (b − a) / `steps` for bounds [a, b], so that the patch
//!    can cross them.
//! 3. The same `restarts` times with new content. The search ends where the image is misclassified,
//!    else the point of largest margin is kept.
//!
//! Cost: at most restarts · (tried + places · (2 steps + 1)) passes an example.
//!
//! References: Brown et al. 2017 (patches), Madry et al. 2018 (projected gradient descent). The
//! search over all places is that of Chiang et al. 2020's location optimisation, with a ranking by
//! one forward pass.

use crate::attack::base::{Seed, images};
use crate::attack::loss::AttackLoss;
use crate::attack::patch::base::{PatchAttack, PatchCandidate};
use crate::attack::patch::start::{AT_ONCE, Patched, margins, margins_of, starting_places, step};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::rng::{Purpose, Stream};
use crate::threat::PatchThreat;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// Settings of [`PatchPgd`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 20 | 1 to 100,000 |
/// | `tried` | none: all | places tried in each restart, 1 or more |
/// | `places` | 16 | places searched in each restart, 1 or more |
/// | `restarts` | 1 | 1 to 10,000 |
/// | `loss` | cross-entropy | one without a target |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchPgdParams {
    /// Steps at each place.
    pub steps: usize,
    /// Places at which random content is tried.
    pub tried: Option<usize>,
    /// Places at which content is searched.
    pub places: usize,
    /// Searches.
    pub restarts: usize,
    /// What they increase.
    pub loss: AttackLoss,
}

impl Default for PatchPgdParams {
    fn default() -> Self {
        Self {
            steps: 20,
            tried: None,
            places: 16,
            restarts: 1,
            loss: AttackLoss::CrossEntropy,
        }
    }
}

impl PatchPgdParams {
    /// The checked attack.
    pub fn check(self) -> Result<PatchPgd> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        if !(1..=10_000).contains(&self.restarts) {
            return Err(Error::parameter("restarts", "1 to 10000", self.restarts));
        }
        if self.tried == Some(0) || self.places == 0 {
            return Err(Error::parameter("places", "1 or more", 0));
        }
        if self.loss.targeted() {
            let found = format!("{:?}", self.loss);
            return Err(Error::parameter("loss", "a loss without a target", found));
        }
        Ok(PatchPgd { params: self })
    }
}

/// Checked projected gradient descent on patches.
#[derive(Clone, Debug)]
pub struct PatchPgd {
    params: PatchPgdParams,
}

impl PatchPgd {
    /// Searches one example, and keeps the best point with its margin.
    fn search(
        &self,
        model: &dyn Gradients,
        one: &Batch,
        threat: &PatchThreat,
        draws: &mut Stream,
        best: &mut (f32, Patched),
    ) -> Result<()> {
        let [_, h, w] = model.image_shape();
        let origin = one.x.to_f32();
        let places = starting_places(threat, [h, w], self.params.tried, draws);
        let mut points: Vec<Patched> = places
            .into_iter()
            .map(|p| Patched::random(&origin, threat, [h, w], p, draws))
            .collect();
        let found = margins_of(model, one, &points)?;
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|&a, &b| found[b].total_cmp(&found[a]).then(a.cmp(&b)));
        if found[order[0]] > best.0 {
            *best = (found[order[0]], points[order[0]].clone());
        }
        order.truncate(self.params.places);
        let mut chosen: Vec<Patched> = order.iter().map(|&i| points[i].clone()).collect();
        points.clear();
        let [lo, hi] = threat.bounds();
        let alpha = (2.5 * (hi - lo) / self.params.steps as f64) as f32;
        for some in chosen.chunks_mut(AT_ONCE) {
            let labels = vec![one.labels[0]; some.len()];
            let head = self.params.loss.head(&labels, &[]);
            for at in 0..=self.params.steps {
                if best.0 >= 0.0 && model.settles() {
                    return Ok(());
                }
                let x = images(one, some.iter().map(|p| &p.x[..]));
                let last = at == self.params.steps;
                let (logits, slopes) = if last {
                    (model.logits(&x)?, Vec::new())
                } else {
                    let found = model.loss_gradient(&x, head.as_ref())?;
                    (found.logits, found.gradient.to_f32())
                };
                for (margin, point) in margins(&logits, &labels).into_iter().zip(&*some) {
                    if margin > best.0 {
                        *best = (margin, point.clone());
                    }
                }
                if !last {
                    let rows = slopes.chunks_exact(origin.len());
                    for (point, slope) in some.iter_mut().zip(rows) {
                        step(&mut point.x, slope, alpha);
                        threat.project(&origin, &mut point.x, [h, w], &point.places);
                    }
                }
            }
        }
        Ok(())
    }
}

impl PatchAttack for PatchPgd {
    fn id(&self) -> &'static str {
        "patch-pgd"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &PatchThreat,
        seed: Seed,
    ) -> Result<PatchCandidate> {
        self.params.loss.check_classes(model.classes())?;
        let (mut x, mut places) = (Vec::with_capacity(batch.x.len()), Vec::new());
        for i in 0..batch.len() {
            let one = batch.select(&[i]);
            let unpatched = Patched {
                x: one.x.to_f32(),
                places: Vec::new(),
            };
            let mut best = (f32::NEG_INFINITY, unpatched);
            for restart in 0..self.params.restarts as u64 {
                let purpose = Purpose::AttackStart;
                let mut draws = Stream::new(seed.value(), purpose, restart, one.index[0]);
                self.search(model, &one, threat, &mut draws, &mut best)?;
                if best.0 >= 0.0 && model.settles() {
                    break;
                }
            }
            x.extend(best.1.x);
            places.push(best.1.places);
        }
        Ok(PatchCandidate {
            x: Tensor::new(batch.x.shape(), x),
            places,
        })
    }
}
