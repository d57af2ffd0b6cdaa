//! Maps with exact derivatives, which an attacker of maps follows.
//!
//! R(φ) = Σ_top φ⁺ / Σ φ⁺, u = ∂R/∂φ, f the target logit, g = ∇f. All are taken of the network with
//! rounded rectifiers (`smooth_net`).
//!
//! - *Slopes*, φ = Σ_c |g|: ∇R = H [u ⊙ sign g].
//! - *Path*, φ = mean over greys b of Σ_c (x − b) ⊙ ḡ_b (ḡ_b = mean of g(b + aₖ (x − b))): ∇R =
//!   mean of u ⊙ ḡ_b + mean aₖ H(…) [u ⊙ (x − b)]. Once from black (Integrated Gradients), once
//!   from black, grey and white (as GradientSHAP and DeepSHAP).
//! - *Cells*, φ = max(0, f(x) − f(x with the pixel's cell filled)): `cells`, once black (occlusion,
//!   PGCA), once with a blur (PGCA's `faithful`).
//! - *Grad-CAM++* at the layer A that the explainers choose, φ = resized max(0, Σ_d w_d A_d), w_d =
//!   Σ pull(g_A, Σ A): with v the adjoint of resizing applied to u where the sum is positive, q_d =
//!   Σ v A_d, c = q_d ∂pull/∂g_A: ∇R = Jᵀ [v w_d + q_d Σ ∂pull/∂S + H_A c], J the Jacobian of A in
//!   x and H_A the Hessian of f in A. Left out where the layer is no feature map or the logits also
//!   depend on the image around it.
//! - *Own*, where the network draws maps itself (`sgam`): φ = the class's cells, resized: ∇R = Jᵀ
//!   of them times the adjoint of resizing applied to u.

use crate::attack::map::cells::cells;
use crate::attack::map::share::share;
use crate::attack::map::smooth_net::{Cut, cut, front};
use crate::error::Result;
use crate::explain::parts::layer::{LayerKind, choose_layer};
use crate::explain::parts::map::upsample;
use crate::explain::sgam::branch::MAP;
use crate::explain::subject::Subject;
use crate::model::access::{Curvature, Gradients, Scores};
use crate::model::oracle::Oracle;
use fgmf_net::head::{Head, Logit};
use fgmf_net::{Dim, Dual, Session, Tensor};
use std::ops::Range;

/// Deviation of the blur, pixels: that of PGCA's `faithful`.
const BLUR: f64 = 4.0;

/// A map to follow.
pub(crate) enum Surrogate {
    /// Size of the gradient.
    Slopes,
    /// Path gradients, at these shares of the way from each of the greys.
    Path {
        nodes: Vec<f64>,
        greys: &'static [f64],
    },
    /// Falls of cells, black or filled with a blur of that deviation.
    Cells { blur: Option<f64> },
    /// Grad-CAM++.
    Cam(Box<CamNets>),
    /// The map that the network draws itself.
    Own(Box<OwnMap>),
}

/// The branch of a network that draws its maps, as a network of its own.
pub(crate) struct OwnMap {
    /// To the cells of all classes, flattened to `[n, k]`.
    front: Session,
    spread: CellSpread,
}

/// Grad-CAM++ as two networks.
pub(crate) struct CamNets {
    parts: Cut,
    /// `[d, h, w]` of the layer.
    shape: [usize; 3],
    spread: CellSpread,
}

/// ⟨v, outputs⟩: its gradient is the product of the transposed Jacobian with v.
struct Along(Tensor);

impl Head for Along {
    fn evaluate(&self, outputs: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let v: Dual = self
            .0
            .rows(examples.start, examples.len())
            .cast(outputs.precision())
            .into();
        (outputs.mul(&v).sum(&[1]).value.to_f64(), v)
    }
}

impl Surrogate {
    /// All that a network has; `net` has rounded rectifiers, `path` is a number of points.
    pub(crate) fn all(net: &Session, path: usize) -> Result<Vec<Self>> {
        let nodes: Vec<f64> = (0..path).map(|k| (k as f64 + 0.5) / path as f64).collect();
        let cam = CamNets::new(net)?.map(|cam| Self::Cam(Box::new(cam)));
        let from = |greys: &'static [f64]| Self::Path {
            nodes: nodes.clone(),
            greys,
        };
        let cells = [None, Some(BLUR)].map(|blur| Self::Cells { blur });
        let own = OwnMap::new(net)?.map(|own| Self::Own(Box::new(own)));
        Ok([Self::Slopes, from(&[0.0]), from(&[0.0, 0.5, 1.0])]
            .into_iter()
            .chain(cells)
            .chain(cam)
            .chain(own)
            .collect())
    }

    /// ∇R at points, given what was on top.
    pub(crate) fn slopes(
        &self,
        subject: &Subject<'_>,
        smooth: &Oracle<'_>,
        points: &[Vec<f32>],
        top: &[Vec<bool>],
    ) -> Result<Vec<Vec<f64>>> {
        let x = subject.images(points.iter().flatten().map(|&v| f64::from(v)).collect());
        let found = match self {
            Self::Slopes => gradient(subject, smooth, &x, top)?,
            Self::Path { nodes, greys } => path(subject, smooth, &x, top, nodes, greys)?,
            Self::Cells { blur } => cells(subject, smooth, &x, top, *blur)?,
            Self::Cam(cam) => cam.slopes(subject, &x, top)?,
            Self::Own(own) => own.slopes(subject, &x, top)?,
        };
        Ok(found
            .chunks_exact(found.len() / points.len())
            .map(<[f64]>::to_vec)
            .collect())
    }
}

fn gradient(
    subject: &Subject<'_>,
    smooth: &Oracle<'_>,
    x: &Tensor,
    top: &[Vec<bool>],
) -> Result<Vec<f64>> {
    let head = Logit::new(subject.targets);
    let g = smooth.loss_gradient(x, &head)?.gradient.to_f64();
    let u = slopes_of_share(top, &g.iter().map(|g| g.abs()).collect::<Vec<f64>>());
    let direction = g.iter().zip(u).map(|(g, u)| u * g.signum()).collect();
    Ok(smooth.hvp(x, &head, &subject.images(direction))?.1.to_f64())
}

fn path(
    subject: &Subject<'_>,
    smooth: &Oracle<'_>,
    x: &Tensor,
    top: &[Vec<bool>],
    nodes: &[f64],
    greys: &[f64],
) -> Result<Vec<f64>> {
    let (values, head) = (x.to_f64(), Logit::new(subject.targets));
    let at =
        |grey: f64, a: f64| subject.images(values.iter().map(|v| grey + a * (v - grey)).collect());
    let share = 1.0 / greys.len() as f64;
    let mut means = Vec::with_capacity(greys.len());
    let mut map = vec![0.0; values.len()];
    for &grey in greys {
        let mut mean = vec![0.0; values.len()];
        for &a in nodes {
            let found = smooth.loss_gradient(&at(grey, a), &head)?.gradient.to_f64();
            mean.iter_mut()
                .zip(found)
                .for_each(|(m, g)| *m += g / nodes.len() as f64);
        }
        map.iter_mut()
            .zip(&values)
            .zip(&mean)
            .for_each(|((m, v), g)| *m += share * (v - grey) * g);
        means.push(mean);
    }
    let u = slopes_of_share(top, &map);
    let mut out = vec![0.0; values.len()];
    for (&grey, mean) in greys.iter().zip(&means) {
        out.iter_mut()
            .zip(&u)
            .zip(mean)
            .for_each(|((o, u), g)| *o += share * u * g);
        let direction =
            subject.images(u.iter().zip(&values).map(|(u, v)| u * (v - grey)).collect());
        for &a in nodes {
            let bend = smooth.hvp(&at(grey, a), &head, &direction)?.1.to_f64();
            out.iter_mut()
                .zip(bend)
                .for_each(|(o, v)| *o += share * a * v / nodes.len() as f64);
        }
    }
    Ok(out)
}

/// ∂R/∂φ at every value of the images, φ the sum of `parts` over the channels.
fn slopes_of_share(top: &[Vec<bool>], parts: &[f64]) -> Vec<f64> {
    let size = parts.len() / top.len();
    let one = |(top, parts): (&Vec<bool>, &[f64])| {
        let mut map = vec![0.0; top.len()];
        parts
            .iter()
            .enumerate()
            .for_each(|(j, v)| map[j % top.len()] += v);
        share(&map, top)
            .1
            .into_iter()
            .cycle()
            .take(size)
            .collect::<Vec<f64>>()
    };
    top.iter()
        .zip(parts.chunks_exact(size))
        .flat_map(one)
        .collect()
}

/// max(g, 0) α of Grad-CAM++, and its derivatives in g and in Σ A.
fn pull(g: f64, total: f64) -> [f64; 3] {
    let divisor = 2.0 * g * g + total * g * g * g + 1e-6;
    if g <= 0.0 || divisor.abs() <= 0.0 {
        return [0.0; 3];
    }
    let (square, cube) = (g * g, g * g * g);
    let slope =
        (3.0 * square * divisor - cube * (4.0 * g + 3.0 * total * square)) / (divisor * divisor);
    [cube / divisor, slope, -cube * cube / (divisor * divisor)]
}

/// How the cells of a small map are laid over the image: pixels and weights of each cell.
struct CellSpread {
    cells: Vec<Vec<(usize, f64)>>,
    pixels: usize,
}

impl CellSpread {
    fn new(net: &Session, [h, w]: [usize; 2]) -> Self {
        let [_, rows, columns] = net.image_shape();
        let cell = |at: usize| {
            let mut unit = vec![0.0; h * w];
            unit[at] = 1.0;
            let spread = upsample(&unit, [h, w], [rows, columns]).into_iter();
            spread.enumerate().filter(|(_, v)| *v > 0.0).collect()
        };
        Self {
            cells: (0..h * w).map(cell).collect(),
            pixels: rows * columns,
        }
    }

    /// The map over the image.
    fn lay(&self, cells: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut map = vec![0.0; self.pixels];
        for (value, spread) in cells.zip(&self.cells) {
            spread
                .iter()
                .for_each(|&(pixel, weight)| map[pixel] += weight * value);
        }
        map
    }

    /// The adjoint of laying, applied to slopes in the pixels.
    fn adjoint(&self, u: &[f64]) -> Vec<f64> {
        let of = |spread: &Vec<(usize, f64)>| {
            let parts = spread.iter().map(|&(pixel, weight)| weight * u[pixel]);
            parts.sum()
        };
        self.cells.iter().map(of).collect()
    }
}

impl OwnMap {
    /// None if the network draws none.
    fn new(net: &Session) -> Result<Option<Self>> {
        let Some(at) = net.find(MAP) else {
            return Ok(None);
        };
        let [_, _, Dim::Fixed(h), Dim::Fixed(w)] = net.value(at).shape[..] else {
            return Ok(None);
        };
        let front = front(net, at)?;
        Ok(front.map(|front| Self {
            front,
            spread: CellSpread::new(net, [h, w]),
        }))
    }

    fn slopes(&self, subject: &Subject<'_>, x: &Tensor, top: &[Vec<bool>]) -> Result<Vec<f64>> {
        let front = Oracle::new(&self.front);
        let drawn = front.logits(x)?;
        let (all, cells) = (drawn.shape()[1], self.spread.cells.len());
        let values = drawn.to_f64();
        let mut along = vec![0.0; values.len()];
        for (i, (top, &class)) in top.iter().zip(subject.targets).enumerate() {
            let own = i * all + class * cells..i * all + (class + 1) * cells;
            let map = self.spread.lay(values[own.clone()].iter().copied());
            let slopes = self.spread.adjoint(&share(&map, top).1);
            along[own].copy_from_slice(&slopes);
        }
        let along = Along(Tensor::new(drawn.shape(), along).cast(x.precision()));
        Ok(front.loss_gradient(x, &along)?.gradient.to_f64())
    }
}

impl CamNets {
    /// None if the network cannot be cut at the layer.
    fn new(net: &Session) -> Result<Option<Self>> {
        let layer = choose_layer(net)?;
        let (LayerKind::Map { h, w }, false) = (layer.kind, layer.id == net.input()) else {
            return Ok(None);
        };
        let Some(parts) = cut(net, layer.id)? else {
            return Ok(None);
        };
        let shape = parts.back.image_shape();
        if shape[1..] != [h, w] {
            return Ok(None);
        }
        Ok(Some(Self {
            parts,
            shape,
            spread: CellSpread::new(net, [h, w]),
        }))
    }

    fn slopes(&self, subject: &Subject<'_>, x: &Tensor, top: &[Vec<bool>]) -> Result<Vec<f64>> {
        let (front, back) = (
            Oracle::new(&self.parts.front),
            Oracle::new(&self.parts.back),
        );
        let (n, [d, h, w], head) = (top.len(), self.shape, Logit::new(subject.targets));
        let a = front.logits(x)?.reshape(&[n, d, h, w]);
        let g = back.loss_gradient(&a, &head)?.gradient.to_f64();
        let values = a.to_f64();
        let (mut through, mut bend) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        for (i, top) in top.iter().enumerate() {
            let at = |channel: usize| (i * d + channel) * h * w..(i * d + channel + 1) * h * w;
            let totals: Vec<f64> = (0..d).map(|c| values[at(c)].iter().sum()).collect();
            let pulls: Vec<Vec<[f64; 3]>> = (0..d)
                .map(|c| g[at(c)].iter().map(|&g| pull(g, totals[c])).collect())
                .collect();
            let weights: Vec<f64> = pulls.iter().map(|p| p.iter().map(|p| p[0]).sum()).collect();
            let mut small = vec![0.0; h * w];
            for c in 0..d {
                small
                    .iter_mut()
                    .zip(&values[at(c)])
                    .for_each(|(m, a)| *m += weights[c] * a);
            }
            let map = self.spread.lay(small.iter().map(|m| m.max(0.0)));
            let adjoint = self.spread.adjoint(&share(&map, top).1);
            let positive = |(m, v): (&f64, f64)| if *m > 0.0 { v } else { 0.0 };
            let v: Vec<f64> = small.iter().zip(adjoint).map(positive).collect();
            for c in 0..d {
                let q: f64 = v.iter().zip(&values[at(c)]).map(|(v, a)| v * a).sum();
                let through_total: f64 = q * pulls[c].iter().map(|p| p[2]).sum::<f64>();
                through[at(c)]
                    .iter_mut()
                    .zip(&v)
                    .for_each(|(t, v)| *t = v * weights[c] + through_total);
                bend[at(c)]
                    .iter_mut()
                    .zip(&pulls[c])
                    .for_each(|(b, p)| *b = q * p[1]);
            }
        }
        let bend = Tensor::new(&[n, d, h, w], bend).cast(x.precision());
        let second = back.hvp(&a, &head, &bend)?.1.to_f64();
        through.iter_mut().zip(second).for_each(|(t, s)| *t += s);
        let cotangent = Tensor::new(&[n, d * h * w], through).cast(x.precision());
        Ok(front.loss_gradient(x, &Along(cotangent))?.gradient.to_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::map::smooth_net::smoothed;
    use crate::explain::base::Context;
    use crate::explain::list::by_id;
    use crate::explain::sgam::branch::{SgamMapParams, drawn_at_random, with_map};
    use crate::image::blur::Blur;
    use crate::threat::{Norm, ThreatModel};
    use fgmf_net::Precision;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    /// ∇R of each map against differences of R, in double precision, each map written as its
    /// formula.
    #[test]
    fn derivatives_match_differences() {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [2, 8, 8],
            classes: 3,
            mean: vec![0.3; 2],
            deviation: vec![0.4; 2],
            seed: 5,
        };
        let params = SgamMapParams {
            cells: Some(5),
            width: 6,
        };
        let mut net = with_map(&build(&config).unwrap(), &params, 2).unwrap();
        drawn_at_random(&mut net);
        let net = Session::new(net.cast(Precision::F64));
        let smooth_net = smoothed(&net, 4.0).unwrap();
        let (oracle, smooth) = (Oracle::new(&net), Oracle::new(&smooth_net));
        let point: Vec<f32> = (0..128)
            .map(|i| (i * i % 29) as f32 / 29.0 + 0.01)
            .collect();
        let tensor = |p: &[f64]| Tensor::new(&[1, 2, 8, 8], p.to_vec());
        let x = tensor(&point.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>());
        let explainer = by_id("grad-cam-pp").unwrap();
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let subject = Subject {
            oracle: &oracle,
            explainer: explainer.as_ref(),
            x: &x,
            targets: &[1],
            maps: &[],
            threat: &threat,
            context: Context {
                cap: 5,
                ..Context::default()
            },
        };
        let top: Vec<bool> = (0..64).map(|i| i % 5 == 0).collect();
        let logit = |p: &[f64]| smooth.logits(&tensor(p)).unwrap().to_f64()[1];
        let gradient = |p: &[f64]| {
            smooth
                .loss_gradient(&tensor(p), &Logit::new(&[1]))
                .unwrap()
                .gradient
                .to_f64()
        };
        let folded = |v: &[f64]| (0..64).map(|j| v[j] + v[64 + j]).collect::<Vec<f64>>();
        let surrogates = Surrogate::all(&smooth_net, 2).unwrap();
        assert_eq!(surrogates.len(), 7);
        for (number, surrogate) in surrogates.iter().enumerate() {
            let map = |p: &[f64]| match surrogate {
                Surrogate::Own(_) => {
                    let at = smooth_net.find(MAP).unwrap();
                    let drawn = smooth_net.values_at(&tensor(p), &[at]).unwrap();
                    upsample(&drawn[0].to_f64()[25..50], [5, 5], [8, 8])
                }
                Surrogate::Slopes => {
                    folded(&gradient(p).iter().map(|g| g.abs()).collect::<Vec<f64>>())
                }
                Surrogate::Path { nodes, greys } => {
                    let mut map = vec![0.0; 64];
                    for (b, a) in greys.iter().flat_map(|b| nodes.iter().map(move |a| (b, a))) {
                        let g = gradient(&p.iter().map(|v| b + a * (v - b)).collect::<Vec<f64>>());
                        let n = (nodes.len() * greys.len()) as f64;
                        let part: Vec<f64> =
                            g.iter().zip(p).map(|(g, x)| g * (x - b) / n).collect();
                        map.iter_mut().zip(folded(&part)).for_each(|(m, v)| *m += v);
                    }
                    map
                }
                Surrogate::Cells { blur } => {
                    let filled: Vec<f64> = p
                        .chunks_exact(64)
                        .flat_map(|plane| {
                            blur.map_or(vec![0.0; 64], |s| Blur::whole([s; 2]).of(plane, [8, 8]))
                        })
                        .collect();
                    let side = |i: usize| {
                        (0..7)
                            .find(|c| (c * 8 / 7..(c + 1) * 8 / 7).contains(&i))
                            .unwrap()
                    };
                    let cell = |j: usize| (side(j % 64 / 8), side(j % 8));
                    let fall = |at: usize| {
                        let without: Vec<f64> = (0..128)
                            .map(|j| if cell(j) == cell(at) { filled[j] } else { p[j] })
                            .collect();
                        (logit(p) - logit(&without)).max(0.0)
                    };
                    (0..64).map(fall).collect()
                }
                Surrogate::Cam(_) => {
                    let (layer, head) = (choose_layer(&smooth_net).unwrap(), Logit::new(&[1]));
                    let LayerKind::Map { h, w } = layer.kind else {
                        panic!("{:?}", layer.kind)
                    };
                    let run = smooth
                        .feature_gradient(&tensor(p), &head, layer.id)
                        .unwrap();
                    let mut small = vec![0.0; h * w];
                    for (a, g) in run
                        .value
                        .to_f64()
                        .chunks_exact(h * w)
                        .zip(run.gradient.to_f64().chunks_exact(h * w))
                    {
                        let total: f64 = a.iter().sum();
                        let alpha = |g: f64| g * g / (2.0 * g * g + total * g * g * g + 1e-6);
                        let weight: f64 = g.iter().map(|&g| alpha(g) * g.max(0.0)).sum();
                        small.iter_mut().zip(a).for_each(|(m, a)| *m += weight * a);
                    }
                    upsample(
                        &small.iter().map(|m| m.max(0.0)).collect::<Vec<f64>>(),
                        [h, w],
                        [8, 8],
                    )
                }
            };
            let exact = surrogate
                .slopes(
                    &subject,
                    &smooth,
                    std::slice::from_ref(&point),
                    std::slice::from_ref(&top),
                )
                .unwrap()
                .swap_remove(0);
            let largest = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(largest > 1e-5, "{number}: no slope");
            for at in [3, 17, 40, 77, 120] {
                let moved = |d: f64| {
                    let mut p = x.to_f64();
                    p[at] += d;
                    share(&map(&p), &top).0
                };
                let difference = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                assert!(
                    (exact[at] - difference).abs() < 2e-3 * largest,
                    "{number} at {at}: {} against {difference}",
                    exact[at]
                );
            }
        }
    }

    #[test]
    fn pulls_match_differences() {
        for (g, total) in [(0.7, 3.0), (0.01, 20.0), (2.0, 0.5)] {
            let [_, in_g, in_total] = pull(g, total);
            let (dg, dt) = (
                pull(g + 1e-6, total)[0] - pull(g - 1e-6, total)[0],
                pull(g, total + 1e-6)[0] - pull(g, total - 1e-6)[0],
            );
            assert!(
                (in_g - dg / 2e-6).abs() < 1e-5 * in_g.abs().max(1.0)
                    && (in_total - dt / 2e-6).abs() < 1e-5,
                "{g} {total}"
            );
        }
        assert!(pull(-1.0, 2.0).iter().all(|v| v.abs() < f64::MIN_POSITIVE));
    }
}
