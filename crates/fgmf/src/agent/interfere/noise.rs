//! Noise: a random point of the ball. The control of every attack.

use crate::agent::interfere::base::{Interference, TeamMoment};
use crate::error::Result;
use crate::rng::{Purpose, Stream};
use fgmf_net::Tensor;

/// Uniform noise in the ball, drawn anew at each step.
#[derive(Clone, Copy, Debug, Default)]
pub struct ViewNoise;

/// A random point of the ball around a view, or of the objects' planes of it.
pub(super) fn random_point(at: &TeamMoment<'_>, row: usize, clean: &[f32], round: u64) -> Vec<f32> {
    let Some(threat) = at.threat else {
        return clean.to_vec();
    };
    let index = at.index(row) << 8 | round;
    let mut draws = Stream::new(at.seed, Purpose::AttackStart, at.episodes[row], index);
    let mut x = threat.random_start(clean, &mut draws);
    for ((v, &o), open) in x.iter_mut().zip(clean).zip(at.open) {
        *v = if *open { *v } else { o };
    }
    x
}

impl Interference for ViewNoise {
    fn id(&self) -> &'static str {
        "noise"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn views(&self, at: &TeamMoment<'_>) -> Result<Tensor> {
        let clean = at.views.to_f32();
        let rows = clean.chunks_exact(at.spec.size()).enumerate();
        let noisy = rows.flat_map(|(row, clean)| random_point(at, row, clean, 0));
        Ok(Tensor::new::<f32>(at.views.shape(), noisy.collect()))
    }
}
