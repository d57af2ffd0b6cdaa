//! The step rule of Auto-PGD in the L1 ball (Croce & Hein 2021).
//!
//! A step moves the k coordinates of largest |gradient| by η / k each, along its sign, and is
//! projected onto ball and bounds at once. k starts at ‖x₀ − x‖₀ / 1.5 for the start x₀ and follows
//! the sparsity of the best point found: at each checkpoint k = ‖x_best − x‖₀ / 1.5. η starts at
//! eps; where the best point has become sparser by 5% or more since the last checkpoint η is eps
//! again and the search goes back to that point, elsewhere η shrinks by 1.5, down to eps / 10.
//!
//! Difference from the code: coordinates that the projection returns to the image count as
//! unchanged; there rounding leaves some of them changed by one unit in the last place.

/// Sparsity of steps and of the best point at the last checkpoint.
pub(crate) struct Sparsity {
    /// Share of the coordinates that a step moves.
    share: f64,
    changed: usize,
}

fn changed(origin: &[f32], x: &[f32]) -> usize {
    origin
        .iter()
        .zip(x)
        .filter(|(o, v)| o.to_bits() != v.to_bits())
        .count()
}

impl Sparsity {
    /// At the start of a search.
    pub(crate) fn of(origin: &[f32], start: &[f32]) -> Self {
        let changed = changed(origin, start);
        Self {
            share: changed as f64 / origin.len() as f64 / 1.5,
            changed,
        }
    }

    /// The step along a gradient, of length `step`; ties with the smallest coordinate moved are
    /// moved too.
    pub(crate) fn step(&self, gradient: &[f32], step: f32) -> Vec<f32> {
        let n = gradient.len();
        let mut sizes: Vec<f32> = gradient.iter().map(|g| g.abs()).collect();
        let at = (((1.0 - self.share) * n as f64) as usize).min(n - 1);
        let least = *sizes.select_nth_unstable_by(at, f32::total_cmp).1;
        let moved = |g: f32| g.abs() >= least && g != 0.0;
        let share = step / gradient.iter().filter(|&&g| moved(g)).count().max(1) as f32;
        gradient
            .iter()
            .map(|&g| if moved(g) { share.copysign(g) } else { 0.0 })
            .collect()
    }

    /// Sets the step size and the sparsity anew; whether the search goes back to its best point.
    pub(crate) fn checkpoint(
        &mut self,
        origin: &[f32],
        best: &[f32],
        step: &mut f32,
        eps: f32,
    ) -> bool {
        let now = changed(origin, best);
        let sparser = (now as f64) < 0.95 * self.changed as f64;
        *step = if sparser {
            eps
        } else {
            (*step / 1.5).max(eps / 10.0)
        };
        self.share = now as f64 / origin.len() as f64 / 1.5;
        self.changed = now;
        sparser
    }
}
