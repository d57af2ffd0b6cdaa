//! Grid mosaics: whether a map finds the tile that holds its class (Zhang et al. 2018's pointing
//! game and Arras et al. 2022's mass and rank accuracy on the grids of Böhle et al. 2021).
//!
//! A mosaic holds the image and three others of other classes, each at half size (mean of 2 x 2
//! pixels), in a random arrangement. The map of the image's class should lie in its tile: that is
//! known without any annotation. Figures: whether the largest value lies in the tile, the share of
//! the positive values in it, the share of the largest quarter of the pixels in it.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `mosaics` | 2 an image | 1 to 1,000 |
//!
//! Values in `[0, 1]`; higher is better; a quarter is chance. Cost: `mosaics` explanations and
//! forward passes an image. The explainer is asked again, so the figures say how it localises on
//! mosaics, not on the image.
//!
//! A mosaic counts only if the model itself sees the class there: its logit is among the four
//! largest. Examples without such a mosaic, or without images of other classes beside them in the
//! block of 64, have no value. Differences from Böhle et al.: (1) tiles at half size, for networks
//! that take one size; (2) their confident images are replaced by this condition. The tiles'
//! classes are those explained, by default the model's own predictions. Reference: `boehle2021`.

use crate::error::{Error, Result};
use crate::explain::subject::{Draw, Subject};
use crate::measure::localisation::{hit, mass, rank};
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{Family, Info, Need, SHARE, higher};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "mosaic",
    family: Family::Localisation,
    figures: &[
        higher("mosaic-pointing", SHARE),
        higher("mosaic-mass", SHARE),
        higher("mosaic-rank", SHARE),
    ],
    needs: &[Need::Explainer, Need::Batch],
    reference: "boehle2021",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Checks whether a map finds the tile of its class in a mosaic of images.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"mosaics": 4}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<MosaicParams>(settings)?.check()?))),
    },
}];

/// Settings of [`Mosaic`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MosaicParams {
    /// Mosaics an image.
    pub mosaics: usize,
}

impl Default for MosaicParams {
    fn default() -> Self {
        Self { mosaics: 2 }
    }
}

impl MosaicParams {
    /// The checked metric.
    pub fn check(self) -> Result<Mosaic> {
        if !(1..=1000).contains(&self.mosaics) {
            return Err(Error::parameter("mosaics", "1 to 1000", self.mosaics));
        }
        Ok(Mosaic { params: self })
    }
}

/// Checked mosaics.
#[derive(Clone, Debug)]
pub struct Mosaic {
    params: MosaicParams,
}

/// Each channel at half size: means of 2 x 2 pixels, an odd row or column left out.
fn halved(image: &[f64], [c, h, w]: [usize; 3]) -> Vec<f64> {
    let (rows, columns) = (h / 2, w / 2);
    let one = |at: usize| {
        let (plane, r, x) = (at / (rows * columns), at / columns % rows, at % columns);
        let pixel = |dr: usize, dx: usize| image[plane * h * w + (2 * r + dr) * w + 2 * x + dx];
        0.25 * (pixel(0, 0) + pixel(0, 1) + pixel(1, 0) + pixel(1, 1))
    };
    (0..c * rows * columns).map(one).collect()
}

/// Tiles at the four corners in reading order; what is left between them is `ground`.
fn arranged(tiles: &[Vec<f64>], [c, h, w]: [usize; 3], ground: f64) -> Vec<f64> {
    let (rows, columns) = (h / 2, w / 2);
    let mut out = vec![ground; c * h * w];
    for (tile, values) in tiles.iter().enumerate() {
        let (top, left) = ((tile / 2) * (h - rows), (tile % 2) * (w - columns));
        for (at, v) in values.iter().enumerate() {
            let (plane, r, x) = (at / (rows * columns), at / columns % rows, at % columns);
            out[plane * h * w + (top + r) * w + left + x] = *v;
        }
    }
    out
}

/// Pixels of a tile.
fn inside(tile: usize, [_, h, w]: [usize; 3]) -> Vec<bool> {
    let (rows, columns) = (h / 2, w / 2);
    let (top, left) = ((tile / 2) * (h - rows), (tile % 2) * (w - columns));
    (0..h * w)
        .map(|at| {
            (top..top + rows).contains(&(at / w)) && (left..left + columns).contains(&(at % w))
        })
        .collect()
}

impl Metric for Mosaic {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let (n, shape) = (subject.len(), subject.shape());
        if shape[1] < 2 || shape[2] < 2 {
            return Ok(vec![vec![None; n]; 3]);
        }
        let small: Vec<Vec<f64>> = (0..n).map(|i| halved(&subject.image(i), shape)).collect();
        let mut sums = vec![(0usize, [0.0; 3]); n];
        for round in 0..self.params.mosaics {
            // The tile of the image itself, and the mosaic; the image alone where there is nothing
            // to put beside it.
            let make = |i: usize| {
                let others: Vec<usize> = (0..n)
                    .filter(|&j| subject.targets[j] != subject.targets[i])
                    .collect();
                let mut rng = subject.stream(Draw::Tiles, round, i);
                let own = rng.below(4) as usize;
                if others.is_empty() {
                    return (None, subject.image(i));
                }
                let pick = |tile: usize| {
                    if tile == own {
                        i
                    } else {
                        others[rng.below(others.len() as u64) as usize]
                    }
                };
                let chosen: Vec<usize> = (0..4).map(pick).collect();
                let tiles: Vec<Vec<f64>> = chosen.into_iter().map(|j| small[j].clone()).collect();
                (
                    Some(own),
                    arranged(&tiles, shape, subject.threat.bounds()[0]),
                )
            };
            let (tiles, mosaics): (Vec<Option<usize>>, Vec<Vec<f64>>) = (0..n).map(make).unzip();
            let logits = subject.logits(n, |i| mosaics[i].clone())?;
            let maps = subject.explain(&subject.images(mosaics.concat()))?;
            for (i, map) in maps.iter().enumerate() {
                let z = &logits[i];
                let above = z.iter().filter(|v| **v > z[subject.targets[i]]).count();
                if let (Some(tile), true) = (tiles[i], above < 4) {
                    let inside = inside(tile, shape);
                    let figures = [hit(map, &inside)?, mass(map, &inside)?, rank(map, &inside)?];
                    sums[i].0 += 1;
                    sums[i].1.iter_mut().zip(figures).for_each(|(s, f)| *s += f);
                }
            }
        }
        Ok((0..3)
            .map(|f| {
                sums.iter()
                    .map(|(count, s)| (*count > 0).then(|| s[f] / *count as f64))
                    .collect()
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_halves_at_the_corners() {
        let shape = [1, 5, 4];
        let half = halved(&(0..20).map(f64::from).collect::<Vec<_>>(), shape);
        assert_eq!(half, [2.5, 4.5, 10.5, 12.5]);
        let tiles: Vec<Vec<f64>> = (1..5).map(|t| vec![f64::from(t); 4]).collect();
        let mosaic = arranged(&tiles, shape, 0.0);
        assert_eq!(
            mosaic,
            [
                1., 1., 2., 2., 1., 1., 2., 2., 0., 0., 0., 0., 3., 3., 4., 4., 3., 3., 4., 4.
            ]
        );
        for tile in 0..4 {
            let marks = inside(tile, shape);
            assert!(
                mosaic
                    .iter()
                    .zip(&marks)
                    .all(|(v, m)| *m == ((*v - (tile + 1) as f64).abs() < 1e-12))
            );
        }
    }
}
