//! Gaussian blur of a plane, and its transpose.
//!
//! (B x)_i = Σ_j g_ij x_j / Σ_j g_ij with g_ij = exp(−(i − j)² / 2 σ²), along the rows and then
//! along the columns. The sums run over the pixels that exist, up to `cut` deviations away.

/// A blur: how wide, and how far it reaches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blur {
    /// Deviations σ along rows and columns, in pixels. An axis with 0 or less stays as it is.
    pub(crate) deviation: [f64; 2],
    /// Where the weights end, in deviations, rounded up to whole pixels.
    pub(crate) cut: f64,
}

impl Blur {
    /// Cut at three deviations: less than 0.3% of the weight lies beyond.
    pub(crate) fn whole(deviation: [f64; 2]) -> Self {
        Self {
            deviation,
            cut: 3.0,
        }
    }

    /// B x of a plane of `[h, w]`.
    pub(crate) fn of(&self, plane: &[f64], size: [usize; 2]) -> Vec<f64> {
        let along = |values: &[f64], axis| self.along(values, size, axis, false);
        along(&along(plane, 0), 1)
    }

    /// Bᵀ x: what a change of the blurred plane means for the plane.
    pub(crate) fn back(&self, plane: &[f64], size: [usize; 2]) -> Vec<f64> {
        let along = |values: &[f64], axis| self.along(values, size, axis, true);
        along(&along(plane, 1), 0)
    }

    fn along(&self, values: &[f64], [h, w]: [usize; 2], axis: usize, back: bool) -> Vec<f64> {
        let sigma = self.deviation[axis];
        if sigma <= 0.0 {
            return values.to_vec();
        }
        let reach = (self.cut * sigma).ceil() as usize;
        let (count, stride) = ([h, w][axis], [w, 1][axis]);
        let weight = |d: usize| (-0.5 * (d as f64 / sigma).powi(2)).exp();
        let weights: Vec<f64> = (0..=reach.min(count)).map(weight).collect();
        let near = |i: usize| i.saturating_sub(reach)..=(i + reach).min(count - 1);
        let total = |i: usize| near(i).fold(0.0, |sum, j| sum + weights[i.abs_diff(j)]);
        let totals: Vec<f64> = (0..count).map(total).collect();
        let one = |at: usize| {
            let i = at / stride % count;
            let other = |j: usize| values[at - i * stride + j * stride];
            let term = |j: usize| weights[i.abs_diff(j)] * other(j);
            if back {
                near(i).fold(0.0, |sum, j| sum + term(j) / totals[j])
            } else {
                near(i).fold(0.0, |sum, j| sum + term(j)) / totals[i]
            }
        };
        (0..values.len()).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of 3, deviation 1, reach 1: the end is (1 · 6 + g · 0) / (1 + g), g = e^−½.
    #[test]
    fn matches_a_hand_value() {
        let g = (-0.5f64).exp();
        let blur = Blur {
            deviation: [1.0; 2],
            cut: 1.0,
        };
        let out = blur.of(&[6.0, 0.0, 0.0], [1, 3]);
        assert!((out[0] - 6.0 / (1.0 + g)).abs() < 1e-12);
        assert!((out[1] - 6.0 * g / (1.0 + 2.0 * g)).abs() < 1e-12);
        assert!(out[2].abs() < 1e-12);
    }

    /// ⟨B a, b⟩ = ⟨a, Bᵀ b⟩, for both reaches and for deviations that differ.
    #[test]
    fn has_its_transpose() {
        let plane = |k: usize| -> Vec<f64> {
            let value = |i: usize| ((i * k) % 17) as f64 - 5.0;
            (0..35).map(value).collect()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (a, b) = (plane(5), plane(11));
        for (deviation, cut) in [([1.5; 2], 1.0), ([1.5; 2], 3.0), ([0.7, 2.0], 3.0)] {
            let blur = Blur { deviation, cut };
            let there = dot(&blur.of(&a, [5, 7]), &b);
            let back = dot(&a, &blur.back(&b, [5, 7]));
            assert!((there - back).abs() < 1e-10, "{there} against {back}");
            assert!(there.abs() > 1.0, "{there} says nothing");
        }
    }

    #[test]
    fn keeps_constants_and_spreads_symmetrically() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} against {b}");
        let flat = Blur::whole([1.0, 2.0]).of(&[3.0; 12], [3, 4]);
        flat.iter().for_each(|&v| close(v, 3.0));
        let mut point = vec![0.0; 81];
        point[40] = 1.0;
        let out = Blur::whole([1.0; 2]).of(&point, [9, 9]);
        close(out[41] / out[40], (-0.5f64).exp());
        close(out[31], out[49]);
        close(out[39], out[41]);
        let still = Blur::whole([0.0; 2]).of(&[1.0, 2.0], [1, 2]);
        assert_eq!(still, [1.0, 2.0]);
    }
}
