//! The loss of proximal policy optimisation on k scores and one value.

use fgmf_net::Dual;
use fgmf_net::Tensor;
use fgmf_net::head::Head;
use std::ops::Range;

/// What one sample of a rollout gives the loss.
#[derive(Clone, Copy, Debug)]
pub struct PpoSample {
    /// Action taken.
    pub action: usize,
    /// Its log-probability when it was taken.
    pub log_probability: f64,
    /// Its advantage, standardised over the batch.
    pub advantage: f64,
    /// What the value should have been, in the units of the value's output.
    pub target: f64,
    /// What it was.
    pub value: f64,
}

/// Clipped objective, value error and entropy (Schulman et al. 2017).
///
/// Outputs are `[n, k + 1]`: scores z of k actions, then a value v. With π = softmax(z), ρ =
/// π_a / π_old and advantage A the loss of a sample is
///
/// −min(ρ A, clamp(ρ, 1 ± ε) A) − c_H H(π) + ½ c_V max((v − R)², (v₀ + clamp(v − v₀, ±ε) − R)²).
///
/// Cotangents: −ρ A ([j = a] − π_j) where the minimum is the first term, else 0; c_H π_j (log π_j +
/// H); c_V (v − R) where the maximum is the first term or v moves freely.
#[derive(Clone, Debug)]
pub struct PpoHead {
    /// One an example.
    pub samples: Vec<PpoSample>,
    /// ε, above 0.
    pub clip: f64,
    /// c_H, 0 or more.
    pub entropy: f64,
    /// c_V, 0 or more.
    pub value: f64,
}

/// log softmax.
pub(crate) fn log_softmax(z: &[f64]) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = z.iter().map(|v| (v - top).exp()).sum();
    z.iter().map(|v| v - top - total.ln()).collect()
}

impl PpoHead {
    /// Loss of one sample, and its cotangents.
    fn one(&self, outputs: &[f64], s: &PpoSample, slope: &mut [f64]) -> f64 {
        let (v, z) = match outputs.split_last() {
            Some((v, z)) => (*v, z),
            None => return 0.0,
        };
        let log_p = log_softmax(z);
        let p: Vec<f64> = log_p.iter().map(|l| l.exp()).collect();
        let ratio = (log_p[s.action] - s.log_probability).exp();
        let free = ratio * s.advantage;
        let held = ratio.clamp(1.0 - self.clip, 1.0 + self.clip) * s.advantage;
        let entropy = -p.iter().zip(&log_p).map(|(p, l)| p * l).sum::<f64>();
        for (j, slope) in slope.iter_mut().enumerate().take(z.len()) {
            let own = if j == s.action { 1.0 } else { 0.0 };
            let policy = if free <= held {
                -free * (own - p[j])
            } else {
                0.0
            };
            *slope = policy + self.entropy * p[j] * (log_p[j] + entropy);
        }
        let near = s.value + (v - s.value).clamp(-self.clip, self.clip);
        let errors = [(v - s.target).powi(2), (near - s.target).powi(2)];
        let moves = errors[0] >= errors[1] || (v - s.value).abs() < self.clip;
        slope[z.len()] = if moves {
            self.value * (v - s.target)
        } else {
            0.0
        };
        let value = 0.5 * self.value * errors[0].max(errors[1]);
        -free.min(held) - self.entropy * entropy + value
    }
}

impl Head for PpoHead {
    fn evaluate(&self, outputs: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let width = outputs.shape()[1];
        let values = outputs.value.to_f64();
        let mut slopes = vec![0.0; values.len()];
        let rows = values
            .chunks_exact(width)
            .zip(slopes.chunks_exact_mut(width));
        let losses = rows.zip(&self.samples[examples]);
        let losses = losses.map(|((row, slope), s)| self.one(row, s, slope));
        let losses = losses.collect();
        let slopes = Tensor::new(outputs.shape(), slopes).cast(outputs.precision());
        (losses, slopes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(action: usize, old: f64, advantage: f64) -> PpoSample {
        PpoSample {
            action,
            log_probability: old,
            advantage,
            target: 0.7,
            value: 0.1,
        }
    }

    fn head(s: PpoSample) -> PpoHead {
        PpoHead {
            samples: vec![s],
            clip: 0.2,
            entropy: 0.05,
            value: 0.5,
        }
    }

    fn at(head: &PpoHead, z: &[f64]) -> (f64, Vec<f64>) {
        let x = Tensor::new(&[1, z.len()], z.to_vec());
        let (losses, slope) = head.evaluate(&x.into(), 0..1);
        (losses[0], slope.value.to_f64())
    }

    /// The cotangent is the derivative, on both sides of both clips.
    #[test]
    fn the_cotangent_is_the_slope_of_the_loss() {
        let log_p = log_softmax(&[0.3, -0.5, 1.1]);
        for advantage in [1.5, -0.8] {
            for shift in [0.0, 0.5, -0.5, 0.1] {
                for v in [0.05, 0.25, 0.9, 0.4, -0.6] {
                    let head = head(sample(1, log_p[1] + shift, advantage));
                    let z = [0.3, -0.5, 1.1, v];
                    let (_, slope) = at(&head, &z);
                    for j in 0..4 {
                        let moved = |d: f64| {
                            let mut z = z;
                            z[j] += d;
                            at(&head, &z).0
                        };
                        let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                        assert!(
                            (numeric - slope[j]).abs() < 1e-7,
                            "{advantage} {shift} {v} {j}: {numeric} {}",
                            slope[j]
                        );
                    }
                }
            }
        }
    }

    /// At ratio 1 the gradient is that of −A log π_a.
    #[test]
    fn ratio_one_gives_the_policy_gradient() {
        let z = [0.3, -0.5, 1.1, 0.0];
        let log_p = log_softmax(&z[..3]);
        let mut head = head(sample(2, log_p[2], 1.7));
        (head.entropy, head.value) = (0.0, 0.0);
        let (loss, slope) = at(&head, &z);
        assert!((loss + 1.7).abs() < 1e-12);
        for (j, s) in slope.iter().take(3).enumerate() {
            let expected = -1.7 * (f64::from(u8::from(j == 2)) - log_p[j].exp());
            assert!((s - expected).abs() < 1e-12);
        }
    }
}
