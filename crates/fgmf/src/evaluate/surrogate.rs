//! Maps with exact derivatives, which an attacker of maps follows.
//!
//! R(φ) = Σ_top φ⁺ / Σ φ⁺, u = ∂R/∂φ, f the target logit, g = ∇f. All are taken of the network with rounded rectifiers (`smooth_net`).
//!
//! - *Slopes*, φ = Σ_c |g|: ∇R = H [u ⊙ sign g].
//! - *Path*, φ = Σ_c x ⊙ ḡ (Integrated Gradients from black, ḡ = mean of g(aₖ x)): ∇R = u ⊙ ḡ + mean aₖ H(aₖ x) [u ⊙ x].
//! - *Cells*, φ = max(0, f(x) − f(x with the pixel's cell black)), cells a seventh of each side: ∇R = Σ over cells with a fall of U_c (g(x) −
//!   M_c g(M_c x)), U_c the sum of u in the cell, M_c its blanking. First derivatives are all it needs.
//! - *Grad-CAM++* at the layer A that the explainers choose, φ = resized max(0, Σ_d w_d A_d), w_d = Σ pull(g_A, Σ A): with v the adjoint
//!   of resizing applied to u where the sum is positive, q_d = Σ v A_d, c = q_d ∂pull/∂g_A: ∇R = Jᵀ [v w_d + q_d Σ ∂pull/∂S + H_A c], J the
//!   Jacobian of A in x and H_A the Hessian of f in A. Left out where the layer is no feature map or the logits also depend on the
//!   image around it.

use super::smooth_net::{Cut, cut};
use super::subject::Subject;
use crate::error::Result;
use crate::explain::{LayerKind, choose_layer, upsample};
use crate::oracle::{Curvature, Gradients, Oracle, Scores};
use fgmf_net::head::{Head, Logit};
use fgmf_net::{Dual, Network, Tensor};
use std::ops::Range;

/// A map to follow.
pub(super) enum Surrogate {
    /// Size of the gradient.
    Slopes,
    /// Path gradients, at these shares of the image.
    Path(Vec<f64>),
    /// Falls of blanked cells.
    Cells,
    /// Grad-CAM++.
    Cam(Box<Cam>),
}

/// Grad-CAM++ as two networks.
pub(super) struct Cam {
    parts: Cut,
    /// `[d, h, w]` of the layer.
    shape: [usize; 3],
    /// Pixels and weights that each position of the layer is spread to.
    spread: Vec<Vec<(usize, f64)>>,
}

/// R, and ∂R/∂φ; a map without positive values has R = 0: nothing is left on top.
pub(super) fn share(map: &[f64], top: &[bool]) -> (f64, Vec<f64>) {
    let total: f64 = map.iter().map(|v| v.max(0.0)).sum();
    if total <= 0.0 {
        return (0.0, vec![0.0; map.len()]);
    }
    let kept: f64 = map.iter().zip(top).filter(|(_, t)| **t).map(|(v, _)| v.max(0.0)).sum();
    let slope = |(v, &t): (&f64, &bool)| if *v > 0.0 { (f64::from(u8::from(t)) * total - kept) / (total * total) } else { 0.0 };
    (kept / total, map.iter().zip(top).map(slope).collect())
}

/// ⟨v, outputs⟩: its gradient is the product of the transposed Jacobian with v.
struct Along(Tensor);

impl Head for Along {
    fn evaluate(&self, outputs: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let v: Dual = self.0.rows(examples.start, examples.len()).cast(outputs.precision()).into();
        (outputs.mul(&v).sum(&[1]).value.to_f64(), v)
    }
}

impl Surrogate {
    /// All that a network has; `net` has rounded rectifiers, `path` is a number of points.
    pub(super) fn all(net: &Network, path: usize) -> Result<Vec<Self>> {
        let nodes = (0..path).map(|k| (k as f64 + 0.5) / path as f64).collect();
        let cam = Cam::new(net)?.map(|cam| Self::Cam(Box::new(cam)));
        Ok([Self::Slopes, Self::Path(nodes), Self::Cells].into_iter().chain(cam).collect())
    }

    /// ∇R at points, given what was on top.
    pub(super) fn slopes(
        &self,
        subject: &Subject<'_>,
        smooth: &Oracle<'_>,
        points: &[Vec<f32>],
        top: &[Vec<bool>],
    ) -> Result<Vec<Vec<f64>>> {
        let x = subject.images(points.iter().flatten().map(|&v| f64::from(v)).collect());
        let found = match self {
            Self::Slopes => gradients(subject, smooth, &x, top, None)?,
            Self::Path(nodes) => gradients(subject, smooth, &x, top, Some(nodes))?,
            Self::Cells => cells(subject, smooth, &x, top)?,
            Self::Cam(cam) => cam.slopes(subject, &x, top)?,
        };
        Ok(found.chunks_exact(found.len() / points.len()).map(<[f64]>::to_vec).collect())
    }
}

/// Slopes, or with `nodes` the path.
fn gradients(subject: &Subject<'_>, smooth: &Oracle<'_>, x: &Tensor, top: &[Vec<bool>], nodes: Option<&[f64]>) -> Result<Vec<f64>> {
    let (area, values) = (subject.area(), x.to_f64());
    let size = values.len() / top.len();
    let head = Logit::new(subject.targets);
    let at = |a: f64| subject.images(values.iter().map(|v| a * v).collect());
    let (along, stops) = (nodes.is_some(), nodes.unwrap_or(&[1.0]));
    let mut g = vec![0.0; values.len()];
    for &a in stops {
        let found = smooth.loss_gradient(&at(a), &head)?.gradient.to_f64();
        g.iter_mut().zip(found).for_each(|(g, v)| *g += v / stops.len() as f64);
    }
    // u ⊙ x or u ⊙ sign g, and the part of ∇R that is not a product with the Hessian.
    let (mut direction, mut out) = (vec![0.0; values.len()], vec![0.0; values.len()]);
    for (i, top) in top.iter().enumerate() {
        let mut map = vec![0.0; area];
        let part = |at: usize| if along { values[at] * g[at] } else { g[at].abs() };
        (0..size).for_each(|j| map[j % area] += part(i * size + j));
        let u = share(&map, top).1;
        for j in 0..size {
            let at = i * size + j;
            direction[at] = u[j % area] * if along { values[at] } else { g[at].signum() };
            out[at] = if along { u[j % area] * g[at] } else { 0.0 };
        }
    }
    let direction = subject.images(direction);
    for &a in stops {
        let bend = smooth.hvp(&at(a), &head, &direction)?.1.to_f64();
        out.iter_mut().zip(bend).for_each(|(o, v)| *o += a * v / stops.len() as f64);
    }
    Ok(out)
}

/// Rows and columns of each cell.
fn grid([_, h, w]: [usize; 3]) -> Vec<[Range<usize>; 2]> {
    let along = |side: usize| {
        let n = side.min(7);
        (0..n).map(move |i| i * side / n..(i + 1) * side / n)
    };
    along(h).flat_map(|rows| along(w).map(move |columns| [rows.clone(), columns])).collect()
}

fn cells(subject: &Subject<'_>, smooth: &Oracle<'_>, x: &Tensor, top: &[Vec<bool>]) -> Result<Vec<f64>> {
    let ([_, _, w], area, values, cells) = (subject.shape(), subject.area(), x.to_f64(), grid(subject.shape()));
    let (size, each) = (values.len() / top.len(), cells.len() + 1);
    let inside = |cell: usize, pixel: usize| {
        let [rows, columns] = &cells[cell];
        rows.contains(&(pixel / w)) && columns.contains(&(pixel % w))
    };
    // Variant 0 of an image is the image itself, variant c + 1 lacks cell c.
    let variant = |item: usize| {
        let (i, cell) = (item / each, (item % each).checked_sub(1));
        let gone = move |j: usize| cell.is_some_and(|c| inside(c, j % area));
        (0..size).map(|j| if gone(j) { 0.0 } else { values[i * size + j] }).collect::<Vec<f64>>()
    };
    let (mut falls, mut all) = (vec![0.0; top.len() * each], top.len() * each);
    for start in (0..all).step_by(subject.context.cap.max(1)) {
        let part = start..(start + subject.context.cap.max(1)).min(all);
        let classes: Vec<usize> = part.clone().map(|item| subject.targets[item / each]).collect();
        let logits = smooth.logits(&subject.images(part.clone().flat_map(variant).collect()))?.to_f64();
        let k = logits.len() / part.len();
        part.zip(logits.chunks_exact(k)).zip(classes).for_each(|((item, z), y)| falls[item] = z[y]);
    }
    // Weight of each variant's logit in R: those of cells without a fall are 0, the image's own is minus their sum.
    let mut weights = vec![0.0; all];
    for (i, top) in top.iter().enumerate() {
        let mut map = vec![0.0; area];
        let fall = |c: usize| falls[i * each] - falls[i * each + c + 1];
        let of = |pixel: usize| (0..cells.len()).find(|&c| inside(c, pixel)).unwrap_or(0);
        map.iter_mut().enumerate().for_each(|(at, m)| *m = fall(of(at)).max(0.0));
        for (at, u) in share(&map, top).1.into_iter().enumerate() {
            weights[i * each + of(at) + 1] -= u;
            weights[i * each] += u;
        }
    }
    let used: Vec<usize> = (0..all).filter(|&item| weights[item].abs() > 0.0).collect();
    all = used.len();
    let mut out = vec![0.0; values.len()];
    for start in (0..all).step_by(subject.context.cap.max(1)) {
        let part = &used[start..(start + subject.context.cap.max(1)).min(all)];
        let classes: Vec<usize> = part.iter().map(|item| subject.targets[item / each]).collect();
        let batch = subject.images(part.iter().flat_map(|&item| variant(item)).collect());
        let g = smooth.loss_gradient(&batch, &Logit::new(&classes))?.gradient.to_f64();
        for (&item, g) in part.iter().zip(g.chunks_exact(size)) {
            let (i, cell) = (item / each, (item % each).checked_sub(1));
            for (j, g) in g.iter().enumerate().filter(|(j, _)| !cell.is_some_and(|c| inside(c, j % area))) {
                out[i * size + j] += weights[item] * g;
            }
        }
    }
    Ok(out)
}

/// max(g, 0) α of Grad-CAM++, and its derivatives in g and in Σ A.
fn pull(g: f64, total: f64) -> [f64; 3] {
    let divisor = 2.0 * g * g + total * g * g * g + 1e-6;
    if g <= 0.0 || divisor.abs() <= 0.0 {
        return [0.0; 3];
    }
    let (square, cube) = (g * g, g * g * g);
    let slope = (3.0 * square * divisor - cube * (4.0 * g + 3.0 * total * square)) / (divisor * divisor);
    [cube / divisor, slope, -cube * cube / (divisor * divisor)]
}

impl Cam {
    /// None if the network cannot be cut at the layer.
    fn new(net: &Network) -> Result<Option<Self>> {
        let layer = choose_layer(net)?;
        let (LayerKind::Map { h, w }, false) = (layer.kind, layer.id == net.input()) else { return Ok(None) };
        let Some(parts) = cut(net, layer.id)? else { return Ok(None) };
        let shape = parts.back.image_shape();
        if shape[1..] != [h, w] {
            return Ok(None);
        }
        let [_, rows, columns] = net.image_shape();
        let spread = |at: usize| {
            let mut unit = vec![0.0; h * w];
            unit[at] = 1.0;
            let spread = upsample(&unit, [h, w], [rows, columns]).into_iter().enumerate();
            spread.filter(|(_, v)| *v > 0.0).collect()
        };
        Ok(Some(Self { parts, shape, spread: (0..h * w).map(spread).collect() }))
    }

    fn slopes(&self, subject: &Subject<'_>, x: &Tensor, top: &[Vec<bool>]) -> Result<Vec<f64>> {
        let (front, back) = (Oracle::new(&self.parts.front), Oracle::new(&self.parts.back));
        let (n, [d, h, w], head) = (top.len(), self.shape, Logit::new(subject.targets));
        let a = front.logits(x)?.reshape(&[n, d, h, w]);
        let g = back.loss_gradient(&a, &head)?.gradient.to_f64();
        let values = a.to_f64();
        let (mut through, mut bend) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        for (i, top) in top.iter().enumerate() {
            let at = |channel: usize| (i * d + channel) * h * w..(i * d + channel + 1) * h * w;
            let totals: Vec<f64> = (0..d).map(|c| values[at(c)].iter().sum()).collect();
            let pulls: Vec<Vec<[f64; 3]>> = (0..d).map(|c| g[at(c)].iter().map(|&g| pull(g, totals[c])).collect()).collect();
            let weights: Vec<f64> = pulls.iter().map(|p| p.iter().map(|p| p[0]).sum()).collect();
            let mut small = vec![0.0; h * w];
            for c in 0..d {
                small.iter_mut().zip(&values[at(c)]).for_each(|(m, a)| *m += weights[c] * a);
            }
            let mut map = vec![0.0; subject.area()];
            for (m, spread) in small.iter().zip(&self.spread) {
                spread.iter().for_each(|(pixel, weight)| map[*pixel] += weight * m.max(0.0));
            }
            let u = share(&map, top).1;
            let adjoint = |spread: &Vec<(usize, f64)>| spread.iter().map(|(pixel, weight)| weight * u[*pixel]).sum::<f64>();
            let v: Vec<f64> = small.iter().zip(&self.spread).map(|(m, s)| if *m > 0.0 { adjoint(s) } else { 0.0 }).collect();
            for c in 0..d {
                let q: f64 = v.iter().zip(&values[at(c)]).map(|(v, a)| v * a).sum();
                let through_total: f64 = q * pulls[c].iter().map(|p| p[2]).sum::<f64>();
                through[at(c)].iter_mut().zip(&v).for_each(|(t, v)| *t = v * weights[c] + through_total);
                bend[at(c)].iter_mut().zip(&pulls[c]).for_each(|(b, p)| *b = q * p[1]);
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
    use crate::evaluate::smooth_net::smoothed;
    use crate::explain::{Context, by_id};
    use crate::threat::{Norm, ThreatModel};
    use fgmf_net::Precision;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    /// ∇R of each map against differences of R, in double precision, each map written as its formula.
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
        let net = build(&config).unwrap().cast(Precision::F64);
        let smooth_net = smoothed(&net, 4.0).unwrap();
        let (oracle, smooth) = (Oracle::new(&net), Oracle::new(&smooth_net));
        let point: Vec<f32> = (0..128).map(|i| (i * i % 29) as f32 / 29.0 + 0.01).collect();
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
            context: Context { cap: 5, ..Context::default() },
        };
        let top: Vec<bool> = (0..64).map(|i| i % 5 == 0).collect();
        let logit = |p: &[f64]| smooth.logits(&tensor(p)).unwrap().to_f64()[1];
        let gradient = |p: &[f64]| smooth.loss_gradient(&tensor(p), &Logit::new(&[1])).unwrap().gradient.to_f64();
        let folded = |v: &[f64]| (0..64).map(|j| v[j] + v[64 + j]).collect::<Vec<f64>>();
        let surrogates = Surrogate::all(&smooth_net, 2).unwrap();
        assert_eq!(surrogates.len(), 4);
        for (number, surrogate) in surrogates.iter().enumerate() {
            let map = |p: &[f64]| match surrogate {
                Surrogate::Slopes => folded(&gradient(p).iter().map(|g| g.abs()).collect::<Vec<f64>>()),
                Surrogate::Path(nodes) => {
                    let mut map = vec![0.0; 64];
                    for a in nodes {
                        let g = gradient(&p.iter().map(|v| a * v).collect::<Vec<f64>>());
                        let part: Vec<f64> = g.iter().zip(p).map(|(g, x)| g * x / nodes.len() as f64).collect();
                        map.iter_mut().zip(folded(&part)).for_each(|(m, v)| *m += v);
                    }
                    map
                }
                Surrogate::Cells => {
                    let side = |i: usize| (0..7).find(|c| (c * 8 / 7..(c + 1) * 8 / 7).contains(&i)).unwrap();
                    let cell = |j: usize| (side(j % 64 / 8), side(j % 8));
                    let fall = |at: usize| {
                        let without: Vec<f64> = (0..128).map(|j| if cell(j) == cell(at) { 0.0 } else { p[j] }).collect();
                        (logit(p) - logit(&without)).max(0.0)
                    };
                    (0..64).map(fall).collect()
                }
                Surrogate::Cam(_) => {
                    let (layer, head) = (choose_layer(&smooth_net).unwrap(), Logit::new(&[1]));
                    let LayerKind::Map { h, w } = layer.kind else { panic!("{:?}", layer.kind) };
                    let run = smooth.feature_gradient(&tensor(p), &head, layer.id).unwrap();
                    let mut small = vec![0.0; h * w];
                    for (a, g) in run.value.to_f64().chunks_exact(h * w).zip(run.gradient.to_f64().chunks_exact(h * w)) {
                        let total: f64 = a.iter().sum();
                        let alpha = |g: f64| g * g / (2.0 * g * g + total * g * g * g + 1e-6);
                        let weight: f64 = g.iter().map(|&g| alpha(g) * g.max(0.0)).sum();
                        small.iter_mut().zip(a).for_each(|(m, a)| *m += weight * a);
                    }
                    upsample(&small.iter().map(|m| m.max(0.0)).collect::<Vec<f64>>(), [h, w], [8, 8])
                }
            };
            let exact =
                surrogate.slopes(&subject, &smooth, std::slice::from_ref(&point), std::slice::from_ref(&top)).unwrap().swap_remove(0);
            let largest = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(largest > 1e-5, "{number}: no slope");
            for at in [3, 17, 40, 77, 120] {
                let moved = |d: f64| {
                    let mut p = x.to_f64();
                    p[at] += d;
                    share(&map(&p), &top).0
                };
                let difference = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                assert!((exact[at] - difference).abs() < 2e-3 * largest, "{number} at {at}: {} against {difference}", exact[at]);
            }
        }
    }

    #[test]
    fn pulls_match_differences() {
        for (g, total) in [(0.7, 3.0), (0.01, 20.0), (2.0, 0.5)] {
            let [_, in_g, in_total] = pull(g, total);
            let (dg, dt) = (pull(g + 1e-6, total)[0] - pull(g - 1e-6, total)[0], pull(g, total + 1e-6)[0] - pull(g, total - 1e-6)[0]);
            assert!((in_g - dg / 2e-6).abs() < 1e-5 * in_g.abs().max(1.0) && (in_total - dt / 2e-6).abs() < 1e-5, "{g} {total}");
        }
        assert!(pull(-1.0, 2.0).iter().all(|v| v.abs() < f64::MIN_POSITIVE));
    }

    /// ∂R/∂φ against differences.
    #[test]
    fn share_and_its_slope() {
        let (map, top) = ([0.5, -1.0, 2.0, 0.25], [true, false, false, true]);
        let (r, slope) = share(&map, &top);
        assert!((r - 0.75 / 2.75).abs() < 1e-12);
        for (i, slope) in slope.iter().enumerate() {
            let moved = |d: f64| {
                let mut m = map;
                m[i] += d;
                share(&m, &top).0
            };
            assert!((slope - (moved(1e-6) - moved(-1e-6)) / 2e-6).abs() < 1e-8);
        }
        assert!(share(&[-1.0, 0.0], &[true, false]).0.abs() < 1e-12);
    }
}
