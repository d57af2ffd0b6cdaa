//! One example's way through the searches of FAB: its point, what it needs to know next, and its
//! steps.

use crate::attack::base::Ending;
use crate::attack::fab::params::FabParams;
use crate::attack::fab::projection::to_plane;
use crate::attack::loss::ranked;
use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::model::access::Gradients;
use crate::rng::{Purpose, Stream};
use crate::threat::{ThreatModel, distance, in_lanes};

/// What a search needs to know next of its point.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Next {
    /// Whether it is adversarial.
    Verdict,
    /// That and, if it is not, the planes there.
    VerdictAndPlanes,
    /// The planes: it is known not to be adversarial, or was adversarial and has been moved.
    Planes,
}

/// One example: all its searches, one after the other.
pub(crate) struct FabWalk<'a> {
    pub(crate) row: usize,
    origin: &'a [f32],
    pub(crate) x: Vec<f32>,
    /// Other classes by falling score on the image.
    pub(crate) others: Vec<usize>,
    round: usize,
    step: usize,
    pub(crate) next: Next,
    /// Whether the last point judged was adversarial: then the next is likely to be.
    pub(crate) crossing: bool,
    pub(crate) nearest: Vec<f32>,
    pub(crate) kept: Kept,
    distance: f64,
    /// Whether a search began where the gradient is zero.
    flat: bool,
    pub(crate) ending: Option<Ending>,
}

/// What all searches share.
#[derive(Clone, Copy)]
pub(crate) struct FabTask<'a> {
    pub(crate) model: &'a dyn Gradients,
    pub(crate) batch: &'a Batch,
    pub(crate) threat: &'a ThreatModel,
    /// The threat at eps / 2, for random starts.
    pub(crate) half: &'a ThreatModel,
    pub(crate) seed: u64,
}

impl<'a> FabWalk<'a> {
    pub(crate) fn new(
        model: &dyn Gradients,
        row: usize,
        origin: &'a [f32],
        scores: &[f64],
        label: usize,
    ) -> Self {
        Self {
            row,
            origin,
            x: origin.to_vec(),
            others: ranked(scores).into_iter().filter(|&c| c != label).collect(),
            round: 0,
            step: 0,
            next: Next::Planes,
            crossing: true,
            nearest: origin.to_vec(),
            kept: Kept::new(model),
            distance: f64::INFINITY,
            flat: false,
            ending: None,
        }
    }

    pub(crate) fn classes(&self, p: &FabParams) -> std::ops::Range<usize> {
        match p.targets {
            Some(_) => self.round / p.restarts..self.round / p.restarts + 1,
            None => 0..self.others.len(),
        }
    }

    /// Keeps the point if its margin is the largest in the ball; only where one answer settles
    /// nothing.
    pub(crate) fn offer(&mut self, threat: &ThreatModel, seen: (bool, f64)) {
        self.kept.offer(threat, self.origin, &self.x, seen);
    }

    /// Takes in a verdict, then goes on to the planes, to the next search, or to the end.
    pub(crate) fn judged(&mut self, p: &FabParams, task: &FabTask<'_>, adversarial: bool) {
        self.crossing = adversarial;
        if adversarial {
            self.note(p, task.threat, task.model.settles());
        }
        self.next = Next::Planes;
        if self.step >= p.steps && self.ending.is_none() {
            self.next_search(p, task);
        }
    }

    fn note(&mut self, p: &FabParams, threat: &ThreatModel, settles: bool) {
        let distance = threat.distance(self.origin, &self.x);
        if distance < self.distance {
            self.distance = distance;
            self.nearest.copy_from_slice(&self.x);
        }
        if distance <= threat.eps() && settles {
            self.ending = Some(Ending::Converged);
        }
        let beta = p.beta as f32;
        self.x
            .iter_mut()
            .zip(self.origin)
            .for_each(|(x, &o)| *x = o + (*x - o) * beta);
    }

    fn next_search(&mut self, p: &FabParams, task: &FabTask<'_>) {
        self.round += 1;
        (self.step, self.next, self.crossing) = (0, Next::Planes, true);
        self.x.copy_from_slice(self.origin);
        if self.round >= p.targets.map_or(1, |t| t.min(self.others.len())) * p.restarts {
            self.ending = Some(if self.flat {
                Ending::ZeroGradient
            } else {
                Ending::StepsExhausted
            });
        } else if !self.round.is_multiple_of(p.restarts) {
            let mut rng = Stream::new(
                task.seed,
                Purpose::AttackStart,
                self.round as u64,
                task.batch.index[self.row],
            );
            self.x = task.half.random_start(self.origin, &mut rng);
        }
    }

    /// Moves towards the nearest plane; `values` and `gradients` of z_c − z_y for the classes
    /// tried.
    pub(crate) fn advance(
        &mut self,
        p: &FabParams,
        task: &FabTask<'_>,
        values: &[f64],
        gradients: &[f32],
    ) {
        let threat = task.threat;
        if gradients.iter().any(|g| !g.is_finite()) || values.iter().any(|v| !v.is_finite()) {
            self.ending = Some(Ending::NonFinite);
            return;
        }
        let zero = vec![0.0; self.x.len()];
        let normals = || gradients.chunks_exact(self.x.len());
        let slopes: Vec<f64> = normals()
            .map(|w| distance(threat.norm().dual(), &zero, w))
            .collect();
        if slopes.iter().all(|s| *s == 0.0) {
            self.flat |= self.step == 0;
            return self.next_search(p, task);
        }
        let away = |i: usize| values[i].abs() / (1e-12 + slopes[i]);
        let nearest =
            (1..values.len()).fold(0, |best, i| if away(i) < away(best) { i } else { best });
        let w = normals().nth(nearest).unwrap_or(&[]);
        let c = values[nearest];
        let mut back = [0.0f64; 8];
        let way: Vec<f32> = self
            .origin
            .iter()
            .zip(&self.x)
            .map(|(o, x)| o - x)
            .collect();
        in_lanes(w, &way, |l, w, d| back[l] += f64::from(w) * f64::from(d));
        let from_here = to_plane(threat.norm(), &self.x, w, c, threat.bounds());
        let from_image = to_plane(
            threat.norm(),
            self.origin,
            w,
            c + back.iter().sum::<f64>(),
            threat.bounds(),
        );
        let length = |d: &[f32]| distance(threat.norm(), &zero, d).max(1e-8);
        let (here, image) = (length(&from_here), length(&from_image));
        let (alpha, eta) = (
            (here / (here + image)).min(p.alpha_max) as f32,
            p.eta as f32,
        );
        for (((x, &o), d), d0) in self
            .x
            .iter_mut()
            .zip(self.origin)
            .zip(from_here)
            .zip(from_image)
        {
            *x = (*x + eta * d) * (1.0 - alpha) + (o + eta * d0) * alpha;
        }
        threat.clip(&mut self.x);
        self.step += 1;
        self.next = if self.crossing || self.step == p.steps {
            Next::Verdict
        } else {
            Next::VerdictAndPlanes
        };
    }
}
