//! An attacker who keeps the label and moves the map.
//!
//! The map's share R(φ) = Σ_top φ⁺ / Σ φ⁺ in the pixels that were on top before is driven down inside the threat, over images whose
//! predicted class stays. Two searches, the second from the best point of the first:
//!
//! 1. *Second derivatives.* Steps along the steepest descent of R for two maps whose derivative is exact, with u = ∂R/∂φ:
//!    slopes φ = Σ_c |g| (g = ∇f, f the target logit) have ∇R = H [u ⊙ sign g]; the path φ = Σ_c x ⊙ ḡ (Integrated Gradients from black,
//!    ḡ = mean of g(aₖ x)) has ∇R = u ⊙ ḡ + mean aₖ H(aₖ x) [u ⊙ x]. Hessian-vector products are exact, of the network with rounded
//!    rectifiers (`smooth_net`). For Integrated Gradients and gradient maps this is the white-box attack, for other explainers a transfer.
//! 2. *Scores.* Random windows set to the border of the ball, as in the Square attack, kept where R of the explainer's own map falls and
//!    the class stays. Works for every explainer.
//!
//! Every candidate is judged by the explainer itself on the model itself; nothing is believed of the surrogate. A step that has lost the
//! class goes back along the gradient of the margin.

use super::smooth_net::smoothed;
use super::subject::{Draw, Subject, predicted};
use crate::error::Result;
use crate::oracle::{Curvature, Gradients, Oracle};
use crate::threat::Norm;
use fgmf_net::Tensor;
use fgmf_net::head::{Logit, Margin};

/// How hard the attacker tries.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapAttack {
    /// Gradient steps for each of the two maps.
    pub(super) steps: usize,
    /// Points of the path.
    pub(super) path: usize,
    /// β of the rounded rectifiers.
    pub(super) beta: f64,
    /// Random proposals.
    pub(super) queries: usize,
    /// Share of the pixels that are on top.
    pub(super) top: f64,
}

/// The best point of each example, and its map.
pub(super) struct Moved {
    /// Images inside the threat with the class of the clean ones.
    pub(super) images: Vec<Vec<f64>>,
    /// Their maps.
    pub(super) maps: Vec<Vec<f64>>,
}

/// What is known of the examples during the search.
struct Search<'a> {
    subject: &'a Subject<'a>,
    /// Pixels that were on top.
    top: Vec<Vec<bool>>,
    /// Classes to keep.
    classes: Vec<usize>,
    clean: Vec<Vec<f32>>,
    best: Vec<Vec<f32>>,
    maps: Vec<Vec<f64>>,
    share: Vec<f64>,
}

/// R, and ∂R/∂φ; a map without positive values has R = 0: nothing is left on top.
fn share(map: &[f64], top: &[bool]) -> (f64, Vec<f64>) {
    let total: f64 = map.iter().map(|v| v.max(0.0)).sum();
    if total <= 0.0 {
        return (0.0, vec![0.0; map.len()]);
    }
    let kept: f64 = map.iter().zip(top).filter(|(_, t)| **t).map(|(v, _)| v.max(0.0)).sum();
    let slope = |(v, &t): (&f64, &bool)| if *v > 0.0 { (f64::from(u8::from(t)) * total - kept) / (total * total) } else { 0.0 };
    (kept / total, map.iter().zip(top).map(slope).collect())
}

impl Search<'_> {
    fn tensor(&self, points: &[Vec<f32>]) -> Tensor {
        self.subject.images(points.iter().flatten().map(|&v| f64::from(v)).collect())
    }

    /// Which points keep their class.
    fn kept(&self, points: &[Vec<f32>]) -> Result<Vec<bool>> {
        let logits = self.subject.logits(points.len(), |i| points[i].iter().map(|&v| f64::from(v)).collect())?;
        Ok(logits.iter().zip(&self.classes).map(|(z, &y)| predicted(z) == y).collect())
    }

    /// Takes over the points that keep the class and have less of their map on top.
    fn offer(&mut self, points: &[Vec<f32>], kept: &[bool]) -> Result<()> {
        // What lost its class is replaced by what is known, so that the batch stays whole.
        let asked: Vec<Vec<f32>> = (0..points.len()).map(|i| if kept[i] { points[i].clone() } else { self.best[i].clone() }).collect();
        let maps = self.subject.explain(&self.tensor(&asked))?;
        for (i, map) in maps.into_iter().enumerate().filter(|(i, _)| kept[*i]) {
            let r = share(&map, &self.top[i]).0;
            if r < self.share[i] {
                self.share[i] = r;
                self.best[i].clone_from(&points[i]);
                self.maps[i] = map;
            }
        }
        Ok(())
    }

    /// ∇R of one of the two maps at points, on the rounded network.
    fn slope(&self, smooth: &Oracle<'_>, points: &[Vec<f32>], nodes: &[f64]) -> Result<Vec<Vec<f64>>> {
        let (n, area) = (points.len(), self.subject.area());
        let x = self.tensor(points);
        let values = x.to_f64();
        let size = values.len() / n;
        let head = Logit::new(self.subject.targets);
        let at = |a: f64| self.subject.images(values.iter().map(|v| a * v).collect());
        let along = !nodes.is_empty();
        let stops = if along { nodes } else { &[1.0] };
        let mut g = vec![0.0; values.len()];
        for &a in stops {
            let found = smooth.loss_gradient(&at(a), &head)?.gradient.to_f64();
            g.iter_mut().zip(found).for_each(|(g, v)| *g += v / stops.len() as f64);
        }
        // u ⊙ x or u ⊙ sign g, and the part of ∇R that is not a product with the Hessian.
        let (mut direction, mut out) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        for i in 0..n {
            let mut map = vec![0.0; area];
            let part = |at: usize| if along { values[at] * g[at] } else { g[at].abs() };
            (0..size).for_each(|j| map[j % area] += part(i * size + j));
            let u = share(&map, &self.top[i]).1;
            for j in 0..size {
                let at = i * size + j;
                direction[at] = u[j % area] * if along { values[at] } else { g[at].signum() };
                out[at] = if along { u[j % area] * g[at] } else { 0.0 };
            }
        }
        let direction = self.subject.images(direction);
        for &a in stops {
            let bend = smooth.hvp(&at(a), &head, &direction)?.1.to_f64();
            out.iter_mut().zip(bend).for_each(|(o, v)| *o += a * v / stops.len() as f64);
        }
        Ok(out.chunks_exact(size).map(<[f64]>::to_vec).collect())
    }

    /// Steps down ∇R; offers the points at each quarter of the way.
    fn descend(&mut self, how: &MapAttack, smooth: &Oracle<'_>, nodes: &[f64]) -> Result<()> {
        let threat = self.subject.threat;
        let alpha = (2.5 * threat.eps() / how.steps as f64) as f32;
        let round = if nodes.is_empty() { 1 } else { 2 };
        let start = |i: usize| threat.random_start(&self.clean[i], &mut self.subject.stream(Draw::Search, round, i));
        let mut points: Vec<Vec<f32>> = (0..self.clean.len()).map(start).collect();
        for step in 0..=how.steps {
            let kept = self.kept(&points)?;
            if step > 0 && (step % how.steps.div_ceil(4) == 0 || step == how.steps) {
                self.offer(&points, &kept)?;
            }
            if step == how.steps {
                break;
            }
            let mut slopes = self.slope(smooth, &points, nodes)?;
            if kept.contains(&false) {
                let x = self.tensor(&points);
                let margin = self.subject.oracle.loss_gradient(&x, &Margin::new(&self.classes))?.gradient.to_f64();
                let size = margin.len() / points.len();
                for i in (0..points.len()).filter(|&i| !kept[i]) {
                    slopes[i].copy_from_slice(&margin[i * size..][..size]);
                }
            }
            for (i, (point, slope)) in points.iter_mut().zip(slopes).enumerate() {
                let largest = slope.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                if !largest.is_finite() || largest <= 0.0 {
                    continue;
                }
                // Scaled first: second derivatives can lie far below the range of f32.
                let mut down: Vec<f32> = slope.iter().map(|v| (-v / largest) as f32).collect();
                threat.drop_blocked(point, &mut down);
                threat.steepest(&mut down);
                point.iter_mut().zip(&down).for_each(|(p, d)| *p += alpha * d);
                threat.project(&self.clean[i], point);
            }
        }
        Ok(())
    }

    /// Random windows.
    fn probe(&mut self, queries: usize) -> Result<()> {
        let threat = self.subject.threat;
        let [c, h, w] = self.subject.shape();
        for query in 0..queries {
            let share = 0.3 * (1.0 - query as f64 / queries as f64) + 0.01;
            let side = |length: usize| ((share.sqrt() * length as f64).round() as usize).clamp(1, length);
            let (rows, columns) = (side(h), side(w));
            let size = (c * rows * columns) as f64;
            let step = threat.eps()
                / match threat.norm() {
                    Norm::Linf => 1.0,
                    Norm::L2 => size.sqrt(),
                    Norm::L1 => size,
                };
            let propose = |i: usize| {
                let mut rng = self.subject.stream(Draw::Search, 16 + query, i);
                let (top, left) = (rng.below((h - rows + 1) as u64) as usize, rng.below((w - columns + 1) as u64) as usize);
                let mut point = self.best[i].clone();
                for plane in 0..c {
                    let sign = rng.sign();
                    let row = |r: usize| plane * h * w + r * w + left;
                    for at in (top..top + rows).flat_map(|r| row(r)..row(r) + columns) {
                        let from = if threat.norm() == Norm::Linf { self.clean[i][at] } else { point[at] };
                        point[at] = from + sign * step as f32;
                    }
                }
                threat.project(&self.clean[i], &mut point);
                point
            };
            let points: Vec<Vec<f32>> = (0..self.clean.len()).map(propose).collect();
            let kept = self.kept(&points)?;
            self.offer(&points, &kept)?;
        }
        Ok(())
    }
}

impl MapAttack {
    /// Searches the threat around each image of the subject.
    pub(super) fn run(&self, subject: &Subject<'_>) -> Result<Moved> {
        let n = subject.len();
        let k = ((self.top * subject.area() as f64).round() as usize).clamp(1, subject.area());
        let on_top = |i: usize| {
            let mut top = vec![false; subject.area()];
            subject.ranking(i)[..k].iter().for_each(|&at| top[at] = true);
            top
        };
        let clean: Vec<Vec<f32>> = (0..n).map(|i| subject.image(i).iter().map(|&v| v as f32).collect()).collect();
        let top: Vec<Vec<bool>> = (0..n).map(on_top).collect();
        let maps: Vec<Vec<f64>> = (0..n).map(|i| subject.map(i)).collect();
        let share = maps.iter().zip(&top).map(|(m, t)| share(m, t).0).collect();
        let classes = subject.own_logits()?.iter().map(|z| predicted(z)).collect();
        let mut search = Search { subject, top, classes, best: clean.clone(), clean, maps, share };
        if self.steps > 0 {
            let net = smoothed(subject.oracle.network(), self.beta)?;
            let smooth = Oracle::new(&net);
            search.descend(self, &smooth, &[])?;
            let nodes: Vec<f64> = (0..self.path).map(|k| (k as f64 + 0.5) / self.path as f64).collect();
            search.descend(self, &smooth, &nodes)?;
        }
        search.probe(self.queries)?;
        let images = search.best.iter().map(|b| b.iter().map(|&v| f64::from(v)).collect()).collect();
        Ok(Moved { images, maps: search.maps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{Context, by_id};
    use crate::threat::ThreatModel;
    use fgmf_net::Precision;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    /// ∇R of both maps against differences, in double precision.
    #[test]
    fn second_derivatives_match_differences() {
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
        let tensor = |p: &[f32], a: f64| Tensor::new(&[1, 2, 8, 8], p.iter().map(|&v| a * f64::from(v)).collect::<Vec<f64>>());
        let x = tensor(&point, 1.0);
        let explainer = by_id("grad-cam-pp").unwrap();
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let subject = Subject {
            oracle: &oracle,
            explainer: explainer.as_ref(),
            x: &x,
            targets: &[1],
            maps: &[],
            threat: &threat,
            context: Context::default(),
        };
        let top: Vec<bool> = (0..64).map(|i| i % 5 == 0).collect();
        let clean = vec![point.clone()];
        let search = Search {
            subject: &subject,
            top: vec![top.clone()],
            classes: vec![0],
            best: clean.clone(),
            clean: clean.clone(),
            maps: Vec::new(),
            share: vec![1.0],
        };
        for nodes in [vec![], vec![0.25, 0.75]] {
            let r = |p: &[f32]| {
                let stops = if nodes.is_empty() { vec![1.0] } else { nodes.clone() };
                let mut map = vec![0.0; 64];
                for a in &stops {
                    let g = smooth.loss_gradient(&tensor(p, *a), &Logit::new(&[1])).unwrap().gradient.to_f64();
                    let part = |j: usize| if nodes.is_empty() { g[j].abs() } else { g[j] * f64::from(p[j]) / stops.len() as f64 };
                    (0..128).for_each(|j| map[j % 64] += part(j));
                }
                share(&map, &top).0
            };
            let exact = search.slope(&smooth, &clean, &nodes).unwrap().swap_remove(0);
            let largest = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(largest > 1e-5, "{nodes:?}: no slope");
            for at in [3, 17, 40, 77, 120] {
                let step = 2f32.powi(-10);
                let moved = |d: f32| {
                    let mut p = point.clone();
                    p[at] += d;
                    (r(&p), f64::from(p[at]))
                };
                let ((up, to), (down, from)) = (moved(step), moved(-step));
                let difference = (up - down) / (to - from);
                assert!((exact[at] - difference).abs() < 1e-3 * largest, "{nodes:?} at {at}: {} against {difference}", exact[at]);
            }
        }
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
