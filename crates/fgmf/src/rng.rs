//! Derived random streams. Nothing in the library draws from a global or a clock: a stream is named
//! by what it is for, so a batch draws what its examples would draw one by one, on any number of
//! threads.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Order of the training examples.
    Shuffle = 1,
    /// Start of an attack.
    AttackStart = 2,
    /// Steps of a random attack.
    AttackStep = 3,
    /// Noise fills of an explanation.
    Explanation = 4,
    /// Perturbations while training.
    Training = 5,
    /// Draws of an evaluation (samples, baselines).
    Evaluation = 6,
    /// Transforms of the training images.
    Augmentation = 7,
    /// Points at which a guide is fitted.
    Guide = 8,
    /// Actions of agents.
    Action = 9,
    /// Weights of a fresh policy.
    Weights = 10,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of (seed, purpose, round, index): `round` is an epoch or restart, `index` an
    /// example.
    pub fn new(seed: u64, purpose: Purpose, round: u64, index: u64) -> Self {
        let mut key = [0; 32];
        for (slot, word) in key
            .chunks_exact_mut(8)
            .zip([seed, purpose as u64, round, index])
        {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`, 24 bits.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `[-1, 1)`.
    pub fn symmetric(&mut self) -> f32 {
        2.0 * self.unit() - 1.0
    }

    /// −1 or 1, equally likely.
    pub fn sign(&mut self) -> f32 {
        if self.0.next_u32() >> 31 == 0 {
            1.0
        } else {
            -1.0
        }
    }

    /// Standard normal (Box & Muller).
    pub fn normal(&mut self) -> f32 {
        let u = (f64::from(self.0.next_u32()) + 1.0) / 4_294_967_297.0;
        let v = f64::from(self.0.next_u32()) / 4_294_967_296.0;
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// Uniform below `n`, without bias (Lemire's rejection); `n` at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        let limit = n.wrapping_neg() % n.max(1);
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(n);
            if wide as u64 >= limit {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A permutation of `0..n` (Fisher & Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_differ_in_every_part_of_their_name() {
        let draw = |s, p, r, i| Stream::new(s, p, r, i).0.next_u64();
        let base = draw(1, Purpose::Shuffle, 0, 0);
        assert_eq!(base, draw(1, Purpose::Shuffle, 0, 0));
        for other in [
            draw(2, Purpose::Shuffle, 0, 0),
            draw(1, Purpose::Training, 0, 0),
            draw(1, Purpose::Shuffle, 1, 0),
            draw(1, Purpose::Shuffle, 0, 1),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn moments_and_ranges() {
        let mut s = Stream::new(7, Purpose::Evaluation, 0, 0);
        let n = 20_000;
        let normals: Vec<f64> = (0..n).map(|_| f64::from(s.normal())).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
        // Five standard errors of the mean (1/√n) and of the variance (√(2/n)).
        assert!(
            mean.abs() < 5.0 / f64::from(n).sqrt()
                && (variance - 1.0).abs() < 5.0 * (2.0 / f64::from(n)).sqrt()
        );
        let mut order = s.permutation(100);
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert!((0..1000).all(|_| s.below(3) < 3));
    }
}
