//! PGCA: perturbation and gradient consensus attribution. A reconstruction: the paper (Islam et al.
//! 2024, arXiv 2412.03884) names the parts and publishes neither constants nor code, so every
//! number below is our choice.
//!
//! 1. P: mean fall of the score over fills, cell by cell of a grid, resampled to the image
//!    (bilinear). With `overlap` also cells half a step further, each pixel taking the mean over
//!    those that contain it; with `levels` the sum over finer grids, each on its own scale; with
//!    `signed` rises count as negative falls.
//! 2. G: Grad-CAM++ of the target logit, resampled to the image, or the explainer that `gradient`
//!    names.
//! 3. Both stretched to `[0, 1]` between two percentiles, maps with signs to `[-1, 1]` (`scale`);
//!    agreement ρ = Spearman(P, G) over pixels.
//! 4. Consensus C = √(|P G|) (1 + κ min(|P|, |G|) / (max(|P|, |G|) + 10⁻⁶)) with the sign that both
//!    have, else 0, or another `fusion`; C = P where G is not to be trusted.
//! 5. Contrast σ((C − q) / (w · IQR(C) + 10⁻⁶))^γ, Gaussian smoothing (or smoothing first),
//!    stretched to `[0, 1]`.
//!
//! With the fusion `least-squares` the windows of P say how much each map counts (Decker et al.
//! 2024). Δ_j is the fall of the score where window j is filled, ⟨I_j, φ_m⟩ what a map φ_m holds in
//! that window. The maps are P, G and those of `others`, each times its own best scale c_m ≥ 0 onto
//! Δ, so that units agree:
//!
//! w* = argmin over w ≥ 0, Σ w = 1 of Σ_j (Δ_j − Σ_m w_m c_m ⟨I_j, φ_m⟩)² + μ ‖w − w0‖²
//!
//! with w0 = 1 / M and the `mu` given (in mean square lengths of c_m ⟨I_j, φ_m⟩; a large one gives
//! equal weights), else the μ that fits bands of windows best that are left out in turn.
//! C = Σ w_m c_m φ_m, without step 3. The agreement is R² = 1 − Σ_j (Δ_j − Σ_m w_m c_m ⟨I_j, φ_m⟩)²
//! / Σ_j (Δ_j − mean Δ)²: how well the map foretells the falls. It is 1 at most, may be far below
//! 0, and is 0 where Δ is constant. P is made of the falls themselves, so R² says how well they
//! hang together, too, and is no figure of unseen windows. `weight`, `kappa` and `rho_min` have no
//! part in this.
//!
//! Of a model that gives scores and no gradients the map is P alone, and the note says so.
//!
//! G is not trusted where it is flat or ρ < `rho_min`; the attribution's note says so. The map is
//! withheld from operators where P is flat, G is flat, P and G share no pixel, or ρ < `rho_show`
//! (R² with `least-squares`, where a flat G is only one map that says nothing).
//!
//! Values in `[0, 1]`. Cost: one forward pass, the backward pass of Grad-CAM++ or the cost of what
//! `gradient` names, and windows · fills forward passes an image (at 28 x 28 by default 169 and
//! GradientSHAP, of `pgca-published` 49 · 3; in single precision only of what a window reaches).
//! `least-squares` adds the cost of the maps of `others` and no pass for the weights.
//!
//! The id `pgca-published` has the parts that the source names as its defaults
//! ([`PgcaParams::published`]). The defaults of `pgca` are a form that is more faithful where
//! removed pixels are replaced from their surroundings: what the two dark fills measure there is
//! mostly brightness (`docs/results/explanations.md`). Every setting works under both ids.
//!
//! Decisions beyond the paper's abstract: (1) cells of 4 pixels at 28 to 32 pixels, cells that
//! match the patches of a transformer, else the paper's 8 x 8; (2) only falls count unless
//! `signed`, a cell that speaks against the class counts 0; (3) each fill has the same weight; (4)
//! noise replaces the cell, has mean 0 and is not clipped, so half of it lies below black; around
//! mid-grey it would be clutter on dark ground, which P counts and G cannot see; (5) the fall is
//! measured on the logit unless asked otherwise, G always on the logit; (6) the trust and
//! withholding rules. With (4), both fills are dark: ρ is partly the brightness that P and G share.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod, Inner, Make};
use crate::explain::parts::ask::{calls, four, map_record, plain};
use crate::explain::parts::cam::{Cam, cams, check_layer, curved};
use crate::explain::parts::layer::{TargetLayer, layer_of};
use crate::explain::parts::map::{bounds, deviation};
use crate::explain::parts::perturbation::{Fills, Grid, Perturbation};
use crate::explain::pgca::consensus::{Enhancement, Fusion, enhance};
use crate::explain::pgca::params::PgcaParams;
use crate::explain::pgca::weighing::{MapWeights, weigh};
use crate::explain::sealed::explain;
use crate::measure::convex::MU;
use crate::measure::similarity::spearman;
use crate::model::access::Gradients;
use crate::record::MapRecord;
use crate::settings::{read, read_over};
use fgmf_net::Tensor;
use serde::Serialize;
use std::ops::Range;

pub(crate) const METHODS: &[ExplainerMethod] = &[
    ExplainerMethod {
        id: "pgca",
        line: "Averages a perturbation map and a gradient map, each with its sign.",
        revision: 2,
        reference: "islam2024",
        example: r#"{"gradient": {"id": "gradient-x-input"}}"#,
        build: |settings, make| Ok(Box::new(read::<PgcaParams>(settings)?.check(make)?)),
    },
    ExplainerMethod {
        id: "pgca-published",
        line: "Keeps what a perturbation map and a gradient map both point at.",
        revision: 1,
        reference: "islam2024",
        example: r#"{"kappa": 0.5, "gradient": {"id": "gradient-x-input"}}"#,
        build: |settings, make| {
            let params: PgcaParams = read_over(&PgcaParams::published(), settings)?;
            Ok(Box::new(Pgca {
                id: "pgca-published",
                ..params.check(make)?
            }))
        },
    },
];

/// Checked PGCA.
pub struct Pgca {
    id: &'static str,
    params: PgcaParams,
    /// What `gradient` names.
    gradient: Option<Box<dyn Explainer>>,
    /// What `others` names.
    others: Vec<Box<dyn Explainer>>,
}

/// Most maps of `others`: four in all, with P and G.
const OTHERS: usize = 2;

/// The maps of `others` unless they are given: both cost little beside the windows.
const USUAL: [&str; OTHERS] = ["deep-shap", "layer-cam"];

impl PgcaParams {
    /// The checked method. Whether layer and grid fit shows when it meets a network.
    pub fn check(mut self, make: &Make) -> Result<Pgca> {
        let ranges = [
            ("noise_mean", self.noise_mean, [f64::MIN, f64::MAX]),
            ("noise_sigma", self.noise_sigma, [0.0, f64::MAX]),
            ("blur", self.blur, [0.0, 100.0]),
            ("weight", self.weight, [0.0, 1.0]),
            ("percentiles", self.percentiles[0], [0.0, 100.0]),
            ("percentiles", self.percentiles[1], [0.0, 100.0]),
            ("kappa", self.kappa, [0.0, 100.0]),
            ("flat", self.flat, [0.0, 1.0]),
            ("rho_min", self.rho_min, [-1.0, 1.0]),
            ("rho_show", self.rho_show, [-1.0, 1.0]),
            ("contrast_quantile", self.contrast_quantile, [0.0, 1.0]),
            ("contrast_width", self.contrast_width, [0.0, 100.0]),
            ("gamma", self.gamma, [0.1, 10.0]),
            ("smoothing", self.smoothing, [0.0, 8.0]),
        ];
        for (name, value, [lo, hi]) in ranges {
            // NaN is in no range.
            if !(value >= lo && value <= hi) {
                return Err(Error::parameter(name, format!("{lo} to {hi}"), value));
            }
        }
        if self.percentiles[0] >= self.percentiles[1] {
            return Err(Error::parameter(
                "percentiles",
                "the smaller first",
                format!("{:?}", self.percentiles),
            ));
        }
        if self.noise_draws > 100 {
            return Err(Error::parameter(
                "noise_draws",
                "0 to 100",
                self.noise_draws,
            ));
        }
        if !self.zero && self.noise_draws == 0 && self.blur <= 0.0 {
            return Err(Error::parameter(
                "noise_draws",
                "1 or more if `zero` is off and `blur` is 0",
                0,
            ));
        }
        if !(1..=8).contains(&self.levels) {
            return Err(Error::parameter("levels", "1 to 8", self.levels));
        }
        self.check_fusion()?;
        let gradient = self.gradient.as_ref().map(make).transpose()?;
        let others = self.others.iter().flatten().map(make);
        let others = others.collect::<Result<Vec<Box<dyn Explainer>>>>()?;
        check_layer(self.layer.as_ref(), self.token_grid)?;
        match self.grid {
            Some(grid) if grid.iter().any(|side| !(1..=256).contains(side)) => Err(
                Error::parameter("grid", "1 to 256 cells a side", format!("{grid:?}")),
            ),
            _ => Ok(Pgca {
                id: "pgca",
                params: self,
                gradient,
                others,
            }),
        }
    }

    /// Whether the fusion fits the other settings; the maps that it takes unless they are given.
    fn check_fusion(&mut self) -> Result<()> {
        if self.fusion != Fusion::LeastSquares {
            if let Some(mu) = self.mu {
                let expected = "nothing unless `fusion` is least-squares";
                return Err(Error::parameter("mu", expected, mu));
            }
            return match self.others.as_ref().map_or(0, Vec::len) {
                0 => Ok(()),
                some => Err(Error::parameter(
                    "others",
                    "no further maps unless `fusion` is least-squares",
                    some,
                )),
            };
        }
        if let Some(mu) = self.mu.filter(|mu| !(*mu >= MU[0] && *mu <= MU[1])) {
            let expected = format!("{:e} to {:e}", MU[0], MU[1]);
            return Err(Error::parameter("mu", expected, mu));
        }
        if !self.signed {
            let expected = "true with the fusion least-squares: a rise is no fall of 0";
            return Err(Error::parameter("signed", expected, false));
        }
        if self.levels != 1 {
            let expected = "1 with the fusion least-squares";
            return Err(Error::parameter("levels", expected, self.levels));
        }
        let usual = |id: &str| Inner {
            id: id.into(),
            parameters: serde_json::json!({}),
        };
        let others = self.others.get_or_insert_with(|| USUAL.map(usual).to_vec());
        if others.len() > OTHERS {
            let expected = format!("{OTHERS} maps at most");
            return Err(Error::parameter("others", expected, others.len()));
        }
        Ok(())
    }
}

/// What a map was made from. Maps are row-major, of the size of the image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PgcaParts {
    /// Rows and columns of cells.
    pub grid: [usize; 2],
    /// Mean fall of the score, one value a cell, in units of the score.
    pub cells: Vec<f32>,
    /// P, stretched to `[0, 1]`.
    pub perturbation: Vec<f32>,
    /// G, stretched to `[0, 1]`.
    pub cam: Vec<f32>,
    /// C before contrast and smoothing; equal to P where G is not trusted.
    pub consensus: Vec<f32>,
    /// ρ; 0 where either map is flat. R² where maps were weighted.
    pub agreement: f64,
    /// Whether G took part.
    pub gradient_trusted: bool,
    /// Weights of the maps, where they were fitted.
    pub weights: Option<MapWeights>,
}

/// What step 2 gives for all images.
struct GradientMaps {
    /// `None` for a model without gradients.
    maps: Option<Vec<Vec<f64>>>,
    /// Logits of the images themselves.
    clean: Vec<Vec<f64>>,
    /// Whether the maps have signs.
    signed: bool,
    /// Where Grad-CAM++ was read.
    layer: Option<TargetLayer>,
}

/// One image's result.
struct Fused {
    values: Vec<f64>,
    parts: PgcaParts,
    note: Option<String>,
    withheld: Option<String>,
}

impl Pgca {
    /// Attributions with their parts. Images and targets as in [`explain`], unchecked.
    pub fn with_parts(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<(Attribution, PgcaParts)>> {
        let p = &self.params;
        let [_, _, h, w] = four(x);
        let grid = match p.grid {
            Some(cells) => Grid::new(cells, [h, w])?,
            None => {
                let layer = match self.layer(model) {
                    Err(_) if p.layer.is_none() && p.token_grid.is_none() => None,
                    layer => Some(layer?.kind),
                };
                Grid::automatic(layer, [h, w])
            }
        };
        let fills = Fills {
            zero: p.zero,
            draws: p.noise_draws,
            mean: p.noise_mean,
            sigma: p.noise_sigma,
            blur: p.blur,
        };
        let GradientMaps {
            maps: cams,
            clean,
            signed,
            layer,
        } = self.gradients(model, x, targets, context)?;
        let others = match cams {
            Some(_) => self.others(model, x, targets, context)?,
            None => Vec::new(),
        };
        let (mut falls, mut windows) = (Vec::new(), Vec::new());
        let mut maps: Vec<Vec<f64>> = Vec::new();
        for level in 0..p.levels {
            let grid = Grid {
                cells: [0, 1].map(|a| (grid.cells[a] << level).min(grid.image[a])),
                ..grid
            };
            let part = Perturbation {
                grid,
                fills,
                score: p.score,
                overlap: p.overlap,
                signed: p.signed,
            };
            if level == 0 {
                windows = part.grid.windows(p.overlap);
            }
            let found = part.falls(model, x, targets, &clean, context)?;
            let one = |f: &Vec<f64>| {
                if p.levels > 1 {
                    p.scale.apply(&part.map(f), p.signed, p.percentiles)
                } else {
                    part.map(f)
                }
            };
            let level_maps: Vec<Vec<f64>> = found.iter().map(one).collect();
            if level == 0 {
                (falls, maps) = (found, level_maps);
            } else {
                maps.iter_mut()
                    .flatten()
                    .zip(level_maps.iter().flatten())
                    .for_each(|(m, v)| *m += v);
            }
        }
        let one = |(i, &target): (usize, &usize)| {
            let Some(cams) = &cams else {
                return self.alone(target, &falls[i], &windows, &maps[i], &grid);
            };
            let more: Vec<&[f64]> = others.iter().map(|maps| &maps[i][..]).collect();
            let cam = (&cams[i][..], signed);
            let fused = if p.fusion == Fusion::LeastSquares {
                self.weigh(&falls[i], &windows, &maps[i], cam, &more, &grid)?
            } else {
                self.fuse(&falls[i], &maps[i], cam, &grid)?
            };
            let apart = fused
                .parts
                .perturbation
                .iter()
                .zip(&fused.parts.cam)
                .map(|(p, g)| p - g)
                .collect();
            let attribution = Attribution {
                values: map_record([h, w], &fused.values),
                target,
                method: self.id(),
                signed: false,
                completeness_gap: None,
                layer: layer.as_ref().map(|l| l.name.clone()),
                layer_reason: layer.as_ref().map(|l| l.reason),
                agreement: Some(fused.parts.agreement),
                disagreement: Some(MapRecord {
                    channels: 1,
                    height: h,
                    width: w,
                    values: apart,
                }),
                note: fused.note,
                withheld: fused.withheld,
            };
            Ok((attribution, fused.parts))
        };
        targets.iter().enumerate().map(one).collect()
    }

    /// Step 2, and the logits of the images, which step 1 needs.
    fn gradients(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<GradientMaps> {
        if !model.differentiable() {
            return Ok(GradientMaps {
                maps: None,
                clean: self.logits(model, x, targets, context)?,
                signed: false,
                layer: None,
            });
        }
        let Some(inner) = &self.gradient else {
            let layer = self.layer(model)?;
            let found = cams(model, x, targets, &layer, context.cap, curved)?;
            let apart = found.into_iter().map(|Cam { map, logits }| (map, logits));
            let (maps, clean) = apart.unzip();
            return Ok(GradientMaps {
                maps: Some(maps),
                clean,
                signed: false,
                layer: Some(layer),
            });
        };
        let clean = self.logits(model, x, targets, context)?;
        let found = explain(inner.as_ref(), model, x, targets, context)?;
        let signed = found.iter().any(|m| m.signed);
        let wide = |m: Attribution| m.values.values.into_iter().map(f64::from).collect();
        Ok(GradientMaps {
            maps: Some(found.into_iter().map(wide).collect()),
            clean,
            signed,
            layer: None,
        })
    }

    /// The maps of `others`, one entry an explainer, in it one an image.
    fn others(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Vec<Vec<f64>>>> {
        let wide = |m: Attribution| m.values.values.into_iter().map(f64::from).collect();
        let one = |other: &dyn Explainer| {
            let found = explain(other, model, x, targets, context)?;
            Ok(found.into_iter().map(wide).collect())
        };
        self.others.iter().map(|o| one(o.as_ref())).collect()
    }

    /// Logits of the images themselves.
    fn logits(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Vec<f64>>> {
        let mut clean = Vec::with_capacity(targets.len());
        for call in calls(targets.len(), context.cap) {
            let z = model.logits(&x.rows(call.start, call.len()))?.to_f64();
            clean.extend(z.chunks_exact(model.classes()).map(<[f64]>::to_vec));
        }
        Ok(clean)
    }

    /// The map of a model without gradients: P alone, of steps 3 and 5.
    fn alone(
        &self,
        target: usize,
        falls: &[f64],
        windows: &[[Range<usize>; 2]],
        map: &[f64],
        grid: &Grid,
    ) -> Result<(Attribution, PgcaParts)> {
        let p = &self.params;
        let perturbation = p.scale.apply(map, p.signed, p.percentiles);
        let (fused, weights) = if p.fusion == Fusion::LeastSquares {
            let (mixed, weights) = weigh(falls, windows, grid.image[1], &[map], p.mu)?;
            (mixed, Some(weights))
        } else {
            (perturbation.clone(), None)
        };
        let values = enhance(&fused, grid.image, &self.contrast(grid));
        let agreement = weights.as_ref().map(|w| w.r_squared);
        let disagree = agreement.and_then(|a| self.disagreement("R²", a));
        let attribution = Attribution {
            note: Some("the model gives no gradients: perturbation map alone".to_owned()),
            withheld: nothing_falls(falls, &perturbation).or(disagree),
            agreement,
            ..plain(self.id(), target, grid.image, &values, false)
        };
        let parts = PgcaParts {
            grid: grid.cells,
            cells: single(falls),
            perturbation: single(&perturbation),
            cam: Vec::new(),
            consensus: single(&fused),
            agreement: agreement.unwrap_or(0.0),
            gradient_trusted: false,
            weights,
        };
        Ok((attribution, parts))
    }

    /// Why the map is withheld, if its agreement is too low.
    fn disagreement(&self, name: &str, agreement: f64) -> Option<String> {
        let least = self.params.rho_show;
        // The least ρ shows all, and R² may lie below it.
        (least > -1.0 && agreement < least).then(|| {
            format!("perturbation and gradient disagree: {name} {agreement:.2} is below {least:.2}")
        })
    }

    /// Step 5.
    fn contrast(&self, grid: &Grid) -> Enhancement {
        let p = &self.params;
        Enhancement {
            quantile: p.contrast_quantile,
            width: p.contrast_width,
            gamma: p.gamma,
            sigma: grid.sides().map(|side| p.smoothing * side),
            smooth_first: p.smooth_first,
        }
    }

    /// The layer of Grad-CAM++, which also decides the cells where none are given.
    fn layer(&self, model: &dyn Gradients) -> Result<TargetLayer> {
        let p = &self.params;
        layer_of(model.network(), p.layer.as_deref(), p.token_grid)
    }

    /// Steps 3 to 5 for one image.
    fn fuse(
        &self,
        falls: &[f64],
        map: &[f64],
        (cam, signed): (&[f64], bool),
        grid: &Grid,
    ) -> Result<Fused> {
        let p = &self.params;
        let perturbation = p.scale.apply(map, p.signed, p.percentiles);
        let gradient = p.scale.apply(cam, signed, p.percentiles);
        let agreement = spearman(&perturbation, &gradient)?;
        let (_, most) = bounds(cam);
        let flat = most <= 0.0 || deviation(cam) <= p.flat * most;
        let trusted = !flat && agreement >= p.rho_min;
        let fused = if trusted {
            p.fusion.fuse(&perturbation, &gradient, p.kappa, p.weight)
        } else {
            perturbation.clone()
        };
        let values = enhance(&fused, grid.image, &self.contrast(grid));
        let nothing = nothing_falls(falls, &perturbation);
        let withheld = if nothing.is_some() {
            nothing
        } else if flat {
            Some("the gradient map is flat: nothing confirms the perturbation map".to_owned())
        } else if let Some(reason) = self.disagreement("Spearman", agreement) {
            Some(reason)
        } else if bounds(&fused).1 <= 0.0 {
            Some("perturbation and gradient point at no common place".to_owned())
        } else {
            None
        };
        let note = (!trusted).then(|| match flat {
            true => "gradient not trusted (flat): perturbation map alone".to_owned(),
            false => format!(
                "gradient not trusted (Spearman {agreement:.2} is below {:.2}): perturbation \
                map alone",
                p.rho_min
            ),
        });
        let parts = PgcaParts {
            grid: grid.cells,
            cells: single(falls),
            perturbation: single(&perturbation),
            cam: single(&gradient),
            consensus: single(&fused),
            agreement,
            gradient_trusted: trusted,
            weights: None,
        };
        Ok(Fused {
            values,
            parts,
            note,
            withheld,
        })
    }

    /// The fusion by least squares, and step 5, for one image.
    fn weigh(
        &self,
        falls: &[f64],
        windows: &[[Range<usize>; 2]],
        map: &[f64],
        (cam, signed): (&[f64], bool),
        others: &[&[f64]],
        grid: &Grid,
    ) -> Result<Fused> {
        let p = &self.params;
        let maps: Vec<&[f64]> = [map, cam]
            .into_iter()
            .chain(others.iter().copied())
            .collect();
        let (mixed, weights) = weigh(falls, windows, grid.image[1], &maps, p.mu)?;
        let perturbation = p.scale.apply(map, p.signed, p.percentiles);
        let agreement = weights.r_squared;
        let withheld =
            nothing_falls(falls, &perturbation).or_else(|| self.disagreement("R²", agreement));
        let note = (agreement <= 0.0).then(|| {
            format!("the maps foretell the windows no better than a constant (R² {agreement:.2})")
        });
        let values = enhance(&mixed, grid.image, &self.contrast(grid));
        let parts = PgcaParts {
            grid: grid.cells,
            cells: single(falls),
            cam: single(&p.scale.apply(cam, signed, p.percentiles)),
            perturbation: single(&perturbation),
            consensus: single(&mixed),
            agreement,
            gradient_trusted: weights.weights[1] * weights.scales[1] > 0.0,
            weights: Some(weights),
        };
        Ok(Fused {
            values,
            parts,
            note,
            withheld,
        })
    }
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// Why P says nothing, if it does not.
fn nothing_falls(falls: &[f64], perturbation: &[f64]) -> Option<String> {
    let empty = |v: &[f64]| bounds(v).1 <= 0.0;
    let why = if empty(falls) {
        "no cell lowers the score of the class: there is nothing to show"
    } else if empty(perturbation) {
        "every cell matters equally: there is no place to point at"
    } else {
        return None;
    };
    Some(why.to_owned())
}

impl Explainer for Pgca {
    fn id(&self) -> &'static str {
        self.id
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
        Ok(self
            .with_parts(model, x, targets, context)?
            .into_iter()
            .map(|(attribution, _)| attribution)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::list::make;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    fn first(params: PgcaParams, net: &fgmf_net::Session, x: &Tensor) -> (Attribution, PgcaParts) {
        params
            .check(&make)
            .unwrap()
            .with_parts(&Oracle::new(net), x, &[0], &Context::default())
            .unwrap()
            .swap_remove(0)
    }

    #[test]
    fn a_model_without_weights_is_withheld() {
        let net = toy::linear(&[vec![0.0; 64], vec![0.0; 64]], [1, 8, 8]);
        let map = explain(
            &PgcaParams::published().check(&make).unwrap(),
            &Oracle::new(&net),
            &toy::images([1, 1, 8, 8], 1),
            &[0],
            &Context::default(),
        )
        .unwrap();
        assert!(
            map[0].withheld.is_some()
                && map[0].note.is_some()
                && map[0]
                    .values
                    .values
                    .iter()
                    .all(|v| v.abs() < f32::MIN_POSITIVE)
        );
    }

    /// Zero fill on z = w · x: the fall of a cell is max(0, Σ over the cell of w x).
    #[test]
    fn the_perturbation_of_a_linear_network_is_known() {
        let weights = toy::spread(64, 2);
        let net = toy::linear(&[weights.clone(), vec![0.0; 64]], [1, 8, 8]);
        let x = toy::images([1, 1, 8, 8], 3);
        let (_, parts) = first(
            PgcaParams {
                grid: Some([4, 2]),
                noise_draws: 0,
                ..PgcaParams::published()
            },
            &net,
            &x,
        );
        assert_eq!((parts.grid, parts.cells.len()), ([4, 2], 8));
        for (cell, fall) in parts.cells.iter().enumerate() {
            let inside = |i: &usize| i / 8 / 2 == cell / 2 && i % 8 / 4 == cell % 2;
            let sum: f64 = (0..64)
                .filter(inside)
                .map(|i| weights[i] * x.to_f64()[i])
                .sum();
            assert!((f64::from(*fall) - sum.max(0.0)).abs() < 1e-6);
        }
    }

    #[test]
    fn agreement_decides_what_is_fused_and_shown() {
        let (net, x) = (toy::quadrant([1, 16, 16]), toy::images([1, 1, 16, 16], 4));
        let (map, parts) = first(PgcaParams::published(), &net, &x);
        assert!(
            parts.gradient_trusted
                && parts.agreement > 0.2
                && map.withheld.is_none()
                && map.note.is_none(),
            "{}",
            parts.agreement
        );
        assert_eq!(map.agreement, Some(parts.agreement));
        let apart = map.disagreement.unwrap().values;
        assert!((0..256).all(|i| (apart[i] - (parts.perturbation[i] - parts.cam[i])).abs() < 1e-6));
        assert_ne!(parts.consensus, parts.perturbation);
        let (map, parts) = first(
            PgcaParams {
                rho_min: 1.0,
                ..PgcaParams::published()
            },
            &net,
            &x,
        );
        assert!(!parts.gradient_trusted && map.note.is_some() && map.withheld.is_none());
        assert_eq!(parts.consensus, parts.perturbation);
        let (map, _) = first(
            PgcaParams {
                rho_show: 1.0,
                ..PgcaParams::published()
            },
            &net,
            &x,
        );
        assert!(map.withheld.unwrap().contains("disagree"));
    }

    #[test]
    fn noise_belongs_to_the_image_and_the_cost_is_as_documented() {
        let net = toy::linear(&[vec![1.0; 64], vec![0.0; 64]], [1, 8, 8]);
        let x = Tensor::concat(
            &[toy::images([1, 1, 8, 8], 6), toy::images([1, 1, 8, 8], 6)],
            0,
        );
        let oracle = Oracle::new(&net);
        let pgca = PgcaParams {
            grid: Some([2, 2]),
            zero: false,
            noise_draws: 3,
            ..PgcaParams::published()
        }
        .check(&make)
        .unwrap();
        let run = |seed, names: Option<&[u64]>| {
            pgca.with_parts(
                &oracle,
                &x,
                &[0, 0],
                &Context {
                    seed,
                    names,
                    cap: 5,
                },
            )
            .unwrap()
        };
        let a = run(1, Some(&[7, 8]));
        assert_eq!(
            (oracle.passes().forward, oracle.passes().backward),
            (2 + 2 * 4 * 3, 2)
        );
        assert_ne!(a[0].1.cells, a[1].1.cells);
        assert_eq!(a[1].1.cells, run(1, Some(&[8, 7]))[0].1.cells);
        assert_ne!(a[0].1.cells, run(2, Some(&[7, 8]))[0].1.cells);
        let own = run(1, None);
        assert_eq!(own[0].1.cells, own[1].1.cells);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let d = PgcaParams::published;
        let bad = [
            PgcaParams {
                noise_sigma: -1.0,
                ..d()
            },
            PgcaParams {
                noise_mean: f64::NAN,
                ..d()
            },
            PgcaParams {
                percentiles: [99.0, 1.0],
                ..d()
            },
            PgcaParams {
                kappa: f64::INFINITY,
                ..d()
            },
            PgcaParams {
                rho_show: 1.5,
                ..d()
            },
            PgcaParams { gamma: 0.0, ..d() },
            PgcaParams {
                zero: false,
                noise_draws: 0,
                ..d()
            },
            PgcaParams {
                grid: Some([0, 4]),
                ..d()
            },
            PgcaParams {
                smoothing: f64::NAN,
                ..d()
            },
            PgcaParams { levels: 0, ..d() },
            PgcaParams { blur: -1.0, ..d() },
            PgcaParams { weight: 1.5, ..d() },
        ];
        for params in bad {
            assert!(params.clone().check(&make).is_err(), "{params:?}");
        }
        assert!(serde_json::from_str::<PgcaParams>(r#"{"kapa": 1}"#).is_err());
        let default = PgcaParams::default();
        assert_eq!(serde_json::from_str::<PgcaParams>("{}").unwrap(), default);
        let net = toy::linear(&[vec![1.0; 64], vec![0.0; 64]], [1, 8, 8]);
        let large = PgcaParams {
            grid: Some([9, 9]),
            ..d()
        }
        .check(&make)
        .unwrap();
        assert!(
            large
                .with_parts(
                    &Oracle::new(&net),
                    &toy::images([1, 1, 8, 8], 1),
                    &[0],
                    &Context::default()
                )
                .is_err()
        );
    }

    /// One grid of cells and two: the second has twice the cells a side, and each is brought to its
    /// scale before they are added.
    #[test]
    fn levels_are_added_on_one_scale() {
        let (net, x) = (toy::quadrant([1, 16, 16]), toy::images([1, 1, 16, 16], 4));
        let base = PgcaParams {
            noise_draws: 0,
            signed: true,
            grid: Some([4, 4]),
            rho_min: -1.0,
            ..PgcaParams::published()
        };
        let of = |params: PgcaParams| first(params, &net, &x).1;
        let (coarse, fine) = (
            of(base.clone()),
            of(PgcaParams {
                grid: Some([8, 8]),
                ..base.clone()
            }),
        );
        let both = of(PgcaParams { levels: 2, ..base });
        assert_eq!(both.cells, coarse.cells);
        let sum: Vec<f64> = coarse
            .perturbation
            .iter()
            .zip(&fine.perturbation)
            .map(|(a, b)| f64::from(a + b))
            .collect();
        let expected =
            crate::explain::pgca::consensus::Scale::Percentile.apply(&sum, true, [1.0, 99.0]);
        assert!(
            both.perturbation
                .iter()
                .zip(expected)
                .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5)
        );
    }

    /// Another explainer in the place of Grad-CAM++, with its signs.
    #[test]
    fn the_gradient_map_can_be_another() {
        let net = toy::linear(&[toy::spread(64, 2), vec![0.0; 64]], [1, 8, 8]);
        let x = toy::images([1, 1, 8, 8], 3);
        let inner = crate::explain::base::Inner {
            id: "gradient-x-input".into(),
            parameters: serde_json::json!({}),
        };
        let (_, parts) = first(
            PgcaParams {
                gradient: Some(inner),
                ..PgcaParams::published()
            },
            &net,
            &x,
        );
        let own = explain(
            crate::explain::list::by_id("gradient-x-input")
                .unwrap()
                .as_ref(),
            &Oracle::new(&net),
            &x,
            &[0],
            &Context::default(),
        );
        let own: Vec<f64> = own.unwrap()[0]
            .values
            .values
            .iter()
            .map(|&v| f64::from(v))
            .collect();
        let expected =
            crate::explain::pgca::consensus::Scale::Percentile.apply(&own, true, [1.0, 99.0]);
        assert!(
            parts
                .cam
                .iter()
                .zip(expected)
                .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6)
        );
        let unknown = crate::explain::base::Inner {
            id: "tea-leaves".into(),
            parameters: serde_json::json!({}),
        };
        assert!(
            PgcaParams {
                gradient: Some(unknown),
                ..PgcaParams::published()
            }
            .check(&make)
            .is_err()
        );
    }

    /// An explainer in the place of Grad-CAM++ also saves its backward pass.
    #[test]
    fn another_gradient_map_costs_no_pass_of_grad_cam_pp() {
        let (net, x) = (toy::quadrant([1, 16, 16]), toy::images([2, 1, 16, 16], 4));
        let backward = |gradient: Option<&str>| {
            let inner = |id: &str| crate::explain::base::Inner {
                id: id.into(),
                parameters: serde_json::json!({}),
            };
            let params = PgcaParams {
                gradient: gradient.map(inner),
                ..PgcaParams::published()
            };
            let oracle = Oracle::new(&net);
            let pgca = params.check(&make).unwrap();
            explain(&pgca, &oracle, &x, &[0, 1], &Context::default()).unwrap();
            oracle.passes().backward
        };
        assert_eq!(backward(None), 2);
        assert_eq!(backward(Some("saliency")), 2);
        assert_eq!(backward(Some("occlusion")), 0);
    }

    /// z = w · x: blurred windows change z by the sum of w (x − blurred x) in them, GradientSHAP's
    /// map is known, and the mean of the two on their scales orders the pixels of the result.
    #[test]
    fn the_default_form_matches_the_closed_form() {
        let weights = toy::spread(64, 2);
        let net = toy::linear(&[weights.clone(), vec![0.0; 64]], [1, 8, 8]);
        let x = toy::images([1, 1, 8, 8], 3);
        let params = PgcaParams {
            grid: Some([4, 4]),
            ..PgcaParams::default()
        };
        let (map, parts) = first(params, &net, &x);
        let values = x.to_f64();
        let soft = crate::image::blur::Blur::whole([4.0; 2]).of(&values, [8, 8]);
        let lost: Vec<f64> = (0..64)
            .map(|i| weights[i] * (values[i] - soft[i]))
            .collect();
        let mut p = vec![[0.0f64; 2]; 64];
        for (r, c) in (0..7).flat_map(|r| (0..7).map(move |c| (r, c))) {
            let inside = [8 * r + c, 8 * r + c + 1, 8 * r + c + 8, 8 * r + c + 9];
            let fall: f64 = inside.iter().map(|&i| lost[i]).sum();
            inside
                .iter()
                .for_each(|&i| p[i] = [p[i][0] + fall, p[i][1] + 1.0]);
        }
        let p: Vec<f64> = p.iter().map(|[sum, n]| sum / n).collect();
        // References 0, ½ and 1, each as often as every other but for one of 32 samples.
        let shap = crate::explain::list::by_id("gradient-shap").unwrap();
        let g = explain(
            shap.as_ref(),
            &Oracle::new(&net),
            &x,
            &[0],
            &Context::default(),
        )
        .unwrap()
        .swap_remove(0);
        let g: Vec<f64> = g.values.values.iter().map(|&v| f64::from(v)).collect();
        let scale = |v: &[f64]| {
            crate::explain::pgca::consensus::Scale::Percentile.apply(v, true, [1.0, 99.0])
        };
        let c: Vec<f64> = scale(&p)
            .iter()
            .zip(scale(&g))
            .map(|(p, g)| 0.5 * (p + g))
            .collect();
        assert!(
            parts
                .consensus
                .iter()
                .zip(&c)
                .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5)
        );
        let order = |v: &[f64]| {
            let mut order: Vec<usize> = (0..64).collect();
            order.sort_by(|&a, &b| v[a].total_cmp(&v[b]));
            order
        };
        let own: Vec<f64> = map.values.values.iter().map(|&v| f64::from(v)).collect();
        let steps = order(&c)
            .windows(2)
            .filter(|w| own[w[1]] < own[w[0]] - 1e-6)
            .count();
        assert_eq!((steps, map.withheld), (0, None));
    }

    fn weighted() -> PgcaParams {
        PgcaParams {
            fusion: Fusion::LeastSquares,
            grid: Some([4, 4]),
            ..PgcaParams::default()
        }
    }

    fn inner(id: &str) -> crate::explain::base::Inner {
        crate::explain::base::Inner {
            id: id.into(),
            parameters: serde_json::json!({}),
        }
    }

    /// z = w · x with a fill of zeros: Gradient x Input is what every window holds. It gets all
    /// weight beside maps that are not, and R² is 1.
    #[test]
    fn the_right_map_of_an_additive_model_gets_all_weight() {
        let weights = toy::spread(64, 2);
        let net = toy::linear(&[weights.clone(), vec![0.0; 64]], [1, 8, 8]);
        let x = toy::images([1, 1, 8, 8], 3);
        let (map, parts) = first(
            PgcaParams {
                zero: true,
                blur: 0.0,
                gradient: Some(inner("gradient-x-input")),
                others: Some(vec![inner("saliency"), inner("gradient-shap")]),
                ..weighted()
            },
            &net,
            &x,
        );
        let found = parts.weights.unwrap();
        assert_eq!(found.weights.len(), 4);
        assert!((found.weights[1] - 1.0).abs() < 1e-3, "{found:?}");
        assert!((found.scales[1] - 1.0).abs() < 1e-4, "{found:?}");
        assert!((found.r_squared - 1.0).abs() < 1e-5, "{found:?}");
        assert_eq!((map.agreement, map.withheld), (Some(found.r_squared), None));
        assert!(map.note.is_none() && parts.gradient_trusted);
        let exact: Vec<f64> = x
            .to_f64()
            .iter()
            .zip(&weights)
            .map(|(x, w)| x * w)
            .collect();
        let largest = exact.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        for (c, e) in parts.consensus.iter().zip(&exact) {
            assert!((f64::from(*c) - e / largest).abs() < 2e-3);
        }
    }

    /// Logits a thousand times as large give the same weights, R² and map.
    #[test]
    fn the_unit_of_the_logits_changes_no_weight() {
        let x = toy::images([1, 1, 8, 8], 3);
        let of = |unit: f64| {
            let times = |v: Vec<f64>| v.iter().map(|v| unit * v).collect::<Vec<f64>>();
            let rows = [times(toy::spread(64, 2)), times(toy::spread(64, 3))];
            let others = Some(vec![inner("integrated-gradients"), inner("occlusion")]);
            let net = toy::linear(&rows, [1, 8, 8]);
            first(
                PgcaParams {
                    others,
                    ..weighted()
                },
                &net,
                &x,
            )
        };
        let (own, large) = (of(1.0), of(1000.0));
        let weights = |found: &(Attribution, PgcaParts)| found.1.weights.clone().unwrap();
        let (a, b) = (weights(&own), weights(&large));
        assert!((a.r_squared - b.r_squared).abs() < 1e-5, "{a:?} {b:?}");
        for (a, b) in a.weights.iter().zip(&b.weights) {
            assert!((a - b).abs() < 1e-4);
        }
        for (a, b) in own.0.values.values.iter().zip(&large.0.values.values) {
            assert!((a - b).abs() < 1e-4);
        }
    }

    /// No window changes the score: R² is 0 and no NaN, and the map is withheld.
    #[test]
    fn a_model_without_weights_has_an_r_squared_of_zero() {
        let net = toy::linear(&[vec![0.0; 64], vec![0.0; 64]], [1, 8, 8]);
        let others = Some(vec![inner("saliency")]);
        let params = PgcaParams {
            others,
            ..weighted()
        };
        let map = explain(
            &params.check(&make).unwrap(),
            &Oracle::new(&net),
            &toy::images([1, 1, 8, 8], 1),
            &[0],
            &Context::default(),
        )
        .unwrap()
        .swap_remove(0);
        assert_eq!(map.agreement, Some(0.0));
        assert!(map.withheld.is_some() && map.note.unwrap().contains("R² 0.00"));
    }

    /// A low R² is shown as it is unless a least one is asked for.
    #[test]
    fn a_low_r_squared_is_withheld_only_if_asked() {
        let (net, x) = (toy::quadrant([1, 16, 16]), toy::images([1, 1, 16, 16], 4));
        let run = |rho_show| {
            let others = Some(Vec::new());
            first(
                PgcaParams {
                    others,
                    rho_show,
                    ..weighted()
                },
                &net,
                &x,
            )
        };
        let (map, parts) = run(-1.0);
        let r_squared = parts.weights.unwrap().r_squared;
        assert!(r_squared < 1.0 && map.withheld.is_none(), "{r_squared}");
        assert_eq!(map.agreement, Some(r_squared));
        let (map, _) = run(1.0);
        assert!(map.withheld.unwrap().contains("R²"));
    }

    #[test]
    fn settings_of_the_weights_that_do_not_fit_are_refused_by_name() {
        let says = |params: PgcaParams, name: &str| {
            let error = params.check(&make).err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
        };
        says(
            PgcaParams {
                signed: false,
                ..weighted()
            },
            "`signed`",
        );
        says(
            PgcaParams {
                levels: 2,
                ..weighted()
            },
            "`levels`",
        );
        let three = Some(vec![inner("saliency"); 3]);
        says(
            PgcaParams {
                others: three,
                ..weighted()
            },
            "`others`",
        );
        let one = Some(vec![inner("saliency")]);
        says(
            PgcaParams {
                others: one,
                ..PgcaParams::default()
            },
            "`others`",
        );
        let unknown = Some(vec![inner("tea-leaves")]);
        says(
            PgcaParams {
                others: unknown,
                ..weighted()
            },
            "tea-leaves",
        );
        // What stands in the place of maps that are not given is told.
        let told = weighted().check(&make).unwrap().parameters();
        assert_eq!(told["others"][0]["id"], "deep-shap");
        assert_eq!(told["others"][1]["id"], "layer-cam");
        let plain = PgcaParams::default().check(&make).unwrap().parameters();
        assert!(plain.get("others").is_none());
    }

    /// The weights cost no pass of the model beyond those of the maps.
    #[test]
    fn weights_cost_no_pass() {
        let (net, x) = (toy::quadrant([1, 16, 16]), toy::images([1, 1, 16, 16], 4));
        let passes = |fusion| {
            let params = PgcaParams {
                others: (fusion == Fusion::LeastSquares).then(Vec::new),
                fusion,
                ..PgcaParams::default()
            };
            let oracle = Oracle::new(&net);
            let pgca = params.check(&make).unwrap();
            explain(&pgca, &oracle, &x, &[0], &Context::default()).unwrap();
            oracle.passes()
        };
        assert_eq!(passes(Fusion::LeastSquares), passes(Fusion::Mean));
    }
}
