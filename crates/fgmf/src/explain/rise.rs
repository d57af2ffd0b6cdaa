//! RISE (Petsiuk et al. 2018): the mean of random masks, weighted by the score of the masked image.
//!
//! A mask: `cells` x `cells` bits, each 1 with probability `keep`, enlarged bilinearly to
//! `cells + 1` cells a side of ⌈side / cells⌉ pixels and cut to the image at a random shift below
//! one cell. S = Σ_k s(x ∘ M_k) M_k / (N · keep), stretched to `[0, 1]`.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `masks` | 1000 | 1 to 100,000 |
//! | `cells` | 7 | 1 to the shorter side |
//! | `keep` | 0.5 | above 0, at most 1 |
//! | `fill` | 0 (black) | finite, in input units: what a mask of 0 shows |
//! | `score` | `probability` | `logit`, `log-probability`, `probability` |
//!
//! Values in `[0, 1]`; a map that is the same everywhere becomes zeros. Cost: `masks` forward
//! passes an image. Masks come from the streams (seed, explanation, mask, index of the image).
//!
//! Differences from the paper: (1) 1,000 masks, where it takes 4,000 to 8,000 at 224 x 224: the
//! error falls with √N; (2) stretched to `[0, 1]`, which keeps the order of pixels; (3) `fill`.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{four, plain};
use crate::explain::parts::map;
use crate::explain::parts::perturbation::Score;
use crate::model::access::Gradients;
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "rise",
    line: "Averages random masks, each weighted by the score of the masked image.",
    revision: 1,
    reference: "petsiuk2018",
    example: r#"{"masks": 100, "cells": 4}"#,
    build: |settings, _| Ok(Box::new(read::<RiseParams>(settings)?.check()?)),
}];

/// Settings of [`Rise`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiseParams {
    /// Number of masks.
    pub masks: usize,
    /// Cells of a mask, a side.
    pub cells: usize,
    /// Probability that a cell is kept.
    pub keep: f64,
    /// Value of removed pixels.
    pub fill: f64,
    /// What weighs a mask.
    pub score: Score,
}

impl Default for RiseParams {
    fn default() -> Self {
        Self {
            masks: 1000,
            cells: 7,
            keep: 0.5,
            fill: 0.0,
            score: Score::Probability,
        }
    }
}

impl RiseParams {
    /// The checked method. Whether the cells fit shows when it meets an image.
    pub fn check(self) -> Result<Rise> {
        if !(1..=100_000).contains(&self.masks) {
            return Err(Error::parameter("masks", "1 to 100000", self.masks));
        }
        if self.cells == 0 {
            return Err(Error::parameter("cells", "1 or more", 0));
        }
        if !(self.keep > 0.0 && self.keep <= 1.0) {
            return Err(Error::parameter("keep", "above 0, at most 1", self.keep));
        }
        if !self.fill.is_finite() {
            return Err(Error::parameter("fill", "a finite number", self.fill));
        }
        Ok(Rise { params: self })
    }
}

/// Checked RISE.
#[derive(Clone, Debug)]
pub struct Rise {
    params: RiseParams,
}

impl Rise {
    /// Mask number `mask` of the image of that name, `[h, w]`.
    fn mask(&self, seed: u64, mask: usize, name: u64, [h, w]: [usize; 2]) -> Vec<f64> {
        let s = self.params.cells;
        let mut stream = Stream::new(seed, Purpose::Explanation, mask as u64, name);
        let bits: Vec<f64> = (0..s * s)
            .map(|_| f64::from(u8::from(f64::from(stream.unit()) < self.params.keep)))
            .collect();
        let cell = [h.div_ceil(s), w.div_ceil(s)];
        let large = [(s + 1) * cell[0], (s + 1) * cell[1]];
        let shift = cell.map(|c| stream.below(c as u64) as usize);
        let up = map::upsample(&bits, [s, s], large);
        (0..h * w)
            .map(|i| up[(i / w + shift[0]) * large[1] + i % w + shift[1]])
            .collect()
    }
}

impl Explainer for Rise {
    fn id(&self) -> &'static str {
        "rise"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>> {
        let p = &self.params;
        let [_, _, h, w] = four(x);
        if p.cells > h.min(w) {
            return Err(Error::parameter(
                "cells",
                format!("1 to {}", h.min(w)),
                p.cells,
            ));
        }
        let names = context.names_of(x);
        let mask = |image: usize, k: usize| self.mask(context.seed, k, names[image], [h, w]);
        let hide = |image: usize, k: usize, pixels: &mut [f64]| {
            let m = mask(image, k);
            pixels
                .iter_mut()
                .enumerate()
                .for_each(|(i, v)| *v = p.fill + (*v - p.fill) * m[i % (h * w)]);
        };
        let scores = p
            .score
            .of_variants(model, x, targets, p.masks, context.cap, hide)?;
        let one = |(image, scores): (usize, Vec<f64>)| {
            let mut sum = vec![0.0; h * w];
            for (k, score) in scores.iter().enumerate() {
                let share = score / (p.masks as f64 * p.keep);
                sum.iter_mut()
                    .zip(mask(image, k))
                    .for_each(|(s, m)| *s += share * m);
            }
            plain(
                self.id(),
                targets[image],
                [h, w],
                &map::min_max(&sum),
                false,
            )
        };
        Ok(scores.into_iter().enumerate().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::measure::similarity::spearman;
    use crate::model::oracle::Oracle;

    #[test]
    fn masks_are_cut_from_enlarged_bits() {
        let rise = RiseParams {
            cells: 3,
            ..RiseParams::default()
        }
        .check()
        .unwrap();
        let masks: Vec<Vec<f64>> = (0..400).map(|k| rise.mask(1, k, 7, [7, 8])).collect();
        assert!(masks.iter().flatten().all(|m| (0.0..=1.0).contains(m)) && masks[0] != masks[1]);
        assert_eq!(masks[3], rise.mask(1, 3, 7, [7, 8]));
        // Every pixel is kept half of the time: five standard errors of the mean of numbers in [0,
        // 1].
        for i in 0..56 {
            let mean = masks.iter().map(|m| m[i]).sum::<f64>() / 400.0;
            assert!((mean - 0.5).abs() < 5.0 * 0.5 / 20.0, "{i}: {mean}");
        }
        let all = RiseParams {
            cells: 2,
            keep: 1.0,
            ..RiseParams::default()
        }
        .check()
        .unwrap();
        assert_eq!(all.mask(0, 0, 0, [5, 5]), [1.0; 25]);
    }

    /// The sum by its formula, mask by mask, on a model whose logit is known.
    #[test]
    fn matches_the_formula_on_a_linear_model() {
        let w = toy::spread(64, 1);
        let net = toy::linear(&[w.clone(), vec![0.0; 64]], [1, 8, 8]);
        let x = toy::images([1, 1, 8, 8], 2);
        let rise = RiseParams {
            masks: 50,
            cells: 4,
            keep: 0.4,
            fill: 0.1,
            score: Score::Logit,
        }
        .check()
        .unwrap();
        let context = Context {
            seed: 3,
            names: Some(&[5]),
            cap: 7,
        };
        let oracle = Oracle::new(&net);
        let map = explain(&rise, &oracle, &x, &[0], &context)
            .unwrap()
            .swap_remove(0);
        assert_eq!(oracle.passes().forward, 50);
        let mut s = vec![0.0; 64];
        for k in 0..50 {
            let m = rise.mask(3, k, 5, [8, 8]);
            let z: f64 = (0..64)
                .map(|i| w[i] * (m[i] * x.to_f64()[i] + (1.0 - m[i]) * 0.1))
                .sum();
            (0..64).for_each(|i| s[i] += z * m[i] / (50.0 * 0.4));
        }
        let (lo, hi) = s
            .iter()
            .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        assert!(
            map.values
                .values
                .iter()
                .zip(&s)
                .all(|(v, s)| (f64::from(*v) - (s - lo) / (hi - lo)).abs() < 1e-6)
        );
    }

    /// Many masks rank the pixels of a linear model by their contributions, smoothed over a cell.
    #[test]
    fn many_masks_find_the_contributions() {
        let w: Vec<f64> = (0..64)
            .map(|i| if i / 8 < 4 && i % 8 < 4 { 1.0 } else { 0.0 })
            .collect();
        let net = toy::linear(&[w.clone(), vec![0.0; 64]], [1, 8, 8]);
        let x = toy::images([1, 1, 8, 8], 2);
        let rise = RiseParams {
            masks: 2000,
            cells: 4,
            score: Score::Logit,
            ..RiseParams::default()
        }
        .check()
        .unwrap();
        let map = explain(&rise, &Oracle::new(&net), &x, &[0], &Context::default())
            .unwrap()
            .swap_remove(0)
            .values
            .values;
        assert!(
            spearman(&map.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), &w).unwrap_or(0.0)
                > 0.7
        );
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let d = RiseParams::default;
        for bad in [
            RiseParams { masks: 0, ..d() },
            RiseParams { cells: 0, ..d() },
            RiseParams { keep: 0.0, ..d() },
            RiseParams {
                keep: f64::NAN,
                ..d()
            },
            RiseParams {
                fill: f64::INFINITY,
                ..d()
            },
        ] {
            assert!(bad.check().is_err());
        }
        let net = toy::linear(&[vec![1.0; 16], vec![0.0; 16]], [1, 4, 4]);
        let large = RiseParams { cells: 5, ..d() }.check().unwrap();
        assert!(
            explain(
                &large,
                &Oracle::new(&net),
                &toy::images([1, 1, 4, 4], 1),
                &[0],
                &Context::default()
            )
            .is_err()
        );
    }
}
