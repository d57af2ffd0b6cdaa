//! Where searches of patches begin, and how far an image is from being misclassified.

use crate::attack::base::images;
use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Scores;
use crate::record::Rectangle;
use crate::rng::Stream;
use crate::threat::PatchThreat;
use fgmf_net::Tensor;

/// Points asked about at once.
pub(crate) const AT_ONCE: usize = 64;

/// A point of a search: an image with patches, and where they are.
#[derive(Clone, Debug)]
pub(crate) struct Patched {
    pub(crate) x: Vec<f32>,
    pub(crate) places: Vec<Rectangle>,
}

impl Patched {
    /// An image with patches of random content at these places.
    pub(crate) fn random(
        origin: &[f32],
        threat: &PatchThreat,
        size: [usize; 2],
        places: Vec<Rectangle>,
        rng: &mut Stream,
    ) -> Self {
        let mut x = origin.to_vec();
        for place in &places {
            threat.random_content(&mut x, size, place, rng);
        }
        Self { x, places }
    }
}

/// max_{i≠y} z_i − z_y of each row: above or at 0 where it is misclassified. A row that is not
/// finite is.
pub(crate) fn margins(logits: &Tensor, labels: &[usize]) -> Vec<f32> {
    let k = logits.shape()[1];
    let one = |(z, &y): (&[f32], &usize)| {
        if z.iter().any(|v| v.is_nan()) {
            return f32::INFINITY;
        }
        let others = z.iter().enumerate().filter(|(i, _)| *i != y);
        others.fold(f32::NEG_INFINITY, |m, (_, &v)| m.max(v)) - z[y]
    };
    logits
        .to_f32()
        .chunks_exact(k)
        .zip(labels)
        .map(one)
        .collect()
}

/// Margins of points of one example, which is the only one of the batch.
pub(crate) fn margins_of(
    model: &dyn Scores,
    batch: &Batch,
    points: &[Patched],
) -> Result<Vec<f32>> {
    let mut out = Vec::with_capacity(points.len());
    for some in points.chunks(AT_ONCE) {
        let x = images(batch, some.iter().map(|p| &p.x[..]));
        let labels = vec![batch.labels[0]; some.len()];
        out.extend(margins(&model.logits(&x)?, &labels));
    }
    Ok(out)
}

/// Of all places of one patch, in the order of their number, `most` different ones; all if none is
/// given. With several patches each number stands for the place of the first, and the others are
/// drawn.
pub(crate) fn starting_places(
    threat: &PatchThreat,
    size: [usize; 2],
    most: Option<usize>,
    rng: &mut Stream,
) -> Vec<Vec<Rectangle>> {
    let all = threat.places(size);
    let mut numbers: Vec<usize> = match most.filter(|m| *m < all) {
        Some(most) => rng.permutation(all).into_iter().take(most).collect(),
        None => (0..all).collect(),
    };
    numbers.sort_unstable();
    let others = threat.count() - 1;
    let of = |at| {
        let mut places = vec![threat.place(size, at)];
        places.extend((0..others).map(|_| threat.random_place(size, rng)));
        places
    };
    numbers.into_iter().map(of).collect()
}

/// Moves the values of patches along the sign of a slope.
pub(crate) fn step(point: &mut [f32], slope: &[f32], alpha: f32) {
    for (v, g) in point.iter_mut().zip(slope) {
        if *g > 0.0 {
            *v += alpha;
        } else if *g < 0.0 {
            *v -= alpha;
        }
    }
}
