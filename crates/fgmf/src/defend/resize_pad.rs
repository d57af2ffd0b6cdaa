//! Random resizing and padding (Xie et al. 2018). Planted: each query sees the image smaller and elsewhere.
//!
//! x' = the image resized to ⌈s h⌉ x ⌈s w⌉ by nearest neighbour, s uniform in `[least, 1]`, at a uniform position on a black
//! ground of the image's own size; drawn anew for each query and example, `[c, h, w]`.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `least` | 0.8 | smallest s, in (0, 1] |
//!
//! Goes around it: the mean gradient of many draws, [`super::Averaged`]; each draw is linear, so that its own gradient is exact.
//!
//! Differences from the paper: (1) the image shrinks within its size instead of growing from 299 to 331 pixels, so that any
//! network can stand behind. Reference: `xie2018`.

use super::Transform;
use crate::error::{Error, Result};
use crate::rng::Stream;
use serde::{Deserialize, Serialize};

/// Settings of [`ResizePad`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResizePadParams {
    /// Smallest factor.
    pub least: f64,
}

impl Default for ResizePadParams {
    fn default() -> Self {
        Self { least: 0.8 }
    }
}

impl ResizePadParams {
    /// The checked transform.
    pub fn check(self) -> Result<ResizePad> {
        if !(self.least > 0.0 && self.least <= 1.0) {
            return Err(Error::parameter("least", "above 0, at most 1", self.least));
        }
        Ok(ResizePad { params: self })
    }
}

/// Checked random resizing and padding.
#[derive(Clone, Debug)]
pub struct ResizePad {
    params: ResizePadParams,
}

impl ResizePad {
    /// (position in the output, position in the image) of every value that the output takes from the image.
    fn moves(&self, [c, h, w]: [usize; 3], rng: &mut Stream) -> Vec<(usize, usize)> {
        let scale = self.params.least + (1.0 - self.params.least) * f64::from(rng.unit());
        let size = |full: usize| ((scale * full as f64).ceil() as usize).clamp(1, full);
        let (rows, columns) = (size(h), size(w));
        let top = rng.below((h - rows + 1) as u64) as usize;
        let left = rng.below((w - columns + 1) as u64) as usize;
        let mut out = Vec::with_capacity(c * rows * columns);
        for channel in 0..c {
            for i in 0..rows {
                for j in 0..columns {
                    // Centres of the pixels: ⌊(i + ½) h / rows⌋.
                    let (from_row, from_column) = ((2 * i + 1) * h / (2 * rows), (2 * j + 1) * w / (2 * columns));
                    out.push(((channel * h + top + i) * w + left + j, (channel * h + from_row) * w + from_column));
                }
            }
        }
        out
    }
}

impl Transform for ResizePad {
    fn id(&self) -> &'static str {
        "resize-pad"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn apply(&self, image: &[f32], shape: [usize; 3], rng: &mut Stream) -> Vec<f32> {
        let mut out = vec![0.0; image.len()];
        self.moves(shape, rng).into_iter().for_each(|(to, from)| out[to] = image[from]);
        out
    }

    fn pull_back(&self, cotangent: &[f32], shape: [usize; 3], rng: &mut Stream) -> Vec<f32> {
        let mut out = vec![0.0; cotangent.len()];
        self.moves(shape, rng).into_iter().for_each(|(to, from)| out[from] += cotangent[to]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    /// ⟨A x, g⟩ = ⟨x, Aᵀ g⟩ for every draw; scale 1 is the identity; values come from the image.
    #[test]
    fn the_pull_back_is_the_adjoint() {
        let shape = [2, 7, 5];
        let value = |i: usize, k: usize| ((i * k + 3) % 17) as f32 / 4.0;
        let (x, g): (Vec<f32>, Vec<f32>) = (0..70).map(|i| (value(i, 5), value(i, 7))).unzip();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let transform = ResizePadParams { least: 0.4 }.check().unwrap();
        for draw in 0..50 {
            let rng = || Stream::new(1, Purpose::Evaluation, draw, 0);
            let (y, back) = (transform.apply(&x, shape, &mut rng()), transform.pull_back(&g, shape, &mut rng()));
            assert!((dot(&y, &g) - dot(&x, &back)).abs() < 1e-3);
            assert!(y.iter().all(|v| *v == 0.0 || x.contains(v)));
        }
        let same = ResizePadParams { least: 1.0 }.check().unwrap();
        assert_eq!(same.apply(&x, shape, &mut Stream::new(1, Purpose::Evaluation, 0, 0)), x);
        for least in [0.0, 1.1, f64::NAN] {
            assert!(ResizePadParams { least }.check().is_err());
        }
    }
}
