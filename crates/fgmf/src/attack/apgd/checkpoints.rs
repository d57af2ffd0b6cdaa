//! One example's way through a search of Auto-PGD: its points, its step size, and the rules that
//! change them.

use crate::attack::apgd::l1::Sparsity;
use crate::threat::{Norm, ThreatModel};

/// One example on its way through a search.
pub(crate) struct ApgdWalk<'a> {
    pub(crate) row: usize,
    origin: &'a [f32],
    pub(crate) x: Vec<f32>,
    previous: Vec<f32>,
    gradient: Vec<f32>,
    pub(crate) best: Vec<f32>,
    best_gradient: Vec<f32>,
    best_loss: f64,
    last_loss: f64,
    step: f32,
    rule: StepSize,
    /// Loss at the current point.
    pub(crate) loss: f64,
    /// Whether the search of the example goes on.
    pub(crate) goes_on: bool,
}

/// How the step size is set.
enum StepSize {
    Halving(Halving),
    Sparse(Sparsity),
}

/// Rises since the last checkpoint, and what was found there.
struct Halving {
    rises: usize,
    loss: f64,
    halved: bool,
}

impl<'a> ApgdWalk<'a> {
    pub(crate) fn new(row: usize, origin: &'a [f32], x: Vec<f32>, threat: &ThreatModel) -> Self {
        let (rule, factor) = match threat.norm() {
            Norm::L1 => (StepSize::Sparse(Sparsity::of(origin, &x)), 1.0),
            // The code counts the first checkpoint as if the step had just been halved.
            Norm::Linf | Norm::L2 => (
                StepSize::Halving(Halving {
                    rises: 0,
                    loss: f64::NEG_INFINITY,
                    halved: true,
                }),
                2.0,
            ),
        };
        Self {
            row,
            origin,
            previous: x.clone(),
            gradient: vec![0.0; x.len()],
            best: x.clone(),
            best_gradient: vec![0.0; x.len()],
            best_loss: f64::NEG_INFINITY,
            last_loss: 0.0,
            step: (factor * threat.eps()) as f32,
            x,
            rule,
            loss: f64::NAN,
            goes_on: true,
        }
    }

    /// Takes in the gradient at the current point, the start if `first`, beside its loss; the last
    /// point of a search has no gradient.
    pub(crate) fn observe(&mut self, gradient: Option<&[f32]>, first: bool) {
        let loss = self.loss;
        if let Some(g) = gradient {
            self.gradient.copy_from_slice(g);
        }
        if loss > self.best_loss {
            self.best_loss = loss;
            self.best.copy_from_slice(&self.x);
            self.best_gradient.copy_from_slice(&self.gradient);
        }
        match (&mut self.rule, first) {
            (StepSize::Halving(h), true) => h.loss = loss,
            (StepSize::Halving(h), false) => {
                h.rises += usize::from(loss > self.last_loss);
                self.last_loss = loss;
            }
            (StepSize::Sparse(_), _) => {}
        }
    }

    /// Sets the step size after `interval` steps, and perhaps goes back to the best point.
    pub(crate) fn checkpoint(&mut self, interval: usize, rho: f64, threat: &ThreatModel) {
        let back = match &mut self.rule {
            StepSize::Halving(h) => {
                let stuck = !h.halved && h.loss >= self.best_loss;
                h.halved = h.rises as f64 <= rho * interval as f64 || stuck;
                h.loss = self.best_loss;
                h.rises = 0;
                if h.halved {
                    self.step *= 0.5;
                }
                h.halved
            }
            StepSize::Sparse(s) => {
                s.checkpoint(self.origin, &self.best, &mut self.step, threat.eps() as f32)
            }
        };
        if back {
            self.x.copy_from_slice(&self.best);
            self.gradient.copy_from_slice(&self.best_gradient);
        }
    }

    /// Makes a step; `first` is without momentum.
    pub(crate) fn advance(&mut self, threat: &ThreatModel, first: bool) {
        if let StepSize::Sparse(s) = &self.rule {
            let changed = s.step(&self.gradient, self.step);
            self.x.iter_mut().zip(changed).for_each(|(x, d)| *x += d);
            return threat.project(self.origin, &mut self.x);
        }
        let keep = if first { 1.0 } else { 0.75 };
        let mut direction = self.gradient.clone();
        threat.steepest(&mut direction);
        let mut next: Vec<f32> = self
            .x
            .iter()
            .zip(&direction)
            .map(|(x, d)| x + self.step * d)
            .collect();
        threat.project(self.origin, &mut next);
        for ((z, &x), &before) in next.iter_mut().zip(&self.x).zip(&self.previous) {
            *z = x + (*z - x) * keep + (x - before) * (1.0 - keep);
        }
        threat.project(self.origin, &mut next);
        self.previous = std::mem::replace(&mut self.x, next);
    }
}

/// Intervals between checkpoints: 22% of the steps, then 3% less each time down to 6%; for L1
/// always 4%.
fn intervals(norm: Norm, steps: usize) -> impl Iterator<Item = usize> {
    let share = |percent: usize| (percent * steps / 100).max(1);
    let (first, less, least) = if norm == Norm::L1 {
        (share(4), 0, 1)
    } else {
        (share(22), share(3), share(6))
    };
    std::iter::successors(Some(first), move |k| {
        Some(k.saturating_sub(less).max(least))
    })
}

/// By step of a search: the number of steps since the last checkpoint, where there is one.
pub(crate) fn checks(norm: Norm, steps: usize) -> Vec<Option<usize>> {
    let mut out = vec![None; steps + 1];
    let mut at = 0;
    for interval in intervals(norm, steps) {
        at += interval;
        if at > steps {
            break;
        }
        out[at] = Some(interval);
    }
    out
}

/// Radii, in eps, and steps of the phases of a search: for L1 three of shrinking radius, so that
/// the search starts outside the ball (3, 2, 1 eps for 30, 30, 40% of the steps).
pub(crate) fn phases(norm: Norm, steps: usize) -> Vec<(f64, usize)> {
    if norm != Norm::L1 {
        return vec![(1.0, steps)];
    }
    let outer = (3 * steps).div_ceil(10).min((steps - 1) / 2);
    let all = [(3.0, outer), (2.0, outer), (1.0, steps - 2 * outer)];
    all.into_iter().filter(|(_, steps)| *steps > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The intervals of the paper for 100 steps: checkpoints after 22, 41, 57, 70, 80, 87, 93, 99.
    #[test]
    fn schedules() {
        let first = |norm, steps| intervals(norm, steps).take(8).collect::<Vec<_>>();
        assert_eq!(first(Norm::Linf, 100), [22, 19, 16, 13, 10, 7, 6, 6]);
        assert_eq!(first(Norm::L2, 3), [1; 8]);
        assert_eq!(first(Norm::L1, 40), [1; 8]);
        let at = |steps| {
            let all = checks(Norm::Linf, steps);
            (0..=steps)
                .filter(|&t| all[t].is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(at(100), [22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(at(1), [1]);
        assert_eq!(phases(Norm::L1, 100), [(3.0, 30), (2.0, 30), (1.0, 40)]);
        assert_eq!(phases(Norm::L1, 2), [(1.0, 2)]);
        assert_eq!(phases(Norm::Linf, 7), [(1.0, 7)]);
        for steps in 1..200 {
            assert_eq!(
                phases(Norm::L1, steps).iter().map(|p| p.1).sum::<usize>(),
                steps
            );
        }
    }
}
