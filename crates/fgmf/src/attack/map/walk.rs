//! An attacker who keeps the label and moves the map.
//!
//! Two searches over images inside the threat whose predicted class stays, the second from the best
//! point of the first:
//!
//! 1. *Derivatives.* The map's share R(φ) = Σ_top φ⁺ / Σ φ⁺ in the pixels that were on top before
//!    is driven down along its steepest descent for six maps whose derivatives are exact
//!    (`surrogate`): slopes, path gradients from black and from three greys, falls of cells that
//!    are black or blurred, Grad-CAM++; and for the map that the network draws itself, if it does.
//!    For methods that are such a map, or are made from such maps
//!    as PGCA is, this is the white-box attack; for others it is a transfer.
//! 2. *Scores.* Random windows set to the border of the ball, as in the Square attack. Works for
//!    every explainer.
//!
//! Every candidate is judged by the explainer itself on the model itself, by the overlap of its top
//! pixels with those before, among equals by R; nothing is believed of the surrogate. A step that
//! has lost the class goes back along the gradient of the margin.

use crate::attack::map::followed::Surrogate;
use crate::attack::map::share::share;
use crate::attack::map::smooth_net::smoothed;
use crate::error::Result;
use crate::explain::subject::{Draw, Subject};
use crate::measure::similarity::top_k_overlap;
use crate::model::access::Gradients;
use crate::model::answer::argmax;
use crate::model::oracle::Oracle;
use crate::threat::Norm;
use fgmf_net::Tensor;
use fgmf_net::head::Margin;

/// How hard the attacker tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapAttack {
    /// Gradient steps for each of the six maps.
    pub(crate) steps: usize,
    /// Points of the path.
    pub(crate) path: usize,
    /// β of the rounded rectifiers.
    pub(crate) beta: f64,
    /// Random proposals.
    pub(crate) queries: usize,
    /// Share of the pixels that are on top.
    pub(crate) top: f64,
}

/// The best point of each example, and its map.
pub(crate) struct Moved {
    /// Images inside the threat with the class of the clean ones.
    pub(crate) images: Vec<Vec<f64>>,
    /// Their maps.
    pub(crate) maps: Vec<Vec<f64>>,
}

/// What is known of the examples during the search.
struct MapSearch<'a> {
    subject: &'a Subject<'a>,
    /// Pixels that were on top.
    top: Vec<Vec<bool>>,
    /// Classes to keep.
    classes: Vec<usize>,
    clean: Vec<Vec<f32>>,
    best: Vec<Vec<f32>>,
    maps: Vec<Vec<f64>>,
    /// Maps of the clean images.
    before: Vec<Vec<f64>>,
    /// Share of the pixels that are on top.
    k: f64,
    /// Overlap and R of the best point.
    reached: Vec<(f64, f64)>,
}

impl MapSearch<'_> {
    fn tensor(&self, points: &[Vec<f32>]) -> Tensor {
        self.subject
            .images(points.iter().flatten().map(|&v| f64::from(v)).collect())
    }

    /// Which points keep their class.
    fn kept(&self, points: &[Vec<f32>]) -> Result<Vec<bool>> {
        let logits = self.subject.logits(points.len(), |i| {
            points[i].iter().map(|&v| f64::from(v)).collect()
        })?;
        Ok(logits
            .iter()
            .zip(&self.classes)
            .map(|(z, &y)| argmax(z) == y)
            .collect())
    }

    /// Takes over the points that keep the class and have less of their map where it was.
    fn offer(&mut self, points: &[Vec<f32>], kept: &[bool]) -> Result<()> {
        // What lost its class is replaced by what is known, so that the batch stays whole.
        let asked: Vec<Vec<f32>> = (0..points.len())
            .map(|i| {
                if kept[i] {
                    points[i].clone()
                } else {
                    self.best[i].clone()
                }
            })
            .collect();
        let maps = self.subject.explain(&self.tensor(&asked))?;
        for (i, map) in maps.into_iter().enumerate().filter(|(i, _)| kept[*i]) {
            let found = (
                top_k_overlap(&self.before[i], &map, self.k)?,
                share(&map, &self.top[i]).0,
            );
            if found < self.reached[i] {
                self.reached[i] = found;
                self.best[i].clone_from(&points[i]);
                self.maps[i] = map;
            }
        }
        Ok(())
    }

    /// Steps down ∇R; offers the points at each quarter of the way.
    fn descend(
        &mut self,
        how: &MapAttack,
        smooth: &Oracle<'_>,
        surrogate: &Surrogate,
        round: usize,
    ) -> Result<()> {
        let threat = self.subject.threat;
        let alpha = (2.5 * threat.eps() / how.steps as f64) as f32;
        let start = |i: usize| {
            threat.random_start(
                &self.clean[i],
                &mut self.subject.stream(Draw::Search, round, i),
            )
        };
        let mut points: Vec<Vec<f32>> = (0..self.clean.len()).map(start).collect();
        for step in 0..=how.steps {
            let kept = self.kept(&points)?;
            if step > 0 && (step % how.steps.div_ceil(4) == 0 || step == how.steps) {
                self.offer(&points, &kept)?;
            }
            if step == how.steps {
                break;
            }
            let mut slopes = surrogate.slopes(self.subject, smooth, &points, &self.top)?;
            if kept.contains(&false) {
                let x = self.tensor(&points);
                let margin = self
                    .subject
                    .oracle
                    .loss_gradient(&x, &Margin::new(&self.classes))?
                    .gradient
                    .to_f64();
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
                point
                    .iter_mut()
                    .zip(&down)
                    .for_each(|(p, d)| *p += alpha * d);
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
            let side =
                |length: usize| ((share.sqrt() * length as f64).round() as usize).clamp(1, length);
            let (rows, columns) = (side(h), side(w));
            let step = threat.eps() / threat.norm().of_ones(c * rows * columns);
            let propose = |i: usize| {
                let mut rng = self.subject.stream(Draw::Search, 16 + query, i);
                let (top, left) = (
                    rng.below((h - rows + 1) as u64) as usize,
                    rng.below((w - columns + 1) as u64) as usize,
                );
                let mut point = self.best[i].clone();
                for plane in 0..c {
                    let sign = rng.sign();
                    let row = |r: usize| plane * h * w + r * w + left;
                    for at in (top..top + rows).flat_map(|r| row(r)..row(r) + columns) {
                        let from = if threat.norm() == Norm::Linf {
                            self.clean[i][at]
                        } else {
                            point[at]
                        };
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
    pub(crate) fn run(&self, subject: &Subject<'_>) -> Result<Moved> {
        let n = subject.len();
        let k = ((self.top * subject.area() as f64).round() as usize).clamp(1, subject.area());
        let on_top = |i: usize| {
            let mut top = vec![false; subject.area()];
            subject.ranking(i)[..k]
                .iter()
                .for_each(|&at| top[at] = true);
            top
        };
        let clean: Vec<Vec<f32>> = (0..n)
            .map(|i| subject.image(i).iter().map(|&v| v as f32).collect())
            .collect();
        let top: Vec<Vec<bool>> = (0..n).map(on_top).collect();
        let maps: Vec<Vec<f64>> = (0..n).map(|i| subject.map(i)).collect();
        let reached = maps
            .iter()
            .zip(&top)
            .map(|(m, t)| (1.0, share(m, t).0))
            .collect();
        let classes = subject.own_logits()?.iter().map(|z| argmax(z)).collect();
        let before = maps.clone();
        let mut search = MapSearch {
            subject,
            top,
            classes,
            best: clean.clone(),
            clean,
            maps,
            before,
            k: self.top,
            reached,
        };
        if self.steps > 0 {
            let net = smoothed(subject.oracle.session(), self.beta)?;
            let smooth = Oracle::new(&net);
            for (i, surrogate) in Surrogate::all(&net, self.path)?.iter().enumerate() {
                search.descend(self, &smooth, surrogate, i + 1)?;
            }
        }
        search.probe(self.queries)?;
        let images = search
            .best
            .iter()
            .map(|b| b.iter().map(|&v| f64::from(v)).collect())
            .collect();
        Ok(Moved {
            images,
            maps: search.maps,
        })
    }
}
