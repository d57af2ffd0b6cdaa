//! Proofs against norm balls: interval bounds of the margins (Gowal et al. 2018).
//!
//! The ball lies in a box. Bounds of the network over the box hold for each of its images. If
//! every lower bound of z_y − z_j is above 0, all images of the ball have the answer y.

use crate::error::Result;
use crate::threat::ThreatModel;
use fgmf_net::bound::IntervalBounds;
use fgmf_net::{Network, Tensor};

/// Share of the largest bound of an image, or of 1 if that is larger, that a margin must exceed to
/// count as proved. Bounds are computed in single precision, whose rounding is not directed: on our
/// networks it moves them by less than 1e-5 of the largest.
const ROUNDING: f64 = 1e-3;

/// Proves answers of a network against norm balls.
#[derive(Debug)]
pub struct Intervals {
    bounds: IntervalBounds,
}

/// What interval bounds say of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntervalMargin {
    /// Lower bound of the least z_y − z_j over the ball, j ≠ y.
    pub least: f64,
    /// Whether it is above 0 by more than rounding can move it.
    pub proved: bool,
}

impl Intervals {
    /// Bounds of the margins of a network with logits.
    ///
    /// # Errors
    /// An operator without a rule, by its name.
    pub fn new(net: &Network) -> Result<Self> {
        Ok(Self {
            bounds: IntervalBounds::margins(net)?,
        })
    }

    /// What is proved of each image `x` `[n, c, h, w]` with its label, whatever the norm.
    ///
    /// # Errors
    /// Images or labels that do not fit the network.
    pub fn margins(
        &self,
        x: &Tensor,
        labels: &[usize],
        threat: &ThreatModel,
    ) -> Result<Vec<IntervalMargin>> {
        let [lower, upper] = threat.boxes(x);
        let found = self.bounds.margin_bounds(&lower, &upper, labels)?;
        let (k, values) = (found.shape()[1], found.to_f64());
        let one = |(row, &y): (&[f64], &usize)| {
            let others = (0..k).filter(|&j| j != y).map(|j| row[j]);
            let scale = others.clone().fold(1.0f64, |m, v| m.max(v.abs()));
            // A bound that is no number proves nothing; `min` would pass over it.
            let least = others.fold(f64::INFINITY, |m, v| match v.is_nan() {
                true => f64::NAN,
                false if m.is_nan() => m,
                false => m.min(v),
            });
            IntervalMargin {
                least,
                proved: least > ROUNDING * scale,
            }
        };
        Ok(values.chunks_exact(k).zip(labels).map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::Norm;
    use fgmf_net::Precision;

    /// Two classes, z = (3 x₀ − x₁, 0): the margin falls by 4 eps in the box.
    fn linear(scale: f64) -> Network {
        let weights = [vec![3.0 * scale, -scale], vec![0.0, 0.0]];
        let net = fgmf_testkit::toys::linear(&weights, &[0.0; 2], [1, 1, 2]);
        net.cast(Precision::F32).into_network()
    }

    fn margin(net: &Network, x: [f32; 2], label: usize, eps: f64) -> IntervalMargin {
        let threat = ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap();
        let x = Tensor::new(&[1, 1, 1, 2], x.to_vec());
        Intervals::new(net)
            .unwrap()
            .margins(&x, &[label], &threat)
            .unwrap()[0]
    }

    #[test]
    fn the_margin_of_a_linear_model_is_exact() {
        let net = linear(1.0);
        let found = margin(&net, [0.5, 0.5], 0, 0.1);
        assert!(
            (found.least - 0.6).abs() < 1e-5 && found.proved,
            "{found:?}"
        );
        let found = margin(&net, [0.5, 0.5], 0, 0.3);
        assert!(
            (found.least + 0.2).abs() < 1e-5 && !found.proved,
            "{found:?}"
        );
        // Cut to the bounds of an image: x₁ cannot rise.
        let found = margin(&net, [0.5, 1.0], 0, 0.1);
        assert!(
            (found.least - 0.2).abs() < 1e-5 && found.proved,
            "{found:?}"
        );
        assert!(!margin(&net, [0.5, 0.5], 1, 0.0).proved);
    }

    /// What rounding may have moved over 0, and what is no number, proves nothing.
    #[test]
    fn a_margin_that_rounding_may_have_made_is_no_proof() {
        let found = margin(&linear(4e-4), [0.5, 0.5], 0, 0.1);
        assert!(found.least > 0.0 && !found.proved, "{found:?}");
        let found = margin(&linear(f64::INFINITY), [0.5, 0.5], 0, 0.1);
        assert!(found.least.is_nan() && !found.proved, "{found:?}");
    }
}
