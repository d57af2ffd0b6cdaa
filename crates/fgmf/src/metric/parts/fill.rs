//! What stands in for pixels that are taken away.

use crate::error::{Error, Result};
use crate::metric::parts::impute::impute;
use crate::rng::Stream;
use serde::{Deserialize, Serialize};

/// A way to take pixels away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fill {
    /// One value, in input units.
    Value(f64),
    /// The image itself, blurred by a Gaussian of this deviation in pixels, cut at `⌈deviation⌉`
    /// pixels; weights are shared among the pixels that exist. RISE's kernel of 11 pixels is
    /// deviation 5.
    Blur(f64),
    /// A weighted mean of the neighbours, solved for all pixels at once, with Gaussian noise of
    /// this deviation (Rong et al. 2022).
    Linear(f64),
}

impl Fill {
    /// An error unless the number is one that can be used.
    pub fn check(self) -> Result<Self> {
        match self {
            Self::Value(v) if v.is_finite() => Ok(self),
            Self::Blur(s) if s > 0.0 && s <= 1000.0 => Ok(self),
            Self::Linear(s) if (0.0..=1000.0).contains(&s) => Ok(self),
            _ => Err(Error::parameter(
                "fill",
                "a finite value, a blur above 0 and up to 1000, or noise from 0 to 1000",
                format!("{self:?}"),
            )),
        }
    }

    /// The image `[c, h, w]` without the pixels marked.
    pub(crate) fn apply(
        self,
        image: &[f64],
        [c, h, w]: [usize; 3],
        removed: &[bool],
        noise: &mut Stream,
    ) -> Vec<f64> {
        let mut out = image.to_vec();
        let planes = || (0..c).flat_map(|p| (0..h * w).map(move |at| (p * h * w + at, at)));
        match self {
            Self::Value(v) => planes()
                .filter(|(_, at)| removed[*at])
                .for_each(|(i, _)| out[i] = v),
            Self::Blur(deviation) => {
                let soft: Vec<f64> = image
                    .chunks_exact(h * w)
                    .flat_map(|plane| blurred(plane, [h, w], deviation))
                    .collect();
                planes()
                    .filter(|(_, at)| removed[*at])
                    .for_each(|(i, _)| out[i] = soft[i]);
            }
            Self::Linear(deviation) => {
                impute(&mut out, [c, h, w], removed);
                if deviation > 0.0 {
                    planes()
                        .filter(|(_, at)| removed[*at])
                        .for_each(|(i, _)| out[i] += deviation * f64::from(noise.normal()));
                }
            }
        }
        out
    }
}

/// Gaussian blur, rows then columns.
pub(crate) fn blurred(plane: &[f64], size: [usize; 2], deviation: f64) -> Vec<f64> {
    blur(plane, size, deviation, false)
}

/// The transpose of [`blurred`]: what a change of the blurred plane means for the plane.
pub(crate) fn blurred_back(plane: &[f64], size: [usize; 2], deviation: f64) -> Vec<f64> {
    blur(plane, size, deviation, true)
}

fn blur(plane: &[f64], [h, w]: [usize; 2], deviation: f64, back: bool) -> Vec<f64> {
    let reach = deviation.ceil() as usize;
    let weights: Vec<f64> = (0..=reach)
        .map(|d| (-0.5 * (d as f64 / deviation).powi(2)).exp())
        .collect();
    let pass = |values: &[f64], count: usize, stride: usize| -> Vec<f64> {
        let near = |i: usize| i.saturating_sub(reach)..=(i + reach).min(count - 1);
        let totals: Vec<f64> = (0..count)
            .map(|i| near(i).map(|j| weights[i.abs_diff(j)]).sum())
            .collect();
        let one = |at: usize| {
            let i = at / stride % count;
            let term = |j: usize| {
                weights[i.abs_diff(j)] * values[at - i * stride + j * stride]
                    / totals[if back { j } else { i }]
            };
            near(i).map(term).sum()
        };
        (0..values.len()).map(one).collect()
    };
    pass(&pass(plane, h, w), w, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn fills_touch_what_is_removed_and_nothing_else() {
        let image: Vec<f64> = (0..32).map(|i| f64::from(i) / 31.0).collect();
        let removed: Vec<bool> = (0..16).map(|i| i % 3 == 0).collect();
        for fill in [
            Fill::Value(0.5),
            Fill::Blur(2.0),
            Fill::Linear(0.0),
            Fill::Linear(0.1),
        ] {
            let mut noise = Stream::new(0, Purpose::Evaluation, 0, 0);
            let out = fill.apply(&image, [2, 4, 4], &removed, &mut noise);
            for (i, (o, x)) in out.iter().zip(&image).enumerate() {
                assert!(
                    removed[i % 16] || (o - x).abs() < 1e-15,
                    "{fill:?} changed pixel {i}"
                );
            }
            assert!(
                (0..32)
                    .filter(|i| removed[i % 16])
                    .any(|i| (out[i] - image[i]).abs() > 1e-3),
                "{fill:?} changed nothing"
            );
        }
        assert!(
            Fill::Blur(0.0).check().is_err()
                && Fill::Value(f64::NAN).check().is_err()
                && Fill::Linear(-1.0).check().is_err()
        );
    }

    /// A line of 3, deviation 1, reach 1: the end is (1 · 6 + g · 0) / (1 + g), g = e^−½.
    #[test]
    fn blur_matches_a_hand_value() {
        let g = (-0.5f64).exp();
        let out = blurred(&[6.0, 0.0, 0.0], [1, 3], 1.0);
        assert!(
            (out[0] - 6.0 / (1.0 + g)).abs() < 1e-12
                && (out[1] - 6.0 * g / (1.0 + 2.0 * g)).abs() < 1e-12
                && out[2].abs() < 1e-12
        );
    }
    /// ⟨B a, b⟩ = ⟨a, Bᵀ b⟩.
    #[test]
    fn blur_has_its_transpose() {
        let plane = |k: usize| {
            (0..35)
                .map(|i| ((i * k) % 17) as f64 - 5.0)
                .collect::<Vec<f64>>()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (a, b) = (plane(5), plane(11));
        let (there, back) = (
            dot(&blurred(&a, [5, 7], 1.5), &b),
            dot(&a, &blurred_back(&b, [5, 7], 1.5)),
        );
        assert!((there - back).abs() < 1e-10 && there.abs() > 1.0);
    }
}
