//! Occlusion (Zeiler & Fergus 2014): how much the target's score falls when a window is blanked.
//!
//! Windows of `patch` x `patch` pixels start at every multiple of `stride`, as many as cover the
//! image, cut at its border. map at a pixel = mean of s(x) − s(x with the window filled) over the
//! windows that contain it.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `patch` | none: a seventh of the shorter side, rounded up | 1 to the shorter side |
//! | `stride` | none: half the patch, rounded up | 1 to the patch |
//! | `fill` | 0 (black) | finite, in input units |
//! | `score` | `logit` | `logit`, `log-probability`, `probability` |
//!
//! Values in units of the score, signed. Cost: 1 + windows forward passes an image (170 at 28 x
//! 28).
//!
//! Differences from the paper: (1) windows overlap and each pixel takes the mean over its windows,
//! as in Captum, where the paper colours a coarse grid; (2) the score is the logit unless asked
//! otherwise.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{calls, four, plain};
use crate::explain::parts::perturbation::Score;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};
use std::ops::Range;

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "occlusion",
    line: "Measures how far the score falls when a window is blanked.",
    revision: 1,
    reference: "zeiler2014",
    example: r#"{"patch": 2, "fill": 0.5}"#,
    build: |settings, _| Ok(Box::new(read::<OcclusionParams>(settings)?.check()?)),
}];

/// Settings of [`Occlusion`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OcclusionParams {
    /// Side of a window, pixels.
    pub patch: Option<usize>,
    /// Step between windows, pixels.
    pub stride: Option<usize>,
    /// Value of blanked pixels.
    pub fill: f64,
    /// What falls.
    pub score: Score,
}

impl Default for OcclusionParams {
    fn default() -> Self {
        Self {
            patch: None,
            stride: None,
            fill: 0.0,
            score: Score::Logit,
        }
    }
}

impl OcclusionParams {
    /// The checked method. Whether the patch fits shows when it meets an image.
    pub fn check(self) -> Result<Occlusion> {
        if self.patch == Some(0) {
            return Err(Error::parameter("patch", "1 or more", 0));
        }
        if self.stride == Some(0)
            || self
                .stride
                .zip(self.patch)
                .is_some_and(|(stride, patch)| stride > patch)
        {
            return Err(Error::parameter(
                "stride",
                "1 to the patch",
                self.stride.unwrap_or(0),
            ));
        }
        if !self.fill.is_finite() {
            return Err(Error::parameter("fill", "a finite number", self.fill));
        }
        Ok(Occlusion { params: self })
    }
}

/// Checked occlusion.
#[derive(Clone, Debug)]
pub struct Occlusion {
    params: OcclusionParams,
}

impl Occlusion {
    /// Rows and columns of every window.
    fn windows(&self, [h, w]: [usize; 2]) -> Result<Vec<[Range<usize>; 2]>> {
        let shorter = h.min(w);
        let patch = self.params.patch.unwrap_or(shorter.div_ceil(7));
        let stride = self.params.stride.unwrap_or(patch.div_ceil(2));
        if patch > shorter {
            return Err(Error::parameter("patch", format!("1 to {shorter}"), patch));
        }
        if stride > patch {
            return Err(Error::parameter("stride", format!("1 to {patch}"), stride));
        }
        let along = |side: usize| {
            (0..=(side - patch).div_ceil(stride))
                .map(move |i| i * stride..(i * stride + patch).min(side))
        };
        Ok(along(h)
            .flat_map(|rows| along(w).map(move |columns| [rows.clone(), columns]))
            .collect())
    }
}

impl Explainer for Occlusion {
    fn id(&self) -> &'static str {
        "occlusion"
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
        let [_, _, h, w] = four(x);
        let windows = self.windows([h, w])?;
        let blank = |_: usize, pixels: &[f64]| vec![vec![self.params.fill; pixels.len()]];
        let scores =
            self.params
                .score
                .of_windows(model, x, targets, &windows, 1, context.cap, blank)?;
        let mut before = Vec::with_capacity(targets.len());
        for call in calls(targets.len(), context.cap) {
            let logits = model.logits(&x.rows(call.start, call.len()))?.to_f64();
            before.extend(
                call.clone()
                    .zip(logits.chunks_exact(model.classes()))
                    .map(|(i, z)| self.params.score.of(z, targets[i])),
            );
        }
        let mut covered = vec![0.0; h * w];
        let pixels = |[rows, columns]: &[Range<usize>; 2]| {
            let columns = columns.clone();
            rows.clone()
                .flat_map(move |r| columns.clone().map(move |c| r * w + c))
                .collect::<Vec<_>>()
        };
        windows
            .iter()
            .flat_map(pixels)
            .for_each(|p| covered[p] += 1.0);
        let one = |((scores, before), &target): ((Vec<f64>, f64), &usize)| {
            let mut map = vec![0.0; h * w];
            for (window, after) in windows.iter().zip(scores) {
                pixels(window)
                    .into_iter()
                    .for_each(|p| map[p] += (before - after) / covered[p]);
            }
            plain(self.id(), target, [h, w], &map, true)
        };
        Ok(scores
            .into_iter()
            .zip(before)
            .zip(targets)
            .map(one)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    fn run(params: OcclusionParams, net: &fgmf_net::Session, x: &Tensor) -> Vec<f64> {
        let method = params.check().unwrap();
        let map = explain(
            &method,
            &Oracle::new(net),
            x,
            &[0],
            &Context {
                cap: 5,
                ..Context::default()
            },
        )
        .unwrap()
        .swap_remove(0);
        map.values.values.iter().map(|v| f64::from(*v)).collect()
    }

    /// z = w · x: a window's fall is Σ w (x − fill) inside; windows of one pixel give the exact
    /// contributions.
    #[test]
    fn linear_falls_match_the_closed_form() {
        let w = toy::spread(2 * 35, 1);
        let net = toy::linear(&[w.clone(), vec![0.0; 70]], [2, 5, 7]);
        let x = toy::images([1, 2, 5, 7], 2);
        let v = x.to_f64();
        let single = run(
            OcclusionParams {
                patch: Some(1),
                fill: 0.25,
                ..OcclusionParams::default()
            },
            &net,
            &x,
        );
        let term = |p: usize| w[p] * (v[p] - 0.25) + w[p + 35] * (v[p + 35] - 0.25);
        assert!(
            single
                .iter()
                .enumerate()
                .all(|(p, s)| (s - term(p)).abs() < 1e-6)
        );
        // 3 x 3 windows at 0, 2 (rows) and 0, 2, 4 (columns): pixel by pixel.
        let map = run(
            OcclusionParams {
                patch: Some(3),
                stride: Some(2),
                fill: 0.25,
                ..OcclusionParams::default()
            },
            &net,
            &x,
        );
        for (p, found) in map.iter().enumerate() {
            let (mut sum, mut count) = (0.0, 0.0);
            for (top, left) in [(0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4)] {
                let inside = |q: usize| {
                    (top..top + 3).contains(&(q / 7)) && (left..left + 3).contains(&(q % 7))
                };
                if inside(p) {
                    sum += (0..35).filter(|&q| inside(q)).map(term).sum::<f64>();
                    count += 1.0;
                }
            }
            assert!(
                (found - sum / count).abs() < 1e-6,
                "{p}: {found} against {}",
                sum / count
            );
        }
    }

    #[test]
    fn windows_cover_the_image_and_parameters_are_checked() {
        let of = |patch, stride, size| {
            let params = OcclusionParams {
                patch,
                stride,
                ..OcclusionParams::default()
            };
            params.check().and_then(|o| o.windows(size))
        };
        assert_eq!(of(None, None, [28, 28]).unwrap().len(), 169);
        assert_eq!(
            of(Some(4), Some(3), [6, 4]).unwrap(),
            [[0..4, 0..4], [3..6, 0..4]]
        );
        assert!(of(Some(5), None, [6, 4]).is_err() && of(Some(0), None, [6, 4]).is_err());
        assert!(of(Some(2), Some(3), [6, 4]).is_err() && of(None, Some(9), [28, 28]).is_err());
        assert!(
            OcclusionParams {
                fill: f64::NAN,
                ..OcclusionParams::default()
            }
            .check()
            .is_err()
        );
    }
}
