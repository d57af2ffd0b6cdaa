//! Shares of counted examples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A proportion with its Wilson 95% score interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proportion {
    /// Successes.
    pub count: usize,
    /// Trials.
    pub n: usize,
    /// `count / n`, 0 when `n` is 0.
    pub value: f64,
    /// Wilson score interval at 95%, `[0, 1]` when `n` is 0.
    pub interval: [f64; 2],
}

impl Proportion {
    /// Counts to proportion: centre `(p + z²/2n) / (1 + z²/n)`, half width
    /// `z √(p(1-p)/n + z²/4n²) / (1 + z²/n)`, z = 1.96 (Wilson 1927).
    pub fn new(count: usize, n: usize) -> Self {
        if n == 0 {
            return Self {
                count,
                n,
                value: 0.0,
                interval: [0.0, 1.0],
            };
        }
        let (p, n_f, z) = (count as f64 / n as f64, n as f64, 1.959_963_984_540_054_f64);
        let scale = 1.0 + z * z / n_f;
        let centre = (p + z * z / (2.0 * n_f)) / scale;
        let half = z * (p * (1.0 - p) / n_f + z * z / (4.0 * n_f * n_f)).sqrt() / scale;
        Self {
            count,
            n,
            value: p,
            interval: [(centre - half).max(0.0), (centre + half).min(1.0)],
        }
    }

    /// Whether a share of right answers is no better than a guess among this many classes: at
    /// least 50 answers, and the interval begins at `1 / classes` or below.
    pub fn is_at_chance(&self, classes: usize) -> bool {
        self.n >= 50 && self.interval[0] * classes as f64 <= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_needs_answers_enough() {
        for (count, n, classes, at_chance) in [
            (12, 100, 10, true),
            (2, 100, 10, true),
            (31, 100, 10, false),
            (4, 40, 10, false),
            (55, 100, 2, true),
        ] {
            let share = Proportion::new(count, n);
            assert_eq!(share.is_at_chance(classes), at_chance, "{count} of {n}");
        }
    }

    /// Wilson's own interval for 8 of 10, and the edge cases that a normal approximation gets
    /// wrong.
    #[test]
    fn wilson_interval_matches_the_closed_form() {
        let p = Proportion::new(8, 10);
        assert!(
            (p.interval[0] - 0.490_162).abs() < 1e-5 && (p.interval[1] - 0.943_318).abs() < 1e-5,
            "{p:?}"
        );
        let none = Proportion::new(0, 20);
        assert!(
            none.interval[0].abs() < 1e-12 && (none.interval[1] - 0.161_125).abs() < 1e-5,
            "{none:?}"
        );
        let empty = Proportion::new(0, 0);
        assert!(
            empty.n == 0 && empty.interval[1] - empty.interval[0] > 0.999,
            "{empty:?}"
        );
    }
}
