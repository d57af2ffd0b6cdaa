//! One example's way through a search of Auto-PGD: its points, its step size, and the rules that change them.

use super::apgd_l1::Sparsity;
use crate::threat::{Norm, ThreatModel};

/// One example on its way through a search.
pub(super) struct Walk<'a> {
    pub(super) row: usize,
    origin: &'a [f32],
    pub(super) x: Vec<f32>,
    previous: Vec<f32>,
    gradient: Vec<f32>,
    pub(super) best: Vec<f32>,
    best_gradient: Vec<f32>,
    best_loss: f64,
    last_loss: f64,
    step: f32,
    rule: Rule,
}

/// How the step size is set.
enum Rule {
    Halving(Halving),
    Sparse(Sparsity),
}

/// Rises since the last checkpoint, and what was found there.
struct Halving {
    rises: usize,
    loss: f64,
    halved: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(row: usize, origin: &'a [f32], x: Vec<f32>, threat: &ThreatModel) -> Self {
        let (rule, factor) = match threat.norm() {
            Norm::L1 => (Rule::Sparse(Sparsity::of(origin, &x)), 1.0),
            // The code counts the first checkpoint as if the step had just been halved.
            Norm::Linf | Norm::L2 => (Rule::Halving(Halving { rises: 0, loss: f64::NEG_INFINITY, halved: true }), 2.0),
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
        }
    }

    /// Takes in loss and gradient at the current point, the start if `first`; the last point of a search has no gradient.
    pub(super) fn observe(&mut self, loss: f64, gradient: Option<&[f32]>, first: bool) {
        if let Some(g) = gradient {
            self.gradient.copy_from_slice(g);
        }
        if loss > self.best_loss {
            self.best_loss = loss;
            self.best.copy_from_slice(&self.x);
            self.best_gradient.copy_from_slice(&self.gradient);
        }
        match (&mut self.rule, first) {
            (Rule::Halving(h), true) => h.loss = loss,
            (Rule::Halving(h), false) => {
                h.rises += usize::from(loss > self.last_loss);
                self.last_loss = loss;
            }
            (Rule::Sparse(_), _) => {}
        }
    }

    /// Sets the step size after `interval` steps, and perhaps goes back to the best point.
    pub(super) fn checkpoint(&mut self, interval: usize, rho: f64, threat: &ThreatModel) {
        let back = match &mut self.rule {
            Rule::Halving(h) => {
                let stuck = !h.halved && h.loss >= self.best_loss;
                h.halved = h.rises as f64 <= rho * interval as f64 || stuck;
                h.loss = self.best_loss;
                h.rises = 0;
                if h.halved {
                    self.step *= 0.5;
                }
                h.halved
            }
            Rule::Sparse(s) => s.checkpoint(self.origin, &self.best, &mut self.step, threat.eps() as f32),
        };
        if back {
            self.x.copy_from_slice(&self.best);
            self.gradient.copy_from_slice(&self.best_gradient);
        }
    }

    /// Makes a step; `first` is without momentum.
    pub(super) fn advance(&mut self, threat: &ThreatModel, first: bool) {
        if let Rule::Sparse(s) = &self.rule {
            let changed = s.step(&self.gradient, self.step);
            self.x.iter_mut().zip(changed).for_each(|(x, d)| *x += d);
            return threat.project(self.origin, &mut self.x);
        }
        let keep = if first { 1.0 } else { 0.75 };
        let mut direction = self.gradient.clone();
        threat.steepest(&mut direction);
        let mut next: Vec<f32> = self.x.iter().zip(&direction).map(|(x, d)| x + self.step * d).collect();
        threat.project(self.origin, &mut next);
        for ((z, &x), &before) in next.iter_mut().zip(&self.x).zip(&self.previous) {
            *z = x + (*z - x) * keep + (x - before) * (1.0 - keep);
        }
        threat.project(self.origin, &mut next);
        self.previous = std::mem::replace(&mut self.x, next);
    }
}
