//! Random transforms in front of a model.

use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::model::outcome::Outcome;
use crate::rng::Stream;
use fgmf_net::Tensor;

/// A linear or affine map of the image, drawn from a stream.
pub trait Transform: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// What the network sees of an image `[c, h, w]`.
    fn apply(&self, image: &[f32], shape: [usize; 3], rng: &mut Stream) -> Vec<f32>;

    /// A cotangent of that, pulled back to the image; the stream draws the same map again.
    fn pull_back(&self, cotangent: &[f32], shape: [usize; 3], rng: &mut Stream) -> Vec<f32>;

    /// Every map that may be drawn, probabilities adding up to 1; `None` where they are too many to
    /// list.
    fn outcomes(&self, _shape: [usize; 3]) -> Option<Vec<Outcome>> {
        None
    }
}

/// An error unless these are images of the model's shape.
pub(crate) fn check(model: &dyn Scores, x: &Tensor) -> Result<()> {
    let [c, h, w] = model.image_shape();
    match x.shape() {
        [_, rest @ ..] if rest == [c, h, w] => Ok(()),
        other => Err(Error::mismatch(
            "query",
            format!("images of shape [n, {c}, {h}, {w}]"),
            format!("{other:?}"),
        )),
    }
}

/// FNV-1a of an image's bits.
pub(crate) fn content(image: &[f32]) -> u64 {
    let bytes = image.iter().flat_map(|v| v.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
