//! What stands in for pixels that are taken away.

use crate::error::{Error, Result};
use crate::image::blur::Blur;
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
                // Cut at one deviation, as the figures published here were made.
                let blur = Blur {
                    deviation: [deviation; 2],
                    cut: 1.0,
                };
                let soft: Vec<f64> = image
                    .chunks_exact(h * w)
                    .flat_map(|plane| blur.of(plane, [h, w]))
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
}
